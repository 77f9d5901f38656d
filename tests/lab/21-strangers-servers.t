#!/bin/sh
# Kept alive through STUN servers of strangers, which close a connection after
# a few seconds whatever is said on it: the next one stands before the last one
# goes, the mapping stays the same, and a stranger gets in at every moment. And
# the built-in list: nobody vouches for those, so two must agree.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss turnserver

natpunch=$lab_top/natpunch

# NAME NS ADDR...
start_coturn()
{
	name=$1
	ns=$2
	shift 2
	lab_spawn "$name" "$ns" turnserver -n --stun-only --no-cli --no-tls --no-dtls \
		--log-file stdout --simple-log --pidfile "$LAB_DIR/$name.own.pid" \
		--userdb "$LAB_DIR/$name.db" "$@"
	wait_for 10 listening "$ns" || bail "coturn does not start"
}

listening()
{
	[ -n "$(lab_exec "$1" ss -ltnH 'sport = :3478')" ]
}

established()
{
	[ -n "$(lab_exec home ss -tnH state established 'sport = :22 and dport = :3478')" ]
}

enters()
{
	# shellcheck disable=SC2046
	lab_banner third $(tail -n 1 "$LAB_DIR/keep.out") 2>/dev/null | grep -q '^SSH-2.0-'
}

closed()
{
	[ "$(grep -Ec 'it closed the connection|reset by peer' "$LAB_DIR/keep.err")" -ge "$1" ]
}

lab_start full-cone-port open
start_coturn one reflector -L "$LAB_REFLECTOR4"
start_coturn two second -L "$LAB_SECOND4"
lab_spawn keep home "$natpunch" probe -k -v -i 10 -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
ok "a mapping is there" wait_for_line 5 "$LAB_DIR/keep.out" .
is "it is the NAT's" "$(cat "$LAB_DIR/keep.out")" "$(lab_mapping home tcp 22 4 3478)"

# Each server's patience has been learnt once both closed a connection.
ok "both servers close connections" wait_for 20 closed 2
lab_clock
until=$((lab_now + 1200))
samples=0
gaps=0
locked=0
while lab_clock && [ "$lab_now" -lt "$until" ]; do
	samples=$((samples + 1))
	established || gaps=$((gaps + 1))
	enters || locked=$((locked + 1))
done
note "$samples looks in 12 s"
is "then a connection stands at every moment" "$gaps" 0
is "and a stranger gets in at every moment" "$locked" 0
is "and the mapping was told once" "$(wc -l <"$LAB_DIR/keep.out")" 1

# One server dies: nothing is torn down.
lab_kill two KILL
lab_clock
until=$((lab_now + 600))
locked=0
while lab_clock && [ "$lab_now" -lt "$until" ]; do
	enters || locked=$((locked + 1))
done
is "one dead server: a stranger gets in at every moment" "$locked" 0
is "one dead server: nothing new is told" "$(wc -l <"$LAB_DIR/keep.out")" 1
lab_kill keep
lab_kill one KILL

# A server that answers and closes at once is asked ever less often, and not as fast as it can.
lab_spawn liar reflector "$LAB_BIN/liar" early 3478
wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
lab_clock
begun=$lab_now
lab_spawn keep home "$natpunch" probe -k -v -r "$LAB_REFLECTOR4"
ok "an impatient server is asked again" wait_for 20 closed 5
lab_clock
between "an impatient server: hundredths of a second for five connections" $((lab_now - begun)) 600 1800
is "an impatient server: the mapping was told once" "$(wc -l <"$LAB_DIR/keep.out")" 1
lab_kill keep
lab_kill liar KILL

# The built-in list, whose names all lead to laboratory hosts.
with_names()
{
	# shellcheck disable=SC2016
	lab_exec home sh -c '
		hosts=$1 natpunch=$2
		shift 2
		mount --bind "$hosts" /etc/hosts && exec "$natpunch" probe "$@"' \
		names "$LAB_DIR/hosts" "$natpunch" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
}

# ADDR-OF-ODD ADDR-OF-EVEN: half of the built-in names here, half there.
write_hosts()
{
	n=0
	for name in stun.mixvoip.com stun.m-online.net stun.sip.us stun.voipgate.com \
		stun.telnyx.com stun.threema.ch stun.nextcloud.com; do
		n=$((n + 1))
		if [ $((n % 2)) -eq 0 ]; then echo "$1 $name"; else echo "$2 $name"; fi
	done >"$LAB_DIR/hosts"
}

unset NATPUNCH_REFLECTOR
write_hosts "$LAB_REFLECTOR4" "$LAB_SECOND4"
start_coturn one reflector -L "$LAB_REFLECTOR4"
start_coturn two second -L "$LAB_SECOND4"
with_names
is "built-in: two agree: exit 0" "$status" 0
is "built-in: the mapping" "$(cat "$LAB_DIR/out")" "$(lab_mapping home tcp 22 4 3478 | sort -u)"
lab_kill two KILL
lab_kill one KILL

# A server that lies about the address is not believed.
lab_spawn liar second "$LAB_BIN/liar" elsewhere 3478
wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
echo "$LAB_REFLECTOR4 stun.sip.us" >"$LAB_DIR/hosts"
echo "$LAB_SECOND4 stun.mixvoip.com" >>"$LAB_DIR/hosts"
start_coturn one reflector -L "$LAB_REFLECTOR4"
with_names -t 2
is "built-in: a lie: exit 1" "$status" 1
is "built-in: a lie: nothing is printed" "$(cat "$LAB_DIR/out")" ""
like "built-in: a lie: who said what" "$(cat "$LAB_DIR/err")" \
	"^natpunch probe: the servers disagree: stun\.[a-z.]+ says [0-9.]+, stun\.[a-z.]+ says [0-9.]+$"

done_testing
