#!/usr/bin/env bats
# The store as such, on both back ends, and what befalls it.

load helper
load store

teardown() { store_end && test_end; }

DAY=86400000

status_store() { tasker-status store "$@"; }

# Rows are put together first, and added at once by add_rows. AGE is in days.
row() { ROWS+="INSERT INTO $1"$';\n'; }

add_rows() {
    store_sql "${ROWS%$';\n'}"
    ROWS=
}

batch() { # ID STATE AGE [TASK-OF-STEP] [ATTEMPT] [STEP]: a batch and what is of it
    local id=$1 at=$((NOW - $3 * DAY)) task=${4:-NULL} attempt=${5:-1} step=${6:-}
    row "batches (id, batch_id, total_steps, timeout_ms, body, created_at, state, updated_at)
        VALUES ($id, 'b$id', 1, 1000, CAST('{}' AS $BYTES), $at, '$2', $at)"
    if [ -z "$step" ]; then
        step=$((1000 + id))
        row "steps (id, task, step_id, task_id, name, handler_class, created_at, state, updated_at)
            VALUES ($step, $task, $step, ${4:-7}, 's$step', 'X', $at, 'complete', $at)"
    fi
    row "batch_steps VALUES ($id, 1, $step, $step, $attempt)"
    row "batch_transitions VALUES ($id, 1, NULL, 'created', 'x', 'program', '{}', $at)"
    row "step_transitions VALUES ($step, $((attempt * 1000)), NULL, 'pending', 'x', 'program', $id, '{}', $at)"
    row "settled_batches (batch, verdict, revision, completed_steps, failed_steps)
        VALUES ($id, 'consistent', 1, 1, 0)"
    message "'b$id'" "$3"
}

task() { # ID STATE AGE
    local at=$((NOW - $3 * DAY))
    row "tasks (task_id, name, created_at, updated_at, state) VALUES ($1, 't', $at, $at, '$2')"
    row "task_transitions VALUES ($1, 1, NULL, 'pending', 'x', 'program', '{}', $at)"
}

message() { # BATCH-OR-NULL AGE
    row "received_results (received_at, collector_id, topic, batch_id, raw_message)
        VALUES ($((NOW - $2 * DAY)), 'c', 't', $1, CAST('x' AS $BYTES))"
}

unsettled() { row "unsettled (batch_id) VALUES ('$1')"; }

begin_rows() {
    now_ms
    NOW=$REPLY BYTES=BLOB ROWS=
    [ "$STORE" = sqlite ] || BYTES=BYTEA
    status_store --init
}

ids() { store_sql "SELECT $1 FROM $2 ORDER BY $1" | tr '\n' ' '; }

@test "the helper's own cluster can be stopped, started and frozen" {
    own_cluster pg
    store_sql 'CREATE TABLE x (a BIGINT)'
    cluster_stop pg
    run ! store_sql 'SELECT 1'
    cluster_start pg
    cluster_freeze pg
    run ! timeout 1 psql -X -d "$TASKER_STORE_URL" -c 'SELECT 1'
    cluster_thaw pg
    [ "$(store_sql 'SELECT count(*) FROM x')" = 0 ]
}

init() {
    run -69 --separate-stderr status_store
    has 'tasker-status store --init' "$stderr"
    run -0 status_store --init
    has 'made the store' "$output"
    run -0 status_store --init
    has 'found the store' "$output"
    run -0 status_store --init -f json
    [ "$(jq -r '.result, .kind' <<<"$output" | tr '\n' ' ')" = "found $STORE " ]
    [ "$(store_sql 'SELECT count(*) FROM batches')" = 0 ]
}

@test "status store --init makes the store once, and nothing makes it before" {
    for_each_store init
}

init_at_once() {
    local i
    for i in 1 2 3 4 5 6; do spawn "init$i" tasker-status store --init; done
    for i in 1 2 3 4 5 6; do finish_with 0 "init$i"; done
    [ "$(cat init?.out | grep -c '^made')" -eq 1 ]
    [ "$(cat init?.out | grep -Ec '^(found|brought up to date)')" -eq 5 ]
}

@test "several that make the store at once: one does" {
    for_each_store init_at_once
}

has_open() { ls -l "/proc/${PIDS[$1]}/fd" 2>/dev/null | grep -q -- "$2\$"; }

@test "whoever writes to a file while it is made a store is waited for" {
    store_begin sqlite
    mkdir -p store
    mkfifo ask
    sqlite3 store/tasker.db 'CREATE TABLE other (x)'
    exec {ASK}<>ask
    spawn writer sqlite3 store/tasker.db <ask {ASK}>&-
    echo 'BEGIN IMMEDIATE; SELECT count(*) FROM other;' >&$ASK
    wait_line writer.out 0
    spawn init tasker-status store --init {ASK}>&-
    wait_until 10 has_open init store/tasker.db
    echo 'COMMIT;' >&$ASK
    exec {ASK}>&-
    finish_with 0 init
}

questions() { # the statements of section QUERIES in tasker(7), one a line
    sed -n '/^\.Sh QUERIES/,/^\.Sh STATES/p' "$ROOT/cmd/tasker.7" | sed -n '/^SELECT/,/;$/p' | tr '\n' ' ' |
        sed 's/; */\n/g'
}

views_answer() {
    local question view views="tasks steps dependencies ready batches attempts discrepancies history messages"
    cat >ship.yaml <<'END'
name: order
step_templates: [{name: pay, handler_class: Pay}, {name: ship, handler_class: Ship, depends_on_step: pay}]
END
    begin_rows
    tasker-submit --template ./ship.yaml --context '{}'
    batch 900 published 1
    add_rows
    store_sql "UPDATE tasks SET state = 'in_progress';
UPDATE steps SET state = 'error', error_category = 'timeout', attempts = 2 WHERE id = 1900;
INSERT INTO settled_steps (batch, step_id, attempt, status, outcome, worker_id, execution_ms)
    VALUES (900, 1900, 1, 'failed', 'failed', 'w1', 1500);
INSERT INTO discrepancies VALUES (900, 1, 'missing_partial', 1900, 'there is none');
INSERT INTO step_transitions VALUES (1, 100, 'pending', 'cancelled', 'step.cancelled', 'operator', NULL, '{}', $NOW)"
    for view in $views; do
        [ "$(store_sql "SELECT count(*) FROM v_$view")" -gt 0 ] || { echo "v_$view has no row"; false; }
    done
    [ "$(questions | grep -c ^SELECT)" -eq 10 ]
    while read -r question; do
        run -0 store_sql "$question"
        [ -n "$output" ] || { echo "no row: $question"; false; }
    done < <(questions)
    [ "$(store_sql "SELECT waits_for, waits_for_state, maybe FROM v_dependencies WHERE step = 'ship'")" = 'pay|pending|0' ]
    [ "$(store_sql "SELECT name, attempt FROM v_ready")" = 'pay|1' ]
    [ "$(store_sql "SELECT at FROM v_history WHERE origin = 'operator'")" = \
        "$(date -u -d "@$((NOW / 1000))" "+%Y-%m-%dT%H:%M:%S.$(printf %03d $((NOW % 1000)))Z")" ]
    [ "$(store_sql "SELECT message FROM v_messages WHERE batch_id = 'b900'")" = x ]
}

@test "each view has rows, and the questions of the manual are answered" {
    for_each_store views_answer
}

shows_it() {
    begin_rows
    task 1 complete 3
    task 2 pending 1
    batch 1 completed 3 1
    batch 2 published 1
    unsettled b2
    add_rows
    local known
    known=$(store_sql 'SELECT max(version) FROM schema_migrations')
    run -0 status_store
    has 'health      ok' "$output"
    has "schema      $known (this program knows $known)" "$output"
    has 'tasks       1 pending  1 complete' "$output"
    has 'batches     1 published  1 completed' "$output"
    has 'unsettled   1 batch' "$output"
    run -0 status_store -f json
    jq -e --arg kind "$STORE" --argjson known "$known" '.message_type == "store" and .kind == $kind and .health == "ok"
        and .writable and .schema == $known and .schema_known == $known and .size_bytes > 10000
        and .rows.batches == 2 and .rows.received_results == 2 and .rows.step_transitions == 2
        and .tasks.pending == 1 and .tasks.complete == 1 and .batches.published == 1
        and .steps.complete == 2 and .unsettled_batches == 1
        and .oldest_unsettled_at == .newest_message_at and .rows_about == []' <<<"$output"
}

@test "status store shows what is in it" {
    for_each_store shows_it
}

about() {
    begin_rows
    local rows="SELECT 1000 + value, 'c', 't', CAST('x' AS BLOB) FROM generate_series(1, 150000)"
    if [ "$STORE" = sqlite ]; then
        rows="WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 150000)
            SELECT 1000 + value, 'c', 't', CAST('x' AS BLOB) FROM n"
    else
        rows="SELECT 1000 + value, 'c', 't', CAST('x' AS BYTEA) FROM generate_series(1, 150000) AS value"
    fi
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, raw_message) $rows"
    [ "$STORE" = sqlite ] || store_sql 'ANALYZE received_results'
    run -0 status_store -f json
    jq -e '.rows_about == ["received_results"] and .rows.received_results > 140000
        and .rows.received_results < 160000' <<<"$output"
    run -0 status_store
    has '~1' "$output"
}

@test "a table with many rows is told about" {
    for_each_store about
}

newer() {
    local known
    status_store --init
    known=$(store_sql 'SELECT max(version) FROM schema_migrations')
    store_sql "INSERT INTO schema_migrations VALUES (99, 'later', 1)"
    run -78 --separate-stderr status_store -f json
    has 'newer than this program knows' "$stderr"
    jq -e --argjson known "$known" '.health == "newer_schema" and .schema == 99 and .schema_known == $known' <<<"$output"
    run -78 --separate-stderr status_store --init
    run -78 --separate-stderr status_store --prune --older-than 1d
    [ "$(store_sql 'SELECT max(version) FROM schema_migrations')" = 99 ]
}

@test "a newer schema is refused and left alone" {
    for_each_store newer
}

prunes() {
    begin_rows
    task 1 complete 30          # goes, with its step and batch
    batch 1 completed 30 1
    task 2 complete 2           # ended lately: stays, and so its old batch
    batch 2 completed 30 2
    task 3 error 30             # not finished
    batch 3 failed 30 3
    task 4 cancelled 30         # has no batch, goes
    task 5 pending 30
    batch 10 completed 30       # of no task: goes with its step
    batch 11 timeout 30         # goes
    batch 12 completed 2        # lately
    batch 13 executing 30       # not finished
    batch 14 completed 30       # has a message of lately: stays
    message "'b14'" 1
    batch 15 completed 30       # has news: stays
    unsettled b15
    batch 16 failed 40          # two attempts of one step: both go
    batch 17 completed 30 '' 2 1016
    batch 18 executing 30       # the first attempt stays, so must the second
    batch 19 completed 30 '' 2 1018
    message NULL 30             # of no batch: goes
    message "'foreign'" 30      # goes, with what says that there is news
    unsettled foreign
    message "'stranger'" 30     # is still heard of: stays
    message "'stranger'" 1
    message NULL 1
    add_rows
    local before
    before=$(ids id batches)
    run -0 status_store --prune --older-than 10d --dry-run
    [ "$output" = "would take away 2 tasks, 5 batches, 4 steps, 7 messages" ]
    [ "$(ids id batches)" = "$before" ]
    run -0 status_store --prune --older-than 10d
    [ "$output" = "took away 2 tasks, 5 batches, 4 steps, 7 messages" ]
    [ "$(ids task_id tasks)" = "2 3 5 " ]
    [ "$(ids id batches)" = "2 3 12 13 14 15 18 19 " ]
    [ "$(ids id steps)" = "1002 1003 1012 1013 1014 1015 1018 " ]
    [ "$(ids batch_id "(SELECT DISTINCT batch_id FROM received_results WHERE batch_id IS NOT NULL) AS x")" \
        = "b12 b13 b14 b15 b18 b19 b2 b3 stranger " ]
    [ "$(store_sql 'SELECT count(*) FROM received_results WHERE batch_id IS NULL')" = 1 ]
    [ "$(ids batch_id unsettled)" = "b15 " ]
    [ "$(ids task task_transitions)" = "2 3 5 " ]
    [ "$(ids batch settled_batches)" = "2 3 12 13 14 15 18 19 " ]
    [ "$(ids batch batch_transitions)" = "2 3 12 13 14 15 18 19 " ]
    run -0 status_store --prune --older-than 10d -f json
    jq -e '.message_type == "store_prune" and .tasks + .batches + .steps + .messages == 0' <<<"$output"
}

@test "prune takes what ended long ago, and only that" {
    for_each_store prunes
}

stopped_prune() {
    begin_rows
    if [ "$STORE" = sqlite ]; then
        local numbers="WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)"
    else
        local numbers="WITH n (i) AS (SELECT generate_series(1, 8000))"
    fi
    store_sql "$numbers INSERT INTO batches (id, batch_id, total_steps, timeout_ms, body, created_at, state, updated_at)
        SELECT i, 'b' || i, 1, 1, CAST('{}' AS $BYTES), 1, 'completed', 1 FROM n"
    store_sql "$numbers INSERT INTO steps (id, step_id, task_id, name, handler_class, created_at, state, updated_at)
        SELECT i, i, 1, 's', 'X', 1, 'complete', 1 FROM n"
    store_sql "$numbers INSERT INTO batch_steps SELECT i, 1, i, i, 1 FROM n"
    store_sql "$numbers INSERT INTO received_results (received_at, collector_id, topic, batch_id, raw_message)
        SELECT 1, 'c', 't', 'b' || i, CAST('x' AS $BYTES) FROM n"
    local left=8000 i
    for i in 1 2 3; do
        spawn prune tasker-status store --prune --older-than 1d
        wait_until 20 fewer "$left"
        signal prune "$1" || true # it may have ended
        finish prune
        left=$(store_sql 'SELECT count(*) FROM batches')
        [ "$(store_sql 'SELECT count(*) FROM steps')" = "$left" ]
        [ "$(store_sql 'SELECT count(*) FROM batch_steps')" = "$left" ]
        [ "$(store_sql 'SELECT count(*) FROM received_results')" = "$left" ]
    done
    run -0 status_store --prune --older-than 1d
    [ "$(store_sql 'SELECT count(*) FROM batches')" = 0 ]
    [ "$(store_sql 'SELECT count(*) FROM received_results')" = 0 ]
}

fewer() { [ "$(store_sql 'SELECT count(*) FROM batches')" -lt "$1" ] || ! running prune; }

@test "prune that is killed leaves whole batches" {
    for_each_store stopped_prune KILL
}

@test "prune that is told to stop says so and tells how many" {
    for_each_store stopped_prune TERM
    grep -h . "$BATS_TEST_TMPDIR"/*/prune.out | grep '^took away'
}

@test "status store: what is wrong on the command line" {
    run_case_table tasker-status <<'TABLE'
none            | store                              | - | 69 | there is no store
none, init      | store --init                       | - | 69 | there is no store
operand         | store x                            | - | 64 | unexpected operand "x"
two at once     | store --init --prune               | - | 64 | one at a time
no age          | store --prune                      | - | 64 | --prune needs --older-than
dry, no prune   | store --dry-run                    | - | 64 | --dry-run is for --prune
age, no prune   | store --older-than 1d              | - | 64 | --older-than is for --prune
elsewhere       | tasks --prune                      | - | 64 | --prune is for store
metrics         | store --format prometheus          | - | 64 | --format prometheus is for
bad url         | store --store mysql://x            | - | 64 | --store
TABLE
}

# ---- SQLite

bad_file() { # NAME STATUS TEXT
    local before=
    [ ! -f "$1" ] || before=$(cksum <"$1")
    run "-$2" --separate-stderr tasker-status store --store "sqlite:$1"
    has "$3" "$stderr"
    [ "${#stderr_lines[@]}" -eq 1 ]
    run "-$2" --separate-stderr tasker-status store --init --store "sqlite:$1"
    has "$3" "$stderr"
    [ "${#stderr_lines[@]}" -eq 1 ]
    [ ! -f "$1" ] || [ "$(cksum <"$1")" = "$before" ]
}

@test "SQLite: a file that is none of its own is refused and left as it is" {
    echo 'a text, and no database at all' >text
    head -c 200000 /dev/urandom >random
    mkdir folder
    bad_file text 69 'is not a database'
    bad_file random 69 'is not a database'
    bad_file folder 69 'it is a folder'
    bad_file text/x.db 69 'Not a directory'
    bad_file /dev/null 69 'it is not a file'
    tasker-status store --init --store sqlite:good
    head -c 100000 good >cut
    run -74 --separate-stderr tasker-status store --store sqlite:cut
    has malformed "$stderr"
}

@test "SQLite: a path is a path, relative or odd" {
    tasker-status store --init --store 'sqlite:a/b c/file:x?mode=ro'
    tasker-status store --init --store 'sqlite:file:y?mode=memory'
    [ -s 'a/b c/file:x?mode=ro' ] && [ -s 'file:y?mode=memory' ]
    [ "$(stat -c %a a)" = 700 ]
    tasker-status store --store 'sqlite:a/b c/file:x?mode=ro'
}

# As a user that may not do all.
as_nobody() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent XDG_CONFIG_HOME= "$@"
    else
        "$@"
    fi
}

@test "SQLite: a file or folder that may only be read" {
    local place
    place=$(mktemp -d /tmp/tasker-ro.XXXXXX) && mkdir "$place/in"
    export TASKER_STORE_URL=sqlite:$place/in/x.db
    tasker-status store --init
    chmod 755 "$place" && chmod 444 "$place/in/x.db" && chmod 555 "$place/in"
    local bin=$place/tasker-status
    cp "$TASKER_BIN/tasker-status" "$bin" && chmod 755 "$bin" # where everybody may look
    cd "$place"
    run -69 --separate-stderr as_nobody "$bin" store --init
    has 'may only read it' "$stderr"
    run -69 --separate-stderr as_nobody "$bin" store --init --store "sqlite:$place/in/new.db"
    has 'cannot be opened' "$stderr"
    run -69 --separate-stderr as_nobody "$bin" store --init --store "sqlite:$place/in/more/new.db"
    has 'Permission denied' "$stderr"
    chmod 777 "$place/in"
    run -0 as_nobody "$bin" store
    has 'health      read_only' "$output"
    run -69 --separate-stderr as_nobody "$bin" store --prune --older-than 1d
    has 'may only read it' "$stderr"
    cd "$BATS_TEST_TMPDIR"
    rm -rf "$place"
}

holder() { # holds the lock of the file until it is told to stop
    exec python3 -c 'import sqlite3, sys, signal
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO unsettled (batch_id) VALUES (%r)" % "held")
print("held", flush=True)
signal.pause()' "$@"
}

@test "SQLite: another's lock is waited for, then 75; its death leaves all as it was" {
    export TASKER_STORE_URL=sqlite:x.db
    tasker-status store --init
    spawn holder holder x.db
    wait_line holder.out held
    run -75 --separate-stderr tasker-status store --set store.timeout=200ms
    has "another process holds its lock" "$stderr"
    has 'health      away' "$output"
    signal holder KILL
    finish holder
    [ -e x.db-wal ]
    run -0 tasker-status store -f json
    jq -e '.health == "ok" and .rows.unsettled == 0' <<<"$output"
}

# ---- PostgreSQL

@test "PostgreSQL: its lock timeout, and a server that is not there, in our words" {
    store_begin postgresql
    tasker-status store --init
    mkfifo to
    spawn lock bash -c 'exec psql -X -q "$TASKER_STORE_URL" <to'
    exec {LOCK}>to
    echo 'BEGIN; LOCK TABLE batches, batch_steps, steps, unsettled IN ACCESS EXCLUSIVE MODE; SELECT 1;' >&"$LOCK"
    wait_line lock.out 1
    run -75 --separate-stderr tasker-publish --set store.timeout=500ms \
        <<<'{"message_type":"step","step_id":1,"task_id":1,"step_name":"s","handler_class":"H"}'
    has "another session holds a lock that it needs: see pg_locks for which (55P03)" "$stderr"
    exec {LOCK}>&-
    finish lock
    run -75 --separate-stderr tasker-status store --store "postgresql://127.0.0.1:1/x"
    has "connection refused: does the server run there, and is store.url right?" "$stderr"
    run -75 --separate-stderr tasker-status store --store "postgresql:///x?host=$PWD"
    has "no server has a socket there: does it run, and is store.url right?" "$stderr"
}

@test "PostgreSQL: away, back, and never waited for without a limit" {
    own_cluster pg
    tasker-status store --init
    cluster_freeze pg
    run -75 --separate-stderr timeout 60 tasker-status store --set store.timeout=300ms
    has 'no answer within 300 ms' "$stderr"
    has 'health      away' "$output"
    cluster_thaw pg
    run -0 tasker-status store
    cluster_stop pg
    run -75 --separate-stderr tasker-status store
    has 'cannot connect' "$stderr"
    [ "${#stderr_lines[@]}" -eq 1 ]
    cluster_start pg
    run -0 tasker-status store
}

@test "PostgreSQL: who may only read the tables sees that the store is read-only" {
    own_cluster pg
    STORE=postgresql
    tasker-status store --init
    store_sql "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    run -0 tasker-status store
    has 'health      ok' "$output"
    run -0 tasker-status store --store "${TASKER_STORE_URL/user=tasker/user=reader}"
    has 'health      read_only' "$output"
    store_sql "GRANT ALL ON ALL TABLES IN SCHEMA public TO reader; REVOKE UPDATE ON steps FROM reader"
    run -0 tasker-status store --store "${TASKER_STORE_URL/user=tasker/user=reader}"
    has 'health      read_only' "$output"
}

@test "PostgreSQL: prune goes on after the server was away" {
    own_cluster pg
    STORE=postgresql
    begin_rows
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, raw_message)
        SELECT 1, 'c', 't', '\\x00' FROM generate_series(1, 100000)"
    spawn prune tasker-status store --prune --older-than 1d
    wait_until 20 fewer_messages 100000
    cluster_stop pg
    cluster_start pg
    finish_with 0 prune 60
    [ "$(store_sql 'SELECT count(*) FROM received_results')" = 0 ]
    has 'took away 0 tasks, 0 batches, 0 steps, 100000 messages' prune.out
}

fewer_messages() { [ "$(store_sql 'SELECT count(*) FROM received_results')" -lt "$1" ]; }

waiting_for() { # EVENT NUMBER: whether so many sessions wait for that
    [ "$(store_sql "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event = '$1'")" = "$2" ]
}

# Both wait for the lock of a third one, and go on together.
@test "PostgreSQL: two prunes at once count each row once" {
    store_begin postgresql
    begin_rows
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, raw_message)
        SELECT 1, 'c', 't', '\\x00' FROM generate_series(1, 9000)"
    spawn third psql -X -q -d "$TASKER_STORE_URL" -c 'SELECT pg_advisory_lock(7290402); SELECT pg_sleep(100)'
    wait_until 10 waiting_for PgSleep 1
    spawn one tasker-status store --prune --older-than 1d -f json --set store.timeout=60s
    spawn two tasker-status store --prune --older-than 1d -f json --set store.timeout=60s
    wait_until 10 waiting_for advisory 2
    store_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    finish third
    finish_with 0 one 60
    finish_with 0 two 60
    [ "$(cat one.out two.out | jq -s 'map(.messages) | add')" = 9000 ]
    [ "$(store_sql 'SELECT count(*) FROM received_results')" = 0 ]
}

@test "PostgreSQL: a password is in no output" {
    shared_cluster
    local url="postgresql://tasker:s3cret@/nosuch?host=$STORE_PG&sslpassword=s3cret2"
    run -64 --separate-stderr tasker-status store --store "$url"
    [[ "$output$stderr" != *s3cret* ]]
    export TASKER_STORE_URL=$url
    for sub in store "store --init" tasks "config store"; do
        # shellcheck disable=SC2086
        run --separate-stderr tasker-status $sub -v -v
        [[ "$output$stderr" != *s3cret* ]]
        has '***' "$output$stderr"
    done
    run -69 --separate-stderr tasker-status store
    has '"nosuch" does not exist (3D000): its owner makes it, with createdb(1)' "$stderr"
    export PGPASSWORD=s3cret PGHOST=$STORE_PG PGUSER=tasker PGDATABASE=nosuch
    run -69 --separate-stderr tasker-status store --store postgresql://
    has '"nosuch" does not exist' "$stderr"
    [[ "$output$stderr" != *s3cret* ]]
}

# As long as nobody has run ANALYZE, SQLite would take rows of one state for few.
@test "SQLite looks steps up by what they are, and not through all of a state" {
    store_begin sqlite
    status_store --init
    run -0 store_sql "EXPLAIN QUERY PLAN SELECT p.name FROM step_dependencies d JOIN steps p
        ON p.id = d.from_step WHERE p.state IN ('complete', 'error') AND d.to_step IN (1, 2)"
    has 'd USING INDEX step_dependencies_back' "$output"
    [[ $output != *steps_by_state* ]]
    run -0 store_sql "EXPLAIN QUERY PLAN SELECT id FROM steps WHERE task = 1 AND state = 'pending'"
    has 'steps_of_task' "$output"
}
