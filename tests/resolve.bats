#!/usr/bin/env bats
# tasker-resolve: what an operator does to steps, tasks and namespaces, on both stores: bad input,
# retry, reset and resolve, hold and release.
load helper
load store
load reconcile_store
load resolve

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
no such step           | retry -r x 99              | - | 1 | step 99 belongs to no task in the store: only a step of a task can be changed
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
    printf '7 \r\n' >>errors # as some editors end a line
    run -1 --separate-stderr resolve retry - <errors
    is "$(jq -c .step_id <<<"$output" | sort -n | tr '\n' ' ')" "8 11 14 "
    has "step 7 (first) is complete: it can be resolved" "$stderr"
    run_all
    is "$(tasks)" "$(printf 'complete %.0s' {1..5})"
    rebuilt
}
@test "resolve: many at once, by filters and by lines of tasker-status" { for_each_store many; }

# A step that somebody published himself may have the step_id of a step of a task.
another() {
    worker
    submit chain 1
    run_all
    is "$(states)" "complete error pending "
    echo '{"step_id":2,"task_id":77,"step_name":"mine","handler_class":"Nobody"}' |
        tasker-publish --batch-endpoint "tcp://127.0.0.1:*" --wait 0.1s || true
    tasker-status steps --state error,enqueued --format json | jq -c 'select(.task_id == 77)' >mine
    [ "$(jq -c '[.step_id, .known_task]' mine)" = '[2,false]' ]
    run -65 --separate-stderr resolve retry - <mine
    [ -z "$output" ]
    has "-:1: step 2 is of no task that the store has" "$stderr"
    # what others say of it has its task_id alone
    jq -c 'del(.known_task)' mine >said
    echo '{"step_id":2,"task_id":1}' >>said
    printf '\xef\xbb\xbf2\n' >>said
    run -65 --separate-stderr resolve retry - <said
    has "step 2 in the store is of task 1, not of 77: nothing is done to it" "$stderr"
    has "-:3: malformed JSON: it begins with a byte order mark" "$stderr"
    is "$(jq -c '[.step_id, .task_id]' <<<"$output")" "[2,1]"
}
@test "resolve: an object of a step of no task is not taken for another's step" { for_each_store another; }

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
