package component

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// maybe draws null half of the time.
func maybe[V any](t *rapid.T, name string, g *rapid.Generator[V]) *V {
	if !rapid.Bool().Draw(t, name+" set") {
		return nil
	}
	v := g.Draw(t, name)
	return &v
}

func drawObject(t *rapid.T, name string, depth int) Object {
	o := Object{}
	for i, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z'<=é]{1,6}`), 0, 4, rapid.ID).Draw(t, name) {
		o = append(o, Member{Name: key, Value: drawValue(t, name+string(rune('a'+i)), depth)})
	}
	return o
}

func drawValue(t *rapid.T, name string, depth int) any {
	kind := rapid.IntRange(0, 5).Draw(t, name+" kind")
	if depth == 0 && kind > 3 {
		kind -= 2
	}
	switch kind {
	case 0:
		return rapid.StringMatching(`[ -~é€\n]{0,8}`).Draw(t, name)
	case 1:
		return json.Number(rapid.StringMatching(`-?(0|[1-9][0-9]{0,18})`).Draw(t, name))
	case 2:
		return json.Number(rapid.StringMatching(`(0|[1-9][0-9]{0,8})\.[0-9]{1,4}([eE]-?[1-9][0-9]?)?`).Draw(t, name))
	case 3:
		return rapid.Bool().Draw(t, name)
	case 4:
		return drawObject(t, name, depth-1)
	default:
		return []any{drawValue(t, name+"0", depth-1), nil, drawValue(t, name+"1", depth-1)}
	}
}

var topicNames = rapid.StringMatching(`(persistent://t/n/)?[a-z]{1,5}`)

func drawInputs(t *rapid.T) map[string]*ConsumerConfig {
	specs := map[string]*ConsumerConfig{}
	for _, topic := range rapid.SliceOfNDistinct(topicNames, 1, 3, rapid.ID).Draw(t, "topics") {
		c := NewConsumerConfig()
		c.SchemaType = maybe(t, "schema", rapid.SampledFrom([]string{"STRING", "json", "AVRO"}))
		c.ReceiverQueueSize = maybe(t, "queue", rapid.Int32Range(0, 9))
		c.PoolMessages = rapid.Bool().Draw(t, "pool")
		c.RegexPattern = rapid.Bool().Draw(t, "regex")
		c.ConsumerProperties = rapid.MapOfN(rapid.StringMatching(`[a-c]`), rapid.StringMatching(`[x-z]*`), 0, 2).Draw(t, "consumer properties")
		c.SchemaProperties = rapid.MapOfN(rapid.StringMatching(`[a-c]`), rapid.StringMatching(`[x-z]*`), 0, 2).Draw(t, "schema properties")
		if rapid.Bool().Draw(t, "crypto") {
			c.CryptoConfig = &CryptoConfig{CryptoKeyReaderClassName: ptr(examples + "RawFileKeyReader"), CryptoKeyReaderConfig: FloatObject(drawObject(t, "reader", 1))}
		}
		specs[topic] = c
	}
	return specs
}

// drawFunction draws a function config that is accepted.
func drawFunction(t *rapid.T) *FunctionConfig {
	text := rapid.StringMatching(`[a-z]{1,6}`)
	c := &FunctionConfig{
		RuntimeFlags:                 maybe(t, "flags", text),
		InputSpecs:                   drawInputs(t),
		Output:                       maybe(t, "output", rapid.StringMatching(`out-[a-z]{1,3}`)),
		OutputSchemaType:             maybe(t, "output schema", rapid.SampledFrom([]string{"STRING", "JSON"})),
		LogTopic:                     maybe(t, "log topic", topicNames),
		SubName:                      maybe(t, "subscription", text),
		Parallelism:                  maybe(t, "parallelism", rapid.Int32Range(1, 9)),
		ForwardSourceMessageProperty: maybe(t, "forward", rapid.Bool()),
		CleanupSubscription:          maybe(t, "cleanup", rapid.Bool()),
		SkipToLatest:                 maybe(t, "skip", rapid.Bool()),
		CustomRuntimeOptions:         maybe(t, "options", text),
		BatchBuilder:                 maybe(t, "batch builder", text),
		SubscriptionPosition:         rapid.SampledFrom([]Position{"", Latest, Earliest}).Draw(t, "position"),
		UserConfig:                   FloatObject(drawObject(t, "user config", 2)),
		Secrets:                      FloatObject(drawObject(t, "secrets", 2)),
	}
	c.SetName("t", "n", "f")
	if rapid.Bool().Draw(t, "resources set") {
		c.Resources = &Resources{CPU: maybe(t, "cpu", rapid.Map(rapid.Float64Range(0.001, 1e9), func(f float64) Double { return Double(f) })),
			RAM: maybe(t, "ram", rapid.Int64Range(1, 1<<60)), Disk: maybe(t, "disk", rapid.Int64Range(1, 1<<60))}
	}
	if rapid.Bool().Draw(t, "producer set") {
		c.ProducerConfig = &ProducerConfig{MaxPendingMessages: maybe(t, "pending", rapid.Int32Range(1, 5)),
			CompressionType: Compression(rapid.SampledFrom(append(Compression("").names(), "")).Draw(t, "compression"))}
	}
	switch c.Runtime = Language(rapid.SampledFrom(Language("").names()).Draw(t, "runtime")); c.Runtime {
	case Java:
		drawJava(t, c)
	case Python:
		c.ClassName = ptr("mod.F")
		c.InputTypeClassName = maybe(t, "input type", text)
		c.RetainKeyOrdering = maybe(t, "key ordering", rapid.Bool())
	}
	return c
}

func drawJava(t *rapid.T, c *FunctionConfig) {
	c.ClassName = ptr(examples + "ExclamationFunction")
	if rapid.Bool().Draw(t, "window") {
		c.ClassName = ptr(examples + "AddWindowFunction")
		c.WindowConfig = &WindowConfig{WindowLengthCount: ptr(rapid.Int32Range(1, 9).Draw(t, "length")),
			SlidingIntervalDurationMs: maybe(t, "sliding", rapid.Int64Range(1, 9)), LateDataTopic: maybe(t, "late", topicNames)}
		return
	}
	c.ProcessingGuarantees = rapid.SampledFrom([]Guarantees{"", AtLeastOnce, AtMostOnce, EffectivelyOnce, Manual}).Draw(t, "guarantee")
	if c.ProcessingGuarantees != AtMostOnce {
		c.AutoAck = maybe(t, "auto ack", rapid.Bool())
	}
	if c.ProcessingGuarantees != EffectivelyOnce {
		c.MaxMessageRetries = maybe(t, "retries", rapid.Int32Range(0, 5))
	}
	if c.MaxMessageRetries != nil {
		c.DeadLetterTopic = maybe(t, "dead letters", topicNames)
	}
	c.RetainOrdering = maybe(t, "ordering", rapid.Bool())
}

// What is stored survives reading it back and storing it again, and a client that sends back what it has read
// changes nothing.
func TestFunctionsAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawFunction(t)
		before := marshal(t, cfg)
		details, err := defaultOptions.FunctionDetails(cfg, exampleClasses())
		require.NoError(t, err)
		require.Equal(t, before, marshal(t, cfg), "the config that was given is left alone")

		stored, err := FunctionConfigOf(details)
		require.NoError(t, err)
		again, err := defaultOptions.FunctionDetails(stored, exampleClasses())
		require.NoError(t, err)
		requireSameDetails(t, details, again)

		client, err := ParseFunctionConfig([]byte(marshal(t, stored)))
		require.NoError(t, err)
		merged, err := MergeFunction(stored, client)
		require.NoError(t, err)
		require.True(t, SameFunction(stored, merged), "%s\n%s", marshal(t, stored), marshal(t, merged))
		again, err = defaultOptions.FunctionDetails(merged, exampleClasses())
		require.NoError(t, err)
		requireSameDetails(t, details, again)

		nothing := &FunctionConfig{Tenant: cfg.Tenant, Namespace: cfg.Namespace, Name: cfg.Name}
		merged, err = MergeFunction(stored, nothing)
		require.NoError(t, err)
		require.True(t, SameFunction(stored, merged))
	})
}

// The same for sinks.
func TestSinksAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := &SinkConfig{
			ClassName:                    ptr("org.apache.pulsar.io.datagenerator.DataGeneratorPrintSink"),
			InputSpecs:                   drawInputs(t),
			Configs:                      drawObject(t, "configs", 2),
			Secrets:                      FloatObject(drawObject(t, "secrets", 1)),
			ProcessingGuarantees:         rapid.SampledFrom([]Guarantees{"", AtLeastOnce, EffectivelyOnce, Manual}).Draw(t, "guarantee"),
			RetainOrdering:               maybe(t, "ordering", rapid.Bool()),
			TimeoutMs:                    maybe(t, "timeout", rapid.Int64Range(0, 9)),
			NegativeAckRedeliveryDelayMs: maybe(t, "delay", rapid.Int64Range(-1, 9)),
			MaxMessageRetries:            maybe(t, "retries", rapid.Int32Range(-1, 5)),
			SourceSubscriptionPosition:   rapid.SampledFrom([]Position{"", Latest, Earliest}).Draw(t, "position"),
			Archive:                      maybe(t, "archive", rapid.SampledFrom([]string{"builtin://x", "a.nar"})),
		}
		for _, c := range cfg.InputSpecs {
			c.SchemaType = nil // the classes of the test do not fit schemas of other types
		}
		cfg.SetName("t", "n", "s")
		details, err := defaultOptions.SinkDetails(cfg, exampleClasses(), nil)
		require.NoError(t, err)
		stored, err := SinkConfigOf(details)
		require.NoError(t, err)
		client, err := ParseSinkConfig([]byte(marshal(t, stored)))
		require.NoError(t, err)
		merged, err := MergeSink(stored, client)
		require.NoError(t, err)
		require.True(t, SameSink(stored, merged))
		again, err := defaultOptions.SinkDetails(merged, exampleClasses(), nil)
		require.NoError(t, err)
		requireSameDetails(t, details, again)
	})
}

// The same for sources.
func TestSourcesAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := &SourceConfig{
			ClassName:   ptr("org.apache.pulsar.io.datagenerator.DataGeneratorSource"),
			TopicName:   maybe(t, "topic", topicNames),
			Configs:     drawObject(t, "configs", 2),
			SchemaType:  maybe(t, "schema", rapid.SampledFrom([]string{"AVRO", "JSON"})),
			Secrets:     FloatObject(drawObject(t, "secrets", 1)),
			Parallelism: maybe(t, "parallelism", rapid.Int32Range(1, 5)),
			Archive:     maybe(t, "archive", rapid.SampledFrom([]string{"builtin://x", "a.nar"})),
		}
		if rapid.Bool().Draw(t, "batch") {
			cfg.BatchSourceConfig = &BatchSourceConfig{DiscoveryTriggererClassName: ptr("T"), DiscoveryTriggererConfig: FloatObject(drawObject(t, "triggerer", 1))}
		}
		cfg.SetName("t", "n", "s")
		details, err := defaultOptions.SourceDetails(cfg, exampleClasses())
		require.NoError(t, err)
		stored, err := SourceConfigOf(details)
		require.NoError(t, err)
		client, err := ParseSourceConfig([]byte(marshal(t, stored)))
		require.NoError(t, err)
		merged, err := MergeSource(stored, client)
		require.NoError(t, err)
		require.True(t, SameSource(stored, merged))
		again, err := defaultOptions.SourceDetails(merged, exampleClasses())
		require.NoError(t, err)
		requireSameDetails(t, details, again)
	})
}

func marshal(t *rapid.T, v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(v))
	return b.String()
}

// requireSameDetails compares details, the JSON texts in them by their content.
func requireSameDetails(t *rapid.T, want, got *pb.FunctionDetails) {
	diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.FilterField(&pb.SourceSpec{}, "configs", cmp.Comparer(sameText)),
		protocmp.FilterField(&pb.FunctionDetails{}, "userConfig", cmp.Comparer(sameText)))
	require.Empty(t, diff)
}

func sameText(a, b string) bool {
	x, errX := storedObject("a", a)
	y, errY := storedObject("b", b)
	return errX == nil && errY == nil && equalJSON(x, y)
}
