#!/usr/bin/python3
"""A subscriber that reads slowly: python3 subscriber.py STEPS COUNT PAUSE

SUB connects to STEPS, with room for few messages, and reads one each PAUSE seconds. It prints the
batch_id of each. Ends with 0 after COUNT messages, with 1 when none came for 20 s.
"""
import json
import sys
import time

import zmq


def main(steps, count, pause):
    sub = zmq.Context.instance().socket(zmq.SUB)
    sub.setsockopt(zmq.RCVHWM, 10)
    sub.setsockopt(zmq.RCVBUF, 65536)
    sub.connect(steps)
    sub.setsockopt_string(zmq.SUBSCRIBE, "steps")
    for _ in range(int(count)):
        if not sub.poll(20000):
            return 1
        print(json.loads(sub.recv_string().split(" ", 1)[1])["batch_id"], flush=True)
        time.sleep(float(pause))
    return 0


status = main(*sys.argv[1:])
zmq.Context.instance().destroy(linger=0)
sys.exit(status)
