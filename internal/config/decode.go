package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Keys that a worker's file may hold without any effect, and why.
var ineffectiveKeys = map[string]string{
	"workerWebAddress": "is computed", "workerWebAddressTls": "is computed", "functionMetadataTopic": "is computed",
	"clusterCoordinationTopic": "is computed", "functionAssignmentTopic": "is computed", "tlsEnabledComputed": "is computed",
	"anonymousUserRole":                   "is a key of the broker and has no effect in a worker",
	"authorizationAllowWildcardsMatching": "is a key of the broker and has no effect in a worker",
	"maxInflightSaslContext":              "is a key of the broker and has no effect in a worker",
	"inflightSaslContextExpiryMs":         "is a key of the broker and has no effect in a worker",
	"functionsWorkerEnabled":              "belongs into broker.conf (and must be false there when separate workers serve the functions API)",
	"pulsarClientMemoryLimit":             "belongs into functionRuntimeFactoryConfigs of the thread runtime",
	"configAdminCLI":                      "belongs into functionRuntimeFactoryConfigs of the Kubernetes runtime",
	"runtimeCustomerClassName":            "is misspelt in some documents; the key is runtimeCustomizerClassName",
}

type unknownKeys int

const (
	warnUnknown   unknownKeys = iota
	refuseUnknown             // where the Java worker does not start either
	ignoreUnknown
)

func decodeWorker(root *node, r *Report) *Worker {
	w := &Worker{}
	d := decoder{r: r}
	d.object(reflect.ValueOf(w).Elem(), Keys(), root, "", warnUnknown)
	return w
}

type decoder struct{ r *Report }

// object fills a struct from a map node (nil = nothing given) and reports keys that it does not know.
func (d decoder) object(v reflect.Value, keys []Key, n *node, prefix string, unknown unknownKeys) {
	var fields map[string]*node
	if n != nil {
		fields = n.fields
	}
	for _, k := range keys {
		d.key(v.FieldByIndex(k.index), k, fields[k.Name])
	}
	if n == nil || unknown == ignoreUnknown {
		return
	}
	for _, name := range n.keys() {
		if !slices.ContainsFunc(keys, func(k Key) bool { return k.Name == name }) {
			d.unknown(prefix+name, name, keys, n.fields[name].origin, unknown)
		}
	}
}

func (d decoder) unknown(path, name string, keys []Key, origin string, mode unknownKeys) {
	hint := ""
	if near := nearest(name, keys); near != "" {
		hint = "; did you mean " + near + "?"
	}
	if mode == refuseUnknown {
		names := make([]string, 0, len(keys))
		for _, k := range keys {
			names = append(names, k.Name)
		}
		d.r.problem(Problem{Key: printable(path), What: "is an unknown key (" + origin + ")", Accepted: strings.Join(names, ", "),
			Remedy: "remove or correct it" + hint})
		return
	}
	if why, ok := ineffectiveKeys[name]; ok && !strings.Contains(path, ".") {
		d.r.warn(path, "%s (%s)", why, origin)
		return
	}
	d.r.warn(printable(path), "%s", "is unknown and ignored ("+origin+")"+hint)
}

// key fills one field: with the given value, or with the default.
func (d decoder) key(v reflect.Value, k Key, n *node) {
	if n != nil {
		d.r.Origin[k.Path] = n.origin
	}
	if len(k.Nested) > 0 {
		d.nested(v, k, n)
		return
	}
	if n == nil {
		setDefault(v, k)
		return
	}
	err := errBlank
	if n.kind != nullNode {
		err = d.set(v, k, n)
	}
	switch {
	case errors.Is(err, errBlank):
		d.blank(v, k, n)
	case err != nil:
		d.bad(k, n, err.Error())
	default:
		d.bounds(v, k, n)
	}
}

// blank handles a key without a value: null for what can be null, the default for numbers and booleans. The Java
// worker takes 0 or false there, which for some keys is a trap; the difference is worth a line in the log.
func (d decoder) blank(v reflect.Value, k Key, n *node) {
	v.SetZero()
	switch v.Kind() {
	case reflect.String, reflect.Pointer, reflect.Slice, reflect.Map:
		return
	}
	setDefault(v, k)
	if !v.IsZero() {
		d.r.warn(k.Path, "is blank (%s); the default %s applies (a Java worker may read 0 or false)", n.origin, k.Default)
	}
}

func (d decoder) nested(v reflect.Value, k Key, n *node) {
	pointer := v.Kind() == reflect.Pointer
	if pointer && (n == nil || n.kind == nullNode) {
		return
	}
	if n != nil && n.kind != mapNode && n.kind != nullNode {
		d.bad(k, n, "it is not a map of keys and values")
		return
	}
	if pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	mode := refuseUnknown
	if k.Name == "goWorker" || strings.HasPrefix(k.Path, "goWorker.") {
		mode = warnUnknown
	}
	d.object(v, k.Nested, n, k.Path+".", mode)
}

func setDefault(v reflect.Value, k Key) {
	if v.Kind() == reflect.Map {
		v.Set(reflect.MakeMap(v.Type()))
	}
	if k.Default != "" {
		// Defaults are part of the program; a test sets every one of them.
		_ = decoder{}.set(v, k, &node{kind: scalarNode, text: k.Default, plain: true})
	}
}

// set coerces a value that is not null to the type of the field.
func (d decoder) set(v reflect.Value, k Key, n *node) error {
	switch v.Type() {
	case reflect.TypeFor[[]string]():
		items, err := d.texts(k, n)
		v.Set(reflect.ValueOf(items))
		return err
	case reflect.TypeFor[map[string]string]():
		return d.textMap(v, k, n)
	case reflect.TypeFor[map[string]any]():
		if n.kind != mapNode {
			return errors.New("it is not a map of keys and values")
		}
		v.Set(reflect.ValueOf(n.native()))
		return nil
	}
	if v.Type() == reflect.TypeFor[[]map[string]any]() {
		maps, err := listOfMaps(n)
		v.Set(reflect.ValueOf(maps))
		return err
	}
	if n.kind != scalarNode {
		return errors.New("it is a list or map, not a single value")
	}
	if v.Kind() == reflect.Pointer {
		target := reflect.New(v.Type().Elem())
		if err := setScalar(target.Elem(), n); err != nil {
			return err
		}
		v.Set(target)
		return nil
	}
	return setScalar(v, n)
}

func listOfMaps(n *node) ([]map[string]any, error) {
	if n.kind != listNode {
		return nil, errors.New("it is not a list of maps")
	}
	var list []map[string]any
	for _, item := range n.list {
		one, ok := item.native().(map[string]any)
		if !ok {
			return nil, fmt.Errorf("an element is not a map of keys and values (%s)", item.origin)
		}
		list = append(list, one)
	}
	return list, nil
}

func setScalar(v reflect.Value, n *node) error {
	switch v.Type() {
	case reflect.TypeFor[duration]():
		x, err := n.duration()
		v.SetInt(int64(x))
		return err
	case reflect.TypeFor[ByteSize]():
		x, err := n.size()
		v.SetInt(int64(x))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.text)
		return nil
	case reflect.Bool:
		x, err := n.boolean()
		v.SetBool(x)
		return err
	case reflect.Int, reflect.Int32:
		x, err := n.integer(32)
		v.SetInt(x)
		return err
	case reflect.Int64:
		x, err := n.integer(64)
		v.SetInt(x)
		return err
	case reflect.Float64:
		x, err := n.float()
		v.SetFloat(x)
		return err
	}
	return fmt.Errorf("a field of type %s cannot be read", v.Type())
}

// texts reads a list. A single value with commas is taken for a list too: environment variables cannot say more.
func (d decoder) texts(k Key, n *node) ([]string, error) {
	var raw []string
	switch n.kind {
	case scalarNode:
		raw = strings.Split(n.text, ",")
	case listNode:
		for _, item := range n.list {
			if item.kind == listNode || item.kind == mapNode {
				return nil, fmt.Errorf("an element is itself a list or map (%s)", item.origin)
			}
			raw = append(raw, item.text)
		}
	default:
		return nil, errors.New("it is not a list")
	}
	items := make([]string, 0, len(raw))
	for _, text := range raw {
		// An empty element would make the role "" a super user; blanks around one never match anything.
		if text = strings.TrimSpace(text); text != "" {
			items = append(items, text)
		} else if len(raw) > 1 {
			d.warn(k.Path, "an empty element is left out (%s)", n.origin)
		}
	}
	return items, nil
}

// textMap reads a map of texts. Nested maps are joined with '_', because an environment variable cannot name a key
// with '_' in any other way (PF_properties_brokerClient_operationTimeoutMs).
func (d decoder) textMap(v reflect.Value, k Key, n *node) error {
	if n.kind != mapNode {
		return errors.New("it is not a map of keys and values")
	}
	out := map[string]string{}
	var walk func(prefix string, n *node) error
	walk = func(prefix string, n *node) error {
		for _, name := range n.keys() {
			child, full := n.fields[name], prefix+name
			switch {
			case child.kind == mapNode && k.Name == "properties":
				if err := walk(full+"_", child); err != nil {
					return err
				}
			case child.kind == scalarNode:
				out[full] = child.text
			case child.kind == nullNode:
				d.warn(k.Path+"."+full, "is blank and left out (%s)", child.origin)
			default:
				return fmt.Errorf("its entry %s is a list or map (%s)", printable(full), child.origin)
			}
		}
		return nil
	}
	err := walk("", n)
	v.Set(reflect.ValueOf(out))
	return err
}

func (d decoder) warn(key, format string, args ...any) {
	if d.r != nil {
		d.r.warn(key, format, args...)
	}
}

func (d decoder) bad(k Key, n *node, what string) {
	p := Problem{Key: k.Path, What: what + " (" + n.origin + ")", Accepted: strings.Join(k.Accept, ", ")}
	if n.kind == scalarNode {
		p.Value = k.show(n.text)
	}
	if p.Accepted == "" {
		p.Accepted = "a value of type " + k.Type
	}
	p.Remedy = "correct the value"
	if k.Default != "" {
		p.Remedy += ", or remove the key for the default " + k.Default
	}
	d.r.problem(p)
}

// bounds checks the accepted values and the least value of a key.
func (d decoder) bounds(v reflect.Value, k Key, n *node) {
	if v.Kind() == reflect.String && len(k.Accept) > 0 && !slices.Contains(k.Accept, v.String()) {
		d.bad(k, n, "it is none of the accepted values")
		return
	}
	if k.Min == "" {
		return
	}
	least, _ := strconv.ParseInt(k.Min, 10, 64)
	if v.Int() >= least {
		return
	}
	if k.JavaDefault == "" {
		d.bad(k, n, "it is below "+k.Min)
		return
	}
	d.r.warn(k.Path, "%s is not usable (%s); %s applies", n.text, n.origin, k.Default)
	setDefault(v, k)
}
