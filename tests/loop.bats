#!/usr/bin/env bats
# The whole loop: submit, and the pipe of ready, publish, collect and reconcile, which closes on
# itself through the store; with real handlers, on both stores.
load helper
load store

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks TASKER_RETRY_BASE=50ms TASKER_RETRY_JITTER=0
    mkdir tasks
    cat >tasks/order.yaml <<'EOF'
name: order
step_templates:
  - {name: check, handler_class: Echo}
  - {name: reserve, handler_class: Echo, depends_on_step: check}
  - {name: pay, handler_class: Flaky, depends_on_step: check}
  - {name: ship, handler_class: Echo, depends_on_steps: [reserve, pay]}
EOF
    cat >tasks/refused.yaml <<'EOF'
name: refused
step_templates:
  - {name: check, handler_class: Refuse}
  - {name: next, handler_class: Echo, depends_on_step: check}
  - {name: mourn, handler_class: Echo, depends_on_step: check, join: all_done}
EOF
    cat >tasks/business.yaml <<'EOF'
name: business
step_templates:
  - {name: again, handler_class: Third}
  - {name: once, handler_class: Third, default_retryable: false}
EOF
    cat >flaky <<'EOF'
#!/bin/sh
echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>starts
[ "$TASKER_ATTEMPT" -ge 2 ] || exit 75
EOF
    cat >third <<'EOF'
#!/bin/sh
[ "$TASKER_ATTEMPT" -ge 3 ] || exit 1
EOF
    chmod +x flaky third
    cat >handlers.yaml <<'EOF'
handlers:
  Echo: {command: [jq, -c, .sequence.previous_results]}
  Flaky: {command: [./flaky]}
  Third: {command: [./third]}
  Patient: {command: [./third], retryable: true}
  Refuse: {command: [/bin/sh, -c, 'exit 65']}
EOF
    handlers=$PWD/handlers.yaml
}

teardown() { store_end && test_end; }

task_states() { # the states of all tasks, in order
    store_sql "select state from tasks order by task_id" | tr '\n' ' '
}
states_are() { [ "$(task_states)" = "$1" ]; }

# Until the tasks have those states.
wait_states() { # SECONDS STATES
    wait_until "$1" states_are "$2" && return
    store_sql "select task, name, state, attempts, waits_for from steps order by id" >&2
    cat ./*.err >&2
    return 1
}

# Runs the loop batch by batch, as cron would, until nothing is ready any more.
run_once() {
    tasker-ready >batches.jsonl || return 1
    tasker-publish batches.jsonl | tasker-collect | tasker-reconcile >>verdicts || true
}

by_cron() {
    spawn work tasker-work --handlers "$handlers"
    echo '{"context":{"id":1}}' | tasker-submit -T order >submitted
    local n=0
    while ! states_are "complete "; do
        n=$((n + 1))
        [ "$n" -lt 200 ]
        run_once || nap
    done
    [ "$(store_sql "select name, state, attempts from steps order by place")" = "\
check|complete|1
reserve|complete|1
pay|complete|2
ship|complete|1" ]
    [ "$(store_sql "select results from steps where name = 'ship'" | jq -c 'keys')" = '["pay","reserve"]' ]
    [ "$(store_sql "select to_state from task_transitions order by sort_key" | tr '\n' ' ')" = "pending in_progress complete " ]
    signal work TERM
    finish work
}
@test "batch by batch, as from cron: dependencies, previous results, a step that is retried" { for_each_store by_cron; }

services() {
    mkfifo batches
    spawn work tasker-work --handlers "$handlers"
    # shellcheck disable=SC2016 # the pipe is that of the shell below
    spawn loop bash -c 'set -m; tasker-publish <batches 2>publish.err | tasker-collect 2>collect.err |
        tasker-reconcile --follow >verdicts 2>reconcile.err'
    spawn ready bash -c 'exec tasker-ready --follow >batches'
    seq 20 | jq -c '{context: {id: .}}' | tasker-submit -T order >submitted
    wait_states 60 "$(printf 'complete %.0s' {1..20})"
    # every start of the flaky one, each attempt once
    [ "$(sort ../starts | uniq -d | wc -l)" -eq 0 ]
    [ "$(wc -l <../starts)" -eq 40 ]
    [ "$(store_sql "select count(*) from steps where state = 'complete'")" = 80 ]
    signal ready TERM
    finish_with 0 ready
    finish loop 30
    [ "$(store_sql "select count(*) from batches where state not in ('completed', 'failed')")" = 0 ]
    signal work TERM
    finish_with 0 work
    rm ../starts # it is in the folder of the handlers
}
# JSON that a parser and a writer would change.
ODD='{"zero":-0,"e":1.0e2,"big":18446744073709551617,"low":-9223372036854775809,"far":[1E400,1e-400],"long":0.1000000000000000055511151231257827,"text":"\u00e9\/\ud800\u0000","d":1,"d":2, "w" : [ 1,2 ]}'

own_bytes() {
    printf '%s' "$ODD" >odd.json
    cat >"$TASKER_TASKS_PATH/odd.yaml" <<'END'
name: odd
step_templates:
  - {name: say, handler_class: Odd}
  - {name: hear, handler_class: Hear, depends_on_step: say}
END
    cat >handlers.yaml <<END
handlers:
  Odd: {command: [cat, $PWD/odd.json]}
  Hear: {command: [tee, $PWD/heard]}
END
    spawn work tasker-work --handlers "$PWD/handlers.yaml"
    tasker-submit -T odd --context odd.json >submitted
    for _ in 1 2; do
        tasker-ready >batches.jsonl
        tasker-publish batches.jsonl | tasker-collect >>results
        tasker-reconcile --ledger >>verdicts
    done
    states_are "complete "
    has "\"output\":$ODD," results
    has "\"context\":$ODD}" heard
    has "\"previous_results\":{\"say\":$ODD}}" heard
    has "\"task_context\":$ODD,\"previous_results\":{\"say\":$ODD}," heard
    [ "$(store_sql "select results from steps where name = 'say'")" = "$ODD" ]
    [ "$(store_sql "select context from tasks")" = "$ODD" ]
    tasker-status steps --format=json >steps
    has "\"results\":$ODD" steps
    # the same from a line, as a context alone and in a request
    printf '%s\n{"context":%s}\n' "$ODD" "$ODD" | tasker-submit -T odd >>submitted
    [ "$(store_sql "select count(*) from tasks where context = '$ODD'")" = 3 ]
}
@test "what a handler prints and a request says goes on in its own bytes" { for_each_store own_bytes; }

@test "as services: the pipe closes on itself" { for_each_store services; }

failed_for_good() {
    spawn work tasker-work --handlers "$handlers"
    echo '{"context":{}}' | tasker-submit -T refused >submitted
    local n=0
    while ! states_are "error "; do
        n=$((n + 1))
        [ "$n" -lt 100 ]
        run_once || nap
    done
    [ "$(store_sql "select name, state from steps order by place")" = "\
check|error
next|pending
mourn|complete" ]
    has "it waits for step 1 (check), which is error" "$(tasker-ready -x 2)"
    signal work TERM
    finish work
}
@test "a step that fails for good: its task is in error when nothing more can run" { for_each_store failed_for_good; }

template_says() {
    spawn work tasker-work --handlers "$handlers"
    echo '{"context":{}}' | tasker-submit -T business >submitted
    local n=0
    while ! states_are "error "; do
        n=$((n + 1))
        [ "$n" -lt 200 ]
        run_once || nap
    done
    [ "$(store_sql "select name, state, attempts from steps order by place")" = "\
again|complete|3
once|error|1" ]
    # no template: the step says, else the registry, and that no unless it says yes
    printf '{"step_id":%d,"task_id":9,"step_name":"s","handler_class":"%s","metadata":%s}\n' \
        1 Third '{}' 2 Third '{"retryable":true}' 3 Patient '{}' 4 Patient '{"retryable":false}' >steps.jsonl
    run -1 tasker-reconcile < <(tasker-publish steps.jsonl | tasker-collect)
    [ "$(jq -c '[.steps[].outcome]' <<<"$output")" = '["failed","retry","retry","failed"]' ]
    signal work TERM
    finish work
}
@test "whether a mere failure is tried again is the template's to say" { for_each_store template_says; }

rebuilt() {
    spawn work tasker-work --handlers "$handlers"
    seq 5 | jq -c '{context: {id: .}}' | tasker-submit -T order >submitted
    echo '{"context":{}}' | tasker-submit -T refused >>submitted
    local n=0
    while ! states_are "complete complete complete complete complete error "; do
        n=$((n + 1))
        [ "$n" -lt 300 ]
        run_once || nap
    done
    seq 2 | jq -c '{context: {later: .}}' | tasker-submit -T order >submitted
    tasker-ready >claimed # these are enqueued
    dump >before
    tasker-reconcile --rebuild >rebuilt
    dump >after
    diff before after
    signal work TERM
    finish work
}
@test "a rebuild gives the same rows in all tables" { for_each_store rebuilt; }

# No program prints a character that turns the direction of writing, hides or ends a line.
nothing_hidden_in() { # FILE...
    if LC_ALL=C grep -anP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf' "$@"; then return 1; fi
}
@test "names that would mislead a reader: each program escapes them in the same way" {
    local name='pay\u202Eorder\u200B\u2066\u2028\u0085\u061c\uFEFF\u001b'
    export TASKER_STORE_URL=sqlite:$PWD/store.db
    printf 'name: "t%s"\nnamespace_name: "n%s"\nstep_templates: [{name: "s%s", handler_class: "H%s"}, {name: "after", handler_class: H, depends_on_step: "s%s"}]\n' \
        "$name" "$name" "$name" "$name" "$name" >tasks/odd.yaml
    printf '#!/bin/sh\necho "{\\"message\\":\\"no %s\\",\\"error_type\\":\\"E%s\\"}" >&3\nexit 65\n' "$name" "$name" |
        sed 's/\\u/\\\\u/g' >odd
    chmod +x odd
    printf 'handlers: {"*": {command: [./odd]}}\n' >odd.handlers.yaml
    tasker-submit --check tasks/odd.yaml >check.seen
    tasker-submit --dot -T ./tasks/odd.yaml >dot.seen
    tasker-submit --mermaid -T ./tasks/odd.yaml >mermaid.seen
    spawn work tasker-work --handlers odd.handlers.yaml --id w1 -vv
    spawn tap tasker-collect --tap --format text
    wait_line work.err 'handshake succeeded'
    tasker-submit -v -T ./tasks/odd.yaml -x '{}' >submitted 2>submit.seen
    tasker-ready --explain task 1 >explain.seen 2>&1 || [ $? -eq 1 ]
    tasker-ready -v 2>ready.seen | tasker-publish -vv 2>publish.seen | tasker-collect -vv 2>collect.seen >results
    wait_line tap.out 'failed'
    tasker-reconcile -vv --format text results >text.seen 2>reconcile.seen || [ $? -eq 1 ]
    for what in tasks steps errors "show task 1" "show step 1" "tasks -f json" "errors -f prometheus" "errors -f json"; do
        # shellcheck disable=SC2086
        tasker-status $what >"${what// /_}.seen" 2>&1 || [ $? -eq 1 ]
    done
    tasker-resolve retry -v -r "$(printf %b "$name")" 1 >resolve.seen 2>&1 || true
    nothing_hidden_in ./*.seen tap.out work.err
    has 'spay\xe2\x80\xae' steps.seen
    has 'pay\\xe2\\x80\\xaeorder' dot.seen
    has 'pay#92;xe2#92;x80#92;xaeorder' mermaid.seen
    has 'handler="Hpay\\xe2\\x80\\xaeorder' errors_-f_prometheus.seen
    tasker-status -c 'no\e' 2>err.seen || true
    tasker-work --log-format json --handlers $'no\u202e.yaml' 2>json.seen || true
    has 'no\u202e.yaml' json.seen
    printf '%s\n' $'{"name":"\u202ex"}' | tasker-submit 2>bad.seen || true
    tasker-status $'x\u202ey' 2>word.seen || true
    nothing_hidden_in err.seen json.seen bad.seen word.seen
}
