// Package log is the replicated log under the cluster: one topic that a single exclusive writer appends to and that
// every worker reads in the same order. Everything the cluster agrees on is the result of applying such a log.
//
// There are two implementations with one contract test: Pulsar topics, and a deterministic one in memory with
// injectable faults for simulations. A Follower keeps a state up to date from a log for as long as it runs.
package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// ID is a position in a log. Batch is -1 for an entry that is no part of a batch.
type ID struct {
	Ledger, Entry int64
	Batch         int32
}

// None is the position before the first entry.
var None = ID{Ledger: -1, Entry: -1, Batch: -1}

// Compare orders positions: negative when a is before b.
func (a ID) Compare(b ID) int {
	return cmp.Or(cmp.Compare(a.Ledger, b.Ledger), cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Batch, b.Batch))
}

// follows says whether nothing can lie between a and its predecessor b. Across ledgers this cannot be known.
func (a ID) follows(b ID) bool {
	return a.Batch < 0 && b.Batch < 0 && a.Ledger == b.Ledger && a.Entry == b.Entry+1
}

func (a ID) String() string {
	if a.Batch >= 0 {
		return fmt.Sprintf("%d:%d:%d", a.Ledger, a.Entry, a.Batch)
	}
	return fmt.Sprintf("%d:%d", a.Ledger, a.Entry)
}

// Record is what is written: a value under a key (which may be empty).
type Record struct {
	Key        string
	Payload    []byte // empty means: delete the key
	Properties map[string]string
}

// Tombstone says whether the record deletes its key. A Java or Go writer's empty LZ4 value reaches a Go reader as the
// single byte 0x00, which no protobuf message starts with (coordination contract, section 12.1).
func (r Record) Tombstone() bool {
	return len(r.Payload) == 0 || (len(r.Payload) == 1 && r.Payload[0] == 0)
}

// Entry is a record at its position.
type Entry struct {
	ID ID
	Record
}

var (
	// ErrBusy: the writer was not opened because another exclusive writer (or a shared one) still holds the log.
	ErrBusy = errors.New("another writer holds the topic")
	// ErrFenced: this writer has lost the log to another one, or was closed. It is of no more use.
	ErrFenced = errors.New("the writer has lost its exclusive access")
	// ErrRejected: the record was surely not written, and the writer is still good (for example: too large).
	ErrRejected = errors.New("the record was refused")
)

// Log is one replicated log.
type Log interface {
	// OpenWriter makes one attempt to become the exclusive writer: ErrBusy when there is another.
	OpenWriter(ctx context.Context, name string) (Writer, error)
	// OpenReader reads the entries after a position; None reads from the beginning.
	OpenReader(ctx context.Context, name string, after ID) (Reader, error)
}

// Writer is the exclusive right to append.
type Writer interface {
	// Append writes the records in order and waits until they are durable. It returns one position per record, None for
	// those that are not confirmed. Unless the error is ErrRejected, the outcome of the others is unknown, and the caller
	// must close the writer and read the log to its end before it relies on its own state again.
	Append(ctx context.Context, records ...Record) ([]ID, error)
	// Lost is closed when the connection behind the writer has gone: nothing can be appended any more. Being fenced on
	// a connection that stays shows at the next Append only.
	Lost() <-chan struct{}
	// Close gives the log free for another writer. Calling it twice is harmless.
	Close()
}

// Reader is one reading position. Next and Last may be called from two goroutines.
type Reader interface {
	// Next waits for the next entry until ctx ends. The reader reconnects by itself; any error other than that of ctx
	// means that it must be opened anew.
	Next(ctx context.Context) (Entry, error)
	// Last is the position of the last entry the log has at this moment, None when it is empty.
	Last(ctx context.Context) (ID, error)
	// Interrupted receives when the reader has lost its connection. It reconnects by itself, but entries may have been
	// compacted away meanwhile.
	Interrupted() <-chan struct{}
	// Close ends the reader.
	Close()
}
