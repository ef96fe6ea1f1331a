"""Compares a report of govulncheck (-format json) with the vulnerabilities that are accepted, each with its reason."""
import json
import sys


def messages(path):
    decoder, text, at = json.JSONDecoder(), open(path, encoding="utf-8").read(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        message, at = decoder.raw_decode(text, at)
        yield message


def main():
    report, accepted = sys.argv[1:]
    known = dict(line.rstrip("\n").split("\t", 1) for line in open(accepted, encoding="utf-8") if line.strip() and line[0] != "#")
    summaries, called, database = {}, {}, ""
    for message in messages(report):
        database = message.get("config", {}).get("db_last_modified", database)
        if "osv" in message:
            summaries[message["osv"]["id"]] = message["osv"].get("summary", "")
        finding = message.get("finding")
        if finding and finding["trace"][0].get("function"):  # the code calls it; less is a module that is required
            first = finding["trace"][0]
            called[finding["osv"]] = f'{first["module"]}@{first.get("version", "?")}, fixed in {finding.get("fixed_version", "no version")}'
    if not summaries and not database:
        sys.exit("govulncheck read no database")
    for key in sorted(called.keys() - known):
        print(f"{key}: {summaries.get(key)} ({called[key]})", file=sys.stderr)
    for key in sorted(known.keys() - called):
        print(f"{accepted}: {key} is not found any more", file=sys.stderr)
    if called.keys() != known.keys():
        sys.exit(1)
    day = "an unknown day" if not database or database.startswith("0001") else database
    print(f"database of {day}: {len(called)} vulnerabilities in called modules, all accepted with a reason")


main()
