#!/usr/bin/env bats
# Tasks of many shapes through the running loop, undisturbed and with its stages killed at random.
#
#     LOOP_SEED, LOOP_KILLS   seed and number of kills of the last test (default: drawn, 3)
load helper
load store

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks TASKER_RETRY_BASE=20ms TASKER_RETRY_JITTER=0
    mkdir tasks
    {
        echo 'name: deep'
        echo 'step_templates:'
        echo '  - {name: s1, handler_class: Add}'
        for ((i = 2; i <= 200; i++)); do
            echo "  - {name: s$i, handler_class: Add, depends_on_step: s$((i - 1))}"
        done
    } >tasks/deep.yaml
    cat >tasks/wide.yaml <<'EOT'
name: wide
step_templates:
  - {name: split, handler_class: Split, default_retry_limit: 40}
  - {name: shard, handler_class: Shard, depends_on_step: split, optional: true, default_retry_limit: 40}
  - {name: join, handler_class: Join, depends_on_step: shard, default_retry_limit: 40}
EOT
    cat >tasks/diamond.yaml <<'EOT'
name: diamond
step_templates:
  - {name: top, handler_class: Note, default_retry_limit: 40}
  - {name: left, handler_class: Note, depends_on_step: top, default_retry_limit: 40}
  - {name: right, handler_class: Fail, depends_on_step: top, default_retry_limit: 40}
  - {name: bottom, handler_class: Note, depends_on_steps: [left, right], default_retry_limit: 40}
  - {name: anyway, handler_class: Note, depends_on_steps: [left, right], join: all_done, default_retry_limit: 40}
EOT
    # Every start is noted; jobs are cheap.
    cat >note <<'EOT'
#!/bin/sh
echo "$TASKER_STEP_ID $TASKER_ATTEMPT $TASKER_BATCH_ID" >>"$STARTS"
case $1 in
split) jq -c '{create_steps: [{name: "shard", count: .task.context.n}]}' ;;
shard) echo "${TASKER_STEP_NAME#*#}" ;;
join) jq -c '.sequence.previous_results.shard | add' ;;
fail) jq -e '.task.context.ok' || exit 65 ;;
*) echo "\"$TASKER_STEP_NAME\"" ;;
esac
EOT
    # One more than what the step before gave; without a process for it.
    cat >add <<'EOT'
#!/bin/sh
read -r line
before=${line#*'"previous_results":{"s'}
[ "$before" = "$line" ] && echo 1 && exit
before=${before#*:}
echo $((${before%%[!0-9]*} + 1))
EOT
    chmod +x note add
    cat >handlers.yaml <<'EOT'
handlers:
  Add: {command: [./add]}
  Note: {command: [./note]}
  Split: {command: [./note, split]}
  Shard: {command: [./note, shard]}
  Join: {command: [./note, join]}
  Fail: {command: [./note, fail]}
EOT
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml STARTS=$PWD/starts
}

teardown() { store_end && test_end; }

submit() { jq -nc --argjson context "$2" '{context: $context}' | tasker-submit -T "$1" >>submitted; }

loop() { # SECONDS [ARG...]
    python3 "$ROOT/tests/fault/loop.py" --seconds "$@" >told || { cat told loop.log >&2 && return 1; }
}

deep_and_wide() {
    : >"$STARTS"
    submit deep '{}'
    submit wide '{"n": 500}'
    submit diamond '{"ok": true}'
    submit diamond '{"ok": false}'
    loop 250
    [ "$(store_sql "select results from steps where name = 's200'")" = 200 ]
    [ "$(store_sql "select results from steps where name = 'join'")" = 125250 ]
    [ "$(store_sql "select count(*) from steps where task = 2 and state = 'complete'")" = 502 ]
    [ "$(store_sql "select state from tasks order by task_id" | xargs)" = "complete complete complete error" ]
    [ "$(store_sql "select name, state from steps where task = 4 order by place" | xargs)" = \
        "top|complete left|complete right|error bottom|pending anyway|complete" ]
    [ "$(cut -d' ' -f1,2 "$STARTS" | sort | uniq -d | wc -l)" = 0 ]
}
@test "deep (200), wide (1 to 500 to 1) and diamonds" { for_each_store deep_and_wide; }

outcome() {
    store_sql "select t.task_id, t.state, s.name, s.state, s.results, s.error_category from steps s join tasks t on t.task_id = s.task order by t.task_id, s.place, s.created_index"
}
work_for_loop() {
    local i round
    for ((round = 0; round < 1 + kills; round++)); do
        for i in 4 9 1; do submit wide "{\"n\": $i}"; done
        for i in 1 2 3 4; do submit diamond '{"ok": true}'; done
        submit diamond '{"ok": false}'
    done
}
killed_at_random() {
    local kills=${LOOP_KILLS:-3}
    local seconds=$((150 + 5 * kills))
    export TASKER_WORKFLOW_CLAIM_TIMEOUT=1s TASKER_STORE_CLAIM=500ms
    : >"$STARTS"
    work_for_loop
    if [ ! -e ../undisturbed ]; then
        loop "$seconds"
        outcome >../undisturbed
        store_begin "$STORE"
        [ "$STORE" != sqlite ] || TASKER_STORE_URL=sqlite:$PWD/store/second.db
        : >"$STARTS"
        work_for_loop
    fi
    loop "$seconds" ${LOOP_SEED:+--seed "$LOOP_SEED"} --kills "$kills"
    outcome >disturbed
    cat told
    diff ../undisturbed disturbed
    # no attempt was begun twice, in whatever batch
    [ -z "$(cut -d' ' -f1,2 "$STARTS" | sort | uniq -d)" ]
    [ "$(store_sql "select count(*) from batches where state in ('created', 'published', 'executing')")" = 0 ]
}
@test "stages killed at random: the end is that of an undisturbed run, and no attempt begins twice" {
    for_each_store killed_at_random
}
