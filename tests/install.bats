#!/usr/bin/env bats
# make install puts all in place, what it put there can be used, and make uninstall takes it away.
load helper

# The build that is tested, with the variables of the make that runs the tests, if one does.
make_it() { make --no-print-directory -j1 -C "$ROOT" BUILD="${TASKER_BUILD:-build}" DESTDIR="$PWD/to" PREFIX=/usr "$@"; }

# With another prefix, the programs that the installed crontab finds run the installed examples.
installed_example() {
    local doc=$PWD/other/share/doc/tasker
    make_it install DESTDIR= PREFIX="$PWD/other" >log 2>&1 || { cat log; false; }
    endpoints
    (
        PATH=$(sed -n 's/^PATH=//p' "$doc/crontab")
        [ "$(command -v tasker-work)" = "$PWD/other/bin/tasker-work" ]
        export TASKER_CONFIG=$doc/tasker.yaml
        tasker-work --check
        tasker-submit --check
        tasker-submit --dry-run "$doc/demo/orders.jsonl" >tasks
        spawn work tasker-work
        status=0
        tasker-publish "$doc/demo/order_fulfillment.jsonl" | tasker-collect --timeout 60s |
            tasker-reconcile --format text >verdicts || status=$?
        [ "$status" -eq 1 ] # the card is declined
        end_by_pid work
    )
    has "order-12347: consistent, 4 steps, 4 completed" verdicts
    make_it uninstall DESTDIR= PREFIX="$PWD/other" >log 2>&1
    [ -z "$(find other ! -type d)" ]
}

# One test: two would build in the same folder at the same time.
@test "install: everything is in place and can be used, and uninstall leaves nothing" {
    local name
    make_it install >log 2>&1 || { cat log; false; }
    for name in "$ROOT"/cmd/tasker-*.c; do
        name=$(basename "$name" .c)
        "to/usr/bin/$name" --version
        [ -s "to/usr/share/man/man1/$name.1" ]
        [ -s "to/usr/share/bash-completion/completions/$name" ]
        [ -s "to/usr/share/fish/vendor_completions.d/$name.fish" ]
    done
    [ -s to/usr/share/man/man7/tasker.7 ]
    [ -s to/usr/share/zsh/site-functions/_tasker ]
    to/usr/bin/tasker-status config -c to/usr/share/doc/tasker/tasker.yaml >/dev/null
    [ -s to/usr/share/doc/tasker/handlers.yaml ]
    grep -qx 'ExecStart=/usr/bin/tasker-ready --follow' to/usr/lib/systemd/system/tasker-ready.service

    # A program can be built with the library, in C and in C++.
    cat >use.c <<'END'
#include <stdio.h>
#include <tasker/tasker.h>
int main(void)
{
    puts(tsk_verdict_name(TSK_DISCREPANT));
    return tsk_exit_worse(TSK_OK, TSK_NO);
}
END
    local flags san=
    flags=$(PKG_CONFIG_PATH=$PWD/to/usr/lib/pkgconfig pkg-config --define-variable=prefix="$PWD/to/usr" --cflags --libs tasker)
    ! grep -q fsanitize "${TASKER_BUILD:-$ROOT/build}/flags" || san=-fsanitize=address,undefined
    # shellcheck disable=SC2086
    cc -std=c11 $san -o use use.c $flags
    run -1 ./use
    [ "$output" = discrepant ]
    # shellcheck disable=SC2086
    c++ -std=c++17 -Wall -Wextra -pedantic -Werror -x c++ $san -o use++ use.c -x none $flags
    run -1 ./use++
    [ "$output" = discrepant ]

    installed_example

    make_it uninstall >log 2>&1
    [ -z "$(find to ! -type d)" ]
    [ "$(cd to/usr && find . -type d | sort | xargs)" = ". ./bin ./include ./lib ./share ./share/man" ]
}
