#!/usr/bin/env bats
# tasker-collect and the store: each message in it once, as it came, before it is printed or confirmed.
load helper
load store

setup() {
    test_begin
    endpoints
    E=$TASKER_ZEROMQ_RESULT_ENDPOINT
    export E PYTHONPATH=$BATS_TEST_DIRNAME PYTHONDONTWRITEBYTECODE=1
}

teardown() { store_end && test_end; }

# Runs the Python program on stdin as a peer in the background, with collect_ledger imported.
peer() {
    { echo 'from collect_ledger import *' && cat; } >"$1.py"
    spawn "$1" /usr/bin/python3 "$1.py"
}

# Prints a receipt of a batch with the steps 1 to COUNT: BATCH COUNT [MORE JSON MEMBERS]
receipt() {
    printf '{"message_type":"batch_published","batch_id":"%s","total_steps":%d,"step_ids":[%s]%s}\n' \
        "$1" "$2" "$(seq -s , "$2")" "${3:+,$3}"
}

counts() { [ "$(store_sql "$1")" = "$2" ]; }

# Each step of batch BATCH of COUNT steps is printed in one of the files, the completion too.
all_printed() { # BATCH COUNT FILE...
    local batch=$1 count=$2
    shift 2
    [ "$(cat "$@" | jq -r "select(.batch_id==\"$batch\" and .message_type==\"partial_result\").step_id" |
        sort -un | wc -l)" -eq "$count" ]
    cat "$@" | grep -q '"batch_completion"'
}

make_store() { # with the schema
    spawn make tasker-collect --follow
    wait_until 10 counts 'SELECT count(*) FROM received_results' 0 2>/dev/null
    signal make TERM
    finish_with 0 make
}

# ---- as it came

as_it_came() {
    peer w <<'END'
w = Bare(os.environ["E"])
w.wait_subscribed()
sent = [
    ("partial_result", b'{"message_type":"partial_result","batch_id":"b1","step_id":1,"status":"completed","source":"s1","offset":1}'),
    ("partial_result", b'{ "batch_id":"b1", "step_id":2,\n "status":"error", "attempt":0, "source":"s1","offset":2}'),
    ("partial_result", b'{"message_type":"PartialResult","batch_id":"b1","step_id":3,"status":"in_progress"}'),
    ("partial_result", b'{"batch_id":"b1","step_id":3,"status":"completed","output":"\xc3\xa9\\u0000"}'),
    ("results", b'{"batch_id":"b2","results":[{"step_id":1,"status":"completed"},{"step_id":2,"status":"error"}]}'),
    ("batch_error", b'{"batch_id":"b3","error":"no"}'),
    ("partial_result", b'{"batch_id":"b4","step_id":-1,"status":"completed","source":"s1","offset":3}'),
    ("partial_result", b'{"batch_id":"b4'),
    ("partial_result", b''),
    ("partial_result", b'\x00\x01{"batch_id":"b4"}\x00'),
    ("partial_result", b'{"batch_id":"\xff\xfe"}'),
    ("batch_completion", b'{"batch_id":"b1","total_steps":3}'),
]
for topic, body in sent:
    w.send(topic.encode() + b" " + body)
w.send(b'partial_result\xc3\xa9 {"batch_id":"b5"}')
w.send(b"partial_result", b'{"batch_id":"b1","step_id":4,"status":"completed"}')
sent += [("", b'partial_result\xc3\xa9 {"batch_id":"b5"}'),
         ("partial_result", b'{"batch_id":"b1","step_id":4,"status":"completed"}')]
w.say("partial_result", {"batch_id": "b1", "step_id": 1, "status": "completed", "source": "s1", "offset": 1})
w.say("worker_status", {"message_type": "worker_status", "worker_id": "w", "source": "s1", "offset": 3})
with open("sent", "w") as file:
    for topic, body in sent:
        print(topic, body.hex(), sep="|", file=file)
w.say("partial_result", {"batch_id": "last", "step_id": 1, "status": "completed"})
w.until(lambda: ask("SELECT count(*) FROM received_results WHERE batch_id = 'last'") == 1)
END
    spawn c tasker-collect --follow --id me
    finish_with 0 w
    signal c TERM
    finish_with 0 c
    store_sql "SELECT topic, $(store_hex raw_message) FROM received_results
        WHERE batch_id IS NULL OR batch_id <> 'last' ORDER BY id" >stored
    # what comes in one group may be in the order of its sources
    diff <(sort sent) <(sort stored)
    counts "SELECT count(*) FROM received_results WHERE reason IS NOT NULL" 6
    counts "SELECT count(*) FROM received_results WHERE collector_id = 'me'" 15
    counts "SELECT reason FROM received_results WHERE source = 's1' AND stream_offset = 3" \
        'step_id is not a positive integer'
    counts "SELECT batch_id FROM received_results WHERE source = 's1' AND stream_offset = 3" b4
    counts "SELECT count(DISTINCT batch_id) FROM unsettled" 6
    counts "SELECT message_type FROM received_results WHERE topic = 'batch_error'" batch_error
    counts "SELECT step_id FROM received_results WHERE source = 's1' AND stream_offset = 2" 2
    [ "$(jq -r 'select(.batch_id=="b2").message_type' c.out | xargs)" = \
        "partial_result partial_result batch_completion" ]
}

forged() {
    peer w <<'END'
w = Bare(os.environ["E"])
w.wait_subscribed()
for own in "reconcile:", "lost:", "publish:", "lines:", "ready:", "collector:":
    w.send(b"partial_result", ('{"message_type":"partial_result","batch_id":"b","step_id":1,"status":"completed","source":"%sb","offset":1}' % own).encode())
    w.send(b"batch_error", ('{"message_type":"batch_error","batch_id":"b","source":"%sb","offset":2,"error":{"message":"x","error_category":"timeout","attempt_used":false}}' % own).encode())
w.say("worker_status", {"message_type": "worker_status", "worker_id": "w", "source": "lost:b", "offset": 3})
w.say("partial_result", {"batch_id": "last", "step_id": 1, "status": "completed", "source": "reconciler", "offset": 1})
w.until(lambda: ask("SELECT count(*) FROM received_results WHERE batch_id = 'last'") == 1)
END
    spawn c tasker-collect --follow
    finish_with 0 w
    signal c TERM
    finish_with 0 c
    counts "SELECT count(*) FROM received_results WHERE batch_id = 'b' AND source LIKE 'collector:%' AND reason LIKE 'its source is a name%'" 12
    counts "SELECT count(*) FROM received_results WHERE source LIKE '%:b'" 0
    counts "SELECT count(*) FROM received_results WHERE source = 'reconciler'" 1
    [ "$(jq -r .batch_id c.out)" = last ]
    has "its source is a name that only tasker itself gives" c.err
}
@test "collect, store: a peer cannot write in the places of the programs' own" { for_each_store forged; }

@test "collect, store: each message is there as it came, also what cannot be read" {
    for_each_store as_it_came
}

too_long() {
    peer w <<'END'
w = Bare(os.environ["E"])
w.wait_subscribed()
w.send(b"partial_result " + b"[" * 5000)
w.until(lambda: ask("SELECT count(*) FROM received_results") == 1)
END
    spawn c tasker-collect --follow --set zeromq.max_message_bytes=1K
    finish_with 0 w
    signal c TERM
    finish_with 0 c
    has "5015 bytes" "$(store_sql "SELECT reason FROM received_results")"
}

@test "collect, store: of what is too long the beginning is there" {
    for_each_store too_long
}

# A plain worker whose outputs have no room in the batches of dependent steps, or in no message.
beyond_the_limits() {
    peer w <<'END'
w = Bare(os.environ["E"])
w.wait_subscribed()
def partial(step, output):
    w.send(b'partial_result {"batch_id":"b","output":' + output + b',"status":"completed","step_id":%d}' % step)
for step, levels in enumerate((59, 60, 63, 64, 5000), 1):
    partial(step, b"[" * levels + b"]" * levels)
partial(6, b'{"a\\u0000b":1}')
partial(7, b'"' + b"x" * 100000 + b'"')
w.send(b'partial_result {"batch_id":"b","output":{"step_id":1,"x":' + b"[" * 70 + b"]" * 70 + b'},"status":"completed"}')
w.send(b'partial_result {"output":' + b"[" * 70 + b'], "step_id": 1')
w.say("batch_completion", {"batch_id": "b", "total_steps": 7, "completed_steps": 7, "step_summaries": [
    {"step_id": s, "final_status": "completed"} for s in range(1, 8)]})
w.until(lambda: ask("SELECT count(*) FROM received_results") == 10)
END
    spawn c tasker-collect --follow --set zeromq.max_message_bytes=64K
    finish_with 0 w
    signal c TERM
    finish_with 0 c
    run -1 tasker-reconcile --ledger
    [ "$(store_sql "SELECT s.step_id, s.state, r.outcome FROM steps s JOIN settled_steps r ON r.step_id = s.step_id ORDER BY 1")" = "\
1|complete|done
2|error|failed
3|error|failed
4|error|failed
5|error|failed
6|error|failed
7|error|failed" ]
    [ "$(store_sql "SELECT error FROM steps WHERE state = 'error' ORDER BY step_id" | jq -r '[.error_type,.retryable,.message]|@csv' | tr -d '"')" = "\
OutputTooDeep,false,its output is nested deeper than 59 levels
OutputTooDeep,false,its output is nested deeper than 59 levels
OutputRefused,false,JSON is nested deeper than 64
OutputRefused,false,JSON is nested deeper than 64
OutputRefused,false,a name with a NUL (\u0000) at byte 27
OutputTooLarge,false,its 100076 bytes are over max_message_bytes" ]
    [ "$(store_sql "SELECT type, step_id, detail FROM discrepancies")" = \
        'refused_entry||a message of it is refused: step_id is missing: {"batch_id":"b","output":{"step_id":1,"x":'"$(printf '[%.0s' {1..58})" ]
    has 'cannot be read: step_id is missing: {"batch_id":"b","output":{"step_id":1,"x":[[' c.err
    dump >before
    tasker-reconcile --rebuild
    dump >after
    diff before after
    # what was printed says the same
    run -1 tasker-reconcile --set store.url=none c.out
    [ "$(jq -r 'select(.verdict)|.steps[].outcome' <<<"$output" | xargs)" = "done failed failed failed failed failed failed" ]
}

@test "collect, store: a foreign output beyond the limits fails its step, also in a rebuild" {
    for_each_store beyond_the_limits
}

# ---- confirmed after the commit

kills() {
    local i
    receipt b1 3000 >r
    peer w <<'END'
w = Checked(os.environ["E"])
w.wait_subscribed()
w.many("b1", 3000)
print("all", flush=True)
while not os.path.exists("done"):
    w.serve(0.1)
    w.status()
END
    for ((i = 1; i <= 6; i++)); do
        spawn "c$i" tasker-collect --follow r
        wait_until 20 progress "$i" || break
        signal "c$i" KILL
        finish_with 137 "c$i"
    done
    timeout 60 tasker-collect r >c7.out 2>c7.err
    touch done
    finish_with 0 w 60
    counts "SELECT count(*) FROM received_results" 3001
    counts "SELECT count(DISTINCT stream_offset) FROM received_results WHERE source = 'src-1'" 3001
    all_printed b1 3000 c?.out
}

# Whether a run has printed some hundred lines more, or all is there.
progress() { [ "$(wc -l <"c$1.out")" -gt 300 ] || grep -q all w.out; }

@test "collect, store: what is confirmed is there, and each once, though the collector is killed" {
    for_each_store kills
}

two() {
    local i
    for i in 1 2; do spawn "c$i" tasker-collect --follow; done
    peer w <<'END'
w = Checked(os.environ["E"])
w.greets = False
w.until(lambda: sum(t.startswith(b"collector.") for t in w.joined) == 2)
w.wait_subscribed()
w.many("b1", 2000)
w.until(lambda: all(open("c%d.out" % i).read().count("\n") == 2001 for i in (1, 2)), 30)
END
    finish_with 0 w 60
    for i in 1 2; do
        signal "c$i" TERM
        finish_with 0 "c$i"
        all_printed b1 2000 "c$i.out"
    done
    counts "SELECT count(*) FROM received_results" 2001
}

@test "collect, store: two collectors print everything, and the store has it once" {
    for_each_store two
}

# ---- a store that cannot be used

locked() {
    make_store
    lock
    receipt b1 300 >r
    peer w <<'END'
w = Checked(os.environ["E"])
w.wait_subscribed()
w.many("b1", 300)
END
    spawn c tasker-collect r
    wait_line c.err 'warning: the store fails, and is tried again: .* messages wait'
    [ "$(wc -l <c.out)" -eq 1 ] # the receipt
    [ ! -s w.out ] || ! grep collected w.out
    unlock
    finish_with 0 w
    finish_with 0 c
    all_printed b1 300 c.out
    [ "$(grep -c 'the store fails' c.err)" -eq 1 ]
    [ "$(grep -c 'is back' c.err)" -eq 1 ]
}

@test "collect, store: one that is locked is waited for, and nothing is printed or confirmed meanwhile" {
    for_each_store locked
}

ends() {
    make_store
    lock
    receipt b1 3 >r
    peer w <<'END'
w = Worker(os.environ["E"])
w.wait_subscribed()
w.batch("b1", [1, 2, 3])
w.until(lambda: not w.joined, 30)
assert w.confirmed == 0, w.confirmed
END
    spawn c tasker-collect --set store.timeout=3s r
    wait_line c.err 'the store fails, .* 4 messages wait'
    signal c TERM
    finish_with 75 c
    finish_with 0 w
    has "error: 4 messages are not in the store, so not printed and not confirmed" c.err
    diff r c.out
    unlock
    counts "SELECT count(*) FROM received_results" 0
}

@test "collect, store: what is not durable at the end is told, 75, and neither printed nor confirmed" {
    for_each_store ends
}

floods() {
    local kb
    make_store
    lock
    receipt b1 6000 >r
    peer w <<'END'
w = Checked(os.environ["E"])
w.window = 1 << 30
w.wait_subscribed()
w.many("b1", 6000, pad=10000)
END
    # what the sanitizers keep of memory that was freed is no matter here
    spawn c env ASAN_OPTIONS="${ASAN_OPTIONS:-}:quarantine_size_mb=1:thread_local_quarantine_size_kb=64" \
        tasker-collect --set store.queue_bytes=2M --set zeromq.recv_hwm=1000 \
        --set zeromq.heartbeat_interval=500ms r
    wait_line c.err 'the store fails'
    wait_line w.out '^sent' 120
    kb=$(awk '/^VmHWM/ { print $2 }' "/proc/${PIDS[c]}/status")
    echo "at most $kb kB in memory"
    [ "$kb" -lt 65536 ]
    unlock
    finish_with 0 w 160
    finish_with 0 c
    all_printed b1 6000 c.out
    counts "SELECT count(*) FROM received_results" 6001
}

@test "collect, store: while it is locked thousands of results take bounded memory, and all come" {
    for_each_store floods
}

gone() {
    receipt b1 2000 >r
    peer w <<'END'
w = Checked(os.environ["E"])
w.wait_subscribed()
for step in range(1, 1001):
    w.partial("b1", step)
w.rest(time.monotonic() + 20)
open("half", "w").close()
w.until(lambda: os.path.exists("gone"), 30)
for step in range(1001, 2001):
    w.partial("b1", step)
w.completion("b1", list(range(1, 2001)))
open("sent", "w").close()
w.until(lambda: os.path.exists("back"), 30)
w.rest(time.monotonic() + 60)
END
    spawn c tasker-collect r
    wait_until 20 test -e half
    "$1" && touch gone
    wait_until 20 test -e sent
    wait_line c.err 'the store fails'
    [ "$(wc -l <c.out)" -eq 1001 ]
    "$2" && touch back
    finish_with 0 w 60
    finish_with 0 c
    all_printed b1 2000 c.out
    [ "$(grep -c 'the store fails' c.err)" -eq 1 ]
    counts "SELECT count(*) FROM received_results" 2001
}

file_away() { mv store away; }
file_back() { [ ! -e store ] && mv away store; }

@test "collect, store: a file that is taken away and comes back has everything" {
    store_begin sqlite
    mkdir -p store
    gone file_away file_back
}

server_away() { cluster_stop own; }
server_back() { cluster_start own; }

@test "collect, store: a server that is stopped and comes back has everything" {
    own_cluster own
    gone server_away server_back
}

@test "collect, store: a disk that is full is waited for" {
    unshare -rm true 2>/dev/null || skip "no mounts here"
    mkdir disk
    export TASKER_STORE_URL=sqlite:$PWD/disk/tasker.db
    receipt b1 2000 >r
    spawn c unshare -rm sh -c 'mount -t tmpfs -o size=1m none disk && exec tasker-collect r'
    wait_until 10 test -e "/proc/${PIDS[c]}/root/$PWD/disk/tasker.db"
    cat >w.py <<'END'
from collect_ledger import *
w = Checked(os.environ["E"])
w.wait_subscribed()
w.many("b1", 2000, pad=400)
END
    spawn w nsenter -t "${PIDS[c]}" -U -m -w"$PWD" /usr/bin/python3 w.py
    wait_line c.err 'the store fails, .* full' 30
    ! grep -q batch_completion c.out || false
    nsenter -t "${PIDS[c]}" -U -m mount -o remount,size=64m "$PWD/disk"
    finish_with 0 w 60
    finish_with 0 c
    all_printed b1 2000 c.out
    has "is back" c.err
}

@test "collect, store: a file that is no database, and a schema that is newer, are refused at once" {
    receipt b1 1 >r
    head -c 8192 /dev/urandom >junk
    cp junk before
    run -69 --separate-stderr timeout 60 tasker-collect --store "sqlite:$PWD/junk" r
    has "junk" "$stderr"
    has "not a database" "$stderr"
    cmp junk before
    store_begin sqlite
    make_store
    store_sql "INSERT INTO schema_migrations VALUES (9999, 'later', 1)"
    run -78 --separate-stderr timeout 60 tasker-collect r
    has 9999 "$stderr"
}

# ---- batches and the store

late() {
    receipt b1 3 '"source":"src-1","worker_id":"w1"' >r
    peer w <<'END'
w = Worker(os.environ["E"])
w.wait_subscribed()
for sequence in (1, 2):
    w.publish("partial_result", {"batch_id": "b1", "step_id": 2, "task_id": 1, "sequence": sequence,
                                 "status": "in_progress"})
w.batch("b1", [1, 2, 3])
w.until(lambda: w.confirmed == 6)
w.forget(6)
open("first", "w").close()
while not os.path.exists("done"):
    w.status(running=0, queued=0)
    for topic in [t for t in w.joined if t.startswith(b"status.")]:
        w.status(topic.decode().strip(), running=0, queued=0)
    w.serve(0.05)
END
    spawn f tasker-collect --follow
    wait_until 20 test -e first
    signal f TERM
    finish_with 0 f
    run -0 --separate-stderr timeout 60 tasker-collect r
    touch done
    finish_with 0 w
    echo "$output" >out
    all_printed b1 3 out
    [ "$(jq -r 'select(.step_id==2) | "\(.sequence) \(.status)"' out | xargs)" = "1 in_progress 2 in_progress 1 completed" ]
    [ "$(wc -l <out)" = 7 ] # the receipt too
    counts "SELECT count(*) FROM received_results" 6
}

@test "collect, store: what another collector had, and the worker has no more, is printed from there" {
    for_each_store late
}

lost() {
    local i
    receipt b1 3 '"source":"src-1","worker_id":"w1"' >r
    peer w <<'END'
w = Worker(os.environ["E"])
w.until(lambda: sum(t.startswith(b"collector.") for t in w.joined) == 2)
w.wait_subscribed()
w.partial("b1", 1)
w.status(heartbeat_ms=50)
w.until(lambda: w.confirmed == 1)
END
    for i in 1 2; do spawn "c$i" tasker-collect r; done
    finish_with 0 w
    for i in 1 2; do
        finish_with 75 "c$i"
        [ "$(jq -r 'select(.message_type=="batch_error").error.error_type' "c$i.out")" = WorkerLost ]
    done
    counts "SELECT count(*) FROM received_results WHERE message_type = 'batch_error'" 1
    counts "SELECT source FROM received_results WHERE message_type = 'batch_error'" lost:b1
    counts "SELECT count(*) FROM received_results" 2
}

@test "collect, store: a batch that is lost with its worker is in the ledger as that, once" {
    for_each_store lost
}

publish_slow() { # BATCH STEPS
    printf '{"batch_id":"%s","steps":[%s]}\n' "$1" "$(seq "$2" | sed "s/.*/{\"step_id\":&,\"task_id\":5,\"step_name\":\"$1-&\",\"handler_class\":\"H\"}/" | paste -sd ,)" |
        tasker-publish >>receipts
}

a_new_collector_knows_the_open_batches() {
    export TASKER_ZEROMQ_RECONNECT_MAX=100ms
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml
    echo 'handlers: {H: {command: [/bin/sh, -c, "read x <go; true"]}}' >handlers.yaml
    mkfifo go
    spawn work tasker-work --id w
    spawn first tasker-collect --follow
    publish_slow B1 1
    wait_line first.out '"in_progress"'
    signal first KILL
    finish first
    : >go # it ends while nobody collects
    publish_slow B2 2
    spawn second tasker-collect --follow
    wait_line second.out '"batch_id":"B2".*"in_progress"'
    wait_line second.out '"batch_completion"'
    signal work KILL
    signal second KILL
    finish work
    finish second
    # only here: a busy machine makes no live worker look lost to the others
    spawn third tasker-collect --follow -v --set zeromq.heartbeat_interval=200ms
    wait_line third.out '"batch_error"'
    [ "$(jq -rc 'select(.message_type=="batch_error")|[.batch_id,.error.error_type,.worker_id,.missing_step_ids]' third.out)" = '["B2","WorkerLost","w",[1,2]]' ]
    signal third TERM
    finish_with 0 third
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "SELECT batch_id, state FROM batches ORDER BY id" | xargs)" = "B1|completed B2|failed" ]
    spawn fourth tasker-collect --follow -v # nothing is open
    wait_line fourth.err 'messages go into the store'
    signal fourth TERM
    finish_with 0 fourth
    [ ! -s fourth.out ]
}

@test "collect, store: one that starts anew knows the open batches, and notices that their worker died" {
    for_each_store a_new_collector_knows_the_open_batches
}

@test "collect, store: with none nothing is kept, and with nothing to wait for it ends at once" {
    export TASKER_STORE_URL=none
    : | run -0 tasker-collect
    run -64 --separate-stderr tasker-collect --store mysql://x
    run -64 --separate-stderr tasker-collect --store postgresql://me:secret@h/n
    [[ $stderr != *secret* ]]
}
