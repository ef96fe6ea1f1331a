#!/usr/bin/env python3
"""Runs one command that prints `go test -json` and says what came of it: failures with their output, then the counts.

usage: suite.py NAME RESULTS -- COMMAND…     appends "NAME passed failed skipped seconds" to the file RESULTS
"""
import json, subprocess, sys, time

name, results, command = sys.argv[1], sys.argv[2], sys.argv[4:]
start = time.time()
passed = failed = skipped = 0
output, noise, slow, with_failures = {}, [], [], set()
proc = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
for line in proc.stdout:
    try:
        event = json.loads(line)
    except ValueError:
        noise.append(line)
        continue
    key = (event.get("Package", event.get("ImportPath", "")), event.get("Test", ""))
    action = event.get("Action")
    if action in ("output", "build-output"):
        output.setdefault(key, []).append(event["Output"])
        continue
    if action not in ("pass", "fail", "skip"):
        continue
    if not key[1]:
        if action == "fail":
            print("FAIL", key[0])
            lines = output.get(key, []) + [l for k, v in output.items() if k[0].startswith(key[0] + " [") for l in v]
            sys.stdout.write("".join(lines[-60:]))
            if key[0] not in with_failures and not any(k[0] == key[0] and k[1] for k in output):
                failed += 1  # the package did not build or died outside a test
        elif event.get("Elapsed", 0) >= 5:
            print(f"  ok {key[0]} {event['Elapsed']:.0f} s", flush=True)
        continue
    if "/" not in key[1]:
        slow.append((event.get("Elapsed", 0), key[1]))
    if action == "pass":
        passed += 1
    elif action == "fail":
        failed += 1
        with_failures.add(key[0])
        print(f"--- FAIL {key[0]} {key[1]}")
        sys.stdout.write("".join(output.get(key, [])[-200:]))
    else:
        skipped += 1
        reason = "".join(l.strip() + " " for l in output.get(key, []) if not l.startswith(("=== ", "--- ")))
        print(f"  skipped {key[1]}: {reason.strip()[:200]}")
    sys.stdout.flush()
    output.pop(key, None)
code = proc.wait()
if noise and (code or failed):
    sys.stdout.write("".join(noise[-60:]))
if code and not failed:
    failed = 1
seconds = time.time() - start
if seconds > 120:
    print("  longest:", ", ".join(f"{test} {took:.0f} s" for took, test in sorted(slow, reverse=True)[:12]))
print(f"suite {name}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s", flush=True)
with open(results, "a") as f:
    f.write(f"{name} {passed} {failed} {skipped} {seconds:.0f}\n")
sys.exit(1 if failed else 0)
