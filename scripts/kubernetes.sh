#!/usr/bin/env bash
# A real Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager, built from source
# through the Go module proxy once (several minutes on two cores) and kept in the cache.
#   kubernetes.sh build        only the binaries
#   kubernetes.sh start DIR    builds if needed, starts on free ports; DIR/kubeconfig (all rights) and DIR/kubeconfig-nobody (none)
#   kubernetes.sh restart-api DIR  breaks the API server off and starts it again at the same address
#   kubernetes.sh stop DIR     ends what start began in DIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KUBE_VERSION=1.36.3
ETCD_VERSION=3.6.8
HOME_DIR=$CACHE/kubernetes
BIN=$HOME_DIR/bin-$KUBE_VERSION

build_etcd() {
    [ -x "$BIN/etcd" ] && return
    say "building etcd $ETCD_VERSION (once)"
    local src="$HOME_DIR/build-etcd-$ETCD_VERSION"
    mkdir -p "$src"
    printf 'module etcdbuild\ngo 1.24\nrequire go.etcd.io/etcd/server/v3 v%s\n' "$ETCD_VERSION" >"$src/go.mod"
    (cd "$src" && GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$BIN/etcd" go.etcd.io/etcd/server/v3)
}

# k8s.io/kubernetes replaces its staging modules by folders of its own tree; seen through the proxy each of them is
# the module of the same name at v0.<minor>.<patch>.
build_kube() {
    [ -x "$BIN/kube-apiserver" ] && [ -x "$BIN/kube-controller-manager" ] && return
    say "building kube-apiserver and kube-controller-manager $KUBE_VERSION (once, about 5 min)"
    local src="$HOME_DIR/build-$KUBE_VERSION" staging="v0.${KUBE_VERSION#*.}" mod pkg=k8s.io/component-base/version
    mkdir -p "$src"
    (
        cd "$src"
        export GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0
        mod=$(go mod download -json "k8s.io/kubernetes@v$KUBE_VERSION" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
        {
            echo "module controlplane"
            sed -n 's/^go \(.*\)/go \1/p' "$mod"
            echo "require k8s.io/kubernetes v$KUBE_VERSION"
            sed -n "s#^[[:space:]]*\(k8s.io/[a-z0-9-]*\) => ./staging/.*#replace \1 => \1 $staging#p" "$mod"
        } >go.mod
        go build -trimpath -o "$BIN/" \
            -ldflags "-s -w -X $pkg.gitVersion=v$KUBE_VERSION -X $pkg.gitMajor=1 -X $pkg.gitMinor=$(echo "$KUBE_VERSION" | cut -d. -f2)" \
            k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
    )
}

build() {
    mkdir -p "$BIN"
    build_etcd
    build_kube
}

# kubeconfig FILE TOKEN
kubeconfig() {
    cat >"$1" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$API_PORT", insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: "$2"}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
YAML
    chmod 600 "$1"
}

# ready WHAT URL waits until something answers there.
ready() {
    local _tick
    for _tick in $(seq 1 300); do
        curl -skf -m 2 -o /dev/null -H "Authorization: Bearer all-rights" "$2" && return
        sleep 0.2
    done
    die "$1 did not become ready; see its log in $DIR"
}

# api_server ETCD_PORT starts the API server on API_PORT.
api_server() {
    setsid "$BIN/kube-apiserver" --etcd-servers "http://127.0.0.1:$1" --secure-port "$API_PORT" --bind-address 127.0.0.1 --cert-dir "$DIR/certificates" \
        --authorization-mode RBAC --token-auth-file "$DIR/tokens.csv" --service-cluster-ip-range 10.0.0.0/16 --disable-admission-plugins ServiceAccount \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$DIR/service-account.key" --service-account-signing-key-file "$DIR/service-account.key" \
        --max-requests-inflight 2000 --max-mutating-requests-inflight 1000 >>"$DIR/kube-apiserver.log" 2>&1 </dev/null &
    remember "$DIR/kube-apiserver.pid" $!
}

# restart_api breaks the API server off and starts it again at the same address; what it knew is in etcd.
restart_api() {
    local ETCD_PORT
    # shellcheck disable=SC1091
    source "$DIR/ports"
    end "$DIR/kube-apiserver.pid" 1 # it would wait for its watchers
    api_server "$ETCD_PORT"
    ready kube-apiserver "https://127.0.0.1:$API_PORT/readyz"
}

start() {
    need curl curl
    need openssl openssl
    build
    mkdir -p "$DIR"
    local etcd_port peer_port
    etcd_port=$(free_port) peer_port=$(free_port) API_PORT=$(free_port)
    openssl genrsa -out "$DIR/service-account.key" 2048 2>/dev/null
    printf 'all-rights,admin,1,system:masters\nno-rights,nobody,2\n' >"$DIR/tokens.csv"
    say "starting a Kubernetes control plane on https://127.0.0.1:$API_PORT"
    setsid "$BIN/etcd" --unsafe-no-fsync --data-dir "$DIR/etcd" --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" --initial-cluster "default=http://127.0.0.1:$peer_port" \
        --log-level warn >"$DIR/etcd.log" 2>&1 </dev/null &
    remember "$DIR/etcd.pid" $!
    ready etcd "http://127.0.0.1:$etcd_port/health"
    api_server "$etcd_port"
    echo "ETCD_PORT=$etcd_port API_PORT=$API_PORT" >"$DIR/ports"
    kubeconfig "$DIR/kubeconfig" all-rights
    kubeconfig "$DIR/kubeconfig-nobody" no-rights
    ready kube-apiserver "https://127.0.0.1:$API_PORT/readyz"
    setsid "$BIN/kube-controller-manager" --kubeconfig "$DIR/kubeconfig" --secure-port 0 --leader-elect=false --service-account-private-key-file "$DIR/service-account.key" \
        --controllers statefulset,replicaset,namespace,garbagecollector,serviceaccount,serviceaccount-token,endpointslice,endpoint \
        --kube-api-qps 500 --kube-api-burst 1000 --concurrent-statefulset-syncs 20 --concurrent-gc-syncs 20 >"$DIR/kube-controller-manager.log" 2>&1 </dev/null &
    remember "$DIR/kube-controller-manager.pid" $!
    say "the control plane is ready: KUBECONFIG=$DIR/kubeconfig"
}

stop() {
    end "$DIR/kube-controller-manager.pid"
    end "$DIR/kube-apiserver.pid"
    end "$DIR/etcd.pid"
}

DIR=${2:-}
case "${1:-}" in
build) build ;;
restart-api) [ -n "$DIR" ] || die "usage: kubernetes.sh restart-api DIR"; restart_api ;;
start | stop) [ -n "$DIR" ] || die "usage: kubernetes.sh $1 DIR"; "$1" ;;
*) die "usage: kubernetes.sh build | start DIR | restart-api DIR | stop DIR" ;;
esac
