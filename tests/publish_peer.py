#!/usr/bin/python3
"""A worker that does no work, for the tests of tasker-publish: it registers, answers as it is told
to, and prints each batch that it gets as "TOPIC JSON"."""
import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time

import zmq

parser = argparse.ArgumentParser()
parser.add_argument("endpoint")
parser.add_argument("--id", help="register under this name (else it is a plain subscriber)")
parser.add_argument("--bind", action="store_true")
parser.add_argument("--ignore", type=int, default=0, help="do not answer the first N messages")
parser.add_argument("--die", type=int, default=0, help="exit at the Nth message, without answer")
parser.add_argument("--slow", type=float, default=0, help="answer so many seconds later")
parser.add_argument("--reject", help="reject all, with this reason")
parser.add_argument("--garbage", action="store_true", help="send nonsense upstream first")
parser.add_argument("--ask", help="subscribe to this too and print what comes (status.ID)")
parser.add_argument("--hwm", type=int, default=1000)
parser.add_argument("--look", action="store_true",
                    help="print \"STORE STATE|OFFERED_TO|STEPS\" of each batch, from $TASKER_STORE_URL")
parser.add_argument("--lock", help="lock this file at the first batch, until there is a file release")
args = parser.parse_args()

socket = zmq.Context().socket(zmq.XSUB)
socket.set(zmq.LINGER, 200)
socket.set(zmq.RCVHWM, args.hwm)
socket.set(zmq.RECONNECT_IVL, 20)
(socket.bind if args.bind else socket.connect)(args.endpoint)
if not args.ask:
    socket.send(b"\x01steps ")
if args.id:
    socket.send(b"\x01worker." + args.id.encode() + b" ")
if args.ask:
    socket.send(b"\x01" + args.ask.encode() + b" ")
print("ready", flush=True)

GARBAGE = [b"", b"batch_accepted", b"batch_accepted {", b"batch_accepted []", b"hello world",
           b"batch_accepted {\"batch_id\":7,\"worker_id\":[]}", b"\xff\xfe\x00", b"batch_rejected {}",
           b"batch_accepted {\"batch_id\":\"nobody-has-it\",\"worker_id\":\"w\"}",
           b"batch_rejected {\"batch_id\":\"B1\",\"worker_id\":\"" + b"x" * 500 + b"\"}"]


def answer(batch):
    body = {"batch_id": batch["batch_id"], "worker_id": args.id}
    if args.reject:
        body["error"] = {"message": args.reject, "error_type": "NoHandler",
                         "error_category": "permanent", "retryable": False}
        socket.send(b"batch_rejected " + json.dumps(body).encode())
        return
    body.update(source="11111111-1111-7111-8111-111111111111", steps=len(batch["steps"]), queued=0,
                free_slots=10, result_endpoint="tcp://127.0.0.1:9")
    socket.send(b"batch_accepted " + json.dumps(body).encode())


def look(batch):
    """What the store has of a batch at the moment when it arrives."""
    sql = ("SELECT state, offered_to, (SELECT count(*) FROM batch_steps s JOIN step_transitions t"
           " ON t.step = s.step WHERE s.batch = b.id AND t.to_state = 'enqueued')"
           " FROM batches b WHERE batch_id = '%s'" % batch["batch_id"])
    url = os.environ["TASKER_STORE_URL"]
    if url.startswith("sqlite:"):
        db = sqlite3.connect(url[7:])
        row = db.execute(sql).fetchone()
        db.close()
        text = "|".join(str(value or "") for value in row) if row else "nothing"
    else:
        text = subprocess.run(["psql", "-XqAt", "-d", url, "-c", sql], stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, check=True, text=True).stdout.strip()
    print("STORE", text or "nothing", flush=True)


def hold_lock():
    db = sqlite3.connect(args.lock, timeout=20, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    return db


def release(db):
    while not os.path.exists("release"):
        time.sleep(0.02)
    db.execute("ROLLBACK")
    db.close()
    print("released", flush=True)


seen = 0
while True:
    message = socket.recv()
    sys.stdout.write(message.decode() + "\n")
    sys.stdout.flush()
    seen += 1
    if args.die and seen == args.die:
        sys.exit(0)
    if args.garbage and seen == 1:
        for piece in GARBAGE:
            socket.send(piece)
    if args.look:
        look(json.loads(message.split(b" ", 1)[1]))
    if args.lock and seen == 1:
        lock = hold_lock()
        answer(json.loads(message.split(b" ", 1)[1]))
        print("locked", flush=True)
        release(lock)
        continue
    if not args.id or seen <= args.ignore:
        continue
    if args.slow:
        time.sleep(args.slow)
    answer(json.loads(message.split(b" ", 1)[1]))
