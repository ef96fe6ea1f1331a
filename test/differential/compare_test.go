package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// difference is one way in which two answers differ.
type difference struct {
	scenario, step string
	where          string // status, type, or a path into the body
	java, ours     string
}

func (d difference) String() string {
	return fmt.Sprintf("%s / %s: %s: java %s, ours %s", d.scenario, d.step, d.where, shorten(d.java), shorten(d.ours))
}

func shorten(s string) string {
	if len(s) > 700 {
		return s[:700] + "…"
	}
	return s
}

var (
	uuids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	tempFiles = regexp.MustCompile(`functions\d+\.tmp`)
)

// normal replaces what differs between any two workers.
func (w *worker) normal(text string) string {
	text = strings.NewReplacer(w.url, "<worker>", strings.TrimPrefix(w.url, "http://localhost:"), "<port>", w.dir, "<dir>", w.namespace, "<functions>").Replace(text)
	return tempFiles.ReplaceAllString(uuids.ReplaceAllString(text, "<uuid>"), "<temp>")
}

func parse(text string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}

// compare gives the differences of two answers to a step.
func (l *lab) compare(s step, java, ours answer) (diffs []difference) {
	add := func(where string, java, ours any) {
		diffs = append(diffs, difference{step: s.title, where: where, java: show(java), ours: show(ours)})
	}
	if java.status != ours.status {
		add("status", fmt.Sprintf("%d %s", java.status, java.body), fmt.Sprintf("%d %s", ours.status, ours.body))
		return diffs
	}
	if s.statusOnly {
		return nil
	}
	if java.status < 300 && mediaType(java) != mediaType(ours) && len(java.body) > 0 {
		add("content type", mediaType(java), mediaType(ours))
	}
	if a, b := allowed(java), allowed(ours); a != b {
		add("Allow", a, b)
	}
	if java.status >= 400 && !hasReason(java) && (hasReason(ours) || s.method == http.MethodHead) {
		add("framework error", string(java.body), string(ours.body))
		return diffs
	}
	javaText, oursText := l.java.normal(string(java.body)), l.ours.normal(string(ours.body))
	if javaText == oursText {
		return diffs
	}
	a, errA := parse(javaText)
	b, errB := parse(oursText)
	if errA != nil || errB != nil {
		add("body", javaText, oursText)
		return diffs
	}
	if s.unordered {
		sortList(a)
		sortList(b)
	}
	compareValues("body", forget(unpack(a)), forget(unpack(b)), add)
	return diffs
}

// hasReason says whether an answer is an error of the worker's own.
func hasReason(a answer) bool {
	v, _ := parse(string(a.body))
	o, _ := v.(map[string]any)
	_, has := o["reason"]
	return has
}

func mediaType(a answer) string {
	t, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return t
}

func allowed(a answer) string {
	var methods []string
	for _, m := range strings.Split(a.header.Get("Allow"), ",") {
		if m = strings.TrimSpace(m); m != "" {
			methods = append(methods, m)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ",")
}

func sortList(v any) {
	if list, ok := v.([]any); ok {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(show(a), show(b)) })
	}
}

// forget blanks why a stand-in did not answer: the texts come from two gRPC libraries.
func forget(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := maps.Clone(v)
		if running, ok := o["running"].(bool); ok && !running {
			if text, ok := o["error"].(string); ok && !strings.Contains(text, "has not been scheduled") {
				o["error"] = "<why>"
			}
			delete(o, "numRestarts")
		}
		if text, ok := o["failureException"].(string); ok && text != "" { // protobuf JSON of version 2
			o["failureException"] = "<why>"
		}
		for k := range o {
			o[k] = forget(o[k])
		}
		for _, name := range []string{"instances", "functionStatusList"} {
			list, _ := o[name].([]any)
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(instanceOf(a), instanceOf(b)) })
		}
		return o
	case []any:
		list := slices.Clone(v)
		for i := range list {
			list[i] = forget(list[i])
		}
		return list
	}
	return v
}

// instanceOf is the id of an instance in a status or in stats.
func instanceOf(v any) string {
	o, _ := v.(map[string]any)
	return show(o["instanceId"])
}

func compareValues(where string, java, ours any, add func(string, any, any)) {
	a, okA := java.(map[string]any)
	b, okB := ours.(map[string]any)
	if okA && okB {
		for _, k := range slices.Sorted(maps.Keys(a)) {
			if _, there := b[k]; !there {
				add(where+"."+k, a[k], "(missing)")
				continue
			}
			compareValues(where+"."+k, a[k], b[k], add)
		}
		for _, k := range slices.Sorted(maps.Keys(b)) {
			if _, there := a[k]; !there {
				add(where+"."+k, "(missing)", b[k])
			}
		}
		return
	}
	x, okA := java.([]any)
	y, okB := ours.([]any)
	if okA && okB && len(x) == len(y) {
		for i := range x {
			compareValues(fmt.Sprintf("%s[%d]", where, i), x[i], y[i], add)
		}
		return
	}
	if strings.HasSuffix(where, ".cpu") && sameNumber(show(java), show(ours)) {
		return // protobuf JSON: the one field that is a double, spelt 1.0 or 1
	}
	if !reflect.DeepEqual(java, ours) {
		add(where, java, ours)
	}
}

func show(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return strings.TrimSpace(buf.String())
}
