#!/usr/bin/env python3
"""Reserves the items of an order. The call interface: stdin is {"task", "sequence", "step"}."""
import json
import sys

STOCK = {"book": 12, "lamp": 3, "chair": 40}

call = json.load(sys.stdin)
items = call["task"]["context"]["items"]
short = [i["sku"] for i in items if STOCK.get(i["sku"], 0) < i["count"]]
if short:
    sys.exit("out of stock: " + ", ".join(short))  # on stderr; exit 1, business logic
json.dump({"reserved": sum(i["count"] for i in items)}, sys.stdout)
