#!/usr/bin/env bats
# tasker-work: handlers that misbehave, and the end of a worker, its own will or not.
load helper
load work

@test "work: handlers that fork, flood, ignore, stop and never read" {
    handler Forks 'sh -c "trap \"echo >termed; exit\" TERM; echo \$\$ >forked; read -r x <never" & until [ -s forked ]; do :; done; echo parent'
    handler Stays 'sh -c "trap : TERM; echo \$\$ >stays; while :; do read -r x <never; done" & until [ -s stays ]; do :; done'
    handler Session 'setsid sh -c "echo \$\$ >session; read -r x <never" & until [ -s session ]; do :; done; echo parent'
    handler Ignores 'trap "" TERM; echo started; while :; do read -r x <never; done' 'timeout_ms: 5000'
    handler Slow 'echo partly; read -r x <never' 'timeout_ms: 5000'
    handler Polite 'trap "echo cleaned; exit 0" TERM; read -r x <never' 'timeout_ms: 5000'
    handler Stops 'kill -STOP $$' 'timeout_ms: 5000'
    handler Reads 'exit 0'
    handler Counts 'wc -c'
    mkfifo never
    exec 8<>never
    worker 8>&-
    py <<'END'
big = {"x": "y" * 1000000}
names = "Forks Session Ignores Slow Polite Stops Reads Counts Stays".split()
c = run(*(step(i + 1, n, task_context=big if n in ("Reads", "Counts") else {}) for i, n in enumerate(names)))
f = dict(zip(names, (c.final(i + 1) for i in range(9))))
assert f["Forks"]["output"] == "parent", f["Forks"]
assert f["Session"]["output"] == "parent", f["Session"]
for n in ("Ignores", "Slow", "Polite", "Stops"):
    e = f[n]["error"]
    assert (e["error_category"], e["error_type"], f[n]["retryable"]) == ("timeout", "HandlerTimeout", True), f[n]
    assert e["message"].startswith("out of time after 5000 ms"), e
assert f["Ignores"]["error"]["signal"] == 9 and "did not end on TERM" in f["Ignores"]["error"]["message"], f["Ignores"]
assert f["Ignores"]["output"] == "started" and f["Ignores"]["execution_time_ms"] >= 8000, f["Ignores"]
assert f["Slow"]["error"]["signal"] == 15 and f["Slow"]["output"] == "partly", f["Slow"]
assert f["Polite"]["error"]["exit_status"] == 0 and f["Polite"]["output"] == "cleaned", f["Polite"]
assert f["Stops"]["error"]["signal"] == 15, f["Stops"]
assert f["Reads"]["status"] == "completed" and f["Counts"]["output"] > 1000000, (f["Reads"], f["Counts"])
END
    # what was left went with its step, by TERM or by KILL
    gone "$(cat forked)"
    [ -e termed ]
    gone "$(cat stays)"
    gone "$(cat session)"
    signal work TERM
    finish_with 0 work
}

@test "work: after 300 steps nothing is held: no descriptor, no process" {
    handler Leaves 'read -r x <never & exit 3'
    mkfifo never
    worker -j 20
    py <<<'run("True", "Leaves", batch_id="b0")'
    count_fds() { find "/proc/${PIDS[work]}/fd" -mindepth 1 | wc -l; }
    local before
    wait_until 5 only_keeper
    before=$(count_fds)
    py <<<'run(*["True", "Leaves"] * 150)'
    wait_until 5 only_keeper
    [ "$(count_fds)" -le $((before + 1)) ]
}

only_keeper() { is "$(pgrep -P "${PIDS[work]}" | xargs)" "$(keeper)" 2>/dev/null; }

@test "work: a group that cannot be emptied does not hold the end up" {
    # a child forks another one in the group, leaves the group, and never waits for it
    handler Zombie '/usr/bin/python3 -c "
import os, signal
ready, left = os.pipe(), os.pipe()
def stay(tell):
    os.write(tell[1], b\"x\")
    signal.alarm(30)
    signal.pause()
if not os.fork():
    if not os.fork():
        stay(ready)
    os.read(ready[0], 1)
    os.setsid()
    stay(left)
os.read(left[0], 1)
os._exit(0)" >/dev/null 2>&1 3>&-'
    worker
    run_steps Zombie
    is "$(of 1 .status)" completed
    signal work TERM
    finish_with 0 work 6
}

@test "work: a step that could not be started after all has failed, and the others go on" {
    printf '#!/nonexistent/sh\n' >h.Lost # that is found out by exec, when the start is told already
    chmod +x h.Lost
    echo '  Lost: {command: [./h.Lost]}' >>handlers.yaml
    cat >checks <<'END'
batch_id = "b%d" % len(names)
c = run(*names, batch_id=batch_id)
for i, n in enumerate(names):
    f = c.final(i + 1, batch_id)
    assert f["status"] == ("completed" if n == "True" else "failed"), f
    if n == "Lost":
        assert f["error"]["error_type"] == "HandlerMissing" and not f["retryable"], f
    told = [m["sequence"] for m in c.seen if m.get("step_id") == i + 1 and m["batch_id"] == batch_id]
    assert told == list(range(1, f["sequence"] + 1)), told
END
    worker -j 2
    local names
    for names in "Lost" "Lost True Lost Lost True Lost" "True True"; do
        { echo "names = '$names'.split()"; cat checks; } | py
    done
    wait_line work.err 'cannot run ./h.Lost: No such file or directory'
}

@test "work: never more steps at once than it may run, and as many" {
    handler Counts 'mkdir run.$$ && set -- run.*; echo $# >>most; until [ -e full ] || [ $# -eq 3 ]; do set -- run.*; done; echo >full; rmdir run.$$'
    worker -j 3
    py <<<'run(*["Counts"] * 60)'
    is "$(sort -n most | tail -n 1)" 3
    is "$(wc -l <most)" 60
}

@test "work: many at once each have their own descriptors, and no others" {
    mkfifo go
    handler Fds 'echo "$TASKER_STEP_ID" >>log; read -r x <go
wc -c >in.$TASKER_STEP_ID; echo "err $TASKER_STEP_ID" >&2; echo "{\"progress\":$TASKER_STEP_ID}" >&3
exec 1>&1 ls -x /proc/self/fd'
    worker -j 60
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", *["Fds"] * 60))
until(lambda: len(lines("log")) == 60, "all of them at once")
go(60)
c.completion()
for i in range(1, 61):
    f = c.final(i)
    assert f["output"].split() == ["0", "1", "2", "3", "4"], f  # 4 is the folder that ls reads
    assert f["execution_metadata"]["stderr"] == "err %d\n" % i, f
    assert int(open("in.%d" % i).read()) > 100, i
    assert [m["progress"] for m in c.seen if m.get("step_id") == i and "progress" in m] in ([], [i]), i
END
}

# A handler whose child, grandchild and one in a session of its own would live on.
family() {
    handler Family 'sh -c "read -r x <never" & setsid sh -c "read -r x <never" & echo "$! $$" >>family; trap "" TERM; while :; do read -r x <never; done'
    mkfifo never
    exec 8<>never
    worker "$@" 8>&-
    py <<'END'
p = Publisher().wait_worker()
p.send(batch("b1", "Family", "Family"))
p.accepted("b1")
until(lambda: len(lines("family")) == 2, "the handlers")
END
}

@test "work: a stderr that nobody reads stops neither the work nor its end" {
    mkfifo err
    exec 7<>err
    /usr/bin/python3 -c 'import os
os.set_blocking(7, False)
try:
    while os.write(7, b"x"): pass
except BlockingIOError:
    os.set_blocking(7, True)'
    spawn work bash -c 'exec tasker-work -vv -H handlers.yaml 2>err 7>&-'
    run_steps True
    is "$(of 1 .status)" completed
    spawn reader bash -c 'exec cat <err 7>&-'
    wait_line reader.out xxx
    BATCH=b2 run_steps True
    exec 7>&-
    signal work TERM
    finish_with 0 work
    finish_with 0 reader
    has 'tasker-work: ' reader.out
    grep -Eq 'tasker-work: [0-9]+ messages could not be written here' reader.out
}

@test "work: a keeper that is stopped does not hold the end up" {
    local pid
    worker
    run_steps True
    pid=$(keeper)
    kill -STOP "$pid"
    signal work TERM
    finish_with 0 work
    wait_until 5 gone "$pid"
}

@test "work: killed, it leaves nothing running" {
    family
    keeper
    signal work KILL
    finish work
    wait_until 5 nothing_marked
}

@test "work: pkill of all that has its command line leaves nothing running" {
    family --handlers "$PWD/handlers.yaml"
    run -0 tr '\0' ' ' <"/proc/$(keeper)/cmdline"
    [[ $output != *tasker* ]]
    pkill -KILL -f -- "--handlers $PWD/handlers.yaml"
    finish work
    wait_until 5 nothing_marked
}

@test "work: another keeper takes the place of one that was killed" {
    local first
    family
    first=$(keeper)
    kill -KILL "$first"
    wait_line work.err 'warning: the keeper process was killed: another one is started'
    is "$(grep -c 'keeper process' work.err)" 1
    [ "$(keeper)" != "$first" ]
    py <<<'run("True", batch_id="b2")'
    signal work KILL
    finish work
    wait_until 5 nothing_marked
}

@test "work: TERM drains: what runs ends, the rest is reported, then status 0" {
    waiter
    worker -j 1
    peer drain <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", step(1, "Wait"), step(2, "Wait")))
p.send(batch("b2", step(1, "Wait"), step(2, "True")))
p.accepted("b2")
until(lambda: lines("log"), "the start")
os.kill(int(open("pid").read()), 15)
c.completion("b2")
until(lambda: sorted(p.left) == ["steps", "worker.w1 "], "that it signs off")
c.wait_status(lambda s: s["state"] == "draining")
p.send(batch("b3", "True"))  # too late
assert not c.of("batch_completion", "b1") and lines("log") == ["started 1"]
go()
c.completion("b1")
c.wait_status(lambda s: s["state"] == "stopped")
assert c.final(1, "b1")["status"] == "completed"
for b, i in (("b1", 2), ("b2", 1), ("b2", 2)):
    m = c.final(i, b)
    assert (m["status"], m["retryable"], m["error"]["error_type"], m["sequence"]) == ("failed", True, "NotRun", 1), m
    assert m["error"]["error_category"] == "infrastructure" and "execution_metadata" in m, m
done = c.completion("b1")
assert (done["completed_steps"], done["failed_steps"]) == (1, 1), done
assert not p.answers("b3"), p.seen
END
    echo "${PIDS[work]}" >pid
    finish_with 0 drain
    finish_with 0 work
    is "$(cat log)" "$(printf 'started 1\nended 1')"
}

@test "work: INT and HUP drain too; what waits for room in the queue is left to its publisher" {
    local sig
    waiter
    for sig in INT HUP; do
        rm -f log
        worker -j 1 --queue-limit 1
        echo "$sig ${PIDS[work]}" >pid
        py <<'END'
name, pid = open("pid").read().split()
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Wait"))
until(lambda: lines("log"), "the start")
for b in ("b2", "b3", "b4"):
    p.send(batch(b, "True"))
p.accepted("b2")
import signal
os.kill(int(pid), getattr(signal, "SIG" + name))
c.completion("b2")
go()
c.completion("b1")
c.wait_status(lambda s: s["state"] == "stopped")
assert not p.answers("b3") and not p.answers("b4") and len(c.of("batch_completion")) == 2
END
        finish_with 0 work
    done
}

@test "work: what does not end in the time for draining is stopped, retryable" {
    handler Stubborn 'trap "" TERM; echo on >>log; while :; do read -r x <never; done'
    handler Prompt 'trap "exit 0" TERM; echo on >>log; read -r x <never'
    handler Dies 'echo on >>log; read -r x <never'
    mkfifo never
    exec 8<>never
    worker --drain-timeout 200ms 8>&-
    echo "${PIDS[work]}" >pid
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Stubborn", "Prompt", "Dies"))
until(lambda: len(lines("log")) == 3, "the start")
os.kill(int(open("pid").read()), 15)
c.completion()
for i in (1, 3):
    m = c.final(i)
    assert (m["status"], m["retryable"], m["error"]["error_type"], m["error"]["error_category"]) == \
        ("failed", True, "WorkerStopped", "infrastructure"), m
assert c.final(1)["error"]["signal"] == 9 and c.final(3)["error"]["signal"] == 15
assert c.final(2)["status"] == "completed"
END
    finish_with 0 work
    has "3 steps did not end in time and are stopped" work.err
}

@test "work: a second TERM ends it at once, a doubled one does not" {
    waiter
    worker
    echo "${PIDS[work]}" >pid
    py <<'END'
pid = int(open("pid").read())
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Wait"))
until(lambda: lines("log"), "the start")
os.kill(pid, 15)
os.kill(pid, 15)
c.wait_status(lambda s: s["state"] == "draining")
count = len(c.told)
until(lambda: len(c.told) > count + 1, "two heartbeats later it still drains")
os.kill(pid, 15)
END
    finish_with 75 work 3
    has "stopped at once: 1 running steps are killed" work.err
    wait_until 5 nothing_marked
}

@test "work: with nobody who confirms it says so at the end, 75; plain ears are enough for 0" {
    worker --set worker.confirm_timeout=100ms
    py <<'END'
p = Publisher().wait_worker()
p.send(batch("b1", "True"))
p.accepted("b1")
c = Collector("deaf", auto=False)
until(lambda: (c.wait_status()["offset"], c.status["unconfirmed"]) == (3, 1), "all results")
END
    signal work TERM
    finish_with 75 work
    has "3 results are not confirmed by a collector" work.err
    worker --set worker.confirm_timeout=100ms # the same where it was there when they were sent
    py <<'END'
c, p = Collector("deaf", auto=False), Publisher().wait_worker()
c.wait_status(lambda s: s["collectors"] == 1)
p.send(batch("b1", "True"))
c.completion()
END
    signal work TERM
    finish_with 75 work
    has "3 results are not confirmed by a collector" work.err
    worker --set worker.confirm_timeout=20s
    echo "${PIDS[work]}" >pid
    py <<'END'
c, p = Collector(None), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "True"))
c.completion()
os.kill(int(open("pid").read()), 15)
c.wait_status(lambda s: s["state"] == "stopped")
END
    finish_with 0 work 5
}
