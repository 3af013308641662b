#!/usr/bin/env bats
# tasker-resolve at the same time as others: services, ends of steps, other operators; and killed.
load helper
load store
load reconcile_store
load resolve

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

# ---- locks, which only PostgreSQL has: whoever waits in a circle is thrown out by it, and that costs
# a second

on_postgresql() {
    mkdir -p postgresql && cd postgresql && store_begin postgresql
    "$@"
    is "$(store_sql 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()')" 0
}

# The same steps and tasks from both ends at once.
from_both_ends() {
    local n
    tac steps >steps.back && tac tasks >tasks.back
    for n in steps steps.back tasks tasks.back; do
        spawn "$n" tasker-resolve cancel --reason race "${n:0:4}" - <"$n"
    done
    for n in steps steps.back tasks tasks.back; do
        finish "$n"
        [ "$status" -le 1 ] || return
    done
}

both_ends() {
    local round
    for round in {1..4}; do
        submit chain 30
        store_sql "SELECT id FROM steps WHERE state = 'pending' ORDER BY id" >steps
        store_sql "SELECT task_id FROM tasks WHERE state = 'pending' ORDER BY task_id" >tasks
        from_both_ends
    done
    is "$(tasks | xargs -n 1 | sort | uniq -c | xargs)" "120 cancelled"
    is "$(states | xargs -n 1 | sort | uniq -c | xargs)" "360 cancelled"
    rebuilt
}
@test "resolve: those who do the same in opposite orders do not wait in a circle" { on_postgresql both_ends; }

# Operators while others claim and settle the same tasks.
amid_services() {
    local n
    (cd .. && template row '{name: a, handler_class: True}' '{name: b, handler_class: True, depends_on_step: a}' \
        '{name: c, handler_class: True, depends_on_step: b}' '{name: d, handler_class: True, depends_on_step: c}')
    worker
    services
    submit row 60
    seq 3 4 240 >thirds && tac thirds >thirds.back && seq 2 2 60 >tasks && seq 2 8 240 | tac >seconds
    spawn thirds tasker-resolve cancel --reason race - <thirds
    spawn thirds.back tasker-resolve resolve --reason race - <thirds.back
    spawn seconds tasker-resolve cancel --reason race - <seconds
    spawn tasks tasker-resolve cancel --reason race task - <tasks
    for n in thirds thirds.back seconds tasks; do
        finish "$n" 60
        [ "$status" -le 1 ] || return
    done
    wait_until 60 none_runs
    services_end
    rebuilt
}
none_runs() { [ "$(store_sql "SELECT count(*) FROM tasks WHERE state IN ('pending', 'in_progress')")" = 0 ]; }
@test "resolve: operators, those who claim and those who settle do not wait in a circle" { on_postgresql amid_services; }
