#!/usr/bin/python3
"""Reads the text format of Prometheus (0.0.4) from stdin, strictly, and prints each sample as
NAME TAB LABELS (a JSON object) TAB VALUE. Ends with 1, saying why, at the first thing that the
format does not allow, or that the textfile collector refuses."""
import json
import re
import sys

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}


def fail(number, why):
    sys.exit(f"line {number}: {why}")


def labels_of(number, text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            fail(number, f"bad labels: {text[at:]!r}")
        name, value = match.groups()
        if name in labels:
            fail(number, f"label {name} twice")
        labels[name] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), value)
        at = match.end()
        if at < len(text):
            if text[at] != ",":
                fail(number, "no comma between labels")
            at += 1
    return labels


def main():
    text = sys.stdin.buffer.read().decode("utf-8")
    if text and not text.endswith("\n"):
        fail("last", "no newline at the end")
    families, current, seen = {}, None, set()
    for number, line in enumerate(text.split("\n")[:-1], 1):
        comment = re.fullmatch(r"# (HELP|TYPE) (\S+) (.+)", line)
        if comment:
            kind, name, rest = comment.groups()
            if not NAME.fullmatch(name):
                fail(number, f"bad name {name!r}")
            family = families.setdefault(name, {})
            if kind in family or "samples" in family:
                fail(number, f"{kind} of {name} twice, or after its samples")
            if kind == "TYPE" and rest not in TYPES:
                fail(number, f"unknown type {rest!r}")
            family[kind] = rest
            current = name
            continue
        sample = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        if not sample:
            fail(number, f"no sample: {line!r}")
        name, labels, value = sample[1], labels_of(number, sample[2] or ""), sample[3]
        family = families.get(name, {})
        if "HELP" not in family or "TYPE" not in family:
            fail(number, f"{name} has no HELP and TYPE before it")
        if name != current:
            fail(number, f"samples of {name} do not stand together")
        if family["TYPE"] == "counter" and not name.endswith("_total"):
            fail(number, f"{name} is a counter and no _total")
        family["samples"] = True
        key = (name, tuple(sorted(labels.items())))
        if key in seen:
            fail(number, f"{line} twice")
        seen.add(key)
        float(value)
        print(name, json.dumps(labels, sort_keys=True), value, sep="\t")


main()
