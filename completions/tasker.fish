# fish completion for the programs of tasker. tests/options.bats holds it against the programs.

# The configuration keys.
function __tasker_keys
    tasker-status config 2>/dev/null | string replace -rf '^([a-z]+[.][a-z_]+) .*' '$1'
end

# The states of what is listed.
function __tasker_states
    if __fish_seen_subcommand_from batches
        printf '%s\n' created published executing completed failed timeout cancelled
    else
        printf '%s\n' pending enqueued in_progress complete error cancelled resolved_manually
    end
end

# The names of the templates that are there.
function __tasker_templates
    tasker-submit --check 2>/dev/null | string replace -rf '^.*: [^/ ]*/([^ ]*) [^ ]*, [0-9]+ step.*' '$1'
end

# Whether an option goes with what tasker-status is to show: one of these, or none yet.
function __tasker_shows
    __fish_use_subcommand; or __fish_seen_subcommand_from $argv
end

for program in tasker-collect tasker-publish tasker-ready tasker-reconcile tasker-resolve tasker-status tasker-submit tasker-work
    complete -c $program -s c -l config -r -F -d 'Read this configuration file'
    complete -c $program -s e -l environment -x -a 'development test production staging' -d 'Use this section of it'
    complete -c $program -l set -x -a '(__tasker_keys)=' -d 'Set any configuration key'
    complete -c $program -l log-format -x -a 'text json' -d 'Form of messages on stderr'
    complete -c $program -s v -l verbose -d 'Tell more on stderr; twice: everything'
    complete -c $program -s q -l quiet -d 'Tell only errors'
    complete -c $program -s h -l help -d 'Show a short help'
    complete -c $program -s V -l version -d 'Show the version'
end

complete -c tasker-collect -s a -l all -d 'Print the results of batches without a receipt too'
complete -c tasker-collect -s F -l follow -d 'Print everything and go on until stopped'
complete -c tasker-collect -s N -l count -x -d 'Print everything and end after N results'
complete -c tasker-collect -s t -l timeout -x -d 'Give a batch up so long after its receipt'
complete -c tasker-collect -s T -l tap -d 'Print every message of endpoints, unnoticed by all'
complete -c tasker-collect -l topic -x -d 'With --tap: only messages whose topic begins so'
complete -c tasker-collect -l batch -x -d 'With --tap: only messages of this batch'
complete -c tasker-collect -s f -l format -x -a 'json text' -d 'With --tap: json or text'
complete -c tasker-collect -l status -d 'Print status messages of workers too'
complete -c tasker-collect -l strict -d 'End with 65 if any message could not be read'
complete -c tasker-collect -l id -x -d 'Name of this collector'
complete -c tasker-collect -l result-endpoint -x -d 'Where results come from'
complete -c tasker-collect -l silence-timeout -x -d 'Give a batch up when its worker was not heard for so long'
complete -c tasker-collect -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where each message is kept'

complete -c tasker-publish -s n -l dry-run -d 'Print the batches that would be sent, and open no socket'
complete -c tasker-publish -s b -l batch-size -x -d 'Put at most so many single steps into a batch'
complete -c tasker-publish -s d -l batch-delay -x -d 'Send a batch of single steps this long after its first one'
complete -c tasker-publish -s w -l wait -x -d 'How long to wait for the port, and for a worker'
complete -c tasker-publish -s W -l workers -x -d 'Wait for so many registered workers before the first batch'
complete -c tasker-publish -s p -l pending -d 'Send what the store has and no worker accepted yet'
complete -c tasker-publish -s r -l raw -d 'Send messages that tasker-collect --tap recorded, as they are'
complete -c tasker-publish -l pace -x -a 'at-once recorded' -d 'With --raw: at once, or as recorded'
complete -c tasker-publish -l batch-endpoint -x -d 'Where batches go out'
complete -c tasker-publish -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where batches are recorded: sqlite:PATH, none ...'

complete -c tasker-ready -s F -l follow -d 'Run as a service'
complete -c tasker-ready -s b -l batch-size -x -d 'Put at most so many steps into a batch'
complete -c tasker-ready -s g -l group -x -a 'handler task mixed' -d 'What the steps of a batch have in common'
complete -c tasker-ready -s l -l limit -x -d 'Claim at most so many steps, then end'
complete -c tasker-ready -l task -x -d 'Only steps of this task'
complete -c tasker-ready -l namespace -x -d 'Only steps of tasks of this namespace'
complete -c tasker-ready -s n -l dry-run -d 'Print the batches that would be made'
complete -c tasker-ready -s x -l explain -d 'Say why a step, or each step of a task, does not run'
complete -c tasker-ready -f -n '__fish_contains_opt -s x explain' -a 'step task'
complete -c tasker-ready -f
complete -c tasker-ready -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where tasks are kept'

complete -c tasker-reconcile -s F -l follow -d 'Run as a service: settle each batch soon after its last news'
complete -c tasker-reconcile -s s -l settle -x -d 'With --follow: wait so long for stragglers of a batch'
complete -c tasker-reconcile -s t -l timeout -x -d 'A batch of which nothing is heard for so long has timed out'
complete -c tasker-reconcile -s f -l format -x -a 'json text' -d 'Form of the verdicts: json or text'
complete -c tasker-reconcile -s p -l pass -d 'Pass on receipts and results too'
complete -c tasker-reconcile -s r -l receipts -x -a 'auto all none' -d 'Batches that must have a receipt: auto, all or none'
complete -c tasker-reconcile -s l -l ledger -d 'Settle what the store\'s ledger has news of, in place of lines'
complete -c tasker-reconcile -s S -l since -x -d 'With --ledger: what it has got since then, a time or a duration ago, settled or not'
complete -c tasker-reconcile -s b -l batch -x -d 'Settle this batch from the ledger (may be repeated)'
complete -c tasker-reconcile -s n -l dry-run -d 'With --ledger or --batch: tell what would change, and change nothing'
complete -c tasker-reconcile -l rebuild -d 'Make all that is derived from the ledger anew'
complete -c tasker-reconcile -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where batches and the ledger are'

complete -c tasker-resolve -f -n __fish_use_subcommand -a retry -d 'Try again now'
complete -c tasker-resolve -f -n __fish_use_subcommand -a reset -d 'All attempts again'
complete -c tasker-resolve -f -n __fish_use_subcommand -a resolve -d 'Done by other means'
complete -c tasker-resolve -f -n __fish_use_subcommand -a cancel -d 'Not to be run, or not any more'
complete -c tasker-resolve -f -n __fish_use_subcommand -a hold -d 'Claim nothing of a namespace'
complete -c tasker-resolve -f -n __fish_use_subcommand -a release -d 'Claim it again'
complete -c tasker-resolve -f -n '__fish_seen_subcommand_from retry reset resolve cancel' -a 'step task'
complete -c tasker-resolve -f -n '__fish_seen_subcommand_from hold release'
complete -c tasker-resolve -s r -l reason -x -d 'Why; it is kept with what was done'
complete -c tasker-resolve -l by -x -d 'Who does it'
complete -c tasker-resolve -n 'not __fish_seen_subcommand_from hold release' -l task -x -d 'Steps of this task'
complete -c tasker-resolve -n 'not __fish_seen_subcommand_from hold release' -l namespace -x -d 'Steps of tasks of this namespace'
complete -c tasker-resolve -n 'not __fish_seen_subcommand_from hold release' -s H -l handler -x -d 'Steps of this handler_class, or glob'
complete -c tasker-resolve -n 'not __fish_seen_subcommand_from hold release' -l category -x -a 'validation infrastructure retryable permanent business_logic timeout cancelled unknown' -d 'Steps with errors of this category'
complete -c tasker-resolve -n 'not __fish_seen_subcommand_from hold release' -s l -l limit -x -d 'At most so many of these'
complete -c tasker-resolve -n 'not __fish_seen_subcommand_from hold release' -s w -l wait -x -d 'How long to wait for workers'
complete -c tasker-resolve -s n -l dry-run -d 'Print what would be done, and do nothing'
complete -c tasker-resolve -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where tasks are kept'

complete -c tasker-status -f -n __fish_use_subcommand -a config -d 'Every value and its origin'
complete -c tasker-status -f -n __fish_use_subcommand -a endpoints -d 'Who is behind each endpoint'
complete -c tasker-status -f -n __fish_use_subcommand -a workers -d 'Which workers are there'
complete -c tasker-status -f -n __fish_use_subcommand -a tasks -d 'Tasks in the store'
complete -c tasker-status -f -n __fish_use_subcommand -a batches -d 'Batches in the store'
complete -c tasker-status -f -n __fish_use_subcommand -a steps -d 'Steps in the store'
complete -c tasker-status -f -n __fish_use_subcommand -a show -d 'One of them, with its history'
complete -c tasker-status -f -n __fish_use_subcommand -a errors -d 'What failed, by category and handler'
complete -c tasker-status -f -n __fish_use_subcommand -a slow -d 'The slowest steps and batches'
complete -c tasker-status -f -n __fish_use_subcommand -a orphans -d 'What nothing is heard of'
complete -c tasker-status -f -n __fish_use_subcommand -a metrics -d 'The store as metrics'
complete -c tasker-status -f -n __fish_use_subcommand -a store -d 'The store as such: health, size; made, pruned'
complete -c tasker-status -f -n '__fish_seen_subcommand_from show' -a 'task batch step'
complete -c tasker-status -f -n '__fish_seen_subcommand_from config' -a '(__tasker_keys)' -d 'Key'
complete -c tasker-status -f -n '__fish_seen_subcommand_from endpoints' -a 'batch_endpoint result_endpoint'
complete -c tasker-status -s f -l format -x -a 'text json prometheus' -d 'Form of the output: text, json or prometheus'
complete -c tasker-status -n '__tasker_shows endpoints workers' -s t -l timeout -x -d 'Endpoints: time for each handshake, answer and --listen; workers: for all'
complete -c tasker-status -n '__tasker_shows endpoints' -s l -l listen -d 'Endpoints: where nothing listens, do so and tell who subscribes'
complete -c tasker-status -n '__tasker_shows tasks batches steps' -s s -l state -x -a '(__tasker_states)' -d 'Only those in this state, or these, by commas'
complete -c tasker-status -n '__tasker_shows tasks batches steps errors slow orphans metrics store' -l older-than -x -d 'Only those made so long ago; errors, orphans: without news for so long; store: ended then'
complete -c tasker-status -n '__tasker_shows tasks batches steps errors slow' -l newer-than -x -d 'Only those made since then; errors: seen since then'
complete -c tasker-status -n '__tasker_shows tasks batches steps errors slow' -s H -l handler -x -d 'Only those of this handler_class, or glob'
complete -c tasker-status -n '__tasker_shows tasks batches steps slow' -l task -x -d 'Only those of this task'
complete -c tasker-status -n '__tasker_shows tasks batches steps show slow' -s b -l batch -x -d 'Only those of this batch'
complete -c tasker-status -n '__tasker_shows tasks batches steps errors' -l category -x -a 'validation infrastructure retryable permanent business_logic timeout unknown' -d 'Only those with errors of this category'
complete -c tasker-status -n '__tasker_shows store' -l init -d 'Store: make it, if it is not there'
complete -c tasker-status -n '__tasker_shows store' -l prune -d 'Store: take away what ended so long ago'
complete -c tasker-status -n '__tasker_shows store' -l dry-run -d 'Store --prune: only tell how much it would be'
complete -c tasker-status -n '__tasker_shows tasks batches steps show errors slow orphans' -s n -l limit -x -d 'At most so many, 0: all'
complete -c tasker-status -n '__tasker_shows show' -s r -l raw -d 'Show: the bytes of messages as they came, too'
complete -c tasker-status -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where state is kept'
complete -c tasker-status -n '__tasker_shows config endpoints workers' -l batch-endpoint -x -d 'Where batches go out'
complete -c tasker-status -n '__tasker_shows config endpoints workers' -l result-endpoint -x -d 'Where results come back'

complete -c tasker-submit -s T -l template -r -F -a '(__tasker_templates)' -d 'The template of all requests'
complete -c tasker-submit -s x -l context -r -F -d 'Submit one task with this context'
complete -c tasker-submit -s C -l check -d 'Check templates and exit'
complete -c tasker-submit -s n -l dry-run -d 'Check requests and print what would be made'
complete -c tasker-submit -l dot -d 'Draw --template, or --task, for Graphviz'
complete -c tasker-submit -l mermaid -d 'Draw --template, or --task, for Mermaid'
complete -c tasker-submit -l task -x -d 'A task of the store, with its states'
complete -c tasker-submit -l namespace -x -d 'Namespace of requests that name none'
complete -c tasker-submit -l template-version -x -d 'Version of requests that name none'
complete -c tasker-submit -l initiator -x -d 'Initiator of requests that name none'
complete -c tasker-submit -l source-system -x -d 'Source system of requests that name none'
complete -c tasker-submit -l reason -x -d 'Reason of requests that name none'
complete -c tasker-submit -l tag -x -d 'A tag of requests that name none'
complete -c tasker-submit -s p -l priority -x -d 'Priority of requests that name none'
complete -c tasker-submit -l correlation-id -x -d 'Correlation id of requests that name none'
complete -c tasker-submit -l bypass -x -d 'A skippable step not to be run'
complete -c tasker-submit -s k -l idempotency-key -x -d 'A second submission with it is the first task'
complete -c tasker-submit -l store -r -F -a 'sqlite sqlite: postgresql:// none' -d 'Where tasks are kept'

complete -c tasker-work -s H -l handlers -r -F -d 'The handler registry'
complete -c tasker-work -s j -l max-workers -x -d 'Steps run at the same time'
complete -c tasker-work -l queue-limit -x -d 'Steps accepted and waiting'
complete -c tasker-work -l id -x -d 'Name of this worker; otherwise HOST-PID'
complete -c tasker-work -l batch-endpoint -x -d 'Where batches come from'
complete -c tasker-work -l result-endpoint -x -d 'Where results go'
complete -c tasker-work -l step-timeout -x -d 'Time limit of a step that names none'
complete -c tasker-work -l kill-grace -x -d 'Time between TERM and KILL'
complete -c tasker-work -l drain-timeout -x -d 'Time that running steps have at the end'
complete -c tasker-work -l max-output -x -d 'Bytes of output kept of one step'
complete -c tasker-work -l circuit-failures -x -d 'Failures in a row after which a handler rests; 0: never'
complete -c tasker-work -l circuit-reset -x -d 'How long it rests before a step is tried'
complete -c tasker-work -l check -d 'Check configuration, registry and handlers, then exit'
