# What the tests of tasker-reconcile and the store share; after helper and store.
#
#     batch ID STEPS [PUBLISHED_AT [ATTEMPT]]  records a batch with the steps 1 to STEPS, as publish
#                                   does: accepted at that time (ms, 2000), with a limit of a minute
#     ledger ID AT JSON...          puts messages of it into the ledger, received at that time
#     results ID STEPS [AT]         the ledger of a batch that went well, made of results of a worker
#     state ID                      prints the state of a batch, and then those of its steps
#     rebuilt                       fails if --rebuild changes a row

teardown() { store_end && test_end; }

numbers() { # COUNT: a query with n from 1
    echo "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < $1)"
}

make_store() { tasker-reconcile --ledger; }

# Runs several statements at once, which give no rows.
store_script() {
    case $TASKER_STORE_URL in
    sqlite:*) sqlite3 -batch -bail -cmd '.timeout 20000' -cmd 'PRAGMA foreign_keys = ON' \
        "${TASKER_STORE_URL#sqlite:}" "BEGIN IMMEDIATE; $1; COMMIT" </dev/null ;;
    *) psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$TASKER_STORE_URL" -c "$1" </dev/null ;;
    esac
}

batch() {
    local id=$1 steps=$2 at=${3:-2000} attempt=${4:-1}
    store_script "INSERT INTO batches (batch_id, total_steps, timeout_ms, body, created_at, published_at, state, updated_at)
        VALUES ('$id', $steps, 60000, '', 1000, $at, 'published', $at);
        INSERT INTO batch_transitions (batch, sort_key, from_state, to_state, event, origin, created_at)
        SELECT id, 1, NULL, 'created', 'batch_initialization', 'program', 1000 FROM batches WHERE batch_id = '$id'
        UNION ALL SELECT id, 2, 'created', 'published', 'zmq_publish_success', 'program', $at FROM batches WHERE batch_id = '$id';
        INSERT INTO steps (step_id, task_id, name, handler_class, created_at, state, updated_at)
        $(numbers "$steps") SELECT n, 7, '$id/' || n, 'H', 1000, 'enqueued', 1000 FROM c;
        INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt)
        SELECT b.id, s.step_id, s.id, s.step_id, $attempt FROM batches b JOIN steps s ON s.name LIKE '$id/%' WHERE b.batch_id = '$id';
        $(enqueue "$id")"
}

# The transitions of the steps of a batch, up to enqueued, as a statement.
enqueue() {
    echo "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch, created_at)
        SELECT p.step, p.attempt * 1000 + k.n, k.f, k.t, k.e, 'program', p.batch, 1000 FROM batch_steps p
        JOIN batches b ON b.id = p.batch CROSS JOIN (SELECT 0 AS n, NULL AS f, 'pending' AS t, 'step_created' AS e
        UNION ALL SELECT 1, 'pending', 'enqueued', 'step_enqueued') k WHERE b.batch_id = '$1'"
}

bytes() { # TEXT, sets REPLY to a literal of bytes
    if [ "$STORE" = sqlite ]; then REPLY="CAST('${1//\'/\'\'}' AS BLOB)"; else REPLY="convert_to('${1//\'/\'\'}', 'UTF8')"; fi
}

ledger() {
    local id=$1 at=$2 json topic rows=
    shift 2
    for json in "$@"; do
        LEDGER_OFFSET=$((${LEDGER_OFFSET:-0} + 1))
        topic=${json#*'"message_type":"'}
        bytes "$json"
        rows="$rows${rows:+, }($at, 'c', '${topic%%\"*}', '$id', 's', $LEDGER_OFFSET, $REPLY)"
    done
    store_script "INSERT INTO received_results (received_at, collector_id, topic, batch_id, source, stream_offset, raw_message) VALUES $rows;
        INSERT INTO unsettled (batch_id) VALUES ('$id')"
}

partial() { # ID STEP STATUS [MORE]
    printf '{"message_type":"partial_result","batch_id":"%s","step_id":%d,"attempt":%d,"status":"%s"%s}' "$1" "$2" "${ATTEMPT:-1}" "$3" "${4:-}"
}

ended() { # ID STEPS [STATUS]
    local i list=
    for ((i = 1; i <= $2; i++)); do list="$list${list:+,}{\"step_id\":$i,\"final_status\":\"${3:-completed}\"}"; done
    printf '{"message_type":"batch_completion","batch_id":"%s","step_summaries":[%s]}' "$1" "$list"
}

results() {
    local id=$1 steps=$2 at=${3:-3000} i lines=()
    for ((i = 1; i <= steps; i++)); do
        lines+=("$(partial "$id" $i in_progress)" "$(partial "$id" $i completed ',"output":{"n":1},"execution_time_ms":5,"worker_id":"w"')")
    done
    ledger "$id" "$at" "${lines[@]}" "$(ended "$id" "$steps")"
}

state() {
    store_sql "SELECT state FROM (SELECT 0 AS n, state FROM batches WHERE batch_id = '$1' UNION ALL
        SELECT p.step_id, s.state FROM batch_steps p JOIN steps s ON s.id = p.step JOIN batches b ON b.id = p.batch
        WHERE b.batch_id = '$1') t ORDER BY n"
}

rebuilt() {
    dump >before.dump
    tasker-reconcile --rebuild </dev/null
    dump >after.dump
    diff before.dump after.dump >&2
}
