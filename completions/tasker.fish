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

for program in tasker-collect tasker-publish tasker-reconcile tasker-status tasker-work
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

complete -c tasker-publish -s n -l dry-run -d 'Print the batches that would be sent, and open no socket'
complete -c tasker-publish -s b -l batch-size -x -d 'Put at most so many single steps into a batch'
complete -c tasker-publish -s d -l batch-delay -x -d 'Send a batch of single steps this long after its first one'
complete -c tasker-publish -s w -l wait -x -d 'How long to wait for the port, and for a worker'
complete -c tasker-publish -s W -l workers -x -d 'Wait for so many registered workers before the first batch'
complete -c tasker-publish -s r -l raw -d 'Send messages that tasker-collect --tap recorded, as they are'
complete -c tasker-publish -l pace -x -a 'at-once recorded' -d 'With --raw: at once, or as recorded'
complete -c tasker-publish -l batch-endpoint -x -d 'Where batches go out'

complete -c tasker-reconcile -s F -l follow -d 'Run as a service: settle each batch soon after its last news'
complete -c tasker-reconcile -s s -l settle -x -d 'With --follow: wait so long for stragglers of a batch'
complete -c tasker-reconcile -s t -l timeout -x -d 'A batch of which nothing is heard for so long has timed out'
complete -c tasker-reconcile -s f -l format -x -a 'json text' -d 'Form of the verdicts: json or text'
complete -c tasker-reconcile -s p -l pass -d 'Pass on receipts and results too'
complete -c tasker-reconcile -s r -l receipts -x -a 'auto all none' -d 'Batches that must have a receipt: auto, all or none'

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
complete -c tasker-status -s t -l timeout -x -d 'Endpoints: time for each handshake, answer and --listen; workers: for all'
complete -c tasker-status -s l -l listen -d 'Endpoints: where nothing listens, do so and tell who subscribes'
complete -c tasker-status -s s -l state -x -a '(__tasker_states)' -d 'Only those in this state, or these, by commas'
complete -c tasker-status -l older-than -x -d 'Only those made so long ago; errors, orphans: without news for so long; store: ended then'
complete -c tasker-status -l newer-than -x -d 'Only those made since then; errors: seen since then'
complete -c tasker-status -s H -l handler -x -d 'Only those of this handler_class, or glob'
complete -c tasker-status -l task -x -d 'Only those of this task'
complete -c tasker-status -s b -l batch -x -d 'Only those of this batch'
complete -c tasker-status -l category -x -a 'validation infrastructure retryable permanent business_logic timeout unknown' -d 'Only those with errors of this category'
complete -c tasker-status -s n -l limit -x -d 'At most so many, 0: all'
complete -c tasker-status -s r -l raw -d 'Show: the bytes of messages as they came, too'
complete -c tasker-status -l init -d 'Store: make it, if it is not there, and do nothing else'
complete -c tasker-status -l prune -d 'Store: take away what ended --older-than so long ago'
complete -c tasker-status -l dry-run -d 'Store --prune: only tell how much it would be'
complete -c tasker-status -l store -x -a 'sqlite sqlite: postgresql:// none' -d 'Where state is kept'
complete -c tasker-status -l batch-endpoint -x -d 'Where batches go out'
complete -c tasker-status -l result-endpoint -x -d 'Where results come back'

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
complete -c tasker-work -l check -d 'Check configuration, registry and handlers, then exit'
