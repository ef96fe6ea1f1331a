package instance

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/window"
)

const (
	// maxWindowBytes bounds the payloads that an instance holds for windows: what runs beside it has to live, too.
	maxWindowBytes = 256 << 20
	heldBytes      = 512 // of a held message beside its payload, roughly
)

// What became of a held message.
const (
	fresh   int32 = iota // in no window yet
	working              // in a window whose result is not stored
	settled              // done with
	refused              // negatively acknowledged: it comes again, and is no part of windows any more
)

// heldMessage is a message that windows need.
type heldMessage struct {
	delivery
	value any
	size  int
	state atomic.Int32
}

// windowing is the work of an engine whose function takes windows. All of it is done by one goroutine, except for the
// confirmations of results.
type windowing struct {
	e         *Engine
	ctx, work context.Context
	windows   *window.Windows[*heldMessage]
	bytes     int
	most      int         // bytes
	cleanup   atomic.Bool // a held message was refused by a confirmation
}

func (e *Engine) newWindowing(ctx, work context.Context) *windowing {
	w := &windowing{e: e, ctx: ctx, work: work, most: maxWindowBytes}
	w.windows = window.New(*e.plan.Window, len(e.plan.Inputs), window.Hooks[*heldMessage]{Fire: w.fire, Leave: w.leave})
	return w
}

// consume works until the context ends, an input is lost, or nothing came for too long.
func (w *windowing) consume(deliveries <-chan delivery, failed <-chan error) error {
	var ticks, idle <-chan time.Time
	if every := w.e.plan.Window.Tick(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		ticks = ticker.C
	}
	rest := func() {
		if most := w.e.opts.Config.MaxIdle; most > 0 {
			idle = time.After(most)
		}
	}
	rest()
	for {
		var err error
		select {
		case <-w.ctx.Done():
			return nil // what is held and not acknowledged comes again
		case err = <-failed:
		case <-idle:
			return ErrIdle
		case d := <-deliveries:
			rest()
			err = w.take(d)
		case <-ticks:
			w.forget()
			w.windows.Tick(time.Now().UnixMilli())
		}
		switch {
		case w.ctx.Err() != nil || w.e.abandoned.Load():
			return nil
		case err != nil:
			w.e.stats.SystemError(err, time.Now())
			return err
		}
	}
}

// take puts a message into the windows.
func (w *windowing) take(d delivery) error {
	now := time.Now()
	w.e.stats.Received(now)
	w.e.answer(d, w.e.plan.Policy.OnReceive())
	h := &heldMessage{delivery: d, size: len(d.message.Payload()) + heldBytes}
	var err error
	if h.value, err = w.read(d.message); err != nil {
		w.failed(err, h)
		return nil
	}
	w.forget()
	if w.bytes += h.size; w.bytes > w.most {
		return fmt.Errorf("the windows need more than %d bytes of messages (%d messages are held): make them shorter, or use more instances", w.most, w.windows.Len())
	}
	m := window.Message[*heldMessage]{Value: h, Input: d.input, Topic: d.message.Topic(), At: w.timeOf(d.message, now)}
	if !w.windows.Add(m) {
		w.bytes -= h.size
		w.late(h)
	}
	return nil
}

func (w *windowing) timeOf(m pulsar.Message, now time.Time) int64 {
	t := now
	switch w.e.plan.Window.Time {
	case window.EventTime:
		if t = m.EventTime(); t.UnixMilli() <= 0 { // the sender did not say
			t = m.PublishTime()
		}
	case window.PublishTime:
		t = m.PublishTime()
	}
	return t.UnixMilli()
}

// read recovers from a panic of the code of the function.
func (w *windowing) read(m pulsar.Message) (value any, err error) {
	err = recovering(func() error {
		payload, err := payloadOf(w.work, m)
		if err == nil {
			value, err = w.e.windows.Read(payload)
		}
		return err
	})
	return value, err
}

// fire has a complete window handled; false when the instance is to stop.
func (w *windowing) fire(all []*heldMessage) bool {
	held := make([]*heldMessage, 0, len(all))
	for _, h := range all {
		if h.state.Load() != refused {
			h.state.CompareAndSwap(fresh, working)
			held = append(held, h)
		}
	}
	if len(held) > 0 {
		result, err := w.invoke(held)
		switch {
		case w.e.abandoned.Load():
		case err != nil:
			w.failed(err, held...)
		case result == nil || result.Topic == "" && w.e.plan.Output.Topic == "":
			w.settle(held...)
		default:
			w.send(held, result)
		}
	}
	return w.ctx.Err() == nil && !w.e.abandoned.Load()
}

func (w *windowing) invoke(held []*heldMessage) (result *Result, err error) {
	messages := make([]WindowMessage, len(held))
	for i, h := range held {
		messages[i] = WindowMessage{h.message, h.value}
	}
	i := w.e.context.invocation(w.work, delivery{})
	w.e.calls.begin(&i.running, time.Now(), held[len(held)-1].message)
	err = recovering(func() (err error) {
		result, err = w.e.windows.HandleWindow(i, messages)
		return err
	})
	w.e.ended(i)
	return result, err
}

// send publishes the result of a window. It has no key and no properties but those it was given, as it comes from many
// messages.
func (w *windowing) send(held []*heldMessage, result *Result) {
	key := producerKey{topic: result.Topic}
	if key.topic == "" {
		key.topic = w.e.plan.Output.Topic
	}
	w.publish(key, producerMessage(&result.Message), func(err error) {
		if err != nil {
			w.unsent(fmt.Errorf("sending the result of a window to %s: %w", key.topic, err), held...)
			return
		}
		w.settle(held...)
	})
}

func (w *windowing) publish(key producerKey, m *pulsar.ProducerMessage, done func(error)) {
	w.e.inFlight.Add(1)
	w.e.context.producers.send(w.work, key, m, func(_ pulsar.MessageID, err error) {
		defer w.e.inFlight.Done()
		done(err)
	})
}

// late sends a message that is late to the topic for such ones, or drops it.
func (w *windowing) late(h *heldMessage) {
	topic := w.e.plan.Window.LateTopic
	if topic == "" {
		w.e.log.Info("a message is late and belongs to no window any more; there is no lateDataTopic for it",
			zap.String("topic", h.message.Topic()), zap.Stringer("message", h.message.ID()))
		w.settle(h)
		return
	}
	m := producerMessage(&Message{Payload: h.message.Payload(), Key: h.message.Key(), Properties: h.message.Properties(), EventTime: h.message.EventTime()})
	w.publish(producerKey{topic: topic}, m, func(err error) {
		if err != nil {
			w.unsent(fmt.Errorf("sending a late message to %s: %w", topic, err), h)
			return
		}
		w.settle(h)
	})
}

// settle acknowledges messages that are done with, those which were not before.
func (w *windowing) settle(held ...*heldMessage) {
	for _, h := range held {
		if h.state.CompareAndSwap(fresh, settled) || h.state.CompareAndSwap(working, settled) {
			w.e.stats.Processed()
			w.e.answer(h.delivery, w.e.plan.Policy.OnDone())
		}
	}
}

// failed answers for messages that the function could not handle.
func (w *windowing) failed(err error, held ...*heldMessage) {
	w.e.stats.UserError(err, time.Now())
	w.e.log.Error("the function failed", zap.Int("messages", len(held)), zap.String("topic", held[0].message.Topic()),
		zap.Stringer("message", held[0].message.ID()), zap.Error(err))
	w.refuse(w.e.plan.Policy.OnHandlerError(), held...)
	w.forget()
}

// unsent answers for messages whose result is not stored.
func (w *windowing) unsent(err error, held ...*heldMessage) {
	w.e.stats.SystemError(err, time.Now())
	w.e.log.Error("the result is lost unless the messages are redelivered", zap.Error(err))
	w.refuse(w.e.plan.Policy.OnSendError(), held...)
}

// refuse has messages delivered again that were not acknowledged. They leave the windows, where they would be twice; what
// cannot come again stays for later windows.
func (w *windowing) refuse(a Answer, held ...*heldMessage) {
	if a != Nack {
		return
	}
	for _, h := range held {
		if h.state.CompareAndSwap(fresh, refused) || h.state.CompareAndSwap(working, refused) {
			w.cleanup.Store(true)
			w.e.answer(h.delivery, a)
		}
	}
}

// forget takes refused messages out of the windows.
func (w *windowing) forget() {
	if !w.cleanup.Swap(false) {
		return
	}
	w.windows.Remove(func(h *heldMessage) bool {
		gone := h.state.Load() == refused
		if gone {
			w.bytes -= h.size
		}
		return gone
	})
}

// leave is called for a message that no later window has. One that was in none, as windows do not touch, is done with.
func (w *windowing) leave(h *heldMessage) {
	w.bytes -= h.size
	if h.state.Load() == fresh {
		w.settle(h)
	}
}
