#!/usr/bin/env bats
# tasker-work: batches in and results out, as tasker(7) says.
load helper
load work

@test "work: a batch that comes again is answered again and run once, running or ended" {
    waiter
    worker
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
for topic in ("worker.w1", "steps"):
    p.send(batch("b1", "Wait"), topic)
first, second = p.accepted("b1", 1), p.accepted("b1", 2)
assert first["steps"] == second["steps"] == 1 and first["worker_id"] == "w1", first
assert first["source"] == c.status["source"] and first["result_endpoint"] == RESULTS, first
go()
c.completion("b1")
p.send(batch("b1", "Wait"))
assert p.accepted("b1", 3)["steps"] == 1
p.send(batch("b2", "True"))
c.completion("b2")
assert len(c.of("batch_completion")) == 2 and lines("log") == ["started 1", "ended 1"], lines("log")
END
}

@test "work: accepted before any step starts, told how much is queued and free" {
    waiter
    worker -j 2
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Wait"))
a = p.accepted("b1")
assert (a["steps"], a["queued"], a["free_slots"]) == (1, 1, 1), a
until(lambda: lines("log"), "the start")
p.send(batch("b2", "Wait", "Wait", "Wait"))
a = p.accepted("b2")
assert (a["steps"], a["queued"], a["free_slots"]) == (3, 3, 0), a
c.wait_status(lambda s: (s["running"], s["queued"], s["free_slots"], s["max_workers"], s["accepted"]) == (2, 2, 0, 2, 4))
go(4)
c.completion("b1"), c.completion("b2")
END
}

@test "work: when the queue is full a batch is answered later, in order" {
    waiter
    export TASKER_ZEROMQ_RESEND_AFTER=60s # what waits is not sent again here
    worker -j 1 --queue-limit 2
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Wait"))
p.send(batch("big", "Wait", "Wait", "Wait", "Wait"))  # nothing waits: it may come in
p.accepted("b1")
until(lambda: lines("log"), "the start")
p.accepted("big")
for b in ("b2", "b3", "b2"):
    p.send(batch(b, "Wait"))
n = len(c.told)
until(lambda: len(c.told) > n + 1, "heartbeats")
assert not p.answers("b2") and not p.answers("b3"), p.seen
def next_one():
    n = len(lines("log"))
    go()
    until(lambda: len(lines("log")) == n + 2, "the next")
next_one(), next_one()
assert not p.answers("b2"), "one runs and two wait"
next_one()
p.accepted("b2")
assert not p.answers("b3"), p.seen
next_one()
p.accepted("b3")
assert len(p.answers("b2")) == len(p.answers("b3")) == 1
next_one(), next_one()
go()
for b in ("b1", "big", "b2", "b3"):
    c.completion(b)
assert len(lines("log")) == 14, lines("log")
END
}

@test "work: what only looks like a batch that came before is read" {
    worker
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "True"))
c.completion("b1")
for other, key in (("b2", '"a\\"batch_id":"b1","batch_id"'), ("b3", '"batch_id":"b1","batch_id"')):
    p.send(json.dumps(batch(other, "True")).replace('"batch_id"', key, 1).encode())
    p.accepted(other)
    c.completion(other)
p.send(b'{"batch_id":"b1", and so on')
topic, answer = p.answer("b1", 2)
assert (topic, answer["error"]["error_type"]) == ("batch_rejected", "InvalidBatch"), answer
p.send(batch("b1", "True"))
p.accepted("b1", 3)
assert len(c.of("batch_completion", "b1")) == 1
END
}

@test "work: two frames, a plain publisher's batch, and a plain publisher's bad batch" {
    worker
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "True"), frames=1)
p.send(batch("b2", "True"), "steps", frames=2)
p.send(batch("b3", "True"), "steps")
for b in ("b1", "b2", "b3"):
    c.completion(b)
p.send(batch("b4", "None"), "steps")
error = until(lambda: c.of("batch_error", "b4"), "the batch_error")[0]
assert error["error"]["message"] == "no handler for None (step 1, s)" and error["error"]["error_category"] == "permanent", error
assert error["offset"] == 10, error
p.send(batch("b5", "True"), "stepsister")  # a topic that is not ours
p.send(batch("b6", "True"))
c.completion("b6")
assert not p.answers("b5"), p.seen
END
}

@test "work: several publishers, one that comes back, and one that binds nothing" {
    local other
    other=tcp://127.0.0.1:$(port)
    export other
    worker --batch-endpoint "$STEPS,$other"
    py <<'END'
c, p, q = Collector(), Publisher(), Publisher(os.environ["other"])
p.wait_worker(), q.wait_worker()
c.wait_status()
p.send(batch("b1", "True"))
q.send(batch("b2", "True"))
p.accepted("b1"), q.accepted("b2")
c.completion("b1"), c.completion("b2")
p.close()
p = Publisher().wait_worker()
p.send(batch("b1", "True"))  # known, also to a new publisher
p.accepted("b1")
p.send(batch("b3", "True"))
c.completion("b3")
assert len(c.of("batch_completion")) == 3
END
}

@test "work: it binds for batches, collectors bind for results" {
    worker --set zeromq.batch_bind=worker --set zeromq.result_bind=collector
    py <<'END'
c, p = Collector(bind=True), Publisher(bind=False).wait_worker()
c.wait_status()
p.send(batch("b1", "True"))
assert p.accepted("b1")["result_endpoint"] is None
c.completion()
END
}

@test "work: two workers, each with its own batches, source and offsets" {
    worker
    TASKER_WORKER_ID=w2 TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*' spawn work2 tasker-work -H handlers.yaml
    py <<'END'
p = Publisher().wait_worker("w1").wait_worker("w2")
p.send(batch("b1", "True"))
p.send(batch("b2", "True"), "worker.w2")
a, b = p.accepted("b1"), p.accepted("b2")
assert (a["worker_id"], b["worker_id"]) == ("w1", "w2") and a["source"] != b["source"]
c, d = Collector(), Collector(endpoint=b["result_endpoint"])
for collector in (c, d):
    collector.wait_status(lambda s: s["offset"] == 3)
c.say("replay", source=a["source"], after=0), d.say("replay", source=b["source"], after=0)
until(lambda: len(c.direct) == 3 and len(d.direct) == 3, "the results of both")
assert {m["batch_id"] for m in c.direct} == {"b1"} and {m["worker_id"] for m in d.direct} == {"w2"}
assert [m["offset"] for m in d.direct] == [1, 2, 3]
END
}

@test "work: replay, for one by name and for all; a late joiner is told what there is" {
    worker
    py <<'END'
c, plain, p = Collector(), Collector(None), Publisher().wait_worker()
source = c.wait_status()["source"]
plain.wait_status()
p.send(batch("b1", "True", "True"))
c.completion()
plain.completion()
late = Collector("late", topics=())
told = late.wait_status()
assert (told["topic"], told["source"], told["offset"], told["oldest"]) == ("collector.late", source, 5, 1), told
late.say("replay", source=source, after=2)
until(lambda: len(late.direct) == 3, "the replay")
assert [m["offset"] for m in late.direct] == [3, 4, 5]
assert late.direct == c.seen[2:], "the same, to the byte"
late.say("replay", source="another", after=0)
late.say("replay", source=source, after=5)
late.say("replay", source=source, after=4)
until(lambda: len(late.direct) == 4, "the next replay")
assert len(c.seen) == len(plain.seen) == 5 and not late.seen and not c.direct
plain.say("replay", source=source, after=3)
until(lambda: len(plain.seen) == 7, "the replay for all")
assert [m["offset"] for m in plain.seen] == [1, 2, 3, 4, 5, 4, 5]
END
}

@test "work: collectors confirm; one that is gone is not waited for; one name on two connections is one" {
    worker
    py <<'END'
c, p = Collector(auto=False), Publisher().wait_worker()
source = c.wait_status(lambda s: s["collectors"] == 1)["source"]
assert (c.status["offset"], c.status["unconfirmed"]) == (0, 1), c.status
p.send(batch("b1", "True"))
c.completion()
c.wait_status(lambda s: (s["offset"], s["unconfirmed"], s["oldest"]) == (3, 1, 1))
c.say("collected", source="another", offset=3)
c.say("collected", source=source, offset=2)
c.say("collected", source=source, offset=1)
c.say("collected", source=source, offset=99)
c.wait_status(lambda s: s["unconfirmed"] == 3)
slow = Collector("slow", auto=False)
c.wait_status(lambda s: s["collectors"] == 2)
c.say("collected", source=source, offset=3)
n = len(c.told)
until(lambda: len(c.told) > n + 1, "heartbeats")
assert c.status["unconfirmed"] == 3, c.status  # the slow one has not
slow.close()
c.wait_status(lambda s: s["collectors"] == 1 and s["unconfirmed"] == 4, "no wait for one that is gone")
again = Collector("c1", auto=False)  # a new connection, before the old one is known to be dead
again.wait_status(lambda s: s["topic"] == "collector.c1")
c.close()
p.send(batch("b2", "True"))
again.completion("b2")
again.say("collected", source=source, offset=6)
again.wait_status(lambda s: s["unconfirmed"] == 7 and s["collectors"] == 1 and s["lost"] == 0)
END
}

@test "work: what the outbox must give up is counted and said, and the hole is told" {
    worker --set zeromq.outbox_limit=4
    py <<'END'
p = Publisher().wait_worker()
p.send(batch("b1", "True", "True", "True"))  # 7 results
ears = Collector(None, topics=("worker_status",))
ears.wait_status(lambda s: s["offset"] == 7 and s["lost"] == 3 and s["oldest"] == 4)
c = Collector()
c.wait_status()
c.say("replay", source=c.status["source"], after=0)
until(lambda: len(c.direct) == 4, "the replay")
assert [m["offset"] for m in c.direct] == [4, 5, 6, 7]
assert any(s["topic"] == "collector.c1" and s["oldest"] == 4 for s in c.told)
END
    wait_line work.err 'warning: [1-3] results? w(as|ere) given up unconfirmed \(3 in all\): outbox limits'
}

@test "work: it answers who asks for its state, and tells it when it starts and stops" {
    worker -j 3 --set zeromq.heartbeat_interval=1h
    echo "${PIDS[work]}" >pid
    py <<'END'
ask = Collector(None, topics=("status.me ",))
s = ask.wait_status()
assert s["topic"] == "status.me" and s["pid"] == int(open("pid").read()) and s["state"] == "ready", s
assert {k: s[k] for k in "worker_id running queued free_slots max_workers accepted completed failed rejected lost collectors offset oldest".split()} == \
    dict(worker_id="w1", running=0, queued=0, free_slots=3, max_workers=3, accepted=0, completed=0, failed=0, rejected=0, lost=0, collectors=0, offset=0, oldest=1), s
assert s["batch_endpoint"] == os.environ["TASKER_ZEROMQ_BATCH_ENDPOINT"], s
c = Collector()
c.wait_status()
os.kill(s["pid"], 15)
c.wait_status(lambda s: s["state"] == "stopped")
END
    finish_with 0 work
}

@test "work: the default port in use: a free one, with a warning; the receipt has it" {
    unset TASKER_ZEROMQ_RESULT_ENDPOINT
    peer holder <<'END'
holder = ctx.socket(zmq.XPUB)
for _ in range(200):  # somebody else may have it, and may lose it at any moment
    try:
        holder.bind("tcp://127.0.0.1:5556")
        break
    except zmq.ZMQError:
        poller.poll(20)
open("held", "w").close()
until(lambda: os.path.exists("done"), "", 80)
END
    wait_until 10 test -e held
    worker
    py <<'END'
p = Publisher().wait_worker()
p.send(batch("b1", "True"))
endpoint = p.accepted("b1")["result_endpoint"]
assert endpoint.startswith("tcp://127.0.0.1:") and endpoint != "tcp://127.0.0.1:5556", endpoint
c = Collector(endpoint=endpoint)
c.wait_status(lambda s: s["offset"] == 3)
END
    touch done
    has "warning: tcp://127.0.0.1:5556 is in use: results are at tcp://127.0.0.1:" work.err
}

@test "work: it works with all its standard descriptors closed" {
    handler Say 'echo said; echo err >&2; cat >/dev/null'
    spawn work bash -c 'exec tasker-work -H handlers.yaml <&- >&- 2>&-'
    run_steps Say True
    is "$(of 1 '[.output,.execution_metadata.stderr]')" '["said","err\n"]'
    keeper
    signal work TERM
    finish_with 0 work
}

@test "work: 200 steps at once under a limit of open files" {
    waiter
    spawn work bash -c 'ulimit -n 300 && exec tasker-work -H handlers.yaml -j 1000'
    wait_line work.err 'max_workers lowered from 1000 to 58: the limit on open files is 300'
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
p.send(batch("b1", *["Wait"] * 200))
c.wait_status(lambda s: s["running"] == 58 and s["queued"] == 142)
go(200)
done = c.completion()
assert done["completed_steps"] == 200, done
END
}

@test "work: each step that an operator ends is answered for: in order, twice, unknown, not accepted yet, ended" {
    waiter
    export TASKER_ZEROMQ_RESEND_AFTER=60s # what waits is not sent again here
    worker -j 1 --queue-limit 3
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
o = Collector(name=None, topics=())
o.socket.send(b"\1status.me ")
o.on = lambda data: o.seen.append(json.loads(data.split(b" ", 1)[1]))
def cancel(batch_id, *ids):
    o.seen.clear()
    o.say("cancel", batch_id=batch_id, step_ids=ids, answer_to="me")
    answer = until(lambda: o.seen, "an answer")[0]
    return " ".join("%d:%s" % (s["step_id"], s["was"]) for s in answer["steps"])
def is_(a, b):
    assert a == b, a
p.send(batch("a", *[step(i, "Wait") for i in (50, 10, 40, 20)]))
p.accepted("a")
until(lambda: lines("log") == ["started 50"], "the start")
p.send(batch("b", *[step(i, "Wait") for i in (3, 1, 2)]))
p.send(batch("after", "Nobody"))
p.rejected("after") # so b is there
is_(cancel("b", 2, 7, 2), "2:queued 7:unknown 2:queued")
is_(cancel("none", 1), "1:unknown")
is_(cancel("a", 40, 11, "x", 40, 10), "40:queued 11:unknown 40:ended 10:queued")
is_(c.final(40, "a")["error"]["error_category"], "cancelled")
p.send(batch("b", *[step(i, "Wait") for i in (3, 1, 2)]))
is_(cancel("a", 50, 20), "50:running 20:queued")
c.completion("a")
p.accepted("b")
is_(cancel("a", 50, 99), "50:ended 99:ended")
until(lambda: lines("log")[-1] == "started 3", "step 3")
go()
c.final(3, "b")
go()
c.completion("b")
is_(c.final(2, "b")["error"]["error_category"], "cancelled")
p.send(batch("c", step(1, "Wait")))
until(lambda: lines("log")[-1] == "started 1" and len(lines("log")) > 4, "batch c")
p.send(batch("d", step(5, "Wait"), step(6, "Wait")))
p.accepted("d")
is_(cancel("d", 6, 5, 6, 7), "6:queued 5:queued 6:ended 7:ended") # its batch ends in between
go()
c.completion("c")
assert not {"started 2", "started 5", "started 6", "started 10", "started 20", "started 40"} & set(lines("log")), lines("log")
END
}
