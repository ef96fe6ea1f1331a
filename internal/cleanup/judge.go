package cleanup

import (
	"time"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	// changeLimit is how long the change that an entry announces may take to appear in the metadata. After that it never
	// will: requests end after five minutes.
	changeLimit = 10 * time.Minute
	// tooOld is when it is no longer sure enough that what has the name is what was left behind.
	tooOld = 24 * time.Hour
)

// verdict is what to do about one thing now.
type verdict int

const (
	wait   verdict = iota // it may be removed later
	remove                // now
	keep                  // it is not to be removed at all
	never                 // the announced deletion did not happen
)

// world is what all components use at one moment.
type world struct {
	registered map[string]uint64    // function → createTime
	assigned   map[incarnation]bool // has instances assigned to anybody
	current    map[string]bool      // packages that metadata refers to
	running    map[string]bool      // packages that assignments refer to
	consumed   map[Leftover]bool    // what registered components use, of any kind
	topics     map[string]bool      // topics that registered components read or write
	inPattern  map[Leftover]bool    // Pattern of the namespace for every subscription of one topic
}

// newWorld is made of the metadata of all components and of the metadata in all assignments.
func newWorld(functions, assigned []*pb.FunctionMetaData) *world {
	w := &world{registered: map[string]uint64{}, assigned: map[incarnation]bool{}, current: map[string]bool{}, running: map[string]bool{},
		consumed: map[Leftover]bool{}, topics: map[string]bool{}, inPattern: map[Leftover]bool{}}
	for _, meta := range functions {
		d := meta.GetFunctionDetails()
		w.registered[pb.FullyQualifiedName(d)] = meta.GetCreateTime()
		note(w.current, meta)
		w.noteUse(d)
	}
	for _, meta := range assigned {
		w.assigned[incarnation{pb.FullyQualifiedName(meta.GetFunctionDetails()), meta.GetCreateTime()}] = true
		note(w.running, meta)
	}
	return w
}

func note(used map[string]bool, meta *pb.FunctionMetaData) {
	used[meta.GetPackageLocation().GetPackagePath()] = true
	used[meta.GetTransformFunctionPackageLocation().GetPackagePath()] = true
	used[identityOf(credentialKey(meta))] = true
}

func (w *world) noteUse(d *pb.FunctionDetails) {
	consumed, _ := subscriptions(d) // an input without a valid name cannot be consumed
	for _, l := range consumed {
		w.consumed[l] = true
		if l.Kind == Subscription {
			w.topics[l.Topic] = true
			w.inPattern[patternOver(l)] = true
		}
	}
	if isBatchSource(d) {
		w.topics[batchLeftover(d).Topic] = true
	}
	if full, _, err := topicName(d.GetSink().GetTopic()); err == nil {
		w.topics[full] = true
	}
}

// patternOver is the subscription of the same name on all topics of the namespace.
func patternOver(l Leftover) Leftover {
	_, namespace, _ := topicName(l.Topic) // of a Leftover that was checked
	return Leftover{Kind: Pattern, Namespace: namespace, Subscription: l.Subscription}
}

// inUse says whether a registered component uses what l would remove. A subscription by name pattern may be on any
// topic of its namespace.
func (w *world) inUse(l Leftover) bool {
	switch l.Kind {
	case Pattern:
		return w.consumed[l] || w.inPattern[l]
	case BatchTopic:
		return w.topics[l.Topic]
	default:
		return w.consumed[l] || w.consumed[patternOver(l)]
	}
}

// judgeLeftover decides about something in the broker. seen is since when this worker knows of the entry, by its own
// clock; age is since when it was written, by that of another worker.
func (w *world) judgeLeftover(e Entry, l Leftover, seen, age time.Duration) (verdict, string) {
	createTime, registered := w.registered[e.Function]
	switch {
	case registered && createTime == e.CreateTime && seen > changeLimit:
		return never, "the component was not deleted"
	case age > tooOld:
		return keep, "the deletion is too long ago: it may be somebody else's by now"
	case registered && createTime == e.CreateTime:
		return wait, "the component is not deleted yet"
	case w.assigned[e.incarnation()]:
		return wait, "instances are still assigned"
	case w.inUse(l):
		return keep, "a registered component uses it"
	}
	return remove, ""
}

// judgePackage decides about a package.
func (w *world) judgePackage(e Entry, key string, seen time.Duration) (verdict, string) {
	key = identityOf(key)
	switch {
	case seen < e.settle():
		return wait, "a change that uses it may be under way"
	case w.current[key] && (e.SettleSeconds > 0 || seen > changeLimit):
		return keep, "a registered component uses it"
	case w.current[key]:
		return wait, "a registered component uses it"
	case w.running[key]:
		return wait, "instances that use it are still assigned"
	}
	return remove, ""
}
