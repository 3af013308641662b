"""plans_sqlite.py STORE LEAST <LOG: explains each statement of a log (sql_log.c) in a SQLite store, and names
those that go through a whole table which grows with the history, or a whole index of it that does; status 1
if there is one, if one cannot be explained, or if there are fewer than LEAST statements."""
import re
import subprocess
import sys

GROWS = ("steps step_dependencies batch_steps step_transitions task_transitions batch_transitions tasks batches"
         " received_results settled_steps settled_batches").split()
# Indexes of those rows alone that are still to be handled, or that are read up to a LIMIT.
SHORT = {"steps_ready", "batches_unsent", "tasks_newest"}
ALIAS = re.compile(r"\b(" + "|".join(GROWS) + r")\b(?:\s+(?:AS\s+)?(\w+))?")

QUERY = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
statements = sorted({s for s in sys.stdin.read().split("\0") if QUERY.match(s)})
script = "".join(f".print =\nEXPLAIN QUERY PLAN {s};\n" for s in statements)
run = subprocess.run(["sqlite3", "-batch", "-bail", sys.argv[1]], input=script, capture_output=True, text=True)
plans = re.split(r"^=$", run.stdout, flags=re.M)[1:]
bad = 0
for sql, plan in zip(statements, plans):
    names = set(GROWS) | {alias for _, alias in ALIAS.findall(sql) if alias}
    for name, index in re.findall(r"\bSCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", plan):
        if name in names and index not in SHORT:
            bad += 1
            print(f"SCAN {name} {index}: {' '.join(sql.split())}")
print(run.stderr, end="")
print(f"{len(statements)} statements, {len(plans)} explained, {bad} scans")
sys.exit(1 if bad or run.returncode or len(plans) != len(statements) or len(statements) < int(sys.argv[2]) else 0)
