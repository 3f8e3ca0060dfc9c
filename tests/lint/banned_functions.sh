#!/usr/bin/env bash
# Functions that no C file here may call: they overflow, cannot report an error, start a shell, or race.
#   tests/lint/banned_functions.sh [ROOT]   check a tree (default: this one)
#   tests/lint/banned_functions.sh --self-test
set -euo pipefail

# shellcheck disable=SC2016 # the program in single quotes is Perl's
check() {
    (cd "$1" && { find storage fabric scheduler cli tests -name '*.[ch]' 2>/dev/null || true; } | sort | xargs -r perl -0777 -ne '
        BEGIN { $banned = join "|", qw(strcpy strcat stpcpy strncat sprintf vsprintf gets strtok atoi atol atoll atof
                                       system popen alloca tmpnam tempnam mktemp signal asctime ctime gmtime localtime) }
        # Blank out comments, strings and character constants, keeping the lines.
        s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\x27(?:\\.|[^\x27\\\n])*\x27)}{my $t = $1; $t =~ s/[^\n]/ /g; $t}gse;
        my $line = 0;
        for (split /\n/) {
            $line++;
            while (/(?<![\w.>])($banned)\s*\(/g) { print "$ARGV:$line: calls $1\n"; $bad = 1 }
        }
        END { $? = 1 if $bad }')
}

self_test() {
    local tree failures=0
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' RETURN
    mkdir -p "$tree/storage"
    plant() { # EXPECT LINE
        printf '%s\n' "$2" >"$tree/storage/a.c"
        local got=pass
        check "$tree" >/dev/null || got=refuse
        if [ "$got" != "$1" ]; then
            echo "self-test: '$2': expected $1, got $got"
            failures=1
        fi
    }
    plant refuse 'strcpy(a, b);'
    plant refuse 'int n = atoi (text);'
    plant refuse '"x" /* y */ ; system("rm")'
    plant refuse 'char *p = alloca(n);'
    plant pass '/* strcpy(a, b) is banned */'
    plant pass 'puts("never call system(x)");'
    plant pass 'snprintf(a, n, "x"); fab_system(); ops->system(); mkstemp(p); // gets(s)'
    return $failures
}

if [ "${1:-}" = --self-test ]; then
    self_test && echo "banned functions: self-test passed"
else
    check "${1:-$(dirname "$0")/../..}" && echo "banned functions: clean"
fi
