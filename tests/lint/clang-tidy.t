#!/bin/sh
# clang-tidy has nothing to say about the source, of what .clang-tidy asks it; among it that no
# function is longer than 60 lines.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need clang-tidy

# Two at a time, each half of the sources: it is the slowest of all tests here.
tidy_all()
{
	for source in "$@"; do
		log=$lint_dir/$(echo "$source" | tr / _)
		tidy "$source" >"$log" 2>&1 && : >"$log.clean"
	done
}

tidy()
{
	eval "set -- \"\$1\" -- $lint_flags"
	clang-tidy --quiet "$@"
}

# shellcheck disable=SC2046 # names without spaces
tidy_all $(find src -name '*.c' | sort | sed -n 'p;n') &
# shellcheck disable=SC2046
tidy_all $(find src -name '*.c' | sort | sed -n 'n;p')
wait
for source in $(find src -name '*.c' | sort); do
	log=$lint_dir/$(echo "$source" | tr / _)
	ok "$source" test -e "$log.clean"
	[ -e "$log.clean" ] || diag "$(cat "$log")"
done
done_testing
