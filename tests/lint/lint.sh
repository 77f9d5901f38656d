# shellcheck shell=sh
#
# What the tests of the source share. Source it first; the working directory is then the top of the
# tree, and assertions are those of tap.sh.
#
#   compile FLAG... FILE        what the Makefile compiles with, and FLAGs: CC=... names the compiler
#   large COMMAND...            runs what takes much memory in large pages: an eighth of a compiler's
#                               time goes by when it is given its memory in pieces of 4 kB
#   none NAME TEXT              passes if TEXT, a list of what is wrong, is empty
#   sources                     prints the C files of src, each on a line: LINT=all of them, or LINT=0
#                               or LINT=1, every other one; without it, one of the two by chance
#   $lint_dir                   a directory of the test's own, removed at the end

cd "$(dirname "$0")/../.." || exit 255
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C
# shellcheck source=tests/lab/tap.sh
. tests/lab/tap.sh
lint_dir=$(mktemp -d) || exit 255
trap 'rm -rf "$lint_dir"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

lint_flags=$(make -s print-flags) || bail 'the Makefile does not tell its flags'

large()
{
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 "$@"
}

compile()
{
	eval "set -- $lint_flags -Werror \"\$@\""
	large "${CC:-gcc}" "$@"
}

LINT=${LINT:-$(($$ % 2))}
export LINT

sources()
{
	find src -name '*.c' | sort | case $LINT in
	0) sed -n 'p;n' ;;
	1) sed -n 'n;p' ;;
	*) cat ;;
	esac
}

none()
{
	if [ -z "$2" ]; then
		pass "$1"
	else
		fail "$1"
		diag "$2"
	fi
}
