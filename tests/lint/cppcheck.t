#!/bin/sh
# cppcheck has nothing to say about the source. What it is not asked: to move declarations into
# inner blocks, which is layout, and about a loop of nothing but `continue`, which says that nothing
# is meant; about members of a union that are there for their size.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need cppcheck
check()
{
	eval "set -- $(printf '%s\n' "$lint_flags" | sed 's/-W[^ ]*//g; s/-std=[^ ]*//') \"\$@\""
	cppcheck --quiet --std=c11 --inline-suppr --error-exitcode=1 --suppress=variableScope \
		--suppress=redundantContinue --suppress=unusedStructMember "$@" 2>&1
}

none 'src' "$(check --enable=warning,style,performance,portability -j 2 src)"
none 'tests' "$(check --enable=warning,portability -Itests -j 2 tests)"
done_testing
