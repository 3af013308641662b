#!/usr/bin/env bats
# The programs among faults, in the short form; "make check-faults" is the long one. A seed that
# fails is printed: tests/fault/run --seed N -v --keep.
load helper

setup_file() { export BATS_TEST_TIMEOUT=180; }

fault() { timeout 150 "$ROOT/tests/fault/run" --steps 500 --seconds 6 "$@"; }

@test "fault: nothing is lost, a known seed" {
    fault --seed 3
}

@test "fault: nothing is lost, another seed each time" {
    fault
}

@test "fault: nothing is lost on cables that are pulled out" {
    status=0
    fault --net netns || status=$?
    [ "$status" -ne 77 ] || skip "no network namespaces here"
    [ "$status" -eq 0 ]
}

@test "fault: a loss would be seen: without replay the run fails" {
    run -1 fault --seed 2 --only link_lose --no-replay
    [[ $output == *"no result, and nobody said so"* || $output == *"it does not have them"* ]]
}

@test "fault: what outboxes that are too small lose is exactly what is reported" {
    fault --outbox 10 --window 300
}
