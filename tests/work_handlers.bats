#!/usr/bin/env bats
# tasker-work: what tasker-work(1) says of handlers: what they are given, what they give back, how they end.
load helper
load work

@test "work: every row of the table of ends" {
    echo '  "Exit::*": {command: [/bin/sh, -c, "exit $TASKER_STEP_NAME"]}' >>handlers.yaml
    echo '  "Kill::*": {command: [/bin/sh, -c, "kill -$TASKER_STEP_NAME $$"]}' >>handlers.yaml
    echo '  "Again::*": {command: [/bin/sh, -c, "exit $TASKER_STEP_NAME"], retryable: true}' >>handlers.yaml
    worker -j 4
    py <<'END'
table = {}
for codes, category, retryable in (
        ((0,), None, False), ((64, 65, 66), "validation", False),
        ((68, 69, 71, 74), "infrastructure", True), ((75,), "retryable", True),
        ((77, 78, 126, 127), "permanent", False),
        ((1, 2, 63, 67, 70, 72, 73, 76, 79, 128, 143, 255), "business_logic", False)):
    for code in codes:
        table["Exit", code] = category, retryable
        table["Again", code] = category, retryable or category == "business_logic"
for number in (1, 2, 9, 10, 11, 13, 14, 15):
    table["Kill", number] = "infrastructure", True
keys = list(table)
c = run(*(step(i + 1, k[0] + "::X", str(k[1])) for i, k in enumerate(keys)))
for i, key in enumerate(keys):
    (kind, code), (category, retryable), m = key, table[key], c.final(i + 1)
    e = m["error"]
    assert m["execution_metadata"]["error_category"] == category, (key, m)
    assert m["retryable"] is retryable, (key, m)
    if category is None:
        assert m["status"] == "completed" and e is None, m
        continue
    assert m["status"] == "failed" and e["error_category"] == category, (key, m)
    assert e["retryable"] is retryable and e["type"] == e["error_type"], (key, m)
    if kind == "Kill":
        assert e["signal"] == code and "exit_status" not in e and e["error_type"] == "HandlerSignal", m
        assert e["message"].startswith("killed by signal %d (" % code), m
    else:
        assert e["exit_status"] == code and "signal" not in e and e["error_type"] == "HandlerExit", m
        assert e["message"] == "exit status %d" % code, m
done = c.completion()
assert done["completed_steps"] == 2 and done["failed_steps"] == len(keys) - 2, done
END
}

@test "work: a handler that is missing, not executable, not a program" {
    handler Good 'echo good'
    printf '  Missing: {command: [./missing]}\n  Denied: {command: [./denied]}\n' >>handlers.yaml
    printf '  Folder: {command: [./home]}\n  Garbage: {command: [./garbage]}\n  Gone: {command: [./gone, x]}\n' >>handlers.yaml
    printf '  Interpreter: {command: [./interpreter]}\n  NotInPath: {command: [no-such-program]}\n' >>handlers.yaml
    touch denied && printf 'echo no program\n' >garbage
    printf '#!/no/such/interpreter\n' >interpreter
    printf '#!/bin/sh\n' >gone
    chmod +x garbage interpreter gone
    worker
    wait_line work.err 'handler Missing: ./missing: No such file'
    wait_line work.err 'handler Garbage: ./garbage: it is text without a "#!" line'
    run -78 tasker-work -H handlers.yaml --check
    has 'handler Garbage: ./garbage: it is text without a "#!" line' "$output"
    rm gone
    run_steps Missing Denied Folder Garbage Gone Interpreter NotInPath Good
    is "$(of 1 '[.status,.error.error_category,.retryable,.error.error_type,.sequence]|@csv')" '"failed","permanent",false,"HandlerMissing",1'
    is "$(of 1 .error.message)" "cannot run ./missing: No such file or directory"
    is "$(of 2 .error.message)" "cannot run ./denied: Permission denied"
    is "$(of 3 .error.message)" "cannot run ./home: Permission denied"
    is "$(of 4 .error.message)" "cannot run ./garbage: Exec format error"
    is "$(of 5 .error.message)" "cannot run ./gone: No such file or directory"
    is "$(of 6 .error.error_type)" HandlerMissing
    is "$(of 7 .error.message)" "cannot run no-such-program: No such file or directory"
    is "$(jq -r 'select(.error)|.error.error_category' results | sort | uniq -c | xargs)" "7 permanent"
    is "$(of 8 .output)" good
    has "handler Gone: cannot run ./gone" work.err
}

@test "work: both interfaces, stdin to the byte, the environment, the folder, nothing else" {
    mkdir h
    cat >h/see <<'END'
#!/bin/sh
cat >"in.$TASKER_STEP_ID"
env | sort >"env.$TASKER_STEP_ID"
grep -E 'Sig(Ign|Blk)' /proc/self/status >"sig.$TASKER_STEP_ID"
pwd
END
    chmod +x h/see
    printf 'handlers:\n  Call: {command: [./see], interface: call}\n  Process: {command: [./see], interface: process}\n  Fds: {command: [ls, /proc/self/fd]}\n  Env: {command: [env]}\n' >h/registry
    TASKER_STEP_ID=old TASKER_BATCH_ID=old OWN=kept HOLE=x spawn work tasker-work -H h/registry 7</dev/null
    py <<'END'
more = dict(handler_config={"timeout_seconds": 9, "z": 1.50}, task_context={"order_id": 12345, "ü": "\u00e9\"\n"},
            previous_results={"fetch": {"total": 10}}, metadata={"sequence": 7, "total_steps": 9, "attempt": 2}, extra=[1, None, True])
one, two, bare = step(1, "Call", "näme one", **more), step(2, "Process", **more), step(3, "Call")
c = run(one, two, bare, step(4, "Fds"), step(5, "Env"))
task, sequence = {"task_id": 5, "context": more["task_context"]}, {"batch_id": "b1", "sequence": 7, "total_steps": 9, "previous_results": more["previous_results"]}
def read(n): return json.load(open("h/in.%d" % n))
assert read(1) == {"task": task, "sequence": sequence, "step": one}, read(1)
assert list(read(1)) == ["task", "sequence", "step"]
assert read(2) == two, read(2)
assert read(3) == {"task": {"task_id": 5, "context": {}},
                   "sequence": {"batch_id": "b1", "sequence": 3, "total_steps": 5, "previous_results": {}}, "step": bare}, read(3)
env = dict(l.split("=", 1) for l in lines("h/env.1") if "=" in l)
want = {"TASKER_BATCH_ID": "b1", "TASKER_TASK_ID": "5", "TASKER_STEP_ID": "1", "TASKER_STEP_NAME": "näme one",
        "TASKER_ATTEMPT": "2", "TASKER_IDEMPOTENCY_KEY": "5:1", "OWN": "kept", "HOLE": "x"}
assert {k: env.get(k) for k in want} == want, env
names = [l.split("=")[0] for l in c.final(5)["output"].splitlines() if l.startswith("TASKER_")]
assert len(names) == len(set(names)), names
assert c.final(1)["attempt"] == 2 and c.final(3)["attempt"] == 1
assert c.final(1)["output"] == os.getcwd() + "/h", c.final(1)
# glibc's posix_spawn, which make uses, leaves its own two signals (32, 33) ignored
assert all(int(l.split()[1], 16) & ~0x180000000 == 0 for l in lines("h/sig.1")), lines("h/sig.1")
assert c.final(4)["output"].split() == ["0", "1", "2", "3", "4"], c.final(4)  # 4 is that of ls
END
}

@test "work: the time limit is the step's, else its config's, else the handler's, else the worker's" {
    handler Own 'exit 0' 'timeout_ms: 7000'
    worker --step-timeout 9s
    py <<'END'
c = run(step(1, "Own", metadata={"timeout_ms": 5000}, handler_config={"timeout_seconds": 6}),
        step(2, "Own", handler_config={"timeout_seconds": 6.5}), step(3, "Own"), step(4, "True"))
assert [c.final(i)["execution_metadata"]["timeout_ms"] for i in (1, 2, 3, 4)] == [5000, 6500, 7000, 9000]
END
}

@test "work: an input over the limit, and an environment over the system's, start nothing" {
    worker --set worker.max_input=1K
    py <<'END'
c = run(step(1, "True", task_context={"x": "y" * 1100}), step(2, "True"))
assert c.final(1)["error"]["error_type"] == "InputTooLarge" and not c.final(1)["retryable"], c.final(1)
assert c.final(2)["status"] == "completed"
END
    signal work TERM
    finish_with 0 work
    worker
    py <<'END'
c = run(step(1, "True", "n" * 300000), step(2, "True"))
assert c.final(1)["error"]["error_type"] == "InputTooLarge", c.final(1)
assert c.final(2)["status"] == "completed"
END
}

@test "work: output is JSON if it parses, else text; empty, broken and large ones" {
    handler Json 'printf "%s" "{\"a\": [1, 2.50, null], \"b\": \"\\u00e9\"}"'
    handler Number 'echo 42'
    handler Null 'echo null'
    handler Text 'printf "two\nlines\n\n"'
    handler Several 'echo "{}"; echo "{}"'
    handler Huge 'echo 99999999999999999999'
    handler Utf8 'printf "a\377\200b\n"'
    handler Nul 'printf "a\0b"'
    handler Cut 'printf "%s" "long: \"$(printf %01003d 1)\"}"; exit 0'
    handler Half 'echo "{\"a\":1}"; exit 1'
    handler Closed 'exec 1>&- 2>&- 3>&-; exit 3'
    worker --max-output 500
    run_steps True Json Number Null Text Several Huge Utf8 Nul Cut Half Closed
    is "$(of 1 '[.output,.execution_metadata.output_bytes]')" '[null,0]'
    is "$(of 2 .output)" '{"a":[1,2.5,null],"b":"é"}'
    is "$(of 3 '.output|type')" number
    is "$(of 4 '.output|tostring')" null
    is "$(of 5 '.output|@json')" '"two\nlines\n"'
    is "$(of 6 '.output|@json')" '"{}\n{}"'
    is "$(of 7 '.output|type')" number
    has '"output": 99999999999999999999,' results
    is "$(of 8 '.output|@json')" '"a��b"'
    is "$(of 9 '.output|@json')" '"a\u0000b"'
    is "$(of 10 '[(.output|type),(.output|length),.status]')" '["string",500,"completed"]'
    is "$(of 10 '.execution_metadata|[.output_truncated,.output_bytes,.output_kept_bytes]')" '[true,1012,500]'
    is "$(of 11 '[.status,.output]')" '["failed",{"a":1}]'
    is "$(of 12 '[.status,.error.exit_status,.output]')" '["failed",3,null]'
}

@test "work: output that is beyond a limit, or no JSON although it may be meant so" {
    local deep objects
    deep=$(printf '[%.0s' {1..80})$(printf ']%.0s' {1..80})
    objects='{"a":"'$(printf %0600d 1)'"}'
    handler Deep "echo '{\"create_steps\":[\"x\"],\"deep\":$deep}'"
    handler Large "echo '$objects'"
    handler LargeText "echo 'text $objects'" 'output: text'
    handler Message "printf '{\"a\":\"%03600d\"}' 1"
    handler Nul 'printf "%s" "{\"a\\u0000b\":1}"'
    handler Half 'echo "{\"a\": [1,"'
    handler Prose 'echo "loading"; echo "{\"a\": 1}"'
    handler Prefix 'echo "INFO {\"a\": 1}"'
    handler Log 'echo "[INFO] {done}"'
    handler Words 'echo "a [list] of {words}"'
    handler Fails 'echo "{\"a\": [1,"; exit 75'
    handler JsonHalf 'echo "{\"a\": [1,"' 'output: json'
    handler JsonWords 'echo words' 'output: json, retryable: true'
    handler JsonLarge "echo '    $objects'" 'output: json'
    handler JsonNone 'exit 0' 'output: json'
    handler Json 'echo " {\"a\": 18446744073709551616} "' 'output: json'
    handler Text 'echo "{\"a\": 1}"' 'output: text'
    handler TextHalf 'echo "{\"a\": [1,"' 'output: text'
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=4K
    worker --max-output 500
    run_steps Deep Large LargeText Nul Half Prose Prefix Log Words Fails JsonHalf JsonWords JsonLarge \
        JsonNone Json Text TextHalf Half
    refused() { of "$1" '[.status,.error.error_type,.error.error_category,.retryable,.error.message,(.output|type)]|@json'; }
    is "$(refused 1)" '["failed","OutputRefused","validation",false,"JSON is nested deeper than 64","string"]'
    is "$(refused 2)" '["failed","OutputTooLarge","validation",false,"its output of 609 bytes is over worker.max_output (500)","string"]'
    is "$(of 3 '[.status,(.output|length),.execution_metadata.output_truncated]|@json')" '["completed",500,true]'
    is "$(refused 4)" '["failed","OutputRefused","validation",false,"a name with a NUL (\\u0000) at byte 2","string"]'
    warned() { of "$1" '[.status,.output,.execution_metadata.output_warning]|@json'; }
    is "$(warned 5)" '["completed","{\"a\": [1,","begins as JSON and is none: malformed JSON: it ends in the middle; it is taken as text"]'
    is "$(warned 6)" '["completed","loading\n{\"a\": 1}","has something before its JSON; it is taken as text"]'
    is "$(warned 7)" '["completed","INFO {\"a\": 1}","has something before its JSON; it is taken as text"]'
    is "$(warned 8)" '["completed","[INFO] {done}",null]'
    is "$(warned 9)" '["completed","a [list] of {words}",null]'
    is "$(of 10 '[.status,.error.error_type,.retryable]|@json')" '["failed","HandlerExit",true]'
    is "$(refused 11)" '["failed","OutputNotJson","validation",false,"its output is not JSON: malformed JSON: it ends in the middle","string"]'
    is "$(refused 12)" '["failed","OutputNotJson","validation",false,"its output is not JSON: malformed JSON at byte 1: unexpected character","string"]'
    is "$(of 13 .error.error_type)" OutputTooLarge
    is "$(of 14 '[.status,.output]|@json')" '["completed",null]'
    is "$(of 15 '[.status,(.output|type)]|@json')" '["completed","object"]'
    is "$(of 16 '[.status,.output]|@json')" '["completed","{\"a\": 1}"]'
    is "$(warned 17)" '["completed","{\"a\": [1,",null]'
    is "$(grep -c 'handler Half: .*its output begins as JSON and is none' work.err)" 1
    is "$(grep -c 'taken as text' work.err)" 4
    signal work TERM
    finish_with 0 work
    worker --max-output 5000
    run_steps Message
    is "$(of 1 '[.status,.error.error_type,.error.message]|@json')" '["failed","OutputTooLarge","its output is too long for zeromq.max_message_bytes"]'
}

@test "work: 100 MB of output and of stderr hold nothing up and are cut" {
    handler Flood 'head -c 100000000 /dev/zero | tr "\0" x'
    handler Errors 'head -c 30000000 /dev/zero | tr "\0" "\n" >&2; seq 100000 >&2; exit 1'
    worker
    run_steps Flood Errors
    is "$(of 1 '[.status,(.output|length),.execution_metadata.output_bytes,.execution_metadata.output_truncated]')" '["completed",1048576,100000000,true]'
    is "$(of 2 '.error.backtrace|[length,.[0],.[-1]]')" '[20,"99981","100000"]'
    # its memory stays far below what it was given
    grep -Eqs 'libasan|vgpreload' "/proc/${PIDS[work]}/maps" ||
        [ "$(awk '/VmHWM/ {print $2}' "/proc/${PIDS[work]}/status")" -lt 60000 ]
}

@test "work: stderr becomes the backtrace of a failure, and is kept of a success" {
    handler Fail 'echo "first" >&2; printf "last \377" >&2; exit 1'
    handler Fine 'echo "only a remark" >&2'
    worker
    run_steps Fail Fine True
    is "$(of 1 '.error.backtrace|@json')" '["first","last �"]'
    is "$(of 2 '[.status,.error,.execution_metadata.stderr]')" '["completed",null,"only a remark\n"]'
    is "$(of 3 '.execution_metadata.stderr|tostring')" null
    is "$(of 1 '.execution_metadata.resources|keys|join(" ")')" 'max_rss_kb system_ms user_ms'
    is "$(of 1 '.execution_metadata|[.handler_class,.retry_limit,.handler_config,.error_category]')" '["Fail",3,{},"business_logic"]'
    has T "$(of 1 .execution_metadata.started_at)"
}

@test "work: descriptor 3: errors" {
    handler Full 'echo "{\"error\":{\"message\":\"bank closed\",\"error_type\":\"BankClosed\",\"error_category\":\"retryable\",\"retry_after\":1.5,\"code\":[7]}}" >&3; echo trace >&2; exit 1'
    handler Zero 'echo "{\"error\":{\"message\":\"no\",\"error_category\":\"permanent\"}}" >&3; exit 0'
    handler As 'echo "{\"error\":{\"message\":\"as the exit says\"}}" >&3; exit 75'
    handler NoNewline 'printf "%s" "{\"error\":{\"message\":\"x\",\"error_category\":\"permanent\",\"retryable\":true}}" >&3; exit 65'
    handler Last 'echo "{\"error\":{\"message\":\"one\"}}" >&3; echo "{\"error\":{\"message\":\"two\"}}" >&3; exit 1'
    handler Text 'echo "{\"error\":\"just words\"}" >&3; exit 65'
    handler Wrong 'echo "{\"error\":{\"message\":7,\"error_category\":[],\"retryable\":\"x\",\"retry_after\":\"soon\"}}" >&3; exit 69'
    handler Garbage 'for i in 1 2 3 4 5 6 7 8 9; do echo "what" >&3; done; head -c 200000 /dev/zero | tr "\0" x >&3; echo >&3; echo "{}" >&3; echo "[]" >&3; echo "{\"error\":{\"message\":\"after all\"}}" >&3; exit 1'
    handler Killed 'echo "{\"error\":{\"message\":\"m\",\"error_category\":\"timeout\"}}" >&3; kill -9 $$'
    handler Nul 'printf "%s\n" "{\"error\":{\"message\":\"a\\u0000b\",\"error_type\":\"E\\u0000F\",\"error_category\":\"permanent\"}}" >&3; exit 75'
    handler NulName 'printf "%s\n" "{\"error\":{\"message\":\"m\",\"co\\u0000de\":1}}" >&3; exit 75'
    worker
    run_steps Full Zero As NoNewline Last Text Wrong Garbage Killed Nul NulName
    is "$(of 1 '[.status,.retryable,.error.message,.error.error_type,.error.type,.error.error_category,.error.retryable,.error.retry_after_ms,.error.exit_status,.error.code,.error.backtrace]')" \
        '["failed",true,"bank closed","BankClosed","BankClosed","retryable",true,1500,1,[7],["trace"]]'
    is "$(of 1 .execution_metadata.error_category)" retryable
    is "$(of 2 '[.status,.retryable,.error.error_category,.error.exit_status]')" '["failed",false,"permanent",0]'
    is "$(of 3 '[.error.message,.error.error_category,.retryable]')" '["as the exit says","retryable",true]'
    is "$(of 4 '[.error.message,.error.error_category,.retryable]')" '["x","permanent",true]'
    is "$(of 5 '.error.message')" two
    is "$(of 6 '[.error.message,.error.error_category]')" '["just words","validation"]'
    is "$(of 7 '[.status,.error.error_category,.retryable]')" '["failed","infrastructure",true]'
    is "$(of 8 '.error.message')" "after all"
    is "$(of 9 '[.error.error_category,.retryable,.error.signal]')" '["timeout",true,9]'
    is "$(of 10 '[.error.message,.error.error_type,.error.error_category]|@json')" '["a\u0000b","HandlerError","permanent"]'
    has 'step 10: descriptor 3: error_type holds a NUL and is left out' work.err
    has 'step 11: descriptor 3: a name with a NUL (\u0000) at byte' work.err
    is "$(grep -c 'step 8: descriptor 3' work.err)" 1
    has "step 8: descriptor 3: malformed JSON" work.err
}

@test "work: in_progress first, progress as it comes, sequence and offset by one, one completion" {
    handler Progress 'echo "{\"progress\":{\"done\":1}}" >&3; echo "{\"progress\":2}" >&3; echo "{\"progress\":3}" >&3; read -r x <go; echo "{\"progress\":4}" >&3; echo out'
    mkfifo go
    worker -j 3
    peer all <<'END'
plain = Collector(None)
plain.wait_status()
c, p = Collector(), Publisher().wait_worker()
p.send(batch("b1", "Progress", "True", "True"))
until(lambda: any(m.get("progress") == 3 for m in c.partials(1)), "progress")
go()
c.completion()
first = c.partials(1)
assert first[0]["status"] == "in_progress" and "progress" not in first[0], first
assert [m["progress"] for m in first if "progress" in m][:2] == [{"done": 1}, 3], first
assert all(m["status"] == "in_progress" for m in first[:-1]) and first[-1]["output"] == "out", first
for i in (1, 2, 3):
    assert [m["sequence"] for m in c.partials(i)] == list(range(1, len(c.partials(i)) + 1))
for i in (2, 3):
    assert [m["status"] for m in c.partials(i)] == ["in_progress", "completed"]
p.send(batch("b2", "True", "True"))
c.completion("b2")
plain.completion("b2")
offsets = [m["offset"] for m in c.seen]
assert offsets == list(range(1, len(offsets) + 1)), offsets
assert [m["offset"] for m in plain.seen] == offsets, "a plain one hears the same, once"
assert len({m["source"] for m in c.seen}) == 1 and len(first[0]["source"]) == 36
done = c.of("batch_completion")
assert [m["batch_id"] for m in done] == ["b1", "b2"] and c.seen[-1] is done[1]
d = done[0]
assert (d["protocol_version"], d["total_steps"], d["completed_steps"], d["failed_steps"], d["in_progress_steps"]) == ("2.0", 3, 3, 0, 0), d
assert [s["step_id"] for s in d["step_summaries"]] == [1, 2, 3], d
assert all(s["final_status"] == "completed" and s["worker_id"] == "w1" and s["attempt"] == 1 and s["execution_time_ms"] >= 0
           for s in d["step_summaries"]), d
assert d["total_execution_time_ms"] >= d["step_summaries"][0]["execution_time_ms"] and "completed_at" in d, d
m = c.final(2)
assert (m["task_id"], m["step_name"], m["worker_id"], m["attempt"], m["error"], m["retryable"]) == (5, "s", "w1", 1, None, False), m
END
    finish_with 0 all
}
