#!/usr/bin/env bash
# Brings in Apache Pulsar and runs a standalone broker or the Java functions worker, each in a folder of its own.
#   pulsar.sh fetch                          the distribution and the Python client, into the cache (once)
#   pulsar.sh connectors NAME…               connector archives, into the cache's connectors/ (once each)
#   pulsar.sh admin-archive DIR              makes calls of pulsar-admin cheaper for tests; PULSAR_WEB_URL is a broker's
#   pulsar.sh start DIR [zookeeper|rocksdb]  a broker on free ports; DIR/env holds its addresses. A file named by
#                                            PULSAR_BROKER_OVERRIDES is appended to its configuration (the last value of a key counts);
#                                            PULSAR_BROKER_TOKEN is what a broker with authentication is asked with
#   pulsar.sh stop DIR                       ends what start began in DIR
#   pulsar.sh stop-broker DIR | resume DIR   an outage: stops the broker, starts it again on its old ports and data
#   pulsar.sh java-worker DIR CONF           the Java functions worker with that configuration, its pid and log in DIR
#   pulsar.sh stop-java-worker DIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

fetch() {
  need_java
  need python3 python3
  if [ ! -x "$PULSAR_HOME/bin/pulsar" ]; then
    need mvn maven
    local tmp=$CACHE/fetch.$$
    mkdir -p "$tmp"
    say "fetching Pulsar $PULSAR_VERSION (245 MB, once)"
    mvn -q -B dependency:copy -Dartifact="org.apache.pulsar:pulsar-server-distribution:$PULSAR_VERSION:tar.gz:bin" -DoutputDirectory="$tmp" >"$CACHE/mvn.log" 2>&1 ||
      die "could not fetch Pulsar; see $CACHE/mvn.log"
    say "unpacking"
    tar xzf "$tmp"/*.tar.gz -C "$tmp"
    mkdir -p "$(dirname "$PULSAR_HOME")"
    mv -T "$tmp/apache-pulsar-$PULSAR_VERSION" "$PULSAR_HOME" 2>/dev/null || [ -x "$PULSAR_HOME/bin/pulsar" ] || die "could not put Pulsar at $PULSAR_HOME"
    rm -rf "$tmp"
  fi
  if [ ! -f "$VENV/ready" ]; then
    say "installing the Python client $PULSAR_CLIENT_VERSION for Python functions (once)"
    python3 -m venv "$VENV" 2>"$CACHE/venv.log" || { need ensurepip-missing python3-venv; python3 -m venv "$VENV"; }
    "$VENV/bin/pip" install -q "pulsar-client[functions]==$PULSAR_CLIENT_VERSION" requests pyyaml >"$CACHE/pip.log" 2>&1 ||
      die "could not install pulsar-client; see $CACHE/pip.log"
    touch "$VENV/ready"
  fi
}

# connectors NAME… fetches connector archives; the .jar of these modules is the NAR.
connectors() {
  need mvn maven
  local name dir=$CACHE/connectors
  mkdir -p "$dir"
  for name in "$@"; do
    local nar=$dir/pulsar-io-$name-$PULSAR_VERSION.nar
    [ -f "$nar" ] && continue
    say "fetching the connector $name"
    mvn -q -B dependency:copy -Dartifact="org.apache.pulsar:pulsar-io-$name:$PULSAR_VERSION:jar" -DoutputDirectory="$dir/fetch" >"$CACHE/mvn.log" 2>&1 ||
      die "could not fetch the connector $name; see $CACHE/mvn.log"
    mv "$dir/fetch/pulsar-io-$name-$PULSAR_VERSION.jar" "$nar"
  done
}

# admin_archive DIR writes what the JVM of pulsar-admin has loaded after a call into DIR/classes.jsa, for the tests, which call it
# hundreds of times. A JVM that cannot do so, or another one later, only makes the calls slower.
admin_archive() {
  local dir=$1
  mkdir -p "$dir/empty" # a directory with files in the class path turns archives off
  [ -f "$dir/classes.jsa" ] && return
  PULSAR_LOG_CONF=$dir/empty/log4j2.yaml PULSAR_MEM="-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ArchiveClassesAtExit=$dir/classes.jsa" \
    "$PULSAR_HOME/bin/pulsar-admin" --admin-url "$PULSAR_WEB_URL" tenants list >"$dir/log" 2>&1 || say "pulsar-admin starts without an archive of its classes; see $dir/log"
}

# launch DIR starts the broker whose ports and data DIR describes, and waits until it answers.
launch() {
  local dir=$1
  # shellcheck disable=SC1091
  source "$dir/env"
  local args=(standalone -nfw --bookkeeper-dir "$dir/bookkeeper" --bookkeeper-port "$BOOKIE_PORT" --stream-storage-port "$STATE_PORT"
    --zookeeper-dir "$dir/zookeeper" --zookeeper-port "$ZOOKEEPER_PORT" --metadata-dir "$dir/metadata")
  say "starting a Pulsar broker ($METADATA metadata) on $PULSAR_SERVICE_URL and $PULSAR_WEB_URL"
  (
    unset PULSAR_STANDALONE_USE_ZOOKEEPER
    [ "$METADATA" = zookeeper ] && export PULSAR_STANDALONE_USE_ZOOKEEPER=1
    export PULSAR_STANDALONE_CONF=$dir/standalone.conf PULSAR_LOG_DIR=$dir/logs PULSAR_MEM="-Xms256m -Xmx1g -XX:MaxDirectMemorySize=1g"
    exec setsid "$PULSAR_HOME/bin/pulsar" "${args[@]}" >>"$dir/broker.out" 2>&1 </dev/null
  ) &
  remember "$dir/broker.pid" $!
  local tick
  local credentials=()
  [ -n "${PULSAR_BROKER_TOKEN:-}" ] && credentials=(-H "Authorization: Bearer $PULSAR_BROKER_TOKEN")
  for tick in $(seq 1 480); do
    if curl -sf -m 2 ${credentials[@]+"${credentials[@]}"} "$PULSAR_WEB_URL/admin/v2/namespaces/public/default" >/dev/null 2>&1; then
      say "the broker is ready"
      return
    fi
    alive "$dir/broker.pid" || { tail -n 30 "$dir/broker.out" >&2; die "the broker ended; its log is $dir/broker.out"; }
    [ $((tick % 40)) = 0 ] && say "still waiting for the broker (log: $dir/broker.out)"
    sleep 0.25
  done
  die "the broker did not become ready in 120 s; its log is $dir/broker.out"
}

start() {
  local dir=$1 metadata=${2:-zookeeper}
  mkdir -p "$dir/logs"
  dir=$(cd "$dir" && pwd)
  if alive "$dir/broker.pid"; then say "the broker of $dir already runs"; return; fi
  need curl curl
  local service web packages=true
  [ "$metadata" = zookeeper ] || packages=false # the packages service keeps its data where only ZooKeeper can point to
  service=$(free_port) web=$(free_port)
  {
    echo "PULSAR_SERVICE_URL=pulsar://localhost:$service"
    echo "PULSAR_WEB_URL=http://localhost:$web"
    echo "BOOKIE_PORT=$(free_port)"
    echo "STATE_PORT=$(free_port)"
    echo "ZOOKEEPER_PORT=$(free_port)"
    echo "METADATA=$metadata"
  } >"$dir/env"
  sed -e "s/^brokerServicePort=.*/brokerServicePort=$service/" -e "s/^webServicePort=.*/webServicePort=$web/" \
    -e "s/^enablePackagesManagement=.*/enablePackagesManagement=$packages/" \
    -e "s/^advertisedAddress=.*/advertisedAddress=localhost/" "$PULSAR_HOME/conf/standalone.conf" >"$dir/standalone.conf"
  [ -z "${PULSAR_BROKER_OVERRIDES:-}" ] || { echo; cat "$PULSAR_BROKER_OVERRIDES"; } >>"$dir/standalone.conf"
  launch "$dir"
}

java_worker() {
  local dir=$1 conf=$2
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  alive "$dir/java-worker.pid" && { say "the Java worker of $dir already runs"; return; }
  conf=$(cd "$(dirname "$conf")" && pwd)/$(basename "$conf")
  local port
  port=$(sed -n 's/^workerPort: *//p' "$conf")
  say "starting the Java functions worker on port $port"
  (
    export PULSAR_WORKER_CONF=$conf PULSAR_LOG_DIR=$dir/logs PULSAR_MEM="-Xms128m -Xmx768m -XX:MaxDirectMemorySize=512m"
    exec setsid "$PULSAR_HOME/bin/pulsar" functions-worker >>"$dir/java-worker.out" 2>&1 </dev/null
  ) &
  remember "$dir/java-worker.pid" $!
  for _ in $(seq 1 240); do
    curl -sf -m 2 "http://localhost:$port/initialized" >/dev/null 2>&1 && { say "the Java worker is ready"; return; }
    alive "$dir/java-worker.pid" || { tail -n 30 "$dir/java-worker.out" >&2; die "the Java worker ended; its log is $dir/java-worker.out"; }
    sleep 0.25
  done
  die "the Java worker did not become ready in 60 s; its log is $dir/java-worker.out"
}

case "${1:-}" in
  fetch) fetch ;;
  admin-archive) admin_archive "$2" ;;
  connectors) connectors "${@:2}" ;;
  start) start "${2:?DIR}" "${3:-zookeeper}" ;;
  stop | stop-broker) end "${2:?DIR}/broker.pid" 30 ;;
  resume) launch "$(cd "${2:?DIR}" && pwd)" ;;
  java-worker) java_worker "${2:?DIR}" "${3:?CONF}" ;;
  stop-java-worker) end "${2:?DIR}/java-worker.pid" 15 ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
