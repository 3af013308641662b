# Fan-out at run time: steps whose output asks for optional steps of their template, through the whole
# loop, on both stores.
load helper
load store

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks TASKER_RETRY_BASE=20ms TASKER_RETRY_JITTER=0
    mkdir tasks
    # Branches behind a decision, and what joins them.
    cat >tasks/branch.yaml <<'EOT'
name: branch
step_templates:
  - {name: decide, handler_class: Say}
  - {name: approve, handler_class: Echo, depends_on_step: decide, optional: true}
  - {name: refuse, handler_class: Echo, depends_on_step: decide, optional: true}
  - {name: appeal, handler_class: Echo, depends_on_step: refuse, optional: true}
  - {name: other, handler_class: Other}
  - {name: all, handler_class: Echo, depends_on_steps: [approve, refuse, appeal]}
  - {name: any, handler_class: Echo, depends_on_steps: [approve, refuse], join: any_ok}
EOT
    # N of a kind between a splitter and a join.
    cat >tasks/wide.yaml <<'EOT'
name: wide
step_templates:
  - {name: split, handler_class: Say}
  - {name: shard, handler_class: Shard, depends_on_step: split, optional: true, handler_config: {unit: 7}}
  - {name: audit, handler_class: Echo, depends_on_step: split, optional: true}
  - {name: join, handler_class: Echo, depends_on_step: shard, join: all_done}
EOT
    cat >tasks/plain.yaml <<'EOT'
name: plain
step_templates: [{name: only, handler_class: Say}, {name: next, handler_class: Echo, depends_on_step: only}]
EOT
    # Two that may ask for the same.
    cat >tasks/both.yaml <<'EOT'
name: both
step_templates:
  - {name: one, handler_class: Say}
  - {name: two, handler_class: Say}
  - {name: extra, handler_class: Echo, depends_on_steps: [one, two], optional: true}
  - {name: last, handler_class: Echo, depends_on_step: extra}
EOT
    cat >say <<'EOT'
#!/bin/sh
# What the context has for this step: an output, or for each attempt one; "fail" in it fails.
jq -c --argjson n "$TASKER_ATTEMPT" --arg name "$TASKER_STEP_NAME" '
    .task.context[$name] | if type == "array" then .[$n - 1] else . end' >out.$TASKER_STEP_ID
grep -q '"fail"' out.$TASKER_STEP_ID && exit 75
cat out.$TASKER_STEP_ID
EOT
    cat >shard <<'EOT'
#!/bin/sh
jq -c '.step | if .metadata.index == (.task_context.bad // 0) then error("bad") else
    {index: .metadata.index, count: .metadata.count, kind: .template_step, unit: .handler_config.unit,
     parts: .previous_results.split.parts} end' || exit 65
EOT
    chmod +x say shard
    cat >handlers.yaml <<'EOT'
handlers:
  Say: {command: [./say]}
  Shard: {command: [./shard]}
  Other: {command: [/bin/true]}
  Echo: {command: [jq, -c, .sequence.previous_results]}
EOT
    handlers=$PWD/handlers.yaml
}

teardown() { store_end && test_end; }

submit() { # TEMPLATE CONTEXT
    jq -nc --argjson context "$2" '{context: $context}' | tasker-submit -T "$1" >>submitted
}

ended() { [ -z "$(store_sql "select task_id from tasks where state in ('pending', 'in_progress')")" ]; }

# Runs the loop batch by batch until all tasks have ended.
run_loop() {
    local n=0
    spawn work tasker-work --handlers "$handlers"
    until ended; do
        n=$((n + 1))
        [ "$n" -lt 300 ]
        tasker-ready >batches.jsonl || nap
        tasker-publish batches.jsonl | tasker-collect | tasker-reconcile >>verdicts 2>>reconcile.err || true
    done
    signal work TERM
    finish work
}

steps() { store_sql "select name, state from steps where task = ${1:-1} order by place, created_index, id"; }
results() { store_sql "select results from steps where task = ${2:-1} and name = '$1'"; }
task_state() { store_sql "select state from tasks where task_id = ${1:-1}"; }

branch_is_chosen() {
    submit branch '{"decide": {"create_steps": ["refuse"], "why": 1}}'
    submit branch '{"decide": {"why": 2}}'
    submit branch '{"decide": {"create_steps": ["approve", {"name": "refuse", "count": 0}]}}'
    run_loop
    [ "$(steps 1)" = "\
decide|complete
refuse|complete
other|complete
all|complete
any|complete" ]
    [ "$(results refuse 1 | jq -c .decide.why)" = 1 ]
    [ "$(results all 1 | jq -c keys)" = '["refuse"]' ]
    [ "$(results any 1 | jq -c keys)" = '["refuse"]' ]
    [ "$(steps 2)" = "\
decide|complete
other|complete
all|complete
any|complete" ]
    [ "$(results all 2)" = '{}' ]
    [ "$(results all 3 | jq -c keys)" = '["approve"]' ]
    [ "$(store_sql "select state from tasks" | sort -u)" = complete ]
}
@test "a decision chooses a branch, another one, or none: what joins them waits for what there is" {
    for_each_store branch_is_chosen
}

a_chain() {
    submit branch '{"decide": {"create_steps": ["refuse", "appeal"]}}'
    run_loop
    [ "$(store_sql "select a.name, b.name, d.choice from step_dependencies d join steps a on a.id = d.from_step join steps b on b.id = d.to_step order by b.place, a.place")" = "\
decide|refuse|0
refuse|appeal|0
decide|all|1
refuse|all|0
appeal|all|0
decide|any|1
refuse|any|0" ]
    [ "$(results appeal | jq -c keys)" = '["refuse"]' ]
    [ "$(results all | jq -c keys)" = '["appeal","refuse"]' ]
}
@test "an optional step behind an optional step" { for_each_store a_chain; }

n_of_a_kind() {
    submit wide '{"split": {"parts": [5, 6], "create_steps": [{"name": "shard", "count": 12}, "audit"]}}'
    submit wide '{"split": {"parts": [], "create_steps": [{"name": "shard", "count": 0}]}}'
    submit wide '{"bad": 2, "split": {"create_steps": [{"name": "shard", "count": 3}]}}'
    submit wide '{"split": {"create_steps": [{"name": "shard", "count": 1}]}}'
    run_loop
    [ "$(steps 1 | head -4)" = "\
split|complete
shard#1|complete
shard#2|complete
shard#3|complete" ]
    [ "$(store_sql "select count(*) from steps where task = 1 and state = 'complete'")" = 15 ]
    [ "$(results join 1 | jq -c '[.shard[].index]')" = "[1,2,3,4,5,6,7,8,9,10,11,12]" ]
    [ "$(results join 1 | jq -c '.shard[11]')" = '{"index":12,"count":12,"kind":"shard","unit":7,"parts":[5,6]}' ]
    [ "$(results audit 1 | jq -c keys)" = '["split"]' ]
    [ "$(steps 2)" = "\
split|complete
join|complete" ]
    [ "$(results join 2)" = '{}' ]
    [ "$(results join 3 | jq -c '[.shard[] | .index]')" = "[1,null,3]" ]
    [ "$(task_state 3)" = error ]
    [ "$(results join 4 | jq -c '[.shard[] | .index]')" = "[1]" ]
}
@test "N of a kind, each with its index; their join gets a list" { for_each_store n_of_a_kind; }

# Outputs nested to the limit and one level more: the first is JSON still where the batch of the join
# has it in a list, the other is text, and the task beside them in that batch runs too.
deep_outputs() {
    submit wide '{"deep": 59, "split": {"create_steps": [{"name": "shard", "count": 2}]}}'
    submit wide '{"deep": 60, "split": {"create_steps": [{"name": "shard", "count": 2}]}}'
    submit wide '{"split": {"create_steps": [{"name": "shard", "count": 1}]}}'
    run_loop
    [ "$(store_sql "select distinct state from tasks")" = complete ]
    [ "$(store_sql "select count(*) from steps where name = 'join' and state = 'complete'")" = 3 ]
    [ "$(store_sql "select results from steps where task = 1 and name = 'shard#1'" | tr -d '\n' | tr -cd '[' | wc -c)" = 59 ]
    [ "$(store_sql "select results from steps where task = 2 and name = 'shard#1'" | cut -c1-2)" = '"[' ]
}
@test "N of a kind with outputs that are nested as deep as may be" {
    cat >shard <<'EOT'
#!/bin/sh
deep=$(jq -r '.step.task_context.deep // 1')
printf '%*s' "$deep" '' | tr ' ' '['
printf '%*s' "$deep" '' | tr ' ' ']'
EOT
    sed -i '/name: join/s/Echo/Count/' tasks/wide.yaml
    printf "  Count: {command: [jq, -c, '.sequence.previous_results.shard | length']}\n" >>handlers.yaml
    for_each_store deep_outputs
}

# A step that asks for what cannot be fails for good, says why, and nothing is made.
cannot_be() {
    local template step output why name state category attempts error
    while IFS='|' read -r template step output why; do
        template=${template// /} step=${step// /}
        submit "$template" "{\"$step\": $output}"
    done <../table
    export TASKER_WORKFLOW_MAX_CREATED_STEPS=50 TASKER_WORKFLOW_MAX_TASK_STEPS=45
    run_loop
    store_sql "select name, state, error_category, attempts, error from steps where error is not null order by task" >errors
    [ "$(wc -l <errors)" = "$(wc -l <../table)" ]
    while IFS='|' read -r template step output why; do
        IFS='|' read -r name state category attempts error <&4
        [ "$name $state $category $attempts" = "${step// /} error validation 1" ]
        has "${why# }" "${error//\\/}"
        has '"error_type":"create_steps"' "$error"
        has '"retryable":false' "$error"
    done <../table 4<errors
    [ -z "$(store_sql "select name from steps where created_by is not null")" ]
    [ "$(store_sql "select distinct state from tasks")" = error ]
    [ "$(store_sql "select state from batches where id = (select batch from batch_steps where step = 1)")" = failed ]
    has "for steps that cannot be made" reconcile.err
    tasker-reconcile --batch "$(store_sql "select batch_id from batches where id = 1")" >verdict || true
    has '"status":"completed","outcome":"failed"' verdict
    has "is no optional step" verdict
    has "failed for good after attempt 1 of 3: validation" "$(tasker-ready --explain task 1)"
}
@test "what cannot be made: the step that asks fails with category validation, and its reason" {
    cat >table <<'EOT'
branch | decide | {"create_steps": ["refund"]}               | "refund" is no optional step of the template
branch | decide | {"create_steps": ["aprove"]}               | (did you mean approve?)
branch | decide | {"create_steps": ["other"]}                | "other" is no optional step
branch | decide | {"create_steps": "approve"}                | create_steps is not a list
branch | decide | {"create_steps": {"approve": 1}}           | create_steps is not a list
branch | decide | {"create_steps": [7]}                      | entry 1 is neither a name nor an object
branch | decide | {"create_steps": ["approve", null]}        | entry 2 is neither a name nor an object
branch | decide | {"create_steps": [{"count": 2}]}           | entry 1 has no name
branch | decide | {"create_steps": [{"name": ""}]}           | entry 1 has no name
branch | decide | {"create_steps": [{"name": "approve", "count": -1}]}  | the count of "approve" is not a whole number
branch | decide | {"create_steps": [{"name": "approve", "count": 1.5}]} | the count of "approve" is not a whole number
branch | decide | {"create_steps": [{"name": "approve", "count": "2"}]} | the count of "approve" is not a whole number
branch | decide | {"create_steps": [{"name": "approve", "size": 2}]}    | has a member "size"
branch | decide | {"create_steps": ["approve", "approve"]}   | "approve" is there twice
branch | other  | {"create_steps": ["approve"]}              | "approve" does not wait for "other", which asks for it
branch | all    | {"create_steps": ["refuse"]}               | "refuse" would wait for itself: "all"
wide   | split  | {"create_steps": ["audit", {"name": "shard", "count": 50}]} | more than 50 steps (workflow.max_created_steps)
wide   | split  | {"create_steps": [{"name": "shard", "count": 44}]} | more than 45 steps (workflow.max_task_steps)
wide   | split  | {"create_steps": [{"name": "shard", "count": 1000000000000}]} | more than 50 steps
branch | decide | {"create_steps": ["approve\u0000evil"]}    | the name of entry 1 has a NUL
branch | decide | {"create_steps": [{"name": "approve\u0000evil"}]} | entry 1 has no name
branch | decide | {"create_steps": [{"name": "approve", "count": null}]} | the count of "approve" is not a whole number
plain  | only   | {"create_steps": ["next"]}                 | the template of the task has no optional steps
plain  | only   | {"cre\u0061te_steps": ["next"]}            | the template of the task has no optional steps
EOT
    sed -i 's/handler_class: Other/handler_class: Say/; s/{name: all, handler_class: Echo/{name: all, handler_class: Say/' tasks/branch.yaml
    for_each_store cannot_be
}

two_ask() {
    submit both '{"one": {"create_steps": ["extra"]}, "two": {"create_steps": ["extra"]}}'
    submit both '{"one": {"create_steps": [{"name": "extra", "count": 2}]}, "two": {"create_steps": ["extra"]}}'
    submit both '{"one": {"create_steps": [{"name": "extra", "count": 2}]}, "two": {"create_steps": [{"name": "extra", "count": 0}]}}'
    run_loop
    [ "$(store_sql "select count(*) from steps where task = 1 and name = 'extra' and state = 'complete'")" = 1 ]
    [ "$(results extra 1 | jq -c keys)" = '["one","two"]' ]
    [ "$(task_state 1)" = complete ]
    # of the two in the second task the one whose result came first has its way
    [ "$(store_sql "select count(*) from steps where task = 2 and name in ('one', 'two') and state = 'error' and error_category = 'validation'")" = 1 ]
    has "was made already, for step" "$(store_sql "select error from steps where task = 2 and state = 'error'")"
    [ "$(results last 3 | jq -c '.extra | length')" = 2 ]
}
@test "two steps ask for the same: once is enough, and N of a kind are one step's" { for_each_store two_ask; }

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
    message() { # BATCH ATTEMPT STATUS REST
        printf '{"message_type":"partial_result","batch_id":"%s","step_id":1,"task_id":1,"step_name":"split","attempt":%s,"status":"%s","sequence":1%s}\n' "$@"
    }
    error='{"message_type":"batch_error","batch_id":"'$id'","error":{"message":"gone","error_type":"lost","error_category":"infrastructure","retryable":true}}'
    ledger "$id" batch_error "$error"
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
    [ "$(store_sql "select state from steps where name = 'split'")" = error ]
    [ "$(store_sql "select count(*) from steps")" = 2 ]
    [ "$(store_sql "select from_step, to_step, choice from step_dependencies")" = "1|2|1" ]
}
ready_again() { tasker-ready >b2; }
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

# What is asked for is cut within a character when it is told.
cut_name() {
    local x
    x=$(printf 'x%.0s' {1..79})
    submit plain "{\"only\": {\"create_steps\": [\"${x}\u00e9\u00e9\"]}}"
    submit branch "{\"decide\": {\"create_steps\": [\"${x}\u00e9\u00e9\"]}}"
    submit branch '{"decide": {}}'
    run_loop
    [ "$(task_state 2)" = error ]
    [ "$(task_state 3)" = complete ]
    has "$x" "$(store_sql "select error from steps where task = 2 and error is not null")"
    [ "$(cat reconcile.err | grep -c UTF-8)" = 0 ]
}
@test "a name that is too long to be told whole is cut, and is still a text" { for_each_store cut_name; }

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
    export TASKER_WORKFLOW_MAX_TASK_STEPS=25
    unset TASKER_WORKFLOW_MAX_CREATED_STEPS
    submit two '{"a": {"create_steps": [{"name": "x", "count": 20}]}, "b": {"create_steps": [{"name": "y", "count": 20}]}}'
    submit two '{"a": {"create_steps": [{"name": "x", "count": 8}]}, "b": {"create_steps": [{"name": "x", "count": 8}]}}'
    spawn work tasker-work --handlers "$handlers"
    round 4
    [ "$(store_sql "select count(*) from steps where task = 1")" = 22 ]
    [ "$(store_sql "select count(*) from steps where task = 2")" = 10 ]
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
    round 28
    same_after --rebuild
    # but a new attempt is judged anew
    tasker-resolve retry --reason 'there is room now' 2 >resolved
    round 1
    round 20
    [ "$(store_sql "select count(*) from steps where task = 1 and state = 'complete'")" = 42 ]
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

shared_name() {
    export TASKER_WORKFLOW_MAX_TASK_STEPS=4
    submit three '{"a": {"create_steps": ["refund"]}, "b": {"create_steps": ["refund"]}, "c": {"create_steps": ["refund"]}}'
    submit three '{"a": {"create_steps": ["refund"]}, "b": {"create_steps": ["refund"]}, "c": {"create_steps": ["other"]}}'
    spawn work tasker-work --handlers "$handlers"
    tasker-ready | tasker-publish | tasker-collect >/dev/null
    tasker-reconcile --ledger >verdicts || true
    [ "$(store_sql "select count(*) from steps where task = 1")" = 4 ]
    [ "$(store_sql "select count(*) from steps where state = 'error' and task = 1")" = 0 ]
    # whose result came first has its way
    [ "$(store_sql "select count(*) from steps where task = 2")" = 4 ]
    [ "$(store_sql "select count(*) from steps where state = 'error' and task = 2")" -ge 1 ]
    signal work TERM
    finish work
}
@test "one that several ask for is counted once" {
    cat >tasks/three.yaml <<'EOT'
name: three
step_templates:
  - {name: a, handler_class: Say}
  - {name: b, handler_class: Say}
  - {name: c, handler_class: Say}
  - {name: refund, handler_class: Echo, depends_on_steps: [a, b, c], optional: true}
  - {name: other, handler_class: Echo, depends_on_steps: [a, b, c], optional: true}
EOT
    for_each_store shared_name
}
