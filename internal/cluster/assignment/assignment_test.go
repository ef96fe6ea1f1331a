package assignment

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/pb"
)

func assigned(worker, name string, id int32, version uint64) Change {
	i := &pb.Instance{InstanceId: id, FunctionMetaData: &pb.FunctionMetaData{Version: version,
		FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: name}}}
	return Change{Key: pb.InstanceKey(i), Assignment: &pb.Assignment{Instance: i, WorkerId: worker}}
}

func TestApplyTellsWhoseAssignmentsChanged(t *testing.T) {
	steps := []struct {
		name   string
		change Change
		want   []string
	}{
		{"added", assigned("a", "f", 0, 0), []string{"a"}},
		{"the same again", assigned("a", "f", 0, 0), nil},
		{"updated", assigned("a", "f", 0, 1), []string{"a"}},
		{"moved", assigned("b", "f", 0, 1), []string{"a", "b"}},
		{"deleted", Change{Key: "t/n/f:0"}, []string{"b"}},
		{"deleted again", Change{Key: "t/n/f:0"}, nil},
		{"managed elsewhere", assigned("a", "f", -1, 0), []string{"a"}},
	}
	table := NewTable()
	for _, s := range steps {
		require.Equal(t, s.want, table.Apply(s.change), s.name)
	}
	require.Contains(t, table.Of("a"), "t/n/f:-1")
	require.Len(t, table.Function("t/n/f"), 1)
	require.Empty(t, table.Of("b"))
}

func TestFormOnTheWire(t *testing.T) {
	c := assigned("a", "f", 3, 1)
	r, err := Encode(c)
	require.NoError(t, err)
	require.Equal(t, "t/n/f:3", r.Key)
	require.Empty(t, r.Properties)
	read, err := Decode(rlog.Entry{Record: r})
	require.NoError(t, err)
	require.True(t, proto.Equal(c.Assignment, read.Assignment))
	r, err = Encode(Change{Key: "t/n/f:3"})
	require.NoError(t, err)
	require.True(t, r.Tombstone())
	r.Payload = []byte{0} // what a Go reader gets
	read, err = Decode(rlog.Entry{Record: r})
	require.NoError(t, err)
	require.Equal(t, Change{Key: "t/n/f:3"}, read)
	for _, bad := range []string{"\xff\xff", "\x12\x01a"} {
		_, err = Decode(rlog.Entry{Record: rlog.Record{Key: "k", Payload: []byte(bad)}})
		require.Error(t, err)
	}
}

func TestIndexesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, model := NewTable(), map[string]*pb.Assignment{}
		for range rapid.IntRange(0, 50).Draw(t, "length") {
			c := assigned(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "worker"), rapid.SampledFrom([]string{"f", "g"}).Draw(t, "name"),
				rapid.Int32Range(-1, 2).Draw(t, "id"), rapid.Uint64Range(0, 1).Draw(t, "version"))
			model[c.Key] = c.Assignment
			if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
				c.Assignment = nil
				delete(model, c.Key)
			}
			table.Apply(c)
		}
		workers, functions := 0, 0
		for _, w := range table.ByWorker() {
			workers += len(w)
		}
		for _, name := range []string{"f", "g"} {
			functions += len(table.Function(fmt.Sprint("t/n/", name)))
		}
		if workers != len(model) || functions != len(model) || len(table.All()) != len(model) {
			t.Fatalf("%d by worker, %d by function, %d in all, want %d", workers, functions, len(table.All()), len(model))
		}
	})
}
