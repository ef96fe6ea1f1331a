#!/usr/bin/env bash
# The helm with which tests render charts: built from source through the Go module proxy once, kept in the cache. Prints where it is.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HELM_VERSION=4.3.1
bin=$CACHE/helm-$HELM_VERSION
if [ ! -x "$bin/helm" ]; then
  "$ROOT/scripts/need-go.sh"
  say "building helm $HELM_VERSION (once)"
  (cd "$CACHE" && GOFLAGS=-buildvcs=false GOBIN=$bin CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "helm.sh/helm/v4/cmd/helm@v$HELM_VERSION") >&2
fi
echo "$bin/helm"
