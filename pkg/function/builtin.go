//go:build !wasip1

package function

import (
	"context"
	"fmt"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Compiled is a function, a source or a sink that is compiled into a worker; see the package worker.
type Compiled struct {
	builtin instance.Builtin
	err     error
}

// Builtin makes a function that a worker can be given (worker.Options), which then runs it under this name:
//
//	pulsar-admin functions create --jar builtin://name --name … --inputs … --output …
//
// The handler has one of the forms of Start, or is made by Window. A form that is none of them is refused when the worker starts.
func Builtin(name string, handler any) Compiled { return compiled(name, handler, 1) }

// Concurrent is Builtin for a handler that may be called with up to n messages at a time (at most as many as the worker's
// maxPendingAsyncRequests). Results are sent in the order of their inputs nevertheless.
func Concurrent(name string, n int, handler any) Compiled { return compiled(name, handler, n) }

// Described gives the function a line for the list of built-in functions.
func (c Compiled) Described(description string) Compiled {
	c.builtin.Description = description
	return c
}

// Internal is for the packages of this module.
func (c Compiled) Internal() (instance.Builtin, error) { return c.builtin, c.err }

func compiled(name string, handler any, n int) Compiled {
	a, err := adapt(handler)
	switch {
	case err != nil:
		err = fmt.Errorf("compiled-in function %q: %w", name, err)
	case n < 1:
		err = fmt.Errorf("compiled-in function %q: %d messages at a time is not possible", name, n)
	case n > 1 && a.window != nil:
		err = fmt.Errorf("compiled-in function %q: windows are handled one at a time", name)
	}
	return Compiled{err: err, builtin: instance.Builtin{
		Name: name, Windows: a.window != nil,
		Validate: func(d *pb.FunctionDetails) error { return checkSchemas(d, a.input, a.output) },
		Load: func(context.Context, instance.Package) (instance.Program, error) {
			if n > 1 {
				return concurrent{a.program(), n}, nil
			}
			return a.program(), nil
		},
	}}
}

// concurrent is a program that takes several messages at a time.
type concurrent struct {
	program
	n int
}

func (c concurrent) Concurrency() int { return c.n }
