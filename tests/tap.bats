#!/usr/bin/env bats
# tasker-collect --tap, which sees all and is seen by nobody.
load helper
load work
load tap

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

@test "tap: on both channels it shows all, and the pipeline runs as without it" {
    tap -v
    worker
    wait_line tap.out '"topic":"worker_status"'
    steps 5 True >steps.jsonl
    pipeline steps.jsonl --id me
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
    spawn all tasker-collect --tap -v --topic steps "$STEPS"
    steps 1 True >steps.jsonl
    mkfifo go steps
    exec 9<>steps
    spawn pub tasker-publish --wait 300ms -v <steps 9>&-
    bare ask <<'END'
s = sock(zmq.SUB, STEPS, False)
s.subscribe("status.a ")
print(s.recv().decode(), flush=True)
s.subscribe("status.b ")
open("go").read() # until both taps are there
s.subscribe("status.c ")
while True: print(s.recv().decode(), flush=True)
END
    wait_line tap.err 'handshake succeeded'
    wait_line all.err 'handshake succeeded'
    echo >go
    wait_line tap.out '"topic":"status.c"'
    cat steps.jsonl >&9
    exec 9>&-
    finish_with 75 pub
    has 'no worker in time: 0 registered' pub.err
    [ ! -s pub.out ]
    has '"plain":0' ask.out
    has '"topic":"status.c"' tap.out
    has '"plain":0' tap.out
    ! grep -v '"topic":"status\.' tap.out || false
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

@test "tap: tasker-status tells of it as what it is" {
    tap "$STEPS"
    heard() { tasker-status endpoints --listen batch_endpoint >out; grep -q 'taps: 1' out; }
    wait_until 10 heard
    ! grep -q '"!"' out || false
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
    ! grep -q $'\x1b' tap.out || false
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
    finish_with 75 tap
    has 'error: ' tap.err
    has 'were left out: standard output' tap.err
    exec {hold}>&-
}

@test "tap: results that it did not hear are counted by their numbers, and the status says so" {
    tap "$RESULTS"
    bare pub <<'END'
s = sock(zmq.XPUB, RESULTS, True)
wait_for(s, b"~")
for i in (7, 8, 11, 12, 8): s.send(b'partial_result {"batch_id":"b","step_id":1,"source":"s1","offset":%d}' % i)
s.send(b'worker_status {"source":"s1","offset":99}')
s.send(b'partial_result {"batch_id":"b","step_id":2,"source":"s2","offset":3}')
s.recv()
END
    wait_line tap.out '"source":"s2"'
    signal tap TERM
    finish_with 75 tap
    has "error: 1 result went by unheard: this tap was too slow, or its connection was lost for a time" tap.err
}
