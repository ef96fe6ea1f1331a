package differential

import (
	"fmt"
	"net/http"
)

func legacyScenarios() []scenario {
	var all []scenario
	for i, base := range []string{"/admin/v2/functions", "/admin/functions"} {
		p := base + "/public/{ns}/{name}"
		put := func(method, details, pkg string) step {
			s := step{title: method, method: method, path: p, submission: true, parts: append([]part{{name: "functionDetails", contentType: "text/plain", value: details}}, packagePart(pkg)...)}
			if method == http.MethodPost {
				s.create, s.stopIfBad = p, true
			}
			return s
		}
		const python = `{"runtime":"PYTHON","className":"exclamation_function.ExclamationFunction","parallelism":1,"autoAck":true,"source":{"inputSpecs":{"` + in + `":{}}},"sink":{"topic":"` + out + `"}}`
		for _, c := range []struct{ name, details, pkg string }{
			{"python", python, "exclamation_function.py"},
			{"java", `{"className":"` + examplesPackage + `ExclamationFunction","parallelism":1,"autoAck":true,"source":{"inputSpecs":{"` + in + `":{"schemaType":"STRING"}}},"sink":{"topic":"` + out + `"}}`, "api-examples.jar"},
			{"java full", `{"className":"` + examplesPackage + `ExclamationFunction","parallelism":2,"autoAck":true,"userConfig":"{\"a\":1}","secretsMap":"{\"b\":{}}","logTopic":"log","processingGuarantees":"ATMOST_ONCE","retryDetails":{"maxMessageRetries":2,"deadLetterTopic":"d"},"resources":{"cpu":0.5,"ram":"100","disk":"200"},"source":{"inputSpecs":{"` + in + `":{"schemaType":"STRING","receiverQueueSize":{"value":3}}},"subscriptionName":"s","skipToLatest":true,"cleanupSubscription":true,"subscriptionPosition":"EARLIEST"},"sink":{"topic":"` + out + `","forwardSourceMessageProperty":true}}`, "api-examples.jar"},
			{"no parallelism", `{"runtime":"PYTHON","className":"a.B","autoAck":true,"source":{"inputSpecs":{"x":{}}}}`, "exclamation_function.py"},
			{"no inputs", `{"runtime":"PYTHON","className":"a.B","parallelism":1}`, "exclamation_function.py"},
			{"unknown field", `{"noSuch":1}`, "exclamation_function.py"},
			{"unknown enum", `{"runtime":"RUBY"}`, "exclamation_function.py"},
			{"broken", `{`, "exclamation_function.py"},
			{"empty", ``, "exclamation_function.py"},
			{"null", `null`, "exclamation_function.py"},
			{"no package", python, ""},
			{"bad user config", `{"runtime":"PYTHON","className":"a.B","parallelism":1,"userConfig":"x","source":{"inputSpecs":{"x":{}}}}`, "exclamation_function.py"},
		} {
			steps := []step{put(http.MethodPost, c.details, c.pkg), get(p), get(componentPath(functions)).titled("get v3"), put(http.MethodPut, c.details, "").titled("update same"),
				post(p + "/stop"), post(p + "/0/stop").titled("stop stopped"), post(p + "/start"), request(http.MethodDelete, p), get(p).titled("get deleted")}
			all = append(all, scenario{fmt.Sprintf("legacy %d/%s", i, c.name), steps})
		}
	}
	return all
}
