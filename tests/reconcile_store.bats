#!/usr/bin/env bats
# tasker-reconcile and the store: states from the ledger, whoever settles, in whatever order, and
# however often.
load helper
load store
load reconcile_store

setup() {
    test_begin
    endpoints
}

states() { state "$1" | xargs; }

# ---- from the ledger

from_the_ledger() {
    make_store
    batch b 2
    results b 2
    [ "$(states b)" = "published enqueued enqueued" ]
    tasker-reconcile --ledger >out
    [ "$(jq -r '[.message_type, .batch_id, .verdict, .counts.completed] | join(" ")' out)" = "batch_reconciled b consistent 2" ]
    [ "$(states b)" = "completed complete complete" ]
    [ "$(store_sql "SELECT results, execution_ms, worker_id, attempts, last_attempted_at, processed_at FROM steps WHERE step_id = 1")" = \
        '{"n":1}|5|w|1|3000|3000' ]
    [ "$(store_sql "SELECT t.sort_key, t.from_state, t.to_state, t.event, t.origin FROM step_transitions t
        JOIN steps s ON s.id = t.step WHERE s.step_id = 1 ORDER BY t.sort_key")" = "1000||pending|step_created|program
1001|pending|enqueued|step_enqueued|program
1002|enqueued|in_progress|step.started|ledger
1003|in_progress|complete|step.completed|ledger" ]
    [ "$(store_sql "SELECT sort_key, to_state FROM batch_transitions ORDER BY sort_key" | xargs)" = \
        "1|created 2|published 3|executing 4|completed" ]
    [ "$(store_sql 'SELECT count(*) FROM unsettled')" = 0 ]
    rebuilt
    tasker-reconcile --ledger >again
    [ ! -s again ]
}

@test "reconcile --ledger: what it has news of is settled, once" { for_each_store from_the_ledger; }

failures() {
    make_store
    batch b 3
    ledger b 3000 "$(partial b 1 failed ',"error":{"message":"bad","error_category":"validation","retryable":false}')" \
        "$(partial b 2 failed ',"timestamp":"1970-01-01T00:00:03Z","error":{"message":"net","error_category":"infrastructure","retryable":true,"retry_after_ms":2000}')" \
        "$(partial b 3 completed)" \
        '{"message_type":"batch_completion","batch_id":"b","step_summaries":[{"step_id":1,"final_status":"failed"},{"step_id":2,"final_status":"failed"},{"step_id":3,"final_status":"completed"}]}'
    run -1 tasker-reconcile --ledger
    [ "$(states b)" = "failed error pending complete" ]
    [ "$(store_sql "SELECT step_id, error_category, next_retry_at, retryable FROM steps ORDER BY step_id")" = "1|validation||0
2|infrastructure|5000|1
3|||1" ]
    [ "$(store_sql "SELECT error FROM steps WHERE step_id = 1" | jq -r .message)" = bad ]
    [ "$(store_sql "SELECT metadata FROM step_transitions WHERE sort_key = 1004")" = '{"next_retry_at":"1970-01-01T00:00:05.000Z"}' ]
    rebuilt
}

@test "reconcile --ledger: a failure for good, and one to be retried" { for_each_store failures; }

# ---- time

out_of_time() {
    make_store
    batch b 3
    batch quiet 1
    ledger b 3000 "$(partial b 1 completed)" "$(partial b 2 in_progress)"
    run -75 tasker-reconcile --ledger
    [ "$(states b)" = "timeout complete pending pending" ]
    [ "$(states quiet)" = "timeout pending" ]
    [ "$(store_sql "SELECT source, stream_offset, collector_id, topic FROM received_results WHERE batch_id = 'quiet'")" = \
        "reconcile:quiet|1|reconcile|batch_error" ]
    [ "$(store_sql "SELECT count(*) FROM steps WHERE error_category = 'timeout' AND next_retry_at > 61000")" = 3 ]
    [ "$(store_sql "SELECT to_state FROM batch_transitions t JOIN batches b ON b.id = t.batch WHERE b.batch_id = 'quiet' ORDER BY sort_key" | xargs)" = \
        "created published timeout" ]
    rebuilt
    # What comes late changes no state.
    ledger b 99000 "$(partial b 2 completed)" "$(partial b 3 failed)" "$(ended b 3)"
    run -75 tasker-reconcile --ledger
    [ "$(states b)" = "timeout complete pending pending" ]
    [ "$(store_sql "SELECT revision FROM settled_batches s JOIN batches b ON b.id = s.batch WHERE b.batch_id = 'b'")" = 2 ]
    [ "$(store_sql "SELECT count(*) FROM discrepancies WHERE type = 'late_result'")" = 3 ]
    rebuilt
}

@test "reconcile --ledger: a batch out of time, and what comes late" { for_each_store out_of_time; }

in_time() {
    make_store
    batch b 1 "$(date +%s)000"
    tasker-reconcile --ledger
    [ "$(states b)" = "published enqueued" ]
    ledger b "$(date +%s)000" "$(partial b 1 in_progress)"
    run -75 tasker-reconcile --ledger
    [ "$(states b)" = "executing in_progress" ]
    # A collector that waits no longer is none of the batch's business.
    ledger b "$(date +%s)100" '{"message_type":"batch_error","batch_id":"b","error":{"error_category":"timeout","message":"x"}}'
    store_sql "UPDATE received_results SET source = 'lost:b' WHERE topic = 'batch_error'"
    run -75 tasker-reconcile --ledger
    [ "$(states b)" = "executing in_progress" ]
    [ "$(store_sql 'SELECT count(*) FROM discrepancies')" = 0 ]
    rebuilt
}

@test "reconcile --ledger: a batch that goes on, in time" { for_each_store in_time; }

# ---- attempts of a step of a task

attempts() {
    make_store
    store_sql "INSERT INTO tasks (task_id, name, created_at, updated_at) VALUES (7, 't', 1000, 1000)"
    store_sql "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, created_at, state, updated_at)
        VALUES (500, 7, 500, 7, 'a', 'H', 1000, 'enqueued', 1000)"
    local id
    for id in first second; do
        store_sql "INSERT INTO batches (batch_id, total_steps, timeout_ms, body, created_at, published_at, state, updated_at)
            VALUES ('$id', 1, 60000, '', 1000, 2000, 'published', 2000)"
        store_sql "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt)
            SELECT id, 1, 500, 500, $([ $id = first ] && echo 1 || echo 2) FROM batches WHERE batch_id = '$id'"
        store_script "$(enqueue $id)"
    done
    ledger first 3000 "$(partial first 500 failed ',"error":{"message":"net","retryable":true}')"
    ATTEMPT=2 ledger second 4000 "$(ATTEMPT=2 partial second 500 completed ',"output":2')" \
        '{"message_type":"batch_completion","batch_id":"second","step_summaries":[{"step_id":500,"final_status":"completed","attempt":2}]}'
    run tasker-reconcile --batch second
    [ "$status" -eq 0 ]
    [ "$(store_sql 'SELECT state, results, attempts FROM steps WHERE id = 500')" = "complete|2|2" ]
    # The older attempt is recorded, and changes nothing.
    run tasker-reconcile --ledger
    [ "$(store_sql 'SELECT state, results, attempts FROM steps WHERE id = 500')" = "complete|2|2" ]
    [ "$(store_sql "SELECT sort_key, to_state FROM step_transitions WHERE step = 500 AND origin = 'ledger' ORDER BY sort_key" | xargs)" = \
        "1002|in_progress 1003|error 1004|pending 2002|in_progress 2003|complete" ]
    rebuilt
    # The other way round it comes to the same.
    dump | sed '/^== batches/,/^== settled_b/d' >one
    store_sql 'UPDATE steps SET state = '"'enqueued'"', results = NULL, attempts = 0'
    tasker-reconcile --rebuild
    dump | sed '/^== batches/,/^== settled_b/d' | diff one -
}

@test "reconcile: the state of a step is that of its latest attempt" { for_each_store attempts; }

# ---- what does not fit

misfits() {
    make_store
    batch b 2
    ledger b 3000 "$(partial b 1 completed)" "$(partial b 1 failed)" "$(partial b 9 completed)" "$(partial b 2 completed)" \
        '{"message_type":"batch_completion","batch_id":"b","total_steps":3,"step_summaries":[{"step_id":1,"final_status":"completed"},{"step_id":2,"final_status":"failed"}]}'
    bytes '{"batch_id":"b"}'
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, batch_id, source, stream_offset, raw_message, reason)
        VALUES (3001, 'c', 'partial_result', 'b', 's', 9001, $REPLY, 'step_id is missing')"
    bytes '{"batch'
    local garbage=$REPLY
    if [ "$STORE" = sqlite ]; then REPLY="X'ff01'"; else REPLY="'\\xff01'"; fi
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, batch_id, source, stream_offset, raw_message)
        VALUES (3002, 'c', 'partial_result', 'b', 's', 9002, $garbage), (3003, 'c', 'partial_result', 'b', 's', 9003, $REPLY)"
    run -1 tasker-reconcile --ledger
    [ "$(states b)" = "failed complete error" ]
    [ "$(store_sql "SELECT type, step_id FROM discrepancies ORDER BY place" | xargs)" = \
        "count_mismatch| conflicting_result|1 status_mismatch|2 unknown_step|9 missing_summary|9" ]
    rebuilt
}

# A batch of a publisher that has no store, or another: rows are made of what the ledger says of it.
a_foreign_batch() {
    local about=',"task_id":7,"step_name":"one","worker_id":"w","execution_metadata":{"handler_class":"H","handler_config":{"k":1},"timeout_ms":5000,"retry_limit":2}'
    make_store
    now_ms
    local at=$REPLY
    ledger f "$at" "$(partial f 1 in_progress "$about")"
    run -75 tasker-reconcile --ledger
    [ "$(states f)" = "executing in_progress" ]
    [ "$(store_sql "SELECT total_steps, timeout_ms, accepted_by, source, delivery, sends FROM batches")" = "1|65000|w|s|unconfirmed|0" ]
    [ "$(store_sql "SELECT task, step_id, task_id, name, handler_class, handler_config, retry_limit, timeout_ms FROM steps")" = '|1|7|one|H|{"k":1}|2|5000' ]
    rebuilt
    ledger f "$((at + 5))" "$(partial f 1 completed "$about")" "$(partial f 2 failed ',"error":{"message":"no such thing","error_type":"E","error_category":"validation","retryable":false}')" \
        '{"message_type":"batch_completion","batch_id":"f","total_steps":2,"completed_steps":1,"failed_steps":1,"step_summaries":[{"step_id":1,"final_status":"completed"},{"step_id":2,"final_status":"failed"}]}'
    run -1 tasker-reconcile --ledger
    [ "$(states f)" = "failed complete error" ]
    [ "$(store_sql "SELECT step_id, task_id, name, handler_class, attempts FROM steps ORDER BY id" | xargs)" = "1|7|one|H|1 2|2|||1" ]
    [ "$(store_sql "SELECT verdict FROM settled_batches")" = consistent ]
    [ -z "$(store_sql "SELECT * FROM discrepancies")" ]
    rebuilt
    [ "$(store_sql "SELECT count(*) FROM unsettled")" = 0 ]
    run -1 tasker-reconcile --batch f
    has '"batch_id":"f"' "$output"
    tasker-status batches >list
    has failed list
    tasker-status errors >errors || true
    has 'no such thing' errors
    tasker-status show batch f >show
    has 'batch_initialization' show
}

@test "reconcile --ledger: a batch that only the ledger knows gets rows" { for_each_store a_foreign_batch; }

# The store takes one of three foreign batches not: that one is named, and the others get their rows.
one_foreign_is_refused() {
    make_store
    now_ms
    local id at=$REPLY
    for id in f1 f2 f3; do ledger $id "$at" "$(partial $id 1 in_progress ',"task_id":7,"step_name":"one"')"; done
    case $STORE in
    sqlite) store_sql "create trigger no before insert on batches when new.batch_id = 'f2' begin select raise(abort, 'no'); end" ;;
    *) store_sql "alter table batches add constraint no check (batch_id <> 'f2')" ;;
    esac
    run -75 --separate-stderr tasker-reconcile --ledger
    has 'batch f2 is not settled: ' "$stderr"
    [ "$(store_sql "SELECT batch_id FROM batches ORDER BY 1" | xargs)" = "f1 f3" ]
    [ "$(store_sql "SELECT batch_id FROM unsettled")" = f2 ]
    case $STORE in
    sqlite) store_sql "drop trigger no" ;;
    *) store_sql "alter table batches drop constraint no" ;;
    esac
    run -75 tasker-reconcile --ledger
    [ "$(store_sql "SELECT batch_id FROM batches ORDER BY 1" | xargs)" = "f1 f2 f3" ]
    [ -z "$(store_sql "SELECT batch_id FROM unsettled")" ]
}

@test "reconcile --ledger: a foreign batch that the store refuses does not hold up the others" {
    for_each_store one_foreign_is_refused
}

foreign_oddities() {
    make_store
    now_ms
    local at=$REPLY
    ledger older "$at" '{"message_type":null,"batch_id":"older","results":[{"step_id":4,"status":"completed","output":1},{"step_id":0,"status":"error"}]}'
    store_sql "UPDATE received_results SET topic = 'results'"
    ledger none "$at" '{"message_type":"batch_error","batch_id":"none","error":{"message":"no handler","error_category":"permanent"}}'
    bytes garbage
    store_script "INSERT INTO received_results (received_at, collector_id, topic, batch_id, source, stream_offset, raw_message, reason)
        VALUES (3001, 'c', 'partial_result', 'bad', 's', 9001, $REPLY, 'it is not JSON'); INSERT INTO unsettled (batch_id) VALUES ('bad')"
    local most=9223372036854775807
    ledger huge "$at" "$(partial huge 5 in_progress ",\"execution_metadata\":{\"timeout_ms\":$most,\"retry_limit\":$most}")" \
        "$(partial huge 6 in_progress ",\"attempt\":$most")" \
        '{"message_type":"batch_completion","batch_id":"huge","total_steps":'$most',"step_summaries":[]}'
    tasker-reconcile --ledger >out || true
    store_sql "SELECT batch_id, total_steps, state FROM batches ORDER BY batch_id" >rows
    cat rows; [ "$(xargs <rows)" = "huge|1|executing none|1|failed older|2|executing" ]
    [ "$(store_sql "SELECT step_id, state FROM steps ORDER BY step_id" | xargs)" = "4|complete 5|in_progress" ]
    [ "$(store_sql "SELECT count(*) FROM unsettled")" = 0 ]
    rebuilt
    # published with the store after all, it is known
    printf '{"batch_id":"older","steps":[{"step_id":4,"task_id":1,"step_name":"a","handler_class":"H"}]}' >again
    run --separate-stderr tasker-publish --wait 0 again
    has "already published" "$stderr"
}

@test "reconcile --ledger: foreign batches of which little is known" { for_each_store foreign_oddities; }

@test "reconcile --ledger: conflicts, unknown steps and batches, unreadable rows" { for_each_store misfits; }

refused() {
    make_store
    batch b 1
    store_sql "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, created_at)
        SELECT id, 1100, 'enqueued', 'cancelled', 'step.cancelled', 'operator', 2500 FROM steps"
    results b 1
    run -0 tasker-reconcile --ledger
    [ "$(states b)" = "completed cancelled" ]
    [ "$(store_sql "SELECT type, step_id, detail FROM discrepancies")" = \
        "refused_transition|1|the ledger wants it complete, and it was cancelled" ]
    rebuilt
}

@test "reconcile: a transition that is not allowed is refused and recorded" { for_each_store refused; }

# ---- dry run, rebuild, since

dry() {
    make_store
    batch b 2 "$(date +%s)000"
    batch old 1
    results b 2
    dump >one
    tasker-reconcile --ledger --dry-run >out
    dump | diff one -
    [ "$(jq -r '[.message_type, .batch_id, .from, .to, .steps] | join(" ")' out | sort)" = "batch_change b published completed 2
batch_change old published timeout 1" ]
    [ "$(store_sql 'SELECT count(*) FROM unsettled')" = 1 ]
    [ "$(tasker-reconcile --batch b --dry-run --format text)" = "batch b: published to completed, 2 steps" ]
    run -75 tasker-reconcile --ledger
    [ -z "$(tasker-reconcile --ledger --dry-run)" ]
    [ -z "$(tasker-reconcile --batch b --batch old --dry-run)" ]
}

@test "reconcile --dry-run: tells what would change and changes nothing" { for_each_store dry; }

made_anew() {
    make_store
    local i
    for i in 1 2 3; do batch b$i $i && results b$i $i; done
    ledger b2 3500 "$(partial b2 1 failed)"
    tasker-reconcile --ledger >out || true
    dump >one
    # Whatever became of what is derived, it can be made again.
    store_sql "DELETE FROM settled_steps"
    store_sql "DELETE FROM step_transitions WHERE origin = 'ledger' AND sort_key = 1002"
    store_sql "UPDATE steps SET state = 'error', results = 'x', error = 'y', next_retry_at = 5, attempts = 9, retryable = 0"
    store_sql "UPDATE batches SET state = 'timeout', updated_at = 5"
    store_sql "INSERT INTO discrepancies (batch, place, type, detail) SELECT id, 77, 'x', 'y' FROM batches"
    tasker-reconcile --rebuild >out
    [ ! -s out ]
    dump | diff one -
}

@test "reconcile --rebuild: makes all that is derived anew" { for_each_store made_anew; }

since() {
    make_store
    batch b1 1
    batch b2 1
    results b1 1 3000
    results b2 1 "$(date +%s)000"
    tasker-reconcile --ledger >out
    [ "$(wc -l <out)" = 2 ]
    [ "$(tasker-reconcile --ledger --since 1h | jq -r .batch_id)" = b2 ]
    [ "$(tasker-reconcile --ledger --since 1970-01-01T00:00:03Z | jq -r .batch_id | xargs)" = "b1 b2" ]
    [ "$(tasker-reconcile --batch b1 | jq -r .batch_id | xargs)" = b1 ]
    run -65 --separate-stderr tasker-reconcile --batch b1 --batch nil
    has "batch nil is not in the store" "$stderr"
    [ "$(jq -r .batch_id <<<"$output")" = b1 ]
    tasker-reconcile --batch b1 --batch b2 --format text >out
    has "in all: 2 verdicts, 2 consistent; 2 steps, 2 completed" out
}

@test "reconcile --since, --batch: settle again what was settled" { for_each_store since; }

# ---- lines

from_lines() {
    make_store
    batch b 2
    { partial b 1 in_progress ',"source":"w","offset":1' && echo && partial b 1 completed && echo &&
        partial b 2 completed ',"source":"w","offset":2' && echo && ended b 2 && echo &&
        echo '{"message_type":"batch_error","batch_id":"b","error":{"message":"x","error_category":"timeout"}}'; } >lines
    # That a collector waits no longer is neither recorded nor an end of the batch.
    run -0 tasker-reconcile lines
    [ "$(jq -r '[.batch_id, .verdict, .revision] | join(" ")' <<<"$output")" = "b consistent 1" ]
    [ "$(states b)" = "completed complete complete" ]
    # Lines without a position of their own are recorded once, too, and those of a collector are.
    [ "$(store_sql 'SELECT count(*) FROM received_results')" = 4 ]
    run -0 tasker-reconcile lines
    [ "$(jq -r '[.batch_id, .verdict, .revision] | join(" ")' <<<"$output")" = "b consistent 1" ]
    [ "$(store_sql 'SELECT count(*) FROM received_results')" = 4 ]
    [ "$(store_sql "SELECT DISTINCT collector_id FROM received_results")" = reconcile ]
    [ "$(store_sql 'SELECT count(*) FROM unsettled')" = 0 ]
    rebuilt
    # What a collector keeps is left to it.
    batch c 1
    ledger c 3000 "$(partial c 1 completed)"
    { partial c 1 completed && echo && ended c 1; } >lines
    run -75 tasker-reconcile lines
    has '"incomplete"' "$output"
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE batch_id = 'c'")" = 1 ]
    [ "$(states c)" = "executing complete" ]
    # A record of what passed is looked at and not kept.
    printf '{"message_type":"tapped","topic":"partial_result","message":%s}\n' "$(partial d 1 completed)" | tasker-reconcile >out || true
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE batch_id = 'd'")" = 0 ]
}

# With a store a line is news of its batch, and the ledger gives the verdict.
verdicts_by_ledger() {
    make_store
    batch b 2
    results b 2
    ended b 2 >line # the ledger has all of it already
    run -0 tasker-reconcile line
    [ "$(jq -r '[.batch_id, .verdict, .counts.completed, .receipt] | join(" ")' <<<"$output")" = "b consistent 2 true" ]
    # What came late is a second verdict.
    partial b 2 failed ',"source":"w","offset":9,"error":{"message":"x"}' >late
    run -1 tasker-reconcile late
    [ "$(jq -r '[.verdict, .revision] | join(" ")' <<<"$output" | xargs)" = "consistent 1 discrepant 2" ]
    run -1 tasker-reconcile late
    [ "$(jq -r '[.verdict, .revision] | join(" ")' <<<"$output" | xargs)" = "consistent 1 discrepant 2" ]
    [ "$(states b)" = "completed complete complete" ]
    rebuilt
    # A batch that another store published is known by its receipt, and each of its steps is named.
    printf '{"message_type":"batch_published","batch_id":"far","total_steps":2,"step_ids":[1,2],"steps":[{"step_id":1,"task_id":3,"step_name":"one","retry_limit":4},{"step_id":2}],"published_at":"%s"}\n' \
        "$(date -u +%FT%TZ)" >receipt
    run -75 tasker-reconcile receipt
    [ "$(jq -r '[.batch_id, .verdict, .counts.missing, (.steps[] | .step_id)] | join(" ")' <<<"$output")" = "far incomplete 2 1 2" ]
    [ "$(store_sql "SELECT step_id, task_id, name, retry_limit FROM steps WHERE step_id = 1 AND name = 'one'")" = "1|3|one|4" ]
    rebuilt
    { cat receipt && partial far 1 completed && echo && partial far 2 completed && echo && ended far 2; } >lines
    run -0 tasker-reconcile lines
    [ "$(jq -r '[.batch_id, .verdict, .revision] | join(" ")' <<<"$output")" = "far consistent 1" ]
    # The receipt of a batch of this store is not recorded.
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE topic = 'batch_published'")" = 1 ]
    sed 's/"far"/"b"/' receipt >own
    run -1 tasker-reconcile own
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE topic = 'batch_published'")" = 1 ]
    # A collector that gave up on a batch nobody knows is heard.
    echo '{"message_type":"batch_error","batch_id":"gone","source":"lost:gone","offset":1,"error":{"message":"x","error_category":"timeout"}}' >lost
    run -75 tasker-reconcile lost
    [ "$(jq -r '[.batch_id, .verdict, .error.message] | join(" ")' <<<"$output")" = "gone timed_out x" ]
    # ... and on one that goes on: it has timed out for this pipeline, and goes on in the store.
    batch slow 1 "$(date +%s)000"
    { partial slow 1 in_progress ',"source":"w","offset":20' && echo; } >line
    sed 's/gone/slow/g' lost >>line
    run -75 tasker-reconcile line
    [ "$(jq -r '[.batch_id, .verdict, .error.message, .counts.in_progress] | join(" ")' <<<"$output")" = "slow timed_out x 1" ]
    [ "$(states slow)" = "executing in_progress" ]
}

@test "reconcile: with a store the ledger gives the verdicts of lines" { for_each_store verdicts_by_ledger; }

# Each further message after the verdict is printed, with a higher revision, once the settle time is over.
followed() {
    make_store
    batch b 1 "$(date +%s)000"
    mkfifo in
    exec 5<>in
    spawn follow tasker-reconcile --follow --settle 200ms in
    partial b 1 in_progress ',"source":"w","offset":1' >&5 && echo >&5
    partial b 1 completed ',"source":"w","offset":2' >&5 && echo >&5
    ended b 1 >&5 && echo >&5
    wait_until 20 grep -q consistent follow.out
    partial b 1 failed ',"source":"w","offset":3,"error":{"message":"x"}' >&5 && echo >&5
    wait_until 20 grep -q '"revision":2' follow.out
    partial b 7 completed ',"source":"w","offset":4' >&5 && echo >&5
    wait_until 20 grep -q '"revision":3' follow.out
    partial b 7 completed ',"source":"w","offset":4' >&5 && echo >&5
    signal follow TERM
    finish_with 1 follow
    [ "$(jq -r '[.verdict, .revision] | join(" ")' follow.out | xargs)" = "consistent 1 discrepant 2 discrepant 3" ]
    rebuilt
}

@test "reconcile --follow: with a store, late lines are further verdicts" { for_each_store followed; }

# What a line says of a place that only the programs write to is not believed.
forged() {
    make_store
    batch b 2
    {
        echo '{"message_type":"batch_error","batch_id":"b","source":"reconcile:b","offset":2,"error":{"message":"x","error_type":"x","error_category":"infrastructure","retryable":true,"attempt_used":false}}'
        echo '{"message_type":"batch_error","batch_id":"b","source":"reconcile:b","offset":1,"error":{"message":"x","error_type":"x","error_category":"timeout","retryable":true}}'
    } >lines
    run tasker-reconcile lines
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE source LIKE 'reconcile:%'")" = 0 ]
    [ "$(store_sql "SELECT state FROM batches")" = failed ]
    [ "$(store_sql "SELECT DISTINCT attempts FROM steps")" = 1 ]
    rebuilt
    # what is in the ledger at the place that it tells is there once
    batch c 1
    bytes '{"message_type":"batch_error","batch_id":"c","source":"publish:c","offset":1,"error":{"message":"x","error_type":"x","error_category":"infrastructure","retryable":true}}'
    store_script "INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, source, stream_offset, raw_message)
        VALUES (3000, 'publish', 'batch_error', 'batch_error', 'c', 'publish:c', 1, $REPLY); INSERT INTO unsettled (batch_id) VALUES ('c')"
    echo '{"message_type":"batch_error","batch_id":"c","source":"publish:c","offset":1,"error":{"message":"x","error_type":"x","error_category":"infrastructure","retryable":true}}' >line
    run tasker-reconcile line
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE batch_id = 'c'")" = 1 ]
    [ "$(store_sql "SELECT state FROM batches WHERE batch_id = 'c'")" = failed ]
}

@test "reconcile: lines that tell a place of the programs' own are put elsewhere" { for_each_store forged; }

@test "reconcile: lines that the ledger does not have are put there, once" { for_each_store from_lines; }

pipeline() {
    cat >handlers.yaml <<'END'
handlers:
  Test::Echo: {command: [cat]}
  Test::Fail: {command: [/bin/sh, -c, 'exit 65']}
  Test::Later: {command: [/bin/sh, -c, 'exit 75']}
END
    local i h
    for ((i = 1; i <= 30; i++)); do
        h=Echo && [ $((i % 10)) != 3 ] || h=Fail
        [ $((i % 10)) != 7 ] || h=Later
        printf '{"message_type":"step","step_id":%d,"task_id":1,"step_name":"s","handler_class":"Test::%s"}\n' $i $h
    done >in
    TASKER_WORKER_HANDLERS=handlers.yaml spawn work tasker-work
    tasker-publish --batch-size 5 --batch-delay 20s in | tee receipts | tasker-collect --timeout 60s | tasker-reconcile >out || true
    [ "$(jq -r .verdict out | sort | uniq -c | xargs)" = "6 consistent" ]
    [ "$(store_sql 'SELECT state, count(*) FROM steps GROUP BY state ORDER BY state' | xargs)" = "complete|24 error|3 pending|3" ]
    [ "$(store_sql "SELECT DISTINCT state FROM batches" | sort | xargs)" = "failed" ]
    [ "$(store_sql 'SELECT count(*) FROM unsettled')" = 0 ]
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE collector_id = 'reconcile'")" = 0 ]
    signal work TERM
    finish_with 0 work
    rebuilt
    # collected again, from the store, when the worker is gone
    run -1 bash -c "timeout $((20 * PATIENCE)) tasker-collect --set zeromq.heartbeat_interval=200ms --set zeromq.reconnect_max=100ms receipts | tasker-reconcile >again"
    [ "$(jq -r .verdict again | sort | uniq -c | xargs)" = "6 consistent" ]
}

@test "reconcile: the whole pipeline with a store" { for_each_store pipeline; }

# ---- service

settled() { [ "$(states "$1")" = "$2" ]; }

service() {
    make_store
    batch b1 1
    batch b2 1 "$(($(date +%s) - 58))000"
    results b1 1
    spawn rec tasker-reconcile --ledger --follow
    wait_until 20 settled b1 "completed complete"
    wait_until 20 settled b2 "timeout pending"
    wait_line rec.out '"batch_id":"b1"'
    wait_line rec.out '"batch_id":"b2"'
    ledger b1 9000 "$(partial b1 1 failed)"
    wait_line rec.out '"revision":2'
    signal rec TERM
    finish_with 75 rec
    [ "$(jq -r '[.batch_id, .verdict, .revision] | join(" ")' rec.out | sort)" = "b1 consistent 1
b1 discrepant 2
b2 timed_out 1" ]
    # With lines that are read, the batches of others are seen to, too.
    batch b3 1 "$(date +%s)000"
    batch b4 1 "$(date +%s)000"
    mkfifo lines
    spawn rec sh -c 'exec tasker-reconcile --follow <lines'
    exec {LINES}>lines
    results b3 1
    results b4 1
    { partial b4 1 completed && echo && ended b4 1 && echo; } >&"$LINES"
    wait_until 20 settled b3 "completed complete"
    wait_until 20 settled b4 "completed complete"
    wait_line rec.out '"batch_id":"b3"'
    exec {LINES}>&-
    finish_with 0 rec
    [ "$(jq -r .batch_id rec.out | sort | xargs)" = "b3 b4" ]
    rebuilt
}

@test "reconcile --follow: looks at the ledger from time to time" { for_each_store service; }

# ---- many at once, and killed

several() {
    make_store
    local i
    for i in 1 2 3 4 5 6 7 8; do batch b$i 5 && results b$i 5; done
    store_sql "UPDATE received_results SET received_at = received_at + id"
    for i in 1 2 3 4; do spawn r$i tasker-reconcile --ledger; done
    for i in 1 2 3 4; do finish_with 0 r$i; done
    # No batch was settled twice.
    [ "$(cat r?.out | jq -r .batch_id | sort | xargs)" = "b1 b2 b3 b4 b5 b6 b7 b8" ]
    [ "$(store_sql "SELECT state, count(*) FROM steps GROUP BY state")" = "complete|40" ]
    for i in 1 2 3; do spawn r$i tasker-reconcile --rebuild; done
    spawn r4 tasker-reconcile --ledger --since 1970-01-01T00:00:00Z
    for i in 1 2 3 4; do finish_with 0 r$i; done
    rebuilt
}

@test "reconcile: four at once come to the same end" { for_each_store several; }

random_ledgers() {
    make_store
    "${TASKER_BUILD:-$ROOT/build}/tests/unit/settler" "$TASKER_STORE_URL"
}

@test "reconcile: random ledgers, settled in random orders, come to the same" { for_each_store random_ledgers; }

# Whenever it is killed, what it has done is whole, and the next one does the rest.
killed() {
    make_store
    local i round pause
    for i in 1 2 3 4 5 6; do batch b$i 40 && results b$i 40; done
    for ((round = 0; round < ${STORE_KILLS:-6}; round++)); do
        if ((round % 2)); then spawn rec tasker-reconcile --rebuild; else spawn rec tasker-reconcile --ledger; fi
        pause=$((RANDOM % 60))
        read -r -t "0.0$((pause / 10))$((pause % 10))" -u "$NAP" || true
        signal rec KILL 2>/dev/null || true
        finish rec
        [ "$(store_sql "SELECT count(*) FROM batches b WHERE
            (b.state = 'completed') <> EXISTS (SELECT 1 FROM settled_batches s WHERE s.batch = b.id) OR
            (b.state = 'completed') = EXISTS (SELECT 1 FROM unsettled u WHERE u.batch_id = b.batch_id) OR
            (b.state = 'completed') = EXISTS (SELECT 1 FROM batch_steps p JOIN steps s ON s.id = p.step
                WHERE p.batch = b.id AND s.state <> 'complete')")" = 0 ]
    done
    tasker-reconcile --ledger >out
    [ "$(store_sql "SELECT state, count(*) FROM steps GROUP BY state")" = "complete|240" ]
    rebuilt
}

@test "reconcile: killed at any moment, and done again" { for_each_store killed; }

# ---- trouble

away() {
    make_store
    batch b 1
    results b 1
    case $TASKER_STORE_URL in
    sqlite:*) mv store/tasker.db kept && mkdir store/tasker.db ;;
    *) KEPT=$TASKER_STORE_URL TASKER_STORE_URL="postgresql:///nil?host=$PWD/nowhere&user=tasker" ;;
    esac
    run ! --separate-stderr tasker-reconcile --ledger
    [ "$status" -eq 69 ] || [ "$status" -eq 75 ]
    [ "$(wc -l <<<"$stderr")" = 1 ]
    partial b 1 completed >line
    run ! --separate-stderr tasker-reconcile line
    [ "$status" -eq 69 ] || [ "$status" -eq 75 ]
}

@test "reconcile: a store that is not there ends it" { for_each_store away; }

@test "reconcile: a service waits for PostgreSQL, also at its start, and goes on" {
    own_cluster pg
    STORE=postgresql
    make_store
    batch b 1
    spawn rec tasker-reconcile --ledger --follow --set store.timeout=2s
    wait_until 20 settled b "timeout pending"
    cluster_stop pg
    wait_line rec.err 'waiting for it'
    cluster_start pg
    wait_line rec.err 'is back' 20
    batch c 1 "$(date +%s)000"
    results c 1
    wait_until 20 settled c "completed complete"
    signal rec TERM
    finish_with 75 rec
    rebuilt
    cluster_stop pg
    spawn late tasker-reconcile --ledger --follow --set store.timeout=2s
    wait_line late.err 'waiting for it'
    cluster_start pg
    wait_line late.err 'is back' 20
    batch d 1 "$(date +%s)000"
    results d 1
    wait_until 20 settled d "completed complete"
    signal late TERM
    finish_with 0 late
}

clock_is() { now_ms && [ "$REPLY" -ge "$1" ]; }

a_short_stall() {
    local due
    make_store
    spawn rec tasker-reconcile --ledger --follow --set store.timeout=1m
    now_ms
    due=$((REPLY + 1500))
    batch b 1 $((due - 60000))
    lock
    wait_until 5 clock_is $((due + 2500)) # it waits for the lock, to end the batch
    unlock
    wait_until 5 settled b "timeout pending"
    batch c 1 "$(date +%s)000"
    results c 1
    wait_until 5 settled c "completed complete"
    signal rec TERM
    finish_with 75 rec
}

@test "reconcile --ledger --follow: a stall of the store makes no pause" { for_each_store a_short_stall; }

@test "reconcile: bad use of the store" {
    TASKER_STORE_URL=sqlite:$PWD/s.db
    run_case_table tasker-reconcile <<'END'
store 1 | --since 1h |  | 64 | --since is only of use with --ledger
store 2 | --ledger --since soon |  | 64 | --since is neither a time
store 3 | --ledger --since |  | 64 | since
no such day | --ledger --since 2026-02-30T12:00:00Z |  | 64 | --since is neither a time
store 4 | --dry-run |  | 64 | --dry-run is only of use with --ledger or --batch
store 5 | --ledger file |  | 64 | no lines are read
store 6 | --batch b --pass |  | 64 | no lines are read
store 7 | --rebuild --timeout 1s |  | 64 | no lines are read
store 8 | --ledger --receipts all |  | 64 | no lines are read
store 9 | --ledger --follow --settle 1s |  | 64 | --settle
store 10 | --ledger --rebuild |  | 64 | only one at a time
store 11 | --rebuild --dry-run |  | 64 | --dry-run does not go with --rebuild
store 12 | --rebuild --follow |  | 64 | --follow goes with --ledger alone
store 13 | --batch b --follow |  | 64 | --follow goes with --ledger alone
store 14 | --ledger --follow --dry-run |  | 64 | --follow goes with --ledger alone
store 15 | --ledger --store none |  | 78 | there is no store
store 16 | --ledger --store mysql://x |  | 64 | store
store 17 | --ledger --dry-run |  | 69 | there is no store at
END
    [ ! -e s.db ]
}
