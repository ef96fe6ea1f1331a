#!/usr/bin/env bash
# From nothing to running functions: brings in Pulsar, starts a broker and the worker, deploys an example in Java, Python
# and Go with pulsar-admin, sends messages, shows what comes out, and stays up until Ctrl-C.
#   PULSAR_SERVICE_URL and PULSAR_WEB_URL   use this Pulsar instead of starting one
#   WORKER_PORT                             port of the worker (default: 6750, or a free one when it is taken)
#   ONCE=1                                  end after the results
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

run=$CACHE/run
if alive "$run/worker.pid"; then die "a worker of an earlier 'make run' is still up; end it first (its folder: $run)"; fi
rm -rf "$run"
mkdir -p "$run"

finish() {
  local code=$?
  trap - EXIT INT TERM
  say "stopping"
  end "$run/worker.pid" 15
  [ -n "${own_broker:-}" ] && scripts/pulsar.sh stop "$run/broker"
  say "stopped; logs are in $run"
  exit "$code"
}
trap finish EXIT
trap 'exit 0' INT TERM

scripts/pulsar.sh fetch
need curl curl
if [ -n "${PULSAR_SERVICE_URL:-}" ] || [ -n "${PULSAR_WEB_URL:-}" ]; then
  [ -n "${PULSAR_SERVICE_URL:-}" ] && [ -n "${PULSAR_WEB_URL:-}" ] || die "set both PULSAR_SERVICE_URL (pulsar://…) and PULSAR_WEB_URL (http://…), or neither"
  say "using the Pulsar at $PULSAR_SERVICE_URL"
else
  own_broker=yes
  scripts/pulsar.sh start "$run/broker" rocksdb
  # shellcheck disable=SC1091
  source "$run/broker/env"
fi

# The cluster's name, as the broker calls it.
cluster=$(curl -sf -m 10 "$PULSAR_WEB_URL/admin/v2/clusters" | python3 -c 'import json,sys; print(json.load(sys.stdin)[0])') ||
  die "no answer from the Pulsar admin API at $PULSAR_WEB_URL"

if [ -z "${WORKER_PORT:-}" ]; then
  WORKER_PORT=6750
  if (exec 3<>/dev/tcp/localhost/6750) 2>/dev/null; then
    WORKER_PORT=$(free_port)
    say "port 6750 is taken, the worker takes $WORKER_PORT"
  fi
fi
sed -e "s#^workerId:.*#workerId: $(hostname | tr -d :)-$WORKER_PORT#" -e "s#^workerPort:.*#workerPort: $WORKER_PORT#" \
  -e "s#^pulsarServiceUrl:.*#pulsarServiceUrl: $PULSAR_SERVICE_URL#" -e "s#^pulsarWebServiceUrl:.*#pulsarWebServiceUrl: $PULSAR_WEB_URL#" \
  -e "s#^pulsarFunctionsCluster:.*#pulsarFunctionsCluster: $cluster#" \
  -e "s#^downloadDirectory:.*#downloadDirectory: $run/download#" -e "s#^\( *logDirectory:\).*#\1 $run/logs#" \
  conf/functions_worker.yml >"$run/functions_worker.yml"

say "starting the functions worker on http://localhost:$WORKER_PORT"
started=$(date +%s%N)
PATH=$VENV/bin:$PATH PULSAR_HOME=$PULSAR_HOME setsid bin/functions-worker -c "$run/functions_worker.yml" >"$run/worker.log" 2>&1 </dev/null &
remember "$run/worker.pid" $!
until curl -sf -m 2 "http://localhost:$WORKER_PORT/initialized" >/dev/null 2>&1; do
  alive "$run/worker.pid" || { tail -n 20 "$run/worker.log" >&2; die "the worker ended; its log is $run/worker.log"; }
  sleep 0.02
done
say "the worker is ready after $((($(date +%s%N) - started) / 1000000)) ms"

say "building the Go example"
CGO_ENABLED=0 go build -o "$run/go-exclamation" ./examples/go/exclamation

export PULSAR_MEM="-Xmx128m -XX:TieredStopAtLevel=1"
admin() { "$PULSAR_HOME/bin/pulsar-admin" --admin-url "http://localhost:$WORKER_PORT" "$@"; }
client() { "$PULSAR_HOME/bin/pulsar-client" --url "$PULSAR_SERVICE_URL" "$@"; }
id=$(date +%H%M%S)

create() { # NAME ARGUMENTS…
  say "pulsar-admin functions create --name $1 (${*:2:2})"
  admin functions create --tenant public --namespace default --name "$1" --inputs "persistent://public/default/$1-in" \
    --output "persistent://public/default/$1-out" "${@:2}" >"$run/$1.create" 2>&1 || { cat "$run/$1.create" >&2; die "could not create $1"; }
}
functions=("example-java-$id" "example-python-$id" "example-go-$id")
create "${functions[0]}" --jar "$PULSAR_HOME/examples/api-examples.jar" --classname org.apache.pulsar.functions.api.examples.ExclamationFunction
create "${functions[1]}" --py "$PULSAR_HOME/examples/python-examples/exclamation_function.py" --classname exclamation_function.ExclamationFunction
create "${functions[2]}" --go "$run/go-exclamation"

for f in "${functions[@]}"; do
  say "waiting for $f"
  for _ in $(seq 1 600); do
    curl -sf -m 10 "http://localhost:$WORKER_PORT/admin/v3/functions/public/default/$f/status" | grep -q '"numRunning":1' && break
    sleep 0.2
  done
done

result() { # NAME
  client consume -s demo -n 2 -p Earliest -t Exclusive "persistent://public/default/$1-out" >"$run/$1.out" 2>&1 || true
}
for f in "${functions[@]}"; do
  say "sending 2 messages to $f"
  client produce -m "hello from $f,are you there" "persistent://public/default/$f-in" >"$run/$f.in" 2>&1 || die "could not send; see $run/$f.in"
  result "$f"
  grep -o 'content:.*' "$run/$f.out" | sed "s/^/    /" || die "nothing came out of $f; see $run/$f.out and $run/worker.log"
done

echo
curl -sf -m 10 "http://localhost:$WORKER_PORT/admin/v2/worker/assignments"
echo
cat <<TEXT

The worker serves http://localhost:$WORKER_PORT and three functions run. Try it:
  $PULSAR_HOME/bin/pulsar-admin --admin-url http://localhost:$WORKER_PORT functions status --name ${functions[2]}
  curl http://localhost:$WORKER_PORT/metrics
Worker log: $run/worker.log. Ctrl-C ends everything that was started here.
TEXT
[ -n "${ONCE:-}" ] && exit 0
while alive "$run/worker.pid"; do sleep 1; done
tail -n 20 "$run/worker.log" >&2
die "the worker ended by itself"
