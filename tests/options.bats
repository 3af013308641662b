#!/usr/bin/env bats
# What is written of the options is true, both ways: --help, the manual page and the completions of
# three shells name exactly the options that the program has. And each program has all that a
# program must have. The programs are those that were built; none is named here.
load helper

setup() {
    test_begin
    programs=$(cd "$TASKER_BIN" && echo tasker-*)
    bad=0
}

# Each of these prints the options of program $1 as lines "LETTER NAME", sorted; "-" for no letter.

by_dump() { "$1" --dump-options | awk -F '\t' '{print ($1 == "" ? "-" : $1), $2}' | sort; }

by_help() {
    "$1" --help | sed -nE 's/^  (-(.), |    )--([a-z0-9-]+).*/\2 \3/p' | sed 's/^ /- /' | sort
}

by_page() { # .It Fl f , Fl -format Ar FORMAT; those that all programs have may be in tasker.7 alone
    awk '/^\.It Fl/ {
        letter = "-"
        name = ""
        for (i = 2; i < NF; i++)
            if ($i == "Fl" && $(i + 1) ~ /^-/) name = substr($(i + 1), 2)
            else if ($i == "Fl") letter = $(i + 1)
        print letter, name
    }' "$ROOT/cmd/$1.1" "$ROOT/cmd/tasker.7" | sort -u
}

by_bash() { # what really is completed after "-"; a letter stands before its name
    bash --norc -c 'source "$1"
        COMP_WORDS=("$2" -) COMP_CWORD=1 COMP_LINE="$2 -" COMP_POINT=$((${#2} + 2))
        _tasker "$2" - "$2"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$ROOT/completions/tasker.bash" "$1" |
        awk '/^--/ {print (letter == "" ? "-" : letter), substr($1, 3); letter = ""; next}
             /^-/ {letter = substr($1, 2)}' | sort
}

by_zsh() { # the lines of its case, and those before it, which are common to all
    awk -v program="$1" '/^case / {case_ = 1} / *tasker-.*\)$/ {own = ($1 == program ")")}
        /;;/ {own = 0} !case_ || own' "$ROOT/completions/_tasker" |
        sed -nE "s/.*\{-(.),--([a-z0-9-]+)\}.*/\1 \2/p; s/^ *'\*?--([a-z0-9-]+)(\[|=).*/- \1/p" | sort
}

by_fish() {
    awk -v program="$1" '/^ *complete / {
        letter = "-"
        name = ""
        for (i = 2; i < NF; i++) {
            if ($i == "-c") who = $(i + 1)
            if ($i == "-s") letter = $(i + 1)
            if ($i == "-l") name = $(i + 1)
            if ($i == "-d") break
        }
        if (name != "" && (who == program || who == "$program")) print letter, name
    }' "$ROOT/completions/tasker.fish" | sort
}

compare() {
    local where=$1 program
    for program in $programs; do
        "by_$where" "$program" >by || true
        by_dump "$program" >dump
        [ -s dump ] || { echo "$program: --dump-options prints nothing"; bad=1; }
        diff dump by >differ && continue
        echo "$program: < the program has, > $where has"
        grep '^[<>]' differ
        bad=1
    done
    return $bad
}

@test "options: --help agrees" { compare help; }
@test "options: manual pages agree" { compare page; }
@test "options: the bash completion agrees" { compare bash; }
@test "options: the zsh completion agrees" { compare zsh; }
@test "options: the fish completion agrees" { compare fish; }

@test "options: argument names agree in --help and the manual page" {
    local program letter name arg line
    for program in $programs; do
        "$program" --help >help
        while IFS= read -r line; do
            IFS='|' read -r letter name arg <<<"${line//$'\t'/|}"
            [ -n "$arg" ] || continue
            grep -qE -e "--$name $arg( |\$)" help || { echo "$program --help: --$name lacks $arg"; bad=1; }
            grep -qEs "^\.It Fl .*-$name( Ns)?( =)?( Ns)? Ar $arg" "$ROOT/cmd/$program.1" "$ROOT/cmd/tasker.7" ||
                { echo "$program.1: --$name lacks $arg"; bad=1; }
        done < <("$program" --dump-options)
    done
    return $bad
}

@test "options: completions are programs that their shells can read, for all programs" {
    local program
    bash -n "$ROOT/completions/tasker.bash"
    ! command -v zsh >/dev/null || zsh -n "$ROOT/completions/_tasker"
    ! command -v fish >/dev/null || fish -n "$ROOT/completions/tasker.fish"
    for program in $programs; do
        grep -qE "^#compdef.* $program( |\$)" "$ROOT/completions/_tasker" || { echo "zsh: $program"; bad=1; }
        grep -qE "^for program in.* $program( |\$)" "$ROOT/completions/tasker.fish" || { echo "fish: $program"; bad=1; }
        bash --norc -c 'source "$1"; complete -p "$2"' bash "$ROOT/completions/tasker.bash" "$program" || bad=1
    done
    return $bad
}

@test "options: bash completes the keys of the configuration, and what an endpoint is called" {
    bash_words() { # what is completed at the last of these words
        bash --norc -c 'source "$1"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _tasker "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"' bash "$ROOT/completions/tasker.bash" "$@" 2>/dev/null
    }
    [ "$(bash_words tasker-status "")" = \
        "config endpoints workers tasks batches steps show errors slow orphans metrics store" ]
    [ "$(bash_words tasker-status show "")" = "task batch step" ]
    [ "$(bash_words tasker-resolve r)" = "retry reset resolve release" ]
    [ "$(bash_words tasker-resolve --reason x cancel "")" = "step task" ]
    : >a_file
    [ "$(bash_words tasker-ready --explain "")" = "task step" ]
    [ -z "$(bash_words tasker-ready --explain task "")$(bash_words tasker-resolve hold "")" ]
    [ -z "$(bash_words tasker-status store "")$(bash_words tasker-ready "")" ]
    [ "$(bash_words tasker-publish a_)" = a_file ]
    [ "$(bash_words tasker-status store --)" = "--format --older-than --init --prune --dry-run --store --config \
--environment --set --log-format --verbose --quiet --help --version" ]
    [ "$(bash_words tasker-status batches --state c)" = "created completed cancelled" ]
    [ "$(bash_words tasker-status steps --state e)" = "enqueued error" ]
    [ "$(bash_words tasker-status config retry.)" = "retry.base retry.cap retry.jitter" ]
    [ "$(bash_words tasker-status endpoints b)" = batch_endpoint ]
    [ "$(bash_words "$TASKER_BIN/tasker-publish" --set worker.h)" = worker.handlers= ]
    [ "$(bash_words tasker-publish --store post)" = postgresql:// ]
    [ "$(bash_words tasker-publish --store ./a_)" = ./a_file ]
    cp "$ROOT/config/tasks/process_order.yaml" .
    printf 'name: promote\nsteps:\n  - {name: one, handler: {callable: A}}\n' >promote.yaml
    export TASKER_TASKS_PATH=$PWD
    [ "$(bash_words tasker-submit --template pro)" = "process_order promote" ]
}

@test "options: zsh and fish complete templates of either form" {
    mkdir tasks
    cp "$ROOT/config/tasks/process_order.yaml" tasks
    printf 'name: promote\nsteps:\n  - {name: one, handler: {callable: A}}\n' >tasks/promote.yaml
    export TASKER_TASKS_PATH=$PWD/tasks HOME=$PWD
    ! command -v fish >/dev/null || [ "$(fish --no-config -c 'source $argv[1]
        complete -C "tasker-submit --template pro"' "$ROOT/completions/tasker.fish" | cut -f 1 | xargs)" = \
        "process_order promote" ]
    ! command -v zsh >/dev/null || [ "$(zsh -f -c '_arguments() { :; }; _files() { :; }
        _call_program() { shift; "$@"; }; compadd() { shift; print -l -- "$@"; }
        words=(tasker-submit --) CURRENT=2 service=tasker-submit
        source "$1"; _tasker_templates' zsh "$ROOT/completions/_tasker" | sort | xargs)" = \
        "process_order promote" ]
}

# The long options that a shell completes after these words, sorted.
bash_offers() {
    bash --norc -c 'source "$1"; shift
        COMP_WORDS=("$@" --) COMP_CWORD=$#
        _tasker "$1" -- "${!#}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$ROOT/completions/tasker.bash" "$@" | sort
}
zsh_offers() {
    zsh -f -c 'file=$1; shift
        _arguments() { print -rl -- "$@"; }
        _call_program() { shift; "$@"; }
        words=("$@" --) CURRENT=$#words service=$1
        source "$file"' zsh "$ROOT/completions/_tasker" "$@" | sed -nE 's/^(\([^)]*\))?\*?(--[a-z-]+).*/\2/p' | sort
}
fish_offers() {
    HOME=$PWD fish --no-config -c "source \$argv[1]; complete -C '$* --'" "$ROOT/completions/tasker.fish" |
        cut -f 1 | sort
}

# The long options that tasker-status takes for a subcommand: those that it does not refuse.
status_takes() { # SUBCOMMAND
    local letter name arg
    while IFS='|' read -r letter name arg; do
        case $arg in
        '') arg= ;;
        DURATION) arg=1s ;;
        URL) arg=none ;;
        *ENDPOINT*) arg=ipc://none ;;
        FORMAT | NAME | FILE | SECTION*) echo "--$name" && continue ;;
        *) arg=1 ;;
        esac
        tasker-status "$1" "--$name" $arg --store none no-operand >said 2>&1 </dev/null || true
        grep -q -e "--$name is for" said || echo "--$name"
    done < <(tasker-status --dump-options | tr '\t' '|') | sort
}

@test "options: completions offer what goes with the subcommand" {
    local sub shell
    for sub in config workers tasks show errors slow orphans metrics store; do
        status_takes "$sub" | case $sub in config | workers) cat ;; *) grep -v -e -endpoint ;; esac >takes
        for shell in bash zsh fish; do
            command -v $shell >/dev/null || continue
            diff takes <("${shell}_offers" tasker-status "$sub") || { echo "$shell: $sub"; bad=1; }
        done
    done
    for shell in bash zsh fish; do
        command -v $shell >/dev/null || continue
        [ "$("${shell}_offers" tasker-resolve release |
            grep -xE -e '--(task|namespace|handler|category|limit|wait|by)')" = --by ]
        "${shell}_offers" tasker-resolve retry | grep -qx -e --category
    done
    return $bad
}

@test "options: every source has a program, and every program a page, tests, and a place in README" {
    local source program
    for source in "$ROOT"/cmd/tasker-*.c; do
        program=$(basename "$source" .c)
        [ -x "$TASKER_BIN/$program" ] || { echo "$program: not built"; bad=1; }
        [ -e "$ROOT/cmd/$program.1" ] || { echo "$program: no manual page"; bad=1; }
        ls "$ROOT"/tests/"${program#tasker-}"*.bats >/dev/null || { echo "$program: no bats file"; bad=1; }
        grep -q -- "$program" "$ROOT/README.md" || { echo "$program: not in README.md"; bad=1; }
        grep -q "Xr $program 1" "$ROOT/cmd/tasker.7" || { echo "$program: not in tasker.7"; bad=1; }
    done
    return $bad
}

@test "options: --help and --version are for stdout, an unknown option is 64" {
    local program
    for program in $programs; do
        "$program" --help >out 2>err && [ -s out ] && [ ! -s err ] || { echo "$program --help"; bad=1; }
        "$program" --version >out 2>err && grep -q "^$program [0-9]" out && [ ! -s err ] ||
            { echo "$program --version"; bad=1; }
        run "$program" --no-such-option
        [ "$status" -eq 64 ] || { echo "$program --no-such-option: $status"; bad=1; }
        run "$program" --help --no-such-option
        [ "$status" -eq 0 ] || [ "$status" -eq 64 ] || { echo "$program: $status"; bad=1; }
        "$program" --help >/dev/full 2>err && { echo "$program --help >/dev/full is 0"; bad=1; }
    done
    return $bad
}

@test "options: the manual pages are clean, and have the sections that they must have" {
    local page section
    for page in "$ROOT"/cmd/*.[17]; do
        mandoc -Tlint -Wwarning "$page" || bad=1
        case $page in *.7) continue ;; esac
        grep -q '^\.Xr tasker 7' "$page" || { echo "$page: no reference to tasker(7)"; bad=1; }
        for section in NAME SYNOPSIS DESCRIPTION "EXIT STATUS" EXAMPLES "SEE ALSO"; do
            grep -q "^\.Sh $section\$" "$page" || { echo "$page: no $section"; bad=1; }
        done
    done
    return $bad
}

@test "options: the manual pages fit 80 columns, for groff too" {
    local page
    command -v groff >/dev/null || skip "groff is not here"
    for page in "$ROOT"/cmd/*.[17]; do
        groff -ww -mdoc -Tutf8 -Kutf8 -rLL=78n "$page" 2>said >/dev/null
        [ ! -s said ] || { echo "$page:" && cat said && bad=1; }
        ! grep -nE '^\.Pq Qq' "$page" || bad=1 # whose quotes embrace what follows
    done
    return $bad
}

@test "service links of Kubernetes are ignored by all programs, with a line for who asks" {
    export TASKER_WORKER_PORT=tcp://10.0.0.11:5556 TASKER_WORKER_SERVICE_HOST=10.0.0.11
    export TASKER_WORKER_PORT_5556_TCP_ADDR=10.0.0.11
    local program
    for program in $programs; do
        run --separate-stderr "$program" --set no.key=1
        has 'unknown key "no.key"' "$stderr"
        [ "$(wc -l <<<"$stderr")" -eq 1 ] || { echo "$stderr"; return 1; }
    done
    tasker-status config -v >out 2>err
    has 'info: service links of Kubernetes or Docker are ignored: TASKER_WORKER_' err
    has 'TASKER_WORKER_PORT_5556_TCP_ADDR' err
    TASKER_WORKER_PROT=1 run --separate-stderr -78 tasker-status config
    has 'unknown environment variable "TASKER_WORKER_PROT"' "$stderr"
}

@test "an environment without a section in the file is told once" {
    mkdir config
    echo 'test: {log: {level: warning}}' >config/tasker.yaml
    TASKER_ENV=production tasker-status config >out 2>err
    [ "$(cat err)" = 'tasker-status: warning: $TASKER_ENV is production, but config/tasker.yaml has no section "production": its common values are used' ]
    tasker-status -e staging config >out 2>err
    has 'warning: --environment is staging, but config/tasker.yaml has no section "staging"' err
    for environment in TASKER_ENV=test TASKER_ENV=development APP_ENV=production RAILS_ENV=development TASKER_ENV=; do
        env $environment tasker-status config >out 2>err
        [ ! -s err ] || { cat err; return 1; }
    done
    APP_ENV=production tasker-status config -v >out 2>err
    has 'info: $APP_ENV is production, but config/tasker.yaml has no section' err
}
