#!/bin/sh
# Every header stands alone, and may be included twice.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

for header in include/natpunch/*/*.h src/*/*.h tests/*.h; do
	printf '#include "%s"\n#include "%s"\n' "$PWD/$header" "$PWD/$header" >"$lint_dir/alone.c"
	for CC in gcc clang; do
		ok "$header alone, by $CC" compile -fsyntax-only "$lint_dir/alone.c"
	done
done
done_testing
