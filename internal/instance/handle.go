//lint:file-ignore ST1005 one error has the text of the Java instance

package instance

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"
)

// outcome is what came of one call.
type outcome struct {
	result   *Result
	err      error
	answered bool // the function has acknowledged the message itself, or refused it
}

// begin counts a message and gives it its place; false when another instance has taken its partition over.
func (e *Engine) begin(d *delivery) bool {
	if e.plan.Policy.Ordered() {
		pending, active := e.partitions.add(d.message)
		if !active {
			return false
		}
		d.pending = pending
	}
	e.stats.Received(time.Now())
	e.answer(*d, e.plan.Policy.OnReceive())
	return true
}

// invoke calls the function.
func (e *Engine) invoke(ctx context.Context, d delivery) outcome {
	i := e.context.invocation(ctx, d)
	e.calls.begin(&i.running, time.Now(), d.message)
	result, err := call(i, e.opts.Program, d.message)
	e.ended(i)
	return outcome{result: result, err: err, answered: i.answered.Load()}
}

// ended counts a call that has ended.
func (e *Engine) ended(i *invocation) {
	e.calls.end(&i.running)
	now := time.Now()
	e.stats.Handled(now.Sub(i.running.since), now)
}

// conclude passes the outcome of a call on: to the output, and to the broker as the answer for the message.
func (e *Engine) conclude(ctx context.Context, d delivery, o outcome) {
	switch {
	case e.abandoned.Load(): // the inputs are closed, the message is with somebody else by now
	case o.err != nil:
		e.stats.UserError(o.err, time.Now())
		e.log.Error("the function failed", zap.String("topic", d.message.Topic()),
			zap.Stringer("message", d.message.ID()), zap.Error(o.err))
		if !o.answered {
			e.answer(d, e.plan.Policy.OnHandlerError())
		}
	case o.result == nil || (o.result.Topic == "" && e.plan.Output.Topic == ""):
		e.stats.Processed()
		e.answer(d, e.plan.Policy.OnDone())
	default:
		e.send(ctx, d, o.result)
	}
}

// panicError is a panic of the handler; the text has the stack for the log and the status.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// recovering makes an error of a panic.
func recovering(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return f()
}

func call(ctx context.Context, p Program, m pulsar.Message) (result *Result, err error) {
	err = recovering(func() error {
		input, err := payloadOf(ctx, m)
		if err == nil {
			result, err = p.Handle(ctx, input)
		}
		return err
	})
	return result, err
}

// sending is a result on its way. They are used again, as there is one for each message.
type sending struct {
	e          *Engine
	d          delivery
	topic      string
	size       int64 // of maxInFlight
	producer   *cachedProducer
	message    pulsar.ProducerMessage
	properties map[string]string
	confirmed  Confirmed // onConfirmed
}

// maxPooledProperties are those of a message that is used again.
const maxPooledProperties = 64

func (e *Engine) sending() *sending {
	s, ok := e.sendings.Get().(*sending)
	if !ok {
		s = &sending{e: e, properties: map[string]string{}}
		s.confirmed = s.onConfirmed
	}
	return s
}

func (e *Engine) send(ctx context.Context, d delivery, result *Result) {
	s := e.sending()
	s.d, s.topic = d, result.Topic
	if s.topic == "" {
		s.topic = e.plan.Output.Topic
	}
	s.fill(result)
	key := producerKey{topic: s.topic}
	if e.plan.Policy.Ordered() {
		seq, err := sequenceOf(d.message.ID())
		if err != nil {
			e.stats.SystemError(err, time.Now())
			e.fail(err)
			return
		}
		s.message.SequenceID, key.partition = &seq, d.message.Topic()
	}
	e.inFlight.Add(1)
	size := min(int64(len(result.Payload)), maxInFlight)
	if err := e.room.Acquire(ctx, size); err != nil {
		s.end(err)
		return
	}
	s.size = size
	producer, err := e.context.producers.acquire(ctx, key)
	if err != nil {
		s.end(err)
		return
	}
	s.producer = producer
	producer.Send(ctx, &s.message, s.confirmed)
}

func (s *sending) onConfirmed(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
	s.e.context.producers.release(s.producer)
	s.end(err)
}

// end answers for the message whose result it was.
func (s *sending) end(err error) {
	e := s.e
	defer e.inFlight.Done()
	switch {
	case err == nil:
		e.stats.Processed()
		e.answer(s.d, e.plan.Policy.OnDone())
	case e.plan.Policy.Ordered() && !e.partitions.active(s.d.message.Topic()):
		// the producer was closed for the instance that has the partition now
	default:
		err = fmt.Errorf("sending the result to %s: %w", s.topic, err)
		e.stats.SystemError(err, time.Now())
		e.log.Error("the result is lost unless the input is redelivered", zap.Error(err))
		e.answer(s.d, e.plan.Policy.OnSendError())
	}
	e.room.Release(s.size)
	if err != nil || len(s.properties) > maxPooledProperties {
		return // the client may look at a message that it refuses once more; a large map stays large
	}
	s.d, s.size, s.producer, s.message = delivery{}, 0, nil, pulsar.ProducerMessage{}
	e.sendings.Put(s)
}

// fill makes the message of a result (process contract, section 9.4).
func (s *sending) fill(result *Result) {
	in := s.d.message
	clear(s.properties)
	s.message = outgoing(&result.Message)
	if result.Explicit {
		maps.Copy(s.properties, result.Properties)
	} else {
		s.message.Key = in.Key()
		if s.e.plan.ForwardProperties {
			maps.Copy(s.properties, in.Properties())
		}
	}
	s.properties["__pfn_input_topic__"] = in.Topic()
	s.properties["__pfn_input_msg_id__"] = encodedID(in.Topic(), in.ID())
	s.message.Properties = s.properties
}

// answer tells the broker about a message, or ends the instance.
func (e *Engine) answer(d delivery, a Answer) {
	var err error
	switch a {
	case Ack:
		err = d.consumer.Ack(d.message)
	case AckUpTo:
		err = d.pending.done(d.consumer.AckCumulative)
	case Nack:
		d.consumer.Nack(d.message)
	case Fatal:
		e.fail(fmt.Errorf("Failed to process message: %v of %s", d.message.ID(), d.message.Topic()))
	case Nothing:
	}
	if err != nil {
		err = fmt.Errorf("acknowledging a message of %s: %w", d.message.Topic(), err)
		e.stats.SystemError(err, time.Now())
		e.log.Warn("the message will come again", zap.Error(err))
	}
}

// activeChanged is told when this instance gets a partition of a failover subscription, or loses it to another: the
// other one needs the name of the producer, which therefore is closed here.
func (e *Engine) activeChanged(topic string, active bool) {
	if e.partitions.set(topic, active) && !active {
		e.context.producers.closePartition(topic)
	}
}
