#!/bin/sh
# The layout is what .clang-format makes of it.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need clang-format
files=$(find src include tests -name '*.[ch]' | sort)
# shellcheck disable=SC2086 # a list
said=$(clang-format --dry-run $files 2>&1)
for file in $files; do
	none "$file" "$(echo "$said" | grep -F "$file:")"
done
done_testing
