#!/usr/bin/python3
"""A worker that knows only the base of the protocol: python3 worker.py STEPS RESULTS [COUNT]

SUB connects to STEPS and hears "steps {batch}"; PUB binds RESULTS and sends a partial_result a step
and then a batch_completion. Errors have the shape that such workers are known to send: "type", a
null time. A step fails if its task_context has "fail". Ends after COUNT batches. With --slow-start
it binds RESULTS half a second after it has connected to STEPS, or when the first batch comes. With
--reversed it binds STEPS and connects to RESULTS.
"""
import json
import sys
import time

import zmq


def run(step):
    context = step.get("task_context", {})
    if context.get("fail"):
        error = {"message": context["fail"], "type": "RuntimeError", "backtrace": []}
        return {"status": "failed", "error": error, "execution_time_ms": None}
    started = time.monotonic()
    output = {"echo": context, "name": step["step_name"]}
    took = int((time.monotonic() - started) * 1000)
    return {"status": "completed", "output": output, "execution_time_ms": took}


def main(steps, results, count="1", *options):
    sub = zmq.Context.instance().socket(zmq.SUB)
    (sub.bind if "--reversed" in options else sub.connect)(steps)
    sub.setsockopt_string(zmq.SUBSCRIBE, "steps")
    pub = zmq.Context.instance().socket(zmq.PUB)
    if "--slow-start" in options:
        sub.poll(500)
    (pub.connect if "--reversed" in options else pub.bind)(results)
    for _ in range(int(count)):
        batch = json.loads(sub.recv_string().split(" ", 1)[1])
        print(batch["batch_id"], flush=True)
        done = []
        for step in batch["steps"]:
            result = dict(run(step), message_type="partial_result", batch_id=batch["batch_id"],
                          step_id=step["step_id"], worker_id="plain_1", sequence=1)
            pub.send_string("partial_result " + json.dumps(result))
            done.append({"step_id": step["step_id"], "final_status": result["status"],
                         "execution_time_ms": result["execution_time_ms"], "worker_id": "plain_1"})
        failed = sum(s["final_status"] == "failed" for s in done)
        pub.send_string("batch_completion " + json.dumps({
            "message_type": "batch_completion", "protocol_version": "2.0",
            "batch_id": batch["batch_id"], "total_steps": len(done),
            "completed_steps": len(done) - failed, "failed_steps": failed,
            "in_progress_steps": 0, "step_summaries": done}))


main(*sys.argv[1:])
zmq.Context.instance().destroy(linger=2000)
