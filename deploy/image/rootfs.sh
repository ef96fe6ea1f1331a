#!/bin/sh
# Puts the slim image's file system together: rootfs.sh DIR WORKER BUSYBOX. The Dockerfile runs it, and so do the tests,
# which have no container engine. Everything is readable and nothing but the named directories writable for group 0, so that
# any user id in that group can run it (OpenShift).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${1:?directory} worker=${2:?functions-worker binary} busybox=${3:?busybox}
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/proc" "$root/dev" "$root/usr/bin" "$root/var" "$root/pulsar/bin" "$root/pulsar/conf"
chmod 1777 "$root/tmp"
# A shell that runs its own nslookup whatever PATH says would not find ours (Debian's busybox-static is built like that).
if PATH="$here/bin" "$busybox" sh -c 'nslookup --version' 2>&1 | grep -q BusyBox; then
  echo "rootfs.sh: $busybox prefers its own commands to those in PATH; use the package busybox, not busybox-static" >&2
  exit 1
fi
install -m 0755 "$busybox" "$root/bin/busybox"
ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  install -m 0755 "$library" "$root$library"
done
# what the charts' commands use, and what one looks around with in a running pod
for applet in awk basename cat chmod cmp cp cut date df diff dirname du echo env expr false find free grep gunzip gzip head \
  hostname id kill ln ls md5sum mkdir mktemp more mv nc netstat od ping printf ps pwd readlink realpath rm rmdir sed \
  seq sh sha256sum sleep sort stat tail tar tee test timeout top touch tr true uname uniq vi wc wget which whoami xargs; do
  "$busybox" --list | grep -qx "$applet" || { echo "rootfs.sh: $busybox has no $applet" >&2; exit 1; }
  ln -sf busybox "$root/bin/$applet"
done
install -m 0755 "$here/bin/bash" "$here/bin/nohup" "$here/bin/nslookup" "$root/bin/"
ln -sf ../../bin/env "$root/usr/bin/env"
printf 'root:x:0:0:root:/root:/bin/sh\npulsar:x:10000:0:pulsar:/pulsar/data:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
  [ -f "$bundle" ] || continue
  mkdir -p "$root/etc/ssl/certs" && install -m 0644 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt" && break
done
install -m 0755 "$worker" "$root/pulsar/bin/functions-worker"
install -m 0755 "$here/bin/pulsar" "$here/bin/gen-yml-from-env.py" "$root/pulsar/bin/"
ln -sf /pulsar/bin/functions-worker "$root/bin/functions-worker"
install -m 0664 "$here/../../conf/functions_worker.yml" "$root/pulsar/conf/functions_worker.yml"
install -m 0664 "$here/conf/pulsar_env.sh" "$root/pulsar/conf/pulsar_env.sh"
for writable in conf logs download data; do
  mkdir -p "$root/pulsar/$writable"
  chmod 0775 "$root/pulsar/$writable"
done
