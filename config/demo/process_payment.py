#!/usr/bin/env python3
"""Charges an order's total. The process interface: stdin is the bare step object."""
import argparse
import json
import os
import sys

args = argparse.ArgumentParser()
args.add_argument("--limit", type=float, default=1000)
limit = args.parse_args().limit
step = json.load(sys.stdin)
items = step["task_context"]["items"]
total = round(sum(i["count"] * i["price"] for i in items), 2)
if total > limit:
    print(f"card declined: {total} is over the limit of {limit:g}", file=sys.stderr)
    sys.exit(65)
json.dump({"charged": total, "key": os.environ["TASKER_IDEMPOTENCY_KEY"]}, sys.stdout)
