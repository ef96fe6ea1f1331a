package differential

import (
	"net/http"
	"strings"
)

// deep is a config with a user config of so many levels.
func deep(levels int) string {
	return `{"runtime":"PYTHON","className":"a.B","inputs":["x"],"userConfig":{"a":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + "}}"
}

func packageScenarios() []scenario {
	jar := with(javaFunction, object{"jar": "api-examples.jar"})
	uploadedSink, uploadedSource := with(sink, object{"archive": "x.nar"}), with(source, object{"archive": "x.nar"})
	var all []scenario
	for _, c := range []struct {
		name, kind string
		config     object
		pkg        string
	}{
		{"jar", functions, jar, "api-examples.jar"},
		{"jar no upload", functions, jar, ""},
		{"jar no archive", functions, jar, "no-archive.jar"},
		{"jar empty", functions, jar, "empty.jar"},
		{"jar without jar field", functions, with(jar, object{"jar": drop, "runtime": "JAVA"}), "api-examples.jar"},
		{"jar no class", functions, with(jar, object{"className": drop}), "api-examples.jar"},
		{"nar no class", functions, with(jar, object{"className": drop}), "record.nar"},
		{"nar nameless", functions, with(jar, object{"className": drop}), "nameless.nar"},
		{"nar broken yaml", functions, with(jar, object{"className": drop}), "broken-yaml.nar"},
		{"nar broken yaml with class", functions, jar, "broken-yaml.nar"},
		{"connector as function", functions, with(jar, object{"className": generator + "DataGeneratorSource"}), "data-generator.nar"},
		{"python", functions, pythonFunction, "exclamation_function.py"},
		{"python no upload", functions, pythonFunction, ""},
		{"python empty file", functions, pythonFunction, "empty.jar"},
		{"go", functions, goFunction, "go-function"},
		{"go no upload", functions, goFunction, ""},
		{"sink nar", sinks, uploadedSink, "data-generator.nar"},
		{"sink no upload", sinks, uploadedSink, ""},
		{"sink jar", sinks, uploadedSink, "api-examples.jar"},
		{"sink jar with class", sinks, with(uploadedSink, object{"className": example("ExclamationFunction")}), "api-examples.jar"},
		{"sink no archive", sinks, uploadedSink, "no-archive.jar"},
		{"sink empty", sinks, uploadedSink, "empty.jar"},
		{"sink of a source", sinks, uploadedSink, "file.nar"},
		{"sink function nar", sinks, uploadedSink, "record.nar"},
		{"sink broken yaml", sinks, uploadedSink, "broken-yaml.nar"},
		{"source nar", sources, uploadedSource, "file.nar"},
		{"source no upload", sources, uploadedSource, ""},
		{"source jar", sources, uploadedSource, "api-examples.jar"},
		{"source jar with class", sources, with(uploadedSource, object{"className": example("ExclamationFunction")}), "api-examples.jar"},
		{"source no archive", sources, uploadedSource, "no-archive.jar"},
		{"source of a sink", sources, uploadedSource, "http.nar"},
		{"built-in and upload", functions, javaFunction, "api-examples.jar"},
		{"built-in named twice", functions, with(javaFunction, object{"jar": "builtin://builtin://exclaim"}), ""},
		{"built-in no class", functions, with(javaFunction, object{"className": drop}), ""},
		{"built-in unknown", functions, with(javaFunction, object{"jar": "builtin://nosuch"}), ""},
		{"built-in empty", functions, with(javaFunction, object{"jar": "builtin://"}), ""},
		{"url http", functions, jar, "http://localhost:1/x.jar"},
		{"url file", functions, jar, "file:///etc/passwd"},
		{"url file relative", functions, jar, "file:x.jar"},
		{"url ftp", functions, jar, "ftp://x/y.jar"},
		{"url nothing", functions, jar, "x:"},
		{"url builtin", functions, jar, "builtin://exclaim"},
		{"url function package", functions, jar, "function://public/default/x@1"},
		{"url sink package", sinks, uploadedSink, "sink://public/default/x@1"},
		{"url sink http", sinks, uploadedSink, "http://localhost:1/x.nar"},
		{"url source http", sources, uploadedSource, "https://localhost:1/x.nar"},
		{"url python", functions, pythonFunction, "http://localhost:1/x.py"},
		{"url go file", functions, goFunction, "file:///etc/passwd"},
	} {
		all = append(all, life("package/"+c.name, c.kind, c.config, c.pkg, legacyGet(c.kind)...))
	}
	return append(all, reuploads(jar)...)
}

// reuploads are updates that bring packages, and parts in odd forms.
func reuploads(jar object) []scenario {
	odd := func(parts ...part) step {
		return step{title: "create", method: http.MethodPost, path: componentPath(functions), submission: true, create: componentPath(functions), stopIfBad: true, parts: parts}
	}
	config := configPart(functions, pythonFunction)
	data := packagePart("exclamation_function.py")[0]
	typed := func(p part, contentType string) part { p.contentType = contentType; return p }
	nameless, slashes, spaces := data, data, data
	nameless.noFileName = true
	slashes.fileName = "../../a/b.py"
	spaces.fileName = "a b+c%é.py"
	end := []step{get(componentPath(functions)), remove(functions)}
	with := func(name string, steps ...step) scenario { return scenario{"parts/" + name, append(steps, end...)} }
	return []scenario{
		with("upload again", create(functions, jar, "api-examples.jar"), update(functions, object{}, "api-examples.jar")),
		with("upload other", create(functions, jar, "api-examples.jar"), update(functions, object{}, "no-archive.jar"), update(functions, object{"className": example("RecordFunction")}, "record.nar")),
		with("upload over built-in", create(functions, javaFunction, ""), update(functions, object{"jar": "api-examples.jar"}, "api-examples.jar")),
		with("built-in over upload", create(functions, jar, "api-examples.jar"), update(functions, object{"jar": builtinExamples}, "")),
		with("python again", create(functions, pythonFunction, "exclamation_function.py"), update(functions, object{}, "exclamation_function.py")),
		with("update by bad url", create(functions, pythonFunction, "exclamation_function.py"), update(functions, object{}, "http://localhost:1/x"), update(functions, object{}, "x:y")),
		with("update options", create(functions, pythonFunction, "exclamation_function.py"),
			step{title: "update auth data", method: http.MethodPut, path: componentPath(functions), submission: true,
				parts: []part{configPart(functions, object{}), {name: "updateOptions", contentType: "application/json", value: `{"updateAuthData":true}`}}},
			step{title: "update options null", method: http.MethodPut, path: componentPath(functions), submission: true,
				parts: []part{configPart(functions, object{"parallelism": 2}), {name: "updateOptions", contentType: "application/json", value: `null`}}},
			step{title: "update options broken", method: http.MethodPut, path: componentPath(functions), submission: true,
				parts: []part{configPart(functions, object{"parallelism": 2}), {name: "updateOptions", contentType: "application/json", value: `{`}}}),
		with("config as text", odd(typed(config, "text/plain"), data)),
		with("config without type", odd(typed(config, ""), data)),
		with("config with charset", odd(typed(config, "application/json; charset=UTF-8"), data)),
		with("config null", odd(configPart(functions, "null"), data)),
		with("config empty", odd(configPart(functions, ""), data)),
		with("config broken", odd(configPart(functions, "{"), data)),
		with("config list", odd(configPart(functions, "[]"), data)),
		with("config text", odd(configPart(functions, `"x"`), data)),
		with("config twice", odd(config, config, data)),
		with("config and text after", odd(configPart(functions, `{"runtime":"PYTHON","className":"a.B","inputs":["x"]} trailing`), data)),
		with("config deep", odd(configPart(functions, deep(700)), data)),
		with("config too deep", odd(configPart(functions, deep(5000)), data)),
		with("config large", odd(configPart(functions, object{"runtime": "PYTHON", "className": "a.B", "inputs": []string{"x"}, "userConfig": object{"a": strings.Repeat("x", 2<<20)}}), data)),
		with("no config", odd(data)),
		with("unknown part", odd(config, data, part{name: "noSuch", value: "x"})),
		with("data first", odd(data, config)),
		with("data without file name", odd(config, nameless)),
		with("data with slashes in its name", odd(config, slashes)),
		with("data with spaces in its name", odd(config, spaces)),
		with("data without type", odd(config, typed(data, ""))),
		with("blank url and data", odd(config, data, part{name: "url", value: " "})),
		with("empty url and data", odd(config, data, part{name: "url", value: ""})),
		with("bad url and data", odd(config, data, part{name: "url", value: "x:y"})),
		with("wrong part of another kind", odd(configPart(sinks, pythonFunction), data)),
	}
}
