package differential

import "net/http"

func request(method, path string) step {
	return step{title: method + " " + path, method: method, path: path}
}

func endpointScenarios() []scenario {
	var all []scenario
	one := func(s step) { all = append(all, scenario{"endpoint/" + s.title, []step{s}}) }
	for _, path := range []string{"/version", "/initialized", "/admin/v2/worker/cluster", "/admin/v2/worker/cluster/leader", "/admin/v2/worker/cluster/leader/ready", "/admin/worker/cluster",
		"/admin/v2/worker/assignments", "/admin/worker/assignments", "/admin/v2/worker/connectors", "/admin/v2/worker-stats/functionsmetrics", "/admin/worker-stats/functionsmetrics",
		"/admin/v2/worker/drain", "/admin/v2/worker/leader/drain", "/admin/v2/worker/leader/drain?workerId=nosuch", "/admin/v2/worker/leader/drain?workerId=",
		"/admin/v3/functions/connectors", "/admin/v3/functions/builtins", "/admin/v2/functions/connectors",
		"/admin/v3/sinks/builtinsinks", "/admin/v3/sink/builtinsinks", "/admin/v3/sources/builtinsources", "/admin/v3/source/builtinsources",
		"/admin/v3/sinks/builtinsinks/data-generator/configdefinition", "/admin/v3/sinks/builtinsinks/kafka/configdefinition", "/admin/v3/sinks/builtinsinks/http/configdefinition",
		"/admin/v3/sinks/builtinsinks/file/configdefinition", "/admin/v3/sinks/builtinsinks/nosuch/configdefinition", "/admin/v3/sources/builtinsources/data-generator/configdefinition",
		"/admin/v3/sources/builtinsources/kafka/configdefinition", "/admin/v3/sources/builtinsources/file/configdefinition", "/admin/v3/sources/builtinsources/batch-data-generator/configdefinition",
		"/admin/v3/sources/builtinsources/http/configdefinition", "/admin/v3/sources/builtinsources/nosuch/configdefinition",
		"/admin/v3/functions/nosuch/nosuch", "/admin/v3/functions/public/nosuch", "/admin/v3/sinks/public/nosuch", "/admin/v3/sources/a%2Fb/c%20d", "/admin/v2/functions/nosuch/nosuch"} {
		s := get(path).titled("GET " + path)
		s.unordered = true
		if path != "/initialized" {
			s.header = map[string]string{"Accept": "application/json"}
		}
		one(s)
	}
	for _, path := range []string{"/metrics", "/admin/v2/worker-stats/metrics", "/admin/worker-stats/metrics"} {
		s := request(http.MethodGet, path)
		s.statusOnly = true
		one(s)
	}
	for _, path := range []string{"/nosuch", "/status.html", "/admin", "/admin/v3/", "/admin/v3/nosuch", "/admin/v4/functions", "/admin/v3/worker/cluster", "/admin/v2/sinks/public/default", "/admin/v3/functions", "/admin/v3/functions/public", "/admin/v3/functions/cluster",
		"/admin/v3/functions//default/f", "/admin/v3/functions/public//f", "/admin/v3/Functions/public/default", "/admin/v3/functions/public/default/f/nosuch", "/admin/v3/functions/public/default/f/0/nosuch",
		"/admin/v3/sinks/public/default/f/stats", "/admin/v3/sinks/public/default/f/state/k", "/admin/v3/sources/public/default/f/download"} {
		one(request(http.MethodGet, path))
	}
	for _, s := range []step{
		request(http.MethodDelete, "/admin/v3/functions/public/{ns}"), request(http.MethodPut, "/admin/v3/functions/public/{ns}"), request(http.MethodPost, "/version"), request(http.MethodPatch, "/admin/v3/functions/public/{ns}/f"),
		request(http.MethodPost, "/admin/v2/worker/rebalance"), request(http.MethodGet, "/admin/v2/worker/rebalance"), request(http.MethodDelete, "/admin/v2/worker/cluster"), request(http.MethodPut, "/admin/v3/functions/upload"),
		request(http.MethodOptions, "/admin/v3/functions/public/{ns}"), request(http.MethodOptions, "/admin/v3/functions/public/{ns}/f"), request(http.MethodHead, "/version"), request(http.MethodHead, "/admin/v3/functions/public/{ns}/nosuch"), request(http.MethodHead, "/admin/v3/functions/public/{ns}"),
		request(http.MethodGet, "/admin/v3/functions/public/{ns}/"), request(http.MethodGet, "/admin/v3/functions/public/{ns};a=b"), request(http.MethodGet, "/admin/v3/functions/public/{ns}?x=y"), request(http.MethodGet, "/version/"),
		request(http.MethodPut, "/admin/v2/worker/rebalance"), request(http.MethodPut, "/admin/worker/rebalance"), request(http.MethodPut, "/admin/v2/worker/drain"), request(http.MethodPut, "/admin/v2/worker/leader/drain?workerId=nosuch"), request(http.MethodPut, "/admin/v2/worker/leader/drain"),
		request(http.MethodPost, "/admin/v3/functions/builtins/reload"), request(http.MethodPost, "/admin/v3/sinks/reloadBuiltInSinks"), request(http.MethodPost, "/admin/v3/sources/reloadBuiltInSources"), request(http.MethodGet, "/admin/v3/functions/builtins/reload"),
		request(http.MethodGet, "/admin/v3/functions/download"), request(http.MethodGet, "/admin/v3/functions/download?path=nosuch"), request(http.MethodGet, "/admin/v3/functions/download?path=a/b/c/d"),
		request(http.MethodGet, "/admin/v3/functions/download?path=file:///etc/passwd"), request(http.MethodGet, "/admin/v3/functions/download?path=http://localhost:1/x"), request(http.MethodGet, "/admin/v3/functions/download?path=../../../etc/passwd"),
		request(http.MethodGet, "/admin/v3/functions/download?path=/etc/passwd"), request(http.MethodGet, "/admin/v3/functions/download?path=builtin://data-generator"), request(http.MethodGet, "/admin/v3/functions/download?path=function://public/default/nosuch@1"),
	} {
		one(s)
	}
	all = append(all, missing(), headers(), uploads(), alive(functions, pythonFunction, "exclamation_function.py"), alive(sinks, sink, ""), alive(sources, source, ""), states(), triggers(), downloads(), leaderEndpoint(), clashes(), names())
	return all
}

// missing asks for components that do not exist.
func missing() scenario {
	var steps []step
	for _, kind := range []string{functions, sinks, sources} {
		p := componentPath(kind)
		for _, path := range []string{p, p + "/status", p + "/0/status", p + "/x/status", p + "/-1/status"} {
			steps = append(steps, get(path).titled("get missing "+path))
		}
		for _, path := range []string{p + "/start", p + "/stop", p + "/restart", p + "/0/start", p + "/0/stop", p + "/0/restart", p + "/x/start", p + "/x/restart", p + "/99999999999/stop"} {
			steps = append(steps, post(path).titled("post missing "+path))
		}
		steps = append(steps, remove(kind), update(kind, object{}, ""), update(kind, object{"noSuch": 1}, ""))
	}
	p := componentPath(functions)
	steps = append(steps, get(p+"/stats"), get(p+"/0/stats"), get(p+"/x/stats"), get(p+"/state/k"), get(p+"/download"), get("/admin/v2/functions/public/{ns}/{name}"), get("/admin/v2/functions/public/{ns}/{name}/status"),
		post("/admin/v2/functions/public/{ns}/{name}/stop"), post("/admin/v2/functions/public/{ns}/{name}/start"), request(http.MethodDelete, "/admin/v2/functions/public/{ns}/{name}"))
	other := create(functions, pythonFunction, "exclamation_function.py")
	for _, where := range []string{"nosuchtenant/default", "public/nosuchnamespace", "a%2Fb/c", "public/%20"} {
		s := other
		s.title, s.path, s.create, s.stopIfBad = "create in "+where, "/admin/v3/functions/"+where+"/f", "/admin/v3/functions/"+where+"/f", false
		steps = append(steps, s)
	}
	return scenario{"missing components", steps}
}

// headers sends wrong content types and Accept headers.
func headers() scenario {
	var steps []step
	p := componentPath(functions)
	add := func(method, path, body string, header map[string]string) {
		steps = append(steps, step{title: method + " " + lastOf(path) + " " + show(header) + body, method: method, path: path, body: body, header: header})
	}
	for _, accept := range []string{"application/json", "*/*", "text/plain", "application/*", "text/html,*/*;q=0.1", "application/xml", "application/json;q=0", "nonsense"} {
		add("GET", "/admin/v3/functions/public/{ns}", "", map[string]string{"Accept": accept})
		add("GET", p, "", map[string]string{"Accept": accept})
		add("GET", "/version", "", map[string]string{"Accept": accept})
	}
	for _, contentType := range []string{"application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "multipart/mixed; boundary=x", "application/octet-stream", "nonsense", "application/json; charset=utf-8"} {
		for _, path := range []string{p, p + "/trigger", "/admin/v3/functions/upload", p + "/stop", p + "/0/restart", p + "/state/k"} {
			add("POST", path, "", map[string]string{"Content-Type": contentType})
		}
		add("PUT", p, "", map[string]string{"Content-Type": contentType})
		add("PUT", "/admin/v2/worker/rebalance", "", map[string]string{"Content-Type": contentType})
	}
	add("POST", p, "--x\r\n\r\n", map[string]string{"Content-Type": "multipart/form-data; boundary=x"})
	add("POST", p, "--x--\r\n", map[string]string{"Content-Type": "multipart/form-data; boundary=x"})
	add("POST", p, "--x\r\nContent-Disposition: form-data; name=\"functionConfig\"\r\nContent-Type: application/json\r\n\r\n{}", map[string]string{"Content-Type": "multipart/form-data; boundary=x"})
	add("POST", p+"/stop", "not json", map[string]string{"Content-Type": "application/json"})
	add("POST", p, "", nil)
	add("POST", p, "x", nil)
	add("POST", p, "x", map[string]string{"Content-Type": ""})
	return scenario{"headers", steps}
}

func form(method, path string, parts ...part) step {
	return step{title: method + " " + lastOf(path), method: method, path: path, parts: parts}
}

func uploads() scenario {
	path := "/admin/v3/functions/upload"
	data := part{name: "data", contentType: "application/octet-stream", fileName: "x", value: "bytes"}
	download := get("/admin/v3/functions/download?path=public/{ns}/{name}/x").titled("download")
	download.header = map[string]string{"Accept": "*/*"}
	return scenario{"upload and download", []step{
		form("POST", path, data, part{name: "path", value: "public/{ns}/{name}/x"}), download,
		form("POST", path, data), form("POST", path, part{name: "path", value: "public/{ns}/{name}/y"}), form("POST", path, data, part{name: "path", value: ""}),
		form("POST", "/admin/v2/functions/upload", data, part{name: "path", value: "public/{ns}/{name}/z"}), get("/admin/v2/functions/download?path=public/{ns}/{name}/z").titled("download v2"),
		get("/admin/v3/functions/download?path=public/{ns}/{name}/nosuch").titled("download missing"),
	}}
}

// alive uses a running component.
func alive(kind string, config object, pkg string) scenario {
	p := componentPath(kind)
	first := get(p + "/status")
	first.await = 2
	steps := []step{create(kind, with(config, object{"parallelism": 2}), pkg), first}
	for _, id := range []string{"0", "1", "2", "-1", "x", "99999999999", "1.5", "%20"} {
		steps = append(steps, get(p+"/"+id+"/status").titled("status of "+id))
		if kind == functions {
			steps = append(steps, get(p+"/"+id+"/stats").titled("stats of "+id))
		}
	}
	for _, id := range []string{"0", "0", "1", "2", "x", "99999999999"} {
		steps = append(steps, post(p+"/"+id+"/stop").titled("stop "+id))
	}
	steps = append(steps, post(p+"/stop").titled("stop all stopped"), post(p+"/1/start").titled("start 1"), post(p+"/1/start").titled("start 1 again"), post(p+"/start"), post(p+"/start").titled("start again"), post(p+"/0/start").titled("start running"),
		post(p+"/stop"), post(p+"/start"), post(p+"/x/restart"), post(p+"/7/restart").titled("restart 7"), post(p+"/-1/restart").titled("restart -1"))
	list := get("/admin/v3/" + kind + "/public/{ns}").titled("list")
	list.unordered = true
	steps = append(steps, list)
	for _, other := range []string{functions, sinks, sources} {
		if other != kind {
			o := componentPath(other)
			steps = append(steps, get(o).titled("get as "+other), get(o+"/status").titled("status as "+other), post(o+"/stop").titled("stop as "+other), remove(other).titled("delete as "+other), update(other, object{}, "").titled("update as "+other),
				get("/admin/v3/"+other+"/public/{ns}").titled("list of "+other))
		}
	}
	if kind == functions {
		steps = append(steps, get(p+"/stats"), get("/admin/v2/functions/public/{ns}/{name}/status").titled("status v2"), get("/admin/v2/functions/public/{ns}/{name}/0/status").titled("status v2 of 0"))
	}
	// a component that grows after a stop, and one that is stopped while it is updated
	steps = append(steps, post(p+"/0/stop").titled("stop 0"), update(kind, object{"parallelism": 3}, ""), post(p+"/2/stop").titled("stop grown"), post(p+"/2/start").titled("start grown"), post(p+"/stop"), update(kind, object{"parallelism": 1}, ""), post(p+"/start"))
	return scenario{"alive/" + kind, append(steps, remove(kind), remove(kind).titled("delete again"), post(p+"/start").titled("start deleted"))}
}

func states() scenario {
	p := componentPath(functions) + "/state/k"
	value := part{name: "state", contentType: "application/json", value: `{"key":"k","stringValue":"x"}`}
	return scenario{"state without a store", []step{create(functions, pythonFunction, "exclamation_function.py"), get(p), form("POST", p, value), form("POST", p, part{name: "x", value: "y"}),
		form("POST", componentPath(functions)+"/state/other", value), get("/admin/v2/functions/public/{ns}/{name}/state/k"), get(componentPath(functions) + "/state/status"), remove(functions)}}
}

func triggers() scenario {
	p := componentPath(functions) + "/trigger"
	data := part{name: "data", contentType: "text/plain", value: "x"}
	topic := func(t string) part { return part{name: "topic", contentType: "text/plain", value: t} }
	two := with(pythonFunction, object{"inputs": []string{in, "persistent://public/{ns}/in2"}})
	return scenario{"trigger errors", []step{form("POST", p, data).titled("missing"), create(functions, two, "exclamation_function.py"), form("POST", p, topic(in)).titled("no data"), form("POST", p, data).titled("two inputs"),
		form("POST", p, data, topic("nosuch")).titled("unknown topic"), form("POST", p, data, topic("")).titled("empty topic"), form("POST", p, data, topic(in)).titled("not ready"), remove(functions)}}
}

func downloads() scenario {
	get := func(path string) step {
		s := get(path)
		s.header = map[string]string{"Accept": "*/*"}
		return s
	}
	p := componentPath(functions) + "/download"
	return scenario{"download by name", []step{create(functions, pythonFunction, "exclamation_function.py"), get(p), get(p + "?transform-function=false").titled("not the transform"), get(p + "?transform-function=maybe").titled("maybe the transform"), get(p + "?transform-function=true").titled("transform"), remove(functions), get(p).titled("deleted")}}
}

func leaderEndpoint() scenario {
	p := "/admin/v3/functions/leader/public/{ns}/{name}"
	return scenario{"leader endpoint", []step{
		form("PUT", p, part{name: "functionMetaData", contentType: "application/octet-stream", value: "\xff\xff\xff"}, part{name: "delete", value: "false"}).titled("corrupt"),
		form("PUT", p, part{name: "delete", value: "false"}).titled("no metadata"),
		request("GET", p), request("PUT", p),
	}}
}

// clashes: one name for components of different kinds, and twice for one.
func clashes() scenario {
	var steps []step
	steps = append(steps, create(functions, pythonFunction, "exclamation_function.py"))
	for _, s := range []step{create(functions, pythonFunction, "exclamation_function.py"), create(sinks, sink, ""), create(sources, source, "")} {
		s.stopIfBad, s.create, s.title = false, "", "create again "+s.path
		steps = append(steps, s)
	}
	return scenario{"name clashes", append(steps, remove(functions))}
}

// names that are unusual.
func names() scenario {
	var steps []step
	for _, name := range []string{"UPPER_lower-1.2", "a%20b", "%C3%A9", "a+b", "a=b", "a%25b", "a%3Fb", "a%23b", "%22quoted%22", "a'b"} {
		path := "/admin/v3/functions/public/{ns}/" + name
		s := create(functions, pythonFunction, "exclamation_function.py")
		s.title, s.path, s.create, s.stopIfBad = "create "+name, path, path, false
		steps = append(steps, s, get(path).titled("get "+name), request(http.MethodDelete, path))
	}
	return scenario{"names", steps}
}
