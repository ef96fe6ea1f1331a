package metadata

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/pb"
)

func meta(name string, version uint64) *pb.FunctionMetaData {
	return &pb.FunctionMetaData{Version: version, FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: name}}
}

func codec(compacted bool) Codec {
	return Codec{Compacted: compacted, WorkerID: "w", RequestID: func() string { return "id" }}
}

func TestVersionRule(t *testing.T) {
	tests := map[string]struct {
		history      []Change
		change       Change
		wantOutdated bool
		wantChanged  bool
		wantVersion  uint64
		wantGone     bool
	}{
		"the first registration has any version": {change: ChangeOf(meta("f", 7), false), wantChanged: true, wantVersion: 7},
		"the next version":                       {history: []Change{ChangeOf(meta("f", 0), false)}, change: ChangeOf(meta("f", 1), false), wantChanged: true, wantVersion: 1},
		"the same version is outdated":           {history: []Change{ChangeOf(meta("f", 1), false)}, change: ChangeOf(meta("f", 1), false), wantOutdated: true, wantVersion: 1},
		"an older deletion is outdated":          {history: []Change{ChangeOf(meta("f", 1), false)}, change: ChangeOf(meta("f", 0), true), wantOutdated: true, wantVersion: 1},
		"a deletion carries the next version":    {history: []Change{ChangeOf(meta("f", 1), false)}, change: ChangeOf(meta("f", 2), true), wantChanged: true, wantGone: true},
		"a deletion of the unknown does nothing": {change: ChangeOf(meta("f", 2), true), wantGone: true},
		"registered again it starts at zero": {history: []Change{ChangeOf(meta("f", 5), false), ChangeOf(meta("f", 6), true)},
			change: ChangeOf(meta("f", 0), false), wantChanged: true, wantVersion: 0},
		"versions are signed, as in Java": {history: []Change{ChangeOf(meta("f", 1<<63), false)}, change: ChangeOf(meta("f", 1), false), wantChanged: true, wantVersion: 1},
	}
	for name, test := range tests {
		for _, compacted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				table, c := NewTable(), codec(compacted)
				for _, h := range test.history {
					require.True(t, table.Apply(h))
				}
				require.Equal(t, test.wantOutdated, table.Outdated(test.change))
				r, err := c.Encode(test.change)
				require.NoError(t, err)
				require.Contains(t, r.Properties, "version")
				if len(r.Payload) == 0 {
					r.Payload = []byte{0}
				}
				read, err := c.Decode(rlog.Entry{Record: r})
				require.NoError(t, err)
				require.Equal(t, test.wantChanged, table.Apply(read))
				got, known := table.Get("t/n/f")
				require.Equal(t, test.wantGone, !known)
				require.Equal(t, test.wantVersion, got.GetVersion())
			})
		}
	}
}

func TestFormOnTheWire(t *testing.T) {
	r, err := codec(false).Encode(ChangeOf(meta("f", 3), true))
	require.NoError(t, err)
	require.Empty(t, r.Key, "the default form has no key")
	require.Equal(t, map[string]string{"version": "3"}, r.Properties)
	var request pb.ServiceRequest
	require.NoError(t, proto.Unmarshal(r.Payload, &request))
	require.True(t, proto.Equal(&pb.ServiceRequest{ServiceRequestType: pb.ServiceRequest_DELETE, RequestId: "id", WorkerId: "w",
		FunctionMetaData: meta("f", 3)}, &request))

	r, err = codec(true).Encode(ChangeOf(meta("f", 3), true))
	require.NoError(t, err)
	require.Equal(t, rlog.Record{Key: "t/n/f", Properties: map[string]string{"version": "3"}}, r)
	r, err = codec(true).Encode(ChangeOf(meta("f", 3), false))
	require.NoError(t, err)
	require.Equal(t, "t/n/f", r.Key)
}

func TestBadEntriesAreRefused(t *testing.T) {
	initialize, _ := proto.Marshal(&pb.ServiceRequest{ServiceRequestType: pb.ServiceRequest_INITIALIZE, FunctionMetaData: meta("f", 0)})
	nameless, _ := proto.Marshal(&pb.ServiceRequest{FunctionMetaData: meta("", 0)})
	tests := map[string]struct {
		compacted bool
		record    rlog.Record
	}{
		"garbage":                      {record: rlog.Record{Payload: []byte("\xff\xff\xff")}},
		"empty in the default form":    {record: rlog.Record{Payload: []byte{0}}},
		"a type nobody writes":         {record: rlog.Record{Payload: initialize}},
		"no name":                      {record: rlog.Record{Payload: nameless}},
		"garbage, keyed":               {compacted: true, record: rlog.Record{Key: "t/n/f", Payload: []byte("\xff\xff\xff")}},
		"tombstone without version":    {compacted: true, record: rlog.Record{Key: "t/n/f"}},
		"tombstone, version no number": {compacted: true, record: rlog.Record{Key: "t/n/f", Properties: map[string]string{"version": "x"}}},
		"tombstone without key":        {compacted: true, record: rlog.Record{Properties: map[string]string{"version": "1"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := codec(test.compacted).Decode(rlog.Entry{Record: test.record})
			require.Error(t, err)
		})
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	m := meta("f", 0)
	m.FunctionDetails.ProtoReflect().SetUnknown([]byte{0xf8, 0x06, 0x01})
	for _, compacted := range []bool{false, true} {
		r, err := codec(compacted).Encode(ChangeOf(m, false))
		require.NoError(t, err)
		c, err := codec(compacted).Decode(rlog.Entry{Record: r})
		require.NoError(t, err)
		require.True(t, proto.Equal(m, c.Meta))
	}
}

func TestListsAreSortedAndLimitedToTheNamespace(t *testing.T) {
	table := NewTable()
	other := meta("x", 0)
	other.FunctionDetails.Namespace = "n2"
	for _, m := range []*pb.FunctionMetaData{meta("b", 0), other, meta("a", 0)} {
		table.Apply(ChangeOf(m, false))
	}
	require.Len(t, table.All(""), 3)
	found := table.All("t/n/")
	require.Len(t, found, 2)
	require.Equal(t, "a", found[0].FunctionDetails.Name)
}

// Two readers of one history agree, wherever they stop, and a version never goes back while a function is registered.
func TestVersionsAreMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable()
		for range rapid.IntRange(0, 60).Draw(t, "length") {
			c := ChangeOf(meta(rapid.SampledFrom([]string{"f", "g"}).Draw(t, "name"), rapid.Uint64Range(0, 5).Draw(t, "version")),
				rapid.IntRange(0, 3).Draw(t, "delete") == 0)
			before, known := table.Get(c.Key)
			outdated := table.Outdated(c)
			changed := table.Apply(c)
			after, still := table.Get(c.Key)
			if outdated && (changed || before != after) {
				t.Fatal("an outdated change changed something")
			}
			if known && still && after.Version < before.Version {
				t.Fatal("a version went back")
			}
			if !outdated && still == c.Delete {
				t.Fatal("an accepted change had no effect")
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	r, _ := codec(false).Encode(ChangeOf(meta("f", 3), false))
	f.Add(r.Payload, "t/n/f", "1", true)
	f.Add([]byte{0}, "t/n/f", "1", true)
	f.Fuzz(func(t *testing.T, payload []byte, key, version string, compacted bool) {
		c, err := codec(compacted).Decode(rlog.Entry{Record: rlog.Record{Key: key, Payload: payload, Properties: map[string]string{"version": version}}})
		if err == nil {
			NewTable().Apply(c)
		}
	})
}
