#!/bin/sh
# What is at the top of the tree and how large the parts are that must stay small; what the binaries
# need. They are built beforehand: make all static.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need readelf strip ldd

is 'the top of the tree' "$(find . -mindepth 1 -maxdepth 1 ! -name '.*' ! -name build \
	! -name natpunch ! -name natpunch-static | sort | tr '\n' ' ')" \
	'./LICENSE ./Makefile ./README.md ./include ./man ./src ./tests '
between 'lines of src/main.c' "$(wc -l <src/main.c)" 1 99
between 'lines of the Makefile' "$(wc -l <Makefile)" 1 140

[ -x natpunch ] && [ -x natpunch-static ] || bail 'build it first: make all static'
is 'natpunch needs libc and nothing else' "$(readelf -d natpunch |
	sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p')" libc.so.6
unlike 'and ldd says so too' "$(ldd ./natpunch)" '^[[:space:]]*(lib([^c]|c[^.])|/.*/lib([^dc]|c[^.]))'
like 'natpunch is position independent' "$(readelf -h natpunch)" 'Type:[[:space:]]*DYN'
like 'and its relocations are read-only' "$(readelf -d natpunch)" 'BIND_NOW|FLAGS.*NOW'
unlike 'the static binary has no interpreter' "$(readelf -l natpunch-static)" 'INTERP'
unlike 'and no library' "$(readelf -d natpunch-static)" 'NEEDED'
is 'both are the same program' "$(./natpunch --version)" "$(./natpunch-static --version)"
ok 'the static binary can be stripped' strip -o "$lint_dir/stripped" natpunch-static
between 'its size in bytes' "$(wc -c <"$lint_dir/stripped")" 10000 465000
done_testing
