package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Factory makes process runtimes. It owns the thread that launches the children.
type Factory struct {
	o     Options
	spawn *spawner
	ports *portBook
	users *accounts // nil: instances run as the worker's user
	claim *os.File  // the lock of a range of users; nil without
}

var _ runtime.Factory = (*Factory)(nil)

// New checks the options, kills what an earlier life of this worker left behind, and starts the launching thread;
// Close ends it.
func New(o Options) (*Factory, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	keepDescriptors()
	users, err := newAccounts(o.Isolation.User)
	if err != nil {
		return nil, fmt.Errorf("goWorker.functionUser: %w", err)
	}
	if err := o.Isolation.check(users); err != nil {
		return nil, err
	}
	if killed := sweep(users, func(m marker) bool { return m.worker == o.WorkerID && !m.ownerAlive() }); killed > 0 {
		o.Log.Warn("killed processes that an earlier life of this worker left behind", zap.Int("processes", killed))
	}
	held, err := o.takeUsers(users)
	if err != nil {
		return nil, err
	}
	if err := o.Isolation.prepare(users); err != nil {
		if held != nil {
			_ = held.Close()
		}
		return nil, err
	}
	return &Factory{o: o, spawn: newSpawner(), ports: newPortBook(), users: users, claim: held}, nil
}

// takeUsers makes a range of users this worker's: nothing runs as one of them then, and no directory is open to them.
func (o Options) takeUsers(users *accounts) (*os.File, error) {
	if !users.separate() {
		return nil, nil
	}
	held, err := claim(users, filepath.Dir(o.Isolation.WorkDirectory))
	if err != nil {
		return nil, err
	}
	users.log = o.Log
	users.forget = func(function string) {
		if err := o.closeFunction(function); err != nil {
			o.Log.Error("what a function has on disk could not be taken from its user, which passes to another function", zap.String("function", function), zap.Error(err))
		}
	}
	users.sweep()
	if err := o.closeDirectories(); err != nil {
		_ = held.Close()
		return nil, err
	}
	return held, nil
}

// Kind is "process".
func (f *Factory) Kind() string { return "process" }

// ExternallyManaged is false: the processes end with the worker.
func (f *Factory) ExternallyManaged() bool { return false }

// Admit refuses languages that have no instance program, and configurations that no process can be started with.
func (f *Factory) Admit(d *runtime.FunctionDetails) error {
	if b, ok := f.o.Programs.Builtin(d); ok {
		if err := b.Admit(d, f.o.EncryptionKeys); err != nil {
			return err
		}
	}
	switch d.GetRuntime() {
	case pb.FunctionDetails_JAVA, pb.FunctionDetails_PYTHON, pb.FunctionDetails_GO:
	default:
		return unsupportedRuntime(d)
	}
	if n := len(launch.MessageJSON(d, d.GetRuntime() != pb.FunctionDetails_GO)); n > maxArgument-8 {
		return fmt.Errorf("the function's configuration has %d bytes as JSON; an instance process can be given at most %d", n, maxArgument-8)
	}
	return nil
}

// New prepares one run.
func (f *Factory) New(in runtime.Instance) (runtime.Runtime, error) {
	meta := in.Spec.GetFunctionMetaData()
	d := meta.GetFunctionDetails()
	if err := f.Admit(d); err != nil {
		return nil, err
	}
	auth := f.o.Auth
	if auth != nil {
		own := *auth // a copy: the credentials of one function never reach another
		if f.o.FunctionAuth != nil {
			var err error
			if own, err = f.o.FunctionAuth(meta, own); err != nil {
				return nil, fmt.Errorf("preparing the credentials of %s: %w", pb.FullyQualifiedName(d), err)
			}
			if err = f.giveTokenAgain(pb.FullyQualifiedName(d), own); err != nil {
				f.authEnd(meta)
				return nil, fmt.Errorf("preparing the credentials of %s: %w", pb.FullyQualifiedName(d), err)
			}
		}
		auth = &own
	}
	return newRun(f, in, auth), nil
}

func (f *Factory) authEnd(meta *pb.FunctionMetaData) {
	if f.o.FunctionAuthEnd != nil {
		f.o.FunctionAuthEnd(meta)
	}
}

// giveToken lets the function's user read the token file that is the function's own.
func (f *Factory) giveToken(own Auth, owner account) error {
	path, isFile := strings.CutPrefix(own.Params, "file://")
	if !isFile || own.Params == f.o.Auth.Params { // the worker's own file stays the worker's
		return nil
	}
	return give(path, owner, 0)
}

// giveTokenAgain is for instances that run while the file is written anew.
func (f *Factory) giveTokenAgain(function string, own Auth) error {
	if f.users == nil {
		return nil
	}
	if owner, ok := f.users.running(function); ok {
		return f.giveToken(own, owner)
	}
	return nil
}

// Close ends the launching thread, once all children are gone. A child that still ran would be killed with it.
func (f *Factory) Close(ctx context.Context) error {
	err := f.spawn.close(ctx)
	if f.claim != nil {
		err = errors.Join(err, f.claim.Close())
	}
	return err
}
