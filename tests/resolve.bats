#!/usr/bin/env bats
# tasker-resolve: what an operator does to steps, tasks and namespaces, on both stores; with real
# handlers where a running one is to be stopped.
load helper
load store
load reconcile_store

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks USER=alice TASKER_WORKER_ID=w1
    export TASKER_WORKER_KILL_GRACE=200ms TASKER_WORKER_CONFIRM_TIMEOUT=1s
    export TASKER_ZEROMQ_LINGER=200ms TASKER_ZEROMQ_HEARTBEAT_INTERVAL=100ms TASKER_RETRY_BASE=1m
    who=alice@$(hostname)
    mkdir tasks
    template chain '{name: first, handler_class: True}' \
        '{name: fix, handler_class: Fix, depends_on_step: first}' \
        '{name: last, handler_class: True, depends_on_step: fix}'
    template flaky '{name: flaky, handler_class: Flaky, default_retry_limit: 2}'
    template long '{name: wait, handler_class: Wait}' \
        '{name: after, handler_class: True, depends_on_step: wait}'
    template quick '{name: quick, handler_class: True}'
    template stubborn '{name: stubborn, handler_class: Stubborn}'
    cat >handlers.yaml <<'END'
handlers:
  True: {command: [/bin/sh, -c, 'exit 0']}
  Fix: {command: [/bin/sh, -c, '[ -e fixed ] || exit 65']}
  Flaky: {command: [/bin/sh, -c, '[ -e fixed ] || exit 75']}
  Wait: {command: [/bin/sh, -c, 'echo "started $TASKER_STEP_ID" >>log; exec sleep 300']}
  Stubborn: {command: [/bin/sh, -c, 'trap "" TERM; echo "started $TASKER_STEP_ID" >>log; exec sleep 300']}
END
}

template() { # NAME STEP...
    local name=$1
    shift
    { printf 'name: %s\nnamespace_name: shop\nstep_templates:\n' "$name" && printf '  - %s\n' "$@"; } >"tasks/$name.yaml"
}

submit() { # NAME [COUNT]
    rm -f ../log ../fixed
    seq "${2:-1}" | jq -c '{context: {n: .}}' | tasker-submit -T "$1" >/dev/null
}

worker() { # with the registry of the test, in whose folder handlers run
    spawn work tasker-work -H ../handlers.yaml
}

# All that can run runs, as from cron.
run_all() {
    while tasker-ready >batches.jsonl; do
        tasker-publish batches.jsonl 2>>stages.err | tasker-collect 2>>stages.err | tasker-reconcile >>verdicts 2>>stages.err || true
    done
}

# The same as services.
services() {
    mkfifo batches
    # shellcheck disable=SC2016 # the pipe is that of the shell below
    spawn loop bash -c 'set -m; tasker-publish <batches 2>publish.err | tasker-collect 2>collect.err |
        tasker-reconcile --follow >verdicts 2>reconcile.err'
    spawn ready bash -c 'exec tasker-ready --follow >batches'
}
services_end() {
    signal ready TERM
    finish_with 0 ready
    finish loop 30
}

resolve() { tasker-resolve "$@" --reason 'as I say'; }
states() { store_sql 'SELECT state FROM steps ORDER BY id' | tr '\n' ' '; }
tasks() { store_sql 'SELECT state FROM tasks ORDER BY task_id' | tr '\n' ' '; }
is() { # ACTUAL WANTED
    [ "$1" = "$2" ] && return
    printf 'is:     %s\nwanted: %s\n' "$1" "$2" >&2
    return 1
}
states_are() { [ "$(states)" = "$1" ]; }
tasks_are() { [ "$(tasks)" = "$1" ]; }

brief() { jq -c '[.of, .step_id // .task_id, .steps, .from_state, .to_state, .handler]' | tr '\n' ' '; }
both_started() { [ "$(grep -cs started ../log)" = 2 ]; }

# ---- bad input

@test "resolve: each case has its reason and its status" {
    export TASKER_STORE_URL=sqlite:$PWD/s.db
    submit chain
    printf 'not a database, and long enough to be seen as none of the kind that it is' >none.db
    printf 'nonsense\n{"step_id":"x"}\n{"task_id":1}\n{]\n0\n' >lines
    printf '\377\n' >latin
    cat >table <<'END'
nothing                |                            | - | 64 | what to do is missing
an unknown action      | retrie -r x 1              | - | 64 | did you mean retry?
a strange action       | zzz -r x 1                 | - | 64 | there are retry, reset
no reason              | retry 1                    | - | 64 | --reason is missing
an empty reason        | cancel -r '' 1             | - | 64 | --reason is missing
a reason not in UTF-8  | cancel -r $'\377' 1        | - | 64 | --reason is not UTF-8
an empty name          | cancel -r x --by '' 1      | - | 64 | --by is empty
no id                  | retry -r x                 | - | 64 | no step or task is named
no id behind a word    | retry -r x task            | - | 64 | no id stands behind "task"
an id that is none     | retry -r x 1x              | - | 64 | "1x" is not the id of a step
a negative id          | cancel -r x step -- -4     | - | 64 | "-4" is not the id of a step
id 0                   | cancel -r x task 0         | - | 64 | "0" is not the id of a task
an id beyond 64 bits   | cancel -r x 99999999999999999999 | - | 64 | is not the id of a step
ids and a filter       | retry -r x --category a 1  | - | 64 | either ids or filters
a limit alone          | retry -r x -l 3 1          | - | 64 | --limit goes with a filter
limit 0                | retry -r x -l 0 --task 1   | - | 64 | out of range
task 0                 | retry -r x --task 0        | - | 64 | out of range
a wait that is none    | cancel -r x -w soon 1      | - | 64 | is not a duration
no namespace           | hold -r x                  | - | 64 | no namespace is named
an empty namespace     | hold -r x ''               | - | 64 | a namespace is a text
a filter for hold      | hold -r x --task 1 shop    | - | 64 | hold and release take namespaces
a wait for release     | release -r x -w 1 shop     | - | 64 | hold and release take namespaces
an unknown option      | retry -r x --all           | - | 64 | --all
no store configured    | retry -r x --store none 1  | - | 78 | there is no store
no store there         | retry -n -r x --store sqlite:gone.db 1 | - | 69 | there is no store at
not a database         | retry -r x --store sqlite:none.db 1 | - | 69 | none.db
no such step           | retry -r x 99              | - | 1 | step 99 of a task is not in the store
no such task           | cancel -r x task 99        | - | 1 | task 99 is not in the store
no such task to retry  | retry -r x task 99         | - | 1 | task 99 has no step that can be retried
nothing in error       | retry -r x 1               | - | 1 | step 1 (first) is pending: it can be resolved or cancelled
never attempted        | reset -r x 1               | - | 1 | step 1 (first) is pending: it can be resolved or cancelled
a filter for nothing   | retry -r x --task 1        | - | 1 | no step that can be retried goes
a task without errors  | reset -r x task 1          | - | 1 | task 1 has no step that can be reset
not held               | release -r x shop          | - | 1 | the namespace shop is not held
lines with no id       | cancel -n -r x -           | @lines | 65 | -:2: the object has no step_id that is an id
lines with no JSON     | cancel -n -r x -           | @lines | 65 | -:4:
a line that is no name | hold -n -r x -             | @latin | 65 | -:1:
a full disk            | cancel -r x 3 >/dev/full   | - | 74 | standard output
END
    run_case_table tasker-resolve <table
    is "$(states)" "pending pending cancelled "
}

# ---- retry and reset

retry() {
    worker
    submit chain
    run_all
    is "$(tasks)$(states)" "error complete error pending "
    touch ../fixed
    resolve retry 2 >out
    is "$(jq -c '[.message_type, .action, .of, .step_id, .task_id, .name, .attempt, .from_state, .to_state, .reason, .by]' out)" \
        '["operator_action","retry","step",2,1,"fix",1,"error","pending","as I say","'"$who"'"]'
    is "$(tasks)$(states)" "in_progress complete pending pending "
    run resolve retry 2
    [ "$status" -eq 1 ]
    has "step 2 (fix) is pending: it can be reset, resolved or cancelled" "$output"
    rebuilt
    run_all
    is "$(tasks)$(states)" "complete complete complete complete "
    is "$(store_sql 'SELECT attempts FROM steps ORDER BY id' | tr '\n' ' ')" "1 2 1 "
    rebuilt
    tasker-status show step 2 >shown
    has "error to pending (step.retried, operator) by $who: as I say" shown
    is "$(tasker-status show step 2 --format json | jq -c 'select(.origin == "operator") | [.attempt, .event, .metadata.by]')" \
        "[1,\"step.retried\",\"$who\"]"
}
@test "resolve: a step that failed for good is tried again, and the task goes on" { for_each_store retry; }

back_off() {
    worker
    submit flaky
    run_all
    is "$(states)" "pending "
    [ "$(store_sql 'SELECT next_retry_at IS NOT NULL FROM steps')" != 0 ]
    run -1 tasker-ready
    resolve retry 1 >out
    is "$(jq -c '[.from_state, .to_state]' out)" '["pending","pending"]'
    is "$(store_sql 'SELECT next_retry_at FROM steps')" ""
    rebuilt
    run_all # the second and last attempt
    is "$(states)$(tasks)" "error error "
    resolve retry 1 >out
    run_all # one more, whatever the limit is
    is "$(states)" "error "
    resolve reset 1 >out
    is "$(jq -c '[.action, .from_state, .to_state]' out)" '["reset","error","pending"]'
    run_all # the first of two again
    is "$(states)$(tasks)" "pending in_progress "
    rebuilt
    tasker-ready --explain 1 >explained
    has "attempt 4 of 5 failed" explained
    resolve retry 1 >out
    run_all
    is "$(states)$(tasks)" "error error "
    rebuilt
    is "$(store_sql 'SELECT attempt FROM batch_steps ORDER BY attempt' | tr '\n' ' ')" "1 2 3 4 5 "
}
@test "resolve: no wait for a back-off, one attempt more, and all attempts again" { for_each_store back_off; }

many() {
    worker
    submit chain 5
    run_all
    is "$(states)" "$(printf 'complete error pending %.0s' {1..5})"
    touch ../fixed
    is "$(resolve retry --handler 'F?x*' --category validation --namespace shop --limit 2 | jq -c .step_id | tr '\n' ' ')" "2 5 "
    run resolve retry --handler 'F[i]x'
    [ "$status" -eq 1 ]
    is "$(resolve retry --task 3 --dry-run | jq -c '[.step_id, .dry_run]')" '[8,true]'
    is "$(states | tr ' ' '\n' | grep -c error)" 3
    tasker-status steps --state error --format json >errors
    # what cannot be done is told, and the others are done
    printf '7\n' >>errors
    run -1 --separate-stderr resolve retry - <errors
    is "$(jq -c .step_id <<<"$output" | sort -n | tr '\n' ' ')" "8 11 14 "
    has "step 7 (first) is complete: it can be resolved" "$stderr"
    run_all
    is "$(tasks)" "$(printf 'complete %.0s' {1..5})"
    rebuilt
}
@test "resolve: many at once, by filters and by lines of tasker-status" { for_each_store many; }

# ---- resolve

by_hand() {
    worker
    submit chain 2
    run_all
    resolve resolve 2 >out
    is "$(jq -c '[.action, .from_state, .to_state]' out)" '["resolve","error","resolved_manually"]'
    run -1 resolve resolve 2
    has "step 2 (fix) is resolved_manually: nothing more can be done to it" "$output"
    run_all
    is "$(states)$(tasks)" "complete resolved_manually complete complete error pending complete error "
    resolve resolve task 2 >out
    is "$(jq -c '[.of, .task_id // .step_id, .to_state]' out | tr '\n' ' ')" '["task",2,"resolved_manually"] ["step",2,"cancelled"] '
    is "$(states)$(tasks)" "complete resolved_manually complete complete error cancelled complete resolved_manually "
    run -1 resolve retry 5
    has "step 5 (fix) is error, and its task 2 is resolved_manually: it can be resolved or cancelled" "$output"
    run -1 resolve cancel task 2
    has "task 2 (chain) is resolved_manually: nothing more can be done to it" "$output"
    run_all
    rebuilt
    # one that was cancelled with those before it
    submit chain
    run_all
    resolve cancel 8 >out
    is "$(store_sql 'SELECT state FROM steps WHERE task = 3 ORDER BY id' | tr '\n' ' ')" "complete cancelled cancelled "
    resolve resolve 8 >out
    is "$(store_sql 'SELECT state FROM steps WHERE task = 3 ORDER BY id' | tr '\n' ' ')" "complete resolved_manually pending "
    resolve cancel 9 >out
    resolve resolve 9 >out
    is "$(store_sql 'SELECT state FROM tasks WHERE task_id = 3')" complete
    rebuilt
}
@test "resolve: done by other means, a step and a task" { for_each_store by_hand; }

# ---- cancel

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

# ---- hold and release

held() {
    worker
    services
    resolve hold shop nowhere >out 2>told
    is "$(jq -c '[.action, .of, .namespace, .from_state, .to_state]' out | head -1)" '["hold","namespace","shop","open","held"]'
    has "no task is of the namespace nowhere so far" told
    run -1 resolve hold shop
    has "the namespace shop is held already, since" "$output"
    has "by $who: as I say" "$output"
    submit long
    tasker-ready --explain 1 >explained
    has "its namespace shop is held since" explained
    has "by $who: as I say" explained
    tasker-status show task 1 >shown
    has "held               as I say" shown
    tasker-status store >shown
    has "held        shop since" shown
    is "$(tasker-status store --format json | jq -c '.held_namespaces[0] | [.namespace, .by, .reason]')" "[\"nowhere\",\"$who\",\"as I say\"]"
    run -1 tasker-ready
    is "$(states)" "pending pending "
    resolve release shop >out
    is "$(jq -c '[.action, .from_state, .to_state]' out)" '["release","held","open"]'
    wait_line ../log started
    is "$(store_sql "SELECT to_state, event, metadata FROM namespace_transitions WHERE namespace = 'shop' ORDER BY sort_key" | head -1)" \
        "held|namespace.held|$(jq -nc --arg who "$who" '{reason: "as I say", by: $who}')"
    resolve cancel task 1 >out
    services_end
}
@test "resolve: nothing of a namespace that is held is claimed, until it is released" { for_each_store held; }

# ---- races

follows() { # retry now wakes who follows
    worker
    services
    submit chain
    wait_until 20 tasks_are "error "
    touch ../fixed
    now_ms
    local start=$REPLY
    resolve retry 2 >out
    wait_until 10 tasks_are "complete "
    now_ms
    echo "from retry to the end of the task: $((REPLY - start)) ms"
    services_end
    rebuilt
}
@test "resolve: a retry wakes the services at once" { for_each_store follows; }

# A step that ends while it is cancelled has one end, whichever that is.
at_once() {
    local n
    worker
    services
    submit quick 12
    for n in {1..12}; do
        spawn "c$n" tasker-resolve cancel --reason race "$n"
    done
    for n in {1..12}; do
        finish "c$n"
        [ "$status" -eq 0 ] || [ "$status" -eq 1 ]
        [ "$status" -eq 0 ] || has "is complete: it can be resolved" "c$n.err"
    done
    services_end
    tasker-reconcile --ledger >>verdicts || true
    for n in {1..12}; do
        [ -s "c$n.out" ] && echo cancelled || echo complete
    done | paste -s -d ' ' >told
    is "$(states)" "$(cat told) "
    is "$(tasks)" "$(states)"
    rebuilt
}
@test "resolve: of a cancel and an end at the same moment one counts" { for_each_store at_once; }

twice() {
    local n
    submit chain 20
    for n in {1..4}; do spawn "c$n" tasker-resolve cancel --reason "by $n" task - < <(seq 20); done
    for n in {1..4}; do finish "c$n"; done
    is "$(cat c?.out | jq -r 'select(.of == "task") | .task_id' | sort -n | uniq -c | awk '$1 != 1' | wc -l)" 0
    is "$(cat c?.out | jq -r 'select(.of == "task") | .task_id' | wc -l)" 20
    is "$(cat c?.err | grep -c 'is cancelled: it can be resolved')" 60
    is "$(store_sql "SELECT count(*) FROM step_transitions WHERE origin = 'operator'")" 60
    rebuilt
}
@test "resolve: four at once do each thing once" { for_each_store twice; }

killed() {
    local n done=0
    submit chain 200
    for ((n = 0; n < 3; n++)); do
        spawn kill tasker-resolve cancel --reason kill --namespace shop
        wait_until 5 eval '[ -s kill.out ] || stopped kill'
        signal kill KILL 2>/dev/null || true
        finish kill
        # a step and its facts are one: nothing half done is there
        is "$(store_sql "SELECT count(*) FROM steps s WHERE s.state = 'cancelled' AND NOT EXISTS (SELECT 1 FROM step_transitions x
            WHERE x.step = s.id AND x.to_state = 'cancelled')")" 0
    done
    tasker-resolve cancel --reason kill --namespace shop >rest || [ $? -eq 1 ]
    is "$(store_sql "SELECT count(*) FROM steps WHERE state <> 'cancelled'")" 0
    is "$(store_sql "SELECT count(*) FROM tasks WHERE state <> 'cancelled'")" 0
    rebuilt
}
@test "resolve: killed in between, nothing is half done" { for_each_store killed; }

# The worker is gone, or does not answer: the step is cancelled, and that is said.
unreached() {
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
