# What the tests of fan-out share; after helper and store: templates with optional steps, handlers whose
# output is what the context of the task says, and the loop.

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
