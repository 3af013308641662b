#!/usr/bin/env bats
# tasker-work: bad input, by two tables: command line and registry; what peers send.
load helper
load work

@test "work: bad command lines, configuration and registries, a table" {
    mkdir folder
    printf 'handlers:\n  A: {command: [true]}\n' >good
    printf 'handlers:\n  A: {comand: [true]}\n' >near
    printf 'handler:\n  A: {command: [true]}\n' >top
    printf 'handlers:\n  A: {command: "true -x"}\n' >shell
    printf 'handlers:\n  A: {command: []}\n' >empty
    printf 'handlers:\n  A: {command: [[a]]}\n' >nested
    printf 'handlers:\n  A: {command: [""]}\n' >noname
    printf 'handlers:\n  A: {timeout_ms: 5}\n' >none
    printf 'handlers:\n  A: true\n' >scalar
    printf 'handlers: []\n' >list
    printf '# a list\n- a\n' >sequence
    : >nothing
    printf 'handlers:\n' >nohandlers
    printf 'handlers:\n  A: {command: [true]}\n  A: {command: [false]}\n' >twice
    printf 'handlers:\n  "": {command: [true]}\n' >anonymous
    printf 'handlers:\n  A:\n    command: [true]\n    timeout_ms: -1\n' >limit
    printf 'handlers:\n  A: {command: [true], timeout_ms: 99999999999999999999}\n' >huge
    printf 'handlers:\n  A: {command: [true], mode: stream}\n' >mode
    printf 'handlers:\n  A: {command: [true], interface: none}\n' >interface
    printf 'handlers:\n  A: {command: [true], retryable: maybe}\n' >retryable
    printf 'handlers:\n  A: {command: [true], retryable: [1]}\n' >retrylist
    printf 'handlers:\n  A: {command: [true], output: yaml}\n' >output
    printf 'handlers:\n  A: {command: [true}\n' >syntax
    printf 'handlers:\n\tA: {command: [true]}\n' >tab
    printf 'handlers:\n  A\377: {command: [true]}\n' >utf8
    printf 'handlers:\n  A: {command: [./absent]}\n  B: {command: [./good]}\n  C: {command: [no-such-program]}\n' >missing
    printf 'handlers:\n  A: {command: [./folder]}\n' >dir
    printf 'worker:\n  max_wrokers: 3\n' >key.yaml
    py <<<'s = ctx.socket(zmq.XPUB); s.bind("tcp://127.0.0.1:*"); open("x", "w")'
    peer holder <<<'Collector(bind=True); open("held", "w"); until(lambda: False, "", 80)'
    wait_until 10 test -e held
    printf 'handlers: &h\n  A: {command: [*h]}\n' >self
    run_case_table tasker-work <<'END'
unknown option             | --max-wrokers 1                    | - | 64 | unknown option --max-wrokers (did you mean --max-workers?)
operand                    | -H good file                       | - | 64 | unexpected operand "file"
option without its value   | -H                                 | - | 64 | option -H needs a value
no registry                |                                    | - | 78 | no handler registry: set worker.handlers or give --handlers FILE
registry that is not there | -H absent                          | - | 78 | absent: No such file
registry is a folder       | -H folder                          | - | 78 | folder:
max-workers of none        | -H good -j 0                       | - | 64 | --max-workers
max-workers not a number   | -H good -j x                       | - | 64 | "x"
max-workers over 64 bits   | -H good -j 99999999999999999999    | - | 64 | --max-workers
bad id                     | -H good --id 'a b'                 | - | 64 | "a b"
long id                    | -H good --id "$(printf %0101d 1)"  | - | 64 | --id
bad duration               | -H good --kill-grace 5x            | - | 64 | 5x
negative duration          | -H good --step-timeout -1s         | - | 64 | --step-timeout
bad size                   | -H good --max-output 1Q            | - | 64 | 1Q
endpoint that is none      | -H good --batch-endpoint nowhere   | - | 64 | nowhere
endpoint without port      | -H good --result-endpoint tcp://127.0.0.1 | - | 64 | 127.0.0.1
no such interface          | -H good --result-endpoint tcp://192.0.2.77:1 | - | 69 | 192.0.2.77
list where it binds        | -H good --result-endpoint tcp://127.0.0.1:1,tcp://127.0.0.1:2 | - | 78 | one endpoint
sockets not allowed        | -H good --set zeromq.enabled=false | - | 78 | zeromq.enabled
port in use, said by whom  | -H good                            | - | 75 | python3 (pid
unknown key                | -H good -c key.yaml                | - | 78 | key.yaml:2: unknown key
nearest key                | -H good -c key.yaml                | - | 78 | did you mean "worker.max_workers"?
unknown key by --set       | -H good --set worker.x=1           | - | 64 | worker.x
configuration not there    | -H good -c absent.yaml             | - | 78 | absent.yaml
registry: unknown key      | --check -H near                    | - | 78 | near:2: unknown key "comand" (did you mean "command"?)
registry: unknown section  | --check -H top                     | - | 78 | top:1: unknown key "handler" (did you mean "handlers"?)
registry: a shell line     | --check -H shell                   | - | 78 | shell:2: command must be a list
registry: empty command    | --check -H empty                   | - | 78 | empty:2: command is empty
registry: list in a list   | --check -H nested                  | - | 78 | nested:2: command must be a list of texts
registry: empty program    | --check -H noname                  | - | 78 | noname:2: command
registry: no command       | --check -H none                    | - | 78 | none:2: command is missing
registry: a word           | --check -H scalar                  | - | 78 | scalar:2: a handler must be a mapping
registry: a list           | --check -H list                    | - | 78 | list:1: handlers must be a mapping
registry: a list at the top | --check -H sequence               | - | 78 | sequence:2: a handler registry must be a mapping
registry: empty file       | --check -H nothing                 | - | 78 | nothing: no handlers in it
registry: no handlers      | --check -H nohandlers              | - | 78 | nohandlers
registry: class twice      | --check -H twice                   | - | 78 | twice:3:
registry: empty class      | --check -H anonymous               | - | 78 | anonymous:2: a handler_class is empty
registry: negative limit   | --check -H limit                   | - | 78 | limit:4: timeout_ms
registry: limit over 64 bits | --check -H huge                  | - | 78 | huge:2: timeout_ms
registry: unknown mode     | --check -H mode                    | - | 78 | mode:2: mode "stream" is not supported
registry: bad interface    | --check -H interface               | - | 78 | interface:2: "none" is neither call nor process
registry: bad flag         | --check -H retryable               | - | 78 | retryable:2: "maybe" is neither false nor true
registry: bad output       | --check -H output                  | - | 78 | output:2: output: "yaml" is not allowed here (can be: auto, json, text)
registry: flag of a list   | --check -H retrylist               | - | 78 | retrylist:2: retryable must be text
registry: YAML syntax      | --check -H syntax                  | - | 78 | syntax:2: wrong YAML at column
registry: alias in itself  | --check -H self                    | - | 78 | self:2: an alias to a node that contains it
registry: a tab            | --check -H tab                     | - | 78 | tab:2:
registry: invalid UTF-8    | --check -H utf8                    | - | 78 | utf8:
handler missing            | --check -H missing                 | - | 78 | missing:2: handler A: ./absent: No such file
handler not in PATH        | --check -H missing                 | - | 78 | missing:4: handler C: no-such-program: No such file
handler not executable     | --check -H missing                 | - | 78 | missing:3: handler B: ./good: Permission denied
handler missing, quietly   | --check -q -H missing              | - | 78 | error: missing:4: handler C:
handler a folder           | --check -H dir                     | - | 78 | handler A: ./folder: Permission denied
all is well                | --check -H good                    | - | 0  |
END
}

@test "work: hostile batches are refused with a reason, and the next is run" {
    worker --set zeromq.max_message_bytes=64K
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
c.wait_status()
ok = step(1, "True")
def with_(**more): return batch("h", dict(ok, **more))
def raw(**more): return json.dumps(with_(**more)).encode()
cases = [  # name, message, text of the reason, whether it has a batch_id to answer for
    ("nothing", b"", "malformed JSON", 0),
    ("half an object", b'{"batch_id":"h","steps":[', "malformed JSON", 1),
    ("no JSON", b"hello", "malformed JSON", 0),
    ("two objects", b"{} {}", "malformed JSON", 0),
    ("an array", b"[]", "not a JSON object", 0),
    ("null", b"null", "not a JSON object", 0),
    ("a NUL byte", b'{"batch_id":"h",\0"steps":[]}', "malformed JSON", 1),
    ("invalid UTF-8", b'{"batch_id":"h","x":"\xff\xfe"}', "invalid UTF-8", 1),
    ("too deep", b'{"batch_id":"h","x":' + b"[" * 80 + b"]" * 80 + b"}", "nest", 1),
    ("too deep before its batch_id", b'{"steps":[{"batch_id":"other","x":' + b"[" * 80 + b"]" * 80 + b'}],"batch_id":"h"}', "nest", 1),
    ("NUL before its batch_id", b'{"steps":[{"batch_id":"other","a\\u0000":1}],"batch_id":"h"}', "a name with a NUL", 1),
    ("too long before its batch_id", b'{"steps":[{"batch_id":"other","x":"' + b"y" * 70000 + b'"}],"batch_id":"h"}', "is over max_message_bytes", 1),
    ("too deep, and no batch_id", b'{"steps":[{"batch_id":"other","x":' + b"[" * 80 + b"]" * 80 + b"}]}", "nest", 0),
    ("half, with a batch_id within", b'{"steps":[{"batch_id":"other"', "malformed JSON", 0),
    ("no batch_id", {"steps": [ok]}, "batch_id", 0),
    ("batch_id a number", {"batch_id": 7, "steps": [ok]}, "batch_id", 0),
    ("batch_id empty", batch("", ok), "batch_id", 0),
    ("batch_id with a space", batch("a b", ok), "batch_id", 0),
    ("batch_id long", batch("x" * 129, ok), "batch_id", 0),
    ("over 64 bits", raw().replace(b'"step_id": 1', b'"step_id": 99999999999999999999'), "step_id is not an integer", 1),
    ("no steps", {"batch_id": "h"}, "steps is missing", 1),
    ("steps an object", {"batch_id": "h", "steps": {}}, "steps is not an array", 1),
    ("steps empty", batch("h"), "steps is empty", 1),
    ("a step a number", {"batch_id": "h", "steps": [7]}, "step 1: the step is not an object", 1),
    ("step_id missing", {"batch_id": "h", "steps": [{}]}, "step 1: step_id is missing", 1),
    ("step_id a text", with_(step_id="1"), "step_id is not an integer", 1),
    ("step_id zero", with_(step_id=0), "step_id is not positive", 1),
    ("step_id negative", with_(step_id=-5), "step_id is not positive", 1),
    ("step_id a fraction", with_(step_id=1.5), "step_id is not an integer", 1),
    ("task_id missing", with_(task_id=None), "task_id is missing", 1),
    ("step_name empty", with_(step_name=""), "step_name is empty", 1),
    ("step_name with a NUL", with_(step_name="a\0b"), "step_name holds a NUL", 1),
    ("handler_class a list", with_(handler_class=["True"]), "handler_class is not a string", 1),
    ("task_context a list", with_(task_context=[]), "task_context is not an object", 1),
    ("metadata a text", with_(metadata="x"), "metadata is not an object", 1),
    ("timeout negative", with_(metadata={"timeout_ms": -1}), "metadata.timeout_ms", 1),
    ("attempt a text", with_(metadata={"attempt": "1"}), "metadata.attempt is not an integer", 1),
    ("seconds a text", with_(handler_config={"timeout_seconds": "1"}), "timeout_seconds", 1),
    ("a step twice", batch("h", ok, step(2, "True"), ok), "step 3: step_id 1 is in the batch twice", 1),
    ("no handler", batch("h", ok, step(2, "No::Such")), "no handler for No::Such (step 2, s)", 1),
    ("no handlers", batch("h", ok, step(2, "No::A"), step(3, "No::B")),
     "no handler for No::A (step 2, s), nor for 1 more of its 3 steps", 1),
    ("too long", with_(task_context={"x": "y" * 70000}), "is over max_message_bytes", 1),
    ("too long, nothing to see", b"{" + b" " * 70000, "is over max_message_bytes", 0),
]
at = 0
def said():
    return open("work.err", errors="replace").read()[at:]
for name, message, text, answered in cases:
    at, before = len(open("work.err", errors="replace").read()), len(p.seen)
    p.send(message)
    until(lambda: "\n" in said(), "a word about " + name)
    assert text in said() and "refused" in said() and said().count("\n") == 1, (name, said())
    if answered:
        until(lambda: len(p.seen) > before, "an answer about " + name)
        topic, answer = p.seen[-1]
        assert topic == "batch_rejected" and answer["batch_id"] == "h", (name, answer)
        assert text in answer["error"]["message"], (name, answer)
        assert answer["worker_id"] == "w1" and answer["error"]["retryable"] is False, answer
at = len(open("work.err").read())
p.send(batch("three", ok), "steps", frames=3)
until(lambda: "malformed JSON" in said(), "a word about three frames")
p.send(batch("b1", ok))
p.accepted("b1")
c.completion("b1")
assert not c.of("batch_error"), "a registered publisher is told once"
assert [m["batch_id"] for t, m in p.seen if t == "batch_accepted"] == ["b1"], p.seen
c.wait_status(lambda s: s["rejected"] == len(cases) + 1 and s["completed"] == 1, "the counts")
END
    has "tasker-work: warning: batch h refused: no handler for No::Such (step 2, s)" work.err
}

@test "work: hostile messages of collectors do no harm" {
    worker
    py <<'END'
c, p = Collector(), Publisher().wait_worker()
source = c.wait_status()["source"]
plain = Collector(None, topics=())
plain.on = lambda data: None
deep = b"[" * 80 + b"]" * 80
for topic in ("collected", "replay", "cancel", "alive", "nonsense", ""):
    for body in (b'{"source":"%s","offset":1,"after":0,"collector_id":"c1","x":%s}' % (source.encode(), deep),
                 b'{"source":"%s","offset":1,"after":0,"collector_id":"c1","\\u0000":1}' % source.encode(), b"", b"{", b"[]", b"\xff", b"{}", b'{"source":7}', b'{"source":"%s"}' % source.encode(),
                 b'{"source":"%s","offset":"x","after":"x","collector_id":"c1"}' % source.encode(),
                 b'{"source":"%s","offset":-5,"after":-5,"collector_id":"c1"}' % source.encode(),
                 b'{"source":"%s","offset":9223372036854775807,"after":9223372036854775807,"collector_id":"c1"}' % source.encode(),
                 b'{"source":"%s","offset":1,"after":0,"collector_id":"a b"}' % source.encode(),
                 b'{"source":"%s","offset":1,"after":0,"collector_id":["c1"]}' % source.encode()):
        plain.socket.send(topic.encode() + b" " + body)
        plain.socket.send(b"\0\1\2" + body)
        plain.socket.send_multipart([topic.encode(), body, body])
for i in range(100):  # asked for by somebody who is not there: must not use up what there is
    plain.say("replay", source=source, after=0, collector_id="stranger%d" % i)
for topic in ("collector.", "collector. ", "collector.a b ", "collector." + "x" * 300 + " ", "\xff", "x" * 300):
    plain.socket.send(b"\1" + topic.encode())
p.send(batch("b1", "True"))
c.completion()
late = Collector("late")
late.wait_status(lambda s: s["collectors"] == 2)
late.say("replay", source=source, after=0)
until(lambda: len(late.direct) == 3, "the replay")
END
    running work
}

# Runs tasker-work on a terminal, in the foreground or in the background (fg, bg), and prints all that it
# wrote there. It gets TERM when it has written $UNTIL (listening), and "stopping: " opens the FIFO $OPENED.
on_terminal() {
    /usr/bin/python3 - "$@" <<'END'
import os, pty, signal, sys
where, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    if where == "fg":
        os.execvp(command[0], command)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(job, signal.SIGTERM))
    os._exit(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))
seen, told = b"", False
while True:
    try:
        got = os.read(terminal, 4096)
    except OSError:
        break
    if not got:
        break
    seen += got
    if os.environ.get("UNTIL", "listening").encode() in seen and not told:
        told = True
        os.kill(pid, signal.SIGTERM)
    if b"stopping: " in seen and os.environ.get("OPENED"):
        open(os.environ.pop("OPENED"), "w").close()
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
}

@test "the status line says that the worker is stopping while a step still runs" {
    waiter
    spawn publish tasker-publish --store none <<<'{"step_id":1,"task_id":1,"step_name":"w","handler_class":"Wait"}'
    export UNTIL="1 step running" OPENED=go TASKER_WORKER_CONFIRM_TIMEOUT=0
    run -75 timeout 60 bash -c "$(declare -f on_terminal); on_terminal fg tasker-work -H handlers.yaml"
    has "stopping: 1 step running, 0 waiting" "$output"
    [ "$(xargs <log)" = "started 1 ended 1" ]
    finish publish
}

@test "the status line is for the foreground of a terminal" {
    run -0 timeout 60 bash -c "$(declare -f on_terminal); on_terminal fg tasker-work -H handlers.yaml -v"
    has "0 steps running, 0 waiting" "$output"
    run -0 timeout 60 bash -c "$(declare -f on_terminal); on_terminal bg tasker-work -H handlers.yaml -v"
    has "listening" "$output"
    [[ $output != *"steps running"* ]]
}
