#!/bin/sh
# A reflector under attack: slow and silent clients, floods, full tables, a full disk, no descriptors
# left, a clock that jumps. The honest client next door is still answered, and how fast is printed.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip prlimit unshare gcc curl

natpunch=$lab_top/natpunch
attack=$LAB_BIN/attack
rounds=15
slowest=3000 # milliseconds; a SYN that is lost to a flood is sent again after one second

start_reflector()
{
	lab_spawn reflect reflector "$@"
	wait_for_line 10 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

stop_reflector()
{
	lab_kill reflect
	is "$1: the reflector ends in order" $? 0
}

# NAME: the honest client is answered each time, in time.
honest()
{
	lab_exec home "$attack" honest "$LAB_REFLECTOR4" 3478 1337 $rounds >"$LAB_DIR/honest"
	while read -r what answered median worst; do
		is "$1: $what is answered" "$answered" $rounds
		between "$1: $what within $slowest ms" "$worst" 0 $slowest
		note "$1: $what: median $median ms, worst $worst ms"
	done <"$LAB_DIR/honest"
}

# NAME MODE [COUNT]: honest, while somebody else does that.
under()
{
	name=$1
	shift
	lab_spawn attack third "$attack" "$1" "$LAB_REFLECTOR4" "${port:-3478}" ${2:+"$2"}
	wait_for_line 10 "$LAB_DIR/attack.out" ready || bail "$name does not begin"
	honest "$name"
	ok "$name: it goes on meanwhile" lab_alive attack
	lab_kill attack KILL
}

# Seconds of the processor that the reflector has used, in hundredths.
spent()
{
	read -r pid <"$LAB_DIR/reflect.pid"
	# shellcheck disable=SC2046 # the fields; the name has no blanks
	set -- $(cat "/proc/$pid/stat")
	echo $((${14} + ${15}))
}

lab_start open open
(umask 077 && "$natpunch" keygen home >"$LAB_DIR/key") || bail "no key"

# ---- clients

start_reflector "$natpunch" reflect -C 64 -T 1337 -K "$LAB_DIR/key"
honest "no attack"
under "a full table of silent clients" idle 300
under "a full table that wants to be held" hold 300
under "requests a byte at a time" drip 300
under "half requests" begin 300
under "HTTP headers without an end" loris 300
under "clients that do not read" deaf 100
port=1337 under "the text port flooded" text
under "datagrams of any kind" garbage
under "SYNs of forged sources" syn
under "SYNs of the raw handshake" raw
out=$(lab_exec home "$natpunch" probe -m raw -p 5000 -r "$LAB_REFLECTOR4" 2>&1)
like "and raw is answered afterwards" "$out" "^$LAB_HOME4 5000$"
stop_reflector "clients"

# ---- a full registry: one of the two who have keys registers without end, and tries others' keys

"$attack" keys 4000 | cat - "$LAB_DIR/key" >"$LAB_DIR/keys"
chmod 600 "$LAB_DIR/keys"
start_reflector "$natpunch" reflect -T 1337 -K "$LAB_DIR/keys" -S "$LAB_DIR/names" --metrics 9178
lab_spawn keep home "$natpunch" probe -k -v -m bind -p 5000 -n home -K "$LAB_DIR/key" \
	-r "$LAB_REFLECTOR4"
wait_for_line 10 "$LAB_DIR/keep.err" 'home is registered' || bail "no home"
lab_spawn attack third "$attack" names "$LAB_REFLECTOR4" 3478 4000
wait_for_line 60 "$LAB_DIR/attack.out" ready || bail "the tenant does not register"
like "a full registry: every name of the key file" \
	"$(lab_exec reflector curl -s http://127.0.0.1:9178/metrics | grep 'entries{what="names"')" \
	' 4001$'
honest "a full registry"
looked_up=0
for _ in $(seq $rounds); do
	[ "$(lab_exec laptop "$natpunch" lookup -t 2 -K "$LAB_DIR/key" -r "$LAB_REFLECTOR4" home \
		2>&1)" != "$LAB_HOME4 5000" ] || looked_up=$((looked_up + 1))
done
is "a full registry: home is found each time" "$looked_up" $rounds
lab_spawn late home "$natpunch" probe -k -v -m bind -p 5001 -n home -K "$LAB_DIR/key" \
	-r "$LAB_REFLECTOR4"
ok "a full registry: who has the key can still register" \
	wait_for_line 10 "$LAB_DIR/late.err" 'home is registered'
lab_kill late
ok "a full registry: it goes on meanwhile, and no wrong key was taken" lab_alive attack
lab_kill attack KILL
lab_kill keep
stop_reflector "a full registry"
is "a full registry: all of it is written" "$(grep -c -E '^(home|tenant[0-9]+) ' "$LAB_DIR/names")" 4001

# ---- no descriptors left: those who are there are answered, and all again once there are some

start_reflector "$natpunch" reflect -T 1337
read -r pid <"$LAB_DIR/reflect.pid"
count=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
prlimit --pid "$pid" --nofile=$((count + 10)):$((count + 10))
lab_spawn attack third "$attack" idle "$LAB_REFLECTOR4" 3478 50
wait_for_line 10 "$LAB_DIR/attack.out" ready || bail "no attack"
before=$(spent)
out=$(lab_exec home "$natpunch" probe -u -m bind -p 5000 -r "$LAB_REFLECTOR4" 2>/dev/null)
is "no descriptors: a datagram is answered" "$out" "$LAB_HOME4 5000"
out=$(lab_exec home "$attack" honest "$LAB_REFLECTOR4" 3478 1337 $rounds)
note "no descriptors: of $rounds: $(echo "$out" | tr '\n' ' ')"
between "no descriptors: the reflector does not run in circles" "$(($(spent) - before))" 0 200
lab_kill attack KILL
honest "descriptors again"
stop_reflector "no descriptors"

# ---- a full disk

mkdir "$LAB_DIR/full"
# shellcheck disable=SC2016 # for the inner shell
start_reflector unshare -m sh -c 'mount -t tmpfs -o size=4k none "$1" && shift && exec "$@"' - \
	"$LAB_DIR/full" "$natpunch" reflect -v -T 1337 -K "$LAB_DIR/key" -S "$LAB_DIR/full/state"
lab_exec home "$natpunch" probe -q -m bind -p 5000 -n home -K "$LAB_DIR/key" -r "$LAB_REFLECTOR4" \
	>/dev/null || fail "a name cannot be registered"
ok "a full disk: it is told" wait_for_line 10 "$LAB_DIR/reflect.err" \
	'cannot write .*/state: No space left on device$'
honest "a full disk"
out=$(lab_exec laptop "$natpunch" lookup -K "$LAB_DIR/key" -r "$LAB_REFLECTOR4" home 2>/dev/null)
is "a full disk: the name is known all the same" "$out" "$LAB_HOME4 5000"
stop_reflector "a full disk"

# shellcheck disable=SC2016 # for the inner shell
start_reflector unshare -m sh -c 'mount -t tmpfs -o size=4k none "$1" && head -c 4096 /dev/zero >"$1/other"
	shift && exec "$@"' - "$LAB_DIR/full" "$natpunch" reflect -v -T 1337 -K "$LAB_DIR/key" \
	-S "$LAB_DIR/full/state"
like "a start on a full disk: it is told" "$(cat "$LAB_DIR/reflect.err")" \
	'cannot write .*/state: No space left on device$'
honest "a start on a full disk"
stop_reflector "a start on a full disk"

start_reflector "$natpunch" reflect -T 1337
# shellcheck disable=SC2016
lab_exec home unshare -m sh -c 'mount -t tmpfs -o size=4k none "$1" && head -c 4096 /dev/zero >"$1/other"
	"$2" probe -m bind -p 5000 -c "$1/file" -r "$3"; status=$?; ls "$1"; exit $status' - \
	"$LAB_DIR/full" "$natpunch" "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "-c on a full disk: exit 3" $? 3
like "-c on a full disk: it says why" "$(cat "$LAB_DIR/err")" 'No space left on device$'
is "-c on a full disk: nothing is left there" "$(grep -v "^$LAB_HOME4 5000$" "$LAB_DIR/out")" other
stop_reflector "-c on a full disk"

# ---- a clock that jumps, by a library that adds to it what a file says

cat >"$LAB_DIR/clock.c" <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static volatile int64_t *shift; /* seconds: of the wall's clock, of the steady one */
	long result = syscall(SYS_clock_gettime, clock, now);

	if (shift == NULL)
		shift = mmap(NULL, 16, PROT_READ, MAP_SHARED,
			open(getenv("CLOCK_SHIFT"), O_RDONLY | O_CLOEXEC), 0);
	now->tv_sec += shift[clock != CLOCK_REALTIME];
	return (int)result;
}
END
gcc -shared -fPIC -o "$LAB_DIR/clock.so" "$LAB_DIR/clock.c" || bail "no library"

# WALL STEADY: the two clocks are off by so many seconds from now on.
shift_clocks()
{
	perl -e 'open my $file, "+<", shift or die; syswrite $file, pack "q2", @ARGV' \
		"$LAB_DIR/shift" "$1" "$2"
}

# NAME: the laptop asks where home is.
known()
{
	out=$(lab_exec laptop "$natpunch" lookup -v -K "$LAB_DIR/key" -r "$LAB_REFLECTOR4" home 2>&1)
	like "$1: home is known" "$out" "^$LAB_HOME4 5000$"
}

known_again()
{
	lab_exec laptop "$natpunch" lookup -q -K "$LAB_DIR/key" -r "$LAB_REFLECTOR4" home 2>/dev/null |
		grep -q "^$LAB_HOME4 5000$"
}

start_shifted()
{
	start_reflector env LD_PRELOAD="$LAB_DIR/clock.so" CLOCK_SHIFT="$LAB_DIR/shift" "$natpunch" \
		reflect -v -T 1337 -K "$LAB_DIR/key" -S "$LAB_DIR/state"
}

day=86400
head -c 16 /dev/zero >"$LAB_DIR/shift"
shift_clocks 0 0
start_shifted
lab_spawn keep home "$natpunch" probe -k -v -i 1 -m bind -p 5000 -n home -K "$LAB_DIR/key" \
	-r "$LAB_REFLECTOR4"
wait_for_line 10 "$LAB_DIR/keep.err" 'home is registered' || bail "no home"
shift_clocks $((-3650 * day)) 0
honest "the date ten years back"
known "the date ten years back"
shift_clocks $((3650 * day)) 0
honest "the date ten years ahead"
known "the date ten years ahead"
# As after a suspend: what was held is over, and home notices and comes again.
shift_clocks 0 $day
honest "a day asleep"
ok "a day asleep: home is known again" wait_for 15 known_again
stop_reflector "a clock that jumps"
# What was written with a date ahead is read with one behind.
shift_clocks $((-3650 * day)) 0
start_shifted
honest "a state file of the future"
ok "a state file of the future: home is known again" wait_for 15 known_again
stop_reflector "a state file of the future"
lab_kill keep
lab_stop

done_testing
