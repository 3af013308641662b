#!/usr/bin/env bats
# The units for systemd: they are sound, the programs take what is in them, and the loop closes when
# they are wired as they say. No systemd runs here; its own check of the files is used where it is.
load helper
load store

UNITS=$ROOT/config/systemd
teardown() { store_end && test_end; }

value_of() { sed -n "s/^$2=//p" "$UNITS/$1"; } # UNIT KEY

@test "units: each is hardened, and wanted by the target" {
    local unit key
    for unit in "$UNITS"/tasker-*.service; do
        for key in NoNewPrivileges=yes PrivateTmp=yes ProtectSystem=strict DynamicUser=yes \
            'CapabilityBoundingSet=' Restart=always; do
            grep -qx "$key" "$unit" ||
                { echo "$unit lacks $key"; false; }
        done
        grep -q "^Wants=.*\b${unit##*/}" "$UNITS/tasker.target"
    done
    for unit in "$UNITS"/*.socket; do grep -q "^Wants=.*\b${unit##*/}" "$UNITS/tasker.target"; done
}

@test "units: systemd has nothing to say against them" {
    command -v systemd-analyze >/dev/null || skip "systemd is not here"
    mkdir units
    cp "$UNITS"/* units
    sed -i "s|/usr/local/bin|$TASKER_BIN|" units/*
    run -0 systemd-analyze verify --man=no units/tasker.target units/*.service units/*.socket
    [ -z "$output" ]
}

@test "units: what is enabled starts at boot: all by the target, a worker also by itself" {
    local unit
    command -v systemctl >/dev/null || skip "systemd is not here"
    for unit in tasker.target tasker-work.service; do
        mkdir -p "$unit/etc/systemd/system"
        cp "$UNITS"/* "$unit/etc/systemd/system"
        run -0 systemctl --root="$PWD/$unit" enable "$unit"
        [ -L "$unit/etc/systemd/system/multi-user.target.wants/$unit" ]
    done
}

@test "units: the store is in their own folder, unless the configuration file names one" {
    local unit line
    printf 'store: {url: "sqlite:%s"}\n' "$PWD/named.db" >tasker.yaml
    unset TASKER_STORE_URL
    for unit in "$UNITS"/tasker-*.service; do
        line=$(value_of "${unit##*/}" Environment)
        [ "/var/lib/$(value_of "${unit##*/}" StateDirectory)" = "$(value_of "${unit##*/}" WorkingDirectory)" ]
        run -69 env "${line//\/var\/lib/"$PWD/state"}" tasker-status store
        has "there is no store at $PWD/state/tasker/tasker.db yet" "$output"
        run -69 env "$line" tasker-status store --config tasker.yaml
        has "there is no store at $PWD/named.db yet" "$output"
    done
}

# Starts the service as its unit says, with the FIFOs of the sockets that it names.
start_unit() { # NAME
    local line in=/dev/null out=$1.stdout fd
    line=$(value_of "tasker-$1.service" ExecStart)
    fd=$(value_of "tasker-$1.service" StandardInput)
    [ -z "$fd" ] || in=${fd#fd:}
    fd=$(value_of "tasker-$1.service" StandardOutput)
    case $fd in fd:*) out=${fd#fd:} ;; esac
    read -ra line <<<"${line#/usr/local/bin/}"
    # both ends, as systemd holds them
    spawn "$1" bash -c 'in=$1 out=$2; shift 2; exec "$@" <>"$in" 1<>"$out"' - "$in" "$out" "${line[@]}"
}

# Stops it; to end as systemd takes for a failure is one.
stop_unit() { # NAME
    signal "$1" TERM
    finish "$1"
    [[ " 0 $(value_of "tasker-$1.service" SuccessExitStatus) " == *" $status "* ]] ||
        { echo "$1 ended with $status" >&2 && return 1; }
}

@test "units: wired as they say, a task goes through, also when stages are started again" {
    local socket stage
    endpoints
    store_begin sqlite
    mkdir store tasks
    printf 'handlers:\n  Echo: {command: [jq, -c, .sequence.previous_results]}\n' >handlers.yaml
    printf '  False: {command: ["false"]}\n' >>handlers.yaml
    printf '%s\n' 'name: bad' 'step_templates:' '  - {name: a, handler_class: False}' >tasks/bad.yaml
    printf '%s\n' 'name: two' 'step_templates:' '  - {name: a, handler_class: Echo}' \
        '  - {name: b, handler_class: Echo, depends_on_step: a}' >tasks/two.yaml
    export TASKER_TASKS_PATH=$PWD/tasks TASKER_WORKER_HANDLERS=$PWD/handlers.yaml
    for socket in "$UNITS"/*.socket; do
        mkfifo "$(value_of "${socket##*/}" FileDescriptorName)"
        [ "$(value_of "${socket##*/}" ListenFIFO)" = "/run/tasker/$(value_of "${socket##*/}" FileDescriptorName)" ]
    done
    exec {hold_batches}<>batches {hold_receipts}<>receipts
    for stage in ready publish collect reconcile work; do start_unit "$stage"; done
    tasker-submit -T two -x '{}' >submitted
    wait_until 20 tasks_are complete 1
    tasker-submit -T bad -x '{}' >submitted
    wait_until 20 tasks_are error 1
    for stage in publish collect ready reconcile; do
        stop_unit "$stage"
        start_unit "$stage"
    done
    tasker-submit -T two -x '{}' >submitted
    wait_until 20 tasks_are complete 2
    for stage in ready publish collect reconcile work; do
        stop_unit "$stage"
    done
    exec {hold_batches}>&- {hold_receipts}>&-
}
tasks_are() { [ "$(store_sql "select count(*) from tasks where state = '$1'")" = "$2" ]; } # STATE N

@test "crontab: the programs take what is in its lines" {
    local line program
    grep -c '^[*0-9]' "$ROOT/config/crontab" | grep -qx 5
    grep -o 'tasker-[a-z]* [^|>&;]*' "$ROOT/config/crontab" | grep -v '^tasker-[a-z]* *$' >lines
    [ "$(wc -l <lines)" -ge 8 ]
    while read -r program line; do
        [ -x "$TASKER_BIN/$program" ] || { echo "no $program in $TASKER_BIN" >&2 && return 1; }
        # shellcheck disable=SC2086 # its words
        run -0 "$program" $line --help
    done <lines
}
