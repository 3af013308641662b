#!/usr/bin/env bats
# The demo, as "make demo" runs it after the build.
load helper

@test "demo: both inputs go through, with a table" {
    run -0 "$ROOT/config/demo/run"
    has "steps run by worker-1: " "$output"
    [[ $output != *"not confirmed"* ]] # every result was confirmed
    has "order-12346: consistent, 4 steps, 3 completed, 1 failed" "$output"
    has "order-12347: consistent, 4 steps, 4 completed" "$output"
    [[ $output == *"bytes, more than 20000"* ]]
    local text
    for text in /usr/share/common-licenses/GPL-3 /usr/share/common-licenses/BSD; do
        [ ! -f "$text" ] || has "$(sha256sum "$text" | cut -c 1-16)" "$output"
    done
}

@test "demo: the steps it makes are JSON, one for each text and handler" {
    printf 'one two\nthree\n' >'a text'
    run -0 "$ROOT/config/demo/texts" "$PWD/a text" "$ROOT/LICENSE"
    [ "${#lines[@]}" -eq 8 ]
    [ "$(jq -r .task_context.path <<<"$output" | grep -cFx "$PWD/a text")" -eq 4 ]
    run -0 "$ROOT/config/demo/text" count <<<"${lines[0]}"
    [ "$output" = '{"lines":2,"words":3,"bytes":14}' ]
    run -65 "$ROOT/config/demo/text" fits 13 <<<"${lines[0]}"
    run -66 "$ROOT/config/demo/text" count <<<'{"path":"/nowhere"}'
}

@test "demo: ended by a signal it leaves nothing running and no files" {
    spawn demo env TMPDIR="$PWD/tmp" "$ROOT/config/demo/run"
    wait_line demo.out 'tasker-reconcile' 10
    signal demo TERM
    finish demo
    [ "$status" -eq 143 ] || [ "$status" -eq 0 ]
    [ -z "$(ls tmp)" ]
}

loop_begin() {
    endpoints
    export TASKER_STORE_URL=sqlite:$PWD/store.db
    # a group of its own with the signals as at a terminal
    spawn loop setsid env --default-signal=INT TASKER_BIN="$TASKER_BIN" "$ROOT/config/demo/loop"
    (cd "$ROOT" && tasker-submit config/demo/orders.jsonl) >tasks
    wait_line loop.out '"verdict":"consistent"' 20
}

@test "demo: the loop of services is ended by Ctrl-C, quietly and whole" {
    loop_begin
    kill -s INT -- "-${PIDS[loop]}"
    finish_with 0 loop
    [ ! -s loop.err ] || { cat loop.err && false; }
    [ -z "$(ls tmp)" ]
}

@test "demo: the loop of services ends when a stage does, and says which" {
    local pid
    loop_begin
    pid=$(pgrep -P "${PIDS[loop]}" -x tasker-work)
    kill -s KILL "$pid"
    finish_with 137 loop
    has "loop: tasker-work has ended, with status 137" loop.err
    [ -z "$(ls tmp)" ]
}
