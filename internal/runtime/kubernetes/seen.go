package kubernetes

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// seen tells what changes among the objects of one kind in one namespace. It keeps no objects, only a fingerprint of each: of two
// that differ by chance have the same, the next resync tells. Its one user, a reflector, calls it from one goroutine.
type seen struct {
	prints        map[string]uint64 // by name
	seed          maphash.Seed
	changed, gone func(name string) // not called for what is new
	complete      chan struct{}     // closed when all objects are known
}

var _ cache.TransformingStore = (*seen)(nil)

func newSeen(changed, gone func(name string)) *seen {
	return &seen{prints: map[string]uint64{}, seed: maphash.MakeSeed(), changed: changed, gone: gone, complete: make(chan struct{})}
}

func partialOf(obj any) (*metav1.PartialObjectMetadata, error) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("a %T instead of the metadata of an object", obj)
	}
	return m, nil
}

// Add takes in an object that may be new.
func (s *seen) Add(obj any) error {
	m, err := partialOf(obj)
	if err != nil {
		return err
	}
	print := s.print(m)
	before, known := s.prints[m.Name]
	s.prints[m.Name] = print
	if known && before != print {
		s.changed(m.Name)
	}
	return nil
}

// Update takes in an object that may have changed.
func (s *seen) Update(obj any) error { return s.Add(obj) }

// Delete takes in the end of an object.
func (s *seen) Delete(obj any) error {
	m, err := partialOf(obj)
	if err != nil {
		return err
	}
	delete(s.prints, m.Name)
	s.gone(m.Name)
	return nil
}

// Replace takes in all objects that there are.
func (s *seen) Replace(objects []any, _ string) error {
	missing := maps.Clone(s.prints)
	for _, obj := range objects {
		if err := s.Add(obj); err != nil {
			return err
		}
		delete(missing, obj.(*metav1.PartialObjectMetadata).Name)
	}
	for name := range missing {
		delete(s.prints, name)
		s.gone(name)
	}
	select {
	case <-s.complete:
	default:
		close(s.complete)
	}
	return nil
}

// Resync has nothing to do.
func (s *seen) Resync() error { return nil }

// Transformer makes the reflector keep little while it collects all objects.
func (s *seen) Transformer() cache.TransformFunc { return trim }

// trim keeps what tells a change.
func trim(obj any) (any, error) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Generation: m.Generation, DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels}}, nil
}

// print leaves out the status, which changes all the time: for a StatefulSet the generation counts changes of the rest, but for labels
// and the deletion. A Service has no generation: every change counts.
func (s *seen) print(m *metav1.PartialObjectMetadata) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	add := func(text string) {
		_, _ = h.WriteString(text) // never fails
		_ = h.WriteByte(0)
	}
	add(string(m.UID))
	if m.Generation == 0 {
		add(m.ResourceVersion)
	} else {
		add(strconv.FormatInt(m.Generation, 10))
		add(strconv.FormatBool(m.DeletionTimestamp != nil))
		for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
			add(key)
			add(m.Labels[key])
		}
	}
	return h.Sum64()
}
