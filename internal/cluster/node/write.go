package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/cluster"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/metadata"
	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	// appendTimeout is more than the producer's own send timeout of 30 s, so that its answer is heard.
	appendTimeout = 35 * time.Second
	// leaderWait is how long a write waits for a leader to be there. Nothing has been sent while it waits.
	leaderWait = 5 * time.Second
	leaderPoll = 50 * time.Millisecond
	// readYourWrite is how long a forwarded write waits for this worker's own table to have it.
	readYourWrite = 2 * time.Second
)

// Write registers, updates or deletes: here when this worker leads, else through the leader. It repeats only what
// surely was not written. Errors: those of WriteAsLeader except RedirectError, and RemoteError.
func (n *Node) Write(ctx context.Context, meta *pb.FunctionMetaData, deletion bool) error {
	for began := time.Now(); ; {
		err := n.tryWrite(ctx, meta, deletion)
		if !notWritten(err) || ctx.Err() != nil || time.Since(began) > leaderWait {
			return err
		}
		if err := pause(ctx, leaderPoll); err != nil {
			return fmt.Errorf("waiting for a leader: %w", err)
		}
	}
}

// notWritten says whether the write did not happen for want of a leader, so that trying again is safe and sensible.
func notWritten(err error) bool {
	var redirect cluster.RedirectError
	var remote cluster.RemoteError
	return errors.Is(err, cluster.ErrLeaderNotReady) || errors.As(err, &redirect) ||
		errors.As(err, &remote) && remote.Status == http.StatusServiceUnavailable
}

func (n *Node) tryWrite(ctx context.Context, meta *pb.FunctionMetaData, deletion bool) error {
	err := n.WriteAsLeader(ctx, meta, deletion)
	var redirect cluster.RedirectError
	if !errors.As(err, &redirect) {
		return err
	}
	if err := n.opts.forward(ctx, redirect.To, meta, deletion); err != nil {
		return err
	}
	// so that the one who asked finds it here; when that takes too long it is as with Java workers
	caught, cancel := context.WithTimeout(ctx, readYourWrite)
	defer cancel()
	if err := n.follow.metadata.CatchUp(caught); err != nil {
		n.log.Debug("a forwarded write is not visible here yet", zap.Error(err))
	}
	return nil
}

// WriteAsLeader writes the metadata topic if this worker leads. Errors: RedirectError to the leader, ErrLeaderNotReady,
// ErrNotLeader, ErrOutdated, WriteError, and RemoteError (400) for metadata that names no function.
func (n *Node) WriteAsLeader(ctx context.Context, meta *pb.FunctionMetaData, deletion bool) error {
	o := n.office.Load()
	if o == nil {
		return n.otherLeader(ctx)
	}
	change := metadata.ChangeOf(proto.CloneOf(meta), deletion)
	if !change.Named() { // it would be written and then passed over by everybody
		return cluster.RemoteError{Status: http.StatusBadRequest, Reason: "Corrupt Function MetaData"}
	}
	record, err := n.codec.Encode(change)
	if err != nil {
		return cluster.WriteError{Err: err}
	}
	select {
	case n.writing <- struct{}{}:
		defer func() { <-n.writing }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for earlier writes: %w", ctx.Err())
	}
	if n.office.Load() != o || isClosed(o.term.Lost()) {
		return cluster.ErrNotLeader
	}
	if n.functions.Outdated(change) {
		return cluster.ErrOutdated{Delete: deletion}
	}
	// the caller going away must not leave the outcome open
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer cancel()
	ids, err := o.term.Metadata.Append(ctx, record)
	switch {
	case errors.Is(err, rlog.ErrRejected):
		return cluster.WriteError{Err: err}
	case err != nil: // it may be written nevertheless; only reading the topic to its end tells
		o.term.Fail(fmt.Errorf("writing metadata: %w", err))
		return cluster.WriteError{Err: err}
	}
	if err := n.follow.metadata.Appended(ctx, ids[0], record); err != nil {
		o.term.Fail(fmt.Errorf("written, but not read back: %w", err))
		return nil
	}
	o.schedule()
	return nil
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// otherLeader is the error that sends the caller to the leader.
func (n *Node) otherLeader(ctx context.Context) error {
	to, err := n.Leader(ctx)
	switch {
	case err != nil && !errors.Is(err, cluster.ErrLeaderUnknown):
		n.log.Debug("cannot find out who the leader is", zap.Error(err))
		return cluster.ErrLeaderNotReady
	case err != nil, *to == n.opts.Self:
		return cluster.ErrLeaderNotReady
	}
	return cluster.RedirectError{To: *to}
}
