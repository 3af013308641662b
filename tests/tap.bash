# What the tests of tasker-collect --tap and of playing back share; after work.

# Runs the Python program on stdin in the background, as $1, with zmq and helpers for bare sockets.
bare() {
    {
        cat <<'END'
import os, sys, time, zmq
STEPS, RESULTS = os.environ["STEPS"], os.environ["RESULTS"]
ctx = zmq.Context()
def sock(kind, endpoint, bind):
    s = ctx.socket(kind)
    s.set(zmq.LINGER, 2000); s.set(zmq.RCVTIMEO, 15000); s.set(zmq.SNDTIMEO, 15000)
    s.set(zmq.RECONNECT_IVL, 10)
    if kind == zmq.XPUB: s.set(zmq.XPUB_VERBOSE, 1)
    (s.bind if bind else s.connect)(endpoint)
    return s
def wait_for(s, prefix):
    while s.recv() != b"\1" + prefix: pass
END
        cat
    } >"$1.py"
    spawn "$1" timeout -k 2 30 /usr/bin/python3 "$1.py"
}

tap() { spawn tap tasker-collect --tap "$@"; }

# What is sent to tasker-status by its address goes by the tap as well.
seen_by_publisher() { tasker-status endpoints >/dev/null 2>&1; grep -q '"topic":"status[.].*publisher_status' tap.out; }

# pipeline FILE [OPTION...]: publishes the lines of FILE as soon as the tap is there, collects the
# results with these options, and reconciles; the results are in results.jsonl, the verdicts in verdicts.
pipeline() {
    local in lines=$1
    shift
    mkfifo lines.in
    exec {in}<>lines.in
    (
        exec {in}>&- 3>&- 4>&- {NAP}>&-
        tasker-publish -b 2 <lines.in | tasker-collect "$@" | tee results.jsonl | tasker-reconcile >verdicts
    ) &
    PIDS[run]=$!
    wait_until 10 seen_by_publisher
    cat "$lines" >&"$in"
    exec {in}>&-
    finish_with 0 run
}

steps() { # N CLASS
    local i
    for ((i = 1; i <= $1; i++)); do
        printf '{"message_type":"step","step_id":%d,"task_id":1,"step_name":"s","handler_class":"%s"}\n' "$i" "$2"
    done
}

batch() { printf '{"batch_id":"%s","protocol_version":"2.0","steps":[{"step_id":1,"task_id":1,"step_name":"s","handler_class":"True"}]}\n' "$1"; }

# A recorded line: TOPIC MESSAGE [MORE MEMBERS]
line() { printf '{"message_type":"tapped"%s,"topic":"%s","message":%s}\n' "${3:+,$3}" "$1" "$2"; }
