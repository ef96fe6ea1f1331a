"""Compares a report of gosec with the findings that are accepted, each with its reason."""
import json
import os
import sys


def accepted(path):
    known = set()
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.rstrip("\n")
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 4 or not fields[3]:
            sys.exit(f"{path}:{number}: rule, file, line and reason are needed, with tabs between them")
        known.add(tuple(fields[:3]))
    return known


def reported(path, root):
    found = {}
    for issue in json.load(open(path, encoding="utf-8"))["Issues"]:
        first = int(issue["line"].split("-")[0])
        text = open(issue["file"], encoding="utf-8").read().split("\n")[first - 1].strip()
        found[(issue["rule_id"], os.path.relpath(issue["file"], root), text)] = f'{issue["line"]}: {issue["details"]}'
    return found


def main():
    report, list_of_accepted, root = sys.argv[1:]
    known, found = accepted(list_of_accepted), reported(report, root)
    for key in sorted(found.keys() - known):
        print(f"{key[1]}:{found[key]} ({key[0]})\n    {key[2]}", file=sys.stderr)
    for key in sorted(known - found.keys()):
        print(f"{list_of_accepted}: nothing is reported any more for {key[1]} ({key[0]}): {key[2]}", file=sys.stderr)
    if found.keys() - known:  # one that is gone is only told: the tool's analysis differs from run to run
        sys.exit(1)
    print(f"{len(found)} findings, all accepted with a reason")


if __name__ == "__main__":
    main()
