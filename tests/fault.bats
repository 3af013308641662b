#!/usr/bin/env bats
# The programs among faults, in the short form; "make check-faults" is the long one. A seed that
# fails is printed: tests/fault/run --seed N -v --keep, and the same of tests/fault/crash.
load helper

fault() { timeout 500 "$ROOT/tests/fault/run" --steps 500 --seconds 6 "$@"; }

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

# A machine that is busy elsewhere may have nothing on its way whenever a link is lost.
loss_seen() { # SEED
    run fault --seed "$1" --only link_lose --no-replay
    [ "$status" -eq 1 ]
}

@test "fault: a loss would be seen: without replay the run fails" {
    loss_seen 2 || loss_seen 4 || loss_seen 5 || loss_seen 6
    [[ $output =~ "no result, and nobody said so"|"it has them no more"|"told to end in the calm: 75" ]]
}

@test "fault: what outboxes that are too small lose is exactly what is reported" {
    fault --outbox 10 --window 300
}

# ---- the store

crash() { timeout 500 "$ROOT/tests/fault/crash" "$@"; }

@test "crash: programs killed at random moments lose nothing of the store: SQLite" {
    crash --kills 45
}

@test "crash: the same, and the server stopped at once, on PostgreSQL" {
    crash --kills 45 --store postgresql
}

early_seen() { # SEED; a busy machine may kill nothing between the confirmation and the commit
    run crash --seed "$1" --kills 60 --early
    [ "$status" -eq 1 ]
}

@test "crash: a loss would be seen: confirmed before it is written, the run fails" {
    early_seen 2 || early_seen 3 || early_seen 4
    [[ $output == *"not in the ledger once"* ]]
}
