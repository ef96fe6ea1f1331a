package differential

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// compareRecords compares what both workers wrote about each component, in order.
func (l *lab) compareRecords(t *testing.T, r *report, played map[string]scenario) {
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: l.serviceURL, Logger: plog.DefaultNopLogger()})
	require.NoError(t, err)
	defer client.Close()
	java, ours := l.java.records(t, client), l.ours.records(t, client)
	names := maps.Clone(java)
	maps.Copy(names, ours)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := java[name], ours[name]
		if r.parted[name] { // the answers showed it
			continue
		}
		for i := range max(len(a), len(b)) {
			r.records++
			var x, y any = "(none)", "(none)"
			if i < len(a) {
				x = a[i]
			}
			if i < len(b) {
				y = b[i]
			}
			compareValues("stored", x, y, func(where string, java, ours any) {
				d := difference{scenario: played[strings.Split(name, "-")[0]].name, step: fmt.Sprintf("record %d", i), where: where, java: show(java), ours: show(ours)}
				if !r.accept(d) {
					t.Errorf("%s", d)
				}
			})
		}
	}
}

// records reads a worker's metadata topic from its beginning: the records of each component by its name, as JSON values.
func (w *worker) records(t *testing.T, client pulsar.Client) map[string][]any {
	t.Helper()
	reader, err := client.CreateReader(pulsar.ReaderOptions{Topic: "persistent://" + w.namespace + "/metadata", StartMessageID: pulsar.EarliestMessageID()})
	require.NoError(t, err)
	defer reader.Close()
	found := map[string][]any{}
	for reader.HasNext() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		msg, err := reader.Next(ctx)
		cancel()
		require.NoError(t, err)
		req := &pb.ServiceRequest{}
		require.NoError(t, proto.Unmarshal(msg.Payload(), req))
		meta := req.GetFunctionMetaData()
		meta.CreateTime = 0
		data, err := protojson.Marshal(req)
		require.NoError(t, err)
		v, err := parse(w.normal(string(data)))
		require.NoError(t, err)
		o := v.(map[string]any)
		delete(o, "requestId")
		name := meta.GetFunctionDetails().GetName()
		found[name] = append(found[name], unpack(o))
	}
	return found
}

// unpack parses the texts that are JSON themselves: the order of their members means nothing.
func unpack(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, member := range v {
			if text, ok := member.(string); ok && strings.HasPrefix(text, "{") {
				if inner, err := parse(text); err == nil {
					v[k] = unpack(inner)
				}
				continue
			}
			v[k] = unpack(member)
		}
	case []any:
		for i := range v {
			v[i] = unpack(v[i])
		}
	}
	return v
}
