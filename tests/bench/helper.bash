# What the benchmark's driver stands on: an own folder, own ports, processes ended by pid, medians,
# and the table.
#
# shellcheck shell=bash disable=SC2034 # what is set here is used by the driver

BENCH_DONE=0
PIDS=()
started=
failed=0 # whether a scenario has failed

bench_begin() {
    local name
    for name in ${!TASKER_@}; do
        case $name in TASKER_BIN | TASKER_BUILD) ;; *) unset "$name" ;; esac
    done
    unset APP_ENV RAILS_ENV RACK_ENV
    ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    TASKER_BUILD=${TASKER_BUILD:-$ROOT/build}
    BIN=${TASKER_BIN:-$TASKER_BUILD/bin} # the programs
    OWN=$TASKER_BUILD/tests/bench        # the baselines
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/tasker-bench.XXXXXX") || exit 74
    export LC_ALL=C HOME=$WORK XDG_CONFIG_HOME=$WORK TASKER_LOG_LEVEL=error
    export TASKER_STORE_URL=none
    trap bench_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    : >"$WORK/rows"
}

bench_end() {
    trap '' INT TERM HUP
    stop_all
    [ "$BENCH_DONE" = 1 ] || echo "the benchmark was not finished" >&2
    rm -rf "$WORK"
}

bench_done() { BENCH_DONE=1; }

stop_all() {
    [ ${#PIDS[@]} -eq 0 ] || kill "${PIDS[@]}" 2>/dev/null
    wait
}

# Runs a scenario as a process of its own, so that the others are done even if it fails.
run_scenario() { # NAME
    # the shell tells of each process that was killed, as some are meant to be
    start in_scenario "$1" 2> >(grep --line-buffered -v ': line [0-9]*: *[0-9]* Killed ' >&2)
    local status=0
    wait "$started" || status=$?
    PIDS=() # its number may be another process's from now on
    [ $status -eq 0 ] && return
    failed=1
    printf '%s\t-\t-\t-\t-\tfailed\n' "$1: $(cat "$WORK/failure" 2>/dev/null)" >>"$WORK/rows"
}

in_scenario() { # NAME
    PIDS=()
    trap stop_all EXIT
    trap 'exit 143' TERM
    rm -f "$WORK/failure"
    "scenario_$1"
    exit 0
}

# Ends the scenario.
die() {
    echo "$*" >"$WORK/failure"
    exit 1
}

say() { [ ! -t 2 ] || printf '%s ...\n' "$*" >&2; }

# Starts a program in the background; its pid is in $started.
start() {
    "$@" &
    started=$!
    PIDS+=("$started")
}

# Waits for one that was started; fails if it ended with a status over the greatest one allowed.
await() { # PID [MOST]
    local status=0 pid rest=()
    wait "$1" || status=$?
    for pid in "${PIDS[@]}"; do [ "$pid" = "$1" ] || rest+=("$pid"); done
    PIDS=("${rest[@]}")
    [ "$status" -le "${2:-0}" ] || die "a program ended with status $status"
}

stop() { # PID
    kill "$1"
    await "$1" 255
}

free_port() { # one that nobody listens on, below those that the kernel gives out by itself
    local p
    while p=$((20000 + (RANDOM * 32768 + RANDOM) % 12000)); do
        (exec 9<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
    done
    echo "$p"
}

now_us() { echo "${EPOCHREALTIME/./}"; }

# Prints the value of KEY in a text of KEY=VALUE pairs.
value() { # KEY TEXT
    local pair
    for pair in $2; do
        if [ "${pair%%=*}" = "$1" ]; then
            echo "${pair#*=}"
            return
        fi
    done
    die "no $1 in: $2"
}

calc() { awk "BEGIN { printf \"%.6f\", $1 }"; }

# Prints the median of the lines of FILE.
median() { # FILE
    [ -s "$1" ] || die "nothing was measured: ${1##*/}"
    sort -g "$1" | awk '{ v[NR] = $1 }
        END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

note() { # NAME VALUE
    [ -n "$2" ] || die "$1 was not measured"
    echo "$2" >>"$WORK/$1.all"
}

noted() { median "$WORK/$1.all"; } # NAME

# Adds a row. The ratio is OURS / BASELINE where that is a number; the target is held against the
# ratio, or against OURS where there is no baseline. "-" stands for what there is not.
row() { # WHAT OURS BASELINE TARGET [RATIO]
    awk -v what="$1" -v ours="$2" -v base="$3" -v target="$4" -v ratio="${5:-}" '
        function show(n) {
            if (n !~ /^[-+0-9.e]+$/ || n == "-") return n
            return sprintf(n >= 100 ? "%.0f" : n >= 10 ? "%.1f" : "%.2f", n)
        }
        BEGIN {
            if (ratio == "") ratio = base + 0 > 0 && ours + 0 > 0 ? ours / base : "-"
            met = "-"
            if (target != "-") {
                split(target, t, " ")
                held = ratio == "-" ? ours : ratio
                met = held == "-" ? "not known" : \
                    (t[1] == ">=" ? held >= t[2] + 0 : t[1] == "<=" ? held <= t[2] + 0 : \
                        held < t[2] + 0) ? "yes" : "no"
            }
            printf "%s\t%s\t%s\t%s\t%s\t%s\n", what, show(ours), show(base), \
                ratio == "-" ? "-" : sprintf("%.2f", ratio), target, met
        }' >>"$WORK/rows"
}

print_table() {
    awk -F '\t' 'BEGIN { print "what\tours\tbaseline\tratio\ttarget\tmet?" } { print }' \
        "$WORK/rows" | awk -F '\t' '
        { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > w[i]) w[i] = length($i) } }
        END {
            for (r = 1; r <= NR; r++) {
                line = sprintf("%-" w[1] "s", cell[r, 1])
                for (i = 2; i <= 6; i++)
                    line = line sprintf(i < 5 ? "  %" w[i] "s" : "  %-" w[i] "s", cell[r, i])
                sub(/ +$/, "", line)
                print line
            }
        }'
}

print_machine() {
    local model load
    model=$(awk -F ': *' '/^model name/ { print $2; exit }' /proc/cpuinfo 2>/dev/null)
    read -r load _ </proc/loadavg 2>/dev/null
    echo "machine: $(getconf _NPROCESSORS_ONLN) x ${model:-$(uname -m)}, $(uname -sr)," \
        "libzmq $(pkg-config --modversion libzmq), json-c $(pkg-config --modversion json-c)," \
        "load ${load:-unknown} (1 min, at the end), rounds: $ROUNDS, medians"
}
