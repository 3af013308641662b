#!/usr/bin/env bats
# tasker-work: all processes that a handler starts end with its step, and with the worker.
load helper
load work

# Handlers whose descendants leave the process group, one way each. The descendants write their
# process ids to the file pids.CLASS; what the handler itself does then is in the file "then".
CLASSES="Timeout Session Bare Twice Chain Jobs Nested Left"
escapes() { # THEN
    local class
    mkfifo never
    exec 8<>never
    echo "$1" >then
    printf '#!/bin/sh\necho $$ >>"$1"\nread -r x <never\n' >stay
    printf '#!/bin/sh\ntrap "" TERM HUP\necho $$ >>"$1"\nread -r x <never\n' >deaf
    cat >twice.py <<'END'
import os
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execve("./deaf", ["deaf", "pids.Twice"], {"PATH": os.environ["PATH"]})
    os._exit(0)
os.wait()
END
    # a process that hands on to a child again and again
    cat >chain.py <<'END'
import os, time
for fd in range(4):
    os.close(fd)
if not os.fork():
    os.setsid()
    open("pids.Chain", "w").write("%d\n" % os.getpid())
    while True:
        if os.fork():
            os._exit(0)
        time.sleep(0.001)
END
    cat >left.py <<'END'
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setpgid(0, os.getpgid(os.getppid()))
os.execv("./then.Left", ["then.Left"])
END
    printf '#!/bin/sh\n./stay pids.Left & until [ -s pids.Left ]; do :; done; . ./then\n' >then.Left
    chmod +x stay deaf then.Left
    escape Timeout 'timeout 600 ./stay pids.Timeout &'
    escape Session 'setsid ./stay pids.Session &'
    escape Bare 'env -i setsid ./deaf pids.Bare &'
    escape Twice '/usr/bin/python3 twice.py'
    escape Chain '/usr/bin/python3 chain.py'
    escape Jobs 'set -m; ./stay pids.Jobs & ./stay pids.Jobs &'
    escape Left 'exec /usr/bin/python3 left.py'
    escape Nested '(env -i setsid sh -c "./stay pids.Nested; ./stay pids.Nested" &) &'
}

escape() {
    handler "$1" "$2"'
until [ -s pids.'"$1"' ]; do :; done
. ./then' 'timeout_ms: 4000'
}

# Runs a step of each class at the same time, or (alone) one after the other. When a result comes, none of
# its processes is left.
all_end() { # STATUS ERROR_TYPE [alone]
    py <<END
classes, want = "$CLASSES".split(), ["$1", "$2"]
def folder_of(pid):
    try:
        return os.readlink("/proc/" + pid + "/cwd")
    except OSError: # it has ended
        return None
def left(name):
    if name == "Chain":
        found = os.popen("pgrep -f 'python3 [c]hain.py'").read().split()
        return [pid for pid in found if folder_of(pid) == os.getcwd()] # other tests have a chain, too
    return [pid for pid in lines("pids." + name) if os.path.exists("/proc/" + pid)]
class Looking(Collector):
    def on(self, data):
        super().on(data)
        for m in self.seen[self.looked:]:
            if m.get("status", "in_progress") != "in_progress" and "step_id" in m:
                name = classes[m["step_id"] - 1]
                assert not left(name), (name, left(name))
        self.looked = len(self.seen)
Looking.looked = 0
c, p = Looking(), Publisher().wait_worker()
c.wait_status()
steps = [step(i + 1, name) for i, name in enumerate(classes)]
for i, group in enumerate([[s] for s in steps] if "$3" else [steps]):
    p.send(batch("b%d" % (i + 1), *group))
    if "$3":
        c.completion("b%d" % (i + 1))
started = lambda: all(lines("pids." + n) for n in classes)
if want[1] == "StepCancelled":
    until(started, "the processes")
    c.say("cancel", batch_id="b1", step_ids=list(range(1, len(classes) + 1)), answer_to="me")
c.completion()
assert started()
for i, name in enumerate(classes):
    f = c.final(i + 1, "b%d" % (i + 1) if "$3" else "b1")
    assert [f["status"], (f["error"] or {}).get("error_type", "")] == want, f
END
}

@test "work: at a time limit all descendants of a handler end before its step does" {
    escapes 'read -r x <never'
    worker -j 9 --kill-grace 200ms 8>&-
    all_end failed HandlerTimeout
}

@test "work: when an operator cancels a step all descendants end before it does" {
    escapes 'read -r x <never'
    worker -j 9 --kill-grace 200ms 8>&-
    all_end failed StepCancelled
}

@test "work: what a handler leaves ends before its step, and is reported once a handler" {
    escapes 'exit 0'
    worker --kill-grace 200ms 8>&-
    all_end completed '' alone # what two leave at the same moment may be named for one
    has "warning: handler Bare: step 3: its program ended and left deaf (pid $(cat pids.Bare)), ended" work.err
    is "$(grep -c 'its program ended and left' work.err)" 8
    rm pids.*
    echo 'exit 3' >then
    BATCH=again run_steps Session Bare
    is "$(jq -c 'select(.step_id) | .error.exit_status' results | xargs)" "3 3"
    is "$(grep -c 'its program ended and left' work.err)" 8
}

@test "work: however it ends itself, no descendant of a handler is left" {
    local sig pid
    escapes 'read -r x <never'
    for sig in TERM INT KILL ABRT; do
        rm -f pids.*
        worker -j 9 --kill-grace 200ms --drain-timeout 100ms --set worker.confirm_timeout=100ms 8>&-
        py <<END
p = Publisher().wait_worker()
p.send(batch("b1", *"$CLASSES".split()))
until(lambda: all(lines("pids." + n) for n in "$CLASSES".split()), "the processes")
END
        signal work "$sig"
        if [ $sig = INT ]; then # twice: at once
            wait_line work.err 'did not end in time'
            signal work "$sig"
        fi
        finish work
        for pid in $(cat pids.*); do wait_until 10 gone "$pid"; done
        wait_until 10 no_chain
    done
}

no_chain() { ! pgrep -f 'python3 [c]hain.py' >/dev/null; }

# held_up HANDLER_STATUS: stops the worker, lets the handler end meanwhile, and lets time pass.
held_up() {
    cat >held_up.py <<'END'
from work_peer import *
import time
pid = int(open("pid").read())
def held_up(ms):
    os.kill(pid, 19)
    go()
    until(lambda: len(lines("log")) == 2, "the end of the handler")
    time.sleep(ms / 1000)
    os.kill(pid, 18)
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
END
}

@test "work: a handler that ended while the worker was stopped past a limit is judged by its end" {
    waiter
    handler Three 'echo "started $TASKER_STEP_ID" >>log; read -r x <go; echo "ended $TASKER_STEP_ID" >>log; exit 3'
    held_up
    worker --drain-timeout 500ms
    echo "${PIDS[work]}" >pid
    { cat held_up.py; cat; } <<'END' | py
p.send(batch("b1", step(1, "Wait", metadata={"timeout_ms": 1000})))
until(lambda: lines("log"), "the start")
held_up(1200)
assert c.final(1)["status"] == "completed", c.final(1)
os.unlink("log")
p.send(batch("b2", step(1, "Three")))
until(lambda: lines("log"), "the start")
os.kill(pid, 15)
c.wait_status(lambda s: s["state"] == "draining")
held_up(700)
assert c.final(1, "b2")["error"]["error_type"] == "HandlerExit", c.final(1, "b2")
c.completion("b2")
END
    finish_with 0 work
}

@test "work: a signal that was ignored at its start stays so; one that was blocked is taken" {
    worker
    finish_ready() { # SIG: ends the worker, which is ready
        py <<<'Publisher().wait_worker()'
        signal work "$1"
        finish_with 0 work
    }
    finish_ready TERM
    spawn work nohup tasker-work -H handlers.yaml
    py <<<'run("True")'
    signal work HUP
    signal work INT # the shell has set that to be ignored
    py <<<'run("True", batch_id="b2")'
    finish_ready TERM
    spawn work /usr/bin/python3 -c 'import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execvp("tasker-work", ["tasker-work", "-H", "handlers.yaml"])'
    finish_ready TERM
}

@test "work: a handler has no terminal, whatever the worker has" {
    handler Tty 'if read -r x </dev/tty; then echo read; else echo none; fi' 'timeout_ms: 20000'
    { echo 'from work_peer import *'; cat; } >terminal.py <<'END'
import pty, signal
def in_terminal(leads):
    """Starts a worker in the session of a new terminal, as its leader or (in the background) not."""
    pid, fd = pty.fork()
    if pid:
        return pid, fd
    if not leads:
        child = os.fork()
        if child:
            signal.signal(signal.SIGTERM, lambda *_: os.kill(child, 15))
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.setpgid(0, 0)
    os.execvp("tasker-work", ["tasker-work", "-H", "handlers.yaml"])
leads = sys.argv[1] == "leads"
pid, fd = in_terminal(leads)
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Tty"))
assert c.final(1)["output"] == "none", c.seen
c.completion()
os.kill(pid, 15)
c.wait_status(lambda s: s["state"] == "stopped")
assert os.waitpid(pid, 0)[1] == 0
END
    timeout -k 2 90 /usr/bin/python3 terminal.py leads
    timeout -k 2 90 /usr/bin/python3 terminal.py follows
}

@test "work: where few processes are allowed, steps wait for room; handlers get the limits of the start" {
    [ $UID -eq 0 ] || skip "needs a user of whom no process runs"
    handler Limit 'ulimit -Sn; ulimit -Hn'
    handler Two 'read -r x <"$0.go"; exit 0'
    open_to_all
    local uid=$((70000 + $$))
    # shellcheck disable=SC2016
    spawn work bash -c 'ulimit -Sn 200; ulimit -Hn 300; ulimit -Su 18; exec setpriv --reuid="$0" --clear-groups "$@"' \
        "$uid" "$TASKER_BIN/tasker-work" -H handlers.yaml -j 30
    mkfifo -m 666 h.Two.go
    exec 8<>h.Two.go
    export RAISE="setpriv --reuid=$uid --clear-groups prlimit --pid ${PIDS[work]} --nproc=1000:"
    py <<'END'
import subprocess
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "Limit", *["Two"] * 20))
until(lambda: any("max_workers lowered from 30 to" in l for l in lines("work.err")), "the limit")
subprocess.run(os.environ["RAISE"].split(), check=True)
until(lambda: any("max_workers is 30 again" in l for l in lines("work.err")), "room again")
out = os.open("h.Two.go", os.O_WRONLY)
os.write(out, b"\n" * 20)
done = c.completion()
assert done["failed_steps"] == 0, c.seen
assert c.final(1)["output"] == "200\n300", c.final(1)
END
}

# passes NAME MS: stops it, runs the words that follow, lets time pass, and lets it go on.
passes() {
    local name=$1 ms=$2
    shift 2
    signal "$name" STOP
    "$@"
    now_ms
    local until=$((REPLY + ms))
    while [ "$REPLY" -lt $until ]; do nap 0.05 && now_ms; done
    signal "$name" CONT
}

step_ends() { echo >go && wait_line log ended; }
worker_comes() { worker; }

@test "what came while a program was stopped past its limit counts: collect, publish, the worker's end" {
    waiter
    printf '{"step_id":1,"task_id":1,"step_name":"s","handler_class":"Wait"}\n' >step
    spawn publish tasker-publish -v --wait 1s step
    wait_line publish.err listening
    passes publish 1200 worker_comes
    finish_with 0 publish
    wait_line log started
    spawn collect tasker-collect --timeout 2s publish.out
    wait_line collect.out in_progress
    passes collect 2200 step_ends
    finish_with 0 collect
    has '"status":"completed"' collect.out
    signal work TERM
    finish_with 0 work
    worker --set worker.confirm_timeout=1s
    echo "${PIDS[work]}" >pid
    py <<'END'
import time
c, p = Collector("c9", auto=False), Publisher().wait_worker()
c.wait_status()
p.send(batch("b1", "True"))
c.completion()
pid = int(open("pid").read())
os.kill(pid, 15)
c.wait_status(lambda s: s["state"] == "draining")
os.kill(pid, 19)
c.say("collected", source=c.status["source"], offset=c.status["offset"])
time.sleep(1.2)
os.kill(pid, 18)
END
    finish_with 0 work
}
