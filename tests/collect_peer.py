# Peers for tests/collect.bats, on Debian's python3-zmq: a worker that speaks the reliable stream of
# the protocol (and can be told to lose messages), and a bare socket for anything else. Both are XPUB,
# so that they see who is there before they send. What a collector sends is printed, a line each.
import json
import sys
import time

import zmq

TOPICS = (b"partial_result", b"batch_completion", b"batch_error", b"worker_status", b"results")


class Bare:
    def __init__(self, endpoint, bind=True):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self.socket.setsockopt(zmq.LINGER, 5000)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        (self.socket.bind if bind else self.socket.connect)(endpoint)
        self.joined = set()

    def recv(self, timeout):
        """Gives one upstream message, or None after timeout seconds."""
        end = time.monotonic() + timeout
        while self.socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            data = self.socket.recv()
            if data[:1] == b"\1":
                self.joined.add(data[1:])
                self.on_join(data[1:].decode())
            elif data[:1] == b"\0":
                self.joined.discard(data[1:])
            elif not data.startswith(b"alive "):
                return data
        return None

    def on_join(self, topic):
        pass

    def until(self, condition, seconds=40):
        """Serves the collector until condition() holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                sys.exit("peer: waited in vain")
            self.serve(0.02)

    def serve(self, timeout):
        self.recv(timeout)

    def wait_subscribed(self):
        self.until(lambda: any(t.startswith(b"collector.") for t in self.joined)
                   and all(any(j.strip() == t for j in self.joined) for t in TOPICS))

    def send(self, *frames):
        self.socket.send_multipart([f if isinstance(f, bytes) else f.encode() for f in frames])

    def say(self, topic, message):
        self.send(topic + " " + json.dumps(message))

    def close(self):
        self.socket.close()
        self.context.term()


class Worker(Bare):
    def __init__(self, endpoint, source="src-1", bind=True):
        super().__init__(endpoint, bind)
        self.source, self.kept, self.oldest, self.offset = source, {}, 1, 0
        self.settled = 0  # confirmed by somebody
        self.confirmed, self.replays = 0, 0
        self.deaf = False  # replays are not answered
        self.greets = True

    def status(self, topic="worker_status", state="ready", **more):
        self.say(topic, dict({"message_type": "worker_status", "worker_id": "w1",
                              "source": self.source, "offset": self.offset, "oldest": self.oldest,
                              "unconfirmed": self.settled + 1, "state": state}, **more))

    def on_join(self, topic):
        if topic.startswith("collector.") and self.greets:
            self.status(topic.strip())

    def publish(self, topic, message, lose=False, copies=1):
        self.offset += 1
        message = dict(message, message_type=topic, source=self.source, offset=self.offset)
        self.kept[self.offset] = message
        for _ in range(0 if lose else copies):
            self.say(topic, message)

    def forget(self, upto):
        """Gives up what is held up to an offset."""
        self.kept = {k: v for k, v in self.kept.items() if k > upto}
        self.oldest = max(self.oldest, upto + 1)

    def partial(self, batch, step, status="completed", output_of=None, **how):
        self.publish("partial_result", {"batch_id": batch, "step_id": step, "task_id": 1,
                                        "step_name": "s%d" % step, "status": status, "attempt": 1,
                                        "sequence": 1, "worker_id": "w1",
                                        "output": {"n": output_of or step},
                                        "error": None, "execution_time_ms": 3}, **how)

    def completion(self, batch, steps, **how):
        self.publish("batch_completion", {"batch_id": batch, "total_steps": len(steps),
                                          "completed_steps": len(steps), "failed_steps": 0,
                                          "in_progress_steps": 0, "step_summaries": [
            {"step_id": s, "final_status": "completed", "worker_id": "w1", "attempt": 1,
             "execution_time_ms": 3} for s in steps]}, **how)

    def batch(self, batch, steps, **how):
        for step in steps:
            self.partial(batch, step, **how)
        self.completion(batch, steps, **how)

    def serve(self, timeout):
        data = self.recv(timeout)
        if data is None:
            return
        print(data.decode(), flush=True)
        topic, body = data.split(b" ", 1)
        message = json.loads(body)
        if message["source"] != self.source:
            return
        if topic == b"replay" and not self.deaf:
            self.replays += 1
            for offset in sorted(k for k in self.kept if k > message["after"]):
                self.say("collector." + message["collector_id"], self.kept[offset])
        elif topic == b"collected":
            self.confirmed = max(self.confirmed, message["offset"])
            self.settled = max(self.settled, self.confirmed)
