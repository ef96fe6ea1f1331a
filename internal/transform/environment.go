package transform

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// environment is what expressions can use: standard CEL, math, base64, and a few functions whose results are no larger
// than their arguments together.
func environment() (*cel.Env, error) {
	dynamic := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		cel.Variable("msg", cel.DynType), cel.Variable("result", cel.DynType),
		cel.Variable("key", cel.StringType), cel.Variable("topic", cel.StringType),
		cel.Variable("properties", cel.MapType(cel.StringType, cel.StringType)), cel.Variable("config", dynamic),
		cel.Variable("publishTime", cel.TimestampType), cel.Variable("eventTime", cel.TimestampType),
		cel.ParserRecursionLimit(50), cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true),
		ext.Math(), ext.Encoders(),
		text("lower", strings.ToLower), text("upper", strings.ToUpper), text("trim", strings.TrimSpace),
		cel.Function("split", cel.MemberOverload("string_split_string", []*cel.Type{cel.StringType, cel.StringType}, cel.ListType(cel.StringType),
			cel.BinaryBinding(func(s, separator ref.Val) ref.Val {
				return types.NewStringList(types.DefaultTypeAdapter, strings.Split(string(s.(types.String)), string(separator.(types.String))))
			}))),
		cel.Function("merge", cel.Overload("merge_dyn_dyn", []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, cel.BinaryBinding(merge))),
		cel.Function("without", cel.Overload("without_dyn_list", []*cel.Type{cel.DynType, cel.ListType(cel.StringType)}, cel.DynType, cel.BinaryBinding(without))),
	)
}

func text(name string, f func(string) string) cel.EnvOption {
	return cel.Function(name, cel.MemberOverload("string_"+name, []*cel.Type{cel.StringType}, cel.StringType,
		cel.UnaryBinding(func(s ref.Val) ref.Val { return types.String(f(string(s.(types.String)))) })))
}

// merge gives an object with the members of both; the second one wins.
func merge(a, b ref.Val) ref.Val {
	out := map[ref.Val]ref.Val{}
	for _, from := range []ref.Val{a, b} {
		m, ok := from.(traits.Mapper)
		if !ok {
			return types.NewErr("merge: a %s is no object", from.Type().TypeName())
		}
		for it := m.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			out[key] = m.Get(key)
		}
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, out)
}

// without gives an object with all members but those named.
func without(a, names ref.Val) ref.Val {
	m, ok := a.(traits.Mapper)
	if !ok {
		return types.NewErr("without: a %s is no object", a.Type().TypeName())
	}
	list, ok := names.(traits.Lister)
	if !ok {
		return types.NewErr("without: a %s is no list of names", names.Type().TypeName())
	}
	drop := map[ref.Val]bool{}
	for it := list.Iterator(); it.HasNext() == types.True; {
		name := it.Next()
		if _, ok := name.(types.String); ok {
			drop[name] = true
		}
	}
	out := map[ref.Val]ref.Val{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		if key := it.Next(); !drop[key] {
			out[key] = m.Get(key)
		}
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, out)
}
