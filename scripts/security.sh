#!/usr/bin/env bash
# Looks for known weaknesses: govulncheck in what the code calls, gosec in the code.
#   security.sh [vulncheck|gosec]     both without an argument
# GOVULNDB is where govulncheck's database is when vuln.go.dev cannot be reached: file://…/data/osv of a clone of golang/vulndb.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOSEC=github.com/securego/gosec/v2/cmd/gosec@v2.22.10

vulncheck() {
  say "govulncheck: known vulnerabilities in code that is called"
  local report
  report=$(mktemp)
  go run "$GOVULNCHECK" ${GOVULNDB:+-db "$GOVULNDB"} -format json ./... >"$report" || die "govulncheck could not run; without its database, set GOVULNDB (see the head of this script)"
  python3 scripts/govulncheck.py "$report" scripts/govulncheck-accepted.tsv
  rm -f "$report"
}

# Left out as a whole: G104, errors of closing and cleaning up after the outcome is known; G304, files named by variables: the
# configuration names every one, and paths that requests have a part in are checked where they are made.
scan() {
  say "gosec: what is not in scripts/gosec-accepted.tsv"
  local report
  report=$(mktemp)
  go run "$GOSEC" -quiet -no-fail -fmt json -out "$report" -exclude=G104,G304 -exclude-generated -exclude-dir=.cache -exclude-dir=test ./...
  python3 scripts/gosec.py "$report" scripts/gosec-accepted.tsv "$PWD"
  rm -f "$report"
}

case "${1:-all}" in
  vulncheck) vulncheck ;;
  gosec) scan ;;
  all) scan; vulncheck ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
