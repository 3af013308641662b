# bash completion for the programs of tasker. tests/options.bats holds it against the programs.

# Prints the options of a program, one a line: "-LETTER" or "-", "--NAME", what its argument is:
# nothing, "file", "key" (of the configuration), "tcp" (an endpoint), "store" (a url of one, or a file), "template", "state"
# (of what is listed), "arg" (anything), or the words to choose from, by commas.
_tasker_options()
{
    case $1 in
    tasker-collect) echo '
-a --all
-F --follow
-N --count arg
-t --timeout arg
-T --tap
- --topic arg
- --batch arg
-f --format json,text
- --status
- --strict
- --id arg
- --result-endpoint tcp
- --silence-timeout arg
- --store store' ;;
    tasker-publish) echo '
-n --dry-run
-b --batch-size arg
-d --batch-delay arg
-w --wait arg
-W --workers arg
-p --pending
-r --raw
- --pace at-once,recorded
- --batch-endpoint tcp
- --store store' ;;
    tasker-ready) echo '
-F --follow
-b --batch-size arg
-g --group handler,task,mixed
-l --limit arg
- --task arg
- --namespace arg
-n --dry-run
-x --explain
- --store store' ;;
    tasker-reconcile) echo '
-F --follow
-s --settle arg
-t --timeout arg
-f --format json,text
-p --pass
-r --receipts auto,all,none
-l --ledger
-S --since arg
-b --batch arg
-n --dry-run
- --rebuild
- --store store' ;;
    tasker-resolve) echo '
-r --reason arg
- --by arg
- --task arg
- --namespace arg
-H --handler arg
- --category validation,infrastructure,retryable,permanent,business_logic,timeout,cancelled,unknown
-l --limit arg
-w --wait arg
-n --dry-run
- --store store' ;;
    tasker-status) echo '
-f --format text,json,prometheus
-t --timeout arg
-l --listen
-s --state state
- --older-than arg
- --newer-than arg
-H --handler arg
- --task arg
-b --batch arg
- --category validation,infrastructure,retryable,permanent,business_logic,timeout,unknown
-n --limit arg
-r --raw
- --init
- --prune
- --dry-run
- --store store
- --batch-endpoint tcp
- --result-endpoint tcp' ;;
    tasker-submit) echo '
-T --template template
-x --context file
-C --check
-n --dry-run
- --dot
- --mermaid
- --task arg
- --namespace arg
- --template-version arg
- --initiator arg
- --source-system arg
- --reason arg
- --tag arg
-p --priority arg
- --correlation-id arg
- --bypass arg
-k --idempotency-key arg
- --store store' ;;
    tasker-work) echo '
-H --handlers file
-j --max-workers arg
- --queue-limit arg
- --id arg
- --batch-endpoint tcp
- --result-endpoint tcp
- --step-timeout arg
- --kill-grace arg
- --drain-timeout arg
- --max-output arg
- --circuit-failures arg
- --circuit-reset arg
- --check' ;;
    esac
    echo '
-c --config file
-e --environment development,test,production,staging
- --set key
- --log-format text,json
-v --verbose
-q --quiet
-h --help
-V --version'
}

# Prints the configuration keys, as the program that stands beside $1 knows them.
_tasker_keys()
{
    local folder=
    [[ $1 != */* ]] || folder=${1%/*}/
    "${folder}tasker-status" config 2>/dev/null </dev/null | awk '$1 ~ /^[a-z]+[.][a-z_]+$/ {print $1}'
}

# Prints what can stand behind the words of tasker-ready.
_tasker_explained()
{
    local word what=-
    for word; do
        case $word in
        -x | --explain) what='task step' ;;
        task | step) what=- && break ;;
        esac
    done
    echo "$what"
}

# Prints what can stand behind the words of tasker-resolve.
_tasker_actions()
{
    local word
    for word; do
        case $word in
        retry | reset | resolve | cancel) echo step task && return ;;
        hold | release) echo - && return ;;
        esac
    done
    echo retry reset resolve cancel hold release
}

# Prints the words that a program takes as operands, after those that stand there already; "-" where
# there are none to choose from, nothing where these are files.
_tasker_operands()
{
    local program=$1 word
    shift
    if [ "${program##*/}" = tasker-resolve ]; then
        _tasker_actions "$@"
        return
    fi
    if [ "${program##*/}" = tasker-ready ]; then
        _tasker_explained "$@"
        return
    fi
    [ "${program##*/}" = tasker-status ] || return
    for word; do
        case $word in
        config) _tasker_keys "$program" && return ;;
        endpoints) echo batch_endpoint result_endpoint && return ;;
        show) echo task batch step && return ;;
        workers | tasks | batches | steps | errors | slow | orphans | metrics | store) echo - && return ;;
        esac
    done
    echo config endpoints workers tasks batches steps show errors slow orphans metrics store
}

# Prints the states of what the words list.
_tasker_states()
{
    local word
    for word; do
        case $word in
        tasks) echo pending in_progress complete error cancelled resolved_manually && return ;;
        batches) echo created published executing completed failed timeout cancelled && return ;;
        esac
    done
    echo pending enqueued in_progress complete error cancelled resolved_manually
}

# Prints the subcommands of tasker-status that have an option; nothing: all do.
_tasker_shown_by()
{
    case $1 in
    --timeout) echo endpoints workers ;;
    --listen) echo endpoints ;;
    --state) echo tasks batches steps ;;
    --older-than) echo tasks batches steps errors slow orphans metrics store ;;
    --newer-than | --handler) echo tasks batches steps errors slow ;;
    --task) echo tasks batches steps slow ;;
    --batch) echo tasks batches steps show slow ;;
    --category) echo tasks batches steps errors ;;
    --limit) echo tasks batches steps show errors slow orphans ;;
    --init | --prune | --dry-run) echo store ;;
    --raw) echo show ;;
    --batch-endpoint | --result-endpoint) echo config endpoints workers ;;
    esac
}

# Whether an option goes with the words that stand there.
_tasker_goes() # PROGRAM OPTION WORD...
{
    local program=$1 option=$2 word shown_by
    shift 2
    case $program in
    tasker-status)
        shown_by=$(_tasker_shown_by "$option")
        for word; do
            case $word in
            config | endpoints | workers | tasks | batches | steps | show | errors | slow | orphans | metrics | store)
                [[ -z $shown_by || " $shown_by " == *" $word "* ]]
                return
                ;;
            esac
        done
        ;;
    tasker-resolve)
        [[ " $* " != *" hold "* && " $* " != *" release "* ]] || case $option in
        --task | --namespace | --handler | --category | --limit | --wait) return 1 ;;
        esac
        ;;
    esac
}

# Prints the names of the templates that are there.
_tasker_templates()
{
    local folder=
    [[ $1 != */* ]] || folder=${1%/*}/
    "${folder}tasker-submit" --check 2>/dev/null </dev/null |
        sed -n 's|^.*: [^/ ]*/\([^ ]*\) [^ ]*, [0-9]* step.*|\1|p'
}

_tasker()
{
    local program=${1##*/} word=$2 before=$3 letter name kind operands
    COMPREPLY=()
    if [ "$word" = = ]; then
        word=
    elif [ "$before" = = ]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    while read -r letter name kind; do
        [ -n "$kind" ] && { [ "$before" = "$name" ] || [ "$before" = "$letter" ]; } || continue
        case $kind in
        file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        tcp) mapfile -t COMPREPLY < <(compgen -W 'tcp ipc' -S :// -- "$word") ;;
        store)
            mapfile -t COMPREPLY < <(compgen -W 'sqlite sqlite: postgresql:// none' -- "$word")
            ((${#COMPREPLY[@]})) || { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word"); }
            ;;
        template)
            mapfile -t COMPREPLY < <(compgen -W "$(_tasker_templates "$1")" -- "$word")
            ((${#COMPREPLY[@]})) || { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word"); }
            ;;
        state) mapfile -t COMPREPLY < <(compgen -W "$(_tasker_states "${COMP_WORDS[@]}")" -- "$word") ;;
        arg) ;;
        key)
            compopt -o nospace 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -W "$(_tasker_keys "$1")" -S = -- "$word")
            ;;
        *) mapfile -t COMPREPLY < <(compgen -W "${kind//,/ }" -- "$word") ;;
        esac
        return
    done < <(_tasker_options "$program")
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_tasker_options "$program" |
            while read -r letter name _; do
                _tasker_goes "$program" "$name" "${COMP_WORDS[@]:1:COMP_CWORD-1}" || continue
                [ "$letter" = - ] || printf '%s\n' "$letter"
                printf '%s\n' "$name"
            done)" -- "$word")
    elif operands=$(_tasker_operands "$1" "${COMP_WORDS[@]:1:COMP_CWORD-1}") && [ -n "$operands" ]; then
        [ "$operands" = - ] || mapfile -t COMPREPLY < <(compgen -W "$operands" -- "$word")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -F _tasker tasker-ready tasker-status tasker-submit tasker-publish tasker-work tasker-collect tasker-reconcile tasker-resolve
