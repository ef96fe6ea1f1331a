package goroutine

import (
	"cmp"
	"errors"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	pkgruntime "github.com/functions-worker/functions-worker/pkg/runtime"
)

// Options are what the factory is made of. Programs, Others and Broker.ServiceURL are required.
type Options struct {
	// Programs are what can run in this process.
	Programs *instance.Programs
	// Others runs everything else. The factory closes it.
	Others pkgruntime.Factory
	// Broker is how functions reach the broker.
	Broker broker.Config
	// FunctionAuth gives a function credentials of its own; nil: all functions have those of Broker.
	FunctionAuth func(meta *pb.FunctionMetaData, own broker.Config) (broker.Config, error)
	// State gives functions their state; nil: it is not enabled.
	State instance.OpenState
	// MemoryLimit bounds the messages that functions are sending, in bytes, all functions together; 0: no limit.
	MemoryLimit int64
	// Clients is how many clients the functions of one identity share. Default: the number of CPUs, at most 4.
	Clients int
	// LogDirectory is the base directory; "/functions" and the function's name are appended. Default: logs.
	LogDirectory string
	// EncryptionKeys is the directory of the keys of end-to-end encryption; "": there is none.
	EncryptionKeys string
	ClusterName    string
	Hostname       string
	// MaxPendingAsyncRequests bounds the calls of one instance at the same time. Default 1000.
	MaxPendingAsyncRequests int
	// BusyLimit is how long one call may last until the status of the instance says so. Default 30 s.
	BusyLimit time.Duration
	// StopGrace is how long an instance may take to finish what is in flight. Default 10 s.
	StopGrace time.Duration
	Log       *zap.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Programs == nil || o.Others == nil {
		return o, errors.New("goroutine runtime: Programs and Others are required")
	}
	if o.Broker.ServiceURL == "" {
		return o, errors.New("goroutine runtime: pulsarServiceUrl is not set")
	}
	o.Clients = cmp.Or(max(0, o.Clients), min(4, runtime.NumCPU()))
	o.LogDirectory = cmp.Or(o.LogDirectory, "logs")
	o.MaxPendingAsyncRequests = cmp.Or(max(0, o.MaxPendingAsyncRequests), 1000)
	o.BusyLimit = cmp.Or(max(0, o.BusyLimit), 30*time.Second)
	o.StopGrace = cmp.Or(max(0, o.StopGrace), 10*time.Second)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o, nil
}
