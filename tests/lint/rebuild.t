#!/bin/sh
# Another directory for what is built, other flags or another compiler: the program is made again,
# although no source is younger than the one that stands there.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

# A program of one source will do.
mkdir -p "$lint_dir/src" && cp -R Makefile include "$lint_dir" &&
	echo 'int main(void) { return 0; }' >"$lint_dir/src/main.c" || bail 'no copy of the source'
cd "$lint_dir" || bail 'no copy of the source'

links()
{
	make "$@" natpunch 2>make.log | grep -c 'LINK *natpunch$'
}

is 'the first time' "$(links CFLAGS=-O0)" 1
is 'nothing changed' "$(links CFLAGS=-O0)" 0
is 'other flags' "$(links CFLAGS='-O0 -DOTHER')" 1
is 'another directory' "$(links CFLAGS=-O0 B=build/other)" 1
ok 'natpunch-static by its name is static' \
	sh -c 'make -n natpunch-static 2>&1 | grep -q " -o natpunch-static .* -static "'
done_testing
