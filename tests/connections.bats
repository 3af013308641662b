#!/usr/bin/env bats
# Connections: every kind of endpoint, either side binding, peers that stop or are not what they
# seem; and what -v tells of all that.
load helper
load store

teardown() { store_end && test_end; }

setup() {
    test_begin
    endpoints
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml
    cat >handlers.yaml <<'END'
handlers:
  Test::Echo: {command: [/bin/sh, -c, 'echo "$TASKER_STEP_ID" >>"$HOME/runs"; cat']}
  Test::Big: {command: [/bin/sh, -c, 'head -c 700000 /dev/zero | tr "\0" x']}
END
}

steps() { # HANDLER FROM TO
    local i
    for ((i = $2; i <= $3; i++)); do
        printf '{"message_type":"step","step_id":%d,"task_id":1,"step_name":"s%d","handler_class":"Test::%s"}\n' \
            "$i" "$i" "$1"
    done
}

verdicts() { jq -r 'select(.message_type=="batch_reconciled")|.verdict' "$1" | sort | uniq -c | xargs; }
runs() { sort -n home/runs | xargs; }
lines() { grep -Ec -e "$2" -- "$1" || true; }
more_lines() { [ "$(lines "$1" "$2")" -gt "$3" ]; } # FILE REGEX N
listening() { (exec 9<>"/dev/tcp/127.0.0.1/${1##*:}") 2>/dev/null; }

# ---- every kind of endpoint, and either side binding

# Sets both endpoints to be of a kind.
use_kind() {
    case $1 in
    ipv4) endpoints ;;
    ipv6)
        TASKER_ZEROMQ_BATCH_ENDPOINT="tcp://[::1]:$(port)"
        TASKER_ZEROMQ_RESULT_ENDPOINT="tcp://[::1]:$(port)"
        ;;
    ipc)
        TASKER_ZEROMQ_BATCH_ENDPOINT=ipc://$PWD/b$2
        TASKER_ZEROMQ_RESULT_ENDPOINT=ipc://$PWD/r$2
        ;;
    esac
}

# One whole run: steps FROM to TO, with a worker that is there before, or comes after.
whole_run() { # worker_first|worker_last FROM TO
    rm -f home/runs
    [ "$1" = worker_last ] || spawn work tasker-work -v
    steps Echo "$2" "$3" >in
    spawn all bash -o pipefail -c \
        'tasker-publish -v --batch-size 2 in | tasker-collect -v --timeout 60s | tasker-reconcile'
    [ "$1" = worker_first ] || spawn work tasker-work -v
    finish_with 0 all
    [ "$(verdicts all.out)" = "2 consistent" ]
    [ "$(runs)" = "$(seq -s ' ' "$2" "$3")" ]
    signal work TERM
    finish_with 0 work
}

all_binds() { # KIND
    local batch result n=1
    [ "$1" != ipv6 ] || grep -q . /proc/net/if_inet6 2>/dev/null || skip "no IPv6 here"
    for batch in publisher worker; do
        for result in worker collector; do
            export TASKER_ZEROMQ_BATCH_BIND=$batch TASKER_ZEROMQ_RESULT_BIND=$result
            use_kind "$1" $n
            echo "$1, batches bound by the $batch, results by the $result"
            whole_run worker_first $n $((n + 3))
            whole_run worker_last $((n + 4)) $((n + 7))
            n=$((n + 8))
        done
    done
}

@test "connections: whole pipelines over tcp with IPv4, each side binding" { all_binds ipv4; }
@test "connections: whole pipelines over tcp with IPv6, each side binding" { all_binds ipv6; }
@test "connections: whole pipelines over ipc, each side binding" { all_binds ipc; }

@test "connections: a publisher that connects serves several workers that bind" {
    local a b
    a=tcp://127.0.0.1:$(port) b=ipc://$PWD/b
    export TASKER_ZEROMQ_BATCH_BIND=worker
    export TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*'
    TASKER_ZEROMQ_BATCH_ENDPOINT=$a spawn a tasker-work --id a
    TASKER_ZEROMQ_BATCH_ENDPOINT=$b spawn b tasker-work --id b
    export TASKER_ZEROMQ_BATCH_ENDPOINT=$a,$b TASKER_ZEROMQ_RESULT_ENDPOINT=tcp://127.0.0.1:$(port)
    steps Echo 1 20 >in
    tasker-publish --workers 2 --batch-size 2 in | tasker-collect --timeout 60s >results
    tasker-reconcile results >out
    [ "$(verdicts out)" = "10 consistent" ]
    [ "$(runs)" = "$(seq -s ' ' 20)" ]
    [ "$(jq -r 'select(.message_type=="batch_published")|.worker_id' results | sort -u | xargs)" = "a b" ]
}

@test "connections: a collector that binds hears several workers that connect" {
    export TASKER_ZEROMQ_RESULT_BIND=collector
    spawn a tasker-work --id a
    spawn b tasker-work --id b
    steps Echo 1 20 >in
    tasker-publish --workers 2 --batch-size 2 in | tasker-collect --timeout 60s >results
    tasker-reconcile results >out
    [ "$(verdicts out)" = "10 consistent" ]
    [ "$(runs)" = "$(seq -s ' ' 20)" ]
    [ "$(jq -r 'select(.status=="completed")|.worker_id' results | sort -u | xargs)" = "a b" ]
}

# ---- what -v tells

@test "connections: -v tells the life of sockets, in all programs" {
    local batch=$TASKER_ZEROMQ_BATCH_ENDPOINT result=$TASKER_ZEROMQ_RESULT_ENDPOINT
    spawn work tasker-work -v --id w1
    wait_line work.err "$batch: not connected, retrying in [0-9]+ ms"
    steps Echo 1 1 >in
    tasker-publish -v in 2>publish.err | tasker-collect -v --timeout 60s 2>collect.err >out
    wait_line work.err "$batch: disconnected"
    tasker-status -v endpoints "$result" 2>status.err >/dev/null
    signal work TERM
    finish_with 0 work
    wait_line work.err "^tasker-work: info: $result: listening"
    wait_line work.err "^tasker-work: info: $batch: connected"
    wait_line work.err "^tasker-work: info: $batch: handshake succeeded"
    wait_line work.err "^tasker-work: info: $result: accepted a connection from tcp://127.0.0.1:"
    wait_line work.err "^tasker-work: info: $result: a peer subscribed to \"partial_result\""
    wait_line work.err "^tasker-work: info: $result: a peer ended its subscription to \"partial_result\""
    wait_line work.err "^tasker-work: info: $result: disconnected from tcp://127.0.0.1:"
    wait_line work.err "^tasker-work: info: $result: closed"
    wait_line publish.err "^tasker-publish: info: $batch: listening"
    wait_line publish.err "^tasker-publish: info: $batch: accepted a connection from tcp://127.0.0.1:"
    wait_line publish.err "^tasker-publish: info: $batch: a peer subscribed to \"worker.w1 \""
    wait_line publish.err "^tasker-publish: info: $batch: closed"
    wait_line collect.err "^tasker-collect: info: $result: connected"
    wait_line collect.err "^tasker-collect: info: $result: handshake succeeded"
    wait_line collect.err "^tasker-collect: info: $result: closed"
    wait_line status.err "^tasker-status: info: $result: handshake succeeded"
}

@test "connections: as JSON each event has its fields" {
    local batch=$TASKER_ZEROMQ_BATCH_ENDPOINT
    spawn work tasker-work -v --id w1 --log-format json
    wait_line work.err '"event":"retrying"'
    steps Echo 1 1 >in
    tasker-publish -v --log-format json in 2>publish.err | tasker-collect --timeout 60s >out
    signal work TERM
    finish_with 0 work
    jq -es --arg e "$batch" 'map(select(.endpoint == $e)) |
        (map(select(.event == "retrying")) | length > 0 and .[0].interval_ms >= 20) and
        (map(.event) | index("connected") != null and index("ready") != null and index("closed") != null) and
        all(.program == "tasker-work" and .level == "info" and .message != "")' work.err
    jq -es --arg e "$batch" 'map(select(.endpoint == $e)) |
        (map(select(.event == "accepted")) | .[0].peer | startswith("tcp://127.0.0.1:")) and
        (map(select(.event == "subscribed")) | map(.topic) | index("worker.w1 ") != null)' publish.err
}

@test "connections: without -v, and with -q, nothing is told of sockets" {
    spawn work tasker-work
    steps Echo 1 1 >in
    tasker-publish in 2>publish.err | tasker-collect -v -q --timeout 60s 2>collect.err >out
    signal work TERM
    finish_with 0 work
    [ ! -s work.err ]
    [ ! -s publish.err ]
    [ ! -s collect.err ]
}

@test "connections: an endpoint that nobody listens at does not flood" {
    spawn work tasker-work -v --set zeromq.reconnect_min=1ms --set zeromq.reconnect_max=2ms
    wait_line work.err 'retrying in [0-9]+ ms \([0-9]{3,} more of these were not told\)'
    [ "$(lines work.err 'not connected')" -le 3 ]
    [ "$(lines work.err "$TASKER_ZEROMQ_BATCH_ENDPOINT")" -le 5 ]
}

@test "connections: a handshake that fails is told with why, by both sides" {
    cat >peer.py <<'END'
import sys, zmq
s = zmq.Context().socket(getattr(zmq, sys.argv[1]))
getattr(s, sys.argv[2])(sys.argv[3])
m = s.get_monitor_socket(zmq.EVENT_ACCEPTED)
print("here", flush=True)
for n in range(3):
    m.recv_multipart()
print("again", flush=True)
sys.stdin.read()
END
    mkfifo hold && exec {HOLD}<>hold
    steps Echo 1 1 >in
    spawn rep /usr/bin/python3 peer.py REP bind "$TASKER_ZEROMQ_BATCH_ENDPOINT" <hold
    wait_line rep.out here
    spawn work tasker-work -v
    wait_line work.err "$TASKER_ZEROMQ_BATCH_ENDPOINT: handshake failed: .*no PUB or SUB"
    spawn req /usr/bin/python3 peer.py REQ connect "$TASKER_ZEROMQ_RESULT_ENDPOINT" <hold
    wait_line work.err "$TASKER_ZEROMQ_RESULT_ENDPOINT: handshake failed( with tcp://127.0.0.1:[0-9]+)?: .*no PUB or SUB"
    # and once it is gone, the true peer is found, also without -v
    spawn quiet tasker-work --result-endpoint 'tcp://127.0.0.1:*' --id quiet
    wait_line rep.out again
    signal rep TERM
    finish rep
    tasker-publish --workers 2 --wait 20s in | grep -q '"batch_published"'
}

@test "connections: what is no ZeroMQ is told, and does not flood" {
    cat >greet.py <<'END'
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    c, _ = s.accept()
    c.close()
    print("came", flush=True)
END
    spawn greet /usr/bin/python3 greet.py "${TASKER_ZEROMQ_BATCH_ENDPOINT##*:}"
    wait_until 10 listening "$TASKER_ZEROMQ_BATCH_ENDPOINT"
    spawn work tasker-work -v --set zeromq.reconnect_min=2ms --set zeromq.reconnect_max=4ms
    wait_line work.err "$TASKER_ZEROMQ_BATCH_ENDPOINT: handshake failed: the peer ended the connection"
    wait_until 20 more_lines greet.out came 200
    [ "$(lines work.err "$TASKER_ZEROMQ_BATCH_ENDPOINT")" -le 40 ]
}

# ---- peers that stop, go and come

@test "connections: a worker that is stopped is noticed by its missing heartbeats" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=1s
    TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*' spawn a tasker-work --id a
    mkfifo in && exec {IN}<>in
    spawn publish tasker-publish -v --batch-size 1 <in
    exec {OUT}>in
    wait_line publish.err 'worker.a: registered'
    signal a STOP
    wait_line publish.err "$TASKER_ZEROMQ_BATCH_ENDPOINT: disconnected from tcp://127.0.0.1:" 10
    wait_line publish.err 'worker.a: gone'
    TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*' spawn b tasker-work --id b
    steps Echo 1 1 >&"$OUT"
    wait_line publish.out '"worker_id":"b"'
    signal a CONT
    wait_until 10 more_lines publish.err 'worker.a: registered' 1
    signal publish TERM
    finish publish
    wait_until 10 more_lines home/runs . 0
    [ "$(runs)" = 1 ]
}

@test "connections: a publisher that is stopped is noticed by its worker, which comes back" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=1s
    spawn work tasker-work -v --id a
    mkfifo in && exec {IN}<>in
    spawn publish tasker-publish -v --batch-size 1 <in
    exec {OUT}>in
    wait_line publish.err 'worker.a: registered'
    signal publish STOP
    wait_line work.err "$TASKER_ZEROMQ_BATCH_ENDPOINT: disconnected" 10
    signal publish CONT
    wait_until 10 more_lines publish.err 'worker.a: registered' 1
    steps Echo 1 1 >&"$OUT"
    wait_line publish.out '"worker_id":"a"'
    signal publish TERM
    finish publish
}

@test "connections: a collector that is stopped for a while is noticed, and gets every result" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=1s
    spawn work tasker-work -v --id a
    spawn collect tasker-collect --all --count 90
    wait_line work.err 'collector .* is there'
    signal collect STOP
    wait_line work.err "$TASKER_ZEROMQ_RESULT_ENDPOINT: disconnected" 10
    steps Echo 1 40 | tasker-publish --batch-size 4 >receipts
    wait_until 20 more_lines home/runs . 39
    signal collect CONT
    finish_with 0 collect
    tasker-reconcile receipts collect.out >out
    [ "$(verdicts out)" = "10 consistent" ]
}

@test "connections: both sides may be restarted in any order" {
    local i
    spawn work tasker-work --id a
    steps Echo 1 1 | tasker-publish >receipts
    spawn collect tasker-collect --all -v --count 9
    wait_until 10 more_lines collect.out batch_completion 0
    for i in 2 3; do
        signal work KILL
        finish work
        spawn work tasker-work --id a
        steps Echo $i $i | tasker-publish >>receipts
        wait_until 10 more_lines collect.out batch_completion $((i - 1))
    done
    finish_with 0 collect
    cat receipts collect.out | tasker-reconcile >out
    [ "$(verdicts out)" = "3 consistent" ]
}

@test "connections: the end is bounded by linger, and tells that not all may have left" {
    cat >slow.py <<'END'
import sys, zmq
s = zmq.Context().socket(zmq.SUB)
s.setsockopt(zmq.RCVHWM, 1)
s.connect(sys.argv[1])
s.subscribe("partial_result")
sys.stdin.read()
END
    mkfifo hold && exec {HOLD}<>hold
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=30s
    spawn work tasker-work -v --set zeromq.linger=300ms --id a
    spawn slow /usr/bin/python3 slow.py "$TASKER_ZEROMQ_RESULT_ENDPOINT" <hold
    wait_line work.err 'a peer subscribed to "partial_result"'
    signal slow STOP
    steps Big 1 40 | tasker-publish --batch-size 10 >receipts
    tasker-collect --timeout 60s receipts >results
    signal work TERM
    finish_with 0 work 20
    wait_line work.err "warning: $TASKER_ZEROMQ_RESULT_ENDPOINT: closed before all had left"
    signal slow CONT
}

# ---- names that nobody tells

@test "localhost can be bound" {
    local p
    p=$(port)
    spawn p tasker-publish --batch-endpoint "tcp://localhost:$p" <<<'{"message_type":"step","step_id":1,"task_id":1,"step_name":"s","handler_class":"H"}'
    printf 'handlers: {"*": {command: [cat]}}\n' >h.yaml
    spawn w tasker-work --handlers h.yaml --batch-endpoint "tcp://127.0.0.1:$p" --result-endpoint "tcp://localhost:$(port)"
    finish_with 0 p
    [ ! -s w.err ]
}

# Runs a script where the server of all names is silent, for 20 s at each that is asked for.
without_names() { # SCRIPT
    : >told
    unshare -rmn sh -c 'ip link set lo up && mount --bind told /etc/resolv.conf' 2>/dev/null ||
        skip "no namespaces here"
    cat - >silent.sh <<'END'
set -e
ip link set lo up
echo 'hosts: files dns' >nsswitch.conf
printf 'nameserver 127.0.0.1\noptions timeout:10 attempts:2\n' >resolv.conf
for f in nsswitch.conf resolv.conf; do mount --bind $f /etc/$f; done
mkfifo server
/usr/bin/python3 -c 'if True:
    import signal, socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    print("silent", flush=True)
    signal.pause()' >server &
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
read -r _ <server
timeout 0.5 getent hosts worker9.example.com || [ $? -eq 124 ] || exit 77
END
    {
        declare -p PATIENCE
        declare -f now_ms nap wait_until file_has_line wait_line
        printf '%s\n' 'exec {NAP}<> <(:)' "$1"
    } >>silent.sh
    spawn silent unshare -rmn bash silent.sh
    finish silent 40
    [ "$status" -ne 77 ] || skip "names are told here in another way"
    [ "$status" -eq 0 ]
}

@test "connections: a name that nobody tells holds up no other of a collector" {
    steps Echo 1 6 >in
    without_names '
        tasker-work &
        tasker-publish --batch-size 3 in >r
        tasker-collect --timeout 20s --result-endpoint \
            "$TASKER_ZEROMQ_RESULT_ENDPOINT,tcp://worker9.example.com:5556" <r >listed || true
        jq -c "select(.batch_id)|.batch_id=\"other\"|.worker_id=\"w9\"|.source=\"w9\"|
            .result_endpoint=\"tcp://worker9.example.com:5556\"" r | head -n 1 >other
        cat other r | tasker-collect --timeout 20s >received || true'
    for out in listed received; do
        tasker-reconcile <$out >$out.verdicts || true
        [ "$(jq -r 'select(.message_type=="batch_reconciled" and .batch_id!="other")|.verdict' \
            $out.verdicts | xargs)" = "consistent consistent" ]
    done
    [ "$(runs)" = "$(seq -s ' ' 1 6)" ]
}

@test "connections: a name that nobody tells keeps a worker from no other publisher, and is told" {
    steps Echo 1 4 >in
    without_names '
        tasker-work -v --batch-endpoint \
            "tcp://publisher9.example.com:5555,$TASKER_ZEROMQ_BATCH_ENDPOINT" 2>work.err &
        work=$!
        tasker-publish --wait 15s in | tasker-collect --timeout 60s >out
        wait_line work.err "still being looked up"
        kill $work
        wait $work'
    [ "$(tasker-reconcile <out | jq -r .verdict | xargs)" = consistent ]
    has "info: tcp://publisher9.example.com:5555: looking up its host" work.err
    has "warning: tcp://publisher9.example.com:5555: its host is still being looked up: no answer for 5 s" work.err
}

@test "connections: a name that nobody tells costs tasker-status no more than its time" {
    without_names '
        for what in endpoints workers; do
            status=0
            timeout 15 tasker-status $what --timeout 1s tcp://worker9.example.com:5556 \
                >$what.told || status=$?
            echo "$what $status"
        done'
    cat silent.out
    has "is not known in time" endpoints.told
    ! grep 124 silent.out
}

# ---- who only looks

@test "connections: a program that only looks says upstream neither that it is alive nor anything else" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=50ms TASKER_TASKS_PATH=$PWD/tasks
    local results=$TASKER_ZEROMQ_RESULT_ENDPOINT
    local peer=(/usr/bin/python3 "$ROOT/tests/status_peer.py")
    # Shown by its first byte: 1 and 0 are subscriptions, a is a message.
    said() { grep -v -e '^ready$' -e '^heard [01] ' peer.out; }
    mkdir tasks store
    echo '{name: one, step_templates: [{name: only, handler_class: "Test::Echo"}]}' >tasks/one.yaml
    spawn peer "${peer[@]}" mute "$results"
    wait_line peer.out ready
    run tasker-status endpoints --timeout 300ms result_endpoint
    run tasker-status workers --timeout 300ms "$results"
    run tasker-collect --tap --timeout 300ms "$results"
    spawn plain "${peer[@]}" plain "$TASKER_ZEROMQ_BATCH_ENDPOINT"
    steps Echo 1 1 | tasker-publish --wait 2s >receipt
    store_begin sqlite
    echo '{"context": {}}' | tasker-submit -T one >submitted
    tasker-ready >batch
    store_sql "update batches set published_at = created_at, accepted_by = 'w1', source = 's', result_endpoint = '$results'"
    tasker-ready --explain 1 >explained
    has "w1 does not answer" explained
    [ "$(grep -c 'heard 1 status\.' peer.out)" = 3 ]
    [ -z "$(said)" ]
    # it would be heard
    spawn collect tasker-collect --set store.url=none --follow
    wait_line peer.out 'heard 97 live'
    signal collect TERM
    finish collect
}
