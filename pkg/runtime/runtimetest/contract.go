// Package runtimetest is the contract test of runtime.Factory: what the worker relies on, checked against real
// instances. Run it from the tests of an implementation.
package runtimetest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Harness says what the test runs. Every function is called once per test; fields that are nil skip their part.
type Harness struct {
	// Factory makes the factory under test; the suite closes it.
	Factory func(t *testing.T) runtime.Factory
	// Healthy is an instance that answers until it is stopped.
	Healthy func(t *testing.T) runtime.Instance
	// Crashing is an instance that ends by itself soon after its start, with wantTail in its last output.
	Crashing func(t *testing.T) (in runtime.Instance, wantTail string)
	// Broken is an instance that cannot be launched.
	Broken func(t *testing.T) runtime.Instance
	// Stubborn is an instance that ignores polite requests to end.
	Stubborn func(t *testing.T) runtime.Instance
	// Refused is a function that Admit must refuse.
	Refused *runtime.FunctionDetails
	// WantMetric is a text in the metrics page of Healthy; "" = not checked.
	WantMetric string
}

const patience = 30 * time.Second

// Run runs all parts as subtests.
func Run(t *testing.T, h Harness) {
	t.Run("runs, answers, and ends when stopped", h.testLife)
	t.Run("stop before start", h.testStopBeforeStart)
	t.Run("two instances at once", h.testTwo)
	t.Run("ends by itself", h.testCrash)
	t.Run("cannot be launched", h.testBroken)
	t.Run("is ended by force", h.testStubborn)
	t.Run("refuses at admission", h.testAdmit)
}

func (h Harness) factory(t *testing.T) runtime.Factory {
	f := h.Factory(t)
	require.NotEmpty(t, f.Kind())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

func context30(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, f runtime.Factory, in runtime.Instance) runtime.Runtime {
	r, err := f.New(in)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Stop(context30(t)) })
	require.NoError(t, r.Start(context30(t)))
	return r
}

func awaitStatus(t *testing.T, r runtime.Runtime) *runtime.FunctionStatus {
	var status *runtime.FunctionStatus
	require.Eventually(t, func() bool {
		var err error
		status, err = r.Status(context.Background())
		return err == nil && status.GetRunning()
	}, patience, 20*time.Millisecond, "the instance never answered")
	return status
}

func ended(r runtime.Runtime) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

func (h Harness) testLife(t *testing.T) {
	f := h.factory(t)
	r := start(t, f, h.Healthy(t))
	awaitStatus(t, r)
	require.False(t, ended(r), "Done was closed while the instance ran")
	_, err := r.Metrics(context30(t))
	require.NoError(t, err)
	if h.WantMetric != "" {
		var page bytes.Buffer
		require.NoError(t, r.Scrape(context30(t), &page))
		require.Contains(t, page.String(), h.WantMetric)
	}
	require.Error(t, r.Start(context30(t)), "a second start must be refused")

	before := time.Now()
	require.NoError(t, r.Stop(context30(t)))
	require.True(t, ended(r), "Stop returned before the end")
	exit := r.Exit()
	require.True(t, exit.Asked)
	require.NotEmpty(t, exit.Reason)
	require.WithinRange(t, exit.Time, before, time.Now())
	require.NoError(t, r.Stop(context30(t)), "a second stop must be harmless")
	_, err = r.Status(context30(t))
	require.Error(t, err)
	_, err = r.Metrics(context30(t))
	require.Error(t, err)
	require.Error(t, r.Scrape(context30(t), &bytes.Buffer{}))
}

func (h Harness) testStopBeforeStart(t *testing.T) {
	r, err := h.factory(t).New(h.Healthy(t))
	require.NoError(t, err)
	_, err = r.Status(context30(t))
	require.Error(t, err)
	require.NoError(t, r.Stop(context30(t)))
	require.True(t, ended(r))
	require.True(t, r.Exit().Asked)
	require.Error(t, r.Start(context30(t)), "a stopped run must not start")
}

func (h Harness) testTwo(t *testing.T) {
	f := h.factory(t)
	in := h.Healthy(t)
	second := h.Healthy(t)
	second.Spec.InstanceId = in.Spec.InstanceId + 1
	a, b := start(t, f, in), start(t, f, second)
	awaitStatus(t, a)
	awaitStatus(t, b)
	require.NoError(t, a.Stop(context30(t)))
	awaitStatus(t, b)
}

func (h Harness) testCrash(t *testing.T) {
	if h.Crashing == nil {
		t.Skip("the harness has no crashing instance")
	}
	in, wantTail := h.Crashing(t)
	r := start(t, h.factory(t), in)
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Fatal("Done was not closed after the end")
	}
	exit := r.Exit()
	require.False(t, exit.Asked)
	require.NotEmpty(t, exit.Reason)
	require.Contains(t, exit.Tail, wantTail)
	_, err := r.Status(context30(t))
	require.Error(t, err)
	require.NoError(t, r.Stop(context30(t)), "a stop after the end must be harmless")
	require.False(t, r.Exit().Asked, "a later stop must not rewrite how the run ended")
}

func (h Harness) testBroken(t *testing.T) {
	if h.Broken == nil {
		t.Skip("the harness has no broken instance")
	}
	r, err := h.factory(t).New(h.Broken(t))
	if err != nil {
		return // refused even earlier
	}
	require.Error(t, r.Start(context30(t)))
	require.NoError(t, r.Stop(context30(t)))
	require.True(t, ended(r))
	require.NotEmpty(t, r.Exit().Reason)
}

func (h Harness) testStubborn(t *testing.T) {
	if h.Stubborn == nil {
		t.Skip("the harness has no stubborn instance")
	}
	r := start(t, h.factory(t), h.Stubborn(t))
	awaitStatus(t, r)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	require.NoError(t, r.Stop(ctx))
	require.True(t, ended(r))
	require.True(t, r.Exit().Asked)
}

func (h Harness) testAdmit(t *testing.T) {
	f := h.factory(t)
	require.NoError(t, f.Admit(h.Healthy(t).Spec.GetFunctionMetaData().GetFunctionDetails()))
	if h.Refused != nil {
		require.Error(t, f.Admit(h.Refused))
	}
}
