package instance

import (
	"fmt"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
)

// partitions keep the order of acknowledgements per partition of the inputs: a cumulative acknowledgement covers all
// earlier messages, so it must wait until their results are stored too, wherever these went.
type partitions struct {
	mu     sync.Mutex
	topics map[string]*partition
}

type partition struct {
	mu      sync.Mutex
	queue   []*pendingAck // in the order of the messages; the head is not done
	passive bool          // another instance has it
}

// pendingAck is the place of one message among the acknowledgements of its partition.
type pendingAck struct {
	partition *partition
	message   pulsar.Message
	isDone    bool
}

func newPartitions() partitions { return partitions{topics: map[string]*partition{}} }

func (p *partitions) of(topic string) *partition {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topics[topic] == nil {
		p.topics[topic] = &partition{}
	}
	return p.topics[topic]
}

// add gives a message its place; false when another instance has the partition.
func (p *partitions) add(m pulsar.Message) (*pendingAck, bool) {
	part := p.of(m.Topic())
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.passive {
		return nil, false
	}
	a := &pendingAck{partition: part, message: m}
	part.queue = append(part.queue, a)
	return a, true
}

func (p *partitions) active(topic string) bool {
	part := p.of(topic)
	part.mu.Lock()
	defer part.mu.Unlock()
	return !part.passive
}

// set says who has a partition; true when that has changed. A lost one forgets what was under way: it comes again to
// whoever has it.
func (p *partitions) set(topic string, active bool) bool {
	part := p.of(topic)
	part.mu.Lock()
	defer part.mu.Unlock()
	changed := part.passive == active
	part.passive = !active
	if part.passive {
		part.queue = nil
	}
	return changed
}

// done marks the message and acknowledges up to the last one that nothing is missing before.
func (a *pendingAck) done(ack func(pulsar.Message) error) error {
	p := a.partition
	p.mu.Lock()
	defer p.mu.Unlock()
	a.isDone = true
	var last *pendingAck
	for len(p.queue) > 0 && p.queue[0].isDone {
		last = p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
	}
	if last == nil {
		return nil
	}
	return ack(last.message)
}

// Widths of the parts of a sequence id, in bits; together 63.
const (
	ledgerBits = 26
	entryBits  = 26
	batchBits  = 11
)

// sequenceOf makes the sequence id of a result from the position of its input: it grows along a partition, from message
// to message of a batch too. The id of the Java instance, ledger<<28|entry, is the same for all messages of a batch, so that
// the broker takes all results but the first for duplicates. A position that does not fit is an error, never a loss.
func sequenceOf(id pulsar.MessageID) (int64, error) {
	ledger, entry, index := id.LedgerID(), id.EntryID(), int64(max(0, id.BatchIdx()))
	if ledger < 0 || ledger >= 1<<ledgerBits || entry < 0 || entry >= 1<<entryBits || index >= 1<<batchBits {
		return 0, fmt.Errorf("message %d:%d:%d cannot be processed effectively once: ledger and entry must be below 2^26 and the batch index below 2^11", ledger, entry, index)
	}
	return ledger<<(entryBits+batchBits) | entry<<batchBits | index, nil
}
