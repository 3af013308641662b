#!/usr/bin/env bats
# tasker-work: what it may hold of results that are not taken.
load helper
load work

setup() {
    work_begin
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=30s # else the stopped ones are taken for dead, or not
    cat >slow.py <<'END'
import json, sys, zmq
s = zmq.Context().socket(zmq.SUB)
s.setsockopt(zmq.RCVHWM, 1)
s.setsockopt(zmq.RECONNECT_IVL, 10)
s.connect(sys.argv[1])
for topic in sys.argv[2:]:
    s.subscribe(topic)
while True:
    print(json.loads(s.recv().split(b" ", 1)[1]).get("batch_id"), flush=True)
END
}

# A subscriber that takes nothing once it is stopped: slow NAME [TOPIC ...]
slow() { spawn "$1" /usr/bin/python3 slow.py "$RESULTS" "${@:2}"; }

subscribed() { # COUNT TOPIC
    wait_until 10 awk -v count="$1" -v line="a peer subscribed to \"$2\"" '
        index($0, line) { n++ }
        END { exit n < count }' work.err
}

peak_kb() { awk '/^VmHWM/ { print $2 }' "/proc/${PIDS[work]}/status"; }

# Runs so many steps whose results have 100 kB each; the collector c1 takes them all as they come.
large() { # BATCH COUNT
    py <<END
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("$1", *["Large"] * $2))
until(lambda: c.of("batch_completion"), "the completion of $1", 80)
done = [m["step_id"] for m in c.partials() + c.direct if m["status"] == "completed"]
assert sorted(set(done)) == list(range(1, $2 + 1)), len(done)
END
}

@test "work: subscribers that take nothing do not make it hold more than its outbox may" {
    local before after
    printf 'x%.0s' {1..100000} >text
    handler Large 'exec cat text'
    # freed memory that a sanitizer keeps is not held by the worker
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1
    export TASKER_ZEROMQ_OUTBOX_MAX_BYTES=8M
    worker -v -j 4
    wait_line work.err 'is ready'
    large warm 100
    before=$(peak_kb)
    slow plain partial_result own.plain
    slow other partial_result batch_completion own.other
    slow collector partial_result 'collector.slow '
    subscribed 1 own.plain
    subscribed 1 own.other
    subscribed 1 'collector.slow '
    signal plain STOP
    signal other STOP
    signal collector STOP
    large flood 400 # 40 MB
    after=$(peak_kb)
    echo "grew by $((after - before)) kB"
    [ $((after - before)) -lt 16000 ]
    wait_line work.err 'warning: results: . subscribers? take'
    # they come again, and hear what is sent from then on
    signal plain CONT
    signal other CONT
    signal collector CONT
    subscribed 2 own.plain
    subscribed 2 own.other
    subscribed 2 'collector.slow '
    large last 1
    wait_line plain.out last
    wait_line other.out last
    wait_line collector.out last
}

sent_again() { [ "$(grep -c "batch $1: sent on" publish.err)" -ge 2 ]; }

@test "work: large batches that wait do not make it grow, and each is run once" {
    waiter
    handler Log 'echo "$TASKER_STEP_ID" >>runs'
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=400k
    python3 - >in <<'END'
import json
def batch(i, handler, context):
    step = dict(step_id=i, task_id=1, step_name="s", handler_class=handler, task_context=context)
    print(json.dumps(dict(message_type="batch", batch_id="b%d" % i, steps=[step])))
batch(1, "Wait", {})
for i in range(2, 32):
    batch(i, "Log", {"p": [{"a": 1}] * 36000}) # 360 kB, and over 20 MB when parsed
END
    worker -v -j 1
    wait_line work.err 'is ready'
    spawn publish bash -c 'exec tasker-publish -vv in >receipts'
    wait_line work.err 'batch b3: 1 step accepted'
    wait_until 30 sent_again b31 # and so is all that waits before it
    echo >go
    finish publish
    tasker-collect receipts >results
    echo "peak $(peak_kb) kB"
    [ "$(peak_kb)" -lt 250000 ]
    is "$(sort -n runs | tr '\n' ' ')" "$(seq -s ' ' 2 31) "
    is "$(jq -r 'select(.message_type == "batch_completion") | .batch_id' results | sort -u | wc -l)" 31
}

@test "work: what is too much to wait is kept later, neither lost nor refused; a plain publisher is told" {
    waiter
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=100k TASKER_ZEROMQ_RESEND_AFTER=30s
    worker -j 1
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
def large(i):
    return batch("b%d" % i, step(i, "Wait", task_context={"p": "x" * 80000}))
p.send(large(1))
p.accepted("b1")
until(lambda: lines("log"), "the start")
for i in range(2, 9):
    p.send(large(i)) # the bytes of one more are accepted, those of four wait
p.send(large(9), "steps")
error = until(lambda: c.of("batch_error", "b9"), "the error")[0]["error"]
assert error["error_type"] == "QueueFull" and error["retryable"] and error["attempt_used"] is False, error
p.accepted("b2")
assert not any(p.answers("b%d" % i) for i in range(3, 9)), p.seen
go(6)
for i in range(1, 7):
    c.completion("b%d" % i)
assert not p.answers("b7") and not p.answers("b8"), p.seen
for i in (7, 8, 6, 9):
    p.send(large(i))
go(3)
for i in (7, 8, 9):
    p.accepted("b%d" % i, 2 if i == 9 else 1), c.completion("b%d" % i)
assert [l for l in lines("log") if l[0] == "s"] == ["started %d" % i for i in range(1, 10)], lines("log")
END
}

@test "work: one that stops refuses the batches of plain publishers that it has not accepted" {
    waiter
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=100k
    worker -j 1
    py <<END
import signal
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
def large(i):
    return batch("b%d" % i, step(i, "Wait", task_context={"p": "x" * 80000}))
for i in 1, 2, 3:
    p.send(large(i), "steps")
    i < 3 and p.accepted("b%d" % i)
p.send(large(4))
p.send(batch("b1", step(1, "Wait", task_context={"p": "x" * 80000})))
p.accepted("b1", 2) # so the worker has read what came before
until(lambda: lines("log"), "the start")
os.kill(${PIDS[work]}, signal.SIGTERM)
error = until(lambda: c.of("batch_error", "b3"), "the error")[0]["error"]
assert error["error_type"] == "Stopping" and error["retryable"] and error["attempt_used"] is False, error
go(1)
c.completion("b1"), c.completion("b2")
assert not c.of("batch_error", "b4") and not c.of("batch_error", "b1"), c.seen
END
}
