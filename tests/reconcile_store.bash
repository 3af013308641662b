# What the tests of tasker-reconcile and the store share; after helper and store.
#
#     batch ID STEPS [PUBLISHED_AT [ATTEMPT]]  puts down a batch with the steps 1 to STEPS, as publish
#                                   does: accepted at that time (ms, 2000), with a limit of a minute
#     ledger ID AT JSON...          puts messages of it into the ledger, received at that time
#     results ID STEPS [AT]         the ledger of a batch that went well, made of results of a worker
#     dump                          prints all rows of all tables
#     state ID                      prints the state of a batch, and then those of its steps
#     rebuilt                       fails if --rebuild changes a row

teardown() { store_end && test_end; }

sql_text() { printf "'%s'" "${1//\'/\'\'}"; }

numbers() { # COUNT: a query with n from 1
    echo "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < $1)"
}

make_store() { tasker-reconcile --ledger; }

batch() {
    local id=$1 steps=$2 at=${3:-2000} attempt=${4:-1}
    store_sql "INSERT INTO batches (batch_id, total_steps, timeout_ms, body, created_at, published_at, state, updated_at)
        VALUES ('$id', $steps, 60000, '', 1000, $at, 'published', $at)"
    store_sql "INSERT INTO batch_transitions (batch, sort_key, from_state, to_state, event, origin, created_at)
        SELECT id, 1, NULL, 'created', 'batch_initialization', 'program', 1000 FROM batches WHERE batch_id = '$id'
        UNION ALL SELECT id, 2, 'created', 'published', 'zmq_publish_success', 'program', $at FROM batches WHERE batch_id = '$id'"
    store_sql "INSERT INTO steps (step_id, task_id, name, handler_class, created_at, state, updated_at)
        $(numbers "$steps") SELECT n, 7, '$id/' || n, 'H', 1000, 'enqueued', 1000 FROM c"
    store_sql "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt)
        SELECT b.id, s.step_id, s.id, s.step_id, $attempt FROM batches b JOIN steps s ON s.name LIKE '$id/%' WHERE b.batch_id = '$id'"
    enqueue "$id"
}

# The transitions of the steps of a batch, up to enqueued.
enqueue() {
    store_sql "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch, created_at)
        SELECT p.step, p.attempt * 1000 + k.n, k.f, k.t, k.e, 'program', p.batch, 1000 FROM batch_steps p
        JOIN batches b ON b.id = p.batch CROSS JOIN (SELECT 0 AS n, NULL AS f, 'pending' AS t, 'step_created' AS e
        UNION ALL SELECT 1, 'pending', 'enqueued', 'step_enqueued') k WHERE b.batch_id = '$1'"
}

mark() { store_sql "INSERT INTO unsettled (batch_id) VALUES ('$1')"; }

bytes() { # TEXT as a literal of bytes
    local hex
    hex=$(printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n')
    if [ "$STORE" = sqlite ]; then echo "X'$hex'"; else echo "'\\x$hex'"; fi
}

ledger() {
    local id=$1 at=$2 json rows=
    shift 2
    for json in "$@"; do
        LEDGER_OFFSET=$((${LEDGER_OFFSET:-0} + 1))
        rows+="${rows:+, }($at, 'c', $(sql_text "$(jq -rn --argjson m "$json" '$m.message_type')"), '$id', 's', $LEDGER_OFFSET, $(bytes "$json"))"
    done
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, batch_id, source, stream_offset, raw_message) VALUES $rows"
    mark "$id"
}

partial() { # ID STEP STATUS [MORE]
    printf '{"message_type":"partial_result","batch_id":"%s","step_id":%d,"attempt":%d,"status":"%s"%s}' "$1" "$2" "${ATTEMPT:-1}" "$3" "${4:-}"
}

ended() { # ID STEPS [STATUS]
    jq -cn --arg id "$1" --argjson n "$2" --arg s "${3:-completed}" '{message_type: "batch_completion", batch_id: $id,
        step_summaries: [range(1; $n + 1) | {step_id: ., final_status: $s}]}'
}

results() {
    local id=$1 steps=$2 at=${3:-3000} i lines=()
    for ((i = 1; i <= steps; i++)); do
        lines+=("$(partial "$id" $i in_progress)" "$(partial "$id" $i completed ',"output":{"n":1},"execution_time_ms":5,"worker_id":"w"')")
    done
    ledger "$id" "$at" "${lines[@]}" "$(ended "$id" "$steps")"
}

dump() {
    local table key
    while read -r table key; do
        echo "== $table"
        store_sql "SELECT * FROM $table ORDER BY $key"
    done <<'END'
tasks task_id
steps id
batches id
batch_steps batch, sequence_order
received_results id
settled_batches batch
settled_steps batch, step_id
discrepancies batch, place
task_transitions task, sort_key
step_transitions step, sort_key
batch_transitions batch, sort_key
END
}

state() {
    store_sql "SELECT state FROM batches WHERE batch_id = '$1'"
    store_sql "SELECT s.state FROM batch_steps p JOIN steps s ON s.id = p.step JOIN batches b ON b.id = p.batch
        WHERE b.batch_id = '$1' ORDER BY p.step_id"
}

rebuilt() {
    dump >before.dump
    tasker-reconcile --rebuild </dev/null
    dump >after.dump
    diff before.dump after.dump >&2
}
