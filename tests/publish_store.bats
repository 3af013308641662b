#!/usr/bin/env bats
# tasker-publish and the store: what is recorded when, and what becomes of it after any end.
load helper
load store

teardown() { store_end && test_end; }

setup() {
    test_begin
    endpoints
    E=$TASKER_ZEROMQ_BATCH_ENDPOINT
    export TASKER_STORE_CLAIM=3s TASKER_ZEROMQ_RESEND_AFTER=60s
}

# A test on both stores, and one that is about SQLite alone.
on_both() { for_each_store with_one "$@"; }
on_sqlite() { store_begin sqlite && with_one "$@"; }
with_one() {
    batches 1 >one
    "$@"
}

peer() { # NAME OPTION...: starts a worker
    local name=$1
    shift
    spawn "$name" /usr/bin/python3 "$ROOT/tests/publish_peer.py" "$@"
    wait_line "$name.out" '^ready'
}

batches() { # N: so many batches of two steps
    seq "$1" | awk '{ printf "{\"batch_id\":\"B%d\",\"steps\":[", $1
        for (i = 0; i < 2; i++)
            printf "%s{\"step_id\":%d,\"task_id\":5,\"step_name\":\"%s\",\"handler_class\":\"H\"}",
                i ? "," : "", 2 * $1 + i, i ? "b" : "a"
        print "]}" }'
}

sql_is() { # WANTED STATEMENT
    local is
    is=$(store_sql "$2" 2>&1)
    [ "$is" = "$1" ] && return
    printf 'wanted: %s\nis:     %s\n' "$1" "$is" >&2
    return 1
}

port_is_taken() { (exec 9<>"/dev/tcp/127.0.0.1/${E##*:}") 2>/dev/null; }

hex() { tr -d "\n" | od -An -v -tx1 | tr -d " \n"; }

sent() { grep -c "^worker\.\|^steps " "$1" || true; }

a_batch_is_in_the_store_with_its_worker() {
    batches 20 >many
    peer w "$E" --id w --look
    run tasker-publish --set zeromq.resend_after=1m many # looking takes time
    [ "$status" -eq 0 ]
    [ "$(grep -c 'STORE created|w|2' w.out)" -eq 20 ]
    [ "$(grep -c STORE w.out)" -eq 20 ]
    sql_is "published|w|11111111-1111-7111-8111-111111111111|tcp://127.0.0.1:9|confirmed|1|660000|20" \
        "SELECT state, accepted_by, source, result_endpoint, delivery, sends, timeout_ms, count(*) FROM batches GROUP BY 1, 2, 3, 4, 5, 6, 7"
    sql_is $'1||created|batch_initialization|program|20\n2|created|published|zmq_publish_success|program|20' \
        "SELECT sort_key, from_state, to_state, event, origin, count(*) FROM batch_transitions GROUP BY 1, 2, 3, 4, 5 ORDER BY 1"
    sql_is $'1000||pending|step_created|40\n1001|pending|enqueued|step_enqueued|40' \
        "SELECT sort_key, from_state, to_state, event, count(*) FROM step_transitions GROUP BY 1, 2, 3, 4 ORDER BY 1"
    sql_is "40|40|enqueued" "SELECT count(*), count(DISTINCT step_id), state FROM steps GROUP BY 3"
}

@test "a batch is in the store, with its worker and its steps, before the worker gets it" { on_both a_batch_is_in_the_store_with_its_worker; }

the_store_has_what_the_batch_says_bytes() {
    printf '%s\n' '{"batch_id":"T1","created_at":"2026-01-01T00:00:00Z","protocol_version":"2.0","metadata":{"timeout_ms":1234},"steps":[{"step_id":1,"task_id":2,"step_name":"é","handler_class":"H","handler_config":{"timeout_seconds":1.5,"k":[1]},"metadata":{"attempt":3,"retry_limit":9}}]}' >t1
    printf '%s\n' '{"batch_id":"T2","steps":[{"step_id":1,"task_id":2,"step_name":"b","handler_class":"H","metadata":{"timeout_ms":10}},{"step_id":3,"task_id":2,"step_name":"c","handler_class":"H"}]}' >t2
    peer w "$E" --id w
    run tasker-publish --set worker.step_timeout=2s t1 t2
    [ "$status" -eq 0 ]
    sql_is $'1234\n62010' "SELECT timeout_ms FROM batches ORDER BY id"
    sql_is $'é|H|{"timeout_seconds":1.5,"k":[1]}|9|1500\nb|H|{}|3|10\nc|H|{}|3|' \
        "SELECT name, handler_class, handler_config, retry_limit, timeout_ms FROM steps ORDER BY id"
    sql_is $'1|1|3\n1|1|1\n2|3|1' \
        "SELECT sequence_order, step_id, attempt FROM batch_steps ORDER BY batch, sequence_order"
    sql_is "$(hex <t1)" "SELECT $(store_hex body) FROM batches WHERE batch_id = 'T1'"
}

@test "the store has what the batch says: bytes, time limits, attempts, configurations" { on_both the_store_has_what_the_batch_says_bytes; }

after_an_outage_pending_sends_what_was_n() {
    batches 5 >many
    run tasker-publish --wait 0 many
    [ "$status" -eq 75 ]
    has "not sent: batch B5 (many:5)" "$output"
    sql_is "created|5" "SELECT state, count(*) FROM batches GROUP BY 1"
    run --separate-stderr tasker-publish --pending --dry-run
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 5 ]
    has '"batch_id":"B1"' "${lines[0]}"
    run tasker-publish --pending --wait 0
    [ "$status" -eq 75 ]
    has "not sent: batch B5 (" "$output" # and the store, no line, and no advice
    [[ $output != *":0)"* && $output != *"sends it later"* ]]
    peer w "$E" --id w
    run --separate-stderr tasker-publish --pending
    [ "$status" -eq 0 ]
    [ "$(jq -r .batch_id <<<"$output" | tr '\n' ' ')" = "B1 B2 B3 B4 B5 " ]
    run tasker-publish --pending
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    [ "$(sent w.out)" -eq 5 ]
    sql_is "published|5" "SELECT state, count(*) FROM batches GROUP BY 1"
}

@test "after an outage --pending sends what was not accepted, once, oldest first" { on_both after_an_outage_pending_sends_what_was_n; }

pending_nothing_to_send_needs_no_port_a() {
    spawn p tasker-publish --store none --wait 30s one
    wait_until 10 port_is_taken
    run tasker-publish --pending --wait 0
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    signal p TERM
    finish_with 75 p
    cat >table <<'END'
no store           | --pending --store none    | - | 78 | needs a store
no store, dry      | --pending -n --store none | - | 78 | no store
not there, dry     | --pending -n --store sqlite:nowhere.db | - | 69 | there is no store at
with a file        | --pending one             | - | 64 | --pending does not go with
with --raw         | --pending --raw           | - | 64 | --pending does not go with
not a database     | --store sqlite:one one    | - | 69 | one: cannot
a folder           | --store sqlite:tmp one    | - | 69 | tmp: the store cannot be here: it is a folder
in a file          | --store sqlite:one/t.db one | - | 69 | one
a store of nobody  | --store mysql:x one       | - | 64 | --store: "mysql:x": a store is sqlite
END
    run_case_table tasker-publish <table
    [ ! -e nowhere.db ]
}

@test "--pending: nothing to send needs no port; and what cannot be is said" { on_sqlite pending_nothing_to_send_needs_no_port_a; }

the_same_batch_again_in_each_state_it_is() {
    local state
    peer w "$E" --id w
    tasker-publish one >first
    for state in published executing completed failed timeout; do
        store_sql "UPDATE batches SET state = '$state'"
        run --separate-stderr tasker-publish one
        [ "$status" -eq 0 ]
        has "batch B1 (one:1): already published (it is $state): not sent again" "$stderr"
        [ "$(jq -c 'del(.duplicate)' <<<"$output")" = "$(jq -c . first)" ]
        [ "$(jq .duplicate <<<"$output")" = true ]
    done
    store_sql "UPDATE batches SET state = 'cancelled'"
    run --separate-stderr tasker-publish one
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    has "cancelled before: not sent again" "$stderr"
    sed 's/"H"/"G"/' one >other
    run --separate-stderr tasker-publish other one
    [ "$status" -eq 65 ]
    [ -z "$output" ]
    has "batch B1 (other:1): the store has another batch of this batch_id: not sent" "$stderr"
    [ "$(sent w.out)" -eq 1 ]
}

@test "the same batch again, in each state: it is told, and not sent" { on_both the_same_batch_again_in_each_state_it_is; }

a_batch_that_is_created_is_sent_when_it() {
    run tasker-publish --wait 0 one
    [ "$status" -eq 75 ]
    body=$(store_sql "SELECT $(store_hex body) FROM batches")
    peer w "$E" --id w
    run tasker-publish one
    [ "$status" -eq 0 ]
    wait_line w.out "^worker.w "
    [ "$(grep '^worker' w.out | cut -d" " -f2- | tr -d "\n" | hex)" = "$body" ]
    # one of which the ledger has news was accepted, though nobody could put that down
    batches 2 | tail -n 1 >two
    tasker-publish two >two.out
    store_sql "UPDATE batches SET state = 'created', published_at = NULL, accepted_by = NULL WHERE batch_id = 'B2'"
    store_sql "INSERT INTO received_results (received_at, collector_id, topic, batch_id, source, stream_offset, raw_message) VALUES (1, 'c', 'partial_result', 'B2', 's', 1, 'x')"
    run --separate-stderr tasker-publish two
    [ "$status" -eq 0 ]
    has "already published (it is known to the ledger)" "$stderr"
    run tasker-publish --pending
    [ "$status" -eq 0 ]
    [ "$(sent w.out)" -eq 2 ]
}

@test "a batch that is created is sent when it is published again, as it was recorded" { on_both a_batch_that_is_created_is_sent_when_it; }

rejected_by_every_worker_the_ledger_has() {
    peer w "$E" --id w --reject "no handler"
    run --separate-stderr tasker-publish one
    [ "$status" -eq 1 ]
    [ "$(jq -r .message_type <<<"$output")" = batch_error ]
    sql_is "created|publish:B1|1|batch_error|$(printf %s "$output" | hex)" \
        "SELECT b.state, r.source, r.stream_offset, r.message_type, $(store_hex r.raw_message) FROM batches b JOIN received_results r ON r.batch_id = b.batch_id"
    sql_is "B1" "SELECT batch_id FROM unsettled"
    run tasker-publish --pending
    [ "$status" -eq 0 ]
    run --separate-stderr tasker-publish one
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    has "rejected before: not sent again" "$stderr"
    [ "$(sent w.out)" -eq 1 ]
}

@test "rejected by every worker: the ledger has why, and it is not sent again" { on_both rejected_by_every_worker_the_ledger_has; }

given_to_plain_subscribers_published_unc() {
    peer w "$E" --look
    run tasker-publish one
    [ "$status" -eq 0 ]
    has '"delivery":"unconfirmed"' "$output"
    wait_line w.out "^STORE (created|published)[|][|]2"
    sql_is "published||unconfirmed" "SELECT state, accepted_by, delivery FROM batches"
}

@test "given to plain subscribers: published, unconfirmed" { on_both given_to_plain_subscribers_published_unc; }

killed_before_anybody_accepted_created_a() {
    batches 30 >many
    peer deaf "$E" --id deaf --ignore 1000
    spawn p tasker-publish many
    wait_line deaf.out B30
    signal p KILL
    finish_with 137 p
    signal deaf KILL
    finish deaf
    sql_is "created|deaf|30" "SELECT state, offered_to, count(*) FROM batches GROUP BY 1, 2"
    peer w "$E" --id w
    run tasker-publish --pending --wait 5s # the claim has to run out, and the deaf one is waited for
    [ "$status" -eq 0 ]
    [ "$(sent w.out)" -eq 30 ]
    sql_is "published|w|30" "SELECT state, accepted_by, count(*) FROM batches GROUP BY 1, 2"
}

@test "killed before anybody accepted: created, and --pending sends it" { on_both killed_before_anybody_accepted_created_a; }

killed_before_a_worker_came_the_same_fil() {
    spawn p tasker-publish one
    wait_until 10 sql_is "created" "SELECT state FROM batches" 2>/dev/null
    signal p KILL
    finish_with 137 p
    peer w "$E" --id w
    run tasker-publish one
    [ "$status" -eq 0 ]
    [ "$(sent w.out)" -eq 1 ]
}

@test "killed before a worker came: the same file again sends it" { on_both killed_before_a_worker_came_the_same_fil; }

killed_between_the_acceptance_and_its_re() {
    batches 3 >many
    spawn p tasker-publish many
    wait_until 10 sql_is 3 "SELECT count(*) FROM batches" 2>/dev/null
    peer w "$E" --id w --lock "$PWD/store/tasker.db"
    wait_line w.out locked
    wait_line p.err "another process holds its lock; waiting for it"
    signal p KILL
    finish_with 137 p
    touch release
    wait_line w.out released
    [ ! -s p.out ]
    sql_is "created|w|3" "SELECT state, offered_to, count(*) FROM batches GROUP BY 1, 2"
    signal w STOP # it is not heard of for a while, as the other one is
    peer x "$E" --id x
    spawn again tasker-publish --pending -v
    wait_line again.err "worker.x: registered"
    signal w CONT
    finish_with 0 again
    [ "$(jq -r .worker_id again.out | sort | uniq -c | tr -s ' ')" = " 3 w" ]
    [ "$(sent x.out)" -eq 0 ]
    sql_is "published|w|3" "SELECT state, accepted_by, count(*) FROM batches GROUP BY 1, 2"
}

@test "killed between the acceptance and its record: the worker that has it is asked again" { on_sqlite killed_between_the_acceptance_and_its_re; }

lease_is_over() { now_ms && [ "$(store_sql "SELECT claimed_until FROM batches")" -lt "$REPLY" ]; }

an_offer_is_recorded_after_the_lease() {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=100ms TASKER_ZEROMQ_RECONNECT_MAX=20ms
    peer dead "$E" --id dead --ignore 1000
    spawn p tasker-publish -vv one
    wait_line dead.out B1
    peer w "$E" --id w
    lock
    signal dead KILL
    finish dead
    wait_line p.err "batch B1: offered to w"
    wait_until 10 lease_is_over
    run tasker-status endpoints "$E"
    has "batch B1 waits for the store (w)" "$output"
    unlock
    finish_with 0 p
    [ "$(jq -r .worker_id p.out)" = w ]
    [ "$(sent w.out)" -eq 1 ]
    sql_is "published|w|w" "SELECT state, accepted_by, offered_to FROM batches"
}

@test "a worker dies while the store is locked for longer than the lease: the batch goes on" { on_both an_offer_is_recorded_after_the_lease; }

a_locked_store_is_waited_for() {
    peer w "$E" --id w --lock "$PWD/store/tasker.db"
    spawn p tasker-publish one
    wait_line p.err "holds its lock; waiting for it"
    [ ! -s p.out ]
    touch release
    finish_with 0 p
    sql_is published "SELECT state FROM batches"
    [ "$(sent w.out)" -eq 1 ]
}

@test "a locked store is waited for" { on_sqlite a_locked_store_is_waited_for; }

a_store_that_stays_locked_75_each_batch() {
    batches 2 >many
    tasker-publish --wait 0 many || true
    peer w "$E" --id w --lock "$PWD/store/tasker.db"
    spawn p tasker-publish --wait 5s many
    finish_with 75 p
    has "another process holds its lock" p.err
    has "accepted, and the store not told: batch B1 (many:1), by w" p.err
    [ ! -s p.out ]
    batches 3 | tail -n 1 >three
    spawn q tasker-publish three
    wait_line q.err "holds its lock; waiting for it"
    signal q TERM
    finish_with 75 q 3
    has "not in the store and not sent: batch B3 (three:1)" q.err
}

@test "a store that stays locked: 75, each batch is named, and a signal is heard" { on_sqlite a_store_that_stays_locked_75_each_batch; }

a_full_disk_74_and_nothing_is_sent_that() {
    batches 2000 >many
    peer w "$E" --id w
    tasker-publish /dev/null
    batches 1 | sed 's/"B1"/"B0"/' >zero
    tasker-publish zero >zero.out
    status=0
    (trap '' XFSZ && ulimit -f 400 && exec tasker-publish many) >out 2>err || status=$?
    [ "$status" -eq 74 ]
    has "tasker.db: cannot" err
    accepted=$(wc -l <out)
    [ "$(grep -c '^tasker-publish: error: .*batch B' err)" -eq $((2000 - accepted)) ]
    sql_is "$((accepted + 1))" "SELECT count(*) FROM batches WHERE state = 'published'"
    [ "$(store_sql "PRAGMA integrity_check")" = ok ]
    grep '^worker' w.out | cut -d' ' -f2- | jq -r .batch_id | sort >got
    store_sql "SELECT batch_id FROM batches" | sort >have
    [ -z "$(comm -23 got have)" ]
    run tasker-publish many
    [ "$status" -eq 0 ]
    sql_is "published|2001" "SELECT state, count(*) FROM batches GROUP BY 1"
    [ "$(grep '^worker' w.out | cut -d' ' -f2- | jq -r .batch_id | sort -u | wc -l)" -eq 2001 ]
}

@test "a full disk: 74, and nothing is sent that is not in the store" { on_sqlite a_full_disk_74_and_nothing_is_sent_that; }

a_receipt_that_was_not_written_is_had_again() {
    local again='; published again it gets its receipt, and is not sent'
    batches 1 >one
    sed 's/"batch_id":"B1",//' one >unnamed
    peer w "$E" --id w
    run -74 --separate-stderr bash -c 'tasker-publish one >/dev/full'
    has "accepted, and its receipt not written: batch B1 (one:1), by w$again" "$stderr"
    run -74 --separate-stderr bash -c 'tasker-publish unnamed >/dev/full'
    grep -q 'its receipt not written: batch [^ ]* (unnamed:1), by w$' <<<"$stderr"
    run -74 --separate-stderr bash -c 'tasker-publish one >/dev/full'
    has "accepted, and its receipt not written: batch B1 (one:1), by w$again" "$stderr"
    run -0 --separate-stderr tasker-publish one
    [ "$(jq -r '"\(.batch_id) \(.worker_id) \(.duplicate)"' <<<"$output")" = "B1 w true" ]
    [ "$(grep -c '^worker.w ' w.out)" -eq 2 ]
}

@test "a receipt that was not written is named, and had again" { on_both a_receipt_that_was_not_written_is_had_again; }

two_publishers_of_the_same_file_at_once() {
    export TASKER_ZEROMQ_BATCH_BIND=worker TASKER_STORE_CLAIM=1m
    batches 400 >many
    peer w "$E" --id w --bind
    spawn p tasker-publish many
    spawn q tasker-publish many
    finish_with 0 p
    finish_with 0 q
    [ "$(sent w.out)" -eq 400 ]
    [ "$(jq -r .batch_id p.out | sort -u | wc -l)" -eq 400 ]
    [ "$(jq -r .batch_id q.out | sort -u | wc -l)" -eq 400 ]
    [ "$(cat p.out q.out | jq -c 'select(.duplicate | not)' | wc -l)" -eq 400 ]
    sql_is "published|400" "SELECT state, count(*) FROM batches GROUP BY 1"
}

@test "two publishers of the same file at once: each batch is sent by one of them" { on_both two_publishers_of_the_same_file_at_once; }

a_publisher_that_lives_keeps_its_batches() {
    spawn p tasker-publish one
    wait_until 10 sql_is "created" "SELECT state FROM batches" 2>/dev/null
    # long enough that a claim which is not renewed would be over
    run tasker-publish --batch-endpoint "tcp://127.0.0.1:$(port)" --wait 4s one
    [ "$status" -eq 75 ]
    has "batch B1 (one:1): another publisher has it, and nobody accepted it in time" "$output"
    run tasker-publish --batch-endpoint "tcp://127.0.0.1:$(port)" --wait 2s --pending
    [ "$status" -eq 0 ]
    peer w "$E" --id w
    finish_with 0 p
    [ "$(sent w.out)" -eq 1 ]
}

@test "a publisher that lives keeps its batches; the other one waits, and says so at the end" { on_both a_publisher_that_lives_keeps_its_batches; }

stopped_for_longer_than_its_claim_anothe() {
    export TASKER_ZEROMQ_BATCH_BIND=worker
    spawn p tasker-publish one
    wait_until 10 sql_is "created" "SELECT state FROM batches" 2>/dev/null
    signal p STOP
    E2=tcp://127.0.0.1:$(port)
    peer w "$E2" --id w --bind
    run --separate-stderr tasker-publish --batch-endpoint "$E2" one
    [ "$status" -eq 0 ]
    [ "$(jq .duplicate <<<"$output")" = null ]
    peer x "$E" --id x --bind
    signal p CONT
    finish_with 0 p
    [ "$(jq .duplicate p.out)" = true ]
    [ "$(sent w.out)" -eq 1 ]
    [ "$(sent x.out)" -eq 0 ]
}

@test "stopped for longer than its claim: another one sends its batches, and it sees that" { on_both stopped_for_longer_than_its_claim_anothe; }

ten_thousand() {
    batches 10000 >many
    peer a "$E" --id a --hwm 100000
    peer b "$E" --id b --hwm 100000
    tasker-publish --workers 2 many >out
    [ "$(jq -r .batch_id out | sort -u | wc -l)" -eq 10000 ]
    sql_is "published|10000" "SELECT state, count(*) FROM batches GROUP BY 1"
    sql_is "20000|40000|20000" "SELECT (SELECT count(*) FROM steps), (SELECT count(*) FROM step_transitions), (SELECT count(*) FROM batch_transitions)"
    [ "$(($(sent a.out) + $(sent b.out)))" -eq 10000 ]
}

@test "10 000 batches, each once in the store and once at a worker: SQLite" { on_sqlite ten_thousand; }

@test "10 000 batches, each once in the store and once at a worker: PostgreSQL" {
    store_begin postgresql && with_one ten_thousand
}

@test "PostgreSQL that is away for a while is waited for, and nothing is sent before it is recorded" {
    batches 300 >many
    own_cluster pg
    peer w "$E" --id w --slow 0.02
    spawn p tasker-publish many
    wait_line w.out '"B20"'
    cluster_stop pg
    wait_line p.err "waiting for it"
    cluster_start pg
    finish_with 0 p 60
    [ "$(jq -r .batch_id p.out | sort -u | wc -l)" -eq 300 ]
    sql_is "published|300" "SELECT state, count(*) FROM batches GROUP BY 1"
    [ "$(grep '^worker' w.out | cut -d' ' -f2- | jq -r .batch_id | sort -u | wc -l)" -eq 300 ]
    cluster_stop pg
    run tasker-publish --wait 500ms <<<"$(batches 301 | tail -n 1)"
    [ "$status" -eq 75 ]
    has "not in the store and not sent: batch B301" "$output"
    cluster_start pg
}
