#!/bin/sh
# Builds hostile.wasm with clang and lld 14 or newer.
set -eu
cd "$(dirname "$0")"
clang --target=wasm32 -O1 -nostdlib -Wall -Wextra -Wl,--no-entry,--strip-all -o hostile.wasm hostile.c
