package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

func (t *task) read() (view, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view, t.spec != nil
}

// state is a snapshot for people.
func (t *task) state() InstanceState {
	v, _ := t.read()
	s := InstanceState{Key: t.key, Phase: v.phase, Message: v.message, Restarts: v.restarts, Started: v.started, Next: v.next, LastExit: v.lastExit}
	if p, ok := v.rt.(interface{ Ports() (control, metrics int) }); ok {
		s.ControlPort, s.MetricsPort = p.Ports()
	}
	return s
}

// Status asks an instance what it does. It never fails: what cannot be known is said in FailureException, with Running
// false. id selects the instance when the runtime stands for all of a function.
func (s *Supervisor) Status(ctx context.Context, instanceKey string, id int32) *pb.FunctionStatus {
	t := s.task(instanceKey)
	if t == nil {
		return &pb.FunctionStatus{InstanceId: strconv.Itoa(int(id))} // assigned a moment ago, or no longer
	}
	v, _ := t.read()
	status := t.askStatus(ctx, v, id)
	status.NumRestarts, status.InstanceId = v.restarts, strconv.Itoa(int(id))
	return status
}

// askStatus gives the instance's own status, or one that tells why there is none.
func (t *task) askStatus(ctx context.Context, v view, id int32) *pb.FunctionStatus {
	if v.rt == nil || v.phase == Stopping {
		return &pb.FunctionStatus{FailureException: v.why(time.Now())}
	}
	ctx, cancel := context.WithTimeout(ctx, t.s.o.CallTimeout)
	defer cancel()
	var status *pb.FunctionStatus
	var err error
	if multi, ok := v.rt.(runtime.Multi); ok {
		status, err = multi.StatusOf(ctx, id)
	} else {
		status, err = v.rt.Status(ctx)
	}
	switch {
	case err != nil && v.lastExit != nil && !v.answered: // it is coming up again
		return &pb.FunctionStatus{FailureException: describe(*v.lastExit)}
	case err != nil:
		return &pb.FunctionStatus{FailureException: err.Error()}
	case !status.GetRunning() && v.lastExit != nil:
		status.FailureException = describe(*v.lastExit)
	}
	if v.note != "" {
		status.FailureException = strings.TrimPrefix(status.FailureException+"; "+v.note, "; ")
	}
	return status
}

// why says what an instance without a run waits for.
func (v view) why(now time.Time) string {
	text := v.waiting(now)
	if v.note != "" {
		text += "; " + v.note
	}
	return text
}

func (v view) waiting(now time.Time) string {
	switch v.phase {
	case Stopped, Cleaning:
		return v.message
	case Stopping:
		return "stopping"
	case BackOff:
		text := fmt.Sprintf("restarting in %s after: ", max(v.next.Sub(now), 0).Round(time.Second))
		if v.lastExit != nil && v.lastExit.Reason == v.reason {
			return text + describe(*v.lastExit)
		}
		return text + v.reason
	}
	text := "starting"
	if v.message != "" {
		text += ": " + v.message
	}
	if v.reason != "" {
		text += "; the last attempt ended with: " + v.reason
	}
	return text
}

// describe is an exit for people: the reason, then the last output.
func describe(e runtime.Exit) string {
	if e.Tail == "" {
		return e.Reason
	}
	return e.Reason + "; its last output was:\n" + strings.TrimRight(e.Tail, "\n")
}

// ErrNotRunning: there is no run that could be asked.
var ErrNotRunning = errors.New("the instance does not run")

// Metrics asks an instance for its counters. User metrics that are no numbers are left out, because JSON has no word for them.
func (s *Supervisor) Metrics(ctx context.Context, instanceKey string, id int32) (*pb.MetricsData, error) {
	t := s.task(instanceKey)
	if t == nil {
		return nil, fmt.Errorf("metrics of %s: %w", instanceKey, ErrNotHere)
	}
	v, _ := t.read()
	if v.rt == nil {
		return nil, fmt.Errorf("metrics of %s: %w", instanceKey, ErrNotRunning)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.CallTimeout)
	defer cancel()
	var m *pb.MetricsData
	var err error
	if multi, ok := v.rt.(runtime.Multi); ok {
		m, err = multi.MetricsOf(ctx, id)
	} else {
		m, err = v.rt.Metrics(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", instanceKey, err)
	}
	for name, value := range m.GetUserMetrics() {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			delete(m.UserMetrics, name)
		}
	}
	return m, nil
}

// parallelScrapes bounds how many instances are scraped at once, and with it the memory of a scrape.
const parallelScrapes = 16

// Scrape writes the Prometheus text of all running instances to w, in the order of their keys. Instances are asked at
// the same time; those that do not answer in time are left out.
func (s *Supervisor) Scrape(ctx context.Context, w io.Writer) error {
	if s.o.Factory.ExternallyManaged() {
		return nil // they are scraped where they run
	}
	tasks := s.sorted()
	pages := make([]chan []byte, len(tasks))
	for i := range pages {
		pages[i] = make(chan []byte, 1)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group errgroup.Group
		group.SetLimit(parallelScrapes)
		for i, t := range tasks {
			group.Go(func() error {
				pages[i] <- t.scrape(ctx)
				return nil
			})
		}
		_ = group.Wait()
	}()
	var err error
	for i := range pages {
		if page := <-pages[i]; err == nil && len(page) > 0 {
			if _, err = w.Write(page); err != nil {
				cancel()
			}
		}
	}
	<-done
	return err
}

// scrape gives the text of one instance, ending in a line feed, or nothing.
func (t *task) scrape(ctx context.Context) []byte {
	v, _ := t.read()
	if v.rt == nil || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.s.o.ScrapeTimeout)
	defer cancel()
	var page bytes.Buffer
	if err := v.rt.Scrape(ctx, &page); err != nil {
		t.logger().Debug("instance left out of the metrics", zap.Error(err))
		return nil
	}
	text := bytes.ReplaceAll(page.Bytes(), []byte("\r\n"), []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return text
}
