#!/usr/bin/env bats
# tasker-resolve cancel, on both stores; with real handlers where a running one is to be stopped.
load helper
load store
load reconcile_store
load resolve

waiting() {
    submit chain 2
    resolve cancel 1 >out
    is "$(states)$(tasks)" "cancelled cancelled cancelled pending pending pending cancelled pending "
    tasker-ready >claimed
    resolve cancel task 2 >out
    is "$(jq -c '[.of, .to_state, .handler]' out | tr '\n' ' ')" \
        '["task","cancelled",null] ["step","cancelled",null] ["step","cancelled",null] ["step","cancelled","unsent"] '
    is "$(states)$(tasks)" "$(printf 'cancelled %.0s' {1..8})"
    is "$(store_sql 'SELECT dropped FROM batches' | tr -d ' ')" "[4]"
    rebuilt
    # it is sent all the same, and dropped by the worker
    worker
    tasker-publish claimed | tasker-collect >results
    is "$(jq -c 'select(.step_id == 4) | [.status, .error.error_category]' results)" '["failed","cancelled"]'
    tasker-reconcile --ledger >verdicts || true
    is "$(states)$(tasks)" "$(printf 'cancelled %.0s' {1..8})"
    is "$(store_sql 'SELECT count(*) FROM discrepancies')" 0
    rebuilt
    run -1 resolve cancel 4
    has "step 4 (first) is cancelled: it can be resolved" "$output"
    run -1 tasker-ready
}
@test "resolve: steps that do not run are cancelled, those behind them too, and one that is claimed is not run" { for_each_store waiting; }


stop_running() {
    worker
    services
    submit long
    wait_line ../log started
    resolve cancel 1 >out
    is "$(jq -c '[.step_id, .from_state, .to_state, .handler, .worker_id]' out)" '[1,"in_progress","cancelled","stopped","w1"]'
    wait_until 10 tasks_are "cancelled "
    is "$(states)" "cancelled cancelled "
    submit stubborn
    wait_line ../log started
    resolve cancel task 2 >out
    is "$(jq -c '[.of, .to_state, .handler]' out | tr '\n' ' ')" '["task","cancelled",null] ["step","cancelled","stopped"] '
    services_end
    is "$(states)$(tasks)" "cancelled cancelled cancelled cancelled cancelled "
    is "$(store_sql "SELECT error FROM steps WHERE id = 3" | jq -r .message)" "cancelled by an operator (killed: it did not end on TERM)"
    is "$(store_sql 'SELECT error_category FROM steps WHERE id IN (1, 3)' | tr '\n' ' ')" "cancelled cancelled "
    run -1 resolve cancel task 2 # the worker has said so
    has "task 2 (stubborn) is cancelled: it can be resolved" "$output"
    run -1 resolve cancel --task 2
    has "no step that can be cancelled goes through the filters" "$output"
    is "$(store_sql 'SELECT count(*) FROM discrepancies')" 0
    rebuilt
    signal work TERM
    finish work
}
@test "resolve: a running step is stopped, and one that ignores TERM" { for_each_store stop_running; }

queued() {
    spawn work tasker-work -H ../handlers.yaml -j 1
    services
    submit stubborn 3
    wait_line ../log started
    wait_until 10 states_are "in_progress enqueued enqueued "
    resolve cancel 2 >out
    is "$(jq -c '[.step_id, .from_state, .handler]' out)" '[2,"enqueued","dropped"]'
    resolve resolve 3 >out
    is "$(jq -c '[.step_id, .to_state, .handler]' out)" '[3,"resolved_manually","dropped"]'
    resolve cancel 1 >out
    services_end
    is "$(states)" "cancelled cancelled resolved_manually "
    is "$(wc -l <../log)" 1
    is "$(store_sql 'SELECT count(*) FROM discrepancies')" 0
    rebuilt
}
@test "resolve: a step that waits at the worker is dropped" { for_each_store queued; }

told_as_lost() { [ "$(store_sql "SELECT count(*) FROM received_results WHERE source LIKE 'lost:%'")" = 1 ]; }

# The worker is gone, or does not answer: the step is cancelled, and that is said.
unreached() {
    local -x TASKER_ZEROMQ_HEARTBEAT_INTERVAL=2s # so that it is not taken for lost at once
    worker
    services
    submit long
    wait_line ../log started
    wait_until 10 states_are "in_progress pending "
    signal work STOP
    run -75 --separate-stderr resolve cancel 1 --wait 300ms
    is "$(jq -c '[.to_state, .handler]' <<<"$output")" '["cancelled","unreached"]'
    has "step 1 is cancelled, but worker w1 was not reached: its handler may run to its end" "$stderr"
    is "$(states)" "cancelled cancelled "
    wait_until 20 told_as_lost
    signal work CONT
    resolve cancel 1 >out
    is "$(jq -c '[.from_state, .to_state, .handler]' out)" '["cancelled","cancelled","stopped"]'
    resolve cancel 1 >out # the batch was lost before: nobody but the worker knows
    is "$(jq -c '[.from_state, .handler]' out)" '["cancelled","ended"]'
    services_end
    is "$(store_sql "SELECT count(*) FROM step_transitions WHERE origin = 'operator' AND step = 1")" 1
    rebuilt
}
@test "resolve: a worker that does not answer is told of, and can be told later" { for_each_store unreached; }

unreached_task() { # the same by the id of the task, and by filters
    local -x TASKER_ZEROMQ_HEARTBEAT_INTERVAL=20s # so that it is not taken for lost
    worker
    services
    submit long 2
    wait_until 10 both_started
    wait_until 10 states_are "in_progress pending in_progress pending "
    signal work STOP
    run -75 --separate-stderr resolve cancel task 1 --wait 300ms
    is "$(brief <<<"$output")" '["task",1,2,"in_progress","cancelled",null] ["step",2,null,"pending","cancelled",null] ["step",1,null,"in_progress","cancelled","unreached"] '
    run -75 --separate-stderr resolve cancel task 1 --wait 300ms
    is "$(brief <<<"$output")" '["task",1,1,"cancelled","cancelled",null] ["step",1,null,"cancelled","cancelled","unreached"] '
    run -75 --separate-stderr resolve cancel --namespace shop --limit 2 --wait 300ms # what is open comes first
    is "$(brief <<<"$output")" '["step",4,null,"pending","cancelled",null] ["step",3,null,"in_progress","cancelled","unreached"] '
    is "$(resolve cancel --dry-run task 1 | brief)" '["task",1,1,"cancelled","cancelled",null] ["step",1,null,"cancelled","cancelled",null] '
    signal work CONT
    resolve cancel task 1 >out
    is "$(brief <out)" '["task",1,1,"cancelled","cancelled",null] ["step",1,null,"cancelled","cancelled","stopped"] '
    resolve cancel --task 2 >out
    is "$(brief <out)" '["step",3,null,"cancelled","cancelled","stopped"] '
    services_end
    is "$(store_sql "SELECT count(*) FROM task_transitions WHERE origin = 'operator'")" 1
    is "$(store_sql "SELECT count(*) FROM step_transitions WHERE origin = 'operator'")" 4
    rebuilt
}
@test "resolve: a task is cancelled again where a worker was not reached" { for_each_store unreached_task; }

# A worker that knows no such message ignores it, and its result changes nothing.
late() {
    batch b 1
    store_script "INSERT INTO tasks (task_id, namespace, name, created_at, updated_at, state) VALUES (7, 'n', 't', 1, 1, 'in_progress');
        UPDATE steps SET task = 7, id = 1, step_id = 1"
    ledger b 3000 "$(partial b 1 in_progress)"
    run -75 --separate-stderr resolve cancel 1 --wait 100ms
    has "worker (which one is not known) was not reached" "$stderr"
    results b 1 $(($(date +%s) * 1000 + 60000))
    tasker-reconcile --ledger >verdicts || true
    is "$(states)" "cancelled "
    is "$(store_sql 'SELECT type, detail FROM discrepancies')" "refused_transition|the ledger wants it complete, and it was cancelled"
    rebuilt
}
@test "resolve: a result that comes after all the same is kept, and told" { for_each_store make_and late; }
make_and() { make_store && "$@"; }
