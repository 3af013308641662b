# What every bats file loads:
#
#     load helper
#     @test "..." { ... }
#
# setup and teardown are here; a file that needs its own calls test_begin first in setup, and
# test_end last in teardown. A test starts in its own empty folder ($BATS_TEST_TMPDIR), with HOME
# and the XDG folders in it, no TASKER_* variable but TASKER_STORE_URL=none, stdin from /dev/null,
# and the built programs ($TASKER_BIN, default build/bin) first in PATH. $ROOT is the source tree.
#
#     p=$(port)                     a free port that no other test has
#     endpoints                     sets TASKER_ZEROMQ_BATCH_ENDPOINT, …_RESULT_ENDPOINT to such ports
#     wait_until 5 CMD ARG...       polls until CMD succeeds; fails after 5 s times $PATIENCE (3), as
#                                   all that waits here: a busy machine may need it
#     wait_line FILE REGEX [S]      polls until a line of FILE matches (S: 10)
#     spawn NAME CMD ARG... [<FILE] runs CMD in the background; its stdout and stderr go to NAME.out
#                                   and NAME.err, its pid to ${PIDS[NAME]}
#     running NAME                  whether it still runs
#     signal NAME SIG               sends it a signal
#     finish NAME [S]               waits (S: 20 s) until it has ended; sets $status
#     finish_with STATUS NAME [S]   the same, and fails if it ended with another status
#     has TEXT WHERE                fails, showing WHERE ("$output", or a file's name), if it lacks TEXT
#     run_case_table PROGRAM        runs the table of bad input that is on its stdin (see there)
#
# Nothing here waits for a fixed time. What a test started is ended by pid, and a test that leaves
# anything running fails: all its processes have its mark in their environment.

bats_require_minimum_version 1.5.0

ROOT=$(cd "${BATS_TEST_DIRNAME:?}" && while [ ! -e Makefile ]; do cd ..; done && pwd)
declare -gA PIDS=()

setup() { test_begin; }
teardown() { test_end; }

test_begin() {
    local name
    for name in ${!TASKER_@}; do
        case $name in TASKER_BIN | TASKER_BUILD) ;; *) unset "$name" ;; esac
    done
    unset APP_ENV RAILS_ENV RACK_ENV "${!PG@}"
    export TASKER_STORE_URL=none # tests of the store name one (store.bash)
    cd "$BATS_TEST_TMPDIR" || return 1
    mkdir -p home/.config home/.cache home/.local/share tmp
    export HOME=$PWD/home XDG_CONFIG_HOME=$PWD/home/.config XDG_CACHE_HOME=$PWD/home/.cache
    export XDG_DATA_HOME=$PWD/home/.local/share TMPDIR=$PWD/tmp LC_ALL=C.UTF-8
    TASKER_BIN=${TASKER_BIN:-$ROOT/build/bin}
    case $TASKER_BIN in /*) ;; *) TASKER_BIN=$ROOT/$TASKER_BIN ;; esac
    [ -d "$TASKER_BIN" ] || { echo "no programs in $TASKER_BIN" >&2; return 1; }
    export TASKER_BIN PATH=$TASKER_BIN:$PATH
    export TASKER_TEST_MARK=$$.$RANDOM$RANDOM
    # A pipe on which nothing ever comes: reading it with a time limit is the only pause there is.
    exec {NAP}<> <(:) </dev/null
    trace_cheaply
}

test_end() {
    local name failed=0
    for name in "${!PIDS[@]}"; do end_by_pid "$name"; done
    check_nothing_left || failed=1
    release_ports
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        show_logs
        trace_to_bats
    elif [ $failed -ne 0 ] && [ ${#HERE[@]} -gt 0 ]; then
        # shellcheck disable=SC2064
        trap "$BATS_TRAP" DEBUG
    fi
    return $failed
}

# ---- where a test failed

# Before each command bats notes where it is, in a function of many commands: a quarter of the time
# of all tests. This trap notes the same; test_end gives it to bats if the test failed. The trap is
# on one line since bash counts the lines in it from that of the command. A bats that does this in
# another way is left alone, and so is one that is asked to --trace.
BATS_TRAP='bats_debug_trap "$BASH_SOURCE"' HERE=() BEFORE=()

trace_cheaply() {
    [ "$(trap -p DEBUG)" = "trap -- '$BATS_TRAP' DEBUG" ] && [ "${BASH_VERSINFO[0]}" -ge 5 ] &&
        [ -n "${BATS_DEBUG_LAST_STACK_TRACE+set}" ] && [ "${BATS_TRACE_LEVEL:-0}" -eq 0 ] || return 0
    # shellcheck disable=SC2016
    local note='BEFORE=("${HERE[@]}") HERE=("$LINENO" "${BASH_LINENO[@]}" "${BASH_SOURCE[@]}" "${FUNCNAME[@]}")'
    # shellcheck disable=SC2064
    trap "[[ \$BASH_SOURCE == \"\$BATS_ROOT\"/lib* || \${BATS_TIMED_OUT-} ]] || { $note; }" DEBUG
}

# The last place noted is that of the trap which told bats of the failure; the one before it failed.
trace_to_bats() {
    local at depth=$((${#BEFORE[@]} / 3)) name
    [ "$depth" -gt 0 ] || return 0
    BATS_DEBUG_LAST_STACK_TRACE=() BATS_DEBUG_LAST_STACK_TRACE_IS_VALID=1
    for ((at = 0; at < depth; at++)); do
        name=${BEFORE[2 * depth + 1 + at]}
        BATS_DEBUG_LAST_STACK_TRACE+=("${BEFORE[at]} $name ${BEFORE[depth + 1 + at]}")
        case $name in "$BATS_TEST_NAME" | setup | teardown) break ;; esac
    done
}

# ---- waiting

PATIENCE=${PATIENCE:-3}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; REPLY=${t%???}; }

nap() { read -r -t "${1:-0.02}" -u "$NAP" || true; }

wait_until() {
    local seconds=$1 end tries=0
    shift
    now_ms
    end=$((REPLY + seconds * PATIENCE * 1000))
    until "$@"; do
        now_ms
        if [ "$REPLY" -ge "$end" ]; then
            echo "not within $((seconds * PATIENCE)) s: $*" >&2
            return 1
        fi
        nap "0.0$((tries += tries < 8))" # what takes long is asked for less often
    done
}

file_has_line() { [ -e "$1" ] && grep -Eqs -e "$2" -- "$1"; }

wait_line() {
    wait_until "${3:-10}" file_has_line "$1" "$2" && return
    echo "$1 is:" >&2
    head -c 4000 -- "$1" >&2
    return 1
}

# ---- processes

spawn() {
    local name=$1
    shift
    : >"$name.out" >"$name.err" # now, so that nobody reads in them what one of the same name said
    "$@" <&0 >"$name.out" 2>"$name.err" 3>&- 4>&- {NAP}>&- &
    PIDS[$name]=$!
}

# A process that has ended and that nobody has waited for runs no more. Bash does that at once, but
# now and then misses the signal that tells it, until another process of its ends.
running() {
    local stat=
    kill -0 "${PIDS[$1]}" 2>/dev/null || return
    read -r stat 2>/dev/null <"/proc/${PIDS[$1]}/stat" || true
    [[ $stat != *') Z '* ]]
}
stopped() { ! running "$1"; }
signal() { kill -s "$2" "${PIDS[$1]}"; }

finish() {
    wait_until "${2:-20}" stopped "$1" || return 1
    status=0
    wait "${PIDS[$1]}" || status=$?
    unset "PIDS[$1]"
}

finish_with() {
    finish "$2" "${3:-20}" || return 1
    [ "$status" -eq "$1" ] && return
    echo "$2 ended with status $status, wanted $1" >&2
    return 1
}

end_by_pid() {
    local pid=${PIDS[$1]}
    kill -s TERM "$pid" 2>/dev/null || true
    kill -s CONT "$pid" 2>/dev/null || true
    wait_until 4 stopped "$1" 2>/dev/null || kill -s KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    unset "PIDS[$1]"
}

# Looks for all processes that this test started, directly or not; GREP-OPTIONS say what it prints.
marked() (
    mark=$TASKER_TEST_MARK
    unset TASKER_TEST_MARK # those that look must not be found
    exec grep -sazx "$@" -e "TASKER_TEST_MARK=$mark" /proc/[0-9]*/environ
)

nothing_marked() { ! marked -q; }

marked_pids() {
    local file
    for file in $(marked -l); do echo "${file//[!0-9]/}"; done
}

check_nothing_left() {
    local pid
    wait_until 3 nothing_marked 2>/dev/null && return
    for pid in $(marked_pids); do
        echo "left running: $pid $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")" >&2
        kill -s KILL "$pid" 2>/dev/null || true
    done
    return 1
}

show_logs() {
    local file
    for file in *.err *.out; do
        [ -s "$file" ] || continue
        echo "--- $file"
        tail -n 15 -- "$file" | cut -c 1-500
    done
}

# ---- ports: below those that the kernel gives out by itself, each held by a file while in use

PORT_LOCKS=${TASKER_TEST_PORTS:-/tmp/tasker-test-port-files.$UID}

# Takes the file of a port, with the pid of this test in it, if nobody who lives has it.
lock_port() {
    local lock=$PORT_LOCKS/$1 owner='' moved now=
    (set -C && echo $$ >"$lock") 2>/dev/null && return
    read -r owner 2>/dev/null <"$lock" || [ -n "$(find "$lock" -maxdepth 0 -mmin +1 2>/dev/null)" ] || return
    [ -z "$owner" ] || ! kill -0 "$owner" 2>/dev/null || return
    # Its owner died, maybe as it took it: whoever moves its file away may try to have it.
    moved=$lock.old.$BASHPID
    mv -T "$lock" "$moved" 2>/dev/null || return
    read -r now 2>/dev/null <"$moved" || true
    [ "$now" = "$owner" ] || ln "$moved" "$lock" 2>/dev/null || true # another was faster
    rm -f "$moved"
    (set -C && echo $$ >"$lock") 2>/dev/null
}

# Sets REPLY to what port prints.
take_port() {
    local try
    [ -d "$PORT_LOCKS" ] || mkdir -p "$PORT_LOCKS"
    for ((try = 0; try < 2000; try++)); do
        REPLY=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        lock_port "$REPLY" || continue
        echo "$REPLY" >>"$BATS_TEST_TMPDIR/.ports"
        (exec 9<>"/dev/tcp/127.0.0.1/$REPLY") 2>/dev/null || return 0
    done
    echo "no free port" >&2
    return 1
}

port() { take_port && echo "$REPLY"; }

release_ports() {
    local ports=()
    [ -e "$BATS_TEST_TMPDIR/.ports" ] || return 0
    mapfile -t ports <"$BATS_TEST_TMPDIR/.ports"
    (cd "$PORT_LOCKS" && rm -f "${ports[@]}") || true
}

endpoints() {
    export TASKER_ZEROMQ_BATCH_ENDPOINT TASKER_ZEROMQ_RESULT_ENDPOINT
    take_port && TASKER_ZEROMQ_BATCH_ENDPOINT=tcp://127.0.0.1:$REPLY || return
    take_port && TASKER_ZEROMQ_RESULT_ENDPOINT=tcp://127.0.0.1:$REPLY
}

# ---- checks

has() {
    local text=$2
    if [ -f "$2" ]; then text=$(cat -- "$2"); fi
    [[ $text == *"$1"* ]] && return
    printf 'lacks: %s\nis:    %s\n' "$1" "${text:0:4000}" >&2
    return 1
}

# Runs a table of cases, one a line: name | arguments | input | status | text
#   arguments  are read by the shell, so quotes, variables and redirections (>/dev/full) work
#   input      - for none, @FILE for a file, anything else is text for printf, so \n and \0 work
#   text       must be on stderr; each line there must begin with "PROGRAM: " (empty: no check)
# All cases are run, each in the test's folder and for at most 20 s times $PATIENCE; those that went
# wrong are printed. An empty line and one that begins with # are passed over.
run_case_table() {
    local program=$1 line name args input want text rest cases=0 bad=0
    while IFS= read -r line; do
        case $line in '' | '#'*) continue ;; esac
        rest="$line " # so that a line may end in |
        name=$(field "$rest" 1) args=$(field "$rest" 2) input=$(field "$rest" 3)
        want=$(field "$rest" 4) text=$(field "$rest" 5)
        cases=$((cases + 1))
        run_case "$program" "$args" "$input" || true
        if ! case_ok "$program" "$want" "$text"; then
            bad=$((bad + 1))
            printf 'case "%s": %s %s\n  status %s, wanted %s; stderr (wanted: %s):\n' \
                "$name" "$program" "$args" "$case_status" "$want" "$text"
            head -c 1500 .case.err | sed 's/^/    /'
        fi
    done
    echo "$cases cases, $bad bad"
    [ "$bad" -eq 0 ] && [ "$cases" -gt 0 ]
}

field() {
    local line=$1 n=$2 value=
    while [ "$n" -gt 0 ]; do
        value=${line%% | *}
        if [[ $line == *" | "* ]]; then line=${line#* | }; else line=; fi
        n=$((n - 1))
    done
    value=${value#"${value%%[! ]*}"}
    value=${value%"${value##*[! ]}"}
    printf '%s' "${value% |}"
}

run_case() {
    local program=$1 args=$2 input=$3 from=.case.in
    case $input in
    - | '') : >"$from" ;;
    @*) from=${input#@} ;;
    *)
        # shellcheck disable=SC2059
        printf "$input" >"$from"
        ;;
    esac
    case_status=0
    (eval "exec timeout -k 2 $((20 * PATIENCE)) $program $args") <"$from" >.case.out 2>.case.err 3>&- || case_status=$?
}

case_ok() {
    [ "$case_status" = "$2" ] || return 1
    [ -z "$3" ] || grep -qF -e "$3" .case.err || return 1
    ! grep -av -e "^$1: " .case.err >/dev/null
}
