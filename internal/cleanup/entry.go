// Package cleanup removes what deleted and updated components leave behind: subscriptions, the topics of batch sources,
// and packages that nothing refers to any more (coordination contract, sections 7.4, 8.3 and 8.4).
//
// What is to be removed is written down as an Entry before the change that makes it superfluous, in a topic of its own
// next to the metadata topic; so it is not forgotten when a worker dies at any moment. The topic is a queue: all Go
// workers subscribe to it in failover mode, the one that the broker makes active carries the entries out, and an entry
// is acknowledged when nothing of it is left to do. Why not the leader, and a compacted topic: in a mixed cluster a Java
// worker may lead for weeks and would leave everything lying; and here the broker itself remembers what is pending and
// hands it to another worker when this one dies, without tombstones, compaction and reading the past at every start.
//
// An entry is a suspicion, not an order. What is done about it is decided anew each time against the metadata and the
// assignments, read to their ends: nothing is removed that a component refers to, and an entry whose change never
// happened is dropped. Nothing is derived from old messages of the metadata topic: what has the same name today may
// belong to somebody else.
//
// Life cycle: New; Run consumes and works until its context ends; Add may be called from before Run until after it.
package cleanup

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Kind is what sort of thing is left behind in the broker.
type Kind string

const (
	// Subscription is one subscription of one topic.
	Subscription Kind = "subscription"
	// Pattern is a subscription on all topics of a namespace that have it.
	Pattern Kind = "pattern"
	// BatchTopic is the topic through which the instances of a batch source share their tasks, with its subscription.
	BatchTopic Kind = "batchTopic"
)

// Leftover is one thing that a component leaves in the broker.
type Leftover struct {
	Kind         Kind   `json:"kind"`
	Topic        string `json:"topic,omitempty"`     // complete name; not of a Pattern
	Namespace    string `json:"namespace,omitempty"` // tenant/namespace; of a Pattern only
	Subscription string `json:"subscription"`
}

func (l Leftover) String() string {
	switch l.Kind {
	case Pattern:
		return "subscription " + l.Subscription + " of namespace " + l.Namespace
	case BatchTopic:
		return "topic " + l.Topic
	default:
		return "subscription " + l.Subscription + " of " + l.Topic
	}
}

// Entry is one thing to be done, as it stands in the topic (JSON).
type Entry struct {
	Format int `json:"format"` // 1
	// ID tells a redelivered entry from a new one.
	ID string `json:"id"`
	// Function (tenant/namespace/name) and CreateTime name one incarnation of a component.
	Function   string `json:"function"`
	CreateTime uint64 `json:"createTime"`
	// Remove is to be removed when that incarnation is gone and nobody else uses it.
	Remove []Leftover `json:"remove,omitempty"`
	// Packages are keys of the package store, to be deleted when nothing refers to them.
	Packages []string `json:"packages,omitempty"`
	// SettleSeconds is how long packages are left alone: their metadata may be about to be written.
	SettleSeconds int64 `json:"settleSeconds,omitempty"`
	// By is the worker that wrote it, Written when.
	By      string    `json:"by,omitempty"`
	Written time.Time `json:"written"`
}

const (
	format = 1
	// maxEntry is above the largest message of a broker with default limits.
	maxEntry = 8 << 20
	// uploadSettle is longer than a worker goes on with a request after it has begun to store a package (5 minutes), and
	// than the leader takes to write (1 minute).
	uploadSettle = 15 * time.Minute
)

// Deleted is what becomes superfluous when the component is deleted, the packages stored for it included.
func Deleted(meta *pb.FunctionMetaData) Entry {
	e := of(meta, storedPackages(meta))
	e.Remove, _ = Leftovers(meta.GetFunctionDetails()) // what has no valid name was never made
	return e
}

// Superseded are the packages stored for a component that its next version does not use.
func Superseded(old, next *pb.FunctionMetaData) Entry { return of(old, supersededPackages(old, next)) }

// Uploaded are packages about to be stored for a change that may not come to pass, if the worker dies before.
func Uploaded(function string, packages ...string) Entry {
	return Entry{Function: function, Packages: packages, SettleSeconds: int64(uploadSettle / time.Second)}
}

func of(meta *pb.FunctionMetaData, packages []string) Entry {
	return Entry{Function: pb.FullyQualifiedName(meta.GetFunctionDetails()), CreateTime: meta.GetCreateTime(), Packages: packages}
}

// Empty says that there is nothing to do.
func (e Entry) Empty() bool { return len(e.Remove) == 0 && len(e.Packages) == 0 }

// incarnation is one life of a component, from its registration to its deletion.
type incarnation struct {
	function   string
	createTime uint64
}

func (e Entry) incarnation() incarnation { return incarnation{e.Function, e.CreateTime} }

func (e Entry) settle() time.Duration { return time.Duration(e.SettleSeconds) * time.Second }

// complete fills in what every written entry has.
func (e Entry) complete(by string, now time.Time) Entry {
	e.Format, e.ID, e.By, e.Written = format, uuid.NewString(), by, now.UTC()
	return e
}

// errNewer: the entry is one for workers of a later version.
var errNewer = errors.New("the entry has a format of a later version")

func decode(data []byte) (Entry, error) {
	var e Entry
	if len(data) > maxEntry {
		return e, fmt.Errorf("the entry has %d bytes, more than %d", len(data), maxEntry)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("decoding the entry: %w", err)
	}
	switch {
	case e.Format > format:
		return e, fmt.Errorf("%w: %d", errNewer, e.Format)
	case e.Format < 1 || e.ID == "" || e.Function == "" || e.SettleSeconds < 0 || e.SettleSeconds > 7*24*3600:
		return e, errors.New("the entry is incomplete")
	}
	for _, l := range e.Remove {
		if err := l.check(); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (l Leftover) check() error {
	ok := l.Subscription != ""
	switch l.Kind {
	case Pattern:
		ok = ok && l.Namespace != "" && l.Topic == ""
	case Subscription, BatchTopic:
		_, _, err := topicName(l.Topic)
		ok = ok && err == nil
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("the entry names nothing that could be removed: %+v", l)
	}
	return nil
}
