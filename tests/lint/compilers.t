#!/bin/sh
# No compiler has anything to say about the source at either end of optimisation; the builds are in
# between. Each level follows other paths, and so warns of other things.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

sh tests/musl-headers "$lint_dir/musl-include"

# compile_all COMPILER LEVEL [FLAG...]
compile_all()
{
	CC=$1
	level=$2
	shift 2
	for source in src/*.c src/*/*.c; do
		compile "$level" -fPIE "$@" -S -o /dev/null "$source" || return
	done
}

for level in -O0 -O3; do
	ok "gcc $level" compile_all gcc "$level"
	ok "clang $level" compile_all clang "$level"
	ok "musl-gcc $level" compile_all musl-gcc "$level" -idirafter "$lint_dir/musl-include"
done
done_testing
