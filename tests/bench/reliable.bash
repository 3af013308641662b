# Scenarios of the driver about delivery: the reliable stream, acceptance, failover, a collector
# that comes again, and one that is away.
#
# shellcheck shell=bash disable=SC2154 # run and helper.bash set the others
# shellcheck disable=SC2317,SC2034 # scenarios are called by their names

kill_one() { # PID
    kill -s KILL "$1"
    await "$1" 255
}

# ---- two workers, one collector, confirmation on; beside PUB and SUB

# $rate becomes the results a second of two senders with COUNT each, to the last confirmation.
confirmed_stream() { # COUNT
    local collector first second texts
    : >"$WORK/received"
    start "$BIN/tasker-collect" --follow </dev/null >"$WORK/received"
    collector=$started
    start "$OWN/outbox_send" "$1" "$3" >"$WORK/sent.1"
    first=$started
    start "$OWN/outbox_send" "$2" "$3" >"$WORK/sent.2"
    second=$started
    await "$first"
    await "$second"
    kill "$collector"
    await "$collector"
    [ "$(wc -l <"$WORK/received")" -eq $((2 * $3)) ] || die "collect did not print all lines once"
    texts=$(cat "$WORK/sent.1" "$WORK/sent.2")
    rate=$(awk -v all=$((2 * $3)) '
        {
            split($2, b, "="); split($3, e, "=")
            if (NR == 1 || b[2] + 0 < begin) begin = b[2] + 0
            if (e[2] + 0 > end) end = e[2] + 0
        }
        END { printf "%.1f", all * 1e6 / (end - begin) }' <<<"$texts")
}

scenario_reliable() {
    local round rate one two
    one=tcp://127.0.0.1:$(free_port)
    two=tcp://127.0.0.1:$(free_port)
    export TASKER_ZEROMQ_RESULT_ENDPOINT=$one,$two
    for ((round = 1; round <= ROUNDS; round++)); do
        say "reliable, round $round"
        confirmed_stream "$one" "$two" "$RESULTS"
        note reliable.ours "$rate"
        "$OWN/pubsub" "$RESULTS" >"$WORK/received" 2>"$WORK/bare" || die "pubsub failed"
        note reliable.bare "$(value rate "$(cat "$WORK/bare")")"
        awk 1 "$WORK/received" | "$OWN/parse_loop" >"$WORK/parsed" || die "parse_loop failed"
        note reliable.parse "$(value rate "$(cat "$WORK/parsed")")"
    done
    rm -f "$WORK/received"
    row "2 workers, confirmed, results/s; bare PUB/SUB" "$(noted reliable.ours)" \
        "$(noted reliable.bare)" ">= 0.5"
    row "  the same; bare json-c parse of them" "$(noted reliable.ours)" \
        "$(noted reliable.parse)" -
}

# ---- from publish to in_progress

# Two echoes are beside it: a bare one, whose threads find each other awake, and one that runs a
# process between two trips, as here a step runs between two.

accept_publish() { exec "$BIN/tasker-publish" <"$WORK/fifo.batches" >"$WORK/receipts"; }

scenario_accept() {
    local round text publish
    start_worker --max-workers 2
    mkfifo "$WORK/fifo.batches"
    for ((round = 1; round <= ROUNDS; round++)); do
        say "accept, round $round"
        start accept_publish
        publish=$started
        text=$("$OWN/accept_trip" "$TRIPS" "$WORK/fifo.batches" "$TASKER_ZEROMQ_RESULT_ENDPOINT") ||
            die "accept_trip failed"
        await "$publish"
        note_trips accept
        text=$("$OWN/zmq_echo" "$TRIPS") || die "zmq_echo failed"
        note_trips accept_echo
        text=$("$OWN/zmq_echo" "$TRIPS" "$TRUE") || die "zmq_echo failed"
        note_trips accept_paced
        text=$("$OWN/spawn_loop" "$TRIPS" 1 "$TRUE") || die "spawn_loop failed"
        note_trips accept_spawn
    done
    kill_one "$worker"
    rm -f "$WORK/fifo.batches"
    row "publish to in_progress, us, p50; bare echo" "$(noted trip.accept.p50)" \
        "$(noted trip.accept_echo.p50)" "<= 2"
    row "  the same, p99" "$(noted trip.accept.p99)" "$(noted trip.accept_echo.p99)" "<= 2"
    row "  p50; bare echo, a process between two trips" "$(noted trip.accept.p50)" \
        "$(noted trip.accept_paced.p50)" "<= 2"
    row "  p99; the same" "$(noted trip.accept.p99)" "$(noted trip.accept_paced.p99)" "<= 2"
    row "  that echo, p50; the bare echo" "$(noted trip.accept_paced.p50)" \
        "$(noted trip.accept_echo.p50)" -
    row "  that echo, p99; the bare echo" "$(noted trip.accept_paced.p99)" \
        "$(noted trip.accept_echo.p99)" -
    row "  p50; bare start and end of a process" "$(noted trip.accept.p50)" \
        "$(noted trip.accept_spawn.p50)" -
}

# ---- a worker dies that has accepted nothing

failover_publish() {
    exec "$BIN/tasker-publish" --workers 2 <"$WORK/fifo.batches" >"$WORK/fifo.receipts"
}

scenario_failover() {
    local round text publish other
    rm -f "$WORK"/fifo.*
    mkfifo "$WORK/fifo.batches" "$WORK/fifo.receipts"
    start_worker --max-workers 16 --result-endpoint 'tcp://127.0.0.1:*'
    for ((round = 1; round <= ROUNDS; round++)); do
        say "failover, round $round"
        start "$BIN/tasker-work" --handlers "$WORK/handlers.yaml" --max-workers 16 \
            --result-endpoint 'tcp://127.0.0.1:*'
        other=$started
        start failover_publish
        publish=$started
        text=$("$OWN/failover" "$BATCHES" "$WORK/fifo.batches" "$WORK/fifo.receipts" "$other") ||
            die "failover failed"
        await "$publish"
        await "$other" 255
        note failover.ms "$(value ms "$text")"
        note failover.left "$(value left "$text")"
    done
    kill_one "$worker"
    rm -f "$WORK/fifo.batches" "$WORK/fifo.receipts"
    row "SIGKILL to acceptance elsewhere, ms" "$(noted failover.ms)" - "<= 100"
    row "  batches that the killed one had" "$(noted failover.left)" - -
}

# Waits until the command succeeds.
await_true() { # COMMAND [ARG ...]
    local tries
    for ((tries = 0; tries < 3000; tries++)); do
        "$@" && return
        read -r -t 0.02 <>"$WORK/fifo.nothing" || true
    done
    die "$* was not to be seen"
}

# ---- a collector comes again, and all is in the outbox

scenario_restart() {
    local round sender collector begin
    TASKER_ZEROMQ_RESULT_ENDPOINT=tcp://127.0.0.1:$(free_port)
    export TASKER_ZEROMQ_RESULT_ENDPOINT
    mkfifo "$WORK/fifo.nothing"
    for ((round = 1; round <= ROUNDS; round++)); do
        say "restart, round $round"
        rm -f "$WORK/ready" "$WORK/ready.met"
        start "$BIN/tasker-collect" --follow --id bench </dev/null >"$WORK/received.1"
        collector=$started
        start "$OWN/outbox_send" "$TASKER_ZEROMQ_RESULT_ENDPOINT" "$KEPT" "$WORK/ready" \
            >"$WORK/sent"
        sender=$started
        await_true test -e "$WORK/ready.met"
        kill_one "$collector"
        await_true test -e "$WORK/ready"
        note restart.mb "$(peak_mb "$sender")"
        begin=$(now_us)
        start "$BIN/tasker-collect" --follow --id bench </dev/null >"$WORK/received"
        collector=$started
        await "$sender"
        note restart.s "$(calc "($(now_us) - $begin) / 1e6")"
        kill "$collector"
        await "$collector"
        [ "$(value lost "$(cat "$WORK/sent")")" -eq 0 ] || die "results were lost"
        [ "$(sort -u "$WORK/received" | wc -l)" -ge "$KEPT" ] || die "results are missing"
    done
    rm -f "$WORK/fifo.nothing" "$WORK"/received*
    row "restart to the last of $KEPT confirmed, s" "$(noted restart.s)" - "<= 3"
    row "  memory of the worker's side, MB" "$(noted restart.mb)" - -
}

# ---- a worker whose collector is away

worker_says() { # REGEX
    "$BIN/tasker-status" workers --format json 2>"$WORK/complaints" | grep -Eq "$1"
}

# Takes a collector away from a worker ("gone" or "stopped"), lets that make four times what its
# outbox holds, and notes by how much its memory grew.
away_once() { # STATE
    local collector before
    start_worker --max-workers 2
    make_steps $((AWAY_MB * 40)) True >"$WORK/warm_up" # so many steps, but small results
    pipeline "$WORK/warm_up"
    before=$(peak_mb "$worker")
    start "$BIN/tasker-collect" --follow </dev/null >/dev/null
    collector=$started
    await_true worker_says '"collectors":1'
    if [ "$1" = gone ]; then
        kill_one "$collector"
        await_true worker_says '"collectors":0'
    else
        kill -s STOP "$collector"
    fi
    make_steps $((AWAY_MB * 40)) Text >"$WORK/steps"
    "$BIN/tasker-publish" --batch-size 100 "$WORK/steps" >"$WORK/receipts" || die "publish failed"
    await_true worker_says '"running":0,"queued":0'
    note "away.$1" "$(calc "$(peak_mb "$worker") - $before")"
    kill_one "$worker"
    [ "$1" = gone ] && return
    kill_one "$collector"
}

scenario_away() {
    awk 'BEGIN { printf "{\"text\":\""; while (i++ < 10000) printf "0123456789"; print "\"}" }' \
        >"$WORK/text"
    export TASKER_ZEROMQ_OUTBOX_MAX_BYTES=${AWAY_MB}M
    mkfifo "$WORK/fifo.nothing"
    say "away, gone"
    away_once gone
    say "away, stopped"
    away_once stopped
    unset TASKER_ZEROMQ_OUTBOX_MAX_BYTES
    rm -f "$WORK/fifo.nothing"
    row "growth of a worker, collector gone, MB; outbox" "$(noted away.gone)" "$AWAY_MB" "<= 1.25"
    row "  collector stopped, MB; outbox" "$(noted away.stopped)" "$AWAY_MB" "<= 1.25"
}
