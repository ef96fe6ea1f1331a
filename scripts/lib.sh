# Shared by the scripts of this folder: places, messages, ports and processes. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${FUNCTIONS_WORKER_CACHE:-$ROOT/.cache}
PULSAR_VERSION=4.0.8
PULSAR_CLIENT_VERSION=3.13.0
# A Pulsar that is already unpacked somewhere is used by setting PULSAR_HOME.
PULSAR_HOME=${PULSAR_HOME:-$CACHE/apache-pulsar-$PULSAR_VERSION}
VENV=$CACHE/venv
mkdir -p "$CACHE"

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need COMMAND PACKAGE: a missing command is installed as root on Debian, otherwise named with its package.
need() {
  command -v "$1" >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing $2 (for $1)"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2"; } >"$CACHE/apt.log" 2>&1 ||
      die "could not install $2; see $CACHE/apt.log"
  else
    die "$1 is missing: install the package $2 (Debian name) or put $1 on the PATH"
  fi
}

# need_java checks for a JDK or JRE of 17 or newer.
need_java() {
  need java openjdk-17-jdk-headless
  local major
  major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n1)
  [ "${major:-0}" -ge 17 ] || die "java $major is too old: Pulsar $PULSAR_VERSION needs 17 or newer (package openjdk-17-jdk-headless)"
}

# free_port PRINTS a port nobody listens on, outside the kernel's range for outgoing connections so that none takes it meanwhile.
free_port() {
  python3 - "$@" <<'PY'
import random, socket
low = 32768
try: low = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
except OSError: pass
for _ in range(200):
    p = random.randint(10240, max(10300, min(low, 60000)) - 1)
    with socket.socket() as s:
        try: s.bind(("0.0.0.0", p))
        except OSError: continue
    print(p); break
else: raise SystemExit("no free port found")
PY
}

# started_at PID prints when the kernel started that process, to tell it from a later one with the same id.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# remember FILE PID notes a process that we started; alive FILE tells whether that very process still runs.
remember() { echo "$2 $(started_at "$2")" >"$1"; }
alive() {
  local pid start
  [ -f "$1" ] && read -r pid start <"$1" && [ -n "$start" ] && [ "$(started_at "$pid")" = "$start" ]
}

# end FILE [SECONDS] ends the remembered process: politely, then by force. Nothing else is touched.
end() {
  local pid _start
  if alive "$1"; then
    read -r pid _start <"$1"
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 1 $((${2:-20} * 10))); do alive "$1" || break; sleep 0.1; done
    if alive "$1"; then say "process $pid did not stop, killing it"; kill -9 "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$1"
}
