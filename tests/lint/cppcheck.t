#!/bin/sh
# cppcheck has nothing to say about the source; LINT=all: nor about the tests. What it is not asked:
#  variableScope            declarations stand where the layout wants them
#  redundantContinue        a loop of nothing but `continue` says that nothing is meant
#  unusedStructMember       members of a union are there for their size
#  knownConditionTrueFalse  holds one value that it thinks of for the only one
#  uninitvar in tests       takes an array for read that the other argument's call fills
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need cppcheck
check()
{
	eval "set -- $(printf '%s\n' "$lint_flags" | sed 's/-W[^ ]*//g; s/-std=[^ ]*//') \"\$@\""
	large cppcheck --quiet --std=c11 --inline-suppr --error-exitcode=1 --suppress=variableScope \
		--suppress=redundantContinue --suppress=unusedStructMember \
		--suppress=knownConditionTrueFalse "$@" 2>&1
}

none 'src' "$(check --enable=warning,style,performance,portability -j 2 src)"
[ "$LINT" != all ] || none 'tests' "$(check --enable=warning,portability --suppress=uninitvar -Itests -j 2 tests)"
done_testing
