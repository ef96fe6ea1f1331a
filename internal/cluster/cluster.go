// Package cluster is this worker's part in a cluster of workers: membership, leadership, the metadata of all
// functions, and the assignment of their instances to workers. It learns everything from the three internal
// topics and from the broker; it keeps nothing on disk.
package cluster

import (
	"errors"
	"fmt"
	"time"
)

// WorkerInfo is one member, as its consumer on the coordination topic announces it in the property `id`
// (workerId:hostname:port). The port is the TLS port when TLS is on.
type WorkerInfo struct {
	WorkerID string `json:"workerId"`
	Hostname string `json:"workerHostname"`
	Port     int    `json:"port"`
}

// Errors that the REST API turns into status and text (rest-api contract, section 8.3 and 5).
var (
	// ErrLeaderNotReady: no leader is known, or this worker was elected and is not set up yet (503).
	ErrLeaderNotReady = errors.New("Leader not yet ready. Please retry again")
	// ErrNotLeader: leadership was lost while the request was under way (500).
	ErrNotLeader = errors.New("Not the leader")
	// ErrLeaderUnknown: the broker names no active consumer (500).
	ErrLeaderUnknown = errors.New("Leader cannot be determined")
	// ErrRebalanceInProgress: a second rebalance was asked for (400).
	ErrRebalanceInProgress = errors.New("Rebalance already in progress")
	// ErrTooFewWorkers: rebalance and drain need a second available worker (400).
	ErrTooFewWorkers = errors.New("Too few workers (need at least 2)")
	// ErrDrainInProgress: another drain is being carried out (409).
	ErrDrainInProgress = errors.New("Another drain is in progress")
)

// ErrOutdated: the version of an update or delete is not newer than the one known (400).
type ErrOutdated struct{ Delete bool }

func (e ErrOutdated) Error() string {
	if e.Delete {
		return "Delete request ignored because it is out of date. Please try again."
	}
	return "Update request ignored because it is out of date. Please try again."
}

// ErrWorkerNotDrainable: the worker is no member (400), or is still in the drain records (412).
type ErrWorkerNotDrainable struct {
	WorkerID       string
	AlreadyDrained bool
}

func (e ErrWorkerNotDrainable) Error() string {
	if e.AlreadyDrained {
		return fmt.Sprintf("Worker %s was not yet removed after a prior drain op; try later", e.WorkerID)
	}
	return fmt.Sprintf("Worker %s is not among the current workers in the system", e.WorkerID)
}

// RedirectError: another worker must answer (307).
type RedirectError struct{ To WorkerInfo }

func (e RedirectError) Error() string {
	return fmt.Sprintf("worker %s at %s:%d answers this", e.To.WorkerID, e.To.Hostname, e.To.Port)
}

// RemoteError is the answer of the leader to a forwarded write, relayed unchanged.
type RemoteError struct {
	Status int
	Reason string
}

func (e RemoteError) Error() string { return e.Reason }

// WriteError: the leader could not write the topic; the outcome may be unknown (500).
type WriteError struct{ Err error }

func (e WriteError) Error() string { return "Internal Error updating function at the leader" }
func (e WriteError) Unwrap() error { return e.Err }

// ProcessStatus of a drain (LongRunningProcessStatus of the REST API).
type ProcessStatus struct {
	Status    string `json:"status"` // NOT_RUN, RUNNING, SUCCESS, ERROR
	LastError string `json:"lastError"`
}

// Observer is told how long the leader's work takes (coordination contract, section 6.9). Durations of a strategy are
// those of the decision alone, without asking the broker and publishing.
type Observer interface {
	Scheduled(total, strategy time.Duration)
	Rebalanced(total, strategy time.Duration)
	Drained(total time.Duration)
}
