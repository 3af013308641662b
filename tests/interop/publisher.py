#!/usr/bin/python3
"""A publisher that knows only the base of the protocol: python3 publisher.py STEPS RESULTS < BATCHES

PUB binds STEPS and sends each line of stdin as "steps {batch}"; SUB connects to RESULTS and hears
what comes back, which is printed. A PUB cannot know whether anybody listens, so a batch is sent
again until its first result is heard: a worker must run it once all the same. --two-frames sends
topic and JSON as two frames. With --once each batch is sent once, 200 ms after the bind. With
--reversed it connects to STEPS and binds RESULTS. Ends when all batches are complete, or with 1
after 60 s.
"""
import json
import sys
import time

import zmq


def main(steps, results, *options):
    batches = {b["batch_id"]: b for b in map(json.loads, sys.stdin)}
    pub = zmq.Context.instance().socket(zmq.PUB)
    sub = zmq.Context.instance().socket(zmq.SUB)
    (pub.connect if "--reversed" in options else pub.bind)(steps)
    (sub.bind if "--reversed" in options else sub.connect)(results)
    for topic in ("partial_result", "batch_completion", "batch_error"):
        sub.setsockopt_string(zmq.SUBSCRIBE, topic)
    if "--once" in options:
        # what such publishers do, since they see no subscription; a SUB that binds subscribes only
        # while its program is in ZeroMQ
        sub.poll(200)
    unheard, unfinished, deadline = set(batches), set(batches), time.monotonic() + 60
    while unfinished and time.monotonic() < deadline:
        for batch_id in unheard:
            body = json.dumps(batches[batch_id])
            if "--two-frames" in options:
                pub.send_multipart([b"steps", body.encode()])
            else:
                pub.send_string("steps " + body)
        while sub.poll(60000 if "--once" in options else 200):
            topic, body = sub.recv_string().split(" ", 1)
            print(body, flush=True)
            message = json.loads(body)
            unheard.discard(message["batch_id"])
            if topic in ("batch_completion", "batch_error"):
                unfinished.discard(message["batch_id"])
            if not unfinished:
                break
    return 1 if unfinished else 0


status = main(*sys.argv[1:])
zmq.Context.instance().destroy(linger=0)
sys.exit(status)
