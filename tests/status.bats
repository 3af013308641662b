#!/usr/bin/env bats
# tasker-status: the configuration with its origins, and endpoints with all that can stand there.
load helper

PY=/usr/bin/python3

setup() {
    test_begin
    endpoints
    steps=$TASKER_ZEROMQ_BATCH_ENDPOINT results=$TASKER_ZEROMQ_RESULT_ENDPOINT
}

# Starts the peer KIND at an endpoint and waits until it is there.
peer() {
    spawn "$1" "$PY" "$ROOT/tests/status_peer.py" "$1" "$2"
    wait_line "$1.out" '^ready$'
}

# Runs tasker-status: stdout to out, stderr to err, status checked.
status_is() {
    local want=$1 got=0
    shift
    tasker-status "$@" >out 2>err || got=$?
    [ "$got" -eq "$want" ] && return
    echo "status $got, wanted $want" >&2
    cat out err >&2
    return 1
}

# Checks a jq expression over the JSON lines in out.
holds() {
    jq -es "$1" out >/dev/null && return
    echo "does not hold: $1" >&2
    cat out >&2
    return 1
}

@test "status: bad input" {
    mkdir -p dir
    : >file
    printf 'zeromq:\n  batch_endpint: "tcp://127.0.0.1:1"\n' >typo.yaml
    printf 'zeromq: [\n' >broken.yaml
    printf 'zeromq:\n  send_window: many\n' >wrong.yaml
    printf 'zeromq:\n  batch_endpoint: "tcp://127.0.0.1:99999"\n' >port.yaml
    printf 'zeromq:\n  enabled: false\n' >off.yaml
    export gone=$(printf 'x%.0s' {1..200})
    run_case_table tasker-status <<'END'
no subcommand |  | - | 64 | a subcommand is missing: there are config, endpoints, workers, tasks
unknown subcommand | zzz | - | 64 | unknown subcommand "zzz"
nearest subcommand | endpoint | - | 64 | did you mean endpoints?
nearest subcommand 2 | confg | - | 64 | did you mean config?
empty subcommand | '' | - | 64 | unknown subcommand ""
terminal bytes | $'a\e[2J' | - | 64 | a\x1b[2J
unknown option | config --zzz | - | 64 | unknown option --zzz
nearest option | endpoints --timeot 1s | - | 64 | did you mean --timeout?
unknown letter | config -Z | - | 64 | unknown option -Z
timeout without value | endpoints --timeout | - | 64 | needs a value
timeout no duration | endpoints --timeout soon | - | 64 | is not a duration
timeout zero | endpoints --timeout 0 | - | 64 | --timeout
timeout negative | endpoints --timeout -1s | - | 64 | --timeout
timeout too long | endpoints --timeout 99999h | - | 64 | --timeout
format unknown | config --format xml | - | 64 | "xml" is not allowed here (can be: text, json, prometheus)
format empty | config --format '' | - | 64 | is not allowed here (can be: text, json, prometheus)
timeout for config | config --timeout 1s | - | 64 | --timeout is for endpoints and workers
listen for config | config --listen | - | 64 | --listen is for endpoints
unknown section | config zero | - | 64 | "zero" is no section or key
nearest section | config zeromp | - | 64 | did you mean zeromq?
nearest key | config zeromq.batch_endpont | - | 64 | did you mean zeromq.batch_endpoint?
section and dot | config zeromq. | - | 64 | "zeromq." is no section or key
good key then bad | config zeromq.linger nope | - | 64 | "nope" is no section or key
no endpoint | endpoints 127.0.0.1:5555 | - | 64 | 127.0.0.1:5555
nearest endpoint name | endpoints batch_endpont | - | 64 | did you mean batch_endpoint?
unknown transport | endpoints inproc://x | - | 64 | inproc://x
port too large | endpoints tcp://127.0.0.1:70000 | - | 64 | 70000
port missing | endpoints tcp://127.0.0.1 | - | 64 | tcp://127.0.0.1
port any | endpoints 'tcp://127.0.0.1:*' | - | 69 | its port is chosen when it is bound
ipc without path | endpoints ipc:// | - | 64 | ipc://
ipc path too long | endpoints ipc:///$gone | - | 64 | too long
unknown host | endpoints tcp://nosuch.invalid:1 | - | 69 | its host is not known
a bad one stops all | endpoints tcp://127.0.0.1:1 nonsense | - | 64 | nonsense
no config file | config -c gone.yaml | - | 78 | gone.yaml
config is a folder | config -c dir | - | 78 | dir
broken yaml | config -c broken.yaml | - | 78 | broken.yaml:
unknown key | config -c typo.yaml | - | 78 | typo.yaml:2
nearest of file | config -c typo.yaml | - | 78 | batch_endpoint
wrong value | config -c wrong.yaml | - | 78 | wrong.yaml:2
wrong port in file | endpoints -c port.yaml | - | 78 | port.yaml:2
sockets are off | endpoints -c off.yaml | - | 78 | zeromq.enabled is false
bad --set | config --set zeromq.linger | - | 64 | zeromq.linger
unknown --set | config --set zeromq.lingr=1s | - | 64 | zeromq.linger
bad variable | endpoints --batch-endpoint nowhere | - | 64 | nowhere
full disk | config >/dev/full | - | 74 | No space left
full disk, endpoints | endpoints ipc:///gone >/dev/full | - | 74 | No space left
closed stdout | config >&- | - | 74 | standard output
nothing listens | endpoints | - | 69 | batch_endpoint tcp://127.0.0.1:
a plain file | endpoints ipc://file | - | 69 | nothing listens
END
}

@test "status: a reader that went away is 74, in one line" {
    mkfifo pipe
    exec 7<>pipe 8>pipe 7>&-
    # The only reader is gone, so the first write fails whatever the time is.
    local got=0
    tasker-status config >&8 2>err || got=$?
    exec 8>&-
    [ "$got" -eq 74 ]
    [ "$(wc -l <err)" -eq 1 ]
    has "standard output: Broken pipe" err
}

@test "status config: values and where they came from" {
    cat >c.yaml <<'END'
zeromq:
  linger: 3s
  send_window: 7
production:
  zeromq:
    send_window: 9
END
    export TASKER_RETRY_BASE=5s
    status_is 0 config -c c.yaml -e production --set retry.cap=9s --result-endpoint ipc:///x
    grep -Eq '^file +c.yaml$' out
    grep -Eq '^environment +production$' out
    grep -Eq '^zeromq.linger +3s +c.yaml:2$' out
    grep -Eq '^zeromq.send_window +9 +c.yaml:6$' out
    grep -Eq '^zeromq.batch_endpoint +tcp://[^ ]+ +.TASKER_ZEROMQ_BATCH_ENDPOINT$' out
    grep -Eq '^zeromq.result_endpoint +ipc:///x +--result-endpoint$' out
    grep -Eq '^retry.base +5s +.TASKER_RETRY_BASE$' out
    grep -Eq '^retry.cap +9s +--set$' out
    grep -Eq '^worker.id +"" +default$' out
    status_is 0 config -c c.yaml -f json
    holds 'length == 1 and .[0].message_type == "configuration" and .[0].file == "c.yaml"'
    holds '.[0].environment == "development" and (.[0].values | length) > 30'
    holds '.[0].values["zeromq.linger"] | .value == 3000 and .unit == "ms" and .origin == "c.yaml:2"'
    holds '.[0].values["zeromq.enabled"].value == true'
    holds '.[0].values["zeromq.max_message_bytes"] | .value == 16777216 and .unit == "bytes"'
    holds '.[0].values["zeromq.batch_bind"].value == "publisher"'
}

@test "status config: sections and keys limit it, all columns align" {
    status_is 0 config retry zeromq.linger
    [ "$(awk 'NR > 4 {print $1}' out | xargs)" = "zeromq.linger retry.base retry.cap retry.jitter" ]
    [ "$(awk 'NR > 3 {print index($0, $2)}' out | sort -u | wc -l)" -eq 1 ]
    status_is 0 config log.level -f json
    holds '.[0].values | keys == ["log.level"]'
    status_is 0 config
    [ ! -s err ]
    grep -q '^file  *none' out
}

@test "status endpoints: nobody there" {
    status_is 69 endpoints
    has "batch_endpoint: nothing listens" out
    has "by zeromq.batch_bind the publisher binds it, only while it runs" out
    has "by zeromq.result_bind the worker binds it" out
    has "batch_endpoint $steps: nothing listens" err
    has "result_endpoint $results: nothing listens" err
    status_is 69 endpoints -f json --set zeromq.batch_bind=worker --set zeromq.result_bind=collector
    holds 'map(.name) == ["batch_endpoint", "result_endpoint"] and all(.[]; .ok == false)'
    holds 'all(.[]; .state == "refused" and .connect_ms == null and .handshake_ms == null)'
    holds '.[0].cause | contains("by zeromq.batch_bind the worker binds it") and contains("both sides connect")'
    holds '.[1].cause | contains("while no tasker-collect runs")'
    status_is 69 endpoints ipc:///gone/s
    has "no such socket" out
}

@test "status endpoints: a plain PUB answers nothing, and is there" {
    peer pub "$results"
    status_is 0 endpoints result_endpoint -t 5s
    has "handshake ok; the peer tells nothing about itself: a plain peer" out
    has "(pid ${PIDS[pub]})" out
    [ ! -s err ]
    status_is 0 endpoints "$results" -t 5s -f json
    holds '.[0] | .ok and .state == "ok" and .name == "result_endpoint" and .peer == "plain"'
    holds '.[0] | .handshake_ms >= .connect_ms and .handshake_ms > 0'
    holds ".[0].holder | endswith(\"(pid ${PIDS[pub]})\")"
    status_is 69 endpoints -t 5s
    has "batch_endpoint $steps: nothing listens" err
    [ "$(wc -l <err)" -eq 1 ]
}

@test "status endpoints: a publisher and a worker tell of themselves" {
    peer publisher "$steps"
    peer worker-sender "$results"
    status_is 69 endpoints -t 10s # the worker takes its batches at another port
    has "result_endpoint: a worker is there, but it takes batches from tcp://127.0.0.1:9: what is published at $steps never reaches it; give both the same batch_endpoint" out
    has "result_endpoint $results: the worker there takes its batches elsewhere" err
    has "publisher (pid 77): workers: 1, plain subscribers: 1; worker w1\\x1b[31m: 4 unanswered, 2 queued, 3 free" out
    has "worker w7 (pid 78 on h): ready; 1 running, 2 queued, 9 of 10 free; 5 accepted, 6 completed, 7 failed; results 3 to 12 held, 8 lost; collectors: 2" out
    has "it takes batches from tcp://127.0.0.1:9; here batch_endpoint is $steps (\$TASKER_ZEROMQ_BATCH_ENDPOINT)" out
    status_is 0 endpoints -t 10s --batch-endpoint tcp://127.0.0.1:9 result_endpoint
    [ "$(grep -c 'here batch_endpoint is' out)" -eq 0 ]
    status_is 0 endpoints -t 10s --batch-endpoint "tcp://localhost:9" result_endpoint # by another name
    has "here batch_endpoint is tcp://localhost:9" out
    status_is 69 endpoints -t 10s -f json
    holds 'map([.peer, .ok, .state]) == [["publisher", true, "ok"], ["worker", false, "other_batches"]]'
    holds '.[0].peer_status.workers[0].free_slots == 3 and .[1].peer_status.worker_id == "w7"'
    [ "$(grep -c $'\e' out)" -eq 0 ]
    # It asked on a topic of its own, which it left again.
    wait_line worker-sender.out '^heard 0 status\.[0-9a-f-]+ $'
    [ "$(grep '^heard' worker-sender.out | grep -vc ' status\.')" -eq 0 ]
}

@test "status endpoints: a publisher and a worker in each other's place" {
    peer worker-sender "$steps"
    peer publisher "$results"
    status_is 69 endpoints -t 10s
    has "batch_endpoint: a worker listens, and results come from here: is this the result_endpoint?" out
    has "result_endpoint: a publisher listens, and batches come from here: is this the batch_endpoint?" out
    has "batch_endpoint $steps: the wrong program is there" err
    status_is 69 endpoints -t 10s -f json
    holds 'map([.ok, .state, .peer]) == [[false, "wrong_peer", "worker"], [false, "wrong_peer", "publisher"]]'
    status_is 0 endpoints -t 10s "${steps/127.0.0.1/localhost}" # no configured one: no opinion
}

@test "status endpoints: answers that are no status" {
    peer odd "$steps"
    peer rubbish "$results"
    status_is 0 endpoints -t 5s
    has "batch_endpoint: publisher (pid " out
    has "workers: 2, plain subscribers: ?; worker ?: ? unanswered" out
    has "its answer is no status" out
    has "a plain peer" out
}

@test "status endpoints: what else may listen" {
    local kind want cause
    while read -r kind want cause; do
        peer "$kind" "tcp://127.0.0.1:${p:=$(port)}"
        status_is 69 endpoints -t 5s "tcp://127.0.0.1:$p"
        grep -q " $want " out
        has "$cause" out
        status_is 69 endpoints -t 5s "tcp://127.0.0.1:$p" -f json
        holds ".[0] | .state == \"$want\" and .ok == false and .peer == null"
        unset p
    done <<'END'
silent silent something else listens, python3 (pid
closes closed it closes the connection at once
http foreign it says "HTTP/1.1 400 Bad Request"
banner foreign it says "SSH-2.0-.[2Jx"
rep handshake handshake refused: the peer is a REP socket
END
}

@test "status endpoints: a worker that is stopped is told as that, and not as something else" {
    printf 'handlers: {"*": {command: [cat]}}\n' >handlers.yaml
    spawn w tasker-work --handlers handlers.yaml --batch-endpoint "$steps" --result-endpoint "$results"
    wait_until 10 tasker-status endpoints result_endpoint >out 2>err
    signal w STOP
    status_is 69 endpoints result_endpoint -t 1s
    has "result_endpoint: tasker-work (pid ${PIDS[w]}, stopped) listens and does not answer: a signal stopped it; SIGCONT lets it go on" out
    has "result_endpoint $results: it listens and does not answer" err
    run -75 --separate-stderr tasker-collect --set zeromq.result_bind=collector --follow
    has "cannot bind $results: port ${results##*:} is held by tasker-work (pid ${PIDS[w]}, stopped)" "$stderr"
    signal w CONT
    wait_until 10 tasker-status endpoints result_endpoint >out 2>err
}

@test "status endpoints: a port that is held on another address is told as that" {
    spawn p tasker-publish --batch-endpoint "tcp://127.0.0.2:${steps##*:}" <<<'{"message_type":"step","step_id":1,"task_id":1,"step_name":"s","handler_class":"H"}'
    held_there() { tasker-status endpoints batch_endpoint >out 2>err || grep -q 'tasker-publish (pid' out; }
    wait_until 10 held_there
    has "batch_endpoint: nothing listens (connection refused); tasker-publish (pid ${PIDS[p]}) listens at this port, on another address of this machine: connect to that one, or bind this one (ss -ltn shows both)" out
}

@test "status endpoints: a subscriber that binds, and both sides bind" {
    peer sub "$steps"
    status_is 0 endpoints batch_endpoint --set zeromq.batch_bind=worker
    has "handshake ok; the peer subscribes: workers: w9" out
    status_is 69 endpoints batch_endpoint -f json
    holds '.[0] | .state == "both_bind" and .peer == "subscriber"'
    holds '.[0].cause | contains("zeromq.batch_bind") and contains("both sides bind")'
    holds '.[0].subscriptions | map(.topic) | sort == ["steps", "worker.w9 "]'
    has "both sides bind" err
    peer pub "$results"
    status_is 69 endpoints result_endpoint -t 5s --set zeromq.result_bind=collector
    has "the side that sends listens, but by zeromq.result_bind the collector binds it" out
}

@test "status endpoints: several, by list, name, address and path" {
    peer publisher "ipc://$PWD/s"
    export TASKER_ZEROMQ_BATCH_ENDPOINT="$steps,ipc://$PWD/s"
    peer pub "$results"
    status_is 69 endpoints -t 5s -f json
    holds 'map(.ok) == [false, true, true] and map(.name)[0:2] == ["batch_endpoint", "batch_endpoint"]'
    holds '.[1].peer == "publisher" and .[1].holder == null'
    p=${results##*:}
    status_is 0 endpoints -t 5s "tcp://localhost:$p" "tcp://0.0.0.0:$p" "ipc://$PWD/s" -f json
    holds 'map(.ok) == [true, true, true]'
    holds ".[1].address == \"tcp://127.0.0.1:$p\" and .[0].name == null"
}

@test "status endpoints --listen: who tries to connect" {
    peer worker "$steps"
    peer plain "$steps"
    status_is 69 endpoints --listen -t 5s batch_endpoint -f json
    holds '.[0] | .state == "refused" and .peer == "listened"'
    holds '.[0].subscriptions | map({(.topic): .count}) | add == {"steps": 2, "worker.w2 ": 1}'
    status_is 69 endpoints --listen -t 5s batch_endpoint
    has "listened there for 5000 ms: workers: w2; topics: \"steps\"" out
    has "nothing listened, and a worker connects here: the publisher that binds it by zeromq.batch_bind does not run; if it does, it connects too" out
    status_is 69 endpoints --listen -t 5s batch_endpoint --set zeromq.batch_bind=worker -f json
    holds '.[0].state == "both_connect"'
    holds '.[0].cause | startswith("both sides connect: by zeromq.batch_bind the worker binds it, and it connected here; set zeromq.batch_bind alike")'
    # Nothing is left: the port is free again.
    status_is 69 endpoints batch_endpoint
}

@test "status endpoints --listen: leaves no file, spares files, ends early at a signal" {
    status_is 69 endpoints --listen -t 100ms "ipc://$PWD/s"
    has "listened there for 100 ms: nobody subscribed" out
    [ ! -e s ]
    echo keep >file
    status_is 69 endpoints --listen -t 5s "ipc://$PWD/file"
    has "which is no socket" out
    [ "$(cat file)" = keep ]
    spawn listen tasker-status endpoints --listen -t 1h "ipc://$PWD/s"
    wait_until 10 test -S s
    signal listen TERM
    finish_with 69 listen 5
    has "nobody subscribed" listen.out
    [ ! -e s ]
}

@test "status endpoints --listen: does not disturb one that is there" {
    peer pub "$steps"
    status_is 0 endpoints --listen -t 5s batch_endpoint -f json
    holds '.[0] | .ok and .peer == "plain" and .subscriptions == null'
}

@test "status endpoints: the true publisher and worker" {
    printf 'handlers:\n  "T::*": {command: [cat]}\n' >h.yaml
    export TASKER_WORKER_HANDLERS=$PWD/h.yaml TASKER_WORKER_ID=w-true
    spawn worker tasker-work
    wait_until 10 tasker-status endpoints result_endpoint -t 1s >out 2>err
    status_is 69 endpoints --listen -t 5s batch_endpoint
    has "workers: w-true" out
    mkfifo steps
    exec 7<>steps
    spawn publish tasker-publish steps 7>&-
    wait_until 10 tasker-status endpoints -t 1s >out 2>err
    status_is 0 endpoints -t 10s -f json
    holds 'map(.peer) == ["publisher", "worker"]'
    holds ".[0].peer_status.pid == ${PIDS[publish]} and .[1].peer_status.pid == ${PIDS[worker]}"
    holds '.[1].peer_status | .worker_id == "w-true" and .state == "ready" and .collectors == 0'
    exec 7>&-
    signal worker TERM
    finish worker
    finish publish
}
