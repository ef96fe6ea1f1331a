package kubernetes

import (
	"fmt"
	goruntime "runtime"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

func metadataOf(name, uid, version string, generation int64, labels ...string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(uid), ResourceVersion: version, Generation: generation, Labels: map[string]string{}}}
	for i := 0; i+1 < len(labels); i += 2 {
		m.Labels[labels[i]] = labels[i+1]
	}
	return m
}

func TestSeen(t *testing.T) {
	deleting := metadataOf("a", "1", "11", 1, "k", "v")
	deleting.DeletionTimestamp = &metav1.Time{}
	tests := map[string]struct {
		then          func(s *seen) error
		changed, gone []string
	}{
		"the same again":          {then: func(s *seen) error { return s.Update(metadataOf("a", "1", "10", 1, "k", "v")) }},
		"another status":          {then: func(s *seen) error { return s.Update(metadataOf("a", "1", "11", 1, "k", "v")) }},
		"another spec":            {then: func(s *seen) error { return s.Update(metadataOf("a", "1", "11", 2, "k", "v")) }, changed: []string{"a"}},
		"another label":           {then: func(s *seen) error { return s.Update(metadataOf("a", "1", "11", 1, "k", "w")) }, changed: []string{"a"}},
		"a lost label":            {then: func(s *seen) error { return s.Update(metadataOf("a", "1", "11", 1)) }, changed: []string{"a"}},
		"being deleted":           {then: func(s *seen) error { return s.Update(deleting) }, changed: []string{"a"}},
		"deleted":                 {then: func(s *seen) error { return s.Delete(metadataOf("a", "1", "11", 1, "k", "v")) }, gone: []string{"a"}},
		"made anew while unheard": {then: func(s *seen) error { return s.Add(metadataOf("a", "2", "11", 1, "k", "v")) }, changed: []string{"a"}},
		"without a generation":    {then: func(s *seen) error { return s.Update(metadataOf("b", "1", "11", 0, "k", "v")) }, changed: []string{"b"}},
		"a new one":               {then: func(s *seen) error { return s.Add(metadataOf("c", "3", "12", 1)) }},
		"read again": {then: func(s *seen) error {
			return s.Replace([]any{metadataOf("a", "1", "11", 3), metadataOf("c", "3", "12", 1)}, "")
		}, changed: []string{"a"}, gone: []string{"b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var changed, gone []string
			s := newSeen(func(n string) { changed = append(changed, n) }, func(n string) { gone = append(gone, n) })
			require.NoError(t, s.Replace([]any{metadataOf("a", "1", "10", 1, "k", "v"), metadataOf("b", "1", "10", 0, "k", "v")}, ""))
			<-s.complete
			require.Empty(t, changed, "what is new is no change")
			require.NoError(t, tt.then(s))
			require.Equal(t, tt.changed, changed)
			require.Equal(t, tt.gone, gone)
			require.Error(t, s.Add("text"))
		})
	}
}

// TestMemoryOfAFunction keeps what this package holds for a function from growing again; the objects themselves are 7 kB.
func TestMemoryOfAFunction(t *testing.T) {
	const functions = 2000
	r := newRig(t)
	metas := make([]*pb.FunctionMetaData, functions)
	for i := range metas {
		metas[i] = metaOf(fmt.Sprintf("f%d", i), "p")
	}
	runs := make([]runtime.Runtime, functions)
	before := heap()
	for i, meta := range metas {
		var err error
		runs[i], err = r.New(instanceOf(meta))
		require.NoError(t, err)
	}
	each := (heap() - before) / functions
	t.Logf("%d bytes for each function", each)
	require.Less(t, each, int64(1024))

	before = heap()
	s := newSeen(nil, nil)
	objects := make([]any, functions)
	for i := range objects {
		objects[i] = metadataOf(fmt.Sprintf("pf-public-default-f%d", i), fmt.Sprintf("uid-%d", i), "1", 1, "component", "function")
	}
	require.NoError(t, s.Replace(objects, ""))
	clear(objects)
	each = (heap() - before) / functions
	t.Logf("%d bytes for each object that is watched", each)
	require.Less(t, each, int64(256))
	goruntime.KeepAlive(runs)
	goruntime.KeepAlive(s)
}
