#!/usr/bin/env bash
# Fuzzes the readers of foreign input, one after the other, and watches their memory.
#   fuzz.sh [PACKAGE:TARGET…]   default: every target of the repository
# FUZZTIME (10m) is for each target, FUZZMEMORY (256) the MiB that one process may take. Inputs that reach new code stay in
# .cache/fuzz and are where the next run starts; the smallest of them are added to testdata/fuzz with FUZZKEEP=1.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
scripts/need-go.sh
FUZZTIME=${FUZZTIME:-10m} FUZZMEMORY=${FUZZMEMORY:-256} FUZZKEEP=${FUZZKEEP:-0}
corpus=$CACHE/fuzz
mkdir -p "$corpus"
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  mapfile -t targets < <(git grep -nE '^func Fuzz' -- '*_test.go' | sed -E 's#^(.*)/[^/]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*#./\1:\2#')
fi

# peak PATTERN prints the largest memory in MiB that a running process of that program has taken so far. The files that the
# fuzzer shares between its processes (100 MiB each) do not count: they are its own.
peak() {
  local most=0 status kb
  for status in $(pgrep -f "$1" | sed 's#.*#/proc/&/status#'); do
    kb=$(awk '/^RssAnon:/ {print $2}' "$status" 2>/dev/null || true)
    [ "${kb:-0}" -gt "$most" ] && most=$kb
  done
  echo $((most / 1024))
}

# keep PACKAGE TARGET adds the smallest new inputs to the tests, at most 60 of up to 4 KiB.
keep() {
  local from=$corpus/$2 to=$1/testdata/fuzz/$2
  [ -d "$from" ] || return 0
  mkdir -p "$to"
  find "$from" -type f -size -9 -printf '%s %p\n' | sort -n | head -n 60 | cut -d' ' -f2- | xargs -r cp -n -t "$to"
}

failed=0
for target in "${targets[@]}"; do
  package=${target%%:*} name=${target##*:}
  binary=$corpus/$name.test
  go test -c -fuzz "^$name\$" -o "$binary" "$package" # with -fuzz: built to tell which code an input reaches
  started=$SECONDS highest=0
  # The soft limit makes the collector keep up on a busy machine: what exceeds FUZZMEMORY then is in use, not garbage.
  (cd "$package" && GOMEMLIMIT=$((FUZZMEMORY * 3 / 4))MiB exec nice -n 19 "$binary" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$FUZZTIME" -test.fuzzminimizetime 10s -test.fuzzcachedir "$corpus" -test.parallel "${FUZZPARALLEL:-2}") \
    >"$corpus/$name.log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    now=$(peak "$binary")
    [ "$now" -gt "$highest" ] && highest=$now
    if [ "$highest" -gt "$FUZZMEMORY" ]; then kill "$pid"; break; fi
    sleep 0.5
  done
  code=0
  wait "$pid" || code=$?
  runs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$corpus/$name.log" | tail -n 1)
  verdict=ok
  [ "$code" = 0 ] || { verdict=FAILED failed=1; }
  [ "$highest" -le "$FUZZMEMORY" ] || { verdict="TOO MUCH MEMORY" failed=1; }
  printf '%-28s %10s inputs %6s s %5s MiB  %s\n' "$name" "${runs:-0}" "$((SECONDS - started))" "$highest" "$verdict"
  [ "$code" = 0 ] || tail -n 20 "$corpus/$name.log"
  [ "$FUZZKEEP" = 0 ] || keep "$package" "$name"
done
exit "$failed"
