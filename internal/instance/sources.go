//lint:file-ignore ST1005 two errors have the texts of the Java instance

package instance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"
)

// readAll publishes what a source reads, until ctx ends or the source fails. It waits while the queue of the producer is full.
func (e *Engine) readAll(ctx, work context.Context) error {
	reading := e.context.invocation(ctx, delivery{})
	for {
		record, err := e.read(reading)
		switch {
		case e.abandoned.Load():
			return nil
		case err == nil:
			e.stats.Received(time.Now())
			e.publishRecord(work, record)
			if ctx.Err() != nil {
				return nil
			}
		case ctx.Err() != nil:
			return nil // it was asked to stop, and has nothing any more
		default:
			err = fmt.Errorf("reading from the source: %w", err)
			e.stats.EdgeError(err, time.Now())
			return err
		}
	}
}

func (e *Engine) read(ctx context.Context) (record *SourceRecord, err error) {
	err = recovering(func() (err error) {
		record, err = e.ends.source.Read(ctx)
		return err
	})
	if err == nil && record == nil {
		err = errors.New("it gave neither a record nor an error")
	}
	return record, err
}

// publishRecord sends a record of a source on, and tells the source what became of it.
func (e *Engine) publishRecord(ctx context.Context, r *SourceRecord) {
	policy := e.plan.Policy
	e.tell(r, policy.OnReceive(), nil)
	key := producerKey{topic: r.Topic}
	if key.topic == "" {
		key.topic = e.plan.Output.Topic
	}
	if key.topic == "" {
		e.stats.Processed()
		e.tell(r, policy.OnDone(), nil)
		return
	}
	m := producerMessage(&r.Message)
	m.Properties = maps.Clone(r.Properties)
	if policy.Ordered() {
		if r.Partition == "" {
			e.refuseRecord(r, errors.New("PartitionId needs to be specified for every record while in Effectively-once mode"))
			return
		}
		if last, ok := e.ends.sequences[r.Partition]; r.Sequence < 0 || ok && r.Sequence <= last {
			e.refuseRecord(r, fmt.Errorf("RecordSequence needs to be specified for every record while in Effectively-once mode, and to grow: %d of partition %s does not", r.Sequence, r.Partition))
			return
		}
		e.ends.sequences[r.Partition] = r.Sequence
		m.SequenceID, key.partition = &r.Sequence, r.Partition
	}
	e.inFlight.Add(1)
	e.context.producers.send(ctx, key, m, func(_ pulsar.MessageID, err error) {
		defer e.inFlight.Done()
		if err != nil {
			err = fmt.Errorf("sending a record to %s: %w", key.topic, err)
			e.stats.SystemError(err, time.Now())
			e.log.Error("a record is not stored", zap.Error(err))
			e.tell(r, policy.OnSendError(), err)
			return
		}
		e.stats.Processed()
		e.tell(r, policy.OnDone(), nil)
	})
}

// refuseRecord ends the instance for a record that cannot be published.
func (e *Engine) refuseRecord(r *SourceRecord, err error) {
	e.stats.EdgeError(err, time.Now())
	e.tell(r, Fatal, err)
}

// tell gives a source the answer for a record.
func (e *Engine) tell(r *SourceRecord, a Answer, cause error) {
	var f func()
	switch a {
	case Ack, AckUpTo:
		f = r.Ack
	case Fatal:
		e.fail(cause)
		fallthrough
	case Nack:
		if fail := r.Fail; fail != nil {
			f = func() { fail(cause) }
		}
	case Nothing:
	}
	if f == nil || e.ends.left.Load() {
		return
	}
	if err := recovering(func() error { f(); return nil }); err != nil {
		e.stats.EdgeError(err, time.Now())
		e.log.Error("the source failed when it was told what became of a record", zap.Error(err))
	}
}
