#!/usr/bin/env bats
# The layers of lib and cmd: an include points down only (tests/layers has the rule).
load helper
teardown() { test_end; }

copy() { # the checkout's lib, include and cmd into the folder of this test
    cp -r "$ROOT/lib" "$ROOT/include" "$ROOT/cmd" .
}

@test "layers: no include of this checkout points upward or sideways" {
    run -0 "$ROOT/tests/layers"
    [ -z "$output" ]
}

@test "layers: an include that is turned round is named with its line" {
    local file include number
    while read -r file include; do
        rm -rf lib include cmd
        copy
        echo "#include \"$include\"" >>"$file"
        number=$(wc -l <"$file")
        run -1 "$ROOT/tests/layers" .
        [[ $output == "$file:$number: "*" may not include $include ("*")" ]]
    done <<'END'
lib/base/buf.c tasker/json.h
lib/conf/conf.c bus/bus_private.h
lib/workflow/retry.c common/diag.h
include/tasker/buf.h base/apart.h
cmd/common/diag.c work/work.h
cmd/work/launch.c publish/dispatch.h
END
}

@test "layers: a file of lib that is in no room is named" {
    copy
    touch lib/stray.c
    run -1 "$ROOT/tests/layers" .
    [[ $output == "lib/stray.c: is in no room: "* ]]
}

@test "layout: no line of C outside a clang-format off block is longer than 100 columns" {
    long() {
        find "$1/lib" "$1/include" "$1/cmd" "$1/tests" -name '*.[ch]' -exec env LC_ALL=C awk '
            FNR == 1 || /clang-format on/ { off = 0 }
            /clang-format off/ { off = 1 }
            { gsub(/[\200-\277]/, "") } # the further bytes of a character
            !off && length > 100 { print FILENAME ":" FNR ": " length " columns" }' {} +
    }
    mkdir lib include cmd tests
    printf '/* %098d */\n/* clang-format off */\n/* %098d */\n' 0 0 >lib/x.c
    [[ $(long .) == "./lib/x.c:1: 104 columns" ]]
    [ -z "$(long "$ROOT")" ]
}
