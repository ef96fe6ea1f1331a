#!/usr/bin/env bash
# Every test. Brings in what they need, starts one broker for all of them, and ends what it started.
#   test.sh [SUITE…]   only those: check, packages, integration, conformance, and two that run only when they are named:
#                      differential (thousands of requests to a real Java worker as well), kubernetes (builds a control plane)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
scripts/need-go.sh
suites=("${@:-}")
[ -n "${suites[0]}" ] || suites=(check packages integration conformance)
wants() { local s; for s in "${suites[@]}"; do [ "$s" = "$1" ] && return; done; return 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/functions-worker-test.XXXXXX")
results=$work/results
: >"$results"
failures=0
finish() {
  local code=$?
  trap - EXIT INT TERM
  [ -n "${kube:-}" ] && scripts/kubernetes.sh stop "$kube"
  [ -n "${broker:-}" ] && scripts/pulsar.sh stop "$broker"
  if [ "$code" = 0 ]; then rm -rf "$work"; else say "logs of this run: $work"; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# suite NAME COMMAND… runs a command that prints test events and counts them.
suite() {
  say "suite $1"
  python3 scripts/suite.py "$1" "$results" -- "${@:2}" || failures=1
}

if wants check; then
  say "suite check"
  started=$SECONDS
  if scripts/check.sh --no-tests; then echo "check 1 0 0 $((SECONDS - started))" >>"$results"; else
    failures=1
    echo "check 0 1 0 $((SECONDS - started))" >>"$results"
  fi
fi

if wants packages || wants integration || wants conformance || wants differential; then
  scripts/pulsar.sh fetch
  scripts/pulsar.sh connectors data-generator batch-data-generator file http kafka
  say "building"
  make --no-print-directory build >"$work/build.log" 2>&1 || { cat "$work/build.log"; die "the worker does not build"; }
  broker=$work/broker
  scripts/pulsar.sh start "$broker" zookeeper
  # shellcheck disable=SC1091
  source "$broker/env"
  export PULSAR_HOME PULSAR_TEST_SERVICE_URL=$PULSAR_SERVICE_URL PULSAR_TEST_WEB_URL=$PULSAR_WEB_URL PULSAR_TEST_STATE_URL=bk://127.0.0.1:$STATE_PORT
  export PULSAR_TEST_BROKER=$broker PULSAR_TEST_CONNECTORS=$CACHE/connectors PULSAR_TEST_VENV=$VENV FUNCTIONS_WORKER_BIN=$ROOT/bin/functions-worker
  export PATH=$VENV/bin:$PATH # the python3 that has the Pulsar client
  unset PULSAR_SERVICE_URL PULSAR_WEB_URL
fi

if wants packages; then
  suite packages go test -json -race -timeout 15m $(go list ./... | grep -v /test/)
  # Without the race detector: real connectors are hundreds of megabytes, which it reads twenty times slower, and the
  # Pulsar client has a race of its own when topics are taken from under its readers.
  suite without-race go test -json -timeout 5m -count=1 -run 'Connectors|TopicsUnloaded' ./internal/archive/ ./internal/cluster/node/
fi
wants integration && suite integration go test -json -timeout 25m -count=1 ./test/integration/...
wants conformance && suite conformance go test -json -timeout 10m -count=1 ./test/conformance/...
if wants differential; then
  export DIFFERENTIAL_REPORT=$CACHE/differential-report.txt
  rm -f "$DIFFERENTIAL_REPORT"
  suite differential go test -json -timeout 15m -count=1 ./test/differential/...
  if [ -f "$DIFFERENTIAL_REPORT" ]; then
    head -n 1 "$DIFFERENTIAL_REPORT"
    echo "every accepted difference: $DIFFERENTIAL_REPORT"
  fi
fi
if wants kubernetes; then
  # A real control plane without nodes; building it takes minutes, so this suite runs only when it is asked for.
  scripts/kubernetes.sh build
  kube=$work/kube
  scripts/kubernetes.sh start "$kube"
  export PULSAR_TEST_KUBECONFIG=$kube/kubeconfig
  suite kubernetes go test -json -timeout 15m -count=1 ./internal/runtime/kubernetes/
fi

printf '\n%-14s %8s %8s %8s %8s\n' suite passed failed skipped seconds
total_passed=0 total_failed=0 total_skipped=0
while read -r name passed failed skipped seconds; do
  printf '%-14s %8s %8s %8s %8s\n' "$name" "$passed" "$failed" "$skipped" "$seconds"
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))
done <"$results"
echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
exit "$failures"
