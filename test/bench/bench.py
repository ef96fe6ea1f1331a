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


class Flow:
    """One function between two topics in a worker with the thread runtime. what: java, go (compiled in), or a module's file."""

    def __init__(self, what, program=None, worker=None):
        self.kind = "java" if what == "java" else "go"
        self.what, self.worker = what, worker or Worker(self.kind, "thread.ThreadRuntimeFactory", program)
        self.name = f"flow-{self.kind}-{random.randrange(10**9)}"
        self.input, self.output = (f"persistent://public/default/{self.name}-{end}" for end in ("in", "out"))
        self.path = f"{self.worker.url}/admin/v3/functions/public/default/{self.name}"

    def fill(self, payloads):
        import pulsar
        client = pulsar.Client(service, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
        producer = client.create_producer(self.input, schema=pulsar.schema.StringSchema(), block_if_queue_full=True, batching_enabled=True, batching_max_publish_delay_ms=10)
        for payload in payloads:
            producer.send_async(payload, None)
        producer.flush()
        client.close()

    def create(self, **more):
        config = {"tenant": "public", "namespace": "default", "name": self.name, "inputs": [self.input], "output": self.output, "subscriptionPosition": "Earliest", **more}
        package = None
        if self.what == "java":
            config.update(runtime="JAVA", className="org.apache.pulsar.functions.api.examples.ExclamationFunction")
            package = os.path.join(EXAMPLES, "api-examples.jar")
        elif self.what == "go":
            config["jar"] = "builtin://exclamation"
        else:
            config["runtime"], package = "GO", self.what
        files = {"functionConfig": (None, json.dumps(config), "application/json")}
        if package:
            files["data"] = (os.path.basename(package), open(package, "rb").read(), "application/octet-stream")
        answer = requests.post(self.path, files=files, timeout=60)
        if answer.status_code != 204:
            raise SystemExit(f"{self.what}: creating {self.name}: {answer.status_code} {answer.text}")

    def done(self):
        return requests.get(self.path + "/stats", timeout=30).json().get("processedSuccessfullyTotal") or 0

    def rate(self, messages):
        """Creates the function over its backlog and gives the messages per second, from the first answer that has some to the last."""
        self.create()
        first = []

        def done():
            total = self.done()
            if total and not first:
                first[:] = [time.perf_counter(), total]
            return total >= messages
        self.worker.wait(done, time.perf_counter(), pause=0.02)
        return (messages - first[1]) / (time.perf_counter() - first[0])

    def delete(self):
        requests.delete(self.path, timeout=60)


def throughput(what, program, messages):
    """Messages per second from a backlog of 100 bytes each."""
    flow = Flow(what, program)
    flow.fill(f"{i:0100d}" for i in range(messages))
    rate = flow.rate(messages)
    flow.delete()
    flow.worker.stop()
    return rate


def beside(program, hostile, messages):
    """Messages per second of a compiled-in function, in turns alone and beside modules that loop, allocate and trap with every message."""
    worker = Worker("go", "thread.ThreadRuntimeFactory", program)
    rates = {False: [], True: []}
    for bad in (False, True, False, True, False):
        others = [Flow(hostile, worker=worker) for _ in range(3 if bad else 0)]
        for flow, payload in zip(others, ("loop", "alloc", "trap")):
            flow.fill([payload] * 10000)
            flow.create(customRuntimeOptions=json.dumps({"wasm": {"timeout": "1s"}}))
        good = Flow("go", worker=worker)
        good.fill(f"{i:0100d}" for i in range(messages))
        rates[bad].append(good.rate(messages))
        for flow in [good, *others]:
            flow.delete()
    worker.stop()
    return rates


def latency(what, program, rate, seconds):
    """Milliseconds from a message's sending to the arrival of its result, at so many messages a second; sorted."""
    import pulsar
    flow = Flow(what, program)
    flow.create()
    flow.worker.wait(lambda: requests.get(flow.path + "/status", timeout=30).json().get("numRunning") == 1, time.perf_counter(), pause=0.1)
    client = pulsar.Client(service, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    times = []
    begin = time.perf_counter() + 5  # until then it warms up

    def arrived(consumer, message):
        consumer.acknowledge(message)
        sent, now = float(message.data()[:20]), time.perf_counter()
        if sent >= begin:
            times.append((now - sent) * 1000)
    client.subscribe(flow.output, "latency", message_listener=arrived, initial_position=pulsar.InitialPosition.Earliest)
    producer = client.create_producer(flow.input, schema=pulsar.schema.StringSchema(), batching_enabled=False)
    start, total = time.perf_counter(), rate * (seconds + 5)
    for i in range(total):
        time.sleep(max(0, start + i / rate - time.perf_counter()))
        producer.send_async(f"{time.perf_counter():020.6f}".ljust(100, "x"), None)
    producer.flush()
    flow.worker.wait(lambda: flow.done() >= total, time.perf_counter(), pause=0.1)
    time.sleep(0.5)
    client.close()
    flow.delete()
    flow.worker.stop()
    return sorted(times)


own = os.environ.get("BENCH_OWN_WORKER")  # a worker with the function "exclamation" compiled in
if own:
    amount = int(os.environ.get("BENCH_MESSAGES", "400000"))
    rivals = {"compiled in": "go", "WebAssembly, C": os.environ["BENCH_C_GUEST"], "WebAssembly, Go": os.environ["BENCH_GO_GUEST"], "Java worker": "java"}
    rates = {name: [] for name in rivals}
    throughput("go", own, amount)  # not counted: the broker's own code is compiled while it runs for the first time
    for _ in range(min(runs, 3)):  # in turns, so that a busy minute meets all of them
        for name, what in rivals.items():
            rates[name].append(throughput(what, own, amount))
            print(f"  {name}: {rates[name][-1]:.0f} messages/s", file=sys.stderr, flush=True)
    for name, r in rates.items():
        print(f"{name}: {statistics.median(r):.0f} messages/s ({min(r):.0f}–{max(r):.0f}), {statistics.median(r) / statistics.median(rates['Java worker']):.2f} times Java; backlog of {amount} x 100 bytes, thread runtime")
    for name, what in rivals.items():
        times = latency(what, own, 1000, int(os.environ.get("BENCH_SECONDS", "20")))
        show = ", ".join(f"p{q}: {times[min(len(times) - 1, int(len(times) * q / 100))]:.1f} ms" for q in (50, 99, 99.9))
        print(f"{name}: {show} from sending to the arrival of the result; {len(times)} messages at 1,000 a second", flush=True)
    rates = beside(own, os.environ["BENCH_HOSTILE"], amount)
    alone, crowded = (statistics.median(rates[bad]) for bad in (False, True))
    print(f"compiled in, alone: {alone:.0f} messages/s; beside modules that loop, allocate and trap with every message: {crowded:.0f}, {crowded / alone * 100 - 100:+.0f} %; all runs: {rates}", flush=True)
    if os.environ.get("BENCH_ONLY") == "flow":
        sys.exit()

ours, java = measure("go"), measure("java")
print(f"\n| measured (median of up to {runs} runs; min–max) | this worker | Java worker 4.0.8 | Java ÷ this |")
print("|---|---|---|---|")
for key, values in ours.items():
    a, b = statistics.median(values), statistics.median(java[key])
    show = lambda m, v: f"{m:.3g} ({min(v):.3g}–{max(v):.3g})"
    print(f"| {key} | {show(a, values)} | {show(b, java[key])} | {b / a:.1f} |")
