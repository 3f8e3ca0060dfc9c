#!/usr/bin/env bash
# Includes point one way, and each engine's headers stay in the folder that binds it.
#   tests/lint/include_direction.sh [ROOT]   check a tree (default: this one)
#   tests/lint/include_direction.sh --self-test
set -euo pipefail

# shellcheck disable=SC2016 # the program in single quotes is Perl's
check() {
    (cd "$1" && { find storage fabric scheduler cli -name '*.[ch]' 2>/dev/null || true; } | sort | xargs -r perl -ne '
        BEGIN {
            # A folder may include what stands on its own line or before it. The longest match counts.
            @layers = ("storage/base", "storage/multiformats", "storage/dag", "storage/store", "storage/files",
                       "storage/ipfs_http_client",
                       "fabric/identity", "fabric/swarm", "fabric/exchange", "fabric/loop", "fabric/api", "fabric/node",
                       "scheduler/core", "scheduler/exec", "scheduler/ledger", "cli");
            $rank{$layers[$_]} = $_ for 0 .. $#layers;
            # A library of its own: it includes nothing of ours.
            $alone = "storage/ipfs_http_client";
            # Headers of an engine, and the folders that may include them.
            @fences = ([qr{^lmdb\.h$}, qr{^storage/store/}],
                       [qr{^uv\.h$}, qr{^fabric/loop/}],
                       [qr{^(microhttpd\.h|wslay/)}, qr{^fabric/api/}],
                       [qr{^curl/}, qr{^storage/ipfs_http_client/}],
                       [qr{^confuse\.h$}, qr{^cli/}],
                       [qr{^archive(_entry)?\.h$}, qr{^(storage/files|scheduler/ledger)/}]);
            sub layer {
                my ($path) = @_;
                for my $l (sort { length $b <=> length $a } keys %rank) { return $l if index($path, "$l/") == 0 }
                return undef;
            }
        }
        close ARGV if eof;
        if (/^\s*#\s*include\s*"([^"]+)"/) {
            my $to = $1;
            if (index($ARGV, "$alone/") == 0) {
                say_bad("includes \"$to\": this library stands alone") unless index($to, "$alone/") == 0 or $to !~ m{/};
                next;
            }
            my ($from, $target) = (layer($ARGV), layer($to));
            if (!-f $to) { say_bad("includes \"$to\", which is not a path from the root") }
            elsif (!defined $from) { say_bad("lies in no known layer") }
            elsif (!defined $target) { say_bad("includes \"$to\", which lies in no known layer") }
            elsif ($rank{$target} > $rank{$from}) { say_bad("includes \"$to\": $from may not see $target") }
        } elsif (/^\s*#\s*include\s*<([^>]+)>/) {
            my $header = $1;
            for my $f (@fences) {
                say_bad("includes <$header>, which belongs to another folder")
                    if $header =~ $f->[0] and $ARGV !~ $f->[1];
            }
        }
        sub say_bad { print "$ARGV:$.: $_[0]\n"; $bad++ }
        END { $? = 1 if $bad }')
}

# Each planted line must be refused, and a clean tree must pass: the check itself is tested.
self_test() {
    local tree failures=0
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' RETURN
    plant() { # EXPECT FILE LINE
        rm -rf "${tree:?}"/*
        mkdir -p "$tree"/{storage/{base,multiformats,dag,store,files,ipfs_http_client},fabric/loop,scheduler/{core,exec},cli}
        touch "$tree"/storage/{base/rc,dag/walk,store/store,files/put}.h "$tree/scheduler/core/action.h" "$tree/cli/cli.h"
        echo "$3" >"$tree/$2"
        local got=pass
        check "$tree" >"$tree/out" || got=refuse
        if [ "$got" != "$1" ]; then
            echo "self-test: '$3' in $2: expected $1, got $got"
            failures=1
        fi
    }
    plant pass storage/store/a.c '#include "storage/dag/walk.h"'
    plant pass storage/store/a.c '#include <lmdb.h>'
    plant pass cli/a.c '#include "scheduler/core/action.h"'
    plant refuse storage/base/a.c '#include "storage/dag/walk.h"'
    plant refuse storage/store/a.c '#include "storage/files/put.h"'
    plant refuse storage/files/a.h '#  include "scheduler/core/action.h"'
    plant refuse scheduler/core/a.c '#include "cli/cli.h"'
    plant refuse scheduler/exec/a.c '#include <lmdb.h>'
    plant refuse cli/a.c '#include <uv.h>'
    plant refuse storage/files/a.c '#include "rc.h"'
    plant refuse storage/ipfs_http_client/a.c '#include "storage/base/rc.h"'
    plant refuse storage/dag/a.c '#include <curl/curl.h>'
    return $failures
}

if [ "${1:-}" = --self-test ]; then
    self_test && echo "include direction: self-test passed"
else
    check "${1:-$(dirname "$0")/../..}" && echo "include direction: clean"
fi
