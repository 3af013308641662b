#!/usr/bin/python3
"""A collector that knows only the base of the protocol: python3 collector.py RESULTS [COUNT]

SUB connects to RESULTS and prints each partial_result and batch_completion. It believes nothing:
a frame that is not one topic, one space and one JSON object, or a result without the fields that
every consumer reads, ends it with 1. Ends with 0 after COUNT completions, with 1 after 20 s.
"""
import json
import sys
import time

import zmq

FIELDS = {
    "partial_result": ("batch_id", "step_id", "status", "execution_time_ms", "worker_id"),
    "batch_completion": ("batch_id", "protocol_version", "total_steps", "completed_steps",
                         "failed_steps", "in_progress_steps", "step_summaries"),
}


def main(results, count="1"):
    sub = zmq.Context.instance().socket(zmq.SUB)
    sub.connect(results)
    for topic in FIELDS:
        sub.setsockopt_string(zmq.SUBSCRIBE, topic)
    completions, deadline = 0, time.monotonic() + 60
    while completions < int(count):
        if not sub.poll(max(0, (deadline - time.monotonic()) * 1000)):
            return 1
        frame = sub.recv_multipart()
        assert len(frame) == 1, frame
        topic, body = frame[0].decode().split(" ", 1)
        message = json.loads(body)
        assert message["message_type"] == topic, message
        missing = [f for f in FIELDS[topic] if f not in message]
        assert not missing, (missing, message)
        print(body, flush=True)
        completions += topic == "batch_completion"
    return 0


status = main(*sys.argv[1:])
zmq.Context.instance().destroy(linger=0)
sys.exit(status)
