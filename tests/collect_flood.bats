#!/usr/bin/env bats
# tasker-collect: many results at once must not overtake the receipts that lie on the input.
load helper

setup() {
    test_begin
    endpoints
    export PYTHONPATH=$BATS_TEST_DIRNAME PYTHONDONTWRITEBYTECODE=1
}

# 150 batches of one step, each with 100 partial results and a completion: more than is ever held.
flood() {
    cat >flood.py <<END
import os
from collect_peer import *
w = Bare("$TASKER_ZEROMQ_RESULT_ENDPOINT")
w.wait_subscribed()
open("met", "w").close()
w.until(lambda: os.path.exists("go"))
for b in range(150):
    for s in range(1, 101):
        w.say("partial_result", {"batch_id": "b%d" % b, "step_id": 1, "sequence": s,
                                 "status": "completed" if s == 100 else "in_progress"})
    w.say("batch_completion", {"batch_id": "b%d" % b, "total_steps": 1})
open("sent", "w").close()
w.until(lambda: os.path.exists("end"), 30)
w.close()
END
    spawn flood /usr/bin/python3 flood.py
}

# Receipts so long that one read of the input has hardly one of them.
make_receipts() {
    awk 'BEGIN {
        while (length(pad) < 60000) pad = pad "0123456789"
        for (b = 0; b < 150; b++)
            printf "{\"message_type\":\"batch_published\",\"batch_id\":\"b%d\",\"total_steps\":1," \
                "\"step_ids\":[1],\"pad\":\"%s\"}\n", b, pad
    }'
}

@test "collect: a flood of results does not overtake receipts that can be read" {
    make_receipts >receipts
    flood
    # the receipts are looked at when stdin has ended, and by then all results are under way
    mkfifo in && exec {IN}<>in
    spawn c tasker-collect - receipts <in {IN}>&-
    wait_until 10 test -e met
    signal c STOP
    touch go
    wait_until 20 test -e sent
    exec {IN}>&-
    signal c CONT
    finish_with 0 c
    touch end
    finish_with 0 flood
    [ "$(grep -c '"partial_result"' c.out)" -eq 15000 ]
    [ "$(grep -c '"batch_completion"' c.out)" -eq 150 ]
    [ ! -s c.err ]
}
