#!/usr/bin/env bats
# Claims that came to nothing: batches of tasker-ready that no publisher sent, or whose publisher died.
# Their steps are pending again, no attempt used, and no step runs twice.
load helper
load store

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks TASKER_WORKFLOW_CLAIM_TIMEOUT=1500ms TASKER_STORE_CLAIM=2s
    mkdir tasks
    cat >tasks/one.yaml <<'EOT'
name: one
step_templates: [{name: only, handler_class: Count, default_retry_limit: 1}]
EOT
    cat >tasks/nobody.yaml <<'EOT'
name: nobody
step_templates: [{name: only, handler_class: Unknown}]
EOT
    cat >count <<'EOT'
#!/bin/sh
echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>starts
EOT
    chmod +x count
    echo 'handlers: {Count: {command: [./count]}}' >handlers.yaml
    handlers=$PWD/handlers.yaml
    : >starts
}

teardown() { store_end && test_end; }

submit() { seq "$2" | jq -c '{context: {n: .}}' | tasker-submit -T "$1" >submitted; }
step() { store_sql "select state, attempts, coalesce(next_retry_at, 0) from steps where id = 1"; }
batches() { store_sql "select state from batches order by id" | xargs; }
given_back() { # as reconcile does at each look
    tasker-reconcile --ledger >>verdicts 2>>reconcile.err || true
    [ "$(step)" = "pending|0|0" ]
}
same_after_rebuild() {
    dump >before
    tasker-reconcile --rebuild
    dump >after
    diff before after
}

never_sent() {
    : >../starts
    submit one 1
    tasker-ready >b1
    [ "$(step)" = "enqueued|1|0" ]
    tasker-reconcile --ledger --set workflow.claim_timeout=1h >verdicts
    [ "$(batches)" = created ]
    wait_until 10 given_back
    [ "$(batches)" = cancelled ]
    [ "$(store_sql "select event from step_transitions where step = 1 and to_state = 'pending' and from_state = 'enqueued'")" = step.given_back ]
    same_after_rebuild
    # who comes later with it sends nothing
    spawn work tasker-work --handlers "$handlers"
    tasker-publish --pending >sent
    [ ! -s sent ]
    run -1 tasker-publish b1
    has "cancelled before: not sent again" "$output"
    # twice more; the second time it is sent
    tasker-ready >b2
    [ "$(jq .steps[0].metadata.attempt b2)" = 1 ]
    same_after_rebuild
    wait_until 10 given_back
    tasker-ready | tasker-publish | tasker-collect | tasker-reconcile >verdicts
    [ "$(step)" = "complete|1|0" ]
    [ "$(batches)" = "cancelled cancelled completed" ]
    [ "$(cat ../starts)" = "1 1" ]
    [ "$(store_sql "select state from tasks")" = complete ]
    # the history has all that happened
    [ "$(store_sql "select event from step_transitions where step = 1 order by sort_key" | xargs)" = \
        "step_created step_enqueued step.given_back step_enqueued step.given_back step_enqueued step.started step.completed" ]
    [ "$(store_sql "select count(distinct batch) from step_transitions where step = 1")" = 3 ]
    [ "$(store_sql "select count(*) from step_transitions where step = 1 and sort_key / 1000 = 1")" = 7 ]
    same_after_rebuild
    signal work TERM
    finish work
}
@test "a batch that nobody sends is given back: the same attempt is claimed again, and run once" {
    for_each_store never_sent
}

publisher_dies() {
    : >../starts
    submit one 3
    spawn publish bash -c 'tasker-ready -b 1 | exec tasker-publish --wait 60s'
    wait_until 10 has_claims
    # while it lives they are its own: also when the first claim, unless renewed, would be over
    first=$(claimed_until)
    wait_until 10 outlives_first_claim
    [ "$(batches)" = "created created created" ]
    pid=$(pgrep -P "${PIDS[publish]}" tasker-publish || echo "${PIDS[publish]}")
    kill -KILL "$pid"
    finish publish
    wait_until 10 given_back
    [ "$(batches)" = "cancelled cancelled cancelled" ]
    spawn work tasker-work --handlers "$handlers"
    tasker-ready | tasker-publish | tasker-collect | tasker-reconcile >verdicts
    [ "$(sort ../starts | xargs)" = "1 1 2 1 3 1" ]
    signal work TERM
    finish work
}
has_claims() { [ "$(store_sql "select count(*) from batches where publisher is not null and claimed_until > 0")" = 3 ]; }
claimed_until() { store_sql "select min(claimed_until) from batches"; }
# A claim is of 2 s, and reconcile gives back 1.5 s after its end.
outlives_first_claim() {
    tasker-reconcile --ledger >>verdicts
    [ "$(claimed_until)" -gt $((first + 2000 + 1500)) ]
}
@test "a publisher that lives keeps its batches, one that died does not" { for_each_store publisher_dies; }

# What was about to be sent to a worker when its publisher died may be running there: that is out of
# time, not given back.
offered() {
    submit one 1
    tasker-ready >b1
    store_sql "update batches set offered_to = 'somebody', publisher = 'p', claimed_until = created_at, timeout_ms = 500"
    given_back && return 1
    wait_until 10 out_of_time
    [ "$(batches)" = timeout ]
    same_after_rebuild
}
out_of_time() {
    tasker-reconcile --ledger >>verdicts || true
    [ "$(step)" = "error|1|0" ]
}
@test "a batch that a worker may have got has its time limit" { for_each_store offered; }

refused() {
    submit nobody 1
    spawn work tasker-work --handlers "$handlers"
    tasker-ready >b1
    run -1 tasker-publish b1
    [ "$(batches)" = created ]
    has "refused: " "$(tasker-ready --explain 1)"
    has "tasker-reconcile" "$(tasker-ready --explain 1)"
    has "refused" "$(tasker-status orphans --older-than 1ms 2>&1)"
    tasker-reconcile --ledger >verdicts || true
    [ "$(batches)" = failed ]
    signal work TERM
    finish work
}
@test "a batch that every worker refuses: what becomes of it is said before reconcile has looked" {
    for_each_store refused
}

many_at_once() {
    submit one 40
    tasker-ready -b 1 >b1
    local i
    wait_until 10 old_enough
    for i in 1 2 3 4 5 6; do spawn r$i tasker-reconcile --ledger --set store.timeout=60s; done
    for i in 1 2 3; do spawn p$i tasker-publish --wait 1s --set store.timeout=60s b1; done
    for i in 1 2 3 4 5 6; do finish r$i 60; done
    for i in 1 2 3; do finish p$i 60; done
    wait_until 10 none_open
    [ "$(store_sql "select count(*) from received_results")" = 40 ]
    [ "$(store_sql "select count(*) from steps where state = 'pending' and attempts = 0")" = 40 ]
}
old_enough() { [ "$(store_sql "select count(*) from batches where created_at < $(($(date +%s%3N) - 1500))")" = 40 ]; }
none_open() {
    tasker-reconcile --ledger >>verdicts || true
    [ "$(store_sql "select count(*) from batches where state = 'created'")" = 0 ]
}
@test "many who look at the same time, and publishers among them: each is given back once" {
    for_each_store many_at_once
}

# Two of three wait in a worker that is told to stop: they were never started, and may be only once.
not_started() {
    : >../starts
    submit hold 3
    spawn first tasker-work --handlers "$handlers" --max-workers 1
    tasker-ready | tasker-publish >sent
    wait_until 10 has_lines 1 ../starts
    signal first TERM
    echo >../gate
    run -1 tasker-reconcile < <(tasker-collect <sent)
    echo "$output" >verdicts
    finish first
    jq -e '[.steps[] | [.outcome, .attempt_used]] == [["done", null], ["retry", false], ["retry", false]]' verdicts
    [ "$(store_sql "select state, attempts from steps order by id" | xargs)" = "complete|1 pending|0 pending|0" ]
    [ "$(store_sql "select event from step_transitions where step = 2 and to_state = 'pending' and from_state = 'enqueued'")" = step.given_back ]
    same_after_rebuild
    # claimed again, and nothing heard: what it was before is kept
    tasker-ready >b2
    [ "$(jq -c '[.steps[].metadata.attempt]' b2)" = "[1,1]" ]
    same_after_rebuild
    spawn second tasker-work --handlers "$handlers"
    tasker-publish b2 | tasker-collect | tasker-reconcile >verdicts
    [ "$(store_sql "select state, attempts from steps order by id" | xargs)" = "complete|1 complete|1 complete|1" ]
    [ "$(sort ../starts | xargs)" = "1 1 2 1 3 1" ]
    same_after_rebuild
    signal second TERM
    finish second
}
has_lines() { [ "$(wc -l <"$2")" -ge "$1" ]; }
@test "a step that waited in a worker which was told to stop has used no attempt" {
    cat >hold <<'EOT'
#!/bin/sh
echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>starts
[ "$TASKER_STEP_ID" != 1 ] || read -r line <gate
EOT
    mkfifo gate && chmod +x hold
    echo 'handlers: {Hold: {command: [./hold]}}' >handlers.yaml
    sed 's/name: one/name: hold/; s/Count/Hold/' tasks/one.yaml >tasks/hold.yaml
    for_each_store not_started
}

# Times of the store an hour later are a clock an hour earlier.
set_back() {
    submit later 2
    spawn work tasker-work --handlers "$handlers"
    tasker-ready -l 1 | tasker-publish | tasker-collect | tasker-reconcile >verdicts || true
    run -1 tasker-ready --task 1
    store_sql "update steps set updated_at = updated_at + 3600000, next_retry_at = next_retry_at + 3600000 where id = 1"
    store_sql "update received_results set received_at = received_at + 3600000"
    # a back-off that begins now lasts
    tasker-ready --task 2 | tasker-publish | tasker-collect | tasker-reconcile >verdicts || true
    run -1 tasker-ready --task 2
    [ "$(tasker-ready | jq -c '[.steps[] | [.step_id, .metadata.attempt]]')" = '[[1,2]]' ]
    signal work TERM
    finish work
}
@test "a clock that is set back by an hour makes no step wait for an hour" {
    export TASKER_RETRY_BASE=50s
    echo 'handlers: {Count: {command: [/bin/sh, -c, "exit 75"]}}' >handlers.yaml
    sed 's/name: one/name: later/; s/limit: 1/limit: 3/' tasks/one.yaml >tasks/later.yaml
    for_each_store set_back
}

# --explain after the acceptance: where the result is, with real processes.
explained() { tasker-ready --explain step "$1" >explained && has "$2" explained; }
ended_after() { # MS: explained has the time at which the step ended
    [ "$(date -d "$(sed -n 's/.*it ended \(20[^ ]*Z\) ([0-9.]* s ago); .*/\1/p' explained)" +%s%3N)" -ge "$1" ]
}
after_acceptance() {
    mkfifo gate
    export GATE=$PWD/gate
    submit later 3
    spawn work tasker-work --id w1 --handlers "$handlers"
    tasker-ready -l 1 | tasker-publish >sent
    [ "$(getent ahostsv4 "$(hostname)" | awk '{print $1; exit}')" != 127.0.0.1 ] ||
        store_sql "update batches set result_endpoint = replace(result_endpoint, '127.0.0.1', '$(hostname)')"
    wait_until 10 explained 1 "w1 lives: 1 running, 0 queued"
    local begin=$(date +%s%3N)
    echo >gate
    wait_until 10 explained 1 "; the result is in the outbox of w1, and no collector takes it: run tasker-collect"
    ended_after "$begin"
    tasker-collect sent >results
    explained 1 "it ended $(jq -r 'select(.status == "failed").timestamp' results) "
    explained 1 "; its result is in the ledger: run tasker-reconcile"
    tasker-reconcile --ledger >verdicts || true
    tasker-ready --task 2 | tasker-publish >sent
    echo >gate
    TASKER_STORE_URL=none tasker-collect sent >results
    wait_until 10 explained 2 "; the result is in the outbox of w1, and a collector took it that does not write to this store"
    ended_after "$begin"
    signal work KILL
    finish work
    explained 2 "w1 does not answer; it has not been heard of since "
    spawn work tasker-work --id w1 --handlers "$handlers"
    wait_until 10 explained 2 "w1 is another process now: what it had accepted is lost with it"
    signal work TERM
    finish work
    spawn plain /usr/bin/python3 "$ROOT/tests/publish_peer.py" "$TASKER_ZEROMQ_BATCH_ENDPOINT"
    tasker-ready --task 3 | tasker-publish >sent
    explained 3 "nobody knows where its worker is: the worker did not report its address"
    signal plain TERM
    finish plain
}
@test "--explain goes on after a batch was accepted" {
    export TASKER_RETRY_BASE=50s TASKER_WORKER_CONFIRM_TIMEOUT=100ms
    echo 'handlers: {Count: {command: [/bin/sh, -c, "read -r line <$GATE; exit 75"]}}' >handlers.yaml
    sed 's/name: one/name: later/; s/limit: 1/limit: 3/' tasks/one.yaml >tasks/later.yaml
    for_each_store after_acceptance
}
