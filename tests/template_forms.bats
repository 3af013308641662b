#!/usr/bin/env bats
# Templates of both forms: what a file of today's form (steps) means, what is noted, what is refused;
# environments and variables; a step's own back-off.
load helper
load store
load fan_out

steps_form() { # makes tasks/parcel.yaml
    cat >tasks/parcel.yaml <<'EOT'
name: parcel
namespace_name: post
version: "2.1.0"
description: Weighs a parcel and sends it on the way that fits
metadata: {author: depot, tags: [post]}
system_dependencies: {primary: scales, secondary: []}
domain_events: []
lifecycle: {max_duration_minutes: 30, staleness_action: dlq}
input_schema: {type: object, properties: {weight: {type: number}}}
steps:
  - name: weigh
    type: standard
    handler: {callable: Post::Weigh, initialization: {unit: g, limits: {low: 1, high: 9}}}
    system_dependency: scales
    dependencies: []
    retry: {retryable: true, max_attempts: 5, backoff: linear, backoff_base_ms: 30, max_backoff_ms: 70}
    timeout_seconds: 30
    publishes_events: [{name: parcel.weighed}]
    result_schema: {type: object}
  - name: route
    type: decision
    handler: {callable: Post::Route, method: choose, resolver: explicit_mapping}
    dependencies: [weigh]
  - name: by_air
    handler: {callable: Post::Carry}
    depends_on: [route]
    retry: {max_attempts: 4, backoff: fixed, backoff_base_ms: 40}
  - name: by_sea
    handler: {callable: Post::Carry}
    dependencies: [route]
    retry: {retryable: false, max_attempts: 0}
  - name: bill
    type: deferred_convergence
    handler: {callable: Post::Bill}
    dependencies: [by_air, by_sea]
environments:
  test:
    steps:
      - {name: ALL, timeout_seconds: 5, retry: {max_attempts: 2}}
      - {name: weigh, handler: {initialization: {limits: {low: 2}}}}
  docker:
    steps:
      - {name: weigh, handler: {initialization: {url: "${DEPOT_URL}"}}}
EOT
}

@test "a template of today's form: its parts get their meaning, the others are noted once" {
    steps_form
    run -0 --separate-stderr tasker-submit --check tasks/parcel.yaml
    [ "$output" = "tasks/parcel.yaml: post/parcel 2.1.0, 5 steps, form steps" ]
    [ "$stderr" = "\
tasker-submit: tasks/parcel.yaml:43: note: the environment variable DEPOT_URL is not set; this value is not in use
tasker-submit: tasks/parcel.yaml:22: note: method choose: the handler_class is \"Post::Route#choose\"
tasker-submit: tasks/parcel.yaml:5: note: without effect here: metadata, system_dependencies, lifecycle, system_dependency, publishes_events, result_schema, resolver" ]
    run -65 --separate-stderr tasker-submit -n -T parcel -x '{"weight":"much"}'
    has 'context at /weight: has to be of type number' "$stderr"
    store_begin sqlite
    tasker-submit -T parcel -x '{"weight":1}'
    [ "$(store_sql "select name, handler_class, handler_config, retry_limit, default_retryable, timeout_ms, backoff, join_rule from steps order by place")" = 'weigh|Post::Weigh|{"unit":"g","limits":{"low":1,"high":9}}|5|1|30000|linear 30 70|all_ok
route|Post::Route#choose|{}|3|1|||all_ok
bill|Post::Bill|{}|3|1|||all_ok' ]
    [ "$(store_sql "select json_extract(optional_steps, '$.optional[0].name', '$.optional[0].backoff', '$.optional[1].name', '$.optional[1].retryable') from tasks")" = '["by_air","fixed 40 -","by_sea",false]' ]
    TASKER_ENV=test tasker-submit -T parcel -x '{"weight":1}'
    [ "$(store_sql "select name, handler_config, retry_limit, timeout_ms, backoff from steps where task = 2 order by place")" = 'weigh|{"limits":{"low":2},"unit":"g"}|2|5000|
route|{}|2|5000|
bill|{}|2|5000|' ]
    run -78 --separate-stderr env TASKER_ENV=docker tasker-submit -n -T parcel -x '{"weight":1}'
    has 'parcel.yaml:43: the environment variable DEPOT_URL is not set' "$stderr"
    DEPOT_URL=http://depot TASKER_ENV=docker tasker-submit -T parcel -x '{"weight":1}'
    [ "$(store_sql "select handler_config from steps where task = 3 and name = 'weigh'")" = '{"url":"http://depot","unit":"g","limits":{"low":1,"high":9}}' ]
}

# The times between the end of a failed attempt and the next, in order.
back_offs() { # STEP
    store_sql "select d.retry_at - t.created_at from settled_steps d join steps s on s.step_id = d.step_id
        join step_transitions t on t.batch = d.batch and t.step = s.id and t.to_state = 'error'
        where s.name = '$1' and d.outcome = 'retry' order by d.attempt" | tr '\n' ' '
}

own_back_off() {
    submit parcel '{"weigh": ["fail", "fail", "fail", "fail", {"g": 3}], "by_air": ["fail", "fail", "fail", {}],
        "route": ["fail", "fail", {"decision_point_outcome": {"type": "create_steps", "step_names": ["by_air"]}}], "bill": {}}'
    run_loop
    [ "$(steps)" = "\
weigh|complete
route|complete
by_air|complete
bill|complete" ]
    [ "$(back_offs weigh)" = "30 60 70 70 " ]
    [ "$(back_offs route)" = "20 40 " ] # as it is configured
    [ "$(back_offs by_air)" = "40 40 40 " ]
    submit parcel '{"weigh": {}, "route": {"create_steps": ["by_sea"]}, "by_sea": {}, "bill": {}}'
    submit parcel '{"weigh": {}, "route": {"decision_point_outcome": {"type": "create_steps", "step_names": ["bill"]}}}'
    run_loop
    [ "$(steps 2 | sed -n 3p)" = "by_sea|complete" ]
    [ "$(steps 3 | sed -n 2p)" = "route|error" ] # bill is there from the start
    store_sql "select id, name, state, attempts, backoff, created_by from steps order by id" >before
    store_sql "select batch, step_id, attempt, outcome, retry_at from settled_steps order by batch, step_id" >>before
    tasker-reconcile --rebuild
    store_sql "select id, name, state, attempts, backoff, created_by from steps order by id" >after
    store_sql "select batch, step_id, attempt, outcome, retry_at from settled_steps order by batch, step_id" >>after
    diff before after
}
@test "a decision asks for its branch, and each step retries by its own back-off" {
    steps_form
    for class in Weigh 'Route#choose' Carry Bill; do
        echo "  \"Post::$class\": {command: [./say]}"
    done >>handlers.yaml
    for_each_store own_back_off
}

batches() {
    submit csv '{"split": {"parts": 3, "create_steps": [{"name": "part", "count": 3}]}, "bad": 2}'
    run_loop
    [ "$(store_sql "select name, state from steps where name <> 'part#2' order by place, created_index")" = "\
split|complete
part#1|complete
part#3|complete
sum|complete" ]
    [ "$(results 'part#3' | jq .unit)" = 7 ]
    [ "$(results sum | jq -c '[.part[].index]')" = "[1,null,3]" ]
    submit csv '{"split": {"batch_processing_outcome": {"type": "create_batches", "worker_template_name": "part", "worker_count": 2}}}'
    submit csv '{"split": {"batch_processing_outcome": {"type": "no_batches"}}}'
    submit csv '{"split": {"batch_processing_outcome": {"type": "create_batches", "worker_template_name": "part", "worker_count": "2"}}}'
    run_loop
    [ "$(results sum 2 | jq -c '[.part[].index]')" = "[1,2]" ]
    [ "$(steps 3)" = $'split|complete\nsum|complete' ]
    [ "$(steps 4 | head -1)" = "split|error" ]
}
@test "a batchable step asks for its workers, and what converges behind them gets all" {
    cat >tasks/csv.yaml <<'EOT'
name: csv
steps:
  - {name: split, type: batchable, handler: {callable: Say}}
  - name: part
    type: batch_worker
    handler: {callable: Shard, initialization: {unit: 7}}
    dependencies: [split]
    batch_config: {batch_size: 10, worker_template: part, failure_strategy: continue_on_failure}
  - {name: sum, type: deferred_convergence, handler: {callable: Echo}, dependencies: [part]}
EOT
    run -0 --separate-stderr tasker-submit --check tasks/csv.yaml
    has 'tasks/csv.yaml:9: note: continue_on_failure: step "sum" has join all_done' "$stderr"
    for_each_store batches
}

convergences() {
    submit csv '{"split": {"batch_processing_outcome": {"type": "no_batches"}}}'
    submit choice '{"decide": {"decision_point_outcome": {"type": "no_branches"}}}'
    submit choice '{"decide": {"decision_point_outcome": {"type": "create_steps", "step_names": ["left"]}}}'
    run_loop
    [ "$(steps 1)" = $'split|complete\nsum|complete' ]
    [ "$(steps 2 | grep -c complete)" = 1 ] # nobody asked for what it converges
    [ "$(steps 3)" = $'decide|complete\nleft|complete\nafter|complete\nend|complete' ]
}
@test "a convergence behind workers runs with none, one behind branches does not" {
    cat >tasks/csv.yaml <<'EOT'
name: csv
steps:
  - {name: split, type: batchable, handler: {callable: Say}}
  - {name: part, type: batch_worker, handler: {callable: Shard}, dependencies: [split]}
  - {name: sum, type: deferred_convergence, handler: {callable: Echo}, dependencies: [part]}
EOT
    cat >tasks/choice.yaml <<'EOT'
name: choice
steps:
  - {name: decide, type: decision, handler: {callable: Say}}
  - {name: left, handler: {callable: Echo}, dependencies: [decide]}
  - {name: after, handler: {callable: Echo}, dependencies: [left]}
  - {name: right, handler: {callable: Echo}, dependencies: [decide]}
  - {name: end, type: deferred_convergence, handler: {callable: Echo}, dependencies: [after, right]}
EOT
    for_each_store convergences
}

@test "what is wrong in a file of today's form: one line each, with its file and line" {
    local n=0 wrong=0 text reason
    while IFS='|' read -r text reason; do
        n=$((n + 1))
        printf "name: t\n$text\n" >t.yaml
        run --separate-stderr tasker-submit --check t.yaml
        if [ "$status" -ne 78 ] || [[ $stderr != *"t.yaml:$reason"* ]]; then
            echo "$text: $status: $stderr"
            wrong=1
        fi
    done <<'EOT'
steps:\n- {name: a, handler: {callable: H, methd: x}}|3: unknown key "methd" (did you mean "method"?)
steps:\n- {name: a, handler: {initialization: {}}}|3: step "a": handler.callable is missing
steps:\n- {name: a, handler: [H]}|3: handler has to be a mapping, not a list
steps:\n- {name: a, handler: {callable: H, initialization: 3}}|3: initialization has to be a mapping
steps:\n- {name: a, handler: H, retry: {backof: linear}}|3: unknown key "backof" (did you mean "backoff"?)
steps:\n- {name: a, handler: H, retry: {backoff: square}}|3: backoff: "square" is not allowed here
steps:\n- {name: a, handler: H, retry: {backoff_base_ms: -1}}|3: backoff_base_ms: "-1" is out of range
steps:\n- {name: a, handler: H, type: magic}|3: type: "magic" is not allowed here
steps:\n- {name: a, handler: H, composition: {}}|3: composition: a step that has no handler
steps:\n- {name: a, handler: H, type: batchable}|3: step "a" is batchable, but no batch_worker waits for it
steps:\n- {name: a, handler: H, dependencies: [b]}|3: step "a" waits for "b", which there is not
steps:\n- {name: a, handler: H, dependencies: [], depends_on: []}|3: dependencies and depends_on are the same
steps:\n- {name: a, handler_class: G, handler: H}|3: handler_class and handler are the same
steps:\n- {name: a, handler_class: G, handler: {callable: H}}|3: handler_class and callable are the same
steps:\n- {name: a, handler: H, retry: {max_attempts: 2}, retry_limit: 3}|3: max_attempts and retry_limit are the same
steps:\n- {name: a, handler: H, retryable: false, retry: {retryable: true}}|3: retryable and retryable are the same
steps:\n- {name: a, handler: H, retry: {retryable: true}, retryable: false}|3: retryable and retryable are the same
steps:\n- {name: a, handler: H}\nstep_templates: []|3: steps and step_templates are two spellings
steps:\n- {name: a, handler: H}\nschema: {}\ninput_schema: {}|5: schema and input_schema are the same
steps:\n- {name: a, handler: H}\nenvironments: {x: {steps: [{name: b}]}}|4: there is no step "b" to override
steps:\n- {name: a, handler: H}\nenvironments: {x: {steps: [{name: ALL, retry: {backoff: x}}]}}|4: backoff: "x"
steps:\n- {name: a, handler: H}\nenvironments: {x: {stps: []}}|4: unknown key "stps" (did you mean "steps"?)
stepss: []|2: unknown key "stepss" (did you mean "steps"?)
EOT
    [ "$n" -gt 15 ] && [ "$wrong" -eq 0 ]
}

@test "keys of the older form that did something: default_context does, numbers are cut, the rest is noted" {
    cat >tasks/old.yaml <<'EOT'
name: old
concurrent: true
custom_events: [{name: done}]
default_options: {priority: 3}
default_context: {region: eu, size: 1}
schema: {type: object, required: [region, size]}
step_templates:
  - {name: a, handler_class: H, default_retry_limit: 3.0, timeout_seconds: "2.5", custom_events: [x], retry_backoff: linear}
environments:
  docker: {default_context: {region: "${REGION}"}, default_options: {priority: 4}}
EOT
    run -0 --separate-stderr tasker-submit --check tasks/old.yaml
    [ "$output" = "tasks/old.yaml: default/old 0.1.0, 1 step" ]
    [ "$stderr" = "\
tasker-submit: tasks/old.yaml:10: note: the environment variable REGION is not set; this value is not in use
tasker-submit: tasks/old.yaml:8: note: timeout_seconds: 2.5 is taken as 2
tasker-submit: tasks/old.yaml:2: note: without effect here: concurrent, custom_events, default_options" ]
    store_begin sqlite
    tasker-submit -T old -x '{"size":2}'
    tasker-submit <<<'{"name":"old"}'
    REGION=us TASKER_ENV=docker tasker-submit <<<'{"name":"old","context":{"more":null}}'
    [ "$(store_sql "select context from tasks order by task_id")" = '{"size":2,"region":"eu"}
{"region":"eu","size":1}
{"more":null,"region":"us","size":1}' ]
    [ "$(store_sql "select distinct retry_limit, timeout_ms, backoff from steps")" = "3|2000|linear - -" ]
}

@test "only a value that is used needs its variables" {
    cat >tasks/env.yaml <<'EOT'
name: env
module_namespace: ${NO_SUCH_A}
handler_config: {host: "${NO_SUCH_B}", deep: {a: "${NO_SUCH_C}", b: 1}}
step_templates:
  - {name: a, handler_class: H, timeout_seconds: "${NO_SUCH_D}", handler_config: {url: "${NO_SUCH_E}"}}
environments:
  production:
    handler_config: {host: p, deep: {a: 2}}
    step_overrides: {a: {timeout_seconds: 9, handler_config: {url: p}}}
  staging:
    step_overrides: {a: {handler_config: {url: "${NO_SUCH_F}"}}}
EOT
    TASKER_ENV=production tasker-submit -n -T env -x '{}'
    run -78 --separate-stderr tasker-submit -n -T env -x '{}'
    for name in B C D E; do has "environment variable NO_SUCH_$name is not set" "$stderr"; done
    [[ $stderr != *NO_SUCH_[AF]* ]]
    TASKER_ENV=production run -0 --separate-stderr tasker-submit --check tasks/env.yaml
    has 'env.yaml:11: note: the environment variable NO_SUCH_F is not set' "$stderr"
    has 'env.yaml:3: note: the environment variable NO_SUCH_B is not set' "$stderr"
}
