package instance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Connector is implemented by programs that are a source or a sink. That of a sink writes a message with Handle, whose
// result is always nil; an error has the message delivered again by the retry rules.
type Connector interface {
	// Open is called once, before the first call of Handle or Read, with the configs of the component: a JSON object. ctx
	// ends when the instance is asked to stop.
	Open(ctx context.Context, configs []byte) error
	// Leave is called once after Open, when no call is under way any more. Messages whose outcome a sink has kept for later
	// (Context.Later) can be answered until it returns, and a little longer.
	Leave(ctx context.Context) error
}

// Source is a Connector whose records go to the output topic.
type Source interface {
	Connector
	// Read waits for the next record; there always is one, or an error. An error ends the instance, unless ctx has ended.
	Read(ctx context.Context) (*SourceRecord, error)
}

// SourceRecord is what a source has read.
type SourceRecord struct {
	// Message is what is published; without a topic it goes to that of the source.
	Message
	// Partition and Sequence say where in its origin the record stands: the sequence grows within a partition. They are
	// needed for EFFECTIVELY_ONCE; "" and 0 otherwise.
	Partition string
	Sequence  int64
	// Ack, unless nil, is called when the record is stored; Fail, unless nil, when it is not and will not be.
	Ack  func()
	Fail func(error)
}

// kindOf is the kind of a component. Functions of old metadata, and of configurations that name topics only, do not say it.
func kindOf(d *pb.FunctionDetails) pb.FunctionDetails_ComponentType {
	if d.GetComponentType() == pb.FunctionDetails_UNKNOWN && d.GetSource().GetClassName() == "" && d.GetSink().GetClassName() == "" {
		return pb.FunctionDetails_FUNCTION
	}
	return pb.ComponentTypeOf(d)
}

// ends are a program's forms as a connector.
type ends struct {
	connector Connector // nil: it is a function
	source    Source    // nil: it is no source
	opened    bool
	left      atomic.Bool // outcomes that come after this are nobody's any more

	sequences map[string]int64 // the last of each partition of a source, as many as there can be producers

	mu   sync.Mutex
	kept map[*later]bool // messages whose outcome comes later
}

// leave gives up outcomes that have not come.
func (x *ends) leave() {
	x.left.Store(true)
	x.mu.Lock()
	kept := slices.Collect(maps.Keys(x.kept))
	x.mu.Unlock()
	for _, l := range kept {
		l.settle(nil) // which nobody hears any more
	}
}

// endsOf refuses a program that is not of the kind that the details say.
func endsOf(p Program, kind pb.FunctionDetails_ComponentType) (*ends, error) {
	x := &ends{kept: map[*later]bool{}, sequences: map[string]int64{}}
	x.connector, _ = p.(Connector)
	x.source, _ = p.(Source)
	is := pb.FunctionDetails_FUNCTION
	switch {
	case x.source != nil:
		is = pb.FunctionDetails_SOURCE
	case x.connector != nil:
		is = pb.FunctionDetails_SINK
	}
	if is != kind {
		return nil, fmt.Errorf("the code is a %s and cannot be a %s", strings.ToLower(is.String()), strings.ToLower(kind.String()))
	}
	return x, nil
}

// openConnector opens a source or a sink.
func (e *Engine) openConnector(ctx context.Context) error {
	if e.ends.connector == nil {
		return nil
	}
	d := e.opts.Config.Details
	text := d.GetSink().GetConfigs()
	if e.ends.source != nil {
		text = d.GetSource().GetConfigs()
	}
	configs, err := e.context.withSecrets(text)
	if err != nil {
		return err
	}
	err = e.outside(ctx, func(ctx context.Context) error { return e.ends.connector.Open(ctx, configs) })
	if err != nil {
		err = fmt.Errorf("opening the %s: %w", e.stats.edge, err)
		e.stats.EdgeError(err, time.Now())
		return err
	}
	e.ends.opened = true
	return nil
}

// leaveConnector closes a source or a sink that was opened.
func (e *Engine) leaveConnector() {
	if !e.ends.opened || e.abandoned.Load() {
		return
	}
	e.ends.opened = false
	ctx, cancel := context.WithTimeout(context.Background(), e.opts.FlushGrace)
	defer cancel()
	if err := e.outside(ctx, e.ends.connector.Leave); err != nil {
		err = fmt.Errorf("closing the %s: %w", e.stats.edge, err)
		e.stats.EdgeError(err, time.Now())
		e.log.Warn("it may not have written everything; what is not acknowledged comes again", zap.Error(err))
	}
}

// outside calls code of the connector that may panic, or not return when its context ends: then it is left behind.
func (e *Engine) outside(ctx context.Context, f func(context.Context) error) error {
	result := make(chan error, 1)
	returned := make(chan struct{})
	go func() { // waited for, unless it never returns
		defer close(returned)
		result <- recovering(func() error { return f(e.context.invocation(ctx, delivery{})) })
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	case <-time.After(e.opts.LeaveGrace):
		e.abandoned.Store(true)
		e.leftBehind = returned
		return ErrStuck
	}
}

// withSecrets replaces texts ${NAME} in the configs of a connector by secrets of the secrets map, as the provider of
// Kubernetes does for Java connectors; any other text stays as it is.
func (c *Context) withSecrets(configs string) ([]byte, error) {
	configs = unquote(configs)
	if strings.TrimSpace(configs) == "" {
		return []byte("{}"), nil
	}
	var values map[string]any
	decoder := json.NewDecoder(strings.NewReader(configs))
	decoder.UseNumber() // large integers stay exact
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("reading the configs: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading the configs: there is more than one JSON object")
	}
	replaced, err := c.replaceSecrets(values)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(replaced); err != nil {
		return nil, fmt.Errorf("writing the configs: %w", err)
	}
	return text.Bytes(), nil
}

func (c *Context) replaceSecrets(value any) (_ any, err error) {
	switch v := value.(type) {
	case string:
		name, ok := strings.CutPrefix(v, "${")
		if name, closed := strings.CutSuffix(name, "}"); ok && closed {
			if _, known := c.secrets[name]; known {
				return c.Secret(name)
			}
		}
	case []any:
		for i := range v {
			if v[i], err = c.replaceSecrets(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = c.replaceSecrets(v[name]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}
