#!/usr/bin/env python3
"""Times this worker and the Java worker: start to ready, memory, create to running, REST answers. Called by scripts/bench.sh."""
import json, os, random, signal, statistics, subprocess, sys, time
import requests

work, binary, go_function, runs = sys.argv[1], os.path.abspath(sys.argv[2]), sys.argv[3], int(sys.argv[4])
home, service, web = (os.environ[k] for k in ("PULSAR_HOME", "PULSAR_SERVICE_URL", "PULSAR_WEB_URL"))
EXAMPLES = os.path.join(home, "examples")


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    """One run of a worker in a cluster of its own."""

    def __init__(self, kind, runtime="process.ProcessRuntimeFactory", program=binary):
        self.kind, self.port = kind, free_port()
        self.dir = os.path.join(work, f"{kind}-{self.port}")
        os.makedirs(self.dir)
        self.url = f"http://localhost:{self.port}"
        conf = os.path.join(self.dir, "worker.yml")
        settings = {
            "workerId": f"{kind}-{self.port}", "workerHostname": "localhost", "workerPort": self.port, "pulsarServiceUrl": service,
            "pulsarWebServiceUrl": web, "pulsarFunctionsNamespace": f"public/bench-{kind}-{self.port}", "pulsarFunctionsCluster": "standalone",
            "functionMetadataTopicName": "metadata", "clusterCoordinationTopicName": "coordinate", "functionAssignmentTopicName": "assignments",
            "schedulerClassName": "org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler",
            "functionRuntimeFactoryClassName": "org.apache.pulsar.functions.runtime." + runtime,
            "functionRuntimeFactoryConfigs": {"logDirectory": os.path.join(self.dir, "logs")}, "downloadDirectory": os.path.join(self.dir, "download"),
            "failureCheckFreqMs": 30000, "rescheduleTimeoutMs": 60000, "initialBrokerReconnectMaxRetries": 60,
            "instanceLivenessCheckFreqMs": 30000, "topicCompactionFrequencySec": 1800, "numFunctionPackageReplicas": 1, "superUserRoles": [], "proxyRoles": [],
        }
        with open(conf, "w") as f:
            json.dump(settings, f)  # JSON is YAML
        env = dict(os.environ, PULSAR_WORKER_CONF=conf, PULSAR_LOG_DIR=os.path.join(self.dir, "worker-logs"))
        # The distribution's own settings touch 6 GB at start; these are frugal.
        env.setdefault("PULSAR_MEM", "-Xms256m -Xmx1g -XX:MaxDirectMemorySize=1g")
        command = [program, "-c", conf] if kind == "go" else [os.path.join(home, "bin/pulsar"), "functions-worker"]
        self.log = open(os.path.join(self.dir, "worker.out"), "w")
        started = time.perf_counter()
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log, cwd=home)
        self.ready = self.wait(lambda: requests.get(self.url + "/initialized", timeout=2).status_code == 200, started)
        self.leads = self.wait(lambda: requests.get(self.url + "/admin/v2/worker/cluster/leader/ready", timeout=2).status_code == 200, started)

    def wait(self, condition, started, limit=120, pause=0.005):
        while time.perf_counter() - started < limit:
            try:
                if condition():
                    return time.perf_counter() - started
            except requests.RequestException:
                pass
            if self.process.poll() is not None:
                raise SystemExit(f"the {self.kind} worker ended; see {self.log.name}")
            time.sleep(pause)
        raise SystemExit(f"the {self.kind} worker kept us waiting; see {self.log.name}")

    def resident(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024

    def create(self, language):
        name = f"{language}-{random.randrange(10**9)}"
        config = {"tenant": "public", "namespace": "default", "name": name, "inputs": [f"persistent://public/default/{name}-in"], "output": f"persistent://public/default/{name}-out"}
        package = go_function
        if language == "java":
            config.update(runtime="JAVA", className="org.apache.pulsar.functions.api.examples.ExclamationFunction")
            package = os.path.join(EXAMPLES, "api-examples.jar")
        elif language == "python":
            config.update(runtime="PYTHON", className="exclamation_function.ExclamationFunction")
            package = os.path.join(EXAMPLES, "python-examples/exclamation_function.py")
        else:
            config.update(runtime="GO")
        path = f"{self.url}/admin/v3/functions/public/default/{name}"
        with open(package, "rb") as f:
            started = time.perf_counter()
            answer = requests.post(path, files={"functionConfig": (None, json.dumps(config), "application/json"), "data": (os.path.basename(package), f, "application/octet-stream")}, timeout=60)
            answered = time.perf_counter() - started
        if answer.status_code != 204:
            raise SystemExit(f"{self.kind}: creating {name}: {answer.status_code} {answer.text}")
        running = self.wait(lambda: requests.get(path + "/status", timeout=30).json().get("numRunning") == 1, started, pause=0.02)
        gets = []
        for _ in range(100):
            at = time.perf_counter()
            requests.get(path, timeout=10).raise_for_status()
            gets.append(time.perf_counter() - at)
        requests.delete(path, timeout=60)
        return answered, running, statistics.median(gets)

    def stop(self):
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        return time.perf_counter() - started


def measure(kind):
    rows = {}
    note = lambda key, value: rows.setdefault(key, []).append(value)
    for i in range(runs):
        w = Worker(kind)
        note("start to ready, s", w.ready)
        note("start to leading, s", w.leads)
        time.sleep(3)
        note("resident memory idle, MiB", w.resident())
        if i < 3:
            for language in ("go", "python", "java"):
                answered, running, get = w.create(language)
                note(f"create answered ({language}), s", answered)
                note(f"create to running ({language}), s", running)
                note("GET of a function, ms", get * 1000)
        note("SIGTERM to end, s", w.stop())
        print(f"  {kind} run {i + 1} of {runs}", file=sys.stderr, flush=True)
    return rows


def throughput(kind, program, messages):
    """Messages per second of one function in the worker itself (thread runtime), from a backlog of 100 bytes each."""
    import pulsar
    w = Worker(kind, "thread.ThreadRuntimeFactory", program)
    name = f"flow-{kind}-{random.randrange(10**9)}"
    config = {"tenant": "public", "namespace": "default", "name": name, "inputs": [f"persistent://public/default/{name}-in"],
              "output": f"persistent://public/default/{name}-out", "subscriptionPosition": "Earliest"}
    path = f"{w.url}/admin/v3/functions/public/default/{name}"
    client = pulsar.Client(service, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    producer = client.create_producer(config["inputs"][0], schema=pulsar.schema.StringSchema(), block_if_queue_full=True, batching_enabled=True, batching_max_publish_delay_ms=10)
    for i in range(messages):
        producer.send_async(f"{i:0100d}", None)
    producer.flush()
    client.close()
    if kind == "go":
        config["jar"] = "builtin://exclamation"
        answer = requests.post(path, files={"functionConfig": (None, json.dumps(config), "application/json")}, timeout=60)
    else:
        config.update(runtime="JAVA", className="org.apache.pulsar.functions.api.examples.ExclamationFunction")
        with open(os.path.join(EXAMPLES, "api-examples.jar"), "rb") as f:
            answer = requests.post(path, files={"functionConfig": (None, json.dumps(config), "application/json"), "data": ("api-examples.jar", f, "application/octet-stream")}, timeout=60)
    if answer.status_code != 204:
        raise SystemExit(f"{kind}: creating {name}: {answer.status_code} {answer.text}")
    first = [0.0]

    def done():
        total = requests.get(path + "/stats", timeout=30).json().get("processedSuccessfullyTotal") or 0
        if total and not first[0]:
            first[0], first[1:] = time.perf_counter(), [total]
        return total >= messages
    w.wait(done, time.perf_counter(), pause=0.02)
    rate = (messages - first[1]) / (time.perf_counter() - first[0])
    requests.delete(path, timeout=60)
    w.stop()
    return rate


own = os.environ.get("BENCH_OWN_WORKER")  # a worker with the function "exclamation" compiled in
if own:
    amount = int(os.environ.get("BENCH_MESSAGES", "400000"))
    flow = {"go": [], "java": []}
    for kind, rates in flow.items():
        for _ in range(min(runs, 3)):
            rates.append(throughput(kind, own, amount))
            print(f"  {kind}: {rates[-1]:.0f} messages/s", file=sys.stderr, flush=True)
    for kind, rates in flow.items():
        print(f"{kind}: {statistics.median(rates):.0f} messages/s ({min(rates):.0f}-{max(rates):.0f}), backlog of {amount} x 100 bytes, thread runtime")
    if os.environ.get("BENCH_ONLY") == "throughput":
        sys.exit()

ours, java = measure("go"), measure("java")
print(f"\n| measured (median of up to {runs} runs; min–max) | this worker | Java worker 4.0.8 | Java ÷ this |")
print("|---|---|---|---|")
for key, values in ours.items():
    a, b = statistics.median(values), statistics.median(java[key])
    show = lambda m, v: f"{m:.3g} ({min(v):.3g}–{max(v):.3g})"
    print(f"| {key} | {show(a, values)} | {show(b, java[key])} | {b / a:.1f} |")
