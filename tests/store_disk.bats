#!/usr/bin/env bats
# The store on a disk that is full or may only be read, and on a file that is none: each is told in one
# line, with the right status, and nothing is damaged. A disk is made full by a limit to the size of
# files, which anybody can set, and lift again; see collect_store.bats for a true one.
load helper
load store
load reconcile_store

setup() {
    test_begin
    endpoints
    export E=$TASKER_ZEROMQ_RESULT_ENDPOINT PYTHONPATH=$BATS_TEST_DIRNAME PYTHONDONTWRITEBYTECODE=1
    store_begin sqlite
}

# Runs a program that may make no file longer than so many kB.
within() {
    local kb=$1
    shift
    (ulimit -S -f "$kb" && exec "$@")
}

sound() { [ "$(store_sql 'PRAGMA integrity_check')" = ok ]; }

# Fails unless all lines of stderr ("$stderr") are errors of the program, and one has the text.
told() { # TEXT
    has "$1" "$stderr"
    ! grep -v '^tasker-[a-z]*: error: ' <<<"$stderr" || false
}

one_batch() { # BATCH STEPS
    printf '{"batch_id":"%s","steps":[' "$1"
    seq "$2" | sed 's/.*/{"step_id":&,"task_id":1,"step_name":"s&","handler_class":"H"}/' | paste -sd,
    echo ']}'
}

@test "a full disk: reconcile says so, 74, and does the rest when there is room" {
    make_store
    local i
    for i in 1 2 3 4 5 6; do batch b$i 60 && results b$i 60; done
    run -74 --separate-stderr within 64 tasker-reconcile --ledger
    told "tasker.db: cannot"
    sound
    # of each batch all or nothing
    [ "$(store_sql "SELECT count(*) FROM batches b WHERE
        (b.state = 'completed') <> EXISTS (SELECT 1 FROM settled_batches s WHERE s.batch = b.id) OR
        (b.state = 'completed') = EXISTS (SELECT 1 FROM unsettled u WHERE u.batch_id = b.batch_id) OR
        (b.state = 'completed') = EXISTS (SELECT 1 FROM batch_steps p JOIN steps s ON s.id = p.step
            WHERE p.batch = b.id AND s.state <> 'complete')")" = 0 ]
    [ "$(store_sql "SELECT count(*) FROM batches WHERE state = 'published'")" -gt 0 ]
    run -0 tasker-reconcile --ledger
    [ "$(store_sql 'SELECT state, count(*) FROM steps GROUP BY state')" = 'complete|360' ]
    rebuilt
}

@test "a full disk: publish says so, 74, and sends nothing" {
    make_store
    one_batch b1 5000 | tr -d '\n' >in
    run -74 --separate-stderr within 64 tasker-publish in
    told "tasker.db: cannot"
    has "not in the store and not sent: batch b1" "$stderr"
    sound
    [ "$(store_sql 'SELECT count(*) FROM batches')" = 0 ]
    [ "$(store_sql 'SELECT count(*) FROM steps')" = 0 ]
}

@test "a full disk: status store --init says so, 74, and makes the store when there is room" {
    run -74 --separate-stderr within 8 tasker-status store --init
    told "tasker.db: cannot"
    run -0 tasker-status store --init
    has 'made the store' "$output"
    sound
}

@test "a full disk: collect confirms nothing, says so, and goes on when there is room" {
    make_store
    printf '{"message_type":"batch_published","batch_id":"b1","total_steps":2000,"step_ids":[%s]}\n' "$(seq -s , 2000)" >r
    cat >w.py <<'END'
from collect_ledger import *
w = Checked(os.environ["E"])
w.wait_subscribed()
w.many("b1", 2000, pad=400)
END
    spawn w /usr/bin/python3 w.py
    ulimit -S -f 400
    spawn c tasker-collect r
    ulimit -S -f unlimited
    wait_line c.err 'the store fails, .*tasker.db: cannot' 30
    ! grep -q batch_completion c.out || false
    prlimit --pid "${PIDS[c]}" --fsize=unlimited
    finish_with 0 w 60 # it has asked the store at each confirmation
    finish_with 0 c
    has 'is back' c.err
    [ "$(store_sql 'SELECT count(*), count(DISTINCT stream_offset) FROM received_results')" = '2001|2001' ]
    sound
}

@test "a full disk is told as that by tasker-status store too, and not as damage" {
    make_store
    # a disk that is full: whatever is written does not fit
    run -74 --separate-stderr within 1 tasker-status store --prune --older-than 0
    told "tasker.db: cannot"
    has "its disk is full: make room, what is in it is safe" "$stderr"
    unshare -rm true 2>/dev/null || skip "no mounts here"
    cat >full <<'END'
set -e
mkdir disk && mount -t tmpfs -o size=512k none disk
tasker-status store --init --store sqlite:disk/x.db >&2
head -c 1M /dev/zero >disk/fill 2>/dev/null || true
tasker-status store --store sqlite:disk/x.db || echo "$?"
END
    unshare -rm bash full >out 2>err
    ! grep -q damaged out err || { cat out err; return 1; }
    ! grep -q 'health      full' out || has "its disk is full" err
}

# ---- what may only be read

@test "a read-only file system is told as such, by every program" {
    unshare -rm true 2>/dev/null || skip "no mounts here"
    one_batch b1 1 | tr -d '\n' >in
    cat >read_only <<'END'
set -e
mkdir disk && mount -t tmpfs none disk
tasker-status store --init --store sqlite:disk/x.db >&2
cksum <disk/x.db >before
mount -o remount,ro disk
for at in x.db new.db more/new.db; do
    for command in 'status store --init' 'publish in' 'collect --follow' 'reconcile --ledger'; do
        status=0
        timeout 60 tasker-$command --store sqlite:disk/$at </dev/null >out 2>err || status=$?
        echo "$at $command: $status"
        [ "$status" -eq 69 ] && grep -q "^tasker-.*: error: disk/$at: cannot .*: its file system is read-only$" err || cat err
    done
done
for command in 'status store' 'status tasks' 'status store --prune --older-than 1d'; do
    status=0
    timeout 60 tasker-$command --store sqlite:disk/x.db </dev/null >out 2>err || status=$?
    [ "$status" -eq 69 ] && grep -q 'its file system is read-only$' err && [ "$(wc -l <err)" = 1 ] || cat err
    ! grep 'took away' out || false
done
cksum <disk/x.db | cmp - before
END
    unshare -rm bash read_only >lines
    [ "$(grep -c ': 69$' lines)" -eq 12 ]
    [ "$(wc -l <lines)" -eq 12 ]
}

# ---- no database

@test "a file that is no database is told as such, by every program, and left as it is" {
    one_batch b1 1 | tr -d '\n' >in
    head -c 8192 /dev/urandom >junk
    echo 'some text' >text.db
    cp junk before.junk
    cp text.db before.text
    run_case_table tasker-publish <<'END'
random | --store ./junk in   | - | 69 | ./junk: cannot be used: file is not a database
text   | --store text.db in  | - | 69 | text.db: cannot be used: file is not a database
END
    run_case_table tasker-collect <<'END'
random | --store ./junk --follow  | - | 69 | ./junk: cannot be used: file is not a database
text   | --store text.db --follow | - | 69 | text.db: cannot be used: file is not a database
END
    run_case_table tasker-reconcile <<'END'
random | --store ./junk --ledger  | - | 69 | ./junk: cannot be used: file is not a database
text   | --store text.db --ledger | - | 69 | text.db: cannot be used: file is not a database
END
    run_case_table tasker-status <<'END'
random | store --store ./junk | - | 69 | ./junk: cannot be used: file is not a database
prune  | store --prune --older-than 1d --store text.db >prune.out | - | 69 | text.db: cannot be used: file is not a database
tasks  | tasks --store text.db | - | 69 | text.db: cannot be used: file is not a database
END
    [ ! -s prune.out ]
    cmp junk before.junk
    cmp text.db before.text
    [ "$(ls | grep -c -e '-wal$' -e '-shm$' -e '-journal$')" = 0 ]
}

# ---- how a store is named

@test "a path alone is an SQLite store; what is no store is told" {
    run -0 tasker-status store --init --store "$PWD/a.db"
    run -0 tasker-status store --init --store b.db
    run -0 tasker-status store --init --store c/d
    [ -s a.db ] && [ -s b.db ] && [ -s c/d ]
    mkdir conf
    echo 'store: {url: ./e}' >conf/tasker.yaml
    run -0 env -u TASKER_STORE_URL tasker-status store --init --config conf/tasker.yaml
    [ -s conf/e ]
    run -0 env TASKER_STORE_URL=x/y.db tasker-status config
    has 'sqlite:x/y.db' "$output"
    run_case_table tasker-status <<'END'
nothing    | store --store sqlite:    | - | 64 | "sqlite:" names no file
a word     | store --store tasker     | - | 64 | a store is sqlite, sqlite:PATH, postgresql://HOST/NAME or none
another    | store --store mysql://x/y.db | - | 64 | a store is sqlite, sqlite:PATH
no scheme  | store --store mysql:y.db | - | 64 | a store is sqlite, sqlite:PATH
empty      | store --store ""         | - | 64 | a store is sqlite, sqlite:PATH
not there  | store --store /nil/x.db  | - | 69 | there is no store at /nil/x.db yet
END
}
