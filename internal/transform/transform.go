// Package transform is the built-in function "transform": it filters, maps and routes JSON messages by expressions in
// CEL (the Common Expression Language) that stand in the user config, without any code.
//
// Parse checks and compiles a user config, once, at submission and again at the start of an instance; Transform.Apply is
// pure: a message in, a result out. Builtin connects both to the engine.
//
// Bounds: CEL always ends. An evaluation is also stopped by a cost limit, which counts what it builds, and by the
// deadline of the message; sources are short, and hold few loops, so that the values which a loop multiplies stay walkable;
// inputs and results have a largest size.
package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// Bounds of expressions and messages.
const (
	maxSource  = 4 << 10 // bytes of one expression
	maxLoops   = 3       // macros (map, filter, all, exists, …) in one expression
	maxCost    = 1_000_000
	maxInput   = 1 << 20 // bytes
	maxResult  = 5 << 20 // bytes
	maxDepth   = 200
	maxNames   = 64 // properties
	maxTime    = time.Second
	checkEvery = 100 // steps of a loop between looks at the deadline
)

// settings are the user config.
type settings struct {
	// Filter decides whether the message goes on; absent: it does.
	Filter string `json:"filter"`
	// Map makes the result; absent: the input as it is.
	Map string `json:"map"`
	// Topic, Key and Properties are expressions too; absent: output topic, key and properties of the input.
	Topic      string            `json:"topic"`
	Key        string            `json:"key"`
	Properties map[string]string `json:"properties"`
	// Input says what the payload is: json (default) or text.
	Input string `json:"input"`
	// Config is at the disposal of the expressions, as config.
	Config map[string]any `json:"config"`
}

// Transform is a compiled user config. It is safe for concurrent use.
type Transform struct {
	filter, mapping, topic, key cel.Program
	properties                  map[string]cel.Program
	text                        bool
	config                      map[string]any
}

// Input is a message to transform.
type Input struct {
	Payload                []byte
	Topic, Key             string
	Properties             map[string]string
	PublishTime, EventTime time.Time
}

// Parse compiles a user config. The error names the key, and the place in the expression.
func Parse(userConfig string) (*Transform, error) {
	var s settings
	decoder := json.NewDecoder(strings.NewReader(userConfig))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return nil, fmt.Errorf("the user config of a transform must be a JSON object with filter, map, topic, key, properties, input, config: %w", err)
	}
	if s.Filter == "" && s.Map == "" && s.Topic == "" && s.Key == "" && len(s.Properties) == 0 {
		return nil, errors.New("the user config of a transform must hold at least one of filter, map, topic, key, properties")
	}
	t := &Transform{properties: map[string]cel.Program{}, config: s.Config}
	switch s.Input {
	case "", "json":
	case "text":
		t.text = true
	default:
		return nil, fmt.Errorf("user config input: %q is neither json nor text", s.Input)
	}
	if len(s.Properties) > maxNames {
		return nil, fmt.Errorf("user config properties: %d are more than %d", len(s.Properties), maxNames)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	for key, expression := range map[string]struct {
		source string
		kind   *cel.Type
		to     *cel.Program
	}{
		"filter": {s.Filter, cel.BoolType, &t.filter}, "map": {s.Map, nil, &t.mapping},
		"topic": {s.Topic, cel.StringType, &t.topic}, "key": {s.Key, cel.StringType, &t.key},
	} {
		if expression.source == "" {
			continue
		}
		if *expression.to, err = compile(env, expression.source, expression.kind); err != nil {
			return nil, fmt.Errorf("user config %s: %w", key, err)
		}
	}
	for name, source := range s.Properties {
		if t.properties[name], err = compile(env, source, cel.StringType); err != nil {
			return nil, fmt.Errorf("user config properties %q: %w", name, err)
		}
	}
	return t, nil
}

func compile(env *cel.Env, source string, want *cel.Type) (cel.Program, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("the expression has %d bytes; at most %d are possible", len(source), maxSource)
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, fmt.Errorf("it is no expression in CEL: %w", issues.Err())
	}
	if got := checked.OutputType(); want != nil && !got.IsExactType(cel.DynType) && !got.IsExactType(want) {
		return nil, fmt.Errorf("the expression gives a %s, and a %s is wanted", got, want)
	}
	loops := 0
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			loops++
		}
	}))
	if loops > maxLoops {
		return nil, fmt.Errorf("the expression has %d loops (map, filter, all, exists …); at most %d are possible", loops, maxLoops)
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(checkEvery), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("it cannot be prepared: %w", err)
	}
	return program, nil
}

// Apply transforms a message; nil: it is filtered out.
func (t *Transform) Apply(ctx context.Context, in Input) (*instance.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	vars, err := t.variables(in)
	if err != nil {
		return nil, err
	}
	if t.filter != nil {
		keep, err := eval(ctx, "filter", t.filter, vars)
		if err != nil {
			return nil, err
		}
		passes, ok := keep.(types.Bool)
		if !ok {
			return nil, fmt.Errorf("filter: the expression gives a %s and no bool", keep.Type().TypeName())
		}
		if !passes {
			return nil, nil
		}
	}
	result := &instance.Result{Message: instance.Message{Payload: in.Payload}}
	if t.mapping != nil {
		mapped, err := eval(ctx, "map", t.mapping, vars)
		if err != nil {
			return nil, err
		}
		if mapped.Type() == types.NullType {
			return nil, nil
		}
		if result.Payload, err = payload(mapped); err != nil {
			return nil, fmt.Errorf("map: %w", err)
		}
		vars["result"] = mapped
	} else {
		vars["result"] = vars["msg"]
	}
	return result, t.route(ctx, in, vars, result)
}

// route sets topic, key and properties. A result that has any of its own is explicit, and keeps the rest of the input.
func (t *Transform) route(ctx context.Context, in Input, vars map[string]any, result *instance.Result) (err error) {
	if t.topic != nil {
		if result.Topic, err = evalText(ctx, "topic", t.topic, vars); err != nil {
			return err
		}
	}
	if t.key == nil && len(t.properties) == 0 {
		return nil
	}
	result.Explicit, result.Key, result.Properties = true, in.Key, map[string]string{}
	maps.Copy(result.Properties, in.Properties)
	if t.key != nil {
		if result.Key, err = evalText(ctx, "key", t.key, vars); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.properties)) {
		if result.Properties[name], err = evalText(ctx, "property "+name, t.properties[name], vars); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transform) variables(in Input) (map[string]any, error) {
	if len(in.Payload) > maxInput {
		return nil, fmt.Errorf("the message has %d bytes; a transform takes at most %d", len(in.Payload), maxInput)
	}
	var msg any = string(in.Payload)
	if !t.text {
		decoder := json.NewDecoder(bytes.NewReader(in.Payload))
		decoder.UseNumber()
		if err := decoder.Decode(&msg); err != nil {
			return nil, fmt.Errorf("the message is no JSON: %w", err)
		}
		msg = numbers(msg)
	}
	properties := in.Properties
	if properties == nil {
		properties = map[string]string{}
	}
	config := t.config
	if config == nil {
		config = map[string]any{}
	}
	return map[string]any{
		"msg": msg, "key": in.Key, "topic": in.Topic, "properties": properties, "config": config,
		"publishTime": in.PublishTime, "eventTime": in.EventTime, "result": nil,
	}, nil
}

// numbers turns whole numbers into int64 and others into float64: an id must not lose its last digits.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

func eval(ctx context.Context, what string, p cel.Program, vars map[string]any) (ref.Val, error) {
	value, _, err := p.ContextEval(ctx, vars)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: the expression took longer than it may: %w", what, ctx.Err())
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return value, nil
}

func evalText(ctx context.Context, what string, p cel.Program, vars map[string]any) (string, error) {
	value, err := eval(ctx, what, p, vars)
	if err != nil {
		return "", err
	}
	text, ok := value.(types.String)
	if !ok {
		return "", fmt.Errorf("%s: the expression gives a %s and no text; string(…) makes one", what, value.Type().TypeName())
	}
	return string(text), nil
}

// payload is text as it is, bytes as they are, and anything else as JSON.
func payload(v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.String:
		return []byte(v), nil
	case types.Bytes:
		return v, nil
	}
	w := &writer{}
	err := w.value(v, 0)
	return w.out, err
}

// writer writes JSON up to the largest result; values that share parts may be far larger written out than in memory.
type writer struct{ out []byte }

func (w *writer) add(text string) error {
	if len(w.out)+len(text) > maxResult {
		return fmt.Errorf("the result has more than %d bytes", maxResult)
	}
	w.out = append(w.out, text...)
	return nil
}

func (w *writer) value(v ref.Val, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the result is nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case traits.Lister:
		return w.list(v, depth)
	case traits.Mapper:
		return w.object(v, depth)
	case types.Null:
		return w.add("null")
	case types.Timestamp:
		return w.plain(v.Time)
	case types.Duration:
		return w.plain(v.Duration.String())
	case types.Bool, types.Int, types.Uint, types.Double, types.String, types.Bytes:
		return w.plain(v.Value())
	}
	return fmt.Errorf("a %s cannot be written as JSON", v.Type().TypeName())
}

func (w *writer) plain(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.add(string(data))
}

func (w *writer) list(v traits.Lister, depth int) error {
	err := w.add("[")
	first := true
	for it := v.Iterator(); err == nil && it.HasNext() == types.True; first = false {
		if !first {
			err = w.add(",")
		}
		if err == nil {
			err = w.value(it.Next(), depth+1)
		}
	}
	if err != nil {
		return err
	}
	return w.add("]")
}

// object writes the names in order, so that equal results have equal bytes.
func (w *writer) object(v traits.Mapper, depth int) error {
	names := map[string]ref.Val{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name := fmt.Sprint(key.Value())
		if text, ok := key.(types.String); ok {
			name = string(text)
		}
		names[name] = v.Get(key)
	}
	err := w.add("{")
	for i, name := range slices.Sorted(maps.Keys(names)) {
		if i > 0 && err == nil {
			err = w.add(",")
		}
		if err == nil {
			err = w.plain(name)
		}
		if err == nil {
			err = w.add(":")
		}
		if err == nil {
			err = w.value(names[name], depth+1)
		}
	}
	if err != nil {
		return err
	}
	return w.add("}")
}
