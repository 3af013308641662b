#!/usr/bin/env bats
# tasker-status workers: who is there by their own words, and what is said of those who are not.
load helper

setup() {
    test_begin
    endpoints
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml TASKER_WORKER_CONFIRM_TIMEOUT=200ms GO=$PWD/go
    cat >handlers.yaml <<'END'
handlers:
  Wait: {command: [/bin/sh, -c, 'read -r x <"$GO"']}
END
    mkfifo go
}

# worker NAME [ENDPOINT]
worker() {
    TASKER_WORKER_ID=$1 TASKER_ZEROMQ_RESULT_ENDPOINT=${2:-tcp://127.0.0.1:*} spawn "$1" tasker-work -v -j 3
    wait_line "$1.err" "worker $1 is ready"
}

# workers STATUS [OPTION...]: runs it as JSON into out
workers() {
    local want=$1 got=0
    shift
    timeout 60 tasker-status workers -t 10s -f json "$@" >out 2>err || got=$?
    [ "$got" -eq "$want" ] || { echo "status $got, wanted $want"; cat out err; return 1; }
}

is() { [ "$1" = "$2" ] || { printf 'is:     %s\nwanted: %s\n' "$1" "$2" >&2; return 1; }; }

names() { jq -rs 'map(.worker_id)|join(" ")' out; }

@test "status workers: bad input" {
    run_case_table tasker-status <<'END'
no endpoint | workers nonsense | - | 64 | nonsense
any port | workers 'tcp://127.0.0.1:*' | - | 64 | tcp://127.0.0.1:*
listen | workers --listen | - | 64 | --listen is for endpoints
nobody | workers | - | 1 | no worker answered
nobody where one should be | workers tcp://127.0.0.1:1 | - | 69 | tcp://127.0.0.1:1
unknown host | workers tcp://nosuch.invalid:1 | - | 69 | nosuch.invalid
no sockets | workers --set zeromq.enabled=false | - | 78 | zeromq.enabled
full disk | config >/dev/full | - | 74 | standard output
END
}

@test "status workers: at the configured endpoint, as text and JSON, with what it runs and holds" {
    worker w1 "$TASKER_ZEROMQ_RESULT_ENDPOINT"
    echo '{"message_type":"step","step_id":1,"task_id":1,"step_name":"s","handler_class":"Wait"}' |
        tasker-publish --batch-delay 20s >receipts
    running_one() { workers 0 && [ "$(jq .running out)" = 1 ]; }
    wait_until 10 running_one
    is "$(jq -c '[.message_type,.worker_id,.pid,.state,.running,.queued,.free_slots,.outbox,.lost,.collectors,.known_by,.endpoint,.heartbeat_ms]' out)" \
        "[\"worker_status\",\"w1\",${PIDS[w1]},\"ready\",1,0,2,1,0,0,\"worker\",\"$TASKER_ZEROMQ_RESULT_ENDPOINT\",1000]"
    [ "$(jq -r .seen_at out)" != null ]
    tasker-status workers >text
    [ "$(head -n 1 text | xargs)" = "WORKER HOST PID STATE RUNNING QUEUED FREE OUTBOX LOST COLLECTORS CIRCUITS SEEN ENDPOINT" ]
    [ "$(wc -l <text)" -eq 2 ]
    has "w1 " text
    echo >go
    tasker-collect receipts >/dev/null
}

@test "status workers: several, given by endpoint, one of which is not there" {
    worker w2
    worker w1
    e1=$(sed -n 's/.*results at //p' w1.err) e2=$(sed -n 's/.*results at //p' w2.err)
    workers 0 "$e2" "$e1" "$e1"
    [ "$(names)" = "w1 w2" ]
    workers 69 "$e1" tcp://127.0.0.1:1
    [ "$(names)" = w1 ]
    has "tcp://127.0.0.1:1" err
}

@test "status workers: found through the publisher, those with ports of their own too" {
    worker w1
    worker w2
    mkfifo in && exec {IN}<>in
    spawn p tasker-publish --workers 2 --batch-size 1 in
    echo '{"message_type":"step","step_id":1,"task_id":1,"step_name":"s","handler_class":"Wait"}' >&"$IN"
    wait_line p.out batch_published
    workers 0
    [ "$(names)" = "w1 w2" ]
    # One has accepted something and so can be asked; of the other the publisher knows the name.
    [ "$(jq -rs 'map(.known_by)|sort|join(" ")' out)" = "publisher worker" ]
    [ "$(jq -r 'select(.known_by=="publisher")|.state' out)" = registered ]
    echo >go
    exec {IN}>&-
    signal p TERM
    finish_with 0 p
}

@test "status workers: one that hangs costs no more than the time allowed, and the others are told" {
    worker w1
    worker w2
    e1=$(sed -n 's/.*results at //p' w1.err) e2=$(sed -n 's/.*results at //p' w2.err)
    signal w1 STOP
    workers 69 --timeout 5s "$e1" "$e2"
    [ "$(names)" = w2 ]
    has "$e1: nobody answers" err
    signal w1 CONT
}

@test "status workers: a worker of another program is seen by its worker_status" {
    cat >peer.py <<END
import json, zmq
s = zmq.Context().socket(zmq.XPUB)
s.bind("$TASKER_ZEROMQ_RESULT_ENDPOINT")
print("ready", flush=True)
while s.recv():
    s.send_string("worker_status " + json.dumps({"message_type": "worker_status", "worker_id": "foreign\x1b[2J"}))
END
    spawn peer /usr/bin/python3 peer.py
    wait_line peer.out ready
    workers 0
    [ "$(jq -r .outbox out)" = null ]
    tasker-status workers >text
    has 'foreign\x1b[2J' text
}
