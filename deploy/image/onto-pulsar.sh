#!/bin/sh
# Puts the worker into a Pulsar distribution: onto-pulsar.sh HOME WORKER. The Dockerfile runs it in the Pulsar image, and so do the
# tests. bin/pulsar functions-worker is this worker then; all other commands stay the distribution's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${1:?home of Pulsar} worker=${2:?functions-worker binary}
[ -e "$home/bin/pulsar-distribution" ] || mv "$home/bin/pulsar" "$home/bin/pulsar-distribution"
install -m 0755 "$here/bin/pulsar" "$home/bin/pulsar"
[ "$worker" -ef "$home/bin/functions-worker" ] || install -m 0755 "$worker" "$home/bin/functions-worker"
