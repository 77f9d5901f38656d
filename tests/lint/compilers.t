#!/bin/sh
# No compiler has anything to say about the source at the far end of optimisation, where they follow
# most paths; the builds are before it. Without LINT=all about half of the files. COMPILERS=all: nor
# without any optimisation, and musl-gcc at both ends.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

note "LINT=$LINT"
sh tests/musl-headers "$lint_dir/musl-include"

# compile_all COMPILER LEVEL [FLAG...]
compile_all()
{
	CC=$1
	level=$2
	shift 2
	for source in $(sources); do
		compile "$level" -fPIE "$@" -S -o /dev/null "$source" || return
	done
}

levels=-O3
[ "${COMPILERS-}" != all ] || levels='-O0 -O3'
for level in $levels; do
	ok "gcc $level" compile_all gcc "$level"
	ok "clang $level" compile_all clang "$level"
	[ "${COMPILERS-}" = all ] || continue
	ok "musl-gcc $level" compile_all musl-gcc "$level" -idirafter "$lint_dir/musl-include"
done
done_testing
