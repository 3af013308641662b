#!/usr/bin/env bats
# tasker-collect: receipts in, results out, against peers of a few lines (collect_peer.py).
load helper

setup() {
    test_begin
    endpoints
    E=$TASKER_ZEROMQ_RESULT_ENDPOINT
    export E PYTHONPATH=$BATS_TEST_DIRNAME PYTHONDONTWRITEBYTECODE=1
}

# Runs the Python program on stdin as a peer in the background, with collect_peer imported and w
# being a worker that a collector has subscribed to.
worker() {
    { printf 'from collect_peer import *\nw = Worker("%s")\nw.wait_subscribed()\n' "$E" && cat; } >"$1.py"
    spawn "$1" /usr/bin/python3 "$1.py"
}

# The same with only the import.
peer() {
    { echo 'from collect_peer import *' && cat; } >"$1.py"
    spawn "$1" /usr/bin/python3 "$1.py"
}

# Prints a receipt: BATCH STEP-IDS [MORE JSON MEMBERS]
receipt() {
    local steps=$2
    printf '{"message_type":"batch_published","batch_id":"%s","total_steps":%d,"step_ids":[%s]%s}\n' \
        "$1" "$(wc -w <<<"${steps//,/ }")" "$steps" "${3:+,$3}"
}

# Prints what of the results in FILE matters: type:batch:step, on one line.
results() {
    jq -r 'select(.message_type|test("partial|completion|error"))
        |"\(.message_type|.[0:1]+(split("_")[1][0:1])):\(.batch_id):\(.step_id // "")"' "$1" | xargs
}

# Starts a collector (as c) whose input stays open, as $IN; start peers before it, or they have it too.
collector() {
    exec {IN}> >(exec tasker-collect "$@" >c.out 2>c.err 3>&- {NAP}>&-)
    PIDS[c]=$!
}

@test "collect: bad input and bad command lines, a table" {
    receipt b1 1 >receipt
    mkdir folder
    printf '{"message_type":"x","text":"%s"}\n' "$(head -c 9000 /dev/zero | tr '\0' x)" >long
    run_case_table tasker-collect <<'END'
empty input |  | - | 0 |
steps of nobody | - | {"message_type":"step","step_id":1}\n{"message_type":"batch","batch_id":"b"}\n | 0 | warning: 2 steps or batches that nobody has published passed on: is tasker-publish missing
the same without message_type | - | {"step_id":1}\n{"batch_id":"b","steps":[]}\n{"batch_id":"b"}\n | 0 | warning: 2 steps or batches that nobody has published passed on
no receipt, told at -v | -v | - | 0 | nothing to wait for
unknown option | --what | - | 64 | what
option without its value | --timeout | - | 64 | timeout
no duration | --timeout 5x | - | 64 | 5x
zero timeout | --timeout 0 | - | 64 | timeout
no number | --count x | - | 64 | x
count of nothing | --count 0 | - | 64 | count
count beyond 64 bits | --count 99999999999999999999 | - | 64 | count
bad id | --id 'a b' | - | 64 | --id "a b" is not
empty id | --id '' | - | 64 | --id "" is not
long id | --id "$(printf %0129d 1)" | - | 64 | is not 1 to 128
endpoint that is none | --result-endpoint nowhere | - | 64 | nowhere
endpoint without port | --result-endpoint tcp://127.0.0.1 | - | 64 | 127.0.0.1
endpoint with a port too high | --result-endpoint tcp://127.0.0.1:70000 | - | 64 | 70000
sockets not allowed | --set zeromq.enabled=false | - | 78 | zeromq.enabled
a configuration that is not there | -c missing.yaml | - | 78 | missing.yaml
unknown key | --set zeromq.what=1 | - | 64 | what
a file that is not there | missing.jsonl | - | 74 | missing.jsonl: cannot open
a folder | folder | - | 74 | folder: cannot read
a file that is not there, and a good one | --timeout 50ms missing.jsonl receipt | - | 74 | batch b1: not complete within 50 ms
malformed JSON |  | {"a": | 65 | -:1: malformed JSON
no object |  | [1]\n | 65 | -:1: 
two values on a line |  | {} {}\n | 65 | -:1: malformed JSON
the line is told |  | {}\n\n{}\n{"a"}\n | 65 | -:4: malformed JSON
NUL bytes |  | {"a":"\0"}\n | 65 | -:1: line holds a NUL byte
invalid UTF-8 |  | {"a":"\377"}\n | 65 | -:1: invalid UTF-8
a name with a NUL |  | {"a\\u0000b":1}\n | 65 | -:1: a name with a NUL
a line over the limit | --set zeromq.max_message_bytes=1024 | @long | 65 | -:1: line of over 8192 bytes
a receipt without batch_id |  | {"message_type":"batch_published"}\n | 65 | -:1: receipt: batch_id is missing
a receipt with a bad batch_id |  | {"message_type":"batch_published","batch_id":"a b"}\n | 65 | -:1: receipt: batch_id
a receipt whose batch_id is a number |  | {"message_type":"batch_published","batch_id":7}\n | 65 | -:1: receipt: batch_id
step_ids that are no array |  | {"message_type":"batch_published","batch_id":"b","step_ids":3}\n | 65 | -:1: receipt: step_ids is not an array
step_ids that are no ids |  | {"message_type":"batch_published","batch_id":"b","step_ids":[1,-2]}\n | 65 | -:1: receipt: step_ids holds
a result_endpoint that is none | --timeout 50ms | {"message_type":"batch_published","batch_id":"b","step_ids":[1],"result_endpoint":"x"}\n | 75 | -:1: result_endpoint: 
nobody answers | --timeout 50ms | @receipt | 75 | batch b1: not complete within 50 ms: its completion and the results of 1 of 1 step: 1 did not come
nobody is there at all | --silence-timeout 50ms | @receipt | 75 | nothing heard from any worker for 50 ms
count not reached | --count 2 --timeout 50ms | - | 75 | stopped after 0 of 2 results
full disk | >/dev/full | {}\n | 74 | standard output: 
closed stdout | >&- | {}\n | 74 | standard output
closed stdin | <&- | - | 74 | -: cannot read
END
}

# Each case is what a peer sends, then a good batch comes: it must be all there, and the status 0.
@test "collect: hostile messages on the socket, a table" {
    local name send text bad=0 cases=0
    receipt b1 1 >receipt
    while IFS='|' read -r name send text; do
        case $name in '' | '#'*) continue ;; esac
        cases=$((cases + 1))
        peer p <<END
w = Worker("$E", "good")
w.wait_subscribed()
w.until(lambda: True)
s = w.send
$send
w.batch("b1", [1])
w.until(lambda: w.confirmed == 2)
END
        status=0
        timeout 60 tasker-collect -v --id hostile <receipt >out 2>err || status=$?
        finish_with 0 p || bad=$((bad + 1))
        if [ "$status" -ne 0 ] || [ "$(results out)" != "pr:b1:1 bc:b1:" ] || ! grep -qF -e "$text" err; then
            echo "case \"$name\": status $status, wanted text: $text"
            cat out err
            bad=$((bad + 1))
        fi
    done <<'END'
empty message|s(b"")|info: 2 results printed
one NUL|s(b"partial_result \0")|topic "partial_result"
a decision of tasker's own|s('partial_result {"message_type":"partial_result","batch_id":"b1","step_id":1,"task_id":1,"step_name":"s","attempt":1,"status":"completed","source":"reconcile:b1","offset":1}')|its source is a name that only tasker itself gives
the same, of a collector|s('batch_error {"batch_id":"b1","error":{"message":"x"},"source":"lost:b1","offset":2}')|its source is a name that only tasker itself gives
no JSON|s("partial_result hello")|malformed JSON
half an object|s('partial_result {"batch_id":"b1"')|it ends in the middle
a list|s("partial_result [1,2]")|cannot be read
invalid UTF-8|s(b'partial_result {"batch_id":"\xff\xfe"}')|invalid UTF-8
random bytes|s(b"partial_result" + bytes(range(256)))|cannot be read
an escape sequence|s(b"partial_result \x1b[2J\x1b]0;x\x07")|cannot be read
depth|s("partial_result " + "[" * 100000)|nested deeper
a number beyond 64 bits|s('partial_result {"batch_id":"b1","step_id":99999999999999999999,"status":"completed"}')|step_id is not a positive integer
a name with a NUL|s('partial_result {"batch_id":"b1","step_id":1,"status":"completed","worker_id":"w\\u0000x"}')|worker_id holds a NUL
no batch_id|s('partial_result {"step_id":1,"status":"completed"}')|batch_id is missing
batch_id of another type|s('partial_result {"batch_id":[],"step_id":1,"status":"completed"}')|batch_id
no step_id|s('partial_result {"batch_id":"b1","status":"completed"}')|step_id is missing
no status|s('partial_result {"batch_id":"b1","step_id":1}')|status
a status nobody knows|s('partial_result {"batch_id":"b1","step_id":1,"status":"great"}')|status
summaries that are none|s('batch_completion {"batch_id":"b1","step_summaries":7}')|step_summaries is not an array
an unknown type|s('partial_result {"message_type":"batch","batch_id":"b1"}')|no message of the results channel
older results that are none|s('results {"batch_id":"b1","results":{}}')|topic "results"
a topic that begins like ours|s('partial_result_x {"batch_id":"b1","step_id":1,"status":"completed"}')|cannot be read
three parts|s("partial_result", "{}", "{}")|cannot be read
a batch nobody asked for|s('partial_result {"batch_id":"b9","step_id":1,"status":"completed"}')|1 result of batches without a receipt not printed
a source that is none|s('worker_status {"source":"a b","offset":7,"oldest":1}')|info: 2 results printed
a negative offset|s('worker_status {"source":"x","offset":-7,"oldest":-1}')|info: 2 results printed
a status nested too deep|s('worker_status {"source":"good","offset":7,"oldest":7,"x":' + "[" * 70 + "]" * 70 + "}")|topic "worker_status"
a status on another topic, too|s('partial_result {"message_type":"worker_status","source":"good","offset":7,"x":' + "[" * 70 + "]" * 70 + "}")|nested deeper
a status with a NUL in a name|s('worker_status {"source":"good","offset":7,"oldest":7,"x\\u0000":1}')|a name with a NUL
an offset beyond all|s('worker_status {"source":"x","offset":9223372036854775807,"oldest":1}')|info: 2 results printed
an oldest beyond all|s('worker_status {"source":"x","offset":9,"oldest":9223372036854775807}')|info: 2 results printed
an unconfirmed that is a text|s('worker_status {"source":"good","offset":0,"oldest":1,"unconfirmed":"x"}')|info: 2 results printed
a thousand sources|[s('worker_status {"source":"x%d","offset":0,"oldest":1}' % i) for i in range(3000)]|sources forgotten
a megabyte of nothing|s("partial_result " + " " * 1000000)|cannot be read
a flood|[s("partial_result x") for i in range(1000)]|more messages could not be read
END
    echo "$cases cases, $bad bad"
    [ "$bad" -eq 0 ] && [ "$cases" -ge 25 ]
}

@test "collect: results come as they are, byte for byte, after their receipt" {
    receipt b1 1,2 >receipt
    echo '{"message_type": "other",   "kept":1}' >>receipt
    worker w <<'END'
s = w.send
s('partial_result {"batch_id":"b1" , "step_id":1,"status":"completed","message_type":"partial_result","x":1.50}')
s('partial_result', '{"batch_id":"b1", "step_id":2, "status":"failed", "message_type":"partial_result"}')
s('batch_completion {"message_type":"batch_completion",\n"batch_id":"b1"}\n')
w.until(lambda: not w.joined)
END
    run -0 timeout 60 tasker-collect receipt
    [ "${lines[0]}" = "$(head -1 receipt)" ]
    [ "${lines[1]}" = '{"message_type": "other",   "kept":1}' ]
    [ "${lines[2]}" = '{"batch_id":"b1" , "step_id":1,"status":"completed","message_type":"partial_result","x":1.50}' ]
    [ "${lines[3]}" = '{"batch_id":"b1", "step_id":2, "status":"failed", "message_type":"partial_result"}' ]
    [ "${lines[4]}" = '{"message_type":"batch_completion","batch_id":"b1"}' ] # the only one on two lines
    [ "${#lines[@]}" -eq 5 ]
    finish_with 0 w
}

@test "collect: foreign shapes are normalised, each on one line" {
    receipt b1 1,2,3 >receipt
    worker w <<'END'
s = w.send
s('partial_result {"message_type":"PartialResult","batch_id":"b1","step_id":1,\n "status":"error",'
  '"error":{"type":"E","message":"m"},"execution_time_ms":null}')
s('results {"batch_id":"b1","results":[{"step_id":2,"status":"completed","output":{}},'
  '{"step_id":3,"status":"error","error":{"message":"no"}}]}')
w.until(lambda: not w.joined)
END
    run -0 timeout 60 tasker-collect receipt
    printf '%s\n' "${lines[@]}" >out
    [ "$(results out)" = "pr:b1:1 pr:b1:2 pr:b1:3 bc:b1:" ]
    jq -es 'map(select(.step_id==1))[0] | .status=="failed" and .error.error_type=="E"' out
    finish_with 0 w
}

@test "collect: what is dropped on the way is asked for, and duplicates are dropped" {
    receipt b1 1,2,3,4 >receipt
    worker w <<'END'
w.partial("b1", 1, copies=3)
w.partial("b1", 2, lose=True)
w.partial("b1", 3)
w.partial("b1", 4, copies=2)
w.completion("b1", [1, 2, 3, 4])
w.until(lambda: w.confirmed == 5)
w.until(lambda: not w.joined)
END
    run -0 --separate-stderr timeout 60 tasker-collect --id c1 receipt
    printf '%s\n' "${lines[@]}" >out
    [ "$(results out)" = "pr:b1:1 pr:b1:2 pr:b1:3 pr:b1:4 bc:b1:" ]
    finish_with 0 w
    has 'replay {"source":"src-1","after":1,"collector_id":"c1"}' w.out
    has 'collected {"source":"src-1","offset":5,"collector_id":"c1"}' w.out
}

@test "collect: the last messages lost are known by the worker's status" {
    receipt b1 1 '"source":"src-1"' >receipt
    worker w <<'END'
w.batch("b1", [1], lose=True)
w.status()
w.until(lambda: w.confirmed == 2)
END
    run -0 timeout 60 tasker-collect receipt
    finish_with 0 w
}

@test "collect: one that comes late gets what the worker still holds, and calls nothing lost" {
    receipt b1 1 >receipt
    peer w <<END
w = Worker("$E")
w.batch("old", [7])
w.forget(2)
w.batch("b1", [1])
w.wait_subscribed()
w.until(lambda: w.confirmed == 4)
END
    run -0 --separate-stderr timeout 60 tasker-collect receipt
    [ "${#lines[@]}" -eq 3 ]
    [ -z "$stderr" ]
    finish_with 0 w
}

@test "collect: what the worker has given up is told as lost, and the rest goes on" {
    receipt b1 1,2,3 >receipt
    worker w <<'END'
w.partial("b1", 1)
w.partial("b1", 2, lose=True)
w.forget(2)
w.partial("b1", 3)
w.completion("b1", [1, 2, 3])
w.status()
w.until(lambda: w.confirmed == 4)
END
    run -0 --separate-stderr timeout 60 tasker-collect receipt
    has "source src-1: 1 message lost" "$stderr"
    has "batch b1: complete, but without the results of 1 of 3 steps: 2" "$stderr"
    printf '%s\n' "${lines[@]}" >out
    [ "$(results out)" = "pr:b1:1 pr:b1:3 bc:b1:" ]
    finish_with 0 w
}

@test "collect: what cannot be read has its place, and holds up nothing that comes after it" {
    receipt b1 1,2,3,4 '"source":"src-1"' >receipt
    worker w <<'END'
w.partial("b1", 1)
w.partial("b1", 2, output_of={"a\0": 1})
w.partial("b1", 3, output_of="x" * 80000)
w.partial("b1", 4)
w.completion("b1", [1, 2, 3, 4])
w.until(lambda: w.confirmed == 5)
END
    run -0 --separate-stderr timeout 60 tasker-collect --set zeromq.max_message_bytes=64K receipt
    has "a name with a NUL" "$stderr"
    has "bytes are over max_message_bytes" "$stderr"
    [ "${#stderr_lines[@]}" -eq 2 ]
    printf '%s\n' "${lines[@]}" >out
    [ "$(results out)" = "pr:b1:1 pr:b1:2 pr:b1:3 pr:b1:4 bc:b1:" ]
    run -1 tasker-reconcile --set store.url=none out
    [ "$(jq -r 'select(.verdict)|.steps[].outcome' <<<"$output" | xargs)" = "done failed failed done" ]
    finish_with 0 w
    ! grep -q ^replay w.out || false
}

@test "collect: a worker that numbers its messages but never replays is not waited for for ever" {
    receipt b1 1,2 >receipt
    worker w <<'END'
w.deaf, w.greets = True, False
w.partial("b1", 1)
w.partial("b1", 2, lose=True)
while w.joined:
    w.completion("b1", [1, 2])
    w.recv(0.05)
END
    run -0 --separate-stderr timeout 60 tasker-collect receipt
    has "lost" "$stderr"
    finish_with 0 w
}

@test "collect: results that come before their receipt are held, those of others never printed" {
    worker w <<'END'
w.batch("b2", [1])
w.batch("b1", [1])
w.status()
w.until(lambda: w.confirmed == 4)
END
    collector --status
    wait_line c.out '"offset": 4.*"state": "ready"' # all results were there before
    receipt b1 1 >&"$IN"
    wait_line c.out 'batch_completion.*b1|b1.*batch_completion'
    [ "$(results c.out)" = "pr:b1:1 bc:b1:" ]
    receipt b2 1 >&"$IN"
    exec {IN}>&-
    finish_with 0 c
    finish_with 0 w
    [ "$(results c.out)" = "pr:b1:1 bc:b1: pr:b2:1 bc:b2:" ]
}

@test "collect: results of a batch without a receipt stay unconfirmed, for the next collector" {
    receipt b1 1 >r1
    receipt b2 1 >r2
    worker w <<'END'
w.partial("b1", 1)
w.batch("b2", [1])
w.completion("b1", [1])
w.until(lambda: not w.joined)
print("confirmed", w.confirmed, flush=True)
w.wait_subscribed()
w.until(lambda: w.confirmed >= 3)
w.until(lambda: not w.joined)
END
    timeout 60 tasker-collect r1 >out1
    wait_line w.out '^confirmed'
    timeout 60 tasker-collect r2 >out2
    finish_with 0 w
    has "confirmed 1" w.out
    [ "$(results out1)" = "pr:b1:1 bc:b1:" ]
    [ "$(results out2)" = "pr:b2:1 bc:b2:" ]
}

@test "collect: a batch that others have confirmed holds nothing back" {
    receipt b2 1 >r2
    peer w <<END
w = Worker("$E")
w.batch("b1", [1])
w.settled = 2
w.batch("b2", [1])
w.wait_subscribed()
w.until(lambda: w.confirmed == 4)
END
    run -0 timeout 60 tasker-collect r2
    finish_with 0 w
}

@test "collect: a batch_error ends its batch, from the bus as from the input" {
    receipt b1 1 >in
    receipt b2 1 >>in
    echo '{"message_type":"batch_error","batch_id":"b2","error":{"message":"no"}}' >>in
    worker w <<'END'
w.publish("batch_error", {"batch_id": "b1", "error": {"message": "no"}})
w.until(lambda: w.confirmed == 1)
END
    timeout 60 tasker-collect in >out
    [ "$(results out)" = "be:b2: be:b1:" ]
    finish_with 0 w
}

@test "collect: a batch given up is a batch_error line that says timeout, and status 75" {
    receipt b1 1,2 >in
    receipt b2 1 >>in
    worker w <<'END'
w.partial("b1", 1)
w.batch("b2", [1])
w.until(lambda: not w.joined)
END
    run -75 --separate-stderr timeout 60 tasker-collect --timeout 5s in
    has "batch b1: not complete within 5000 ms: its completion and the results of 1 of 2 steps: 2 did not come" "$stderr"
    printf '%s\n' "${lines[@]}" >out
    [ "$(results out)" = "pr:b1:1 pr:b2:1 bc:b2: be:b1:" ]
    jq -es '.[-1] | .error.error_category=="timeout" and .missing_step_ids==[2] and .completion_missing' out
    finish_with 0 w
}

@test "collect: silence is of the worker that has the batch; its heartbeats are life" {
    receipt b1 1 '"source":"gone","worker_id":"w9"' >in
    receipt b2 1 '"source":"src-1","worker_id":"w1"' >>in
    worker w <<'END'
while '"batch_error"' not in open("out").read():
    w.status()
    w.serve(0.05)
w.batch("b2", [1])
w.until(lambda: not w.joined)
END
    status=0
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=20s # else w9 is lost first
    timeout 60 tasker-collect --silence-timeout 6s in >out 2>err || status=$?
    [ "$status" -eq 75 ]
    has "batch b1: nothing heard from worker w9 for 6000 ms" err
    [ "$(results out)" = "be:b1: pr:b2:1 bc:b2:" ]
    finish_with 0 w
}

@test "collect: --count ends after so many results, whose ever they are" {
    worker w <<'END'
w.batch("b1", [1, 2, 3])
w.until(lambda: not w.joined)
print("confirmed", w.confirmed)
END
    run -0 timeout 60 tasker-collect --count 2
    [ "${#lines[@]}" -eq 2 ]
    finish_with 0 w
    has "confirmed 2" w.out
}

@test "collect: --all prints what has no receipt as well, and still ends with its batches" {
    receipt b1 1 >in
    worker w <<'END'
w.batch("b0", [5])
w.batch("b1", [1])
w.until(lambda: w.confirmed == 4)
END
    timeout 60 tasker-collect --all in >out
    [ "$(results out)" = "pr:b0:5 bc:b0: pr:b1:1 bc:b1:" ]
    finish_with 0 w
}

@test "collect: --follow goes on until TERM, and then has confirmed all" {
    spawn c tasker-collect --follow --status </dev/null
    worker w <<'END'
w.batch("b1", [1])
w.status(running=3)
w.until(lambda: not w.joined)
print("confirmed", w.confirmed)
END
    wait_line c.out '"running": ?3'
    [ "$(results c.out)" = "pr:b1:1 bc:b1:" ]
    signal c TERM
    finish_with 0 c
    finish_with 0 w
    has "confirmed 2" w.out
}

@test "collect: --follow begins with what nobody has confirmed, and again goes on from there" {
    peer w <<END
w = Worker("$E")
w.batch("old", [7], lose=True)  # none of it live: all has to be asked for
w.settled = 2
w.batch("b1", [1], lose=True)
w.until(lambda: w.confirmed == 4)
first = next(t for t in w.joined if t.startswith(b"collector."))
w.until(lambda: first not in w.joined)
w.batch("b2", [2], lose=True)
w.until(lambda: (w.status(), w.confirmed == 6)[1])
END
    spawn first tasker-collect --follow </dev/null
    wait_line first.out batch_completion
    signal first TERM
    finish_with 0 first
    spawn second tasker-collect --follow </dev/null
    wait_line second.out batch_completion
    signal second TERM
    finish_with 0 second
    finish_with 0 w
    [ "$(results first.out)" = "pr:b1:1 bc:b1:" ]
    [ "$(results second.out)" = "pr:b2:2 bc:b2:" ]
}

@test "collect: --follow has the results that came before their receipt" {
    worker w <<'END'
w.batch("b1", [1, 2])
w.until(lambda: not w.joined)
END
    collector --follow --timeout 300ms
    wait_line c.out batch_completion
    receipt b1 1,2 >&"$IN"
    receipt b2 3 >&"$IN"
    wait_line c.out '"batch_error".*"b2"'
    [ "$(results c.out)" = "pr:b1:1 pr:b1:2 bc:b1: be:b2:" ]
    signal c TERM
    finish_with 0 c
    finish_with 0 w
}

@test "collect: TERM names what is missing, and confirms what was printed" {
    receipt b1 1,2 >in
    spawn c tasker-collect in
    worker w <<'END'
w.partial("b1", 1)
w.until(lambda: not w.joined)
print("confirmed", w.confirmed)
END
    wait_line c.out '"step_id": 1'
    signal c TERM
    finish_with 75 c
    has "batch b1: stopped without its completion and the results of 1 of 2 steps: 2" c.err
    finish_with 0 w
    has "confirmed 1" w.out
}

@test "collect: it connects to the endpoints of receipts too, and knows that 0.0.0.0 is no host" {
    local p q
    p=$(port) q=$(port)
    receipt b1 1 "\"result_endpoint\":\"tcp://127.0.0.1:$p\"" >in
    receipt b2 1 "\"result_endpoint\":\"tcp://0.0.0.0:$q\"" >>in
    E=tcp://127.0.0.1:$p worker w1 <<'END'
w.batch("b1", [1])
w.until(lambda: w.confirmed == 2)
END
    peer w2 <<END
w = Worker("tcp://0.0.0.0:$q", "src-2")
w.wait_subscribed()
w.batch("b2", [1])
w.until(lambda: w.confirmed == 2)
END
    run -0 --separate-stderr timeout 60 tasker-collect in
    has "result_endpoint tcp://0.0.0.0:$q names no host: trying tcp://127.0.0.1:$q" "$stderr"
    finish_with 0 w1
    finish_with 0 w2
}

@test "collect: a receipt of the endpoint that is configured needs no guess of its host" {
    receipt b1 1 "\"result_endpoint\":\"tcp://0.0.0.0:${E##*:}\"" >in
    receipt b2 1 "\"result_endpoint\":\"tcp://0.0.0.0:${E##*:}\"" >>in
    worker w <<'END'
w.batch("b1", [1])
w.batch("b2", [1])
w.until(lambda: w.confirmed == 4)
END
    run -0 --separate-stderr timeout 60 tasker-collect in
    [[ $stderr != *"names no host"* ]]
    finish_with 0 w
}

@test "collect: it can be the side that binds" {
    receipt b1 1 "\"result_endpoint\":\"$E\"" >in
    spawn c tasker-collect --set zeromq.result_bind=collector in
    peer w <<END
w = Worker("$E", bind=False)
w.wait_subscribed()
w.batch("b1", [1])
w.until(lambda: w.confirmed == 2)
END
    finish_with 0 c
    [ "$(results c.out)" = "pr:b1:1 bc:b1:" ]
    finish_with 0 w
}

@test "collect: a port in use is 75, and tells who has it" {
    receipt b1 1 >in
    spawn c tasker-collect --follow --set zeromq.result_bind=collector
    wait_until 10 listening "$E"
    run -75 timeout 60 tasker-collect --set zeromq.result_bind=collector in
    has "${E##*:}" "$output"
}

listening() { (exec 9<>"/dev/tcp/127.0.0.1/${1##*:}") 2>/dev/null; }

@test "collect: a reader that goes away is status 74, and nothing is confirmed after that" {
    worker w <<'END'
w.batch("b1", [1])
w.until(lambda: not w.joined)
print("confirmed", w.confirmed)
END
    timeout 60 tasker-collect --follow 2>err </dev/null | true
    [ "${PIPESTATUS[0]}" -eq 74 ]
    has "standard output: Broken pipe" err
    finish_with 0 w
    has "confirmed 0" w.out
}

@test "collect: --strict makes a message that cannot be read status 65" {
    receipt b1 1 >in
    worker w <<'END'
w.send("partial_result nonsense")
w.batch("b1", [1])
w.until(lambda: w.confirmed == 2)
END
    run -65 timeout 60 tasker-collect --strict in
    finish_with 0 w
}

@test "collect: a worker that is restarted is a new source, its results follow" {
    spawn c tasker-collect --count 4 </dev/null
    worker w <<END
w.batch("b1", [1])
w.until(lambda: w.confirmed == 2)
w.close()
w = Worker("$E", "src-2")
w.wait_subscribed()
w.batch("b2", [1])
w.until(lambda: w.confirmed == 2)
END
    finish_with 0 c
    [ "$(results c.out)" = "pr:b1:1 bc:b1: pr:b2:1 bc:b2:" ]
    finish_with 0 w
}

@test "collect: a stream that loses a fifth of everything arrives whole and in order" {
    worker w <<'END'
import random
seed = time.time_ns()
print("seed", seed, flush=True)
chance = random.Random(seed).random
for i in range(1, 2001):
    w.partial("b1", i, lose=chance() < 0.2, copies=1 + (chance() < 0.2))
    if i % 100 == 0:
        w.status()
        w.serve(0)
w.status()
w.until(lambda: w.confirmed == 2000, 30)
END
    timeout 60 tasker-collect --count 2000 >out </dev/null
    finish_with 0 w
    [ "$(jq .step_id out | cmp - <(seq 2000) && echo same)" = same ]
}

@test "collect: input flows while results do" {
    worker w <<'END'
while "passing_by" not in open("c.out").read():
    w.partial("b1", w.offset + 1)
    w.serve(0.001)
print("passed", flush=True)
w.until(lambda: not w.joined)
print("confirmed all", w.confirmed == w.offset, flush=True)
END
    collector --follow
    wait_line c.out partial_result
    echo '{"message_type":"passing_by"}' >&"$IN"
    wait_line w.out passed
    [ "$(results c.out | tr ' ' '\n' | cut -d: -f3 | sort -nc && echo sorted)" = sorted ]
    signal c TERM
    finish_with 0 c
    finish_with 0 w
    has "confirmed all True" w.out
}

@test "collect: it does not end before its worker has the last confirmation" {
    worker w <<'END'
class Late(Worker):  # it lacks the first confirmation, as after a lost connection
    def on_join(self, topic):
        if topic.startswith(("collector.", "status.")):
            self.status(topic.strip(), heartbeat_ms=60000, collectors=1)
w.__class__ = Late
w.status(heartbeat_ms=60000, collectors=1)
w.batch("b1", [1])
count = 0
while count < 2:
    data = w.recv(40)
    assert data, "no second confirmation"
    count += data.startswith(b"collected")
    w.settled = 2 * (count > 1)
w.until(lambda: not w.joined)
END
    receipt b1 1 | TASKER_ZEROMQ_LINGER=30s run -0 tasker-collect
    finish_with 0 w
}
