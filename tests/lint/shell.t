#!/bin/sh
# No script, told by its first line or its name, gives shellcheck anything to say. What the laboratory's
# scripts share is read once and not for each of them: so who sets a variable is not looked for there.
# SHELLS=all: it is.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need shellcheck
scripts=$({
	find . \( -name .git -o -path ./build \) -prune -o -name '*.sh' -print -o -name '*.t' -print
	# The first line alone: awk goes on to the next file after it.
	find . \( -name .git -o -path ./build -o -path ./tests/fuzz/corpus \) -prune -o -type f \
		-exec awk '/^#!.*\/sh$/ { print FILENAME } { nextfile }' {} +
} | sed 's,^\./,,' | sort -u)
for script in $scripts; do
	case $script in
	# What is sourced sets variables for others.
	tests/lab/*.t | tests/lab/matrix | tests/lab/kinds)
		[ "${SHELLS-}" = all ] && set -- || set -- --norc --exclude=SC2317,SC2015,SC1091,SC2154,SC2034
		ok "$script" shellcheck --shell=sh "$@" "$script"
		;;
	*.sh) ok "$script" shellcheck --shell=sh --exclude=SC2034 "$script" ;;
	*) ok "$script" shellcheck --shell=sh "$script" ;;
	esac
done
like 'the driver is among them' "$scripts" '^tests/run$'
like 'so is a script without an ending' "$scripts" '^\.ci/run$'
done_testing
