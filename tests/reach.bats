#!/usr/bin/env bats
# Who waits for a peer that is not there says so: for whom, where and why; and when it is over.
load helper
load store

setup() {
    test_begin
    endpoints
    export PYTHONDONTWRITEBYTECODE=1
    printf 'handlers: {"*": {command: [cat]}}\n' >handlers.yaml
    step='{"message_type":"step","step_id":1,"task_id":1,"step_name":"s","handler_class":"H"}'
}

teardown() { store_end && test_end; }

# serve NAME PORT PYTHON: a program at a port, of which s is the listening socket
serve() {
    spawn "$1" /usr/bin/python3 -c "
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', $2))
$3"
    wait_line "$1.out" ready
}

work() { # NAME ENDPOINT [ARG...]: a worker of batches from there
    local name=$1 endpoint=$2
    shift 2
    spawn "$name" tasker-work --handlers handlers.yaml --id "$name" --batch-endpoint "$endpoint" \
        --result-endpoint 'tcp://127.0.0.1:*' "$@"
}

@test "a worker that cannot reach its endpoint says why after some seconds, and when that is over" {
    local http dropped curve
    http=$(port) dropped=$(port) curve=$(port)
    serve http "$http" '
s.listen(8)
print("ready", flush=True)
while True:
    c = s.accept()[0]
    c.recv(1)
    c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    c.close()'
    serve dropped "$dropped" '
s.listen(0) # a full backlog drops what comes
full = [socket.socket() for i in range(4)]
for c in full:
    c.setblocking(False)
    c.connect_ex(s.getsockname())
print("ready", flush=True)
sys.stdin.read() or __import__("signal").pause()'
    spawn curve /usr/bin/python3 -c "
import zmq
c = zmq.Context()
s = c.socket(zmq.PUB)
s.curve_publickey, s.curve_secretkey = zmq.curve_keypair()
s.curve_server = True
s.bind('tcp://127.0.0.1:$curve')
print('ready', flush=True)
__import__('signal').pause()"
    wait_line curve.out ready
    work refused "$TASKER_ZEROMQ_BATCH_ENDPOINT"
    work ipc "ipc://$PWD/socket"
    work unknown tcp://nohost.invalid:5
    work http1 "tcp://127.0.0.1:$http"
    work dropped1 "tcp://127.0.0.1:$dropped"
    work curve1 "tcp://127.0.0.1:$curve"
    work quiet "$TASKER_ZEROMQ_BATCH_ENDPOINT" -q
    wait_line refused.err "^tasker-work: warning: never reached a publisher at $TASKER_ZEROMQ_BATCH_ENDPOINT: connection refused; a loopback address: is this its machine\?$"
    wait_line ipc.err "^tasker-work: warning: never reached a publisher at ipc://$PWD/socket: no such socket$"
    wait_line unknown.err '^tasker-work: warning: never reached a publisher at tcp://nohost.invalid:5: host "nohost.invalid" (is not known|cannot be looked up now): '
    wait_line http1.err "^tasker-work: warning: never reached a publisher at tcp://127.0.0.1:$http: what answers is not ZeroMQ; it says \"HTTP/1.1 400 Bad Request\"$"
    wait_line dropped1.err "^tasker-work: warning: never reached a publisher at tcp://127.0.0.1:$dropped: no connection within 1000 ms: packets are dropped, or the host is down$"
    wait_line curve1.err "^tasker-work: warning: never reached a publisher at tcp://127.0.0.1:$curve: the peer asks for CURVE security, which tasker does not speak$"
    for name in refused ipc unknown http1 dropped1 curve1; do
        [ "$(grep -c 'never reached' $name.err)" -eq 1 ]
    done
    [ ! -s quiet.err ]
    signal quiet TERM
    finish_with 0 quiet
    # a publisher comes
    spawn p tasker-publish <<<"$step"
    wait_line refused.err "^tasker-work: warning: reached a publisher at $TASKER_ZEROMQ_BATCH_ENDPOINT after [0-9]+ s$"
    finish_with 0 p
    signal refused TERM
    finish refused # its result is not collected
}

@test "a publisher with a batch that nobody takes says so after some seconds, and when that is over" {
    spawn p tasker-publish <<<"$step"
    wait_line p.err "^tasker-publish: warning: waiting for a worker at $TASKER_ZEROMQ_BATCH_ENDPOINT \(bound here\): nobody has connected$"
    work w1 "$TASKER_ZEROMQ_BATCH_ENDPOINT"
    finish_with 0 p
    has "warning: reached a worker at $TASKER_ZEROMQ_BATCH_ENDPOINT after" p.err
    # one with nothing to give waits for its input, and for nobody
    mkfifo in
    exec {IN}<>in
    TASKER_ZEROMQ_BATCH_ENDPOINT=tcp://127.0.0.1:$(port)
    spawn idle tasker-publish in {IN}>&-
    # a publisher that connects, and one whose only peer is a tap
    local other
    other=$(port)
    spawn tap tasker-collect --tap "tcp://127.0.0.1:$other"
    spawn watched tasker-publish --batch-endpoint "tcp://127.0.0.1:$other" <<<"$step"
    TASKER_ZEROMQ_BATCH_BIND=worker spawn far tasker-publish --batch-endpoint tcp://127.0.0.1:1 <<<"$step"
    wait_line far.err "never reached a worker at tcp://127.0.0.1:1: connection refused; a loopback address: is this its machine\?$"
    wait_line watched.err "waiting for a worker at tcp://127.0.0.1:$other \(bound here\): a peer is connected, and has not subscribed as one$"
    [ ! -s idle.err ]
}

# Results that are collected where their worker is not: its steps run, and only once.
elsewhere() {
    local real
    real=tcp://127.0.0.1:$(port)
    printf '#!/bin/sh\necho x >>%s/runs\n' "$PWD" >note && chmod +x note
    printf 'handlers: {"*": {command: [./note]}}\n' >handlers.yaml
    spawn w1 tasker-work --handlers handlers.yaml --id w1 --result-endpoint "$real"
    tasker-publish <<<"$step" >receipt
    sed "s|$real|tcp://127.0.0.1:1|" receipt >wrong
    run -75 --separate-stderr tasker-collect --silence-timeout 7s wrong
    has "warning: never reached w1 at tcp://127.0.0.1:1: connection refused" "$stderr"
    case $stderr in *lost*) echo "$stderr"; return 1 ;; esac
    tasker-reconcile --ledger >verdicts || [ $? -eq 1 ]
    ! grep -q '"outcome":"retry"' verdicts || return 1
    [ "$(store_sql "SELECT state FROM steps")" = in_progress ] || [ "$(store_sql "SELECT state FROM steps")" = enqueued ]
    tasker-collect receipt >results
    tasker-reconcile --ledger >verdicts
    [ "$(store_sql "SELECT state, attempts FROM steps")" = "complete|1" ]
    [ "$(wc -l <runs)" -eq 1 ]
    signal w1 TERM
    finish_with 0 w1
}
@test "results that are collected where their worker is not: its steps are neither lost nor run again" { for_each_store elsewhere; }

@test "result_bind that is set on one side only is named" {
    printf '{"message_type":"batch_published","batch_id":"b1","source":"s1","worker_id":"w9","result_endpoint":"tcp://127.0.0.1:1","step_ids":[7]}\n' >binds
    printf '{"message_type":"batch_published","batch_id":"b1","source":"s1","worker_id":"w9","step_ids":[7]}\n' >connects
    TASKER_ZEROMQ_RESULT_BIND=collector spawn both_bind tasker-collect --silence-timeout 6s binds
    spawn both_connect tasker-collect --result-endpoint tcp://127.0.0.1:1 --silence-timeout 6s connects
    finish_with 75 both_bind
    finish_with 75 both_connect
    has "warning: waiting for w9 (it binds too: see zeromq.result_bind) at $TASKER_ZEROMQ_RESULT_ENDPOINT (bound here): nobody has connected" both_bind.err
    has "warning: never reached w9 (it connects too: see zeromq.result_bind) at tcp://127.0.0.1:1: connection refused" both_connect.err
    ! grep -q lost both_bind.err both_connect.err || false
}

# ---- success that is none

@test "clocks that differ by more than a second are told, once for each worker" {
    printf '{"message_type":"batch_published","batch_id":"b1","source":"src-1","worker_id":"w1","step_ids":[1]}\n' >r
    PYTHONPATH=$BATS_TEST_DIRNAME spawn w /usr/bin/python3 -c "
from collect_peer import *
import datetime
def at(s): return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=s)).strftime('%Y-%m-%dT%H:%M:%S.%f')[:-3] + 'Z'
w = Worker('$TASKER_ZEROMQ_RESULT_ENDPOINT')
w.wait_subscribed()
for source, skew in ('s-ahead', 3600), ('s-behind', -7), ('s-right', 0.5):
    for i in range(5): w.say('worker_status', {'message_type':'worker_status','worker_id':source[2:],'source':source,'offset':0,'state':'ready','timestamp':at(skew)})
w.batch('b1', [1])
w.until(lambda: w.confirmed == 2)"
    tasker-collect r >out 2>err
    finish_with 0 w
    [ "$(grep -c 'the clock of worker' err)" -eq 2 ]
    grep -Eq '^tasker-collect: warning: the clock of worker ahead is (3600\.0|3599\.[0-9]) s ahead of this one: times and back-offs differ by that; set both by NTP$' err
    grep -Eq '^tasker-collect: warning: the clock of worker behind is 7\.[0-9] s behind this one: ' err
}

@test "two collectors of one id are told to both, and by the worker" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=250ms
    spawn w1 tasker-work --handlers handlers.yaml --id w1
    spawn c1 tasker-collect --follow --id me
    spawn c2 tasker-collect --follow --id me
    spawn c3 tasker-collect --follow --id other
    wait_line w1.err '^tasker-work: warning: two collectors have the id me: what one confirms the other may never get; give each its own --id$'
    wait_line c1.err '^tasker-collect: warning: another collector has the id me too: what one confirms the other may never get; give each its own --id$'
    wait_line c2.err 'another collector has the id me too'
    ! grep -q 'another collector' c3.err || false
}

another_store() {
    printf '{"message_type":"batch_published","batch_id":"b1","worker_id":"w1","step_ids":[1]}\n' >r
    printf '{"message_type":"batch_published","batch_id":"b2","worker_id":"w1","step_ids":[1]}\n' >>r
    tasker-collect --timeout 50ms r >out 2>err || [ $? -eq 75 ]
    [ "$(grep -c 'does not know' err)" -eq 1 ]
    grep -q 'warning: the store .* does not know batch b1, of which there is a receipt: has tasker-publish another store (store.url)? Its results are kept, and settle nothing$' err
    spawn w1 tasker-work --handlers "$BATS_TEST_TMPDIR/handlers.yaml" --id w1
    tasker-publish <<<"$step" | tasker-collect >out 2>err
    [ ! -s err ] || { cat err; return 1; }
    signal w1 TERM
    finish w1
}
@test "a collector with another store than the publisher's says so" { for_each_store another_store; }

@test "an output that nobody reads is told, and when it is read again" {
    mkfifo pipe
    exec {OUT}<>pipe
    yes '{"message_type":"other","text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}' | head -n 5000 >in
    spawn c bash -c 'exec tasker-collect in >pipe'
    wait_line c.err '^tasker-collect: warning: nobody has read standard output for 3 s: waiting, with [0-9]+ bytes$'
    spawn reader head -n 5000 pipe
    finish_with 0 c
    has 'tasker-collect: warning: standard output is read again, after ' c.err
    finish_with 0 reader
    exec {OUT}>&-
}
