#!/bin/sh
# Builds exclamation.wasm with clang and lld 14 or newer.
set -eu
cd "$(dirname "$0")"
clang --target=wasm32 -O2 -nostdlib -Wall -Wextra -Wl,--no-entry,--strip-all -o exclamation.wasm exclamation.c
