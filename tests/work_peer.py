# A publisher and a collector for tests/work.bats, on Debian's python3-zmq, that do what they are told
# and believe nothing. Environment: STEPS and RESULTS are the endpoints. Each wait has a deadline.
import json
import os
import sys
import time

import zmq

STEPS, RESULTS = os.environ["STEPS"], os.environ["RESULTS"]
TOPICS = ("partial_result", "batch_completion", "batch_error", "worker_status")
ctx = zmq.Context()
poller = zmq.Poller()
peers = []
gate = None


class Peer:
    def __init__(self, kind, endpoint, bind):
        self.socket = ctx.socket(kind)
        self.socket.set(zmq.LINGER, 5000)  # what it said last is heard
        self.socket.set(zmq.RECONNECT_IVL, 10)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.SNDHWM, 0)
        if bind:
            until(lambda: self.bind(endpoint), "the port " + endpoint)
        else:
            self.socket.connect(endpoint)
        poller.register(self.socket, zmq.POLLIN)
        peers.append(self)

    def bind(self, endpoint):
        """Tries; libzmq closes a socket a moment later than it is told to."""
        try:
            self.socket.bind(endpoint)
            return True
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise

    def close(self):
        poller.unregister(self.socket)
        peers.remove(self)
        self.socket.close()


def until(condition, what="that", seconds=30):
    """Lets all peers receive until condition() gives something, which is returned."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            for peer in peers:
                print(type(peer).__name__, *peer.seen[-20:], sep="\n", file=sys.stderr)
            sys.exit("peer: waited in vain for %s" % (what or condition))
        pump(0.02)


def pump(seconds=0.0):
    """Receives what there is, waiting at most so long for the first of it."""
    ready = dict(poller.poll(seconds * 1000))
    for peer in list(peers):
        while peer.socket in ready and peer.socket.poll(0):
            peer.on(peer.socket.recv())


class Publisher(Peer):
    def __init__(self, endpoint=STEPS, bind=True):
        super().__init__(zmq.XPUB, endpoint, bind)
        self.socket.set(zmq.XPUB_VERBOSER, 1)
        self.joined, self.left, self.seen = [], [], []  # seen: (topic, object), the answers

    def on(self, data):
        if data[:1] in (b"\0", b"\1"):
            (self.joined if data[0] else self.left).append(data[1:].decode())
        elif not data.startswith(b"alive "):
            topic, body = data.decode().split(" ", 1)
            self.seen.append((topic, json.loads(body)))

    def wait_worker(self, name="w1"):
        until(lambda: "worker.%s " % name in self.joined and "steps" in self.joined,
              "worker " + name)
        return self

    def send(self, message, topic="worker.w1", frames=1):
        if not isinstance(message, bytes):
            message = json.dumps(message).encode()
        if frames == 1:
            self.socket.send(topic.encode() + b" " + message)
        else:
            self.socket.send_multipart([topic.encode(), message] + [b"more"] * (frames - 2))

    def answers(self, batch_id):
        return [(t, m) for t, m in self.seen if m["batch_id"] == batch_id]

    def answer(self, batch_id, count=1):
        return until(lambda: len(self.answers(batch_id)) >= count and self.answers(batch_id),
                     "an answer for " + batch_id)[count - 1]

    def accepted(self, batch_id, count=1):
        topic, message = self.answer(batch_id, count)
        assert topic == "batch_accepted", (topic, message)
        return message

    def rejected(self, batch_id):
        topic, message = self.answer(batch_id)
        assert topic == "batch_rejected", (topic, message)
        return message["error"]


class Collector(Peer):
    """name: register as a collector that confirms; auto: confirm all at once."""

    def __init__(self, name="c1", endpoint=RESULTS, bind=False, auto=True, topics=TOPICS):
        super().__init__(zmq.XSUB, endpoint, bind)
        self.name, self.auto = name, auto
        self.seen, self.direct, self.status = [], [], None  # all but status; those to its name
        self.told = []  # every worker_status
        for topic in topics:
            self.socket.send(b"\1" + topic.encode())
        if name:
            self.socket.send(b"\1collector." + name.encode() + b" ")

    def on(self, data):
        topic, body = data.decode().split(" ", 1)
        message = json.loads(body)
        if message["message_type"] == "worker_status":
            self.status = dict(message, topic=topic)
            self.told.append(self.status)
            return
        (self.direct if topic.startswith("collector.") else self.seen).append(message)
        assert topic in (message["message_type"], "collector.%s" % self.name), topic
        if self.auto and self.name:
            self.say("collected", source=message["source"], offset=message["offset"])

    def say(self, topic, **message):
        if self.name:
            message.setdefault("collector_id", self.name)
        self.socket.send(topic.encode() + b" " + json.dumps(message).encode())

    def wait_status(self, condition=lambda s: True, what="a worker_status"):
        until(lambda: self.status and condition(self.status), what)
        return self.status

    def of(self, kind, batch_id=None):
        return [m for m in self.seen
                if m["message_type"] == kind and batch_id in (None, m["batch_id"])]

    def completion(self, batch_id="b1"):
        return until(lambda: self.of("batch_completion", batch_id), "completion of " + batch_id)[0]

    def partials(self, step=None, batch_id=None):
        return [m for m in self.of("partial_result", batch_id) if step in (None, m["step_id"])]

    def final(self, step, batch_id="b1"):
        done = until(lambda: [m for m in self.partials(step, batch_id)
                              if m["status"] != "in_progress"], "the end of step %d" % step)
        assert len(done) == 1, done
        return done[0]


def step(number, handler, name="s", **more):
    return dict(step_id=number, task_id=5, step_name=name, handler_class=handler, **more)


def batch(batch_id, *steps, **more):
    """steps: what step() made, or names of handlers"""
    steps = [s if isinstance(s, dict) else step(i + 1, s) for i, s in enumerate(steps)]
    return dict(batch_id=batch_id, protocol_version="2.0", steps=steps, **more)


def run(*steps, batch_id="b1"):
    """Publishes one batch to worker w1 and waits for its completion. Returns the collector."""
    collector, publisher = Collector(), Publisher().wait_worker()
    collector.wait_status()
    publisher.send(batch(batch_id, *steps))
    publisher.accepted(batch_id)
    last = collector.completion(batch_id)["offset"]
    collector.socket.send(b"\1status.run ")  # answered after what was confirmed has arrived
    collector.wait_status(lambda s: s["unconfirmed"] > last, "the confirmation to arrive")
    return collector


def go(count=1):
    """Lets so many handlers that wait at the file "go" go on; they read a byte each."""
    global gate
    gate = gate or os.open("go", os.O_RDWR)
    os.write(gate, b"\n" * count)


def lines(path):
    return open(path).read().splitlines() if os.path.exists(path) else []
