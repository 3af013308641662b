#!/usr/bin/env bats
# Fan-out: results that come late, twice or in any order, rebuilds, and other limits later.
load helper
load store
load fan_out

# The rows of what there is, without when they were written.
rows() {
    store_sql "select id, task, name, state, created_at, updated_at, waits_for, attempts, results, error, creates, created_by, created_index, created_count, template_name, place from steps order by id"
    store_sql "select from_step, to_step, choice from step_dependencies order by from_step, to_step"
    store_sql "select task, sort_key, from_state, to_state, event, origin, created_at from task_transitions order by task, sort_key"
    store_sql "select step, sort_key, from_state, to_state, event, origin, metadata, created_at from step_transitions order by step, sort_key"
    store_sql "select id, state, updated_at from batches order by id"
}

made_again() {
    submit wide '{"split": {"create_steps": [{"name": "shard", "count": 5}, "audit"]}}'
    submit branch '{"decide": {"create_steps": ["refund"]}}'
    spawn work tasker-work --handlers "$handlers"
    tasker-ready | tasker-publish | tasker-collect >results.jsonl
    tasker-reconcile --ledger >verdicts || true # they are made, and nobody has claimed them
    [ "$(store_sql "select count(*) from steps where created_by is not null and state = 'pending'")" = 6 ]
    rows >before
    tasker-reconcile --rebuild
    rows >after
    diff before after
    tasker-ready -l 3 >claimed
    [ "$(store_sql "select count(*) from steps where created_by is not null and state = 'enqueued'")" = 3 ]
    rows >before
    tasker-reconcile --rebuild
    rows >after
    diff before after
    tasker-publish claimed | tasker-collect | tasker-reconcile >>verdicts
    signal work TERM
    finish work
    run_loop
    rows >before
    tasker-reconcile --rebuild & tasker-reconcile --rebuild & tasker-reconcile --rebuild
    wait -n || true
    wait -n || true
    rows >after
    diff before after
}
@test "a rebuild, or several at once, makes the same steps again, claimed or not" { for_each_store made_again; }

# The ledger is fed by hand: what of an older attempt comes late makes nothing, and what comes twice
# makes once.
late_and_twice() {
    local output='{"create_steps":[{"name":"shard","count":2}]}' id id2 i
    submit wide '{}'
    tasker-ready >b1
    id=$(jq -r .batch_id b1)
    message() { result "$1" 1 "${@:2}"; } # BATCH ATTEMPT STATUS REST
    ledger "$id" batch_error "$(gone "$id")"
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select state, attempts from steps where name = 'split'")" = "pending|1" ]
    ledger "$id" partial_result "$(message "$id" 1 completed ',"output":'"$output")"
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select count(*) from steps")" = 2 ]
    wait_until 5 ready_again
    id2=$(jq -r .batch_id b2)
    ledger "$id" partial_result "$(message "$id" 1 completed ',"sequence":2,"output":'"$output")"
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select count(*) from steps")" = 2 ]
    for i in 1 2; do
        ledger "$id2" partial_result "$(message "$id2" 2 completed ',"output":'"$output")"
        tasker-reconcile --ledger >verdicts || true
    done
    [ "$(store_sql "select name, created_by, created_at from steps where created_by is not null order by created_index" | cut -d'|' -f1,2)" = "\
shard#1|1
shard#2|1" ]
    # another end of that attempt, and no summary that decides: nobody knows, so what was made and not
    # claimed is taken back
    ledger "$id2" partial_result "$(message "$id2" 2 failed ',"error":{"message":"no","error_type":"x"},"retryable":false')"
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select state, creates from steps where name = 'split'")" = "error|" ]
    [ "$(store_sql "select count(*) from steps")" = 2 ]
    [ "$(store_sql "select from_step, to_step, choice from step_dependencies")" = "1|2|1" ]
}
ready_again() { tasker-ready >b2; }
result() { # BATCH STEP ATTEMPT STATUS REST
    printf '{"message_type":"partial_result","batch_id":"%s","step_id":%s,"task_id":1,"attempt":%s,"status":"%s","sequence":1%s}\n' "$@"
}
gone() { # BATCH
    printf '{"message_type":"batch_error","batch_id":"%s","error":{"message":"gone","error_type":"lost","error_category":"infrastructure","retryable":true}}' "$1"
}
ledger() { # BATCH TYPE MESSAGE
    local hex
    LEDGER=$((${LEDGER:-0} + 1))
    hex=$(printf %s "$3" | od -An -v -tx1 | tr -d ' \n')
    case $STORE in
    sqlite) hex="x'$hex'" ;;
    *) hex="'\\x$hex'::bytea" ;;
    esac
    store_sql "insert into received_results (received_at, collector_id, topic, message_type, batch_id, source, stream_offset, raw_message) values ($(date +%s%3N), 'test', '$2', '$2', '$1', 'test', $LEDGER, $hex);
insert into unsettled (batch_id) values ('$1')"
}
@test "a late result makes nothing, one that comes twice makes once, one that is in doubt takes back" {
    for_each_store late_and_twice
}

# Attempts within one batch: what the newest asks for counts, and is judged for itself.
newer_attempts() {
    local id
    submit wide '{}'
    tasker-ready >b1
    id=$(jq -r .batch_id b1)
    asks() { # ATTEMPT OUTPUT WANTED: what the step and those that it has made are like then
        ledger "$id" partial_result "$(result "$id" 1 "$1" completed ',"output":'"$2")"
        tasker-reconcile --ledger >verdicts || true
        [ "$(store_sql "select state, (select count(*) from steps where created_by = 1), creates from steps where id = 1")" = "$3" ]
    }
    asks 1 '{"create_steps":[{"name":"shard","count":2000}]}' "error|0|"
    asks 2 '{"create_steps":[{"name":"shard","count":2}]}' 'complete|2|[{"name":"shard","count":2}]'
    asks 3 '{}' "complete|0|"
    asks 4 '{"create_steps":[{"name":"shard","count":2000}]}' "error|0|"
}
@test "a newer attempt in the same batch asks for itself" { for_each_store newer_attempts; }

# Of two that ask for the same it is made for the one that was done first, and as of then.
first_has_it() {
    local id n
    submit both '{}'
    tasker-ready >b1
    id=$(jq -r .batch_id b1)
    for n in 2 1; do
        ledger "$id" partial_result "$(result "$id" $n 1 completed ',"output":{"create_steps":["extra"]}')"
    done
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select e.name, e.created_by, e.created_at - s.processed_at from steps e join steps s on s.id = 2 where e.created_by is not null")" = "extra|2|0" ]
}
@test "of two that ask for the same the first has it made" { for_each_store first_has_it; }

# What an attempt before the last asked for was found right: so it stays when the limits are lower.
past_attempt() {
    local id
    submit wide '{}'
    tasker-ready >b1
    id=$(jq -r .batch_id b1)
    ledger "$id" partial_result "$(result "$id" 1 1 failed ',"error":{"message":"no","error_type":"x"},"retryable":false')"
    tasker-reconcile --ledger >verdicts || true
    tasker-resolve retry --reason 'once more' 1 >resolved
    tasker-ready >b2
    ledger "$id" partial_result "$(result "$id" 1 1 completed ',"output":{"create_steps":[{"name":"shard","count":2}]}')"
    ledger "$id" batch_completion '{"message_type":"batch_completion","batch_id":"'"$id"'","step_summaries":[{"step_id":1,"final_status":"completed"}]}'
    tasker-reconcile --ledger >verdicts || true
    verdicts="select batch, step_id, status, outcome, error_message from settled_steps order by batch"
    [ "$(store_sql "$verdicts" | head -1)" = "1|1|completed|done|" ]
    { rows && store_sql "$verdicts"; } >before
    TASKER_WORKFLOW_MAX_CREATED_STEPS=1 tasker-reconcile --rebuild
    { rows && store_sql "$verdicts"; } >after
    diff before after
    [ "$(store_sql "select count(*) from steps where created_by is not null")" = 0 ]
}
@test "an attempt before the last makes nothing, and what it asked for is not judged again" { for_each_store past_attempt; }

# One that was claimed stays when who asked for it does no more, also while it waits to be tried again;
# so nobody else can ask for as many of its kind.
claimed_stays() {
    local n id=()
    submit kept '{}'
    for n in 1 2; do
        tasker-ready -l 1 >b
        id[n]=$(jq -r .batch_id b)
    done
    ledger "${id[1]}" partial_result "$(result "${id[1]}" 1 1 completed ',"output":{"create_steps":[{"name":"extra","count":2}]}')"
    tasker-reconcile --ledger >verdicts || true
    tasker-ready -l 1 >b
    [ "$(jq -r .steps[].step_name b)" = extra#1 ]
    ledger "$(jq -r .batch_id b)" batch_error "$(gone "$(jq -r .batch_id b)")"
    ledger "${id[1]}" partial_result "$(result "${id[1]}" 1 1 failed ',"error":{"message":"no","error_type":"x"},"retryable":false')"
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select name, state, attempts from steps order by id")" = "\
one|error|1
two|enqueued|1
extra#1|pending|1" ]
    ledger "${id[2]}" partial_result "$(result "${id[2]}" 2 1 completed ',"output":{"create_steps":[{"name":"extra","count":3}]}')"
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select name, state from steps order by id")" = "\
one|error
two|error
extra#1|pending" ]
    has "was made already, for step 1: N of a kind" "$(store_sql "select error from steps where name = 'two'")"
    rows >before
    tasker-reconcile --rebuild
    rows >after
    diff before after
}
@test "what was claimed stays when nobody asks for it any more, and counts" {
    cat >tasks/kept.yaml <<'EOT'
name: kept
step_templates:
  - {name: one, handler_class: Say}
  - {name: two, handler_class: Say}
  - {name: extra, handler_class: Echo, depends_on_steps: [one, two], optional: true, join: any_ok}
EOT
    for_each_store claimed_stays
}

# The store does not take what there is to write of one step.
refuse_step() {
    case $STORE in
    sqlite) store_sql "create trigger no before update on steps when new.id = $1 and new.state <> 'enqueued' begin select raise(abort, 'no'); end" ;;
    *) store_sql "alter table steps add constraint no check (id <> $1 or state in ('pending', 'enqueued'))" ;;
    esac
}
accept_step() {
    case $STORE in
    sqlite) store_sql "drop trigger no" ;;
    *) store_sql "alter table steps drop constraint no" ;;
    esac
}
one_is_refused() {
    local status=0 i
    for i in 1 2 3; do submit plain '{"only": {}}'; done
    spawn work tasker-work --handlers "$handlers"
    for i in 1 2 3; do tasker-ready -l 1 | tasker-publish | tasker-collect >/dev/null; done
    signal work TERM
    finish work
    refuse_step "$(store_sql "select id from steps where task = 2 and name = 'only'")"
    tasker-reconcile --ledger >verdicts 2>refused || status=$?
    [ "$status" = 65 ]
    [ "$(store_sql "select task, state from steps where name = 'only' order by task")" = "\
1|complete
2|enqueued
3|complete" ]
    [ "$(wc -l <verdicts)" = 2 ]
    has "is not settled: " refused
    has "$(store_sql "select b.batch_id from batches b join batch_steps p on p.batch = b.id join steps s on s.id = p.step where s.task = 2")" refused
    [ "$(store_sql "select count(*) from unsettled")" != 0 ]
    accept_step
    tasker-reconcile --ledger >verdicts
    [ "$(store_sql "select state from steps where task = 2 and name = 'only'")" = complete ]
}
@test "a batch that the store refuses does not keep the others back" { for_each_store one_is_refused; }

# Runs each step that is ready in a batch of its own, and settles them all at once.
round() {
    local n=0
    while tasker-ready -l 1 >one.$n; do
        tasker-publish one.$n | tasker-collect >/dev/null
        n=$((n + 1))
    done
    tasker-reconcile --ledger >>verdicts 2>>reconcile.err || true
    [ "$n" -ge "$1" ]
}

same_after() { # ARGUMENTS of tasker-reconcile
    rows >before
    tasker-reconcile "$@" >>verdicts 2>>reconcile.err || true
    rows >after
    diff before after
}

batch_of() { store_sql "select b.batch_id from batches b join batch_steps p on p.batch = b.id where p.step = $1"; }

one_by_one() {
    export TASKER_WORKFLOW_MAX_TASK_STEPS=8
    unset TASKER_WORKFLOW_MAX_CREATED_STEPS
    submit two '{"a": {"create_steps": [{"name": "x", "count": 5}]}, "b": {"create_steps": [{"name": "y", "count": 5}]}}'
    submit two '{"a": {"create_steps": [{"name": "x", "count": 3}]}, "b": {"create_steps": [{"name": "x", "count": 3}]}}'
    spawn work tasker-work --handlers "$handlers"
    round 4
    [ "$(store_sql "select count(*) from steps where task = 1")" = 7 ]
    [ "$(store_sql "select count(*) from steps where task = 2")" = 5 ]
    [ "$(store_sql "select task, name, state from steps where name in ('a', 'b') order by task, place")" = "\
1|a|complete
1|b|error
2|a|complete
2|b|error" ]
    has "workflow.max_task_steps" "$(store_sql "select error from steps where task = 1 and name = 'b'")"
    has "N of a kind are made by one step" "$(store_sql "select error from steps where task = 2 and name = 'b'")"
    same_after --rebuild
    # lower limits undo nothing, and higher ones let nothing pass that was refused
    export TASKER_WORKFLOW_MAX_TASK_STEPS=3 TASKER_WORKFLOW_MAX_CREATED_STEPS=2
    same_after --rebuild
    same_after --batch "$(batch_of 1)"
    unset TASKER_WORKFLOW_MAX_TASK_STEPS TASKER_WORKFLOW_MAX_CREATED_STEPS
    same_after --rebuild
    same_after --batch "$(batch_of 2)"
    round 8
    same_after --rebuild
    # but a new attempt is judged anew
    tasker-resolve retry --reason 'there is room now' 2 >resolved
    round 1
    round 5
    [ "$(store_sql "select count(*) from steps where task = 1 and state = 'complete'")" = 12 ]
    same_after --rebuild
    export TASKER_WORKFLOW_MAX_TASK_STEPS=3
    same_after --rebuild
    signal work TERM
    finish work
}
@test "steps in batches of their own that ask in one round know of each other; a rebuild, also with other limits, changes nothing" {
    cat >tasks/two.yaml <<'EOT'
name: two
step_templates:
  - {name: a, handler_class: Say}
  - {name: b, handler_class: Say}
  - {name: x, handler_class: Echo, depends_on_steps: [a, b], optional: true}
  - {name: y, handler_class: Echo, depends_on_steps: [a, b], optional: true}
EOT
    sed -i 's/depends_on_steps: \[a, b\]/&, join: all_done/' tasks/two.yaml
    for_each_store one_by_one
}

# What one may ask for depends on what others have: so of a task's steps no two are judged at once.
waits() { # CONDITION NUMBER
    [ "$(store_sql "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND $1")" = "$2" ]
}
judge_at_once() {
    local id=() kinds=('' x y) n
    store_begin postgresql
    submit pair '{}'
    for n in 1 2; do
        tasker-ready -l 1 >b
        id[n]=$(jq -r .batch_id b)
    done
    spawn held psql -X -q -d "$TASKER_STORE_URL" -c 'BEGIN; SELECT 1 FROM tasks FOR UPDATE; SELECT pg_sleep(100)'
    wait_until 10 waits "wait_event = 'PgSleep'" 1
    for n in 1 2; do
        ledger "${id[n]}" partial_result "$(result "${id[n]}" $n 1 completed ',"output":{"create_steps":[{"name":"'"${kinds[n]}"'","count":3}]}')"
        spawn r$n tasker-reconcile --ledger --set store.timeout=60s --set workflow.max_task_steps=6
        wait_until 10 waits "wait_event_type = 'Lock'" "$n"
    done
    store_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    finish r1
    finish r2
    finish held
    [ "$(store_sql "SELECT name, state FROM steps WHERE created_by IS NULL ORDER BY id")" = "\
a|complete
b|error" ]
    [ "$(store_sql "SELECT count(*) FROM steps")" = 5 ]
}
@test "two who settle steps of one task at the same time know what the other has let pass" {
    cat >tasks/pair.yaml <<'EOT'
name: pair
step_templates:
  - {name: a, handler_class: Say}
  - {name: b, handler_class: Say}
  - {name: x, handler_class: Echo, depends_on_steps: [a, b], optional: true}
  - {name: y, handler_class: Echo, depends_on_steps: [a, b], optional: true}
EOT
    judge_at_once
}
