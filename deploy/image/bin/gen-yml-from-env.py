#!/bin/sh
# The name is what the official charts call; it writes PF_ variables into configuration files, as the script of that name does.
exec "$(dirname "$0")/functions-worker" config from-env "$@"
