#!/bin/sh
# clang-tidy has nothing to say about the source, of what .clang-tidy asks it; among it that no
# function is longer than 60 lines. It is slow, so without LINT=all half of the files will do.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need clang-tidy
note "LINT=$LINT"

# Two at a time.
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
	large clang-tidy --quiet "$@"
}

# shellcheck disable=SC2046 # names without spaces
tidy_all $(sources | sed -n 'p;n') &
# shellcheck disable=SC2046
tidy_all $(sources | sed -n 'n;p')
wait
for source in $(sources); do
	log=$lint_dir/$(echo "$source" | tr / _)
	ok "$source" test -e "$log.clean"
	[ -e "$log.clean" ] || diag "$(cat "$log")"
done
done_testing
