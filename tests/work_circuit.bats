#!/usr/bin/env bats
# tasker-work: circuit breakers, one for each handler_class.
load helper
load work

setup() {
    work_begin
    # fails with what is in the file, if there is one
    handler Db '[ ! -e down ] || { echo "no database" >&2; exit "$(cat down)"; }; echo ran >>ran'
    handler Data 'exit 65'
}

# circuits: the open ones, as the worker tells them
circuits() { tasker-status workers -f json 2>/dev/null | jq -c "$1"; }

open_ones() { [ "$(circuits '[.open_circuits[].handler_class]')" = "$1" ]; }

@test "work: a circuit opens, its steps come back at once, and it closes when the handler works" {
    echo 69 >down
    worker -v -j 1 --circuit-failures 3 --circuit-reset 5s
    run_steps Db Data Db Data Db True Db Db # a step may have started before the third is seen to fail
    is "$(of 5 .error.error_type)" HandlerExit
    is "$(of 6 .status)" completed
    wait_line work.err 'warning: handler Db: 3 failures in a row, the last: exit status 69: no database: none of its steps is started for 5.0 s'
    is "$(of 7 '[.status,.retryable,.error.error_type,.error.error_category,.error.retryable,.execution_metadata.error_category,.sequence]')" \
        '["failed",true,"CircuitOpen","infrastructure",true,"infrastructure",1]'
    is "$(of 7 '.error.retry_after_ms > 0 and .error.retry_after_ms <= 5000')" true
    has 'not started: handler Db has failed 3 times in a row, and is not tried again until 20' "$(of 7 .error.message)"
    is "$(of 8 .error.error_type)" CircuitOpen
    # it still fails: the trial opens it again, for longer
    wait_until 10 failed_trial
    wait_line work.err 'warning: handler Db: 4 failures in a row, the last: .*: none of its steps is started for 10.0 s'
    # it is mended: the trial closes it
    rm down
    wait_until 10 closed
    wait_line work.err 'info: handler Db works again'
    open_ones '[]'
    : >ran
    BATCH=last run_steps Db Db Db
    is "$(of 3 .status)" completed
    [ "$(wc -l <ran)" -eq 3 ]
}

# Tries a step; whether it was a trial that failed, or one that succeeded.
failed_trial() { try && [ "$(of 1 .error.error_type)" = HandlerExit ]; }
closed() { try && [ "$(of 1 .status)" = completed ]; }
try() { trial=$((${trial:-0} + 1)) && nap 1 && BATCH=try$trial run_steps Db; }

@test "work: of steps that are ready none starts once a circuit is open" {
    local how i
    handler Once 'echo ran >>ran; exit 69'
    handler Said 'echo ran >>ran; echo "{\"error\":{\"error_category\":\"infrastructure\"}}" >&3'
    handler Late 'echo ran >>ran; trap "exit 0" TERM; read -r x <never' 'timeout_ms: 50'
    mkfifo never
    exec 8<>never
    worker -j 1 --circuit-failures 1 --circuit-reset 60s 8>&-
    for how in Once Said Late; do
        : >ran
        BATCH=$how run_steps $how $how $how $how True $how $how $how $how $how
        is "$(of 1 .error.error_category)" "$([ $how = Late ] && echo timeout || echo infrastructure)"
        for i in 2 3 4 6 7 8 9 10; do is "$(of $i .error.error_type)" CircuitOpen; done
        is "$(of 5 .status)" completed
        # what is out of time may be so before it began
        [ "$(wc -l <ran)" -eq 1 ] || { [ $how = Late ] && [ ! -s ran ]; }
    done
}

@test "work: an open circuit is shown by tasker-status workers" {
    echo 71 >down
    worker -j 2 --circuit-failures 2 --circuit-reset 60s
    run_steps True
    wait_until 10 open_ones '[]'
    BATCH=b2 run_steps Db Db True
    wait_until 10 open_ones '["Db"]'
    is "$(circuits '.open_circuits[0]|[.failures,.retry_in_ms>50000,.retry_in_ms<=60000]')" '[2,true,true]'
    tasker-status workers >text
    is "$(awk 'NR == 2 { print $11 }' text)" Db
}

@test "work: bad data, other classes, stopped steps and a threshold of 0 open no circuit" {
    local i
    handler Time 'read -r x <never' 'timeout_ms: 10'
    mkfifo never
    handler Logic 'exit 1'
    worker -j 4 --circuit-failures 2
    run_steps Data Data Data Logic Logic Logic Data Time True
    open_ones '[]'
    BATCH=b2 run_steps Time # the second in a row of its class
    wait_until 10 open_ones '["Time"]'
    signal work TERM
    finish_with 0 work
    echo 69 >down
    worker -j 1 --circuit-failures 0
    BATCH=b3 run_steps Db Db Db Db Db Db Db Db Db Db Db Db
    for ((i = 1; i <= 12; i++)); do is "$(of "$i" .error.error_type)" HandlerExit; done
    open_ones '[]'
}
