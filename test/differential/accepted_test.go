package differential

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// acceptance is a difference on purpose; doc is the first cell of its row in docs/differences.md.
type acceptance struct {
	doc   string
	match func(d difference) bool
}

// transformListed is the entry of the function that is compiled in.
var transformListed = regexp.MustCompile(`\{"description":"[^"]*","functionClass":null,"name":"transform"\},?`)

// sometimes are the ones that depend on timing: they need not occur in every run.
var sometimes = map[string]bool{"Version 2's status of an instance that was not asked: 500": true}

// acceptances are tried in this order.
var acceptances = []acceptance{
	{"Framework errors are HTML pages or empty", func(d difference) bool { return d.where == "framework error" }},
	{"Unknown JSON properties: 400; `isRegexPattern` (sent by its own client with URLs): 400", func(d difference) bool {
		return refusedByFramework(d) && (containsAny(d.scenario, "isRegexPattern", "unknown property") || containsAny(d.step, `{"a":"b"}`))
	}},
	{"JSON parts need `Content-Type: application/json`", func(d difference) bool {
		return d.where == "status" && strings.Contains(d.java, "config is not provided") && containsAny(d.scenario, "config as text", "config without type")
	}},
	{"An instance id that is no number: 500", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.java, "500") && strings.Contains(d.ours, "The instance id")
	}},
	{"start/stop of an instance id outside 0…parallelism-1 \"succeeds\"", func(d difference) bool {
		return (d.where == "status" || d.where == "body.reason") && strings.Contains(d.ours, "doesn't have instance with id") && containsAny(d.step, "stop", "start")
	}},
	{"Accept headers and content types are read loosely: `q=0` counts, a malformed or absent Content-Type is 400", func(d difference) bool {
		return d.where == "status" && (strings.HasPrefix(d.ours, "406") || strings.HasPrefix(d.java, "400") && strings.HasPrefix(d.ours, "415"))
	}},
	{"Of several faults of a request its framework names one of its own first", func(d difference) bool {
		return d.where == "status" && !strings.Contains(d.java, `"reason"`) && strings.Contains(d.ours, "503 {") && strings.Contains(d.ours, "State storage client")
	}},
	{"Version 2's status of an instance that was not asked: 500", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.step, "status v2") && strings.HasPrefix(d.java, "500") && strings.HasPrefix(d.ours, "200")
	}},
	{"Bad input that nobody expected ends in an uncaught exception: 500", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.java, "500") && (strings.HasPrefix(d.ours, "400 {") || strings.HasPrefix(d.ours, "404 {"))
	}},
	{"Some refusals carry the text of an internal exception, or `null`", func(d difference) bool {
		return d.where == "body.reason" && internalText.MatchString(d.java) && len(d.ours) > 8
	}},
	{"`Allow` of a 405 leaves out HEAD; OPTIONS repeats the header as text", func(d difference) bool {
		return d.where == "Allow" && strings.Replace(d.ours, "HEAD,", "", 1) == d.java || strings.HasPrefix(d.step, "OPTIONS") && d.ours == ""
	}},
	{"`/admin` and `/admin/v3` are redirected to a 404", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.java, "302") && strings.HasPrefix(d.ours, "404")
	}},
	{"Built-ins cannot be downloaded", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.java, "500") && strings.HasPrefix(d.ours, "200 PK") && strings.Contains(d.step, "builtin://")
	}},
	{"The built-in functions are those of `functionsDirectory`", func(d difference) bool {
		return strings.HasSuffix(d.step, "functions/builtins") && transformListed.ReplaceAllString(d.ours, "") == d.java
	}},
	{"Downloads are labelled `application/json`", func(d difference) bool {
		return d.where == "content type" && d.ours == "application/octet-stream" && strings.Contains(d.scenario, "download")
	}},
	{"The leader stores metadata without a name", func(d difference) bool {
		return d.scenario == "leader endpoint" && strings.Contains(d.ours, "Corrupt") || d.where == "stored" && strings.HasPrefix(d.java, `{"functionMetaData":{},`) && d.ours == "(none)"
	}},
	{"Start and stop of all leave instances beyond a reduced parallelism as they were", func(d difference) bool {
		return strings.HasPrefix(d.where, "stored.functionMetaData.instanceStates.") && strings.HasPrefix(d.scenario, "alive/") && d.java == "STOPPED" && d.ours == "RUNNING"
	}},
	{"A part that is given twice: the first counts", func(d difference) bool {
		return d.where == "status" && strings.Contains(d.ours, "is given more than once")
	}},
	{"A client's file name is stored with its directories, and as Latin-1", func(d difference) bool {
		return strings.HasPrefix(d.where, "stored.functionMetaData.packageLocation.") && containsAny(d.scenario, "slashes in its name", "spaces in its name")
	}},
	{"`__WINDOWCONFIGS__` in userConfig and the batch keys in the configs of a source are taken and lost, or break the component", func(d difference) bool {
		return d.where == "status" && strings.Contains(d.ours, "which the worker sets itself")
	}},
	{"An update turns integers in userConfig, secrets and configs into doubles", func(d difference) bool {
		return freeForm.MatchString(d.where) && sameNumber(d.java, d.ours) && strings.Contains(d.java, ".") && !strings.Contains(d.ours, ".")
	}},
	{"An update loses skipToLatest, forwardSourceMessageProperty=false, customSchemaOutputs, consumerProperties, type class names", func(d difference) bool {
		lost := regexp.MustCompile(`\.(skipToLatest|forwardSourceMessageProperty|schemaProperties|consumerProperties|typeClassName)$`)
		return lost.MatchString(d.where) && (d.java == "(missing)" || strings.HasSuffix(d.where, "forwardSourceMessageProperty") && d.java == "true")
	}},
	{"Values are compared as they are spelt: 1 and 1.0, or a default that is spelt out, are a change", func(d difference) bool {
		// the GET that follows shows whether the Java worker's update changed a value
		return strings.HasPrefix(d.step, "update") && strings.Contains(d.ours, "Update contains no change") && !strings.Contains(d.java, "no change")
	}},
	{"Changing only inputSpecs of a function is no change", func(d difference) bool {
		return d.where == "status" && strings.Contains(d.java, "Update contains no change") && strings.HasPrefix(d.ours, "204") && containsAny(d.scenario, "/functions/", "input spec")
	}},
	{"Every update stores an empty producer configuration", func(d difference) bool {
		return strings.HasSuffix(d.where, ".sink.producerSpec") && d.java == "{}" && d.ours == "(missing)"
	}},
	{"Members of resources that an update leaves out go back to their defaults", func(d difference) bool {
		defaults := []string{"1", "1.0", "1073741824", "10737418240"}
		return strings.Contains(d.where, ".resources.") && slices.Contains(defaults, d.java) && d.ours != "(missing)" && containsAny(d.scenario, "resources absent members", "random/")
	}},
	{"A sink's update without sourceSubscriptionPosition sets it to Latest", func(d difference) bool {
		return strings.HasSuffix(d.where, "ubscriptionPosition") && containsAny(d.java, "Latest", "(missing)") && strings.EqualFold(d.ours, "Earliest")
	}},
	{"A sink's update ignores retries, dead letter topic and negative-ack delay", func(d difference) bool {
		ignored := regexp.MustCompile(`\.(maxMessageRetries|deadLetterTopic|negativeAckRedeliveryDelayMs|retryDetails)$`)
		return strings.Contains(d.scenario, "sink") && (ignored.MatchString(d.where) || strings.Contains(d.java, "Update contains no change") && strings.HasPrefix(d.ours, "204"))
	}},
	{"An update to another built-in keeps the old package", func(d difference) bool {
		return strings.HasPrefix(d.where, "stored.functionMetaData.packageLocation.") && containsAny(d.scenario, "other built-in", "built-in over upload", "/archive")
	}},
	{"An empty transformFunctionClassName of a sink without a transform function is stored, and its instances fail", func(d difference) bool {
		return d.scenario == "field/sinks/transformFunctionClassName" && (strings.HasSuffix(d.where, "lassName"))
	}},
	{"A sink's inputs on GET come in the order of a hash table", func(d difference) bool { return strings.HasPrefix(d.where, "body.inputs[") }},
	{"An input given as a text (its schema type), or with null maps, fails", func(d difference) bool {
		return d.where == "status" && strings.Contains(d.java, "Cannot invoke") && strings.HasPrefix(d.ours, "204") && containsAny(d.scenario, "spec text", "spec null maps")
	}},
	{"A built-in function's unreadable `pulsar-io.yaml` is an error although the class is named", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.ours, "204") && strings.Contains(d.scenario, "broken yaml with class")
	}},
	{"A config may be nested 1000 levels deep and be of any size", func(d difference) bool {
		return d.where == "status" && strings.HasPrefix(d.java, "204") && containsAny(d.scenario, "config deep", "config large")
	}},
}

var (
	freeForm = regexp.MustCompile(`\.(userConfig|secretsMap|secrets|configs)\b`)
	// internalText are messages of Java exceptions that the worker passes on.
	internalText = regexp.MustCompile(`^null$|Cannot invoke|com\.fasterxml|java\.io\.|Expect message object|Invalid enum value|illegal character|Expected scheme-specific|Input topic null is invalid`)
)

// refusedByFramework: the Java worker's framework could not read what ours takes.
func refusedByFramework(d difference) bool {
	return d.where == "status" && strings.HasPrefix(d.java, "400") && !strings.Contains(d.java, `"reason"`) && strings.HasPrefix(d.ours, "204")
}

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func sameNumber(a, b string) bool {
	x, errX := json.Number(a).Float64()
	y, errY := json.Number(b).Float64()
	return errX == nil && errY == nil && x == y
}
