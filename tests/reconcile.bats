#!/usr/bin/env bats
# tasker-reconcile: verdicts on streams of lines, what is passed on, the exit status, bad input. All
# that depends on the messages alone is tested in tests/unit/reconcile.c, with every discrepancy.
load helper

setup() {
    test_begin
    cat >good.jsonl <<'EOF'
{"message_type":"batch_published","batch_id":"b","published_at":"2026-01-24T12:00:00Z","total_steps":2,"step_ids":[1,2],"steps":[{"step_id":1,"task_id":9,"step_name":"one","attempt":1,"retry_limit":3},{"step_id":2,"task_id":9,"step_name":"two","attempt":1,"retry_limit":3}]}
{"message_type":"partial_result","batch_id":"b","step_id":1,"attempt":1,"sequence":1,"status":"in_progress","worker_id":"w"}
{"message_type":"partial_result","batch_id":"b","step_id":1,"attempt":1,"sequence":2,"status":"completed","execution_time_ms":31,"worker_id":"w"}
{"message_type":"partial_result","batch_id":"b","step_id":2,"attempt":1,"sequence":1,"status":"in_progress","worker_id":"w"}
{"message_type":"partial_result","batch_id":"b","step_id":2,"attempt":1,"sequence":2,"status":"completed","execution_time_ms":12345,"worker_id":"w"}
{"message_type":"batch_completion","batch_id":"b","total_steps":2,"completed_steps":2,"failed_steps":0,"in_progress_steps":0,"step_summaries":[{"step_id":1,"final_status":"completed"},{"step_id":2,"final_status":"completed"}],"total_execution_time_ms":12400}
EOF
    R='"message_type":"batch_published","batch_id":"b"'
    P='"message_type":"partial_result","batch_id":"b"'
    C='"message_type":"batch_completion","batch_id":"b"'
}

# reconcile ARG...: sets $status and $output (stdout alone); stderr goes to err
reconcile() {
    status=0
    output=$(tasker-reconcile "$@" 2>err) || status=$?
}

# jq_is FILTER WANT: what FILTER makes of $output
jq_is() {
    local got
    got=$(jq -c "$1" <<<"$output")
    [ "$got" = "$2" ] || { printf '%s is %s, wanted %s\n%s\n' "$1" "$got" "$2" "$output"; return 1; }
}

# verdict STATUS VERDICT [TYPE...]: of one batch, with just these types of discrepancies
verdict() {
    local want_status=$1 want=$2
    shift 2
    [ "$status" -eq "$want_status" ] || { echo "status $status"; cat err; echo "$output"; return 1; }
    jq_is .verdict "\"$want\""
    [ "$(jq -r '.discrepancies[].type' <<<"$output" | sort -u | xargs)" = "$*" ] ||
        { echo "$output"; return 1; }
    [ ! -s err ]
}

without() { grep -v -e "$1" good.jsonl; }

@test "reconcile: all agree: consistent, 0" {
    reconcile good.jsonl
    verdict 0 consistent
    jq_is '.counts' '{"total":2,"completed":2,"failed":0,"in_progress":0,"missing":0,"retry":0}'
    jq_is '.steps[1]' '{"step_id":2,"task_id":9,"step_name":"two","attempt":1,"status":"completed","outcome":"done","execution_time_ms":12345,"worker_id":"w"}'
    jq_is '[.batch_id,.revision,.receipt,.completion,.published_at,.total_execution_time_ms]' \
        '["b",1,true,true,"2026-01-24T12:00:00.000Z",12400]'
}

@test "reconcile: stdin, -, several files, a last line without its newline" {
    reconcile <good.jsonl && verdict 0 consistent
    reconcile - <good.jsonl && verdict 0 consistent
    head -n 3 good.jsonl >a
    tail -n 3 good.jsonl | head -c -1 >b
    reconcile a b && verdict 0 consistent
    reconcile a - <b && verdict 0 consistent
    reconcile </dev/null
    [ "$status" -eq 0 ] && [ -z "$output" ]
}

@test "reconcile: missing_partial" {
    without '"step_id":2,.*completed","ex' >in
    reconcile in
    verdict 1 discrepant missing_partial
    without '"step_id":2,"attempt.*' >in
    reconcile in
    verdict 1 discrepant missing_partial
}

@test "reconcile: missing_completion is incomplete, 75" {
    without batch_completion >in
    reconcile in
    verdict 75 incomplete missing_completion
    jq_is '[.steps[].outcome]' '["done","done"]'
}

@test "reconcile: a receipt alone is incomplete, and each step is named" {
    head -n 1 good.jsonl >in
    reconcile in
    verdict 75 incomplete missing_completion missing_partial
    jq_is '[.steps[]|.step_name,.status,.outcome]' '["one","missing","unknown","two","missing","unknown"]'
}

@test "reconcile: missing_summary" {
    sed 's/,{"step_id":2,"final_status":"completed"}//' good.jsonl >in
    reconcile in
    [ "$status" -eq 1 ]
    jq_is '[.discrepancies[]|.type,.step_id]' '["count_mismatch",null,"missing_summary",2]'
}

@test "reconcile: refused_entry: one bad summary or result, and the others count" {
    sed 's/"step_id":2,"final_status":"completed"/"step_id":0,"final_status":"failed"/; s/ed_steps":2,"failed_steps":0/ed_steps":1,"failed_steps":1/' good.jsonl >in
    reconcile in
    [ "$status" -eq 65 ]
    has "in:6: step_summaries, entry 2: step_id is not a positive integer" err
    jq_is .verdict '"discrepant"'
    jq_is '[.discrepancies[]|.type,.step_id]' '["refused_entry",null,"count_mismatch",null,"missing_summary",2]'
    jq_is '[.steps[].outcome]' '["done","done"]'
    sed 's/\("step_summaries":\[\)/\17,/' good.jsonl >in # one too many
    reconcile in
    [ "$status" -eq 65 ]
    jq_is '[.discrepancies[]|.type,.step_id]' '["refused_entry",null]'
    head -n 1 good.jsonl >in
    echo '{"batch_id":"b","results":[{"step_id":1,"status":"completed"},{"step_id":0,"status":"error"}]}' >>in
    reconcile in
    [ "$status" -eq 75 ]
    jq_is '[.discrepancies[].type]|index("refused_entry")' 0
    jq_is '[.steps[].outcome]' '["done","unknown"]'
}

# An output nested $1 levels deep.
nested() { printf "%*s" "$1" "" | tr ' ' '['; printf "%*s" "$1" "" | tr ' ' ']'; }

@test "reconcile: an output beyond the limits fails its step for good, where the message names it" {
    local deep=59 count=0
    for deep in 59 60 63 64 200; do
        count=$((count + 1))
        printf '{%s,"output":{"step_id":9,"status":"failed","x":%s},"status":"completed","step_id":%d}\n' \
            "$P" "$(nested $((deep - 1)))" $count
    done >in
    printf '{%s,"output":[{"step_id":9,"a\\u0000b":{"status":"failed"}}],"status":"completed","step_id":6}\n' "$P" >>in
    printf '{"batch_id":"b","results":[{"step_id":7,"output":%s,"status":"completed"},{"step_id":8,"status":"completed"}]}\n' \
        "$(nested 100)" >>in
    reconcile in
    [ "$status" -eq 65 ]
    jq -r '.steps[]|[.step_id,.status,.outcome,.error_category,.error_message]|@csv' <<<"$output" | tr -d '"' >steps
    [ "$(cat steps)" = "\
1,completed,done,,
2,completed,failed,validation,its output is nested deeper than 59 levels
3,completed,failed,validation,its output is nested deeper than 59 levels
4,completed,failed,validation,JSON is nested deeper than 64
5,completed,failed,validation,JSON is nested deeper than 64
6,completed,failed,validation,a name with a NUL (\u0000) at byte 72
7,completed,failed,validation,JSON is nested deeper than 64
8,completed,done,," ]
    has "in:4: JSON is nested deeper than 64" err
}

@test "reconcile: status_mismatch" {
    sed 's/2,"final_status":"completed"/2,"final_status":"failed"/; s/ed_steps":2,"failed_steps":0/ed_steps":1,"failed_steps":1/' good.jsonl >in
    reconcile in
    verdict 1 discrepant status_mismatch
    jq_is '.discrepancies[0]|[.step_id,.partial,.summary]' '[2,"completed","failed"]'
    jq_is '[.steps[].outcome]' '["done","unknown"]'
}

@test "reconcile: count_mismatch" {
    sed 's/"total_steps":2,"completed_steps":2/"total_steps":4,"completed_steps":3/' good.jsonl >in
    reconcile in
    verdict 1 discrepant count_mismatch
    jq_is '[.discrepancies[]|.field,.expected,.actual]' '["total_steps",2,4,"completed_steps",2,3]'
}

@test "reconcile: unknown_step" {
    { head -n 5 good.jsonl; echo "{$P,\"step_id\":3,\"status\":\"completed\"}"; tail -n 1 good.jsonl; } >in
    reconcile in
    verdict 1 discrepant missing_summary unknown_step
}

@test "reconcile: unknown_batch, when receipts are to be had" {
    without batch_published >in
    reconcile in
    verdict 0 consistent # none at all: a plain stream of results
    reconcile --receipts=all in
    verdict 1 discrepant unknown_batch
    { echo '{"message_type":"batch_published","batch_id":"x","step_ids":[]}'; cat in; } >more
    reconcile more
    output=$(grep '"b"' <<<"$output")
    [ "$status" -eq 75 ] # of x nothing came
    jq_is '[.verdict,.discrepancies[].type]' '["discrepant","unknown_batch"]'
    reconcile --receipts=none more
    output=$(grep '"b"' <<<"$output")
    jq_is .verdict '"consistent"'
}

@test "reconcile: conflicting_result" {
    { head -n 5 good.jsonl; echo "{$P,\"step_id\":2,\"attempt\":1,\"sequence\":3,\"status\":\"failed\"}"; tail -n 1 good.jsonl; } >in
    reconcile in
    verdict 1 discrepant conflicting_result
    jq_is '[.steps[].status]' '["completed","completed"]' # the completion decides
}

@test "reconcile: out_of_order: gap, regression, after the completion" {
    sed '/"step_id":2,.*completed","ex/s/"sequence":2/"sequence":3/' good.jsonl >in
    reconcile in
    verdict 1 discrepant out_of_order
    { sed -n 1p good.jsonl; sed -n 3p good.jsonl; sed -n 2p good.jsonl; tail -n 3 good.jsonl; } >in
    reconcile in
    verdict 1 discrepant out_of_order
    { head -n 4 good.jsonl; sed -n 6p good.jsonl; sed -n 5p good.jsonl; } >in
    reconcile in
    verdict 1 discrepant out_of_order
    jq_is .counts.completed 2
}

@test "reconcile: late_result of an older attempt, put aside" {
    sed 's/"attempt":1,"retry/"attempt":2,"retry/; s/"attempt":1,"seq/"attempt":2,"seq/' good.jsonl >in
    { head -n 5 in; echo "{$P,\"step_id\":2,\"attempt\":1,\"status\":\"failed\"}"; tail -n 1 in; } >late
    reconcile late
    verdict 1 discrepant late_result
    jq_is '[.steps[]|.attempt,.status]' '[2,"completed",2,"completed"]'
}

@test "reconcile: late_result after the verdict makes revision 2; what was known makes nothing" {
    { cat good.jsonl good.jsonl; } >in
    reconcile in
    verdict 0 consistent
    { cat good.jsonl good.jsonl; echo "{$P,\"step_id\":2,\"attempt\":1,\"status\":\"failed\"}"; } >in
    reconcile in
    [ "$status" -eq 1 ]
    [ "$(jq -r '[.revision,.verdict]|@csv' <<<"$output" | xargs)" = "1,consistent 2,discrepant" ]
    output=$(tail -n 1 <<<"$output")
    jq_is '[.discrepancies[].type]' '["late_result","conflicting_result"]'
    jq_is '.steps|length' 1
}

@test "reconcile: batch_error: not run is discrepant, out of time is timed_out" {
    { head -n 1 good.jsonl; echo '{"message_type":"batch_error","batch_id":"b","error":{"message":"no handler","error_category":"permanent"}}'; } >in
    reconcile in
    verdict 1 discrepant
    jq_is '[.error.message,.steps[].outcome]' '["no handler","failed","failed"]'
    { head -n 3 good.jsonl; echo '{"message_type":"batch_error","batch_id":"b","error":{"message":"slow","error_category":"timeout"}}'; } >in
    reconcile in
    verdict 75 timed_out missing_completion missing_partial
    jq_is '[.steps[].outcome]' '["done","unknown"]'
    echo '{"message_type":"batch_error","error":{"message":"what?"}}' >in
    reconcile in
    verdict 1 discrepant
    jq_is .batch_id null
}

failing() { # LIMIT MORE: a batch whose step 2 failed
    sed "s/\"retry_limit\":3/\"retry_limit\":$1/g" good.jsonl |
        sed '/"step_id":2,.*completed","ex/s/"completed"/"failed","timestamp":"2026-01-24T12:00:00Z",'"$2"'/
             s/2,"final_status":"completed"/2,"final_status":"failed"/
             s/ed_steps":2,"failed_steps":0/ed_steps":1,"failed_steps":1/'
}

@test "reconcile: outcomes of failures, 1; retry_at by the configured formula" {
    failing 3 '"retryable":true,"error":{"error_category":"infrastructure"}' >in
    reconcile --set retry.jitter=0 --set retry.base=4s in
    verdict 1 consistent
    jq_is '.steps[1]|[.outcome,.retry_at,.error_category]' '["retry","2026-01-24T12:00:04.000Z","infrastructure"]'
    jq_is '[.counts.failed,.counts.retry]' '[1,1]'
    local first=
    for first in 1 2; do # jitter is the same each time
        reconcile in
        [ -z "${again:-}" ] || [ "$again" = "$output" ]
        again=$output
    done
    failing 1 '"retryable":true' >in
    reconcile in
    [ "$status" -eq 1 ]
    jq_is '.steps[1]|[.outcome,.retry_at]' '["failed",null]'
    failing 0 '"retryable":true' >in
    reconcile in
    [ "$status" -eq 1 ]
    jq_is '.steps[1].outcome' '"failed"'
    failing 3 '"retryable":false' >in
    reconcile in
    [ "$status" -eq 1 ]
    jq_is '.steps[1].outcome' '"failed"'
    failing 3 '"retryable":true,"error":{"retry_after_ms":99999999}' >in
    reconcile in
    [ "$status" -eq 1 ]
    jq_is '.steps[1].retry_at' '"2026-01-24T12:01:00.000Z"'
}

@test "reconcile: a step's own back-off, from its receipt or with its failure" {
    failing 3 '"retryable":true' | sed '/batch_published/s/"retry_limit":3/"retry_limit":3,"backoff":"fixed 7000 9000"/g' >receipt
    failing 3 '"retryable":true,"execution_metadata":{"backoff":"none - -"}' >failure
    failing 3 '"retryable":true,"execution_metadata":{"backoff":"nonsense"}' >nonsense
    for file in receipt failure nonsense; do
        reconcile --set retry.jitter=0 --set retry.base=4s $file
        jq -r '.steps[1].retry_at' <<<"$output"
    done >times
    [ "$(cat times)" = "\
2026-01-24T12:00:07.000Z
2026-01-24T12:00:00.000Z
2026-01-24T12:00:04.000Z" ] || { cat times; false; }
}

@test "reconcile: any order of the lines gives the same steps" {
    failing 3 '"retryable":true' >in
    reconcile in
    [ "$status" -eq 1 ]
    jq -c .steps <<<"$output" >want
    local round
    for round in $(seq 25); do
        shuf --random-source=<(yes "$round") in >shuffled
        reconcile --receipts=all shuffled
        [ "$status" -eq 1 ]
        jq -c .steps <<<"$output" | diff want - || { cat shuffled; return 1; }
    done
}

@test "reconcile: other lines are passed on untouched, in order, around the verdicts" {
    {
        echo ' { "any" : 1.50,"é":"\u00e9" }'
        head -n 3 good.jsonl
        echo '{"message_type":"worker_status","worker_id":"w"}'
        tail -n 3 good.jsonl
        echo '{"message_type":"batch_reconciled","batch_id":"older"}'
    } >in
    reconcile in
    [ "$status" -eq 0 ]
    sed '/revision/s/.*/VERDICT/' <<<"$output" >got
    printf '%s\n' ' { "any" : 1.50,"é":"\u00e9" }' '{"message_type":"worker_status","worker_id":"w"}' \
        VERDICT '{"message_type":"batch_reconciled","batch_id":"older"}' | diff - got
    reconcile --pass in
    grep -v revision <<<"$output" | diff in -
}

@test "reconcile: foreign shapes" {
    echo '{"batch_id":"b","results":[{"step_id":1,"status":"completed"},{"step_id":2,"status":"error","error":{"type":"Oops"}}]}' >in
    reconcile in
    verdict 1 consistent
    jq_is '[.steps[].status]' '["completed","failed"]'
    sed 's/partial_result/PartialResult/; s/batch_completion/BatchCompletion/; s/"attempt":1,"sequence":.,//' good.jsonl >in
    reconcile in
    verdict 0 consistent
}

@test "reconcile: text is a table for people, and escapes nothing to their terminal" {
    failing 3 '"retryable":true,"error":{"error_category":"infrastructure"}' |
        sed 's/"two"/"tw\\u001b[31m\\u009bö"/' >in
    { cat in; echo '{"other":1}'; echo "{${P/\"b\"/\"c\"},\"step_id\":77,\"status\":\"in_progress\"}"; } >both
    reconcile --format=text --set retry.jitter=0 both
    [ "$status" -eq 75 ]
    cat >want <<'EOF'
batch b: consistent, 2 steps, 1 completed, 1 failed, 1 to retry, 12.4 s
  STEP  NAME                 STATUS     OUTCOME  ATTEMPT    TIME  CATEGORY        RETRY AT                  WORKER
     1  one                  completed  done     1/3       31 ms  -               -                         w
     2  tw\x1b[31m\xc2\x9bö  failed     retry    1/3      12.3 s  infrastructure  2026-01-24T12:00:01.000Z  w

batch c: incomplete, 1 step, 1 in progress
  STEP  STATUS       OUTCOME  ATTEMPT
    77  in_progress  unknown  1/3
  ! unknown_batch: there are results and no receipt
  ! missing_completion: there is no batch_completion
  ! missing_partial: step 77: it began, and no partial result says how it ended

in all: 2 verdicts, 1 consistent, 1 incomplete; 3 steps, 1 completed, 1 failed, 1 in progress, 1 to retry
EOF
    diff want <(echo "$output")
}

@test "reconcile: the reason of a failure, cut between characters" {
    failing 3 '"retryable":true,"error":{"error_category":"infrastructure","message":"no\\u001b[31m host"}' >in
    reconcile --format text in
    grep -q ' WORKER .* REASON$' <<<"$output"
    grep -qF ' no\x1b[31m host' <<<"$output"
    reconcile in
    [ "$(jq -r '.steps[1].error_message' <<<"$output")" = $'no\e[31m host' ]
    [ "$(jq -r '.steps[0] | has("error_message")' <<<"$output")" = false ]
    failing 3 "\"retryable\":true,\"error\":{\"message\":\"x$(printf 'ö%.0s' {1..300})\"}" >in
    reconcile in
    [ "$(jq -r '.steps[1].error_message' <<<"$output")" = "x$(printf 'ö%.0s' {1..99})" ]
}

@test "reconcile: claims of absurd size are told, and break nothing" {
    for b in x y; do
        echo "{${C/\"b\"/\"$b\"},\"total_steps\":1000000000}"
        echo "{${P/\"b\"/\"$b\"},\"step_id\":9223372036854775807,\"attempt\":999999999,\"status\":\"failed\",\"retryable\":true,\"timestamp\":\"9999-12-31T23:59:59Z\"}"
    done >in
    reconcile in
    [ "$status" -eq 75 ]
    reconcile --format=text in
    [ "$status" -eq 75 ]
    has 9223372036854775807 "$output"
}

@test "reconcile: a verdict comes at once, before the end of the input" {
    mkfifo in
    spawn rec bash -c 'exec tasker-reconcile <in'
    exec 5>in
    cat good.jsonl >&5
    wait_line rec.out consistent
    running rec
    exec 5>&-
    finish rec
    [ "$status" -eq 0 ]
}

@test "reconcile --follow: stragglers are waited for, then settled; a late one is revision 2" {
    mkfifo in
    spawn rec bash -c 'exec tasker-reconcile --follow --settle 300ms <in'
    exec 5>in
    without '"step_id":2,.*completed","ex' >&5
    wait_line rec.out missing_partial
    grep '"step_id":2,.*completed","ex' good.jsonl >&5
    wait_line rec.out '"revision":2'
    has late_result rec.out
    signal rec TERM
    finish rec
    [ "$status" -eq 1 ]
    [ ! -s rec.err ]
    exec 5>&-
}

@test "reconcile: a signal while it reads standard input settles what is open" {
    mkfifo in
    spawn rec bash -c 'exec env --default-signal=INT tasker-reconcile --pass <in'
    exec 5>in
    head -n 3 good.jsonl >&5
    echo '{"mark":1}' >&5
    wait_line rec.out mark
    signal rec INT
    finish rec
    [ "$status" -eq 75 ]
    has '"verdict":"incomplete"' rec.out
    exec 5>&-
}

@test "reconcile --follow: a signal settles what is open; --timeout does too" {
    mkfifo in
    spawn rec bash -c 'exec env --default-signal=INT tasker-reconcile --follow <in'
    exec 5>in
    head -n 3 good.jsonl >&5
    echo '{"mark":1}' >&5
    wait_line rec.out mark
    signal rec INT
    finish rec
    [ "$status" -eq 75 ]
    has incomplete rec.out
    exec 5>&-
    mkfifo in2
    spawn two bash -c 'exec tasker-reconcile --timeout 200ms <in2'
    exec 5>in2
    head -n 3 good.jsonl >&5
    wait_line two.out timed_out
    exec 5>&-
    finish two
    [ "$status" -eq 75 ]
}

@test "reconcile --follow: a reader that goes away ends it, 74" {
    mkfifo in out
    spawn rec bash -c 'exec tasker-reconcile --follow <in >out'
    exec 5>in 6<out
    echo '{"mark":1}' >&5
    read -r -t 10 -u 6 line
    [ "$line" = '{"mark":1}' ]
    exec 6<&-
    finish rec
    [ "$status" -eq 74 ]
    has "the reader went away" rec.err
    exec 5>&-
}

# batches N: results of N batches of 20 steps, a few of them failed, with receipts
batches() {
    awk -v n="$1" 'BEGIN { for (b = 1; b <= n; b++) {
        ids = sums = results = ""
        for (i = 1; i <= 20; i++) {
            s = b * 100 + i; st = i == 7 ? "failed" : "completed"; c = i > 1 ? "," : ""
            ids = ids c s
            sums = sums c "{\"step_id\":" s ",\"final_status\":\"" st "\"}"
            results = results "{\"message_type\":\"partial_result\",\"batch_id\":\"b" b "\",\"step_id\":" s ",\"sequence\":1,\"status\":\"in_progress\"}\n" \
                "{\"message_type\":\"partial_result\",\"batch_id\":\"b" b "\",\"step_id\":" s ",\"sequence\":2,\"status\":\"" st "\",\"retryable\":true,\"step_name\":\"name" s "\"}\n"
        }
        printf "{\"message_type\":\"batch_published\",\"batch_id\":\"b%d\",\"total_steps\":20,\"step_ids\":[%s]}\n", b, ids
        printf "%s", results
        printf "{\"message_type\":\"batch_completion\",\"batch_id\":\"b%d\",\"total_steps\":20,\"completed_steps\":19,\"failed_steps\":1,\"step_summaries\":[%s]}\n", b, sums
    } }'
}

# peak_of FILE ARG...: how much memory it took at most, in KiB, to $REPLY; its verdicts to out
peak_of() {
    local in=$1 pid
    shift
    mkfifo "$in.pipe"
    tasker-reconcile "$@" <"$in.pipe" >out 2>err &
    pid=$!
    exec 5>"$in.pipe"
    { cat "$in"; echo '{"mark":1}'; } >&5
    wait_line out mark 60
    REPLY=$(awk '/VmHWM/ {print $2}' "/proc/$pid/status")
    exec 5>&-
    wait "$pid" || true
    rm "$in.pipe"
}

@test "reconcile: memory does not grow with the batches, nor without receipts" {
    ! ldd "$TASKER_BIN/tasker-reconcile" | grep -q asan || skip "sanitizers keep freed memory"
    batches 100 >few
    batches 2500 >many
    peak_of few
    local base=$REPLY
    peak_of many
    [ "$(grep -c consistent out)" -eq 2500 ]
    echo "few $base KiB, many $REPLY KiB"
    [ $((REPLY - base)) -lt 8192 ]
    grep -v batch_published many >bare
    peak_of bare
    echo "without receipts $REPLY KiB"
    [ $((REPLY - base)) -lt 20480 ]
}

@test "reconcile: bad input: each is told in a line, and the rest is done" {
    mkdir folder
    printf '{"x":"' >long
    head -c 13000 /dev/zero | tr '\0' a >>long
    printf '"}\n{"ok":1}\n' >>long
    head -n 1 good.jsonl >receipt.jsonl
    run_case_table tasker-reconcile <<EOF
malformed JSON | - | {"a":\n | 65 | -:1: malformed JSON
two values in a line | - | {"a":1} {"b":2}\n | 65 | -:1: malformed JSON
not an object | - | [1,2]\n | 65 | -:1: not a JSON object
a bare number | - | 17\n | 65 | not a JSON object
NUL byte | - | {"a":"\0"}\n | 65 | -:1: line holds a NUL byte
invalid UTF-8 | - | {"a":"\377"}\n | 65 | -:1: invalid UTF-8
name with a NUL | - | {"a\\\\u0000b":1}\n | 65 | a name with a NUL
NaN | - | {"a":NaN}\n | 65 | -:1:
line over the limit | --set zeromq.max_message_bytes=2048 long | - | 65 | long:1: line of over 12288 bytes
nested too deep | - | $(printf '[%.0s' {1..100})\n | 65 | nested deeper
no such file | missing.jsonl good.jsonl | - | 74 | missing.jsonl: cannot open
folder as operand | folder | - | 74 | folder
unknown option | --no-such | - | 64 | no-such
unknown letter | -Z | - | 64 | Z
wrong format | --format=xml good.jsonl | - | 64 | xml
wrong duration | --follow --settle 5x good.jsonl | - | 64 | 5x
negative duration | --timeout=-1s good.jsonl | - | 64 | timeout
settle without follow | --settle 1s good.jsonl | - | 64 | --follow
pass with text | --pass --format=text good.jsonl | - | 64 | --pass
wrong choice | --receipts=some good.jsonl | - | 64 | some
missing argument | --format | - | 64 | format
wrong key | --set retry.bse=1s good.jsonl | - | 64 | retry.base
no such configuration | --config none.yaml good.jsonl | - | 78 | none.yaml
full disk | good.jsonl >/dev/full | - | 74 | standard output
closed stdout | good.jsonl >&- | - | 74 | standard output
closed stdin | <&- | - | 74 | -: cannot read
receipt without batch_id | - | {"message_type":"batch_published","step_ids":[1]}\n | 65 | -:1: batch_id is missing
receipt with a wrong batch_id | - | {"message_type":"batch_published","batch_id":"a b","step_ids":[1]}\n | 65 | batch_id is not
receipt without steps | - | {$R}\n | 65 | step_ids is missing
receipt with a wrong step_id | - | {$R,"step_ids":[1,"x"]}\n | 65 | step_ids, entry 2
receipt with a step_id of 0 | - | {$R,"step_ids":[0]}\n | 65 | step_id is not a positive integer
receipt with wrong steps | - | {$R,"steps":7}\n | 65 | steps is not an array
receipt with a wrong limit | - | {$R,"steps":[{"step_id":1,"retry_limit":"3"}]}\n | 65 | retry_limit is not an integer
result without step_id | - | {$P,"status":"completed"}\n | 65 | step_id is missing
result with a text as step_id | - | {$P,"step_id":"1","status":"completed"}\n | 65 | step_id is not a positive integer
result with an unknown status | - | {$P,"step_id":1,"status":"perhaps"}\n | 65 | status is not
result without status | - | {$P,"step_id":1}\n | 65 | status is missing
result with a negative attempt | - | {$P,"step_id":1,"status":"failed","attempt":-1}\n | 65 | attempt is negative
result with a huge attempt | - | {$P,"step_id":1,"status":"failed","attempt":1000000001}\n | 65 | attempt is too large
completion with a huge count | - | {$C,"total_steps":1000000001}\n | 65 | total_steps is too large
result with a wrong error | - | {$P,"step_id":1,"status":"failed","error":[]}\n | 65 | error is not an object
step_id beyond 64 bits | - | {$P,"step_id":9223372036854775808,"status":"failed"}\n | 65 | step_id
completion with wrong summaries | - | {$C,"step_summaries":{}}\n | 65 | step_summaries is not an array
completion with a wrong summary | - | {$C,"step_summaries":[{"step_id":1}]}\n | 65 | step_summaries, entry 1
completion with a wrong count | - | {$C,"total_steps":"all"}\n | 65 | total_steps is not an integer
a receipt once more is harmless | good.jsonl receipt.jsonl - | {"a":\n | 65 | malformed
incomplete is 75 | receipt.jsonl - | {"a":\n | 75 | malformed
EOF
    tasker-reconcile --set zeromq.max_message_bytes=2048 long 2>/dev/null | grep -qx '{"ok":1}'
    { echo '{"bad'; cat good.jsonl; printf 'x\n{"a":"\xff"}\n'; } >in
    reconcile in
    [ "$status" -eq 65 ]
    jq_is .verdict '"consistent"'
    [ "$(cut -d: -f 1-3 err | xargs)" = "tasker-reconcile: in:1 tasker-reconcile: in:8 tasker-reconcile: in:9" ]
}

@test "reconcile: a reader that has gone is 74 and one line" {
    batches 300 >in
    set +o pipefail
    { status=0; tasker-reconcile in 2>err || status=$?; echo "$status" >status; } | head -n 1 >/dev/null
    [ "$(cat status)" -eq 74 ]
    [ "$(wc -l <err)" -eq 1 ]
}
