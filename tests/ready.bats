#!/usr/bin/env bats
# tasker-ready: bad input by a table, then claims, on both stores.
load helper
load store

setup() {
    test_begin
    export TASKER_TASKS_PATH=$PWD/tasks
    mkdir tasks
    cat >tasks/order.yaml <<'EOF'
name: order
namespace_name: shop
step_templates:
  - {name: check, handler_class: Check, timeout_seconds: 7, handler_config: {strict: true}}
  - {name: pay, handler_class: Pay, depends_on_step: check}
  - {name: ship, handler_class: Ship, depends_on_steps: [check, pay]}
handler_config: {level: 3}
EOF
    cat >tasks/single.yaml <<'EOF'
name: single
step_templates:
  - {name: one, handler_class: One}
EOF
    cat >tasks/blocks.yaml <<'EOF'
name: blocks
step_templates:
  - {name: pay, handler_class: Pay}
  - {name: ship, handler_class: Ship, depends_on_step: pay, unsatisfied: block}
EOF
}

teardown() { store_end && test_end; }

submit() { # NAME COUNT [OPTION...]
    local name=$1 count=$2
    shift 2
    seq "$count" | jq -c '{context: {n: .}}' | tasker-submit -T "$name" "$@" >submitted
}

@test "bad input: each case has its reason and its status" {
    printf 'not a database, and long enough to be seen as none of the kind that it is' >none.db
    mkdir folder
    cat >table <<'EOF'
no store configured    | --store none               | - | 78 | there is no store
no store there         | -n --store sqlite:gone.db  | - | 69 | there is no store at
no folder for it       | --store sqlite:none.db/x.db | - | 69 | none.db
not a database         | --store sqlite:none.db     | - | 69 | none.db
a folder               | --store sqlite:folder      | - | 69 | folder
not a url              | --store mysql://x          | - | 64 | a store is sqlite
a password in sight    | --store postgresql://a:b@c/d | - | 64 | a password may not stand
nothing is ready       | --store sqlite:new.db      | - | 1
dry, nothing is ready  | -n --store sqlite:new.db   | - | 1
batch size 0           | -b 0                       | - | 64 | "0" is out of range
batch size no number   | -b x                       | - | 64 | "x" is not a whole number
batch size too large   | -b 10001                   | - | 64 | out of range
limit 0                | -l 0                       | - | 64 | "0" is out of range
limit negative         | -l -1                      | - | 64 | out of range
group unknown          | -g kind                    | - | 64 | handler, task, mixed
task 0                 | --task 0                   | - | 64 | out of range
task beyond 64 bits    | --task 99999999999999999999 | - | 64 | out of range
follow and limit       | -F -l 1                    | - | 64 | --follow does not go with
follow and dry         | -F -n                      | - | 64 | --follow does not go with
operand                | step                       | - | 64 | operands go only with --explain
too many operands      | a b c                      | - | 64
explain and filter     | -x --task 1 1              | - | 64 | --explain goes with no other
explain and follow     | -x -F 1                    | - | 64 | --explain goes with no other
explain nothing        | -x                         | - | 64 | --explain takes
explain a word         | -x step                    | - | 64 | "step" is not a whole number
explain another kind   | -x batch 1                 | - | 64 | --explain takes
explain no such step   | -x 7 --store sqlite:new.db | - | 1 | there is no step 7 of a task
explain no such task   | -x task 7 --store sqlite:new.db | - | 1 | there is no task 7
explain without store  | -x 7 --store sqlite:gone.db | - | 69 | there is no store at
unknown option         | --folow                    | - | 64 | --folow
EOF
    run_case_table tasker-ready <table
}

a_batch_has_all_it_needs() {
    submit order 1 --priority 4
    tasker-ready >out
    [ "$(jq -c '.steps[0] | [.step_id,.task_id,.step_name,.handler_class,.handler_config,.task_context,.previous_results,.task_handler_config,.namespace,.task_name]' out)" = \
        '[1,1,"check","Check",{"strict":true},{"n":1},{},{"level":3},"shop","order"]' ]
    [ "$(jq -c '.steps[0].metadata' out)" = '{"sequence":1,"total_steps":1,"attempt":1,"retry_limit":3,"retryable":true,"timeout_ms":7000}' ]
    [ "$(store_sql "select s.state, s.attempts, b.state, b.total_steps, b.timeout_ms from steps s join batch_steps p on p.step = s.id join batches b on b.id = p.batch")" = "enqueued|1|created|1|67000" ]
    [ "$(store_sql "select state from tasks")" = in_progress ]
    tasker-publish --dry-run out | jq -e '.batch_id' >/dev/null
    run tasker-ready
    [ "$status" -eq 1 ]
    [ -z "$output" ]
}
@test "a batch has all that its handlers need, and its steps are claimed" { for_each_store a_batch_has_all_it_needs; }

previous_results_are_there() {
    submit order 1
    store_sql "update steps set state = 'complete', results = '{\"ok\":1}' where name = 'check'" >/dev/null
    store_sql "update steps set waits_for = 0 where name = 'pay'" >/dev/null
    [ "$(tasker-ready | jq -c '.steps[0] | [.step_name,.previous_results]')" = '["pay",{"check":{"ok":1}}]' ]
}
@test "previous results come by the names of the steps" { for_each_store previous_results_are_there; }

order_and_groups() {
    submit single 3
    submit order 2 --priority 9
    [ "$(tasker-ready -n -b 2 -g mixed | jq -c '[.steps[].task_id]' | tr '\n' ' ')" = "[4,5] [1,2] [3] " ]
    [ "$(tasker-ready -n -g task | jq -c '[.steps[].task_id]' | tr '\n' ' ')" = "[4] [5] [1] [2] [3] " ]
    [ "$(tasker-ready -n -g handler | jq -c '[.steps[].handler_class]' | tr '\n' ' ')" = '["Check","Check"] ["One","One","One"] ' ]
    [ "$(tasker-ready -n --namespace shop | jq -c '[.steps[].task_id]')" = "[4,5]" ]
    [ "$(tasker-ready -n --task 2 | jq -c '[.steps[].task_id]')" = "[2]" ]
    run tasker-ready -n --task 2 --namespace shop
    [ "$status" -eq 1 ]
    [ "$(tasker-ready -l 3 -b 10 -g mixed | jq -c '[.steps[].task_id]')" = "[4,5,1]" ]
    [ "$(tasker-ready | jq -c '[.steps[].task_id]')" = "[2,3]" ]
}
@test "priority first, then age; in groups, by filters, up to a limit" { for_each_store order_and_groups; }

what_cannot_run() {
    submit single 5
    store_sql "update steps set next_retry_at = 99999999999999 where id = 1" >/dev/null
    store_sql "update tasks set state = 'cancelled' where task_id = 2" >/dev/null
    store_sql "update steps set state = 'error' where id = 3" >/dev/null
    store_sql "update steps set next_retry_at = 1 where id = 4" >/dev/null
    [ "$(tasker-ready -n | jq -c '[.steps[].step_id]')" = "[4,5]" ]
    store_sql "insert into held_namespaces (namespace, reason, created_at) values ('default', 'a move', 1)" >/dev/null
    run tasker-ready
    [ "$status" -eq 1 ]
    tasker-ready -x 1 >one
    has "its back-off is over at" one
    has "namespace default is held since 1970-01-01T00:00:00.001Z" one
    has "a move" one
    tasker-ready -x step 2 >two
    has "its task has ended: cancelled" two
    tasker-ready -x 3 >three
    has "failed for good" three
    has "task 5 (default/single): pending, 1 step" "$(tasker-ready -x task 5)"
}
@test "what cannot run is not claimed, and why is said" { for_each_store what_cannot_run; }

a_step_that_blocks() {
    submit blocks 1
    tasker-ready -x 2 >before
    has "it waits for step 1 (pay), which is pending" before
    run ! grep "can never" before
    tasker-resolve cancel 1 --reason "nobody pays" >/dev/null
    tasker-ready -x 2 >after
    has "it waits for step 1 (pay), which is cancelled" after
    has "its join all_ok can never be satisfied, since step 1 is cancelled" after
    has "(unsatisfied: block)" after
}
@test "a step that blocks behind a cancelled one says so" { for_each_store a_step_that_blocks; }

many_at_once() {
    submit single 400
    local i
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        spawn r$i tasker-ready -b 7 --set store.timeout=60s
    done
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        finish r$i 90
        [ "$status" -le 1 ]
    done
    cat r*.out | jq -r '.steps[].step_id' | sort -n >ids
    [ "$(uniq ids | wc -l)" -eq 400 ]
    [ "$(wc -l <ids)" -eq 400 ]
    [ "$(store_sql 'select count(*) from batch_steps')" = 400 ]
}
@test "twenty at once: every step is claimed once" { for_each_store many_at_once; }

sessions() { # CONDITION: how many there are
    store_sql "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND $1"
}
some_session() { [ "$(sessions "$1")" != 0 ]; }

@test "tasks that start are locked in the order of their ids, so that nobody waits in a circle" {
    store_begin postgresql
    submit single 1
    submit order 1 --priority 9 # its step comes first
    spawn other psql -X -q -d "$TASKER_STORE_URL" -c 'BEGIN; SELECT 1 FROM tasks WHERE task_id = 1 FOR UPDATE; SELECT pg_sleep(100)'
    wait_until 10 some_session "wait_event = 'PgSleep'"
    spawn ready tasker-ready --set store.timeout=60s
    wait_until 10 some_session "wait_event_type = 'Lock'"
    [ "$(store_sql 'SELECT task_id FROM tasks WHERE task_id = 2 FOR UPDATE NOWAIT')" = 2 ]
    store_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    finish_with 0 ready
    [ "$(jq .steps[].task_id ready.out | tr '\n' ' ')" = "2 1 " ]
    finish other
}

follow_wakes() {
    store_sql "select 1" >/dev/null 2>&1 || true
    spawn follow tasker-ready --follow
    submit single 2
    wait_line follow.out '"step_id":1'
    wait_line follow.out '"step_id":2'
    store_sql "update steps set state = 'pending', next_retry_at = $(($(date +%s%3N) + 700)) where id = 1" >/dev/null
    submit single 1 # and with it the news of the other
    wait_line follow.out '"attempt":2'
    signal follow TERM
    finish_with 0 follow
}
@test "--follow is woken by the store and by the end of a back-off" { for_each_store follow_wakes; }

@test "a reader that goes away: what was claimed is named, and still there to be sent" {
    store_begin sqlite
    submit single 3
    status=0
    tasker-ready >/dev/full 2>err || status=$?
    [ "$status" -eq 74 ]
    has "tasker-publish --pending sends it" err
    [ "$(store_sql "select state from batches")" = created ]
}

by_bytes() {
    head -c 300000 /dev/zero | tr '\0' y >pad
    for i in 1 2 3 4 5; do jq -Rc --argjson n $i '{context: {n: $n, pad: .}}' pad; done >in.jsonl
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=1M
    tasker-submit -T single in.jsonl >submitted
    tasker-ready >out
    [ "$(jq -c '[.steps[].step_id]' out | tr '\n' ' ')" = "[1,2,3] [4,5] " ] ||
        [ "$(jq -c '[.steps[].step_id]' out | tr '\n' ' ')" = "[1,2] [3,4] [5] " ]
    tasker-publish --dry-run out >sent
    [ "$(wc -l <sent)" -eq "$(wc -l <out)" ]
    jq -Rc '{context: {pad: (. + .)}}' pad >long.jsonl
    run tasker-submit -T single long.jsonl
    [ "$status" -eq 65 ]
    has "over half of max_message_bytes" "$output"
}

# What a step gets of those before it can be more than a message holds: it fails, for good.
too_long() {
    cat >"$TASKER_TASKS_PATH/grow.yaml" <<'EOF'
name: grow
step_templates:
  - {name: a, handler_class: A}
  - {name: b, handler_class: B}
  - {name: join, handler_class: J, depends_on_steps: [a, b]}
  - {name: beside, handler_class: S, depends_on_step: a}
EOF
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=64K
    tasker-submit -T grow -x '{}' >submitted
    tasker-ready -b 1 >out
    head -c 40000 /dev/zero | tr '\0' x >pad
    for id in 1 2; do
        batch=$(sed -n ${id}p out | jq -r .batch_id)
        jq -Rc --arg b "$batch" --argjson s $id '{message_type: "partial_result", batch_id: $b,
            step_id: $s, attempt: 1, status: "completed", output: .}' pad
        echo '{"message_type":"batch_completion","batch_id":"'"$batch"'","total_steps":1,"completed_steps":1}'
    done >results
    tasker-reconcile results >/dev/null
    run --separate-stderr tasker-ready -n
    [ "$status" -eq 65 ]
    [ "$(store_sql "select count(*) from steps where state = 'pending'")" = 2 ]
    run --separate-stderr tasker-ready
    [ "$status" -eq 65 ]
    [ "$(jq -r '.steps[].step_name' <<<"$output")" = beside ]
    has 'step 3 (join) with its context and previous_results makes a message of' "$stderr"
    has "over max_message_bytes (65536)" "$stderr"
    has "refused: step 3 (join) with" "$(tasker-ready --explain 3)"
    refused=$(store_sql "select batch_id from batches b where exists (select 1 from received_results r where r.source = 'ready:' || b.batch_id)")
    run --separate-stderr tasker-publish --dry-run --pending
    [ "$(jq -r '.steps[].step_name' <<<"$output")" = beside ] # nobody sends the other
    tasker-reconcile --batch "$refused" >/dev/null || [ $? -eq 1 ]
    [ "$(store_sql "select state from steps where id = 3")" = error ]
    [ "$(store_sql "select state from batches where batch_id = '$refused'")" = failed ]
    [ "$(store_sql "select attempts from steps where id = 3")" = 1 ]
    tasker-status errors >errors || [ $? -eq 1 ]
    has 'over max_message_bytes' errors
    store_sql "select * from step_transitions order by step, sort_key" >before
    tasker-reconcile --rebuild >/dev/null || [ $? -eq 1 ]
    store_sql "select * from step_transitions order by step, sort_key" >after
    cmp before after
}
@test "a step that is too long for a message is refused and fails, for good" { for_each_store too_long; }

@test "a batch is never too long to be sent" { for_each_store by_bytes; }
