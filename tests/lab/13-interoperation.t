#!/bin/sh
# Other people's programs: STUN clients, nc and curl against our reflector, and
# our probe against another STUN server. And the commands of natpunch-reflect(1).

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/manual.sh
. "$(dirname "$0")/manual.sh"
need ip nft conntrack setpriv tcpdump turnutils_stunclient turnserver stun curl nc nc.openbsd \
	nc.traditional od useradd

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

# As the pages have it.
is "the manual: nc" "$(lab_exec home sh -c "$(manual_commands natpunch-reflect.1 'nc -p')" </dev/null)" \
	"$(mapping tcp 2222 1337)"
is "the manual: curl" "$(lab_exec home sh -c "$(manual_commands natpunch-reflect.1 'curl --local-port')" \
	2>/dev/null)" "$(mapping tcp 2222 3478)"
command=$(manual_commands natpunch-protocol.7 printf | sed "s/198\.51\.100\.10/$LAB_REFLECTOR4/")
like "the manual: a request by hand" "$(lab_exec home sh -c "$command")" "^ 01 01 00 0c 21 12 a4 42 "

# What differs from one client to the next is left out.
headers()
{
	tr -d '\r' | sed 's/^\(Content-Length:\) .*/\1/; s/^[0-9.]* [0-9]*$//'
}
is "the manual: the answer by HTTP" "$(lab_exec home curl -si "http://$LAB_REFLECTOR4:3478/" | headers)" \
	"$(manual_display natpunch-protocol.7 HTTP/1.0 | headers)"
lab_kill reflect
is "the reflector ends cleanly" $? 0

# WORD: starts the reflector that natpunch-reflect(1) shows with that word.
start_shown()
{
	shown=$(manual_commands natpunch-reflect.1 "$1")
	lab_spawn shown reflector sh -c "PATH=$lab_top:\$PATH && exec $shown"
	ok "the manual: $shown" wait_for_line 10 "$LAB_DIR/shown.err" ': ready$'
}

# NAME
user_of()
{
	sed -n 's/^Uid:.\([0-9]*\).*/\1/p' "/proc/$(cat "$LAB_DIR/$1.pid")/status"
}

start_shown '# natpunch reflect\n'
is "the manual: what it writes" "$(cat "$LAB_DIR/shown.err")" \
	"$(manual_display natpunch-reflect.1 'listening for raw tcp')"
lab_kill shown
start_shown 'reflect -T 1337'
lab_kill shown
start_shown 'reflect -l 3478 -l 443'
is "the manual: it is nobody now" "$(user_of shown)" "$(id -u nobody)"
lab_kill shown
lab_exec reflector sh -c "umask 077 && '$natpunch' keygen home >'$LAB_DIR/natpunch.key'"
lab_reflect shown reflector -a "$LAB_REFLECTOR_B4" -K "$LAB_DIR/natpunch.key" -R
for word in 'addresses for RFC' relaying; do
	ok "the manual: the line with $word" grep -qxE "$(manual_display natpunch-reflect.1 "$word" |
		sed 's/192\.0\.2\.[12]/[0-9.]+/g')" "$LAB_DIR/shown.err"
done
lab_kill shown

# A user of its own, in a copy of this machine's files.
mkdir "$LAB_DIR/etc" "$LAB_DIR/lib"
cp -a /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/login.defs "$LAB_DIR/etc"
sed -i '/^natpunch:/d' "$LAB_DIR/etc/passwd" "$LAB_DIR/etc/group" "$LAB_DIR/etc/shadow" "$LAB_DIR/etc/gshadow"
lab_spawn shown reflector sh -c "cd '$LAB_DIR' && PATH=$lab_top:/usr/sbin:\$PATH && set -e
	mount --bind '$LAB_DIR/etc' /etc && mount --bind '$LAB_DIR/lib' /var/lib
	$(manual_commands natpunch-reflect.1 'useradd -r' | sed 's/^natpunch reflect/exec &/')"
ok "the manual: a user of its own" wait_for_line 10 "$LAB_DIR/shown.err" ': ready$'
is "the manual: which it is" "$(user_of shown)" \
	"$(sed -n 's/^natpunch:x:\([0-9]*\):.*/\1/p' "$LAB_DIR/etc/passwd")"
lab_kill shown

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
