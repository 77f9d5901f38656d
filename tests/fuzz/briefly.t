#!/bin/sh
# Fuzzes with all harnesses for some seconds, each time with other random numbers. What is found is
# left in build/fuzz. $SEED: begin with these; $FUZZ_SECONDS: for so long (4).
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/../lint/lint.sh"

need clang
seed=${SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
note "SEED=$seed"
SEED=$seed sh tests/fuzz/run "${FUZZ_SECONDS:-4}" >"$lint_dir/results"
while read -r name count inputs result; do
	is "$name: $count $inputs" "$result" held
	[ "$result" = held ] || diag "$(tail -n 40 "build/fuzz/$name.log")"
	between "$name: there were some" "$count" 10 1000000000
done <"$lint_dir/results"
is 'each harness was run' "$(wc -l <"$lint_dir/results")" \
	"$(find tests/fuzz -maxdepth 1 -name '*.c' ! -name replay.c | wc -l)"
done_testing
