#!/usr/bin/env bats
# tasker-status and the store: lists and filters, show, errors, slow, orphans, metrics, on both back
# ends; bad arguments; and texts in the store that would do harm.
load helper
load store

teardown() { store_end && test_end; }

make_store() { tasker-reconcile --ledger; }

# Fills the store with status_store.sql; $now is the time that is NOW there.
fill_store() {
    local bytes=BLOB hex="X'\\1'"
    make_store
    now_ms
    now=$REPLY
    [ "$STORE" = sqlite ] || bytes=BYTEA hex="'\\\\x\\1'::bytea"
    sed -e '/^--/d' -e "s/@NOW@/$now/g" -e "s/@BYTES@/$bytes/g" -e "s/@HEX:\([0-9a-f]*\)@/$hex/g" \
        -e $'s/@E@/\e/g' -e 's/@N@/\n/g' "$ROOT/tests/status_store.sql" >fill.sql
    run_script fill.sql
}

run_script() {
    if [ "$STORE" = sqlite ]; then
        /usr/bin/python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("BEGIN;" + open(sys.argv[2]).read() + "COMMIT;")' "${TASKER_STORE_URL#sqlite:}" "$1"
    else
        psql -X -q -1 -v ON_ERROR_STOP=1 -d "$TASKER_STORE_URL" -f "$1" >/dev/null </dev/null
    fi
}

# Runs tasker-status: stdout to out, stderr to err, status checked.
status_is() {
    local want=$1 got=0
    shift
    tasker-status "$@" >out 2>err || got=$?
    [ "$got" -eq "$want" ] && return
    echo "tasker-status $*: status $got, wanted $want" >&2
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

# The ids that a list prints, in its order: ids WANTED FIELD ARG...
ids() {
    local want=$1 field=$2 got
    shift 2
    status_is 0 "$@" -f json
    got=$(jq -r ".$field" out | xargs)
    [ "$got" = "$want" ] && return
    echo "tasker-status $*: \"$got\", wanted \"$want\"" >&2
    return 1
}

# The sample of a metric in prom: value NAME LABELS
value() { awk -F '\t' -v name="$1" -v labels="$2" '$1 == name && $2 == labels {print $3}' prom; }

metrics_of() {
    status_is 0 "$@"
    /usr/bin/python3 "$ROOT/tests/status_prom.py" <out >prom
}

@test "status of the store: bad arguments" {
    export TASKER_STORE_URL=sqlite:$PWD/none.db
    : >empty.db
    echo 'this is no database, whatever its name says; it is long enough to be looked at' >text.db
    run_case_table tasker-status <<'END'
state for config | config --state failed | - | 64 | config: --state is for tasks, batches and steps
handler for workers | workers --handler X | - | 64 | workers: --handler is for tasks, batches, steps, errors and slow
limit for endpoints | endpoints -n 3 | - | 64 | endpoints: --limit is for
prometheus for config | config -f prometheus | - | 64 | config: --format prometheus is for tasks
prometheus for show | show 1 -f prometheus | - | 64 | show: --format prometheus is for
raw for steps | steps --raw | - | 64 | steps: --raw is for show
timeout for steps | steps --timeout 1s | - | 64 | --timeout is for endpoints and workers
listen for tasks | tasks --listen | - | 64 | --listen is for endpoints
state for show | show 1 --state error | - | 64 | show: --state is for
state for errors | errors --state error | - | 64 | errors: --state is for
category for orphans | orphans --category x | - | 64 | orphans: --category is for tasks, batches, steps and errors
newer for orphans | orphans --newer-than 1m | - | 64 | orphans: --newer-than is for
limit for metrics | metrics -n 1 | - | 64 | metrics: --limit is for
json for metrics | metrics -f json | - | 64 | metrics: there is only --format prometheus
task for errors | errors --task 1 | - | 64 | errors: --task is for
operand of tasks | tasks 5 | - | 64 | tasks: unexpected operand "5"
operand of batches | batches b | - | 64 | batches: unexpected operand "b"
operand of steps | steps b | - | 64 | steps: unexpected operand "b"
operand of errors | errors x | - | 64 | errors: unexpected operand "x"
operand of slow | slow x | - | 64 | slow: unexpected operand "x"
operand of orphans | orphans x | - | 64 | orphans: unexpected operand "x"
operand of metrics | metrics x | - | 64 | metrics: unexpected operand "x"
operand with prometheus | steps -f prometheus x | - | 64 | steps: unexpected operand "x"
state of another | tasks --state completed | - | 64 | tasks: --state: "completed" is not allowed here
state of another 2 | batches --state error | - | 64 | (can be: created, published
one state is wrong | steps --state error,lost | - | 64 | "lost" is not allowed here
no state | steps --state '' | - | 64 | is no list of states
only commas | steps --state ,, | - | 64 | is no list of states
age no duration | steps --older-than soon | - | 64 | is not a duration
age negative | batches --newer-than -1s | - | 64 | --newer-than
limit negative | steps --limit -1 | - | 64 | --limit
limit no number | steps --limit all | - | 64 | --limit
limit too large | steps --limit 99999999999999999999 | - | 64 | --limit
task zero | steps --task 0 | - | 64 | --task
task no number | steps --task x | - | 64 | --task
filter and prometheus | steps -f prometheus --state error | - | 64 | steps: --state is not for --format prometheus
filter and prometheus 2 | errors -f prometheus -H X | - | 64 | errors: --handler is not for --format prometheus
age and prometheus | batches -f prometheus --older-than 1m | - | 64 | --older-than is not for --format prometheus
show nothing | show | - | 64 | show: an id is missing
show three | show step 1 2 | - | 64 | show: one id at a time
show another word | show worker 1 | - | 64 | "worker" is not task, batch or step
show step by name | show step abc | - | 64 | the id of a step is a number, not "abc"
show task zero | show task 0 | - | 64 | the id of a task is a number, not "0"
show no id | show 'a b' | - | 64 | "a b" is not 1 to 128 characters
show empty | show '' | - | 64 | "" is not 1 to 128 characters
show batch in batch | show batch a --batch b | - | 64 | show: --batch is for show step
show terminal bytes | show $'a\e[2J' | - | 64 | a\x1b[2J
no store yet | tasks | - | 69 | there is no store at
no store yet, metrics | metrics | - | 69 | there is no store at
no store yet, show | show 1 | - | 69 | there is no store at
none | tasks --store none | - | 78 | there is no store (store.url is none, --store)
none, show | show b-1 --store none | - | 78 | there is no store
none, orphans | orphans --store none | - | 78 | there is no store
no url | steps --store mysql:x | - | 64 | --store: "mysql:x": a store is sqlite
empty file | batches --store sqlite:empty.db | - | 69 | is empty (schema 0
not a database | batches --store sqlite:text.db | - | 69 | text.db
no folder | batches --store sqlite:/nowhere/x.db | - | 69 | there is no store at /nowhere/x.db
no server | steps --store postgresql:///x?host=/nowhere | - | 75 | nowhere
END
    [ ! -e none.db ] && [ ! -s empty.db ]
}

an_empty_store() {
    make_store
    local what
    for what in tasks batches steps errors slow orphans; do
        status_is 0 "$what"
        [ ! -s out ] || { echo "$what prints of nothing:"; cat out; return 1; }
        status_is 0 "$what" -f json
        [ ! -s out ]
        metrics_of "$what" -f prometheus
    done
    status_is 1 show 1
    has 'there is no task or batch or step "1" in the store' err
    metrics_of metrics
    [ "$(value tasker_steps '{"state": "complete"}')" = 0 ]
    [ "$(value tasker_oldest_unsettled_seconds '{}')" = 0.000 ]
}

@test "status of the store: an empty one" { for_each_store an_empty_store; }

lists_and_filters() {
    fill_store
    ids "6 5 4 3 2 1" task_id tasks
    ids "b-executing 3 b-cancelled b-timeout b-published b-failed b-completed b-created" batch_id batches
    ids "9001 666 9001 4 8 7 6 5 4 3 2 1" step_id steps
    # how many
    ids "6 5" task_id tasks --limit 2
    ids "6 5 4 3 2 1" task_id tasks --limit 0
    # state
    ids "3 2" task_id tasks --state complete,error
    ids "b-failed" batch_id batches --state failed
    ids "b-executing 3 b-published" batch_id batches -s executing,published
    ids "9001 2" step_id steps --state in_progress
    # age
    ids "3 2 1" task_id tasks --older-than 350s
    ids "6 5" task_id tasks --newer-than 250s
    ids "4 3" task_id tasks --newer-than 450s --older-than 250s
    ids "b-completed b-created" batch_id batches --older-than 9m
    ids "9001 666" step_id steps --newer-than 30s
    # handler, exactly and by globs, in which nothing but * and ? is special
    ids "4 1" step_id steps --handler Order::Validate
    ids "8 7 4 3 2 1" step_id steps --handler 'Order::*'
    ids "9001 9001 4" step_id steps -H 'By[Hand]'
    ids "9001 9001 4" step_id steps -H '*[Hand]'
    ids "" step_id steps -H 'By[H]*'
    ids "5" step_id steps -H 'Refund_*'
    ids "6 5" step_id steps -H 'Refund?All'
    ids "" step_id steps -H 'order::*'
    ids "" step_id steps -H '%'
    ids "2 1" task_id tasks -H Order::Validate
    ids "b-failed" batch_id batches -H 'Refund*'
    # task and batch
    ids "3 2 1" step_id steps --task 1
    ids "9001 4" step_id steps --task 77
    ids "b-completed b-created" batch_id batches --task 1
    ids "3" task_id tasks --task 3
    ids "2 1" step_id steps --batch b-completed
    ids "b-failed" batch_id batches -b b-failed
    ids "3" task_id tasks --batch b-failed
    ids "" step_id steps --batch nope
    # category
    ids "5" step_id steps --category validation
    ids "6" step_id steps --category unknown
    ids "3" task_id tasks --category validation
    ids "b-failed" batch_id batches --category unknown
    # all at once
    ids "2" step_id steps --task 1 --state in_progress,error --handler 'Order::P*' --older-than 1m \
        --batch b-completed
    # what a row has
    status_is 0 steps --task 2 -f json
    holds '.[0] | .execution_ms == 90061 and .state == "complete" and .results == {} and .known_task'
    holds '.[0] | .batch_id == null and .retryable == true and (.created_at | endswith("Z"))'
    status_is 0 batches -b b-timeout -f json
    holds '.[0] | .error.error_category == "timeout" and .verdict == "timed_out" and .failed_steps == 1'
    status_is 0 tasks --task 6 -f json
    holds '.[0] | .context == "no json" and .steps == 1 and .steps_done == 1'
    status_is 0 steps -n 3
    [ "$(wc -l <out)" -eq 4 ]
    status_is 0 steps
    has ' 1m 30s ' out
}

@test "status tasks, batches, steps: filters, newest first" { for_each_store lists_and_filters; }

more_than_fit() {
    make_store
    store_sql "INSERT INTO steps (step_id, task_id, name, handler_class, created_at, updated_at)
        WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 60)
        SELECT n, 1, 'n', 'H', n, n FROM c"
    status_is 0 steps
    [ "$(wc -l <out)" -eq 52 ]
    has '... and more than these 50: --limit N shows more, --limit 0 all' out
    status_is 0 steps --limit 60
    [ "$(wc -l <out)" -eq 61 ]
    status_is 0 steps -f json
    holds 'length == 50 and .[0].step_id == 60 and .[49].step_id == 11'
}

@test "status: rows that are not shown are told" { for_each_store more_than_fit; }

show_all_kinds() {
    fill_store
    status_is 0 show batch b-completed
    has 'batch b-completed' out
    [ "$(sed -n '/^history/,$p' out | sed 1d | cut -c 27- | sed 's/^step 1 attempt 1/S/')" = "\
batch: created (batch_initialization, program)
S: pending (step_created, program)
S: pending to enqueued (step_enqueued, program)
batch: created to published (zmq_publish_success, program)
step 1: message partial_result in_progress, attempt 1
batch: published to executing (first_result, ledger)
S: enqueued to in_progress (step.started, ledger)
step 1: message partial_result completed, attempt 1, 120 ms, by worker-1
S: in_progress to complete (step.completed, ledger) {\"by\":\"worker-1\"}
batch b-completed: message results, malformed: not UTF-8 at byte 12
batch b-completed: message batch_completion: of 2 steps 2 completed, 0 failed
batch: executing to completed (batch_completion, ledger)" ]
    grep -Eq '^ +2  pay +Order::Pay +1  failed +retry +in_progress +10 ms  worker-1  timeout +too slow$' out
    status_is 0 show b-completed -f json --raw
    holds '[.[].message_type] | .[:3] == ["batch_status", "batch_step", "batch_step"]'
    holds '[.[] | select(.at) | .at] | length == 12 and . == sort'
    holds '[.[] | select(.message_type == "ledger_message")] | length == 4 and
        .[0].message.status == "in_progress" and (.[0].raw | fromjson == {"message_type":"partial_result",
        "batch_id":"b-completed","step_id":1,"status":"in_progress","attempt":1})'
    holds '[.[] | select(.reason)] == [.[] | select(.ledger_id == 3)]'
    [ "$(jq -r 'select(.ledger_id == 3) | .raw_base64' out | base64 -d | od -An -tx1 | tr -d ' \n')" = \
        7b2262617463685f6964223aff1b5b324a00 ]
    status_is 0 show b-completed --raw
    has '{"batch_id":\xff\x1b[2J\x00' out
    # as many as are asked for, whole from the first of them on
    status_is 0 show b-completed --limit 2 -f json
    holds '[.[] | select(.at) | .message_type] == ["ledger_message", "ledger_message", "transition"]'
    holds '[.[] | select(.message_type == "left_out")] | map({(.what): .count}) | add == {"transitions": 7, "messages": 2}'
    status_is 0 show b-failed -f json
    holds '[.[] | select(.message_type == "discrepancy") | .type] == ["count_mismatch", "late"]'
    status_is 0 show b-failed -n 1 -f json
    holds '[.[] | select(.message_type == "left_out") | .what] == ["steps"]'
}

@test "status show: a batch" { for_each_store show_all_kinds; }

show_steps_and_tasks() {
    fill_store
    status_is 0 show step 1 -f json
    holds '.[0] | .message_type == "step_status" and .step_id == 1 and .results.total == 10'
    holds '.[1] | .message_type == "step_run" and .batch_id == "b-completed" and .outcome == "done"'
    holds '[.[] | select(.message_type == "transition") | .to_state] == ["pending", "enqueued", "in_progress", "complete"]'
    holds '[.[] | select(.message_type == "ledger_message")] | length == 4'
    status_is 0 show task 1 -f json
    holds '[.[] | select(.message_type == "step_status") | .step_id] == [1, 2, 3]'
    holds '[.[] | select(.message_type == "transition" and .of == "task") | .to_state] == ["pending", "in_progress"]'
    holds '[.[] | select(.at) | .at] | length == 10 and . == sort'
    # one id, two steps
    status_is 0 show step 9001 -f json
    holds '[.[] | select(.message_type == "step_status") | .name] == ["fresh", "lost"]'
    status_is 0 show step 9001 --batch b-timeout -f json
    holds '[.[] | select(.message_type == "step_status") | .name] == ["lost"]'
    status_is 0 show 9001
    has 'step 9001' out
    # without the word, where that is clear
    status_is 0 show b-failed
    status_is 64 show 3
    has '"3" is a task and a batch and a step: say which, as in "show step 3"' err
    status_is 64 show 4
    has '"4" is a task and a step' err
    status_is 0 show batch 3
    status_is 1 show nope
    status_is 1 show task 99
    has 'there is no task "99" in the store' err
    status_is 1 show task 77
    has 'but 2 steps published with that task_id: "tasker-status steps --task 77"' err
    status_is 1 show step 9001 --batch b-failed
    has 'there is no step "9001" in batch b-failed in the store' err
    [ ! -s out ]
}

@test "status show: steps and tasks, and which is meant" { for_each_store show_steps_and_tasks; }

what_failed() {
    fill_store
    status_is 1 errors -f json
    holds '[.[] | [.of, .category, .handler, .count]] | .[0] == ["message", "malformed", null, 2] and length == 5'
    holds '.[] | select(.category == "validation") | .handler == "Refund_All" and .example.message == "no such order"'
    holds '.[] | select(.category == "unknown") | .handler == "RefundXAll" and .example == "it broke"'
    holds '.[] | select(.of == "batch") | .category == "timeout" and .example.message == "out of time"'
    status_is 1 errors --category validation -f json
    holds 'length == 1'
    status_is 1 errors --handler 'Refund*' -f json
    holds '[.[].of] == ["step", "step"]'
    status_is 1 errors --newer-than 60s -f json
    holds '[.[].of] | sort == ["message", "step"]'
    status_is 0 errors --handler 'Order::*'
    [ ! -s out ]
    status_is 0 errors --category nope
    # the time is that of the failure, and not of what was done to the step since
    store_sql "INSERT INTO step_transitions (step, sort_key, to_state, event, origin, metadata, created_at)
        VALUES (5, 3003, 'error', 'step.failed', 'ledger', '{}', $((now - 300000)))"
    store_sql "UPDATE steps SET state = 'pending', updated_at = $now WHERE id = 5"
    status_is 0 errors --category validation --newer-than 60s
    status_is 1 errors --category validation --older-than 60s -f json
    holds '.[0].example.message == "no such order" and .[0].first_at == .[0].last_at'
    metrics_of errors -f prometheus
    [ "$(value tasker_errors '{"category": "validation", "handler": "Refund_All", "of": "step"}')" = 1 ]
    [ "$(value tasker_errors '{"category": "malformed", "handler": "", "of": "message"}')" = 2 ]
    store_sql "UPDATE steps SET state = 'resolved_manually' WHERE id = 5"
    status_is 0 errors --category validation
}

@test "status errors: groups, and the exit status" { for_each_store what_failed; }

what_is_slow() {
    fill_store
    status_is 0 slow -f json
    holds '[.[] | select(.message_type == "slow_step") | .step_id] == [4, 1, 6, 5, 666]'
    holds '[.[] | select(.message_type == "slow_batch") | .batch_id] == ["b-completed", "b-failed"]'
    status_is 0 slow --limit 1 -f json
    holds '[.[].execution_ms] == [90061, 150]'
    status_is 0 slow --handler 'Refund*' -f json
    holds '[.[].execution_ms] == [50, 45, 95]'
    status_is 0 slow --task 2
    has '1m 30s' out
    metrics_of slow -f prometheus
    [ "$(value tasker_slowest_step_seconds '{}')" = 90.061 ]
    [ "$(value tasker_slowest_batch_seconds '{}')" = 0.150 ]
}

@test "status slow: steps and batches" { for_each_store what_is_slow; }

what_is_silent() {
    local was its
    fill_store
    status_is 1 orphans -f json
    holds '[.[] | [.kind, .batch_id, .step_id]] == [["silent_batch", "b-published", null],
        ["silent_step", "b-completed", 2], ["silent_step", "b-timeout", 9001],
        ["unknown_batch", "b-foreign", null], ["unsent_batch", "b-created", null]]'
    holds '.[0] | .open_steps == 1 and .silent_ms >= 89000 and .worker_id == "worker-1"'
    holds '.[3].messages == 2'
    # younger ones too, but no step within its time limit
    status_is 1 orphans --older-than 20s -f json
    holds '[.[] | select(.kind == "silent_batch") | .batch_id] == ["b-published", "3"]'
    status_is 1 orphans --older-than 650s -f json
    holds '[.[].kind] == ["unsent_batch"]'
    # one whose steps are all cancelled is waited for by nobody
    its="id IN (SELECT p.step FROM batch_steps p JOIN batches b ON b.id = p.batch WHERE b.batch_id = 'b-created')"
    was=$(store_sql "SELECT state FROM steps WHERE $its")
    store_sql "UPDATE steps SET state = 'cancelled' WHERE $its"
    status_is 0 orphans --older-than 650s
    store_sql "UPDATE steps SET state = '$was' WHERE $its"
    status_is 0 orphans --older-than 1h
    [ ! -s out ]
    status_is 1 orphans --older-than 1s --limit 1 -f json
    holds '[.[].kind] == ["silent_batch", "silent_step", "unknown_batch", "unsent_batch"]'
    status_is 1 orphans --older-than 1s --limit 1
    has '--limit N shows more' out
    metrics_of orphans -f prometheus
    [ "$(value tasker_orphans '{"kind": "silent_step"}')" = 2 ]
    metrics_of orphans -f prometheus --older-than 1h
    [ "$(value tasker_orphans '{"kind": "silent_step"}')" = 0 ]
}

@test "status orphans: which, and the exit status" { for_each_store what_is_silent; }

all_metrics() {
    fill_store
    local state kind=$STORE schema
    schema=$(store_sql 'SELECT max(version) FROM schema_migrations')
    metrics_of metrics
    [ "$(value tasker_store_info "{\"backend\": \"$kind\", \"schema\": \"$schema\"}")" = 1 ]
    [ "$(value tasker_store_size_bytes '{}')" -gt 10000 ]
    [ "$(value tasker_ledger_messages '{}')" = 9 ]
    [ "$(value tasker_ledger_malformed_messages '{}')" = 2 ]
    [ "$(value tasker_unsettled_batches '{}')" = 2 ]
    awk -F '\t' '$1 == "tasker_oldest_unsettled_seconds" {exit !($3 >= 30 && $3 < 90)}' prom
    awk -F '\t' '$1 == "tasker_oldest_unfinished_batch_seconds" {exit !($3 >= 90 && $3 < 150)}' prom
    awk -F '\t' '$1 == "tasker_oldest_unsent_batch_seconds" {exit !($3 >= 700 && $3 < 760)}' prom
    for state in pending in_progress complete error cancelled resolved_manually; do
        [ "$(value tasker_tasks "{\"state\": \"$state\"}")" = 1 ]
    done
    # as many as the store has, state by state
    grep -P '^tasker_(steps|batches)\t' prom | sed 's/\t{"state": "/ /; s/"}\t/ /' | sort >have
    for kind in steps batches; do
        store_sql "SELECT state, count(*) FROM $kind GROUP BY state" | sed "s/^/tasker_$kind /; s/|/ /"
    done | sort >want
    diff want <(grep -v ' 0$' have)
    for kind in tasks batches steps errors slow orphans; do
        metrics_of "$kind" -f prometheus
        [ -s prom ]
        status_is 0 "$kind" -f prometheus
        cat out
    done >all
    /usr/bin/python3 "$ROOT/tests/status_prom.py" <all >prom # none of them has a family of another
}

@test "status metrics: the format of Prometheus, and the figures" { for_each_store all_metrics; }

# Whatever the store holds, no format has a character that a terminal acts on.
hostile_texts() {
    fill_store
    local what
    for what in tasks batches steps errors slow "orphans --older-than 0" metrics "show batch 3 --raw" \
        "show step 666" "show task 6" "show b-executing --raw" "show b-completed --raw"; do
        for format in text json prometheus; do
            case "$format $what" in prometheus\ show* | *json\ metrics) continue ;; esac
            [ "$what" = metrics ] || set -- -f "$format"
            # shellcheck disable=SC2086
            tasker-status $what "$@" >out 2>err || [ $? -eq 1 ]
            [ -s out ] && [ ! -s err ] || { cat err; return 1; }
            ! LC_ALL=C grep -anP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]' out || false
            iconv -f UTF-8 -t UTF-8 out >/dev/null
            [ "$format" != json ] || jq -e . out >/dev/null
            set --
        done
    done
    status_is 0 steps --category $'c"\\\n\e' -f json
    holds 'length == 1 and .[0].name == "n\"\\\n\u001b[2J" and .[0].error.message == "m\u001b[31m\n\"x\"\\"'
    metrics_of metrics
    grep -qF '{"category": "c\"\\\\x0a\\x1b", "handler": "H\"\\\\x0ax\\x1b]0;pwned", "of": "step"}' prom
    status_is 0 show b-executing
    has 'message partial_result completed' out
    has '\x1b[31mred\xe2\x80\xae\xc2\x9b2J\x7f' out
    # what a filter is given is a value, whatever it says
    ids "" step_id steps --handler "x' OR '1'='1"
    ids "" step_id steps --category "'; DROP TABLE steps; --"
    ids "9001" step_id steps -n 1
}

@test "status of the store: hostile texts do no harm" { for_each_store hostile_texts; }

@test "status of the store: the manual page names all that JSON has" {
    store_begin sqlite
    fill_store
    local what name bad=0
    for what in tasks batches steps errors slow "orphans --older-than 0" "show b-completed --raw" \
        "show step 1" "show task 1" "show b-failed -n 1"; do
        # shellcheck disable=SC2086
        tasker-status $what -f json || true
    done >all
    grep -E '^\.(Va|Li|It)' "$ROOT/cmd/tasker-status.1" | grep -oE '[a-z0-9_]+' | sort -u >told
    for name in $(jq -r '.message_type, keys[]' all | sort -u); do
        grep -qx "$name" told || { echo "not in tasker-status.1: $name"; bad=1; }
    done
    tasker-status metrics | awk '/^# TYPE/ {print $3}' >names
    for name in $(cat names); do
        grep -qx "$name" told || { echo "not in tasker-status.1: $name"; bad=1; }
    done
    return $bad
}

# The store of a run that really happened.
@test "status of the store: a run through all programs" {
    endpoints
    store_begin sqlite
    cat >handlers.yaml <<'END'
handlers:
  Good: {command: [/bin/true]}
  Bad: {command: [/bin/sh, -c, "echo no >&2; exit 65"]}
END
    spawn work tasker-work --handlers handlers.yaml
    printf '%s\n' '{"batch_id":"run-1","steps":[
        {"step_id":1,"task_id":1,"step_name":"a","handler_class":"Good"},
        {"step_id":2,"task_id":1,"step_name":"b","handler_class":"Bad"}]}' | tr -d '\n' >batch.jsonl
    tasker-publish batch.jsonl | tasker-collect | tasker-reconcile >verdicts || [ $? -eq 1 ]
    status_is 0 show run-1 -f json
    holds '.[0] | .state == "failed" and .completed_steps == 1 and .failed_steps == 1'
    holds '[.[] | select(.at) | .at] | length > 8 and . == sort'
    status_is 1 errors -f json
    holds '.[0] | .category == "validation" and .handler == "Bad" and .count == 1'
    status_is 0 orphans --older-than 0
    metrics_of metrics
    [ "$(value tasker_batches '{"state": "failed"}')" = 1 ]
}
