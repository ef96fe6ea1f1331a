package transform

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestApply(t *testing.T) {
	const order = `{"id":9007199254740993,"qty":3,"price":2.5,"tags":["a","b"],"user":{"name":"Ann","mail":"x"}}`
	for name, tc := range map[string]struct {
		config, input string
		want          string // "-": filtered out
		topic, key    string
		properties    map[string]string
		wantErr       string
	}{
		"filter passes":         {config: `{"filter":"msg.qty > 2"}`, input: order, want: order},
		"filter stops":          {config: `{"filter":"msg.qty > 3"}`, input: order, want: "-"},
		"map":                   {config: `{"map":"{'id': msg.id, 'total': double(msg.qty) * msg.price}"}`, input: order, want: `{"id":9007199254740993,"total":7.5}`},
		"map to null":           {config: `{"map":"null"}`, input: order, want: "-"},
		"map to text":           {config: `{"map":"msg.user.name + '!'"}`, input: order, want: "Ann!"},
		"enrich":                {config: `{"map":"merge(msg, {'region': config.region, 'user': without(msg.user, ['mail'])})","config":{"region":"eu"}}`, input: `{"a":1,"user":{"name":"Ann","mail":"x"}}`, want: `{"a":1,"region":"eu","user":{"name":"Ann"}}`},
		"lists":                 {config: `{"map":"msg.tags.map(t, t.upper()).filter(t, t != 'A')"}`, input: order, want: `["B"]`},
		"route":                 {config: `{"topic":"msg.qty > 2 ? 'large' : 'small'"}`, input: order, want: order, topic: "large"},
		"route by the result":   {config: `{"map":"{'n': 1}","topic":"'t' + string(result.n)"}`, input: order, want: `{"n":1}`, topic: "t1"},
		"key and properties":    {config: `{"key":"string(msg.id)","properties":{"who":"msg.user.name","from":"topic"}}`, input: order, want: order, key: "9007199254740993", properties: map[string]string{"p": "v", "who": "Ann", "from": "in"}},
		"properties keep a key": {config: `{"properties":{"p":"'w'"}}`, input: order, want: order, key: "k", properties: map[string]string{"p": "w"}},
		"has":                   {config: `{"filter":"has(msg.user) && !has(msg.nosuch)"}`, input: order, want: order},
		"text":                  {config: `{"input":"text","map":"msg.trim().split(',')"}`, input: " a,b ", want: `["a","b"]`},
		"times":                 {config: `{"map":"publishTime"}`, input: `1`, want: `"1970-01-01T00:00:10Z"`},
		"no JSON":               {config: `{"filter":"true"}`, input: "{", wantErr: "the message is no JSON"},
		"a missing member":      {config: `{"filter":"msg.nosuch == 1"}`, input: order, wantErr: "filter: no such key: nosuch"},
		"no bool":               {config: `{"filter":"msg.qty"}`, input: order, wantErr: "gives a int and no bool"},
		"no text":               {config: `{"key":"msg.qty"}`, input: order, wantErr: "string(…) makes one"},
		"too large":             {config: `{"filter":"true"}`, input: strings.Repeat(" ", maxInput+1), wantErr: "a transform takes at most"},
		"no object to merge":    {config: `{"map":"merge(msg, 1)"}`, input: order, wantErr: "merge: a int is no object"},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := Parse(tc.config)
			require.NoError(t, err)
			r, err := x.Apply(t.Context(), Input{Payload: []byte(tc.input), Topic: "in", Key: "k", Properties: map[string]string{"p": "v"}, PublishTime: time.Unix(10, 0).UTC()})
			switch {
			case tc.wantErr != "":
				require.ErrorContains(t, err, tc.wantErr)
				return
			case tc.want == "-":
				require.NoError(t, err)
				require.Nil(t, r)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, string(r.Payload))
			require.Equal(t, tc.topic, r.Topic)
			require.Equal(t, tc.key, r.Key)
			require.Equal(t, tc.properties, r.Properties)
			require.Equal(t, tc.properties != nil, r.Explicit)
		})
	}
}

func TestRefusedAtSubmission(t *testing.T) {
	for name, tc := range map[string]struct{ config, want string }{
		"nothing":          {``, "must be a JSON object"},
		"empty":            {`{}`, "at least one of filter, map"},
		"an unknown key":   {`{"filtr":"true"}`, `unknown field "filtr"`},
		"a syntax error":   {`{"filter":"msg.a >"}`, "user config filter: it is no expression in CEL"},
		"an unknown name":  {`{"map":"message.a"}`, "undeclared reference to 'message'"},
		"no bool":          {`{"filter":"'yes'"}`, "gives a string, and a bool is wanted"},
		"no text":          {`{"properties":{"n":"1"}}`, `user config properties "n": the expression gives a int, and a string is wanted`},
		"another input":    {`{"map":"1","input":"xml"}`, "neither json nor text"},
		"long":             {`{"map":"'` + strings.Repeat("x", maxSource) + `'"}`, "at most 4096 are possible"},
		"deep":             {`{"map":"` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `"}`, "recursion limit"},
		"many loops":       {`{"map":"[1].map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a])"}`, "4 loops"},
		"many loops, deep": {`{"map":"msg.a.all(x, msg.b.all(y, msg.c.all(z, msg.d.all(w, true))))"}`, "4 loops"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Builtin().Validate(&pb.FunctionDetails{UserConfig: tc.config})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// Expressions that would take all time or memory are stopped.
func TestHostileExpressions(t *testing.T) {
	list := `[` + strings.Repeat(`0,`, 9999) + `0]`
	wide := strings.TrimSuffix(strings.Repeat("a,", 300), ",")
	for name, tc := range map[string]struct{ expression, want string }{
		"nested loops over the input": {"msg.all(a, msg.all(b, msg.all(c, a == b && b == c)))", "map: the expression took longer than it may"},
		"a result that multiplies":    {"[msg].map(a,[" + wide + "]).map(a,[" + wide + "])", "more than 5242880 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := Parse(`{"map":"` + tc.expression + `"}`)
			require.NoError(t, err)
			start := time.Now()
			_, err = x.Apply(t.Context(), Input{Payload: []byte(list)})
			require.ErrorContains(t, err, tc.want)
			require.Less(t, time.Since(start), 20*time.Second)
		})
	}
}

func BenchmarkApply(b *testing.B) {
	x, err := Parse(`{"filter":"msg.qty > 2","map":"{'id': msg.id, 'total': double(msg.qty) * msg.price}"}`)
	require.NoError(b, err)
	in := Input{Payload: []byte(`{"id":1,"qty":3,"price":2.5,"tags":["a","b"],"user":{"name":"Ann","mail":"x"}}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Apply(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzTransform(f *testing.F) {
	f.Add(`{"filter":"msg.a > 2","map":"merge(msg,{'b':1})"}`, `{"a":3}`)
	f.Add(`{"map":"msg.map(x, x * 2)"}`, `[1,2]`)
	f.Fuzz(func(t *testing.T, config, input string) {
		x, err := Parse(config)
		if err != nil {
			return
		}
		_, _ = x.Apply(t.Context(), Input{Payload: []byte(input)}) // any error will do, a panic will not
	})
}
