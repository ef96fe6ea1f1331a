package log

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
)

// sendTimeout is how long an append may stay unconfirmed, the client's default (coordination contract, section 0).
const sendTimeout = 30 * time.Second

// PulsarOptions describe one topic.
type PulsarOptions struct {
	Client pulsar.Client
	Topic  string // persistent://tenant/namespace/name, not partitioned
	// ReadCompacted lets readers start from the compacted view. The assignments topic is always read that way, the
	// metadata topic only with useCompactedMetadataTopic.
	ReadCompacted bool
}

// NewPulsar makes the log of a Pulsar topic.
func NewPulsar(o PulsarOptions) Log { return &pulsarLog{o} }

type pulsarLog struct{ PulsarOptions }

func (l *pulsarLog) OpenWriter(ctx context.Context, name string) (Writer, error) {
	w := &pulsarWriter{lost: make(chan struct{})}
	p, err := open(ctx, func() (pulsar.Producer, error) {
		return l.Client.CreateProducer(pulsar.ProducerOptions{
			Topic:              l.Topic,
			Name:               name,
			ProducerAccessMode: pulsar.ProducerAccessModeExclusive,
			DisableBatching:    true,
			CompressionType:    pulsar.LZ4,
			SendTimeout:        sendTimeout,
			// A producer that reconnects while it is being closed comes to life again at the broker, on a connection that
			// stays, and keeps everybody out for ever. So it never reconnects: the client asks for the pauses between its
			// attempts when a connection is lost, which tells us, and then makes none.
			MaxReconnectToBroker: new(uint),
			BackOffPolicyFunc:    func() backoff.Policy { w.lose(); return Backoff() },
		})
	}, pulsar.Producer.Close)
	if err != nil {
		if text := err.Error(); strings.Contains(text, "ProducerFenced") || strings.Contains(text, "ProducerBusy") {
			err = fmt.Errorf("%w: %w", ErrBusy, err)
		}
		return nil, fmt.Errorf("opening the exclusive producer %s of %s: %w", name, l.Topic, err)
	}
	w.producer = p
	return w, nil
}

func (l *pulsarLog) OpenReader(ctx context.Context, name string, after ID) (Reader, error) {
	start := pulsar.EarliestMessageID()
	if after != None {
		// the client counts an entry that is no batch as index 0 when it leaves out what is not after the start
		start = pulsar.NewMessageID(after.Ledger, after.Entry, max(after.Batch, 0), -1)
	}
	interrupted := make(chan struct{}, 1)
	r, err := open(ctx, func() (pulsar.Reader, error) {
		return l.Client.CreateReader(pulsar.ReaderOptions{
			Topic:                  l.Topic,
			Name:                   name,
			SubscriptionRolePrefix: name,
			StartMessageID:         start,
			ReadCompacted:          l.ReadCompacted,
			BackoffPolicyFunc: func() backoff.Policy { // asked for when the connection is lost
				select {
				case interrupted <- struct{}{}:
				default:
				}
				return Backoff()
			},
		})
	}, pulsar.Reader.Close)
	if err != nil {
		return nil, fmt.Errorf("opening the reader %s of %s: %w", name, l.Topic, err)
	}
	return &pulsarReader{reader: r, interrupted: interrupted}, nil
}

// open runs a create call of the client, which takes no context, and discards what comes after ctx has ended: a
// producer nobody knows of would keep everybody out, this process included.
func open[T any](ctx context.Context, create func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ch := make(chan result)
	go func() {
		value, err := create()
		select {
		case ch <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				discard(value)
			}
		}
	}()
	select {
	case r := <-ch:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

type pulsarWriter struct {
	producer pulsar.Producer
	lost     chan struct{}
	losing   sync.Once
	closing  sync.Once
}

func (w *pulsarWriter) lose() { w.losing.Do(func() { close(w.lost) }) }

func (w *pulsarWriter) Lost() <-chan struct{} { return w.lost }

// errLost is what an append meets whose connection has gone.
var errLost = fmt.Errorf("the connection to the broker was lost: %w", ErrFenced)

func (w *pulsarWriter) Append(ctx context.Context, records ...Record) ([]ID, error) {
	type outcome struct {
		index int
		id    ID
		err   error
	}
	ids := make([]ID, len(records))
	for i := range ids {
		ids[i] = None
	}
	select {
	case <-w.lost:
		return ids, fmt.Errorf("appending to %s: %w", w.producer.Topic(), errLost)
	default:
	}
	outcomes := make(chan outcome, len(records)) // the callback runs on the connection's goroutine and must not block
	for i, r := range records {
		payload := r.Payload
		if payload == nil {
			payload = []byte{} // compressed with LZ4 an empty value is a body of one byte, as Java writes it
		}
		message := &pulsar.ProducerMessage{Key: r.Key, Payload: payload, Properties: r.Properties}
		var once sync.Once // a second call must not find the channel full
		w.producer.SendAsync(ctx, message, func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			once.Do(func() {
				o := outcome{index: i, err: err, id: None}
				if err == nil {
					o.id = idOf(id)
				}
				outcomes <- o
			})
		})
	}
	var unknown, refused error
	for range records {
		select {
		case o := <-outcomes:
			ids[o.index] = o.id
			if err := sendError(o.err); errors.Is(err, ErrRejected) {
				refused = err
			} else if err != nil && (unknown == nil || errors.Is(err, ErrFenced)) {
				unknown = err
			}
		case <-w.lost:
			return ids, fmt.Errorf("appending to %s: no confirmation: %w", w.producer.Topic(), errLost)
		case <-ctx.Done():
			return ids, fmt.Errorf("appending to %s: no confirmation: %w", w.producer.Topic(), ctx.Err())
		}
	}
	if unknown != nil {
		return ids, fmt.Errorf("appending to %s: %w", w.producer.Topic(), unknown)
	}
	return ids, refused
}

// sendError sorts an error of the producer: refused before it was sent, fenced, or unknown.
func sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pulsar.ErrMessageTooLarge), errors.Is(err, pulsar.ErrMetaTooLarge), errors.Is(err, pulsar.ErrInvalidMessage):
		return fmt.Errorf("%w: %w", ErrRejected, err)
	case errors.Is(err, pulsar.ErrProducerFenced), errors.Is(err, pulsar.ErrProducerClosed):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	default:
		return err
	}
}

func (w *pulsarWriter) Close() { w.closing.Do(w.producer.Close) }

type pulsarReader struct {
	reader      pulsar.Reader
	once        sync.Once
	interrupted chan struct{}
	asking      sync.Mutex // held while the client asks for the last message: closed meanwhile, it would wait for ever
}

func (r *pulsarReader) Next(ctx context.Context) (Entry, error) {
	m, err := r.reader.Next(ctx)
	if err != nil {
		return Entry{}, err
	}
	return Entry{ID: idOf(m.ID()), Record: Record{Key: m.Key(), Payload: m.Payload(), Properties: m.Properties()}}, nil
}

func (r *pulsarReader) Interrupted() <-chan struct{} { return r.interrupted }

// Last does not use HasNext, which says false on an error as well.
func (r *pulsarReader) Last(ctx context.Context) (ID, error) {
	id, err := open(ctx, func() (pulsar.MessageID, error) {
		r.asking.Lock()
		defer r.asking.Unlock()
		return r.reader.GetLastMessageID()
	}, func(pulsar.MessageID) {})
	if err != nil {
		return None, fmt.Errorf("asking for the last message of %s: %w", r.reader.Topic(), err)
	}
	if id.EntryID() < 0 {
		return None, nil // an empty topic
	}
	return idOf(id), nil
}

// Close is done at once, or, when a call of Last was given up, as soon as the client's own time-out ends that.
func (r *pulsarReader) Close() {
	r.once.Do(func() {
		if !r.asking.TryLock() {
			go func() {
				r.asking.Lock()
				r.reader.Close()
			}()
			return
		}
		defer r.asking.Unlock()
		r.reader.Close()
	})
}

// idOf gives an entry that is no batch, or a batch of one, the same position whoever reports it: the producer, the reader
// and the broker fill in the batch index differently.
func idOf(id pulsar.MessageID) ID {
	if id.BatchSize() <= 1 && id.BatchIdx() <= 0 {
		return ID{Ledger: id.LedgerID(), Entry: id.EntryID(), Batch: -1}
	}
	return ID{Ledger: id.LedgerID(), Entry: id.EntryID(), Batch: id.BatchIdx()}
}

// maxReconnect bounds the pause between attempts to reconnect; the client's own limit of a minute is too long.
const maxReconnect = 5 * time.Second

// Backoff is the pause policy for everything that belongs to the cluster.
func Backoff() backoff.Policy { return &boundedBackoff{Policy: backoff.NewDefaultBackoff()} }

type boundedBackoff struct{ backoff.Policy }

func (b *boundedBackoff) Next() time.Duration { return min(b.Policy.Next(), maxReconnect) }
