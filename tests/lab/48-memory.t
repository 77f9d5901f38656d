#!/bin/sh
# The main jobs once more, with a binary that the sanitizers watch, and under valgrind: no byte is
# read that is not its own or was never written, and nothing is leaked until the end. Children that
# look names up and run hooks are watched as well.

export NATPUNCH_SANDBOX=off # what watches makes calls that no list has
# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft valgrind ssh

sanitized=$lab_top/build/gcc-sanitize/natpunch
[ -x "$sanitized" ] || bail 'build it first: sh tests/run lab'
lab_start full-cone port-restricted
reports=$LAB_DIR/reports
mkdir "$reports"

# With what is suspicious in files, so that all that the program says stays what it is.
cat >"$LAB_DIR/under-valgrind" <<END
#!/bin/sh
exec valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect \
	--errors-for-leak-kinds=definite,indirect --log-file='$reports/valgrind.%p' \
	'$lab_top/natpunch' "\$@"
END
chmod +x "$LAB_DIR/under-valgrind"
export ASAN_OPTIONS="log_path=$reports/address:exitcode=99"
export UBSAN_OPTIONS="log_path=$reports/undefined:print_stacktrace=1"

# WHAT: fails if anything was reported since the last time.
expect_nothing()
{
	found=$(find "$reports" -type f -size +0)
	if [ -z "$found" ]; then
		pass "$1: nothing to report"
	else
		fail "$1: nothing to report"
		# shellcheck disable=SC2086 # a list of files
		diag "$(head -n 30 $found)"
	fi
	rm -f "$reports"/*
}

# NAME STATUS COMMAND...: ends like this, at home.
job()
{
	name=$1
	want=$2
	shift 2
	lab_exec home "$natpunch" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	is "$name: exit $want" "$status" "$want"
	[ "$status" -eq "$want" ] || diag "$(cat "$LAB_DIR/err")"
}

# A hook that is one line, so that it is run and ends.
printf '#!/bin/sh\nexit 0\n' >"$LAB_DIR/hook"
chmod +x "$LAB_DIR/hook"

# What probe -k holds, no other probe can have: those from the same port ask another address.
for natpunch in "$sanitized" "$LAB_DIR/under-valgrind"; do
	under=${natpunch##*/}
	[ "$natpunch" = "$LAB_DIR/under-valgrind" ] || under=sanitized
	ROAD_REFLECT="-a $LAB_REFLECTOR_B4 -R -S $LAB_DIR/state-$under -T 1337"
	road_start -e "$LAB_DIR/hook"
	job "$under: keygen" 0 keygen other
	for method in bind repair rewrite raw; do
		port=22
		[ "$method" != bind ] || port=2222
		job "$under: probe by $method" 0 probe -v -t 20 -p "$port" -m "$method" \
			-r "$LAB_REFLECTOR_B4"
	done
	job "$under: probe over UDP, from a name" 0 probe -u -p 5353 -m bind -t 20 -f json \
		-c "$LAB_DIR/mapping-$under" -e "$LAB_DIR/hook" -r localhost:1 -r "$LAB_REFLECTOR4"
	job "$under: probe with proof" 0 probe -V -t 20 -r "$LAB_REFLECTOR_B4"
	job "$under: check, where nothing listens" 5 check -4 -p 2224 -r "$LAB_REFLECTOR4"
	job "$under: nobody answers" 1 probe -t 1 -p 2223 -r 198.51.100.77
	job "$under: lookup" 0 lookup -r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home
	is "$under: ssh by connect" "$(road_ssh echo in)" in
	lab_kill keep
	is "$under: probe -k ends" $? 0
	lab_kill reflect
	is "$under: reflect ends" $? 0
	expect_nothing "$under"
done
done_testing
