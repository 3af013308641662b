#!/usr/bin/env bats
# Fan-out: what a step may not ask for, alone or beside others.
load helper
load store
load fan_out

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
    sed -i 's/handler_class: Other/handler_class: Say/; s/{name: all, handler_class: Echo/{name: all, when_skipped: run, handler_class: Say/' tasks/branch.yaml
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

# The second asks when what the first asked for is made.
one_after_another() {
    export TASKER_WORKFLOW_MAX_TASK_STEPS=8
    submit later '{"a": {"create_steps": [{"name": "x", "count": 3}]}, "b": {"create_steps": [{"name": "y", "count": 3}]}}'
    submit later '{"a": {"create_steps": [{"name": "x", "count": 3}]}, "b": {"create_steps": [{"name": "y", "count": 4}]}}'
    run_loop
    [ "$(store_sql "select task, count(*) from steps group by task order by task")" = "1|8
2|5" ]
    [ "$(task_state 1) $(task_state 2)" = "complete error" ]
    has "more than 8 steps (workflow.max_task_steps)" "$(store_sql "select error from steps where error is not null")"
}
@test "each step of a task is counted once, whether it was asked for or made" {
    cat >tasks/later.yaml <<'EOT'
name: later
step_templates:
  - {name: a, handler_class: Say}
  - {name: b, handler_class: Say, depends_on_step: a}
  - {name: x, handler_class: Echo, depends_on_step: a, optional: true}
  - {name: y, handler_class: Echo, depends_on_step: b, optional: true}
EOT
    for_each_store one_after_another
}
