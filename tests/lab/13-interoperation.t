#!/bin/sh
# Other people's programs: STUN clients, nc and curl against our reflector, and
# our probe against another STUN server.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack setpriv tcpdump turnutils_stunclient turnserver stun curl nc.openbsd nc.traditional

natpunch=$lab_top/natpunch
lab_start full-cone-port port-restricted
lab_spawn reflect reflector "$natpunch" reflect -T 1337 -l 3478 -l 5349
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"

mapping()
{
	lab_mapping home "$1" "$2" "$LAB_REFLECTOR4" "$3"
}

# coturn's client.
out=$(lab_exec third turnutils_stunclient "$LAB_REFLECTOR4" 2>&1)
like "turnutils_stunclient is told its address" "$out" "UDP reflexive addr: $LAB_THIRD4:"
out=$(lab_exec third turnutils_stunclient "$LAB_REFLECTOR6" 2>&1)
like "and over IPv6" "$out" "UDP reflexive addr: $LAB_THIRD6:|UDP reflexive addr: \[$LAB_THIRD6\]:"
out=$(lab_exec home turnutils_stunclient "$LAB_REFLECTOR4" 2>&1)
like "and behind a NAT" "$out" "UDP reflexive addr: $LAB_HOME_PUBLIC4:"

# The client of RFC 3489, without a magic cookie: test 1 is the Binding request.
out=$(lab_exec home stun -v "$LAB_REFLECTOR4" 1 -p 6000 2>&1)
like "Debian's stun client is told the mapping" "$out" \
	"MappedAddress = $(mapping udp 6000 3478 | tr ' ' ':')"

# What the reflector sends last goes with its FIN, in one segment.
lab_capture segments reflector eth0 "tcp and src host $LAB_REFLECTOR4"

# HOME-PORT PORT -> the flags of each segment with data that went to that port of home
flags()
{
	flags_to=$(mapping tcp "$1" "$2")
	lab_captured segments "src port $2 and dst port ${flags_to#* }" |
		grep -v 'length 0$' | sed 's/.*Flags \[\([A-Z.]*\)\].*/\1/; s/P//'
}

has_fin()
{
	flags "$1" "$2" | grep -q F
}

# NAME HOME-PORT PORT
one_segment()
{
	wait_for 2 has_fin "$2" "$3"
	is "$1: the answer and the FIN are one segment" "$(flags "$2" "$3")" F.
}

# nc and curl from a chosen port.
out=$(lab_exec home nc.traditional -n -p 4001 "$LAB_REFLECTOR4" 1337)
is "nc -p PORT HOST 1337" "$out" "$(mapping tcp 4001 1337)"
one_segment "nc -p PORT HOST 1337" 4001 1337
out=$(lab_exec home nc.openbsd -n -N -p 4002 "$LAB_REFLECTOR4" 3478 </dev/null)
is "nc that says nothing" "$out" "$(mapping tcp 4002 3478)"
one_segment "nc that says nothing" 4002 3478
out=$(echo | lab_exec home nc.openbsd -n -p 4003 "$LAB_REFLECTOR4" 3478)
is "nc that sends a newline" "$out" "$(mapping tcp 4003 3478)"
one_segment "nc that sends a newline" 4003 3478
out=$(lab_exec home curl -s --local-port 4004 "http://$LAB_REFLECTOR4:3478/")
is "curl --local-port" "$out" "$(mapping tcp 4004 3478)"
one_segment "curl --local-port" 4004 3478
out=$(lab_exec home curl -s --local-port 4005 "http://$LAB_REFLECTOR4:5349/any/path")
is "curl at the second port" "$out" "$(mapping tcp 4005 5349)"
one_segment "curl at the second port" 4005 5349
# Without rights a probe cannot let the connection be forgotten: it asks the reflector to close.
out=$(lab_exec home setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$natpunch" probe -p 4006 -m bind -r "$LAB_REFLECTOR4")
is "probe without rights" "$out" "$(mapping tcp 4006 3478)"
one_segment "probe without rights" 4006 3478
out=$(lab_exec third curl -sI "http://[$LAB_REFLECTOR6]:3478/")
like "curl -I over IPv6" "$out" '^HTTP/1\.[01] 200 '
lab_kill reflect
is "the reflector ends cleanly" $? 0

# Our probe at coturn.
lab_spawn coturn reflector turnserver -n --stun-only --no-cli --no-tls --no-dtls \
	--log-file stdout --simple-log --pidfile "$LAB_DIR/coturn.own.pid" \
	--userdb "$LAB_DIR/coturn.db" -L "$LAB_REFLECTOR4" -L "$LAB_REFLECTOR6"
listening()
{
	[ "$(lab_exec reflector ss -ltnH 'sport = :3478' | wc -l)" -ge 2 ]
}
wait_for 10 listening || bail "coturn does not start"
line=$(lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4")
is "probe at coturn" "$line" "$(mapping tcp 22 3478)"
isnt "and it is a mapping" "$line" ""
# shellcheck disable=SC2086
ok "and ssh gets in with it" lab_ssh third $line true
line=$(lab_exec home "$natpunch" probe -u -p 7000 -r "$LAB_REFLECTOR4")
is "probe -u at coturn" "$line" "$(mapping udp 7000 3478)"
line=$(lab_exec home "$natpunch" probe -6 -r "$LAB_REFLECTOR6" 2>/dev/null)
is "probe at coturn over IPv6" "$line" "$LAB_HOME6 22"

done_testing
