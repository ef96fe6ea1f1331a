#!/usr/bin/env bash
# Says what to do when the Go tool chain is missing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
command -v go >/dev/null 2>&1 || die "go is missing: install Go $(sed -n 's/^go //p' "$ROOT/go.mod") or newer"
