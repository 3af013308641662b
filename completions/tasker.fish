# fish completion for the programs of tasker. tests/options.bats holds it against the programs.

for program in tasker-collect tasker-publish tasker-reconcile tasker-status tasker-work
    complete -c $program -s c -l config -r -F -d 'Read this configuration file'
    complete -c $program -s e -l environment -x -a 'development test production staging' -d 'Use this section of it'
    complete -c $program -l set -x -d 'Set any configuration key'
    complete -c $program -l log-format -x -a 'text json' -d 'Form of messages on stderr'
    complete -c $program -s v -l verbose -d 'Tell more on stderr; twice: everything'
    complete -c $program -s q -l quiet -d 'Tell only errors'
    complete -c $program -s h -l help -d 'Show a short help'
    complete -c $program -s V -l version -d 'Show the version'
end

complete -c tasker-status -f -n __fish_use_subcommand -a config -d 'Every value and its origin'
complete -c tasker-status -f -n __fish_use_subcommand -a endpoints -d 'Who is behind each endpoint'
complete -c tasker-status -s f -l format -x -a 'text json' -d 'Form of the output'
complete -c tasker-status -s t -l timeout -x -d 'Time for each handshake, answer and --listen'
complete -c tasker-status -s l -l listen -d 'Where nothing listens, do so and tell who subscribes'
complete -c tasker-status -l batch-endpoint -x -d 'Where batches go out'
complete -c tasker-status -l result-endpoint -x -d 'Where results come back'
