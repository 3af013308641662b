#!/usr/bin/env bats
# Fan-out at run time: steps whose output asks for optional steps of their template, through the whole
# loop, on both stores.
load helper
load store
load fan_out

branch_is_chosen() {
    submit branch '{"decide": {"create_steps": ["refuse"], "why": 1}}'
    submit branch '{"decide": {"why": 2}}'
    submit branch '{"decide": {"create_steps": ["approve", {"name": "refuse", "count": 0}]}}'
    run_loop
    [ "$(steps 1)" = "\
decide|complete
refuse|complete
other|complete
all|complete
any|complete" ]
    [ "$(results refuse 1 | jq -c .decide.why)" = 1 ]
    [ "$(results all 1 | jq -c keys)" = '["refuse"]' ]
    [ "$(results any 1 | jq -c keys)" = '["refuse"]' ]
    [ "$(steps 2)" = "\
decide|complete
other|complete
all|cancelled
any|cancelled" ]
    [ "$(store_sql "select event, metadata from step_transitions where to_state = 'cancelled'" | sort -u)" = 'step.skipped|{"because_step":5,"reason":"no step before it was run"}' ]
    [ "$(results all 3 | jq -c keys)" = '["approve"]' ]
    [ "$(store_sql "select state from tasks" | sort -u)" = complete ]
}
@test "a decision chooses a branch, another one, or none: what joins them waits for what there is" {
    for_each_store branch_is_chosen
}

# What is behind an optional step that nobody asked for is skipped, down the chain; a step may say
# otherwise, by its join or by when_skipped. Beside another step it runs.
chain_is_skipped() {
    submit chain '{"decide": 1}'
    run_loop
    [ "$(steps 1)" = "\
decide|complete
wrap|cancelled
label|cancelled
note|complete
count|complete
ship|complete
clean|complete
sweep|cancelled" ]
    [ "$(results ship | jq -c keys)" = '["decide"]' ]
    [ "$(results note)$(results count)$(results clean)" = '{}{}{"count":{}}' ]
    [ "$(task_state)" = complete ]
    tasker-ready --explain task 1 >explained
    has "step 2 (wrap, Echo): skipped" explained
    has ": step 1 (decide) before it is complete and has asked for no optional step between them" explained
    has ": step 2 (wrap) before it is skipped" explained
    has '"step_id":2,' "$(tasker-status steps --format=json | grep '"state":"skipped"')"
    has 's2 [label="wrap\nskipped"' "$(tasker-submit --dot --task 1)"
    has step.skipped "$(tasker-status show step 2)"
    run -1 tasker-ready
    tasker-reconcile --rebuild
    [ "$(tasker-ready --explain task 1 | sed 's/(.* ago)//')" = "$(sed 's/(.* ago)//' explained)" ]
    # asked for: nothing is skipped
    submit chain '{"decide": {"create_steps": ["gift"]}}'
    # whoever could ask is bypassed
    echo '{"name":"chain","bypass_steps":["decide"]}' | tasker-submit >>submitted
    run_loop
    [ "$(steps 2 | grep -vc complete)" = 0 ]
    [ "$(steps 3 | grep -c cancelled)" = 3 ]
    [ "$(store_sql "select distinct state from tasks")" = complete ]
    # an operator may still have the last word
    tasker-resolve resolve step 2 --reason "wrapped by us" >resolved
    [ "$(steps 1 | sed -n 2,3p | xargs)" = "wrap|resolved_manually label|pending" ]
    [ "$(task_state)" = in_progress ]
}
@test "what is behind an optional step that nobody asked for is skipped" {
    cat >tasks/chain.yaml <<'EOT'
name: chain
step_templates:
  - {name: decide, handler_class: Say, skippable: true}
  - {name: gift, handler_class: Echo, depends_on_step: decide, optional: true}
  - {name: wrap, handler_class: Echo, depends_on_step: gift}
  - {name: label, handler_class: Echo, depends_on_step: wrap, join: any_ok}
  - {name: note, handler_class: Echo, depends_on_step: label, when_skipped: run}
  - {name: count, handler_class: Echo, depends_on_step: label, join: all_done}
  - {name: ship, handler_class: Echo, depends_on_steps: [decide, label]}
  - {name: clean, handler_class: Echo, depends_on_steps: [count, wrap]}
  - {name: sweep, handler_class: Echo, depends_on_step: wrap, join: all_done, when_skipped: skip}
EOT
    has '(skipped if nothing before it runs)' "$(tasker-submit --dot -T chain | grep '"label')"
    sed 's/when_skipped: run/when_skipped: rn/' tasks/chain.yaml >tasks/wrong.yaml
    run -78 tasker-submit --check tasks/wrong.yaml
    has 'when_skipped: "rn"' "$output"
    rm tasks/wrong.yaml
    for_each_store chain_is_skipped
}

a_chain() {
    submit branch '{"decide": {"create_steps": ["refuse", "appeal"]}}'
    run_loop
    [ "$(store_sql "select a.name, b.name, d.choice from step_dependencies d join steps a on a.id = d.from_step join steps b on b.id = d.to_step order by b.place, a.place")" = "\
decide|refuse|0
refuse|appeal|0
decide|all|1
refuse|all|0
appeal|all|0
decide|any|1
refuse|any|0" ]
    [ "$(results appeal | jq -c keys)" = '["refuse"]' ]
    [ "$(results all | jq -c keys)" = '["appeal","refuse"]' ]
}
@test "an optional step behind an optional step" { for_each_store a_chain; }

# One that is made is as one that is there from the start.
all_of_it() {
    local what="handler_class, handler_config, retry_limit, timeout_ms, default_retryable, join_rule, unsatisfied, priority"
    jq -nc '{context: {a: {create_steps: ["made"]}}}' | tasker-submit -T full --priority 9 >submitted
    run_loop
    [ "$(store_sql "select $what from steps where name = 'there'")" = 'Echo|{"k":[1]}|1|7000|0|any_ok|block|9' ]
    [ "$(store_sql "select $what from steps where name = 'made'")" = "$(store_sql "select $what from steps where name = 'there'")" ]
}
@test "a step that is made has all that its template says" {
    local like='handler_class: Echo, depends_on_step: a, timeout_seconds: 7, default_retryable: false'
    like="$like, join: any_ok, unsatisfied: block, handler_config: {k: [1]}"
    cat >tasks/full.yaml <<EOT
name: full
step_templates:
  - {name: a, handler_class: Say}
  - {name: there, $like}
  - {name: made, $like, optional: true}
EOT
    for_each_store all_of_it
}

n_of_a_kind() {
    submit wide '{"split": {"parts": [5, 6], "create_steps": [{"name": "shard", "count": 12}, "audit"]}}'
    submit wide '{"split": {"parts": [], "create_steps": [{"name": "shard", "count": 0}]}}'
    submit wide '{"bad": 2, "split": {"create_steps": [{"name": "shard", "count": 3}]}}'
    submit wide '{"split": {"create_steps": [{"name": "shard", "count": 1}]}}'
    run_loop
    [ "$(steps 1 | head -4)" = "\
split|complete
shard#1|complete
shard#2|complete
shard#3|complete" ]
    [ "$(store_sql "select count(*) from steps where task = 1 and state = 'complete'")" = 15 ]
    [ "$(results join 1 | jq -c '[.shard[].index]')" = "[1,2,3,4,5,6,7,8,9,10,11,12]" ]
    [ "$(results join 1 | jq -c '.shard[11]')" = '{"index":12,"count":12,"kind":"shard","unit":7,"parts":[5,6]}' ]
    [ "$(results audit 1 | jq -c keys)" = '["split"]' ]
    [ "$(steps 2)" = "\
split|complete
join|complete" ]
    [ "$(results join 2)" = '{}' ]
    # a join waits for the splitter only where nothing was made
    [ "$(store_sql "select b.task, d.choice from step_dependencies d join steps a on a.id = d.from_step join steps b on b.id = d.to_step where a.name = 'split' and b.name = 'join'")" = "2|1" ]
    [ "$(results join 3 | jq -c '[.shard[] | .index]')" = "[1,null,3]" ]
    [ "$(task_state 3)" = error ]
    [ "$(results join 4 | jq -c '[.shard[] | .index]')" = "[1]" ]
}
@test "N of a kind, each with its index; their join gets a list" { for_each_store n_of_a_kind; }

# Outputs nested to the limit and one level more: the first is JSON still where the batch of the join
# has it in a list, the other fails its step by name, and the other tasks run to their end.
deep_outputs() {
    submit wide '{"deep": 59, "split": {"create_steps": [{"name": "shard", "count": 2}]}}'
    submit wide '{"deep": 60, "split": {"create_steps": [{"name": "shard", "count": 2}]}}'
    submit wide '{"split": {"create_steps": [{"name": "shard", "count": 1}]}}'
    run_loop
    [ "$(store_sql "select task_id, state from tasks order by task_id" | xargs)" = "1|complete 2|error 3|complete" ]
    [ "$(store_sql "select count(*) from steps where name = 'join' and state = 'complete'")" = 3 ]
    [ "$(store_sql "select results from steps where task = 1 and name = 'shard#1'" | tr -d '\n' | tr -cd '[' | wc -c)" = 59 ]
    [ "$(store_sql "select error from steps where task = 2 and name = 'shard#1'" | jq -r .error_type)" = OutputTooDeep ]
}
@test "N of a kind with outputs that are nested as deep as may be" {
    cat >shard <<'EOT'
#!/bin/sh
deep=$(jq -r '.step.task_context.deep // 1')
printf '%*s' "$deep" '' | tr ' ' '['
printf '%*s' "$deep" '' | tr ' ' ']'
EOT
    sed -i '/name: join/s/Echo/Count/' tasks/wide.yaml
    printf "  Count: {command: [jq, -c, '.sequence.previous_results.shard | length']}\n" >>handlers.yaml
    for_each_store deep_outputs
}
