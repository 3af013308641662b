# Scenarios of the driver about the store.
#
# shellcheck shell=bash disable=SC2154 # run and helper.bash set the others
# shellcheck disable=SC2317,SC2034 # scenarios are called by their names

GROUP=1000 # store.group_rows

# Makes a folder for stores, $place, where a sync is one: not in memory. It goes with the scenario.
store_place() {
    place=$(mktemp -d "${TASKER_BENCH_STORE:-/var/tmp}/tasker-bench.XXXXXX") || die "no place for stores"
    chmod 755 "$place" # the server is not root
    trap 'stop_all; rm -rf "$place"' EXIT
    chmod 755 "$place" # the server may be another user
    disk=$(df -T "$place" | awk 'NR == 2 { print $2 " " $1 }')
    case $disk in tmpfs* | ramfs*) die "$place is in memory: set TASKER_BENCH_STORE" ;; esac
}

# Starts a PostgreSQL server of this scenario's own, beside the stores; its pid is in $cluster, which
# is empty where there is none.
start_cluster() { # OPTION ...
    cluster=
    [ -x "$ROOT/tests/cluster" ] || return 0
    start "$ROOT/tests/cluster" run "$place/pg" -cshared_buffers=128MB "$@" >"$WORK/cluster"
    cluster=$started
    until grep -q '^ready' "$WORK/cluster"; do kill -0 "$cluster" || die "no cluster"; sleep 0.05; done
}

# A new database of it; $base is its URL.
new_base() { # NAME
    psql -X -q -h "$place/pg" -U tasker -d template1 -c "CREATE DATABASE $1" || die "no database"
    base="postgresql:///$1?host=$place/pg&user=tasker"
}

# Makes the store of URL, with its schema.
store_make() { # URL
    local collector try
    TASKER_ZEROMQ_RESULT_ENDPOINT=tcp://127.0.0.1:$(free_port) start "$BIN/tasker-collect" \
        --follow --store "$1" </dev/null >/dev/null
    collector=$started
    for ((try = 0; try < 500; try++)); do
        "$OWN/ledger_loop" "$1" 1 1 >/dev/null 2>&1 && break
        sleep 0.02
    done
    stop "$collector"
    [ "$try" -lt 500 ] || die "the store was not made"
}

# $rate becomes the results a second that are durable, printed and confirmed.
append_ours() { # URL
    local collector
    export TASKER_ZEROMQ_RESULT_ENDPOINT=tcp://127.0.0.1:$(free_port)
    start "$BIN/tasker-collect" --follow --store "$1" --set store.group_rows=$GROUP \
        </dev/null >"$WORK/received"
    collector=$started
    "$OWN/outbox_send" "$TASKER_ZEROMQ_RESULT_ENDPOINT" "$APPENDS" >"$WORK/sent" ||
        die "outbox_send failed"
    stop "$collector"
    [ "$(wc -l <"$WORK/received")" -eq "$APPENDS" ] || die "collect did not print all lines once"
    rate=$(awk '{ split($2, b, "="); split($3, e, "=")
        printf "%.1f", '"$APPENDS"' * 1e6 / (e[2] - b[2]) }' "$WORK/sent")
}

append_bare() { # URL
    local text
    text=$("$OWN/ledger_loop" "$1" "$APPENDS" "$GROUP") || die "ledger_loop failed"
    rate=$(value rate "$text")
}

appends_on() { # NAME URL-OF-OURS URL-OF-THE-LOOP
    append_ours "$2"
    note "append.$1" "$rate"
    append_bare "$3"
    note "append.$1.bare" "$rate"
}

scenario_append() {
    local round url base cluster
    store_place
    start_cluster -cfsync=on
    for ((round = 1; round <= ROUNDS; round++)); do
        say "append, round $round"
        for url in sqlite:$place/{ours,bare}.$round; do store_make "$url"; done
        appends_on sqlite "sqlite:$place/ours.$round" "sqlite:$place/bare.$round"
        rm -f "$place"/ours.* "$place"/bare.*
        [ -n "$cluster" ] || continue
        new_base "ours$round"
        url=$base
        store_make "$url"
        new_base "bare$round"
        store_make "$base"
        appends_on pg "$url" "$base"
    done
    row "ledger on SQLite, messages/s; bare loop" "$(noted append.sqlite)" \
        "$(noted append.sqlite.bare)" ">= 0.6"
    if [ -n "$cluster" ]; then
        row "  on PostgreSQL; bare loop" "$(noted append.pg)" "$(noted append.pg.bare)" ">= 0.6"
        stop "$cluster"
    fi
    echo "stores: in ${place%/*} on $disk, synced at each commit" >>"$WORK/remarks"
}

# ---- tasker-status on a store of many steps

# A bare psql or sqlite would be the baseline of nothing here: what counts is the time that a person
# waits, and how it grows.
look_at() { # NAME ARG...
    local name=$1 round
    shift
    for ((round = 1; round <= LOOKS; round++)); do
        measured "status $*" 1 "$BIN/tasker-status" --store "$look_url" "$@" >"$WORK/shown"
        [ -s "$WORK/shown" ] || die "status $* printed nothing"
        note "$name" "$(calc "$seconds * 1000")"
        note "$name.cpu" "$(calc "$cpu * 1000")"
    done
}

look_at_all() { # NAME
    look_at "$1.steps" steps --format prometheus
    look_at "$1.batches" batches --format prometheus
    look_at "$1.newest" batches --limit 50
    look_at "$1.metrics" metrics
    look_at "$1.errors" errors
    look_at "$1.show" show batch big
}

look_row() { # TEXT NAME FIGURE TARGET
    row "$1, ms" "$(noted "$2.many.$3")" - "$4"
    row "  the same; $LOOK_FEW steps" "$(noted "$2.many.$3")" "$(noted "$2.few.$3")" -
    row "  processor time, ms; $LOOK_FEW steps" "$(noted "$2.many.$3.cpu")" "$(noted "$2.few.$3.cpu")" -
}

look_rows() { # WHERE NAME
    look_row "$1: $LOOK_MANY steps by state" "$2" steps "< 100"
    look_row "$1: batches by state" "$2" batches "< 100"
    look_row "$1: the newest 50 batches" "$2" newest "< 100"
    look_row "$1: all metrics" "$2" metrics -
    look_row "$1: errors by category" "$2" errors -
    look_row "$1: show a batch of $LOOK_BIG" "$2" show "< 1000"
}

# Fills a store and looks at it.
look_store() { # NAME URL STEPS
    look_url=$2
    store_make "$2"
    "$OWN/look_fill" "$2" "$3" "$LOOK_BIG" || die "look_fill failed"
    case $2 in postgresql:*) psql -X -q -d "$2" -c 'VACUUM ANALYZE' || die "no VACUUM" ;; esac
    say "look at $1"
    look_at_all "$1"
}

scenario_look() {
    local look_url base cluster
    store_place
    say "look: filling stores"
    look_store look.sqlite.few "sqlite:$place/few" "$LOOK_FEW"
    look_store look.sqlite.many "sqlite:$place/many" "$LOOK_MANY"
    rm -f "$place"/few* "$place"/many*
    look_rows SQLite look.sqlite
    start_cluster -cfsync=off
    [ -n "$cluster" ] || return 0
    new_base few
    look_store look.pg.few "$base" "$LOOK_FEW"
    new_base many
    look_store look.pg.many "$base" "$LOOK_MANY"
    look_rows PostgreSQL look.pg
    stop "$cluster"
}

# ---- reconcile of a ledger

# Settles the store of URL, which was filled just now; notes NAME's rate, and its memory.
settle_all() { # NAME URL MESSAGES
    local name=$1 url=$2 count=$3
    "$OWN/measure" "$WORK/measured" "$BIN/tasker-reconcile" --ledger --store "$url" \
        >"$WORK/verdicts" || die "reconcile ended with $?"
    [ "$(grep -c '"verdict":"consistent"' "$WORK/verdicts")" -eq "$SETTLED" ] ||
        die "reconcile did not settle all batches"
    note "settle.$name" "$(calc "$count / $(value seconds "$(cat "$WORK/measured")")")"
    note "settle.$name.cpu" "$(calc "$count / $(value cpu_s "$(cat "$WORK/measured")")")"
    note "settle.$name.mb" "$(value peak_mb "$(cat "$WORK/measured")")"
    rm -f "$WORK/verdicts"
}

scenario_settle() {
    local round base cluster count=$((SETTLED * (2 * SETTLED_STEPS + 1)))
    store_place
    start_cluster -cfsync=on
    for ((round = 1; round <= ROUNDS; round++)); do
        say "settle, round $round"
        "$OWN/settle_fill" "sqlite:$place/settle.$round" "$SETTLED" "$SETTLED_STEPS" >"$place/lines" ||
            die "settle_fill failed"
        settle_all sqlite "sqlite:$place/settle.$round" "$count"
        "$OWN/parse_loop" <"$place/lines" >"$WORK/parsed" || die "parse_loop failed"
        note settle.parse "$(value rate "$(cat "$WORK/parsed")")"
        rm -f "$place"/settle.* "$place/lines"
        [ -n "$cluster" ] || continue
        new_base "settle$round"
        "$OWN/settle_fill" "$base" "$SETTLED" "$SETTLED_STEPS" >/dev/null || die "settle_fill failed"
        settle_all pg "$base" "$count"
        psql -X -q -h "$place/pg" -U tasker -d postgres -c "DROP DATABASE settle$round" || die "no database"
    done
    row "settle $count on SQLite, messages/s; json-c parse" "$(noted settle.sqlite)" \
        "$(noted settle.parse)" -
    row "  a second of its own CPU time; the same" "$(noted settle.sqlite.cpu)" "$(noted settle.parse)" -
    row "  memory, MB" "$(noted settle.sqlite.mb)" - "< 128"
    if [ -n "$cluster" ]; then
        row "  on PostgreSQL, messages/s" "$(noted settle.pg)" "$(noted settle.parse)" -
        row "  a second of its own CPU time" "$(noted settle.pg.cpu)" "$(noted settle.parse)" -
        row "  memory, MB" "$(noted settle.pg.mb)" - "< 128"
        stop "$cluster"
    fi
}
