#!/usr/bin/env bash
# Measures this worker and the Java worker in the same run, on the same broker, and prints a table.
#   bench.sh [RUNS]   how often each start is measured (default 5)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
work=$(mktemp -d "${TMPDIR:-/tmp}/functions-worker-bench.XXXXXX")
finish() {
  local code=$?
  trap - EXIT INT TERM
  [ -f "$work/broker/broker.pid" ] && scripts/pulsar.sh stop "$work/broker"
  if [ "$code" = 0 ]; then rm -rf "$work"; else say "logs of this run: $work"; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
scripts/pulsar.sh fetch
scripts/pulsar.sh start "$work/broker" zookeeper
# shellcheck disable=SC1091
source "$work/broker/env"
CGO_ENABLED=0 go build -o "$work/go-exclamation" ./examples/go/exclamation
CGO_ENABLED=0 go build -o "$work/own-worker" ./test/integration/testdata/ownworker
GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o "$work/guest.wasm" ./test/bench/guest
BENCH_OWN_WORKER=$work/own-worker BENCH_GO_GUEST=$work/guest.wasm BENCH_C_GUEST=$ROOT/examples/wasm/exclamation-c/exclamation.wasm BENCH_HOSTILE=$ROOT/internal/wasm/testdata/hostile.wasm PULSAR_HOME=$PULSAR_HOME PULSAR_SERVICE_URL=$PULSAR_SERVICE_URL PULSAR_WEB_URL=$PULSAR_WEB_URL PATH=$VENV/bin:$PATH \
  "$VENV/bin/python3" test/bench/bench.py "$work" bin/functions-worker "$work/go-exclamation" "${1:-5}"
