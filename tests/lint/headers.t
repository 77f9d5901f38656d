#!/bin/sh
# Every header stands alone, and may be included twice.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

for header in include/natpunch/*/*.h src/*/*.h tests/*.h; do
	printf '#include "%s"\n#include "%s"\n' "$PWD/$header" "$PWD/$header" >"$lint_dir/alone.c"
	ok "$header" compile -fsyntax-only "$lint_dir/alone.c"
done
done_testing
