#!/usr/bin/env bats
# make install puts all in place, what it put there can be used, and make uninstall takes it away.
load helper

# The build that is tested, with the variables of the make that runs the tests, if one does.
make_it() { make --no-print-directory -j1 -C "$ROOT" BUILD="${TASKER_BUILD:-build}" DESTDIR="$PWD/to" PREFIX=/usr "$@"; }

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

    # A program can be built with the library.
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

    make_it uninstall >log 2>&1
    [ -z "$(find to ! -type d)" ]
}
