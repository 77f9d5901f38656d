#!/bin/sh
# Two reflectors for one name, which share nothing: home is held by the second, and the first is
# each thing that it can be. ssh gets in all the same, from behind two NATs that let no stranger in.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft ss ssh knotd dig

# The time and first line of a connection by both, within what a busy machine takes.
expect_banner()
{
	answer=$(road_banner)
	like "$1: sshd greets" "$answer" '^[0-9]+ SSH-2\.0-OpenSSH'
	between "$1: soon" "${answer%% *}" 1 "${2:-2500}"
}

# [OPTION...]: asks both from the laptop; sets status and found.
look_up()
{
	found=$(lab_exec laptop "$natpunch" lookup -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4" \
		-K "$LAB_DIR/home.key" "$@" home 2>"$LAB_DIR/lookup.err")
	status=$?
}

# NS: drops all that comes to that host.
drop_all()
{
	lab_exec "$1" nft add table inet dead
	lab_exec "$1" nft add chain inet dead in '{ type filter hook input priority 0; policy drop; }'
}

# ARG...: natpunch connect at the laptop, with the name server; into $LAB_DIR/resolved.
connect_by_domain()
{
	# shellcheck disable=SC2016 # for the other shell
	lab_exec laptop sh -c 'dir=$1 && shift &&
		mount --bind "$dir/resolv.conf" /etc/resolv.conf &&
		mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf && exec "$@"' \
		sh "$LAB_DIR" "$natpunch" connect -v "$@" -K "$LAB_DIR/home.key" home \
		</dev/null 2>"$LAB_DIR/connect.err" | head -n 1
}

name_server_answers()
{
	[ -n "$(lab_exec second dig "@$LAB_THIRD4" +short +time=1 +tries=1 -t SOA example.org)" ]
}

start_name_server()
{
	mkdir "$LAB_DIR/dns"
	cat >"$LAB_DIR/dns/example.org.zone" <<-END
	example.org. 60 IN SOA ns.example.org. hostmaster.example.org. 1 60 60 60 60
	example.org. 60 IN NS ns.example.org.
	ns.example.org. 60 IN A $LAB_THIRD4
	one.example.org. 60 IN A $LAB_REFLECTOR4
	two.example.org. 60 IN A $LAB_SECOND4
	_natpunch._tcp.example.org. 60 IN SRV 10 0 3478 one.example.org.
	_natpunch._tcp.example.org. 60 IN SRV 20 0 3478 two.example.org.
	END
	cat >"$LAB_DIR/dns/knot.conf" <<-END
	server:
	    rundir: $LAB_DIR/dns
	    listen: [ $LAB_THIRD4@53 ]
	    user: root
	database:
	    storage: $LAB_DIR/dns
	zone:
	  - domain: example.org
	    storage: $LAB_DIR/dns
	    file: example.org.zone
	END
	printf 'nameserver %s\noptions timeout:2 attempts:4\n' "$LAB_THIRD4" >"$LAB_DIR/resolv.conf"
	echo 'hosts: dns' >"$LAB_DIR/nsswitch.conf"
	lab_spawn dns third knotd -c "$LAB_DIR/dns/knot.conf"
	wait_for 10 name_server_answers || bail 'the name server does not start'
}

umask 022
lab_start port-restricted port-restricted
ROAD_CONNECT="-r $LAB_SECOND4"
road_files
lab_spawn two second "$natpunch" reflect -K "$LAB_DIR/keys"
wait_for_line 20 "$LAB_DIR/two.err" ready || bail 'the second reflector does not start'
lab_spawn keep home "$natpunch" probe -k -v -r "$LAB_SECOND4" -n home -K "$LAB_DIR/home.key"
wait_for_line 20 "$LAB_DIR/keep.err" 'home is registered' || bail 'home is not registered'

# ---- what the first one can be

expect_banner 'no first reflector'
look_up
is 'lookup prints what the second says' "$status $found" "0 $LAB_HOME_PUBLIC4 22"

drop_all reflector
expect_banner 'the first is dead'
is 'ssh logs in past it' "$(road_ssh echo well)" well
look_up
is 'lookup goes past it' "$status $found" "0 $LAB_HOME_PUBLIC4 22"
lab_exec reflector nft delete table inet dead

road_reflect
expect_banner 'the first never heard of home'
like 'it says so' "$(cat "$LAB_DIR/banner.err")" 'knows no address of '
look_up
is 'lookup asks on' "$status $found" "0 $LAB_HOME_PUBLIC4 22"

# From another port, so that both records differ.
lab_exec home "$natpunch" probe -p 2222 -r "$LAB_REFLECTOR4" -n home -K "$LAB_DIR/home.key" \
	>"$LAB_DIR/line" 2>"$LAB_DIR/probe.err"
is 'home was at the first once' $? 0
expect_banner 'the first does not hold home'
like 'it is told what the first knew' "$(cat "$LAB_DIR/banner.err")" \
	"last heard of by $LAB_REFLECTOR4:3478 [0-9]+ s ago, at $LAB_HOME_PUBLIC4:2222; asking on\$"
is 'ssh logs in, and is told nothing else' "$(road_ssh echo well 2>&1)" well
unlike 'nor that an old address is tried' "$(cat "$LAB_DIR/connect.err")" 'trying that'
look_up -f json
like 'lookup prints what is held' "$status $found" '^0 .*"public_port":22,.*"held":true'

# It answers Binding, and not what is asked then: what is longer does not come through.
lab_exec reflector nft add table inet deaf
lab_exec reflector nft add chain inet deaf in '{ type filter hook input priority 0; }'
lab_exec reflector nft add rule inet deaf in tcp dport 3478 meta length gt 120 counter drop
began=$(date +%s%N)
look_up -t 30
is 'lookup goes past one that does not answer' "$status $found" "0 $LAB_HOME_PUBLIC4 22"
like 'which was asked' "$(lab_exec reflector nft list table inet deaf)" 'packets [1-9]'
between 'and gives it little time' $((($(date +%s%N) - began) / 1000000)) 400 8000
lab_exec reflector nft delete table inet deaf

# Both refuse: each is named.
(umask 077 && "$natpunch" keygen home >"$LAB_DIR/other.key")
for command in connect lookup; do
	lab_exec laptop "$natpunch" "$command" -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4" \
		-K "$LAB_DIR/other.key" home >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	is "$command, a key that both refuse: exit 1" $? 1
	for reflector in "$LAB_REFLECTOR4" "$LAB_SECOND4"; do
		is "$command: $reflector has a line" "$(grep -c "refuse.*$reflector\|$reflector.* refuses" \
			"$LAB_DIR/err")" 1
	done
done

# Stopped, it is reached and says nothing; then it dies in the middle of it.
kill -STOP "$(cat "$LAB_DIR/reflect.pid")"
lab_spawn middle laptop "$natpunch" connect -v -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4" \
	-K "$LAB_DIR/home.key" home
is_asked()
{
	lab_exec laptop ss -Htn state established dst "$LAB_REFLECTOR4" | grep -q .
}
ok 'the first is asked' wait_for 5 is_asked
lab_kill reflect KILL
ok 'it is killed, and sshd greets' wait_for_line 10 "$LAB_DIR/middle.out" '^SSH-2\.0-'
lab_kill middle

# ---- nobody holds home

road_reflect
lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" -p 2222 -n home -K "$LAB_DIR/home.key" \
	>/dev/null 2>&1
lab_kill keep
is_let_go()
{
	! lab_exec second ss -Htn state established sport 3478 | grep -q .
}
ok 'nobody holds home' wait_for 5 is_let_go
look_up
like 'lookup prints the freshest' "$status $found" "^0 $LAB_HOME_PUBLIC4 22(22)?\$"
lab_kill two
look_up
is 'and what one alone knows' "$status $found" "0 $LAB_HOME_PUBLIC4 2222"
lab_kill reflect
look_up
is 'no reflector: exit 1' "$status $found" '1 '

# ---- SRV records: both targets

lab_spawn two second "$natpunch" reflect -K "$LAB_DIR/keys"
wait_for_line 20 "$LAB_DIR/two.err" ready
lab_spawn keep home "$natpunch" probe -k -v -r "$LAB_SECOND4" -n home -K "$LAB_DIR/home.key"
wait_for_line 20 "$LAB_DIR/keep.err" 'home is registered'
road_reflect
start_name_server
like 'the second target holds home' "$(connect_by_domain -r example.org)" '^SSH-2\.0-'
like 'the first was asked before' "$(cat "$LAB_DIR/connect.err")" \
	"$LAB_REFLECTOR4:3478 knows no address of home\$"
lab_kill reflect
drop_all reflector
like 'the first target is dead' "$(connect_by_domain -r example.org)" '^SSH-2\.0-'
lab_kill dns
drop_all third
like 'a name server that is dead holds up nobody' \
	"$(connect_by_domain -r example.org -r "$LAB_SECOND4")" '^SSH-2\.0-'

# ---- the command line

is 'all are in the configuration' "$("$natpunch" connect --ssh-config -r one.example.org \
	-r '[2001:db8::1]:3479' -r example.org:3478 -K "$LAB_DIR/home.key" home |
	grep -o 'connect -r.* -K')" \
	"connect -r one.example.org -r '[2001:db8::1]:3479' -r example.org:3478 -K"
is 'those of the environment too' "$(NATPUNCH_REFLECTOR='one two:1' "$natpunch" connect \
	--ssh-config -K "$LAB_DIR/home.key" home | grep -o 'connect -r.* -K')" \
	'connect -r one -r two:1 -K'
for command in connect lookup; do
	"$natpunch" "$command" -r one -r 'two:x' -r three -K "$LAB_DIR/home.key" home \
		>"$LAB_DIR/out" 2>"$LAB_DIR/err"
	is "$command, one of them malformed: exit 2" $? 2
	is "$command: it is named" "$(cat "$LAB_DIR/err")" "natpunch $command: invalid reflector: 'two:x'"
	many=$(for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do echo "-r r$number"; done)
	# shellcheck disable=SC2086 # a list
	"$natpunch" "$command" $many -K "$LAB_DIR/home.key" home >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	is "$command, too many: exit 2" $? 2
	is "$command: it is told" "$(cat "$LAB_DIR/err")" "natpunch $command: more than 16 reflectors"
done
done_testing
