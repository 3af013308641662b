"""Reads a PostgreSQL log with auto_explain's plans in JSON and names each statement that read more than a
small multiple of the rows that it gave or changed; status 1 if there is one. With a number as argument it
fails too if there were fewer statements than that."""
import json
import re
import sys


def plans(lines):
    body = None
    for line in lines:
        if body is not None and line.startswith("\t"):
            body.append(line)
            continue
        if body:
            yield json.loads("".join(body))
        body = [] if re.search(r"LOG:  duration: .* plan:$", line) else None
    if body:
        yield json.loads("".join(body))


def nodes(node):
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


def rows_read(node):
    """Rows that a scan of a table or an index met; of a join, the pairs that did not fit."""
    loops = node["Actual Loops"]
    met = node.get("Rows Removed by Join Filter", 0) * loops
    if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan":
        met += node.get("Rows Removed by Filter", 0) * loops
        if node["Node Type"] != "ModifyTable":
            met += (node["Actual Rows"] + node.get("Rows Removed by Index Recheck", 0)) * loops
    return met


def rows_counted(node):
    """Rows that a subquery for each row counted, found by an index: the statement gives their number."""
    if node["Node Type"] != "Aggregate" or node.get("Parent Relationship") != "SubPlan":
        return 0
    if any(n["Node Type"] == "Seq Scan" for n in nodes(node)):
        return 0
    return sum(child["Actual Rows"] * child["Actual Loops"] for child in node["Plans"])


def judge(plan):
    top = plan["Plan"]
    source = top["Plans"][0] if top["Node Type"] == "ModifyTable" else top
    gave = source["Actual Rows"] * source["Actual Loops"] + sum(map(rows_counted, nodes(top)))
    read = sum(map(rows_read, nodes(top)))
    # An index of which another column than the first is asked is read whole, and no row tells of it.
    pages = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return gave, read, pages, read > 20 * (gave + 10) or pages > 60 * (gave + 10)


seen, bad = set(), {}
for plan in plans(sys.stdin):
    text = " ".join(plan["Query Text"].split())
    gave, read, pages, wrong = judge(plan)
    seen.add(text)
    if wrong and read + pages > sum(bad.get(text, (0, 0, 0))[1:]):
        bad[text] = (gave, read, pages)
for text, (gave, read, pages) in bad.items():
    print(f"gave {gave} rows, read {read} and {pages} pages: {text}")
print(f"{len(seen)} statements, {len(bad)} read too much")
sys.exit(1 if bad or len(seen) < int(sys.argv[1]) else 0)
