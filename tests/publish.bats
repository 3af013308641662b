#!/usr/bin/env bats
# tasker-publish: bad input by a table, then its behaviour with workers that are small Python peers.
load helper

peer() { # NAME OPTION...: starts a worker
    local name=$1
    shift
    spawn "$name" /usr/bin/python3 "$ROOT/tests/publish_peer.py" "$@"
}

setup() {
    test_begin
    endpoints
    E=$TASKER_ZEROMQ_BATCH_ENDPOINT
    export TASKER_ZEROMQ_RESEND_AFTER=60s # so that a busy machine does not add to what is counted
    cat >steps.jsonl <<'END'
{"step_id":1,"task_id":5,"step_name":"a","handler_class":"H"}
{"step_id":2,"task_id":5,"step_name":"b","handler_class":"H","handler_config":{"timeout_seconds":1.5}}
{"step_id":3,"task_id":5,"step_name":"c","handler_class":"H","metadata":{"attempt":2}}
END
    cat >batch.jsonl <<'END'
{"batch_id":"B1","steps":[{"step_id":7,"task_id":5,"step_name":"a","handler_class":"H","x":1.50}]}
END
}

batches() { # N: so many batches of one step
    local i
    for ((i = 1; i <= $1; i++)); do
        printf '{"batch_id":"B%d","steps":[{"step_id":%d,"task_id":5,"step_name":"a","handler_class":"H"}]}\n' $i $i
    done
}

lines_of() { grep -c "$2" "$1" || true; }
lines_are() { [ "$(lines_of "$2" "$3")" -eq "$1" ]; }

# publish_to N OPTION...: starts pub, which gets what stdin has when N workers are registered; or it
# has told N times what $TOLD matches
publish_to() {
    local count=$1
    shift
    mkfifo lines
    exec 9<>lines
    spawn pub tasker-publish -v "$@" <lines 9>&-
    wait_until 20 lines_are "$count" pub.err "${TOLD:-worker .*: registered}"
    cat >&9
    exec 9>&-
}

@test "bad input: each case has its reason, its status, and costs nothing else" {
    S='"task_id":5,"step_name":"a","handler_class":"H"}'
    export S B='{"steps":[{"step_id":1,'"$S"']}'
    head -c 3000 /dev/zero | tr '\0' x >long
    printf '{"batch_id":"bin","a":"\xff\xfe","steps":[]}\n' >utf8
    printf '{"step_id":1,\0"task_id":1}\n' >nul
    { cat batch.jsonl; cat batch.jsonl; } >twice
    { cat steps.jsonl; head -n 1 steps.jsonl; } >same
    printf '%s\n' '{"step_id":1,'"$S" '{"step_id":1,"metadata":{"attempt":2},'"$S" >attempts
    printf '{"batch_id":"a b","steps":[{"step_id":1,%s]}\n' "$S" >name
    printf '{"message_type":7,"steps":[]}\n' >type
    printf '{"steps":[{"step_id":1,%s,{"step_id":1,%s]}\n' "$S" "$S" >dup
    printf '{"step_id":99999999999999999999,%s\n' "$S" >huge
    printf '{"steps":%s1%s}\n' "$(printf '[%.0s' {1..80})" "$(printf ']%.0s' {1..80})" >deep
    printf '{"batch_id":"b","steps":[{"step_id":1,"metadata":{"timeout_ms":-1},%s]}\n' "$S" >timeout
    printf 'zeromq:\n  wiat: 3s\n' >bad.yaml
    mkdir folder
    cat >table <<'END'
empty input                | -n                            | -      | 0
blank lines                | -n                            | \n\n   | 0
malformed JSON             | -n                            | {"a":\n | 65 | -:1: malformed JSON
no object                  | -n                            | [1]\n  | 65 | -:1: not a JSON object
a number                   | -n                            | 7\n    | 65 | -:1: not a JSON object
null                       | -n                            | null\n | 65 | -:1: not a JSON object
neither                    | -n                            | {}\n   | 65 | neither a batch
no steps in it             | -n                            | {"steps":[]}\n | 65 | -:1: steps is empty
steps is no array          | -n                            | {"steps":7}\n | 65 | steps is not an array
a step is no object        | -n                            | {"steps":[7]}\n | 65 | step 1: the step is not an object
batch without steps        | -n                            | {"message_type":"batch"}\n | 65 | steps is missing
step without id            | -n                            | {"message_type":"step"}\n | 65 | step_id is missing
step_id of a wrong type    | -n                            | {"step_id":"1"}\n | 65 | step_id is not an integer
step_id 0                  | -n                            | {"step_id":0}\n | 65 | step_id is not positive
no task_id                 | -n                            | {"step_id":1}\n | 65 | task_id is missing
no step_name               | -n                            | {"step_id":1,"task_id":1}\n | 65 | step_name is missing
empty handler_class        | -n                            | {"step_id":1,"task_id":1,"step_name":"a","handler_class":""}\n | 65 | handler_class is empty
NUL in a text              | -n                            | {"step_id":1,"task_id":1,"step_name":"a\\u0000"}\n | 65 | step_name holds a NUL
message_type is no text    | -n type                       | -      | 65 | type:1: message_type is not a string
bad batch_id               | -n name                       | -      | 65 | name:1: batch_id is not 1 to 128
the same batch twice       | -n twice                      | -      | 65 | twice:2: batch_id B1 was used before
the same step in a batch   | -n dup                        | -      | 65 | dup:1: step 2: step_id 1 is in the batch twice
the same step in a group   | -n same                       | -      | 65 | same:4: step_id 1 is in the batch twice (first in same:1)
two attempts of a step     | -n attempts                   | -      | 0
beyond 64 bits             | -n huge                       | -      | 65 | huge:1: step_id is not an integer
nested too deep            | -n deep                       | -      | 65 | deep:1: JSON is nested deeper
a time limit below 0       | -n timeout                    | -      | 65 | metadata.timeout_ms is not in 0 to
invalid UTF-8              | -n utf8                       | -      | 65 | utf8:1: invalid UTF-8
a NUL byte                 | -n nul                        | -      | 65 | nul:1:
a line over the limit      | -n --set zeromq.max_message_bytes=2K long | - | 65 | long:1: line of over 2048 bytes
a batch over the limit     | -n --set zeromq.max_message_bytes=1K | {"a":"%970s","step_id":1,"task_id":1,"step_name":"a","handler_class":"H"}\n | 65 | over 1024 bytes
no newline at the end      | -n                            | {"step_id":1,"task_id":1,"step_name":"a","handler_class":"H"} | 0
no such file               | -n nowhere                    | -      | 74 | nowhere: cannot open
a folder                   | -n folder                     | -      | 74 | folder:
a full disk                | -n batch.jsonl >/dev/full     | -      | 74 | standard output
unknown option             | --wiat 3s                     | -      | 64 | did you mean --wait
no value                   | --wait                        | -      | 64 | needs a value
no duration                | --wait soon                   | -      | 64 | soon
batch size 0               | --batch-size 0                | -      | 64 | --batch-size
batch size is no number    | --batch-size ten              | -      | 64 | ten
workers below 1            | --workers 0                   | -      | 64 | --workers
no endpoint                | --batch-endpoint nowhere -n   | -      | 64 | nowhere
an unknown key             | -c bad.yaml -n                | -      | 78 | did you mean "zeromq.wait"
no such configuration      | -c nowhere.yaml -n            | -      | 78 | nowhere.yaml
sockets switched off       | --set zeromq.enabled=false batch.jsonl | - | 78 | zeromq.enabled is false
no worker                  | --wait 0 batch.jsonl          | -      | 75 | not sent: batch B1 (batch.jsonl:1)
an address of another      | --batch-endpoint tcp://192.0.2.1:5 batch.jsonl | - | 69 | cannot bind tcp://192.0.2.1:5: this machine has no such address; * is all it has
no such host               | --batch-endpoint tcp://nohost.invalid:5 batch.jsonl | - | 69 | nohost.invalid:5: its host is neither an address nor an interface of this machine
not our address            | --batch-endpoint tcp://192.0.2.1:5 batch.jsonl | - | 69 | cannot bind
END
    run_case_table tasker-publish <table
}

@test "a bad line costs the status, and the others are done" {
    { echo oops; cat batch.jsonl; echo '{"step_id":1}'; } >mixed
    peer w "$E" --id w
    run tasker-publish mixed nowhere steps.jsonl
    [ "$status" -eq 74 ]
    has "mixed:1: malformed JSON" "$output"
    has "mixed:3: task_id is missing" "$output"
    has "nowhere: cannot open" "$output"
    has '"batch_id":"B1"' "$output"
    has '"step_ids":[1,2,3]' "$output"
}

@test "--dry-run prints the bytes that came, with what was missing put in, and passes lines on" {
    printf '%s\n' '{"message_type":"hello","z" :1,"a":2}' >>batch.jsonl
    printf ' { "steps" : [{"step_id":8,"task_id":5,"step_name":"é/","handler_class":"H"}], "n":1e2}\n' >>batch.jsonl
    run tasker-publish -n batch.jsonl
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == '{"protocol_version":"2.0","created_at":"20'*'","batch_id":"B1","steps":[{"step_id":7,"task_id":5,"step_name":"a","handler_class":"H","x":1.50}]}' ]]
    [ "${lines[1]}" = '{"message_type":"hello","z" :1,"a":2}' ]
    [[ ${lines[2]} == ' {"batch_id":"'*'","protocol_version":"2.0","created_at":"20'*'", "steps" : [{"step_id":8,"task_id":5,"step_name":"é/","handler_class":"H"}], "n":1e2}' ]]
}

@test "what --dry-run prints is accepted as it is, and not changed again" {
    tasker-publish -n steps.jsonl batch.jsonl >one
    tasker-publish -n one >two
    cmp one two
}

@test "a batch_id of null is replaced" {
    echo '{"batch_id":null,"steps":[{"step_id":8,"task_id":5,"step_name":"a","handler_class":"H"}]}' >null
    run tasker-publish -n null
    [ "$status" -eq 0 ]
    ! grep null <<<"$output" || false
    has '"batch_id":"0' "$output"
}

@test "steps are grouped by --batch-size" {
    for i in {1..25}; do echo '{"step_id":'$i',"task_id":5,"step_name":"a","handler_class":"H"}'; done >many
    run tasker-publish -n many
    [ "${#lines[@]}" -eq 3 ]
    run tasker-publish -n --batch-size 5 many
    [ "${#lines[@]}" -eq 5 ]
    [ "$(tasker-publish -n -b 25 many | grep -o step_id | wc -l)" -eq 25 ]
}

@test "steps from a pipe leave after --batch-delay, before the pipe ends" {
    mkfifo pipe
    peer w "$E" --id w
    spawn pub tasker-publish --batch-delay 50ms <pipe &
    exec 9>pipe
    cat steps.jsonl >&9
    wait_line w.out '"step_id":3'
    exec 9>&-
}

@test "a receipt says who has the batch and what is in it" {
    peer w "$E" --id w1
    run tasker-publish steps.jsonl
    [ "$status" -eq 0 ]
    has '"message_type":"batch_published"' "$output"
    has '"delivery":"confirmed","worker_id":"w1","source":"11111111-1111-7111-8111-111111111111","result_endpoint":"tcp://127.0.0.1:9","total_steps":3,"step_ids":[1,2,3]' "$output"
    has '{"step_id":2,"task_id":5,"step_name":"b","handler_class":"H","attempt":1,"retry_limit":3,"timeout_ms":1500}' "$output"
    has '"attempt":2,"retry_limit":3,"timeout_ms":null}],"attempts":1}' "$output"
}

@test "the worker may come first or last, and gets the bytes of --dry-run" {
    spawn pub tasker-publish batch.jsonl -v <&-
    wait_line pub.err "listening"
    peer w "$E" --id w
    finish pub
    [ "$status" -eq 0 ]
    has 'worker.w {"protocol_version":"2.0",' w.out
    has '"batch_id":"B1","steps":[{"step_id":7,"task_id":5,"step_name":"a","handler_class":"H","x":1.50}]}' w.out
}

@test "plain subscribers get it all, and the receipt says that nobody confirmed it" {
    peer one "$E"
    peer two "$E"
    batches 20 >many
    TOLD='subscribed to "steps' publish_to 2 <many
    finish_with 0 pub
    [ "$(grep -c '"delivery":"unconfirmed","worker_id":null,"source":null,"result_endpoint":null' pub.out)" -eq 20 ]
    wait_line one.out '^steps .*"B20"'
    [ "$(lines_of one.out '^steps')" -eq 20 ]
}

@test "a peer that subscribes twice is there once, and gone when it leaves" {
    cat >twice.py <<'END'
import sys, zmq
context = zmq.Context()
socket = context.socket(zmq.XSUB)
socket.connect(sys.argv[1])
for topic in sys.argv[2:]:
    socket.send(b"\x01" + topic.encode() + b" ")
    socket.send(b"\x01" + topic.encode() + b" ")
socket.recv()
socket.close(0)
context.term()
END
    mkfifo in
    exec {IN}<>in
    spawn pub tasker-publish -v --wait 6s <in {IN}>&-
    batches 2 >two
    head -n 1 two >&"$IN"
    spawn peer /usr/bin/python3 twice.py "$E" steps
    finish_with 0 peer
    wait_line pub.err 'a peer ended its subscription to "steps "'
    [ "$(grep -c 'a peer subscribed to "steps "' pub.err)" -eq 1 ]
    tail -n 1 two >&"$IN"
    exec {IN}>&-
    finish_with 75 pub
    [ "$(grep -c '"subscribers":1' pub.out)" -eq 1 ]
    has 'not sent: batch B2' pub.err
}

@test "a registered worker gets a batch once, and plain subscribers beside it none" {
    peer plain "$E"
    peer w "$E" --id w
    wait_line plain.out ready
    batches 30 >many
    run tasker-publish --workers 1 many
    [ "$status" -eq 0 ]
    [ "$(lines_of w.out '^worker.w ')" -eq 30 ]
    [ "$(lines_of plain.out steps)" -eq 0 ]
}

@test "two workers share the batches" {
    peer a "$E" --id a
    peer b "$E" --id b
    batches 60 >many
    run tasker-publish --workers 2 many
    [ "$status" -eq 0 ]
    [ "$(lines_of a.out '^worker.a ')" -ge 15 ]
    [ "$(lines_of b.out '^worker.b ')" -ge 15 ]
    [ $(($(lines_of a.out '^worker.a ') + $(lines_of b.out '^worker.b '))) -eq 60 ]
}

@test "--workers 2 with one: nothing is sent, 75" {
    peer a "$E" --id a
    publish_to 1 --workers 2 --wait 300ms <batch.jsonl
    finish_with 75 pub
    has "1 registered" pub.err
    has "not sent: batch B1 (-:1)" pub.err
    [ "$(lines_of a.out B1)" -eq 0 ]
}

@test "no answer: it is sent again to the same worker, and the receipt counts it" {
    peer w "$E" --id w --ignore 2
    run --separate-stderr tasker-publish --set zeromq.resend_after=200ms batch.jsonl
    [ "$status" -eq 0 ]
    attempts=$(jq .attempts <<<"$output")
    [ "$attempts" -ge 3 ]
    wait_until 10 lines_are "$attempts" w.out '^worker.w '
}

@test "a worker that dies: another gets the batch once its own does not connect again" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=200ms
    peer a "$E" --id a --die 1
    spawn pub tasker-publish --set zeromq.resend_after=60s batch.jsonl -v <&-
    wait_line pub.err 'worker.a: gone'
    running pub
    peer b "$E" --id b
    finish pub
    [ "$status" -eq 0 ]
    has '"worker_id":"b"' pub.out
    has '"attempts":2' pub.out
}

@test "rejected by one: the other is tried" {
    peer a "$E" --id a --reject "no handler for H"
    peer b "$E" --id b
    batches 6 >many
    run tasker-publish --workers 2 many
    [ "$status" -eq 0 ]
    [ "$(grep -c '"delivery":"confirmed","worker_id":"b"' <<<"$output")" -eq 6 ]
}

@test "rejected by all: a batch_error in place of the receipt, 1, and the others are done" {
    peer a "$E" --id a --reject "no handler for H"
    peer b "$E" --id b --reject "no handler for H, here too"
    run tasker-publish --workers 2 batch.jsonl
    [ "$status" -eq 1 ]
    has '"message_type":"batch_error","batch_id":"B1","error":{"message":"no handler for H' "$output"
    has '"step_ids":[7]' "$output"
    has 'batch B1 (batch.jsonl:1) was rejected by every worker: no handler for H' "$output"
}

@test "nonsense from a peer is told and changes nothing" {
    peer w "$E" --id w --garbage
    run tasker-publish batch.jsonl
    [ "$status" -eq 0 ]
    has 'a peer sent a bad batch_accepted' "$output"
    has '"worker_id":"w"' "$output"
}

@test "two workers of one name get nothing" {
    peer a "$E" --id same
    peer b "$E" --id same
    publish_to 2 --wait 300ms <batch.jsonl
    finish_with 75 pub
    has "worker same: registered 2 times: give each worker its own worker.id" pub.err
    has 'no worker in time: several have the id "same", and so none of them is given a batch' pub.err
    [ $(($(lines_of a.out B1) + $(lines_of b.out B1))) -eq 0 ]
}

@test "no worker in time: 75, and every batch is named, to the end of the files" {
    batches 30 >many
    echo oops >>many
    echo '{"message_type":"hello"}' >>many
    run tasker-publish --set zeromq.send_window=4 --wait 200ms many steps.jsonl
    [ "$status" -eq 75 ]
    [ "$(grep -c 'not sent: batch B[0-9]* (many:[0-9]*)' <<<"$output")" -eq 30 ]
    has "not sent: batch 0" "$output"
    has "(steps.jsonl:1)" "$output"
    has "many:31: malformed JSON" "$output"
    has '{"message_type":"hello"}' "$output"
}

@test "no worker in time: of a pipe it says from which line on it was not read" {
    batches 30 >many
    mkfifo pipe
    exec 9<>pipe
    cat many >&9
    spawn writer bash -c 'exec >pipe 9>&-; : >writing; exec cat /dev/zero' # more than a pipe takes
    wait_until 10 test -e writing
    spawn pub tasker-publish --set zeromq.send_window=4 --wait 1s <pipe 9>&-
    exec 9>&-
    finish_with 75 pub
    finish writer
    has "not sent: batch B4 (-:4)" pub.err
    has "not sent: batch B30 (-:30)" pub.err
    has "input from line 31 on was not read" pub.err
}

@test "TERM with nothing in the pipe: 0, silently; with something that was read: 75" {
    mkfifo pipe
    exec 9<>pipe
    spawn pub tasker-publish <pipe
    peer w "$E" --id w
    cat batch.jsonl >&9
    wait_line pub.out B1
    signal pub TERM
    finish_with 0 pub
    [ ! -s pub.err ]
    spawn pub tasker-publish --batch-delay 1h -v <pipe
    wait_line pub.err listening
    head -n 1 steps.jsonl >&9 # a batch that waits for more steps
    wait_until 5 pipe_is_empty
    signal pub TERM
    finish_with 75 pub
    exec 9>&-
    [ "$(lines_of pub.err 'not sent: batch .* (-:1)')" -eq 1 ]
    [ "$(lines_of pub.err 'was not read')" -eq 0 ]
}
pipe_is_empty() { ! read -r -t 0 -u 9; }

@test "the port is in use: it is waited for, and told once who holds it" {
    spawn first tasker-publish --wait 20s batch.jsonl -v <&-
    wait_line first.err listening
    spawn second tasker-publish --wait 20s steps.jsonl <&-
    wait_line second.err 'held by tasker-publish.*pid.*waiting for it'
    peer w "$E" --id w
    finish first
    [ "$status" -eq 0 ]
    finish second
    [ "$status" -eq 0 ]
    [ "$(lines_of second.err 'held by')" -eq 1 ]
    has '"step_ids":[1,2,3]' second.out
}

@test "the port stays in use: 75, with the holder and the batches" {
    spawn first tasker-publish --wait 20s batch.jsonl -v <&-
    wait_line first.err listening
    run tasker-publish --wait 300ms batch.jsonl
    [ "$status" -eq 75 ]
    has "held by tasker-publish" "$output"
    has "not sent: batch B1 (batch.jsonl:1)" "$output"
}

@test "TERM while waiting: 75, and the batches are named" {
    spawn pub tasker-publish batch.jsonl -v <&-
    wait_line pub.err listening
    signal pub TERM
    finish pub
    [ "$status" -eq 75 ]
    has "stopped by a signal" pub.err
    has "not sent: batch B1 (batch.jsonl:1)" pub.err
}

@test "TERM with a batch at a worker that is silent: it is told apart" {
    peer w "$E" --id w --ignore 99
    spawn pub env --default-signal=INT tasker-publish batch.jsonl <&-
    wait_line w.out B1
    signal pub INT
    finish pub
    [ "$status" -eq 75 ]
    has "sent, not accepted: batch B1 (batch.jsonl:1), last to w" pub.err
}

@test "a worker that owes an answer for ten seconds is told" {
    peer w "$E" --id w --ignore 99
    spawn pub tasker-publish batch.jsonl <&-
    wait_line pub.err "worker w has not answered for 1[0-9] s" 20
}

@test "the window: no more is sent than may be unanswered, and stdin is left alone" {
    batches 50 >many
    peer w "$E" --id w --ignore 99999
    spawn pub tasker-publish --set zeromq.send_window=8 --set zeromq.resend_after=200ms <many
    wait_until 10 enough_resends
    [ "$(grep -o '"batch_id":"B[0-9]*"' w.out | sort -u | wc -l)" -eq 8 ]
}
enough_resends() { [ "$(lines_of w.out '"B8"')" -ge 3 ]; }

@test "a worker that answers late gets all of a long input, each batch run once" {
    batches 300 >many
    peer w "$E" --id w --slow 0.001
    run tasker-publish --set zeromq.send_window=16 many
    [ "$status" -eq 0 ]
    [ "$(grep -c '"confirmed"' <<<"$output")" -eq 300 ]
}

@test "the worker binds, the publisher connects" {
    peer w "$E" --id w --bind
    run tasker-publish --set zeromq.batch_bind=worker batch.jsonl
    [ "$status" -eq 0 ]
    has '"worker_id":"w"' "$output"
}

@test "the worker binds, a plain one, and the last message arrives" {
    peer w "$E" --bind
    wait_line w.out ready
    batches 200 >many
    run tasker-publish --set zeromq.batch_bind=worker many
    [ "$status" -eq 0 ]
    wait_line w.out '"B200"'
    [ "$(lines_of w.out '^steps ')" -eq 200 ]
}

@test "a peer that asks is told what is going on" {
    peer w "$E" --id w --ignore 99
    spawn pub tasker-publish batch.jsonl <&-
    wait_line w.out B1
    peer look "$E" --ask status.me
    wait_line look.out '^status.me '
    has '"message_type":"publisher_status"' look.out
    has '"workers":[{"worker_id":"w","registered":1,"queued":null,"free_slots":null,"unanswered":1}],"plain":0' look.out
}

@test "stdout goes away: no more batches are sent, 74" {
    batches 200 >many
    peer w "$E" --id w --slow 0.05
    run bash -c 'tasker-publish --set zeromq.send_window=2 many 2>pub.err | head -n 1 >first
        exit "${PIPESTATUS[0]}"'
    [ "$status" -eq 74 ]
    has '"batch_id":"B1"' first
    has "standard output: Broken pipe" pub.err
    [ "$(grep -c '^tasker-publish: error: .*batch B' pub.err)" -ge 100 ]
    [ "$(lines_of w.out '^worker.w ')" -lt 100 ]
}

@test "a full disk: 74, and what has no receipt is named" {
    batches 20 >many
    peer w "$E" --id w
    local window
    for window in 2 64; do
        batches 20 | sed "s/B/W$window-/" >many
        run -74 --separate-stderr bash -c 'tasker-publish --set "zeromq.send_window=$1" many >/dev/full' - $window
        has "standard output: No space left" "$stderr"
        [ "$(named <<<"$stderr" | sort)" = "$(jq -r .batch_id many | sort)" ]
        has "accepted, and its receipt not written: batch W$window-1 (many:1), by w" "$stderr"
        [ "$(grep -c 'accepted, and its receipt' <<<"$stderr")" -le "$(lines_of w.out "\"W$window-")" ]
    done
}

# Prints the batches that are named as not done, or without a receipt, from stderr.
named() { sed -n 's/^tasker-publish: error: [^:]*: batch \([^ ]*\) (.*/\1/p'; }

# Stderr goes through a pipe, which the limit to the size of files is not for.
@test "a disk that gets full: each batch has a whole receipt, or is named" {
    batches 20 >many
    peer w "$E" --id w
    { status=0; (ulimit -f 2 && exec tasker-publish many) 2>&1 >receipts || status=$?; echo "$status" >status; } | cat >err
    [ "$(cat status)" -eq 74 ]
    [ "$(stat -c %s receipts)" -eq 2048 ]
    jq -rR 'fromjson? | .batch_id' receipts >whole
    [ "$(wc -l <receipts)" -eq "$(wc -l <whole)" ]
    [ -s whole ]
    named <err >lost
    [ -s lost ]
    [ "$(sort whole lost)" = "$(jq -r .batch_id many | sort)" ]
    [ "$(sort -u whole lost | wc -l)" -eq 20 ]
}

@test "a full disk: what plain subscribers were sent is named as sent" {
    peer w "$E"
    run -74 --separate-stderr bash -c 'tasker-publish batch.jsonl >/dev/full'
    has "error: sent, and its receipt not written: batch B1 (batch.jsonl:1)" "$stderr"
}

@test "stdin, stdout or stderr is closed from the start" {
    run bash -c 'tasker-publish <&-'
    [ "$status" -eq 74 ]
    has "-: cannot read: Bad file descriptor" "$output"
    run bash -c 'tasker-publish -n batch.jsonl >&-'
    [ "$status" -eq 74 ]
    has "standard output: Bad file descriptor" "$output"
    peer w "$E" --id w
    run bash -c 'tasker-publish batch.jsonl 2>&-'
    [ "$status" -eq 0 ]
}

@test "nothing to publish needs no worker and no wait" {
    run tasker-publish --wait 60s /dev/null
    [ "$status" -eq 0 ]
    run tasker-publish --wait 60s <<<'{"message_type":"batch_reconciled","x":1}'
    [ "$status" -eq 0 ]
    [ "$output" = '{"message_type":"batch_reconciled","x":1}' ]
}
