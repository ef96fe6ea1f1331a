package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Functions is what the cluster of workers agrees on.
type Functions interface {
	// CatchUp returns when everything is known that was written before it was called.
	CatchUp(ctx context.Context) error
	AllFunctions() []*pb.FunctionMetaData
}

// Sweep says how objects without a function are dealt with.
type Sweep struct {
	// Grace is how long an object must have been without a function.
	Grace time.Duration
	// Report only names them in the log.
	Report bool
}

// orphan is an object that belongs to no function.
type orphan struct {
	kind            schema.GroupVersionResource
	namespace, name string
	uid             types.UID
	version         string
	ours            bool // a worker of this cluster wrote it
}

func (o orphan) String() string { return o.kind.Resource + " " + o.namespace + "/" + o.name }

// Sweeper removes the StatefulSets and Services that deleted functions left behind, because no worker ran or the one that
// deleted them died. An object is removed only if a worker of this very cluster wrote it, which the API server recorded
// (managedFields): objects of other Pulsar clusters in the same namespace, and those that only a Java worker has written,
// are named in the log and stay. Several workers may sweep at once.
type Sweeper struct {
	f         *Factory
	functions Functions
	sweep     Sweep
	since     map[types.UID]time.Time // when an orphan was first seen
	told      map[types.UID]bool
}

// NewSweeper makes a Sweeper; it is to be used by one goroutine.
func (f *Factory) NewSweeper(functions Functions, sweep Sweep) *Sweeper {
	return &Sweeper{f: f, functions: functions, sweep: sweep, since: map[types.UID]time.Time{}, told: map[types.UID]bool{}}
}

// Run sweeps every now and then until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	every := min(max(s.sweep.Grace/4, time.Second), 5*time.Minute)
	var said string
	for sleep(ctx, every) == nil {
		_, err := s.Sweep(ctx)
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			s.f.o.Log.Warn("objects that belong to no function cannot be looked for; trying again", zap.Error(err))
		}
	}
}

// Sweep looks once and returns what it removed.
func (s *Sweeper) Sweep(ctx context.Context) (removed []string, err error) {
	if err := s.f.firstSettings(ctx); err != nil {
		return nil, err
	}
	found, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	present := map[types.UID]bool{}
	var errs []error
	left := map[string][]string{} // why → objects that are left alone, and were not told of before
	for _, o := range found {
		present[o.uid] = true
		first, seen := s.since[o.uid]
		if !seen {
			s.since[o.uid], first = now, now
		}
		switch {
		case now.Sub(first) < s.sweep.Grace:
		case !o.ours || s.sweep.Report:
			if why := s.leaves(o); !s.told[o.uid] {
				s.told[o.uid] = true
				left[why] = append(left[why], o.String())
			}
		default:
			if err := s.remove(ctx, o); err != nil {
				errs = append(errs, err)
				continue
			}
			removed = append(removed, o.String())
		}
	}
	s.tell(left)
	maps.DeleteFunc(s.since, func(uid types.UID, _ time.Time) bool { return !present[uid] })
	maps.DeleteFunc(s.told, func(uid types.UID, _ bool) bool { return !present[uid] })
	return removed, errors.Join(errs...)
}

// leaves says why an orphan is not removed.
func (s *Sweeper) leaves(o orphan) string {
	if o.ours {
		return "goWorker.kubernetes.orphans is report"
	}
	return "not written by a worker of this cluster"
}

// namedOrphans is how many objects one line of the log names: other clusters in the same Kubernetes may have thousands.
const namedOrphans = 20

func (s *Sweeper) tell(left map[string][]string) {
	for _, why := range slices.Sorted(maps.Keys(left)) {
		objects := left[why]
		s.f.o.Log.Warn("objects look like those of functions, but there are no such functions; they are left alone", zap.String("why", why),
			zap.Int("number", len(objects)), zap.Strings("objects", objects[:min(len(objects), namedOrphans)]))
	}
}

// find lists first and reads the metadata to its end afterwards: whatever made an object had written its function before.
func (s *Sweeper) find(ctx context.Context) ([]orphan, error) {
	var all []orphan
	for _, kind := range watched {
		list, err := s.list(ctx, kind)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	wanted, err := s.wanted(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(o orphan) bool { return wanted[objectKey{o.namespace, o.name}] })
	// An adopted function's Service may bear no mark. It goes with the StatefulSet, and before it, so that it is not left
	// behind unmarked if this worker ends in between.
	marked := map[objectKey]bool{}
	for _, o := range all {
		marked[objectKey{o.namespace, o.name}] = marked[objectKey{o.namespace, o.name}] || o.ours
	}
	for i := range all {
		all[i].ours = marked[objectKey{all[i].namespace, all[i].name}]
	}
	slices.SortStableFunc(all, func(a, b orphan) int { return cmp.Compare(a.kind.Resource, b.kind.Resource) })
	return all, nil
}

// wanted are the places of all functions there are, stopped ones included, and those that this worker keeps.
func (s *Sweeper) wanted(ctx context.Context) (map[objectKey]bool, error) {
	if err := s.functions.CatchUp(ctx); err != nil {
		return nil, fmt.Errorf("reading which functions there are: %w", err)
	}
	wanted := map[objectKey]bool{}
	o := s.f.options()
	for _, meta := range s.functions.AllFunctions() {
		d := meta.GetFunctionDetails()
		custom, err := o.customization(d)
		if err != nil { // its place is not known: whatever has its default name stays
			custom = Customization{}
		}
		wanted[objectKey{o.namespaceOf(custom), objectName(d, o.jobNameOf(custom))}] = true
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	for key := range s.f.live {
		wanted[key] = true
	}
	return wanted, nil
}

// list gives the objects with the labels of functions: of all namespaces where that is allowed, else of those of functions.
func (s *Sweeper) list(ctx context.Context, kind schema.GroupVersionResource) ([]orphan, error) {
	all, err := s.listIn(ctx, kind, metav1.NamespaceAll)
	if !isForbidden(err) {
		return all, err
	}
	o := s.f.options()
	namespaces := map[string]bool{o.JobNamespace: true, s.f.o.JobNamespace: true}
	for _, meta := range s.functions.AllFunctions() {
		if custom, err := o.customization(meta.GetFunctionDetails()); err == nil {
			namespaces[o.namespaceOf(custom)] = true
		}
	}
	all = nil
	for _, namespace := range slices.Sorted(maps.Keys(namespaces)) {
		some, err := s.listIn(ctx, kind, namespace)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (s *Sweeper) listIn(ctx context.Context, kind schema.GroupVersionResource, namespace string) (all []orphan, err error) {
	options := metav1.ListOptions{LabelSelector: objectLabels, Limit: 500}
	for {
		page, err := request(ctx, s.f.o.RequestTimeout, action{"list", kind.Group, kind.Resource, namespace, ""}, func(ctx context.Context) (*metav1.PartialObjectMetadataList, error) {
			return s.f.clients.Metadata.Resource(kind).Namespace(namespace).List(ctx, options)
		})
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			m := &page.Items[i]
			if m.DeletionTimestamp == nil && functionLabels(m.Labels) {
				all = append(all, orphan{kind, m.Namespace, m.Name, m.UID, m.ResourceVersion, wroteIt(m.ManagedFields, s.f.manager)})
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// functionLabels: labels called component and name are common; only with all four and a known component it is a function's.
func functionLabels(labels map[string]string) bool {
	switch labels["component"] {
	case "function", "source", "sink":
		return labels["tenant"] != "" && labels["namespace"] != "" && labels["name"] != ""
	}
	return false
}

func wroteIt(entries []metav1.ManagedFieldsEntry, manager string) bool {
	return slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
}

// remove looks once more at the functions, then deletes exactly the object that was seen; if it was changed meanwhile,
// somebody wants it.
func (s *Sweeper) remove(ctx context.Context, o orphan) error {
	wanted, err := s.wanted(ctx)
	if err != nil || wanted[objectKey{o.namespace, o.name}] {
		return err
	}
	if o.kind.Resource == "statefulsets" {
		if err := s.removeToken(ctx, o); err != nil {
			return err
		}
	}
	foreground := metav1.DeletePropagationForeground
	_, err = request(ctx, s.f.o.RequestTimeout, action{"delete", o.kind.Group, o.kind.Resource, o.namespace, o.name}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, ignoreMissing(s.f.clients.Metadata.Resource(o.kind).Namespace(o.namespace).Delete(ctx, o.name, metav1.DeleteOptions{
			PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &o.uid, ResourceVersion: &o.version}}))
	})
	if err != nil {
		return err
	}
	s.f.o.Log.Info("removed an object that belonged to no function", zap.Stringer("object", o))
	return nil
}

// removeToken deletes the Secret with the token of the function's submitter, which nothing else names any more.
func (s *Sweeper) removeToken(ctx context.Context, o orphan) error {
	if credentials := s.f.o.Credentials; credentials == nil || credentials.Provider != SecretToken {
		return nil
	}
	set, err := request(ctx, s.f.o.RequestTimeout, action{"get", "apps", "statefulsets", o.namespace, o.name}, func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return s.f.clients.Objects.StatefulSets(o.namespace).Get(ctx, o.name, metav1.GetOptions{})
	})
	if err != nil || set.UID != o.uid {
		return ignoreMissing(err)
	}
	for _, v := range set.Spec.Template.Spec.Volumes {
		if v.Name == authVolume && v.Secret != nil && IsTokenID([]byte(strings.TrimPrefix(v.Secret.SecretName, secretPrefix))) {
			return s.f.deleteSecret(ctx, o.namespace, v.Secret.SecretName)
		}
	}
	return nil
}
