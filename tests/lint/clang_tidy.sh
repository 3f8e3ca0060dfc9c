#!/usr/bin/env bash
# clang-tidy with .clang-tidy over every source file of a configured build: tests/lint/clang_tidy.sh BUILD-DIRECTORY
# (the preset clang writes the compile_commands.json that it needs).
#   tests/lint/clang_tidy.sh --self-test   a planted defect must be found
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --self-test ]; then
    planted=$(mktemp -d)
    trap 'rm -rf "$planted"' EXIT
    printf '#include <stdlib.h>\nint f(void);\nint f(void)\n{\n    int *p = malloc(4);\n    free(p);\n    return *p;\n}\n' \
        >"$planted/a.c"
    if clang-tidy --quiet --config-file=.clang-tidy "$planted/a.c" -- -std=c17 >"$planted/out" 2>&1; then
        echo "clang-tidy: self-test failed: a use after free was not found"
        exit 1
    fi
    echo "clang-tidy: self-test passed"
    exit 0
fi

build=${1:?a build directory}
find storage fabric scheduler cli -name '*.c' -print0 |
    xargs -0 -r -n 4 -P "$(nproc)" clang-tidy --quiet --config-file=.clang-tidy -p "$build" 2>/dev/null
echo "clang-tidy: clean"
