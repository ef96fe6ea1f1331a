#!/bin/sh
# Builds counter.wasm; needs "rustup target add wasm32-unknown-unknown".
set -eu
cd "$(dirname "$0")"
cargo build --release --offline --target wasm32-unknown-unknown --target-dir "${TMPDIR:-/tmp}/counter-rust"
cp "${TMPDIR:-/tmp}/counter-rust/wasm32-unknown-unknown/release/counter.wasm" counter.wasm
