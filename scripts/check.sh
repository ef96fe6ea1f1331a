#!/usr/bin/env bash
# Format, vet, lint, shell syntax and the unit tests with the race detector; what needs a broker is skipped here and run by test.sh.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
scripts/need-go.sh
unformatted=$(gofmt -l $(git ls-files -co --exclude-standard '*.go'))
[ -z "$unformatted" ] || die "not formatted (make fmt): $unformatted"
for f in scripts/*.sh; do bash -n "$f"; done
say "vet" && go vet ./...
say "lint" && go tool staticcheck ./...
[ "${1:-}" = --no-tests ] && exit
say "unit tests with the race detector"
env -u PULSAR_TEST_SERVICE_URL -u PULSAR_TEST_WEB_URL -u PULSAR_HOME go test -race -short $(go list ./... | grep -v /test/)
