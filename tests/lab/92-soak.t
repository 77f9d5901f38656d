#!/bin/sh
# A name at two reflectors, and a laptop that goes home again and again, while something breaks each
# time: reflectors are killed, routers forget or get another address, lines lose packets, laptops
# change their network in the middle of a session. Each connect gets home, with one reflector dead as
# well; in the end both know the name, and no place is taken.
#
# SOAK_SECONDS: for so long (15); an hour is 3600. NATPUNCH_SEED: which faults, in which order.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss ssh

seconds=${SOAK_SECONDS:-15}
seed=${NATPUNCH_SEED:-$(date +%N | sed 's/^0*//')}
diag "seed $seed, $seconds s (NATPUNCH_SEED, SOAK_SECONDS)"

# random N -> drawn: 0 to N - 1
random()
{
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	drawn=$((seed / 65536 % $1))
}

# one, two: the reflectors.
start_one()
{
	lab_reflect one reflector -v -K "$LAB_DIR/keys" -R -S "$LAB_DIR/one.state" \
		-a "$LAB_REFLECTOR_B4"
}

start_two()
{
	lab_reflect two second -v -K "$LAB_DIR/keys" -R -S "$LAB_DIR/two.state"
}

# NAME: held there now?
holds()
{
	address=$LAB_REFLECTOR4
	[ "$1" = one ] || address=$LAB_SECOND4
	lab_exec third "$natpunch" lookup -r "$address" -K "$LAB_DIR/home.key" -f json home 2>/dev/null |
		grep -q '"held": *true'
}

# The faults. Each leaves at least one way home.
fault_none()
{
	:
}

# It is dead for the next connect, and then started again.
fault_one()
{
	lab_kill one KILL
	dead=one
}

fault_two()
{
	lab_kill two KILL
	dead=two
}

fault_both()
{
	lab_kill one KILL
	lab_kill two KILL
	start_one
	start_two
}

fault_flush()
{
	lab_nat_flush home
}

fault_address()
{
	addresses=$((${addresses:-0} + 1))
	lab_nat_address home 203.0.113.$((10 + addresses % 40))
	lab_nat_flush home
}

fault_link()
{
	lab_exec home ip link set eth0 down
	lab_exec home ip link set eth0 up
	lab_exec home ip route replace default via 192.168.1.1
}

# In the middle of a session, which stays behind: home hears nothing of its end.
fault_laptop()
{
	lab_spawn left laptop ssh -F "$LAB_DIR/ssh_config" home 'echo here; exec cat'
	! wait_for_line 10 "$LAB_DIR/left.out" '^here$' || left=$((left + 1))
	laptops=$((${laptops:-0} + 1))
	lab_nat_address laptop 192.0.2.$((10 + laptops % 40))
	lab_nat_flush laptop
	lab_kill left KILL
}

fault_loss()
{
	lab_line home 0 10
	lossy=yes
}

mend()
{
	[ -z "$dead" ] || "start_$dead"
	[ -z "$lossy" ] || lab_line home 0 0
	dead=
	lossy=
}

# Gets home, or is told why not: in failures.
go_home()
{
	tries=$((tries + 1))
	road_ssh echo in 2>>"$LAB_DIR/connect.err" | grep -qx in && return 0
	sed "s/^/round $rounds, $fault, try $tries: /" "$LAB_DIR/connect.err" >>"$LAB_DIR/failures"
	return 1
}

LAB_DELAY=0
lab_start port-restricted port-restricted
road_files
sed "s/-r $ROAD_ADDR/-r $LAB_REFLECTOR4 -r $LAB_SECOND4/" "$LAB_DIR/ssh_config" >"$LAB_DIR/two"
mv "$LAB_DIR/two" "$LAB_DIR/ssh_config"
start_one
start_two
lab_spawn keep home "$natpunch" probe -k -v -i 2 -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4" -n home \
	-K "$LAB_DIR/home.key"
ok 'the first knows the name' wait_for 10 holds one
ok 'and the second' wait_for 10 holds two

dead=
lossy=
left=0
tries=0
rounds=0
lost=0
: >"$LAB_DIR/times"
lab_clock
ends=$((lab_now + seconds * 100))
while lab_clock && [ "$lab_now" -lt "$ends" ]; do
	random 9
	for fault in none one two both flush address link laptop loss; do
		[ "$drawn" -gt 0 ] || break
		drawn=$((drawn - 1))
	done
	"fault_$fault"
	lab_clock
	began=$lab_now
	tries=0
	# What home cannot see takes it two intervals to notice.
	if ! wait_for 20 go_home; then
		lost=$((lost + 1))
		diag "round $rounds, $fault: not home: $(tail -n 4 "$LAB_DIR/connect.err")"
	fi
	lab_clock
	echo "$((lab_now - began)) $fault $tries" >>"$LAB_DIR/times"
	rounds=$((rounds + 1))
	mend
done
note "$rounds rounds, $left sessions left behind; until home, in cs: $(sort -n "$LAB_DIR/times" |
	awk '{ t[NR] = $1; f[NR] = $2 } END { printf "median %s, p90 %s, most %s (%s)", t[int((NR + 1) / 2)],
		t[int(NR * 0.9 + 0.5)], t[NR], f[NR] }')"
for fault in none one two both flush address link laptop loss; do
	note "$fault: $(awk -v f="$fault" '$2 == f { n++; s += $1; a += $3 - 1; if ($1 > m) m = $1 }
		END { printf "%d times, mean %d cs, most %d cs, %d tries in vain", n, n ? s / n : 0, m, a }' \
		"$LAB_DIR/times")"
done
ok 'there were rounds' [ "$rounds" -gt 2 ]
is 'none was lost' "$lost" 0
ok 'home ran all the time' lab_alive keep
ok 'the first knows the name again' wait_for 90 holds one
ok 'and the second' wait_for 90 holds two
ok 'and it leads home' wait_for 10 go_home
lab_kill keep
is 'home ends well' $? 0
lab_kill one
is 'the first ends well' $? 0
lab_kill two
is 'and the second' $? 0
done_testing

