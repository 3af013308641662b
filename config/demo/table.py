#!/usr/bin/env python3
"""Prints the results of the demo's texts, read as JSON lines from stdin, as a table for people."""
import json
import sys


def outcome(result):
    """One short word for what a step gave."""
    if result["status"] != "completed":
        said = (result.get("error") or {}).get("backtrace") or ["failed"]
        return "no: " + said[-1]
    out = result["output"]
    return {"Checksum": lambda: out["sha256"][:16], "Fits": lambda: "yes",
            "Compress": lambda: f'{out["percent"]} %',
            "Count": lambda: f'{out["lines"]:>6} {out["words"]:>6}'}[result["kind"]]()


rows, workers = {}, {}
for line in sys.stdin:
    result = json.loads(line)
    if result.get("message_type") != "partial_result" or result["status"] == "in_progress":
        continue
    kind, text = result["step_name"].split(" ", 1)
    result["kind"] = kind.capitalize()
    rows.setdefault(text, {})[result["kind"]] = outcome(result)
    workers[result["worker_id"]] = workers.get(result["worker_id"], 0) + 1

layout = "{:<14} {:<16} {:>13} {:>6}  {}"
print(layout.format("text", "sha256", "lines  words", "gzip", "fits in 20000 bytes?"))
for text, row in sorted(rows.items()):
    print(layout.format(text[:14], *(row.get(k, "-") for k in ("Checksum", "Count", "Compress", "Fits"))))
print("steps run by " + ", ".join(f"{name}: {n}" for name, n in sorted(workers.items())))
