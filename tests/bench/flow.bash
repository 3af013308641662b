# Scenarios of the driver about workflows: the loop of all stages, as services.
#
# shellcheck shell=bash disable=SC2154 # run, helper.bash and store.bash set the others
# shellcheck disable=SC2317,SC2034 # scenarios are called by their names

# Starts the four stages; their pids are in $ready and $stages. With a store at $flow_url.
flow_stages() { # NAME
    mkfifo "$WORK/$1.batches"
    start flow_pipe "$1"
    stages=$started
    start flow_ready "$1"
    ready=$started
}
flow_ready() { exec "$BIN/tasker-ready" --follow >"$WORK/$1.batches"; }
flow_pipe() {
    "$BIN/tasker-publish" <"$WORK/$1.batches" | "$BIN/tasker-collect" | tee "$WORK/$1.results" |
        "$BIN/tasker-reconcile" --follow >"$WORK/$1.verdicts"
}

flow_templates() { # LINKS STEPS
    local i
    export TASKER_TASKS_PATH=$WORK/tasks
    mkdir -p "$TASKER_TASKS_PATH"
    {
        printf 'name: chain\nstep_templates:\n  - {name: s1, handler_class: "Bench::True"}\n'
        for ((i = 2; i <= $1; i++)); do
            echo "  - {name: s$i, handler_class: \"Bench::True\", depends_on_step: s$((i - 1))}"
        done
    } >"$TASKER_TASKS_PATH/chain.yaml"
    { # a fan: the first, all but one after it, and one behind them
        printf 'name: fan\nstep_templates:\n  - {name: s1, handler_class: "Bench::True"}\n'
        for ((i = 2; i < $2; i++)); do
            echo "  - {name: s$i, handler_class: \"Bench::True\", depends_on_step: s1}"
        done
        printf '  - {name: s%d, handler_class: "Bench::True", depends_on_steps: [' "$2"
        seq -s ', ' -f 's%g' 2 $(($2 - 1)) | sed 's/$/]}/'
    } >"$TASKER_TASKS_PATH/fan.yaml"
}

# Waits until no task is left that is not complete; the store tells it.
flow_done() { # SECONDS
    local end=$(($(now_us) + $1 * 1000000))
    until [ -z "$("$BIN/tasker-status" tasks --state pending,in_progress,error --limit 1 -f json)" ]; do
        [ "$(now_us)" -lt "$end" ] || die "not all tasks complete in $1 s"
        sleep 0.05
    done
}

flow_stop() {
    kill "$ready"
    await "$ready" 255
    await "$stages" 255
    stop "$worker"
    rm -f "$WORK"/*.batches
}

# Prints the ms from the result of each step to the start of the one after it, from the times in
# their messages.
link_times() {
    awk 'function ms(text, part) {
            split(text, part, /[T:Z]/)
            return (part[2] * 60 + part[3]) * 60000 + part[4] * 1000
        }
        /"message_type":"partial_result"/ {
            match($0, /"timestamp":"[^"]*"/)
            at = ms(substr($0, RSTART + 13, RLENGTH - 14))
            match($0, /"step_id":[0-9]+/)
            step = substr($0, RSTART + 10, RLENGTH - 10)
            if (/"status":"in_progress"/) { if (step - 1 in ended) print at - ended[step - 1] }
            else ended[step] = at
        }'
}

# From the result of a step to the start of the next one.
scenario_chain() {
    local round
    store_place
    flow_templates "$LINKS" "$FAN"
    for ((round = 1; round <= ROUNDS; round++)); do
        say "chain, round $round"
        export TASKER_STORE_URL=sqlite:$place/chain.$round
        start_worker --max-workers 2
        flow_stages chain
        "$BIN/tasker-submit" --template chain --context '{}' >"$WORK/submitted" || die "no task"
        flow_done 60
        flow_stop
        link_times <"$WORK/chain.results" | sort -g >"$WORK/links"
        [ "$(wc -l <"$WORK/links")" -eq $((LINKS - 1)) ] || die "not all links were seen"
        note chain.p50 "$(sed -n "$((LINKS / 2))p" "$WORK/links")"
        note chain.p99 "$(sed -n "$((LINKS * 99 / 100))p" "$WORK/links")"
    done
    row "chain of $LINKS on SQLite, ms a link, p50" "$(noted chain.p50)" - "< 15"
    row "  the same, p99" "$(noted chain.p99)" - -
}

# Tasks of the store at TASKER_STORE_URL through so many sets of stages; $us becomes the time.
flow_tasks() { # SETS [TEMPLATE]
    local i sets=() readies=() begin
    "$BIN/tasker-submit" --template "${2:-fan}" "$WORK/requests" >"$WORK/submitted" || die "no tasks"
    begin=$(now_us)
    for ((i = 1; i <= $1; i++)); do
        start_worker --max-workers 2
        workers[i]=$worker
        flow_stages "set$i"
        sets+=("$stages") readies+=("$ready")
    done
    flow_done 300
    us=$(($(now_us) - begin))
    for ready in "${readies[@]}"; do kill "$ready"; await "$ready" 255; done
    for stages in "${sets[@]}"; do await "$stages" 255; done
    for ((i = 1; i <= $1; i++)); do stop "${workers[i]}"; done
    rm -f "$WORK"/*.batches
}

# The same steps without a store, and their processes alone: what the rest takes is the store's.
flow_parts() {
    local text
    TASKER_STORE_URL=none start_worker --max-workers 2
    TASKER_STORE_URL=none pipeline "$WORK/steps"
    note flow.sockets "$us"
    stop "$worker"
    text=$("$OWN/spawn_loop" "$((TASKS * FAN))" 2 "$TRUE") || die "spawn_loop failed"
    note flow.handlers "$(calc "$(value seconds "$text") * 1e6")"
}

flow_rows() { # WHERE NAME
    local all sockets handlers
    all=$(noted "flow.$2") sockets=$(noted flow.sockets) handlers=$(noted flow.handlers)
    row "$TASKS tasks of $FAN steps on $1, steps/s" "$(calc "$TASKS * $FAN * 1e6 / $all")" - -
    row "  share of the handlers (a bare loop)" "$(calc "$handlers / $all")" - -
    row "  share of sockets and pipes" "$(calc "($sockets - $handlers) / $all")" - -
    row "  share of the store" "$(calc "($all - $sockets) / $all")" - -
}

scenario_tasks() {
    local round base cluster workers=()
    store_place
    flow_templates "$LINKS" "$FAN"
    yes '{"context": {}}' | head -n "$TASKS" >"$WORK/requests"
    make_steps $((TASKS * FAN)) True >"$WORK/steps"
    start_cluster -cfsync=on
    for ((round = 1; round <= ROUNDS; round++)); do
        say "tasks, round $round"
        flow_parts
        export TASKER_STORE_URL=sqlite:$place/tasks.$round
        flow_tasks 1
        note flow.sqlite "$us"
        [ -n "$cluster" ] || continue
        new_base "tasks$round"
        TASKER_STORE_URL=$base flow_tasks 2
        note flow.pg "$us"
    done
    flow_rows SQLite sqlite
    [ -z "$cluster" ] || flow_rows "PostgreSQL, two sets" pg
}

# The rate of a task of a splitter, so many steps that it asks for, and a join, in a new store of URL.
wide_rate() { # NAME URL STEPS
    local part parts=$((($3 + 9999) / 10000)) # one step may ask for 10 000
    {
        printf 'name: wide\nstep_templates:\n'
        for ((part = 1; part <= parts; part++)); do
            printf '{"create_steps": [{"name": "shard%d", "count": %d}]}\n' \
                "$part" $(($3 / parts)) >"$WORK/text$part"
            echo "  - {name: split$part, handler_class: \"Bench::Text$part\"}"
            echo "  - {name: shard$part, handler_class: \"Bench::True\", optional: true," \
                "depends_on_step: split$part}"
        done
        echo "  - {name: join, handler_class: \"Bench::True\", depends_on_steps:" \
            "[$(seq -s ', ' -f 'shard%g' "$parts")]}"
    } >"$TASKER_TASKS_PATH/wide.yaml"
    echo '{"context": {}}' >"$WORK/requests"
    TASKER_STORE_URL=$2 flow_tasks 1 wide
    note "$1.$3" "$(calc "$3 * 1e6 / $us")"
}

wide_rows() { # WHERE NAME
    local size
    row "$1: a splitter, ${WIDE[0]} steps and a join, steps/s" "$(noted "$2.${WIDE[0]}")" - -
    for size in "${WIDE[@]:1}"; do
        row "  $size steps; ${WIDE[0]}" "$(noted "$2.$size")" "$(noted "$2.${WIDE[0]}")" ">= 0.8"
    done
}

# What a step costs in a task of many, all of which a join waits for.
scenario_wide() {
    local round size base cluster workers=()
    export TASKER_WORKFLOW_MAX_CREATED_STEPS=10000 TASKER_WORKFLOW_MAX_TASK_STEPS=100000
    store_place
    flow_templates 10 "$FAN"
    start_cluster -cfsync=on
    for ((round = 1; round <= ROUNDS; round++)); do
        for size in "${WIDE[@]}"; do
            say "wide, $size steps, round $round"
            wide_rate wide.sqlite "sqlite:$place/wide.$round.$size" "$size"
            rm -f "$place/wide.$round.$size"*
            [ -n "$cluster" ] || continue
            new_base "wide${round}_$size"
            wide_rate wide.pg "$base" "$size"
        done
    done
    wide_rows SQLite wide.sqlite
    [ -z "$cluster" ] || wide_rows PostgreSQL wide.pg
}

# The rate of chains of ten steps in a new store of URL, in which so many tasks are finished.
history_rate() { # NAME URL FINISHED
    PATH=$BIN:$PATH "$ROOT/tests/history_fill" "$2" "$3" || die "the store was not filled"
    TASKER_STORE_URL=$2 flow_tasks 1 chain
    note "$1.$3" "$(calc "$HISTORY_TASKS * 10 * 1e6 / $us")"
}

history_rows() { # WHERE NAME
    local size
    row "$1: $HISTORY_TASKS chains of 10, steps/s, new store" "$(noted "$2.0")" - -
    for size in "${HISTORY[@]:1}"; do
        row "  after $size finished tasks; new store" "$(noted "$2.$size")" "$(noted "$2.0")" ">= 0.9"
    done
}

# What a step costs after many others. The rows of these are made by the database itself.
scenario_history() {
    local round size base cluster workers=()
    store_place
    flow_templates 10 "$FAN"
    yes '{"context": {}}' | head -n "$HISTORY_TASKS" >"$WORK/requests"
    start_cluster -cfsync=on
    for ((round = 1; round <= ROUNDS; round++)); do
        for size in "${HISTORY[@]}"; do
            say "history of $size tasks, round $round"
            history_rate history.sqlite "sqlite:$place/history.$round.$size" "$size"
            rm -f "$place/history.$round.$size"*
            [ -n "$cluster" ] || continue
            new_base "history${round}_$size"
            history_rate history.pg "$base" "$size"
            psql -X -q -h "$place/pg" -U tasker -d postgres -c "DROP DATABASE history${round}_$size" ||
                die "no database"
        done
    done
    history_rows SQLite history.sqlite
    [ -z "$cluster" ] || history_rows PostgreSQL history.pg
}

# Looks several times for what is ready in the store of URL, as a service does for its next batches:
# it must be so many steps.
find_ready() { # NAME URL STEPS
    local round
    for ((round = 1; round <= LOOKS; round++)); do
        measured "ready" 1 "$BIN/tasker-ready" --dry-run --limit "$READY" --store "$2" >"$WORK/found"
        [ "$(grep -o '"step_id":' "$WORK/found" | wc -l)" -eq "$3" ] || die "not all were found"
        note "$1" "$(calc "$seconds * 1000")"
    done
}

# The same of a store that is empty, and of one with so many steps.
ready_in() { # NAME URL STEPS
    "$BIN/tasker-status" store --init --store "$2" >"$WORK/made" || die "no store"
    find_ready "$1.none" "$2" 0
    "$OWN/ready_fill" "$2" "$3" "$READY" || die "ready_fill failed"
    case $2 in postgresql:*) psql -X -q -d "$2" -c 'VACUUM ANALYZE' || die "no VACUUM" ;; esac
    find_ready "$1.$3" "$2" "$READY"
}

ready_rows() { # WHERE NAME
    local none
    none=$(noted "$2.none")
    row "$1: $READY steps ready of $LOOK_MANY, ms" "$(noted "$2.$LOOK_MANY")" - -
    row "  without start and connection; $LOOK_FEW" "$(calc "$(noted "$2.$LOOK_MANY") - $none")" \
        "$(calc "$(noted "$2.$LOOK_FEW") - $none")" -
    row "  the same" "$(calc "$(noted "$2.$LOOK_MANY") - $none")" - "< 20"
}

scenario_ready() {
    local size base cluster
    store_place
    start_cluster -cfsync=off
    for size in "$LOOK_FEW" "$LOOK_MANY"; do
        say "ready: filling a store with $size steps"
        ready_in ready.sqlite "sqlite:$place/ready.$size" "$size"
        rm -f "$place/ready.$size"*
        [ -n "$cluster" ] || continue
        new_base "ready$size"
        ready_in ready.pg "$base" "$size"
    done
    ready_rows SQLite ready.sqlite
    [ -z "$cluster" ] || ready_rows PostgreSQL ready.pg
}
