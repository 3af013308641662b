#!/usr/bin/env bats
# Joins through the whole loop, on both stores; tests/unit/flow.c has all cases of the rule.
load helper
load store
load fan_out

cleanup_template() {
    cat >tasks/cleanup.yaml <<'EOT'
name: cleanup
step_templates:
  - {name: prepare, handler_class: Say, retry_limit: 1}
  - {name: work, handler_class: Echo, depends_on_step: prepare}
  - {name: clean, handler_class: Say, depends_on_step: work, join: all_done}
EOT
}

derived() {
    store_sql "select id, state, updated_at, attempts, waits_for from steps order by id"
    store_sql "select task, sort_key, from_state, to_state, event, created_at from task_transitions order by task, sort_key"
    store_sql "select step, sort_key, from_state, to_state, event, created_at from step_transitions order by step, sort_key"
}
same_after_rebuild() {
    derived >before
    tasker-reconcile --rebuild
    derived >after
    diff before after
}
clean_waits() { store_sql "select waits_for from steps where name = 'clean'"; }

# The step before the cleanup can never run, since its own upstream has failed for good.
cleanup_runs() {
    submit cleanup '{"prepare": ["fail", {"ok": 1}], "clean": {"cleaned": 1}}'
    run_loop
    [ "$(steps)" = "\
prepare|error
work|pending
clean|complete" ]
    [ "$(task_state)" = error ]
    [ "$(results clean)" = '{"cleaned":1}' ]
    has "it waits for step 1 (prepare), which is error; tasker-resolve can retry or resolve it" \
        "$(tasker-ready --explain step 2)"
    has "its task is in error: no step of it can run now" "$(tasker-ready --explain step 2)"
    same_after_rebuild
    # an operator lets it go on: the cleanup has had its run
    tasker-resolve retry step 1 --reason "the disk is mended" >resolved
    [ "$(task_state)" = in_progress ]
    run_loop
    [ "$(steps | xargs)" = "prepare|complete work|complete clean|complete" ]
    [ "$(store_sql "select attempts from steps where name = 'clean'")" = 1 ]
    [ "$(task_state)" = complete ]
    same_after_rebuild
}
@test "a cleanup behind a step that can never run runs, and the task ends in error after it" {
    cleanup_template
    for_each_store cleanup_runs
}

explain_cleanup() {
    submit both '{"fails": ["fail"]}'
    spawn work tasker-work --handlers "$handlers"
    tasker-ready --limit 2 | tasker-publish 2>refused | tasker-collect | tasker-reconcile >verdicts || true
    [ "$(steps | xargs)" = "fails|error refused|error later|pending clean|pending" ]
    [ "$(tasker-ready --explain 4)" = "step 4 (clean, Echo): pending
    it waits for step 3 (later), which is pending" ]
    has "its last batch could not be run: no handler for Nobody (step 2, refused)" "$(tasker-ready --explain 2)"
    signal work TERM
    finish work
}
@test "--explain of a cleanup names the step that may still run, not those that have failed" {
    cat >tasks/both.yaml <<'EOT'
name: both
step_templates:
  - {name: fails, handler_class: Say, retry_limit: 1}
  - {name: refused, handler_class: Nobody}
  - {name: later, handler_class: Echo}
  - {name: clean, handler_class: Echo, depends_on_steps: [fails, refused, later], join: all_done}
EOT
    for_each_store explain_cleanup
}

# An operator is faster than the cleanup: it waits again.
retried_before() {
    submit cleanup '{"prepare": ["fail", "fail"], "clean": 1}'
    spawn work tasker-work --handlers "$handlers"
    tasker-ready | tasker-publish | tasker-collect | tasker-reconcile >verdicts || true
    [ "$(clean_waits)" = 0 ]
    [ "$(task_state)" = in_progress ]
    tasker-resolve retry step 1 --reason again >resolved
    [ "$(clean_waits)" = 1 ]
    [ "$(tasker-ready | tee b | jq -c '[.steps[].step_name]')" = '["prepare"]' ]
    tasker-publish b | tasker-collect | tasker-reconcile >verdicts || true
    [ "$(clean_waits)" = 0 ]
    # while it is claimed, it is not taken back
    tasker-ready >b
    tasker-resolve retry step 1 --reason again >resolved
    [ "$(steps | xargs)" = "prepare|pending work|pending clean|enqueued" ]
    tasker-publish b | tasker-collect | tasker-reconcile >verdicts
    [ "$(steps | xargs)" = "prepare|pending work|pending clean|complete" ]
    [ "$(task_state)" = in_progress ]
    same_after_rebuild
    signal work TERM
    finish work
}
@test "a failed step that is tried again before the cleanup was claimed holds it back" {
    cleanup_template
    for_each_store retried_before
}
