#!/usr/bin/env bats
# tasker-submit: bad input by a table, then what becomes of requests in the store.
load helper
load store

setup() {
    test_begin
    export TASKER_STORE_URL=sqlite:$PWD/store.db TASKER_TASKS_PATH=$PWD/tasks
    mkdir tasks
    cat >tasks/order.yaml <<'EOF'
name: process_order
namespace_name: fulfillment
version: 1.0.0
schema:
  type: object
  required: [id]
  properties: {id: {type: integer, minimum: 1}, mail: {type: string, format: email}}
  additionalProperties: false
step_templates:
  - {name: validate, handler_class: Order::Validate, default_retry_limit: 1, timeout_seconds: 5}
  - {name: reserve, handler_class: Order::Reserve, depends_on_step: validate}
  - {name: pay, handler_class: Order::Pay, depends_on_step: validate, default_retryable: false}
  - {name: fraud, handler_class: Order::Fraud, depends_on_step: validate, optional: true}
  - {name: gift, handler_class: Order::Gift, depends_on_step: pay, skippable: true}
  - {name: ship, handler_class: Order::Ship, depends_on_steps: [reserve, pay, fraud], join: all_ok}
EOF
}

sql() { sqlite3 store.db "$1"; }

@test "bad input: each case has its reason, its status, and costs nothing else" {
    printf 'name: broken\nstep_templates:\n  - {name: a, handler_class: H, depends_on_step: a}\n' >tasks/broken.yaml
    printf 'name: later\nversion: [1]\n' >odd.yaml
    printf 'not a database, and long enough to be seen as none of the kind that it is' >none.db
    head -c 3000 /dev/zero | tr '\0' x >long
    printf '{"name":"process_order","context":{"id":1,\0}}\n' >nul
    printf '{"name":"a\xff"}\n' >utf8
    printf '{"id":1}' >context.json
    mkdir folder empty tasks/split
    steps='step_templates: [{name: a, handler_class: H}]'
    printf 'name: halved\nstep_templates:\n  - {name: a, handler_class: [\n' >tasks/halved.yaml
    printf 'name: split\nsteps: "\n' >tasks/split/1.yaml
    printf 'nmae: unnamed\n' >tasks/unnamed.yaml
    printf 'name: twice\nversion: 2.0.0\n%s\n' "$steps" | tee tasks/twice-a.yaml >tasks/twice-b.yaml
    printf 'name: twice\nversion: 2.0.0-rc.1\n%s\n' "$steps" >tasks/twice-c.yaml
    printf 'name: ./x\n%s\n' "$steps" >name.yaml
    printf 'name: x\nstep_templates: [{name: a, handler_class: H, optional: true}]\n' >optional.yaml
    printf 'name: x\nschema: {}\nstep_templates:\n- {name: a, handler_class: H, handler_config: &c {in: [*c]}}\n' >self.yaml
    printf 'name: x\nenvironments: &e\n  test:\n    handler_config: *e\n' >environments.yaml
    printf 'log: &l\n  level: *l\n' >conf.yaml
    { echo 'name: x'; echo 'a0: &a0 [1,1,1,1,1,1,1,1,1,1]'
        for i in {1..9}; do
            echo "a$i: &a$i [*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1)),*a$((i - 1))]"
        done; } >bomb.yaml
    cat >table <<'EOF'
empty input             | -n                                | -  | 0
no store                | --store none                      | {"name":"process_order","context":{"id":1}}\n | 78 | there is no store
not a database          | --store sqlite:none.db            | {"name":"process_order","context":{"id":1}}\n | 69 | none.db
its lines are named     | --store sqlite:none.db            | {"name":"process_order","context":{"id":1}}\n | 69 | -:1: not submitted
malformed JSON          | -n                                | {"a":\n | 65 | -:1: malformed JSON
no object               | -n                                | [1]\n | 65 | -:1: not a JSON object
NUL byte                | -n nul                            | -  | 65 | nul:1: line holds a NUL
not UTF-8               | -n utf8                           | -  | 65 | utf8:1:
too long                | -n --set zeromq.max_message_bytes=2K long | - | 65 | long:1: line of over 2048
no such file            | -n gone                           | -  | 74 | gone: cannot open
a folder                | -n folder                         | -  | 74 | folder
no name                 | -n                                | {"context":{}}\n | 65 | -:1: name is missing, and no --template
unknown member          | -n                                | {"nme":"x"}\n | 65 | unknown member "nme" (did you mean "name"?)
a file of that name      | -n -T halved                      | {}\n | 78 | tasks/halved.yaml:3: wrong YAML
a folder of that name    | -n                                | {"name":"split"}\n | 78 | tasks/split/1.yaml:2: wrong YAML
a file without its name  | -n                                | {"name":"unnamed"}\n | 78 | tasks/unnamed.yaml:1: name is missing
one version, two files   | -n                                | {"name":"twice"}\n | 78 | tasks/twice-b.yaml are both the template of default/twice 2.0.0
two files, checked       | --check tasks                     | -  | 78 | tasks/twice-a.yaml and tasks/twice-b.yaml are both the template of default/twice 2.0.0
a name of a file         | --check name.yaml                 | -  | 78 | name.yaml:1: name "./x" is that of a file
none can start           | --check optional.yaml             | -  | 78 | all steps are optional
name is no text         | -n                                | {"name":7}\n | 65 | name has to be a text
context is no object    | -n                                | {"name":"process_order","context":[]}\n | 65 | context has to be an object
name with a NUL         | -n                                | {"name":"process_order\\u0000x"}\n | 65 | name has to be a text without a NUL
key with a NUL          | -n                                | {"name":"process_order","idempotency_key":"a\\u0000"}\n | 65 | idempotency_key has to be a text without a NUL
member with a NUL       | -n                                | {"name":"process_order","context":{"id\\u0000":1}}\n | 65 | a name with a NUL
bypass with a NUL       | -n                                | {"name":"process_order","bypass_steps":["notify\\u0000"]}\n | 65 | bypass_steps has to be a list of texts without a NUL
tags are no texts       | -n                                | {"name":"process_order","tags":[1]}\n | 65 | tags has to be a list of texts
priority is no number   | -n                                | {"name":"process_order","priority":"1"}\n | 65 | priority has to be a whole number
priority out of range   | -n                                | {"name":"process_order","priority":9999999999}\n | 65 | priority is out of range
another message         | -n                                | {"message_type":"step"}\n | 65 | message_type is "step", not task_request
no such template        | -n                                | {"name":"proces_order"}\n | 65 | did you mean process_order?
no such version         | -n                                | {"name":"process_order","version":"9"}\n | 65 | version 9
no such namespace       | -n                                | {"name":"process_order","namespace":"x"}\n | 65 | (there is one of namespace fulfillment)
another message          | -n                                | {"message_type":"step","text":"x"}\n | 65 | message_type is "step", not task_request
another message, -T      | -n -T process_order               | {"message_type":"step","step_id":1}\n | 65 | message_type is "step", not task_request
a template is wrong     | -n                                | {"name":"broken"}\n | 78 | steps wait for each other: a -> a
context lacks           | -n                                | {"name":"process_order"}\n | 65 | -:1: context: "id" is missing
context does not fit    | -n                                | {"name":"process_order","context":{"id":0,"x":1}}\n | 65 | context at /id: 0 is less than 1
context has more        | -n                                | {"name":"process_order","context":{"id":0,"x":1}}\n | 65 | context at /x: is not known here
no such step            | -n                                | {"name":"process_order","context":{"id":1},"bypass_steps":["z"]}\n | 65 | bypass_steps: there is no step "z"
step not skippable      | -n                                | {"name":"process_order","context":{"id":1},"bypass_steps":["pay"]}\n | 65 | step "pay" is not skippable
bare context            | -n -T process_order               | {"id":"1"}\n | 65 | context at /id: has to be of type integer
no such template file   | -n -T ./gone.yaml                 | {}\n | 78 | gone.yaml
a template of no task   | --check odd.yaml                  | -  | 78 | odd.yaml:2: version has to be text, not a list
an alias within itself  | --check self.yaml                 | -  | 78 | self.yaml:4: an alias to a node that contains it
an alias of sections    | --check environments.yaml         | -  | 78 | environments.yaml:4: an alias to a node that contains it
an alias, configuration | -n -c conf.yaml                   | -  | 78 | conf.yaml:2: an alias to a node that contains it
aliases of aliases      | --check bomb.yaml                 | -  | 78 | bomb.yaml:7: too many values, with all aliases written out
no template there       | --check empty                     | -  | 78 | there is no template
a folder with one wrong | --check tasks                     | -  | 78 | broken.yaml:3: steps wait
the folder is gone      | -n --set tasks.path=/nowhere      | {"name":"x"}\n | 78 | /nowhere
the folder is gone, checked | --check --set tasks.path=/nowhere | - | 78 | the folder of templates, /nowhere (tasks.path), cannot be read
no template for context | -n -T gone -x {}                  | -  | 65 | error: there is no template for task "gone"
context given lacks     | -n -T process_order -x {}         | -  | 65 | error: context: "id" is missing
namespace and name      | -n -T shop/order                  | {}\n | 78 | named by --namespace shop --template order
context of no file      | -n -T process_order -x gone.json  | -  | 74 | gone.json: cannot read it
a path in a request     | -n                                | {"name":"./tasks/order.yaml"}\n | 65 | name is a path
a context without end   | -n -T process_order -x /dev/zero  | -  | 65 | longer than max_message_bytes
no such folder of them  | -n --set tasks.path=/nowhere      | {"name":"x"}\n | 78 | (tasks.path)
two pictures            | --dot --mermaid -T process_order  | -  | 64 | --dot and --mermaid do not go together
picture of nothing      | --dot                             | -  | 64 | draw one thing
check and more          | --check -T x                      | -  | 64 | --check goes with no other mode
context and files       | -T process_order -x {} a          | -  | 64 | no operands go with it
context without template | -x {}                            | -  | 64 | --context needs --template
key without context     | -k x                              | -  | 64 | --idempotency-key is for --context
task without picture    | --task 3                          | -  | 64 | --task is only of use
no store to draw from   | --dot --task 3 --store sqlite:no/such.db | - | 69 | there is no store at
unknown option          | --contxt                          | -  | 64 | --contxt
EOF
    run_case_table tasker-submit <table
}

@test "a folder of templates: each regular file once, whatever links, FIFOs and devices are in it" {
    mkdir tasks/a tasks/b
    ln -s .. tasks/a/up
    ln -s ../../tasks tasks/b/again
    ln -s order.yaml tasks/same.yaml
    mkfifo tasks/pipe.yaml
    ln -s /dev/zero tasks/zero.yaml
    ln -s /dev/tty tasks/tty.yml
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("tasks/socket.yaml")'
    run -0 --separate-stderr tasker-submit --check
    [ "$output" = "$PWD/tasks/order.yaml: fulfillment/process_order 1.0.0, 6 steps" ]
    has 'pipe.yaml: not a regular file' "$stderr"
    run -0 --separate-stderr tasker-submit -n -T process_order -x '{"id":1}'
    run -78 --separate-stderr tasker-submit --check tasks/pipe.yaml
    has 'pipe.yaml:1: the file is empty' "$stderr"
    run -0 --separate-stderr tasker-submit --check <(cat tasks/order.yaml)
}

@test "a folder of templates: what is too deep or too much is named, and the rest is found" {
    local deep=tasks/d i
    for ((i = 0; i < 20; i++)); do deep+=/d; done
    mkdir -p "$deep"
    echo '{name: deep, step_templates: [{name: a, handler_class: H}]}' >"$deep/x.yaml"
    run -78 --separate-stderr tasker-submit --check
    has "tasks/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d: not read: more than 16 folders deep" "$stderr"
    has "order.yaml: fulfillment/process_order 1.0.0, 6 steps" "$output"
    run -0 --separate-stderr tasker-submit -n -T process_order -x '{"id":1}'
    run -65 --separate-stderr tasker-submit -n -T deep -x '{"id":1}'
    has 'there is no template for task "deep"' "$stderr"
    has "more than 16 folders deep" "$stderr"
    rm -r tasks/d
    mkdir tasks/z
    (cd tasks/z && seq -f %g.yaml 10001 | xargs touch)
    run -78 --separate-stderr tasker-submit --check
    [ "$(grep -c 'not read, nor what follows: more than 10000 paths' <<<"$stderr")" = 1 ]
    has "order.yaml: fulfillment/process_order 1.0.0, 6 steps" "$output"
}

@test "a name with a slash is that of a task, for --check and for a request" {
    sed 's/^name: .*/name: api_task\/order/' tasks/order.yaml >tasks/api.yaml
    run -0 --separate-stderr tasker-submit --check tasks/api.yaml
    run -0 --separate-stderr tasker-submit -T api_task/order -x '{"id":1}'
    [ "$(jq -r .name <<<"$output")" = api_task/order ]
    mkdir api_task
    touch api_task/order
    run -0 --separate-stderr tasker-submit <<<'{"name":"api_task/order","context":{"id":1}}'
    run -78 --separate-stderr tasker-submit -T api_task/order -x '{"id":1}'
    has 'api_task/order:1: the file is empty' "$stderr"
}

@test "of several versions the newest is taken, and a release is newer than its candidates" {
    for version in 2.0.0-rc.1 2.0.0-rc.2 2.0.0 2.0.0-beta; do
        sed "s/^version: .*/version: $version/" tasks/order.yaml >"tasks/$version.yaml"
    done
    tasker-submit -n -T process_order -x '{"id":1}' >out
    [ "$(jq -r .version out)" = 2.0.0 ]
}

@test "--dry-run prints as many steps as the task would have" {
    tasker-submit -n -T process_order -x '{"id":1}' >out
    [ "$(jq -c '[.task_id,.steps,.dry_run,.created]' out)" = '[null,5,true,false]' ]
    [ "$(tasker-submit -T process_order -x '{"id":1}' | jq .steps)" = 5 ]
}

@test "a task, its steps and dependencies are there when its line is" {
    tasker-submit --template process_order --tag eu --tag web <<<'{"context":{"id":7},"priority":5,"correlation_id":"c","initiator":"me"}' >out
    [ "$(jq -r '[.message_type,.task_id,.namespace,.name,.version,.steps,.created,.correlation_id]|@csv' out)" = \
        '"task_submitted",1,"fulfillment","process_order","1.0.0",5,true,"c"' ]
    [ "$(sql 'select namespace, name, context, initiator, tags, priority, state from tasks')" = \
        'fulfillment|process_order|{"id":7}|me|["eu","web"]|5|pending' ]
    [ "$(sql 'select name, state, waits_for, retry_limit, coalesce(timeout_ms, 0), retryable, priority from steps order by place')" = "\
validate|pending|0|1|5000|1|5
reserve|pending|1|3|0|1|5
pay|pending|1|1|0|0|5
gift|pending|1|3|0|1|5
ship|pending|3|3|0|1|5" ]
    [ "$(sql 'select group_concat(f.name || ">" || t.name, " ") from (select * from step_dependencies order by to_step, from_step) d join steps f on f.id = from_step join steps t on t.id = to_step')" = \
        "validate>reserve validate>pay pay>gift validate>ship reserve>ship pay>ship" ]
    [ "$(sql 'select count(*) from step_transitions where to_state = "pending"')" = 5 ]
    [ "$(sql 'select json_extract(optional_steps, "$.optional[0].name", "$.waits.fraud[0]") from tasks')" = '["fraud","validate"]' ]
}

@test "one wrong request costs no other" {
    printf '%s\n' '{"id":1}' '{"id":0}' nonsense '{"id":2}' >in.jsonl
    run --separate-stderr tasker-submit -T process_order in.jsonl
    [ "$status" -eq 65 ]
    [ "$(jq -c .task_id <<<"$output" | tr '\n' ' ')" = "1 2 " ]
    [ "$(sql 'select context from tasks order by task_id' | tr '\n' ' ')" = '{"id":1} {"id":2} ' ]
}

@test "a bypassed step is resolved from the start, and stands in nobody's way" {
    tasker-submit -T process_order -x '{"id":1}' --bypass gift >out
    [ "$(sql 'select state from steps where name = "gift"')" = resolved_manually ]
    [ "$(sql 'select event from step_transitions t join steps s on s.id = t.step where name = "gift"')" = step.bypassed ]
    [ "$(sql 'select distinct event from step_transitions t join steps s on s.id = t.step where name <> "gift"')" = step_created ]
}

@test "an idempotency key makes the second submission answer with the first task" {
    printf '%s\n' '{"id":1}' >c.json
    tasker-submit -T process_order -x c.json -k nightly >one
    tasker-submit -T process_order -x '{"id":1.0}' -k nightly >two
    tasker-submit -T process_order -x '{"id":2}' >three
    [ "$(jq -r '[.task_id,.created]|@csv' one two)" = $'1,true\n1,false' ]
    [ "$(jq .created three)" = true ]
    [ "$(sql 'select count(*) from tasks')" = 2 ]
}

@test "an idempotency key that comes with another context is told, and makes nothing" {
    echo '{"name":"process_order","context":{"id":1,"mail":"a@b.c"},"idempotency_key":"k"}' >in
    echo '{"name":"process_order","context":{"mail":"a@b.c","id":1},"idempotency_key":"k"}' >>in
    echo '{"name":"process_order","context":{"id":2},"idempotency_key":"k"}' >>in
    run -65 --separate-stderr tasker-submit in
    [ "$(jq -c '[.task_id,.created,.differs]' <<<"$output" | tr '\n' ' ')" = "[1,true,null] [1,false,null] [1,false,true] " ]
    has 'in:3: the idempotency_key is that of task 1, which has another context' "$stderr"
    [ "$(sql 'select count(*) from tasks')" = 1 ]
}

@test "with strict identity the same content is the same task, whatever its order" {
    export TASKER_TASKS_IDENTITY=strict
    printf '%s\n' '{"id":1,"mail":"a@b.c"}' '{"mail":"a@b.c","id":1}' '{"id":2,"mail":"a@b.c"}' >in
    tasker-submit -T process_order in >out
    [ "$(jq -r '[.task_id,.created]|@csv' out | cut -d, -f2 | tr '\n' ' ')" = "true false true " ]
    [ "$(jq -s '.[0].task_id == .[1].task_id' out)" = true ]
}

identities() {
    local i=0 want got space name key
    while IFS='|' read -r space name key; do
        i=$((i + 1))
        printf 'name: "%s"\nnamespace_name: "%s"\nstep_templates: [{name: a, handler_class: A}]\n' "$name" "$space" \
            >"$TASKER_TASKS_PATH/id$i.yaml"
        jq -nc --arg s "$space" --arg n "$name" --arg k "$key" '{namespace: $s, name: $n, idempotency_key: $k, context: {}}' >>in
    done <<'END'
s|order|eu:7
s|order:eu|7
s|order%3Aeu|7
a/b|c|7
a|b/c|7
a%2Fb|c|7
plain|order|7
END
    tasker-submit in >out
    [ "$(jq -r .created out | uniq -c | xargs)" = "7 true" ]
    # the same again is known; also to a store of before, in which the separators were not told apart
    tasker-submit in >again
    [ "$(jq -r .created again | uniq -c | xargs)" = "7 false" ]
    [ "$(store_sql "select identity_hash from tasks where namespace = 'plain'")" = key:plain/order:7 ]
    want=$(store_sql "select identity_hash from tasks where name in ('order:eu', 'order%3Aeu', 'c') order by task_id")
    store_sql "update tasks set identity_hash = null where name not in ('order:eu', 'order%3Aeu', 'c')"
    store_sql "update tasks set identity_hash = 'key:' || namespace || '/' || name || ':7' where identity_hash is not null"
    store_sql "$(grep -v '^--' "$ROOT/config/schema/008_identity.sql")"
    got=$(store_sql "select identity_hash from tasks where name in ('order:eu', 'order%3Aeu', 'c') order by task_id")
    [ "$got" = "$want" ] || { diff <(echo "$want") <(echo "$got"); false; }
}
@test "names and keys with separators in them make no two requests one task" { for_each_store identities; }

@test "--dry-run makes nothing, not even a store" {
    tasker-submit -n -T process_order -x '{"id":1}' >out
    [ "$(jq -c '[.task_id,.dry_run]' out)" = '[null,true]' ]
    [ ! -e store.db ]
}

@test "contexts that are nested deep are compared whole" {
    local open close
    open=$(printf '%*s' 40 '' | tr ' ' '[') close=$(printf '%*s' 40 '' | tr ' ' ']')
    printf 'name: deep\nstep_templates: [{name: a, handler_class: A}]\n' >tasks/deep.yaml
    printf '{"name":"deep","context":{"x":%s%d%s},"idempotency_key":"k"}\n' "$open" 1 "$close" "$open" 1 "$close" "$open" 2 "$close" >in
    run -65 --separate-stderr tasker-submit in
    [ "$(jq -c '[.task_id,.created,.differs]' <<<"$output" | tr '\n' ' ')" = "[1,true,null] [1,false,null] [1,false,true] " ]
}

@test "--check prints no control characters of a name" {
    printf 'name: "a\\e[31mb\\nc"\nstep_templates: [{name: a, handler_class: A}]\n' >tasks/odd.yaml
    tasker-submit --check tasks/odd.yaml >out
    [ "$(cat out)" = 'tasks/odd.yaml: default/a\x1b[31mb\x0ac 0.1.0, 1 step' ] || { cat out; false; }
}

@test "--check names each template that is right, and its steps" {
    tasker-submit --check tasks/order.yaml >out
    [ "$(cat out)" = "tasks/order.yaml: fulfillment/process_order 1.0.0, 6 steps" ]
}

@test "the environment's section is laid over the template" {
    printf 'environments:\n  production:\n    step_overrides:\n      ship: {retry_limit: 9}\n' >>tasks/order.yaml
    tasker-submit -e production -T process_order -x '{"id":1}' >out
    [ "$(sql 'select retry_limit from steps where name = "ship"')" = 9 ]
}

@test "many processes at once: each request is one task, and step ids are not used twice" {
    for i in 1 2 3 4 5 6; do
        seq $((i * 100)) $((i * 100 + 49)) | jq -c '{id: .}' >in.$i
        spawn s$i tasker-submit -T process_order in.$i
    done
    for i in 1 2 3 4 5 6; do finish_with 0 s$i 60; done
    [ "$(sql 'select count(*), count(distinct context) from tasks')" = "300|300" ]
    [ "$(sql 'select count(*) from steps where step_id = id')" = 1500 ]
    [ "$(cat s?.out | jq -s 'map(.task_id) | unique | length')" = 300 ]
}

@test "a store that another process holds is waited for" {
    tasker-submit -T process_order -x '{"id":1}' >first
    mkfifo hold
    exec {in}<>hold
    spawn lock sqlite3 store.db <hold
    echo 'BEGIN IMMEDIATE; SELECT 1;' >&"$in"
    wait_line lock.out 1
    run --separate-stderr tasker-submit -T process_order -x '{"id":2}' --set store.timeout=300ms
    [ "$status" -eq 75 ]
    [[ $stderr == *"another process holds its lock"* && $stderr == *"not submitted"* ]]
    spawn two tasker-submit -T process_order -x '{"id":3}'
    printf 'COMMIT;\n.quit\n' >&"$in"
    finish_with 0 two
    finish lock
    [ "$(sql 'select context from tasks order by task_id' | tr '\n' ' ')" = '{"id":1} {"id":3} ' ]
}

@test "pictures: a template and a live task, safe whatever names there are" {
    cat >odd.yaml <<'EOF'
name: odd
step_templates:
  - {name: "a\"b\\<c>\n;", handler_class: H}
EOF
    tasker-submit -T process_order -x '{"id":1}' >out
    tasker-submit --dot -T process_order >t.dot
    tasker-submit --mermaid -T process_order >t.mmd
    has 's0 -> s1;' t.dot
    has '(optional)' t.dot
    has 's0 --> s1' t.mmd
    tasker-submit --dot --task 1 >live.dot
    has 'task 1: fulfillment/process_order 1.0.0, pending' live.dot
    [ "$(grep -c -- '->' live.dot)" -eq 6 ]
    tasker-submit --dot -T ./odd.yaml >odd.dot
    has 'label="a\"b\\<c>\\x0a;"' odd.dot
    tasker-submit --mermaid -T ./odd.yaml >odd.mmd
    has '["a#34;b#92;#60;c#62;#92;x0a#59;"]' odd.mmd
    run tasker-submit --dot --task 99
    [ "$status" -eq 1 ]
    has "there is no task 99" "$output"
}

@test "stdout that is full, or a reader that goes away, is an error" {
    status=0
    tasker-submit -n -T process_order -x '{"id":1}' >/dev/full 2>err || status=$?
    [ "$status" -eq 74 ]
}
