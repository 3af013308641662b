# The same test on both stores. Load it after helper:
#
#     load helper
#     load store
#     teardown() { store_end && test_end; }
#     prune_keeps_the_rest() { ...; [ "$(store_sql 'SELECT count(*) FROM tasks')" = 3 ]; }
#     @test "..." { for_each_store prune_keeps_the_rest; }
#
#     for_each_store FUNCTION [ARG...]  calls it once with a new SQLite store and once with a new
#                                   PostgreSQL one, each in an empty folder; $STORE is sqlite or
#                                   postgresql, TASKER_STORE_URL names the store. What it has
#                                   spawned is ended after each
#     store_begin KIND              the same without a function, in the folder where one is
#     store_sql SQL                 prints the rows, columns by |, null as nothing;
#                                   several statements are parted by ; at the end of a line
#     lock, unlock                  between them nobody can write to the store
#     dump                          prints all columns of all tables, in a fixed order
#     store_hex COLUMN              prints what SQL calls its bytes in hex
#     store_end                     takes away what the above have made; last in teardown
#
# PostgreSQL is one cluster for the whole run of the tests, started by the first that wants it (see
# tests/cluster), and a database for each store. Where a test stops the server, it has its own:
#
#     own_cluster NAME [OPTION...]  starts one; sets TASKER_STORE_URL to a new database of it. OPTION
#                                   is one of the server (-cfsync=on)
#     cluster_stop NAME [SIGNAL]    ends the server, as a crash would (QUIT), or with INT, orderly
#     cluster_start NAME [OPTION...]  starts it again
#     cluster_freeze NAME, cluster_thaw NAME   SIGSTOP and SIGCONT to all its processes

CLUSTER=$ROOT/tests/cluster
# The server's own psql: that of Debian is a script which looks for it, at four times the cost.
for STORE_BIN in /usr/lib/postgresql/*/bin; do
    [ ! -x "$STORE_BIN/psql" ] || PATH=$STORE_BIN:$PATH
done
declare -gA CLUSTERS=()
STORE_BASES=() STORE=

psql_in() { # FOLDER DATABASE ARG...
    local folder=$1 base=$2
    shift 2
    psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$folder" -U tasker -d "$base" "$@" </dev/null
}

# Sets $STORE_PG to the folder of the shared cluster, $STORE_COPY to how it copies a database.
shared_cluster() {
    local file=${STORE_CLUSTER:-$BATS_RUN_TMPDIR/cluster}
    [ -e "$file" ] || "$CLUSTER" shared "$file" "${STORE_CLUSTER_OWNER:-}" >/dev/null 3>&- 4>&- || return
    read -r STORE_PG _ STORE_COPY <"$file"
}

# A new database in the cluster that is in FOLDER; sets TASKER_STORE_URL.
new_database() { # FOLDER
    local name=t$$_$RANDOM$RANDOM
    psql_in "$1" template1 -c "CREATE DATABASE $name TEMPLATE template0 $STORE_COPY" || return
    STORE_BASES+=("$1 $name")
    export TASKER_STORE_URL="postgresql:///$name?host=$1&user=tasker"
}

store_begin() {
    STORE=$1
    case $1 in
    sqlite) export TASKER_STORE_URL=sqlite:$PWD/store/tasker.db ;;
    postgresql) shared_cluster && new_database "$STORE_PG" ;;
    *) return 1 ;;
    esac
}

for_each_store() {
    local kind name
    for kind in sqlite postgresql; do
        mkdir -p "$BATS_TEST_TMPDIR/$kind"
        cd "$BATS_TEST_TMPDIR/$kind" || return
        store_begin "$kind"
        "$@"
        for name in "${!PIDS[@]}"; do end_by_pid "$name"; done
    done
    cd "$BATS_TEST_TMPDIR" || return
}

store_sql() {
    local url=${TASKER_STORE_URL:?} rows
    case $url in
    sqlite:*)
        sqlite3 -batch -noheader -list -cmd '.timeout 20000' -cmd 'PRAGMA foreign_keys = ON' \
            "${url#sqlite:}" "$1" </dev/null
        ;;
    *)
        rows=$(psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$url" -c "$1" </dev/null) || return
        [ -z "$rows" ] || printf '%s\n' "$rows"
        ;;
    esac
}

# Holds the store so that nobody can write, and others still read, as $LOCKER; ends with unlock.
lock() {
    rm -f locked && mkfifo unlock.fifo
    case $TASKER_STORE_URL in
    sqlite:*) spawn locker /usr/bin/python3 -c 'if True:
            import sqlite3, sys
            db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
            db.execute("BEGIN IMMEDIATE")
            open("locked", "w").close()
            open("unlock.fifo").read()' "${TASKER_STORE_URL#sqlite:}" ;;
    *) spawn locker sh -c '{ echo "BEGIN; LOCK TABLE received_results, batches, unsettled IN EXCLUSIVE MODE;"
            echo "\\! touch locked"; cat unlock.fifo; } | psql -X -q -d "$0"' "$TASKER_STORE_URL" ;;
    esac
    wait_until 10 test -e locked
}

unlock() { : >unlock.fifo && finish_with 0 locker && rm -f unlock.fifo; }

store_hex() {
    if [ "$STORE" = sqlite ]; then echo "lower(hex($1))"; else echo "encode($1, 'hex')"; fi
}

DUMP=("tasks ORDER BY task_id" "steps ORDER BY id" "batches ORDER BY id"
    "batch_steps ORDER BY batch, sequence_order" "step_dependencies ORDER BY from_step, to_step" "received_results ORDER BY id" "settled_batches ORDER BY batch"
    "settled_steps ORDER BY batch, step_id" "discrepancies ORDER BY batch, place"
    "task_transitions ORDER BY task, sort_key" "step_transitions ORDER BY step, sort_key"
    "batch_transitions ORDER BY batch, sort_key")

dump() {
    local from queries=()
    case $TASKER_STORE_URL in
    sqlite:*)
        for from in "${DUMP[@]}"; do printf '.print == %s\nSELECT * FROM %s;\n' "$from" "$from"; done |
            sqlite3 -batch -bail -quote -cmd '.timeout 20000' "${TASKER_STORE_URL#sqlite:}"
        ;;
    *)
        for from in "${DUMP[@]}"; do queries+=(-c "SELECT '== $from'" -c "SELECT * FROM $from"); done
        psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$TASKER_STORE_URL" "${queries[@]}" </dev/null
        ;;
    esac
}

store_end() {
    local entry name
    [ -n "${BATS_TEST_COMPLETED:-}" ] || [ -z "$STORE" ] || echo "the store was: $STORE ${TASKER_STORE_URL:-}"
    for name in "${!CLUSTERS[@]}"; do
        cluster_thaw "$name" 2>/dev/null || true
        [ -z "${PIDS[$name]:-}" ] || end_by_pid "$name"
        rm -rf "${CLUSTERS[$name]}"
    done
    for entry in "${STORE_BASES[@]}"; do
        [ -d "${entry% *}/data" ] || continue
        psql_in "${entry% *}" template1 -c "DROP DATABASE ${entry#* } WITH (FORCE)" || true
    done
    STORE_BASES=() CLUSTERS=()
}

own_cluster() {
    local name=$1 folder
    shift
    shared_cluster || return # for its template alone
    folder=$(mktemp -d "${STORE_FOLDER:-/tmp}/tasker-pg.XXXXXX") && chmod 755 "$folder" || return
    CLUSTERS[$name]=$folder
    cluster_start "$name" "$@" && new_database "$folder"
}

cluster_start() {
    local name=$1
    shift
    STORE_TEMPLATE=$STORE_PG/template spawn "$name" "$CLUSTER" run "${CLUSTERS[$name]}" "$@"
    wait_line "$name.out" '^ready ' 30
}

cluster_stop() {
    local pid
    read -r pid <"${CLUSTERS[$1]}/data/postmaster.pid" || return
    kill -s "${2:-QUIT}" "$pid" && finish "$1"
}

cluster_freeze() { "$CLUSTER" stop "${CLUSTERS[$1]}"; }
cluster_thaw() { "$CLUSTER" cont "${CLUSTERS[$1]}"; }
