#!/usr/bin/env bats
# tasker-collect --tap, which sees all and is seen by nobody, and what plays its records back:
# tasker-publish --raw and tasker-reconcile.
load helper
load work

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

steps() { # N CLASS
    local i
    for ((i = 1; i <= $1; i++)); do
        printf '{"message_type":"step","step_id":%d,"task_id":1,"step_name":"s","handler_class":"%s"}\n' "$i" "$2"
    done
}

batch() { printf '{"batch_id":"%s","protocol_version":"2.0","steps":[{"step_id":1,"task_id":1,"step_name":"s","handler_class":"True"}]}\n' "$1"; }

# A recorded line: TOPIC MESSAGE [MORE MEMBERS]
line() { printf '{"message_type":"tapped"%s,"topic":"%s","message":%s}\n' "${3:+,$3}" "$1" "$2"; }

@test "tap: bad command lines, a table" {
    run_case_table tasker-collect <<'END'
no endpoint at all | --tap x | - | 64 | "x"
a file in place of an endpoint | --tap /etc/hosts | - | 64 | /etc/hosts
empty endpoint | --tap '' | - | 64 | an endpoint is empty
no port | --tap tcp://127.0.0.1 | - | 64 | tcp://127.0.0.1
port beyond | --tap tcp://127.0.0.1:70000 | - | 64 | 70000
any port | --tap 'tcp://127.0.0.1:*' | - | 64 | names no port
other transport | --tap udp://127.0.0.1:5555 | - | 64 | udp
second one bad | --tap tcp://127.0.0.1:9 bad | - | 64 | bad
one of a list bad | --tap tcp://127.0.0.1:9,bad | - | 64 | bad
empty topic | --tap --topic '' | - | 64 | --topic is empty
empty batch | --tap --batch '' | - | 64 | --batch is not
bad batch | --tap --batch 'a b' | - | 64 | --batch is not 1 to 128
bad format | --tap --format xml | - | 64 | xml
with --follow | --tap --follow | - | 64 | --tap does not go with
with --id | --tap --id me | - | 64 | --tap does not go with
with --all | --tap --all | - | 64 | --tap does not go with
topic without tap | --topic steps | - | 64 | only of use with --tap
batch without tap | --batch b1 | - | 64 | only of use with --tap
format without tap | --format text | - | 64 | only of use with --tap
count of nothing | --tap --count 0 | - | 64 | count
not in time | --tap --count 1 --timeout 50ms | - | 75 |
time over, nothing asked for | --tap --timeout 50ms | - | 0 |
sockets switched off | --tap --set zeromq.enabled=false | - | 78 | switched off
END
}

@test "tap: bad records, a table, for --raw and for reconcile" {
    {
        echo 'no JSON' # 1
        echo '[]'
        echo '{"topic":"steps","message":{}}' # 3
        echo '{"message_type":"tapped"}'
        echo '{"message_type":"tapped","topic":7,"message":{}}' # 5
        echo '{"message_type":"tapped","topic":"steps"}'
        line steps '[]' # 7
        line steps '{}' '"raw":"x"'
        line steps '{}' '"time":"noon"' # 9
        echo '{"message_type":"tapped","topic":"steps","raw":1}'
        echo '{"message_type":"tapped","topic":"steps","raw":"","raw_base64":"%"}' # 11
        line "$(printf %0256d 1)" '{}'
        echo '{"message_type":"tapped","topic":"steps","raw":"{","truncated":true}' # 13
        echo '{"message_type":"other"}'
    } >bad.jsonl
    printf 'x\0y\n' >nul.jsonl
    run_case_table tasker-publish <<'END'
nothing | --raw | - | 0 |
no such file | --raw none.jsonl | - | 74 | none.jsonl
bad lines | --raw bad.jsonl | - | 65 | bad.jsonl:13: the message was too long
a NUL | --raw nul.jsonl | - | 65 | nul.jsonl:1
nobody subscribes | --raw --wait 50ms | {"message_type":"tapped","topic":"t","message":{}} | 75 | -:1: not sent, nor what follows: nobody subscribes to topic "t"
pace without raw | --pace recorded | - | 64 | --pace is only of use with --raw
bad pace | --raw --pace fast | - | 64 | fast
raw and dry run | --raw --dry-run | - | 64 | --raw does not go with
raw and workers | --raw --workers 2 | - | 64 | --raw does not go with
bad endpoint | --raw --batch-endpoint x | - | 64 | "x"
disk full | --raw >/dev/full | - | 74 | standard output
sockets switched off | --raw --set zeromq.enabled=false | - | 78 | switched off
END
    run --separate-stderr tasker-publish --raw bad.jsonl
    [ "$status" -eq 65 ]
    is "$(jq -c '[.message_type,.sent,.bad_lines]' <<<"$output" | xargs)" '[other,null,null] [played_back,0,13]'
    is "$(grep -o 'bad.jsonl:[0-9]*' <<<"$stderr" | sed 's/.*://' | xargs)" "$(seq 13 | xargs)"
    run --separate-stderr tasker-reconcile bad.jsonl # 3 is not its own
    [ "$status" -eq 65 ]
    is "$(grep -o 'bad.jsonl:[0-9]*' <<<"$stderr" | sed 's/.*://' | xargs)" "1 2 $(seq 4 13 | xargs)"
    is "$(grep -c . <<<"$output")" 2
}

@test "tap: on both channels it shows all, and the pipeline runs as without it" {
    tap -v
    worker
    wait_line tap.out '"topic":"worker_status"'
    mkfifo steps.in
    exec {IN}<>steps.in
    tasker-publish -b 2 <steps.in {IN}>&- 3>&- 4>&- {NAP}>&- | tasker-collect --id me {IN}>&- 3>&- 4>&- {NAP}>&- |
        tee results.jsonl {IN}>&- 3>&- 4>&- {NAP}>&- | tasker-reconcile >verdicts {IN}>&- 3>&- 4>&- {NAP}>&- &
    PIDS[run]=$!
    wait_until 10 seen_by_publisher
    steps 5 True >&"$IN"
    exec {IN}>&-
    finish_with 0 run
    is "$(jq -r .verdict verdicts | sort | uniq -c | xargs)" "3 consistent"
    wait_until 5 eval '[ $(grep -c \"topic\":\"batch_completion\" tap.out) = 3 ]'
    signal tap TERM
    finish_with 0 tap
    # every result that the collector had, byte for byte
    for type in partial_result batch_completion; do
        is "$(grep -c "^{\"message_type\":\"$type\"" results.jsonl)" \
            "$(jq -r 'select(.topic=="'$type'").topic' tap.out | wc -l)"
    done
    grep '"message_type":"partial_result"' results.jsonl | while IFS= read -r result; do
        grep -qF "\"message\":$result}" tap.out || { echo "not tapped: $result"; exit 1; }
    done
    # where it came from and how long it was
    is "$(jq -r 'select(.topic=="worker_status").endpoint' tap.out | sort -u)" "$RESULTS"
    is "$(jq -r 'select(.topic=="worker.w1").endpoint' tap.out | sort -u)" "$STEPS"
    is "$(jq -r 'select(.message|not)' tap.out)" ""
    jq -e '.size == (.topic|length) + 1 + (.message|tojson|length)' <(grep -m1 worker_status tap.out)
    # nobody took it for a collector
    jq -se 'map(select(.message.message_type=="worker_status").message.collectors)|max == 1' tap.out
    is "$(jq -r 'select(.message.message_type=="publisher_status").message.plain' tap.out | sort -u)" 0
    is "$(jq -s '[.[]|select(.topic|startswith("collector."))|.topic]|unique|join(",")' tap.out)" '"collector.me"'
    # offline, the record gives the same verdicts
    is "$(tasker-reconcile tap.out | jq -r 'select(.message_type=="batch_reconciled")|[.batch_id,.verdict]|join(" ")' | sort)" \
        "$(jq -r '[.batch_id,.verdict]|join(" ")' verdicts | sort)"
}

@test "tap: a publisher does not take it for a worker, whatever it subscribes to" {
    tap -v "$STEPS"
    spawn all tasker-collect --tap --topic steps "$STEPS"
    steps 1 True >steps.jsonl
    spawn pub tasker-publish --wait 2s -v steps.jsonl
    bare ask <<'END'
s = sock(zmq.SUB, STEPS, False)
s.subscribe("status.a ")
print(s.recv().decode(), flush=True)
s.subscribe("status.b ") # when the taps must have come, which try each 20 ms
time.sleep(0.5)
s.subscribe("status.c ")
while True: print(s.recv().decode(), flush=True)
END
    finish_with 75 pub
    has 'no worker in time: 0 registered' pub.err
    [ ! -s pub.out ]
    has '"plain":0' ask.out
    has '"topic":"status.c"' tap.out
    has '"plain":0' tap.out
    ! grep -v '"topic":"status\.' tap.out
    [ ! -s all.out ]
}

@test "tap: a worker does not take it for one who has its results" {
    worker
    tap "$RESULTS"
    wait_line tap.out '"topic":"worker_status"'
    steps 1 True | tasker-publish >receipt
    wait_line tap.out '"topic":"batch_completion"'
    wait_line tap.out '"completed":1.*"collectors":0'
    signal work TERM
    finish_with 75 work
    has '3 results are not confirmed by a collector' work.err
    wait_line tap.out '"state":"stopped"'
    is "$(jq -s 'map(select(.topic=="worker_status").message.collectors)|max' tap.out)" 0
}

@test "tap: any bytes are recorded and played back as they were" {
    cat >messages.py <<'END'
import random
random.seed(5)
MESSAGES = [b"steps {\"a\": 1.50, \"b\":\"\\u00e9\"}", "steps {\"ä\":\"ö\"}".encode(), b"{\"no\":\"topic\"}", b"word",
            b"two words", b"steps {broken", b"steps [1]", b"steps 7", b"steps null", b"x\0y z\0", b"a  ", b"~",
            b"t\xff\xfe \x80", b"steps \xc3", b"q {\"bad\":\"\xff\"}", b"!" * 300 + b" {}",
            b"steps {\"deep\":" + b"[" * 100 + b"]" * 100 + b"}"]
MESSAGES += [b"r" + bytes(random.randrange(256) for i in range(n)) for n in range(60)]
END
    export PYTHONPATH=$PWD
    tap --count 77 "$STEPS"
    bare pub <<'END'
from messages import MESSAGES
s = sock(zmq.XPUB, STEPS, True)
wait_for(s, b"~")
for m in MESSAGES: s.send(m)
s.recv()
END
    finish_with 0 tap
    finish pub
    jq -e 'select(.message_type!="tapped" or (.message==null and .raw==null))' tap.out && return 1
    is "$(jq -s 'map(select(.message))|length' tap.out)" 3
    bare sub <<'END'
from messages import MESSAGES
s = sock(zmq.SUB, RESULTS, False)
s.subscribe("")
got = [s.recv() for m in MESSAGES]
assert got == MESSAGES, [x for x in zip(got, MESSAGES) if x[0] != x[1]]
END
    tasker-publish --raw --batch-endpoint "$RESULTS" tap.out >sent
    finish_with 0 sub
    is "$(jq -c '[.sent,.bad_lines]' sent)" '[77,0]'
}

@test "tap: two frames, too long messages, and what is on several lines" {
    tap --count 3 --set zeromq.max_message_bytes=1024 "$STEPS"
    bare pub <<'END'
s = sock(zmq.XPUB, STEPS, True)
wait_for(s, b"~")
s.send_multipart([b"steps", b"{\"a\":1}"])
s.send(b"steps {\"a\":\n2}")
s.send(b"steps {\"a\":\"" + b"x" * 5000 + b"\"}")
s.recv()
END
    finish_with 0 tap
    is "$(jq -c '[.topic,.size,.message,.truncated]' tap.out | xargs -d '\n')" \
        '["steps",13,{"a":1},null] ["steps",14,{"a":2},null] ["steps",5014,null,true]'
}

@test "tap: --topic, --batch and --format=text" {
    tap --batch b2 "$STEPS"
    spawn topics tasker-collect --tap --topic part --topic st "$STEPS"
    spawn both tasker-collect --tap --topic steps --batch b1 --batch b2 --format text "$STEPS"
    bare pub <<'END'
s = sock(zmq.XPUB, STEPS, True)
seen = []
while seen.count(b"\1~") < 1 or seen.count(b"\1s") < 3: seen.append(s.recv())
s.send(b"steps {\"batch_id\":\"b1\",\"steps\":[1,2]}")
s.send(b"partial_result {\"batch_id\":\"b2\",\"step_id\":7,\"status\":\"failed\",\"error\":{\"error_type\":\"No\\u001b[2J\"}}")
s.send(b"spam {\"batch_id\":\"b1\"}")
s.send(b"steps {\"batch_id\":\"b3\"}")
s.send(b"steps nonsense")
s.send(b"batch_completion {\"batch_id\":\"b2\",\"completed_steps\":2,\"failed_steps\":1}")
s.send(b"steps {\"batch_id\":\"b2\"}")
while True: s.recv()
END
    wait_line tap.out '"topic":"steps"'
    wait_line topics.out b2 && wait_until 5 eval '[ $(wc -l <topics.out) = 5 ]'
    wait_line both.out ' b2 '
    is "$(jq -r .topic tap.out | xargs)" "partial_result batch_completion steps"
    is "$(jq -r .topic topics.out | xargs)" "steps partial_result steps steps steps"
    is "$(cut -d ' ' -f 2- both.out)" "$STEPS steps b1 2 steps 37 B
$STEPS steps b2 - 23 B"
    signal tap TERM && finish_with 0 tap
}

@test "tap: text is fit for a terminal" {
    tap --format text "$STEPS" --count 3
    bare pub <<'END'
s = sock(zmq.XPUB, STEPS, True)
wait_for(s, b"~")
s.send(b"partial_result {\"batch_id\":\"b\\u001b[2J\",\"step_id\":7,\"status\":\"failed\",\"error\":{\"error_type\":\"E\"}}")
s.send(b"a\x1b[2J {}")
s.send(b"worker_status nonsense")
s.recv()
END
    finish_with 0 tap
    ! grep -q $'\x1b' tap.out
    is "$(cut -d ' ' -f 3- tap.out)" 'partial_result b\x1b[2J/7 failed E 97 B
a\x1b[2J - - 8 B
worker_status no JSON object 22 B'
    grep -qE '^[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z tcp' tap.out
}

@test "tap: whoever does not read its output stops only the tap" {
    mkfifo pipe
    exec {hold}<>pipe
    tasker-collect --tap "$STEPS" >pipe 2>tap.err {hold}>&- 3>&- 4>&- {NAP}>&- &
    PIDS[tap]=$!
    bare pub <<'END'
s = ctx.socket(zmq.XPUB)
s.set(zmq.SNDHWM, 5); s.set(zmq.SNDTIMEO, 15000); s.set(zmq.LINGER, 0)
s.setsockopt(zmq.XPUB_NODROP, 1)
s.bind(STEPS)
wait_for(s, b"~")
for i in range(120): s.send(b"steps {\"text\":\"" + b"x" * 1000000 + b"\"}")
END
    finish_with 0 pub
    wait_line tap.err 'messages are left out'
    signal tap TERM
    finish_with 0 tap
    has 'were left out: standard output' tap.err
    exec {hold}>&-
}

@test "tap: what was recorded goes to a collector, and to a worker" {
    worker
    tap
    wait_line tap.out '"topic":"worker_status"'
    batch b1 | tasker-publish | tasker-collect >results.jsonl
    wait_line tap.out '"topic":"batch_completion"'
    wait_line tap.out '"topic":"worker.w1"'
    signal tap TERM && finish_with 0 tap
    signal work TERM && finish_with 0 work
    grep -E '"topic":"(partial_result|batch_completion)"' tap.out >results.tap
    spawn again tasker-collect --count 3
    tasker-publish --raw --batch-endpoint "$RESULTS" results.tap >sent
    finish_with 0 again
    diff <(grep -v batch_published results.jsonl | grep -v worker_status) again.out
    is "$(jq -c '[.message_type,.sent]' sent)" '["played_back",3]'

    worker
    spawn results tasker-collect --count 3
    jq -c 'select(.topic=="worker.w1")' tap.out | tasker-publish --raw >sent
    finish_with 0 results
    is "$(jq -r 'select(.status=="completed").batch_id' results.out)" b1
}

@test "tap: the recorded pace, and at once" {
    line t '{"n":1}' '"time":"2026-01-01T00:00:00.000Z"' >rec
    line t '{"n":2}' '"time":"2026-01-01T00:00:00.700Z"' >>rec
    line t '{"n":3}' '"time":"2026-01-01T00:00:00.100Z"' >>rec # the clock was set back
    line t '{"n":4}' >>rec
    for pace in recorded at-once; do
        bare sub <<'END'
s = sock(zmq.SUB, STEPS, False)
s.subscribe("t ")
for i in range(4): print(s.recv().decode())
END
        tasker-publish --raw --pace $pace rec >"sent.$pace"
        finish_with 0 sub
        is "$(grep -o '[0-9]' sub.out | xargs)" "1 2 3 4"
    done
    jq -e '.duration_ms >= 690' sent.recorded
    jq -e '.duration_ms < 690' sent.at-once
}

@test "tap: playing back waits for the subscriber of each topic; a tap is none while others may come" {
    line a '{"n":1}' >rec
    line b '{"n":2}' >>rec
    tap --count 1
    spawn raw tasker-publish --raw --wait 10s -v rec
    wait_line raw.err ': listening'
    bare sub <<'END'
s = sock(zmq.SUB, STEPS, False)
s.subscribe("a ")
print(s.recv().decode(), flush=True)
s.subscribe("b")
print(s.recv().decode(), flush=True)
END
    finish_with 0 raw
    finish_with 0 sub
    finish_with 0 tap
    has '"sent":2' raw.out

    tap --count 2
    run --separate-stderr tasker-publish --raw --wait 500ms rec
    [ "$status" -eq 0 ]
    has 'nobody but a tap subscribes to topic "a"' "$stderr"
    finish_with 0 tap
}

@test "tap: playing back is stopped by a signal, and says where" {
    line a '{"n":1}' >rec
    spawn raw tasker-publish --raw -v rec
    wait_line raw.err ': listening'
    signal raw TERM
    finish_with 75 raw
    has 'rec:1: not sent, nor what follows: stopped by a signal' raw.err
    has '"sent":0' raw.out
}

@test "tap: one endpoint into another, through a pipe" {
    other=tcp://127.0.0.1:$(port)
    tasker-collect --tap "$STEPS" --count 2 2>tap.err 3>&- 4>&- | tasker-publish --raw --batch-endpoint "$other" >raw.out 3>&- 4>&- &
    PIDS[pipe]=$!
    export RESULTS=$other
    bare pub <<'END'
s, t = sock(zmq.XPUB, STEPS, True), sock(zmq.SUB, RESULTS, False)
t.subscribe("")
wait_for(s, b"~")
s.send(b"steps {\"n\":1}")
assert t.recv() == b"steps {\"n\":1}"
s.send(b"steps {\"n\":2}")
assert t.recv() == b"steps {\"n\":2}"
END
    finish_with 0 pub
    finish_with 0 pipe
    has '"sent":2' raw.out
}

@test "tap: reconcile takes the older shapes of a record, and passes on what it has no use for" {
    line results '{"batch_id":"b1","results":[{"step_id":1,"status":"completed"}]}' >rec
    line partial_result '{"batch_id":"b2","step_id":2,"status":"completed"}' >>rec
    line batch_completion '{"batch_id":"b2","total_steps":1,"completed_steps":1,"failed_steps":0,"step_summaries":[{"step_id":2,"final_status":"completed"}]}' >>rec
    line steps '{"batch_id":"b2","steps":[]}' >>rec
    line worker_status '{"message_type":"worker_status"}' >>rec
    run tasker-reconcile rec
    [ "$status" -eq 0 ]
    is "$(jq -r '[.message_type,.topic//.batch_id]|join(" ")' <<<"$output" | sort | xargs)" \
        "batch_reconciled b1 batch_reconciled b2 tapped steps tapped worker_status"
}
