#!/usr/bin/env bats
# The store as such, on both back ends, and what befalls it.

load helper
load store

teardown() { store_end && test_end; }

made_once() {
    store_sql 'CREATE TABLE x (a BIGINT, b TEXT)' 2>/dev/null || { mkdir -p store && store_sql 'CREATE TABLE x (a BIGINT, b TEXT)'; }
    store_sql "INSERT INTO x VALUES (1, 'one'), (2, NULL)"
    [ "$(store_sql 'SELECT a, b FROM x ORDER BY a')" = $'1|one\n2|' ]
}

@test "the helper gives an empty store of each kind" {
    for_each_store made_once
    [ -e "$BATS_TEST_TMPDIR/sqlite/store/tasker.db" ]
}

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
