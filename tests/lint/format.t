#!/bin/sh
# The layout is what .clang-format makes of it.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need clang-format
for file in $(find src include tests -name '*.[ch]' | sort); do
	ok "$file" clang-format --dry-run -Werror "$file"
done
done_testing
