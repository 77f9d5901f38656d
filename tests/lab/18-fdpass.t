#!/bin/sh
# From the road with ProxyUseFdpass: natpunch connect passes its connection to ssh, and ends. What is
# looked at is which processes the laptop has, and whose the connection is; over IPv4, over IPv6, and
# by a relay.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss ssh strace

# The names of the processes in the laptop's namespace.
processes()
{
	ip netns pids "$LAB-laptop" | while read -r pid; do
		cat "/proc/$pid/comm" 2>/dev/null
	done | sort | tr '\n' ' '
}

only_ssh()
{
	[ "$(processes)" = 'ssh ' ]
}

# ssh's configuration with the connection passed.
pass_config()
{
	sed 's/ home 2>>/ --fdpass&/' "$LAB_DIR/ssh_config" >"$LAB_DIR/fdpass_config"
	echo '    ProxyUseFdpass yes' >>"$LAB_DIR/fdpass_config"
}

passed_ssh()
{
	: >"$LAB_DIR/connect.err"
	lab_exec laptop ssh -F "$LAB_DIR/fdpass_config" home "$@"
}

# Has the session at $LAB_DIR/go go on, if there is one.
go_on()
{
	# shellcheck disable=SC2016
	timeout 10 sh -c 'echo >"$1"' go "$LAB_DIR/go"
}

# NAME REMOTE: a session stands, by ssh's own connection to REMOTE; both ways are whole.
check_session()
{
	lab_spawn session laptop ssh -F "$LAB_DIR/fdpass_config" home \
		"echo begun; cat '$LAB_DIR/go' >/dev/null; cat '$LAB_DIR/some'"
	ok "$1: a session has begun" wait_for_line 30 "$LAB_DIR/session.out" '^begun$' || return
	ok "$1: ssh is the only process at the laptop" wait_for 10 only_ssh
	diag "processes: $(processes)"
	connections=$(lab_exec laptop ss -Htnpo state established)
	is "$1: there is one connection" "$(printf '%s\n' "$connections" | wc -l)" 1
	like "$1: to where it must lead, ssh's own, and with keep-alives" "$connections" \
		" $2 +users:\(\(\"ssh\",[^)]*\)\) timer:\(keepalive,"
	go_on
	ok "$1: the session ends" wait_for 30 session_over
	is "$1: what came is whole" "$(tail -c 300000 "$LAB_DIR/session.out" | cksum)" \
		"$(cksum <"$LAB_DIR/some")"
	is "$1: and what went" "$(passed_ssh cat <"$LAB_DIR/some" | cksum)" \
		"$(cksum <"$LAB_DIR/some")"
	passed_ssh exit 3 </dev/null
	is "$1: the exit status is passed on" $? 3
}

session_over()
{
	! lab_alive session
}

umask 022
lab_start port-restricted port-restricted
mkfifo "$LAB_DIR/go"
head -c 300000 /dev/urandom >"$LAB_DIR/some"
road_start
pass_config

# ---- straight

check_session 'over IPv4' "$LAB_HOME_PUBLIC4:22"
like 'it was punched' "$(cat "$LAB_DIR/connect.err")" \
	"^natpunch connect: connected to $LAB_HOME_PUBLIC4:22 at try [0-9]+\$"
lab_spawn session laptop ssh -F "$LAB_DIR/ssh_config" home "echo begun; cat '$LAB_DIR/go'"
ok 'without it a session begins as well' wait_for_line 30 "$LAB_DIR/session.out" '^begun$'
is 'and natpunch stays beside ssh' "$(processes)" 'natpunch ssh '
like 'its connection has keep-alives too' "$(lab_exec laptop ss -Htnpo state established)" \
	" $LAB_HOME_PUBLIC4:22 +users:\(\(\"natpunch\",[^)]*\)\) timer:\(keepalive,"
go_on
ok 'it ends' wait_for 30 session_over

# What --ssh-config prints, as it stands.
"$natpunch" connect --ssh-config -r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home >"$LAB_DIR/printed"
like 'the printed configuration asks for it' "$(cat "$LAB_DIR/printed")" '^    ProxyUseFdpass yes$'
is 'and works' "$(PATH=$lab_top:$PATH lab_exec laptop ssh -F "$LAB_DIR/printed" -l root \
	-i "$LAB_DIR/user_key" -o UserKnownHostsFile="$LAB_DIR/known_hosts" -o BatchMode=yes \
	-o GlobalKnownHostsFile=none home echo well </dev/null 2>&1)" well

# A signal in the middle of it is not the end.
sed "s|ProxyCommand |&strace -qq -o $LAB_DIR/trace -e trace=sendmsg -e inject=sendmsg:error=EINTR:when=1 |" \
	"$LAB_DIR/fdpass_config" >"$LAB_DIR/traced_config"
is 'with a signal while it is passed' "$(NATPUNCH_SANDBOX=off lab_exec laptop \
	ssh -F "$LAB_DIR/traced_config" home echo well </dev/null)" well
like 'there was one' "$(cat "$LAB_DIR/trace")" 'EINTR'

# ---- not to be passed

lab_exec laptop "$natpunch" connect --fdpass -r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home \
	</dev/null >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is 'standard output is a file: exit 2' $? 2
is 'in one line' "$(lab_said "$LAB_DIR/err" | wc -l)" 1
like 'that says why' "$(cat "$LAB_DIR/err")" \
	'^natpunch connect: --fdpass: standard output is not a UNIX socket'
is 'nothing is printed' "$(cat "$LAB_DIR/out")" ''
sed '/ProxyUseFdpass/d' "$LAB_DIR/fdpass_config" >"$LAB_DIR/wrong_config"
: >"$LAB_DIR/connect.err"
lab_exec laptop ssh -F "$LAB_DIR/wrong_config" home true </dev/null 2>/dev/null
is 'ssh that does not know of it fails' $? 255
like 'and is told' "$(cat "$LAB_DIR/connect.err")" 'standard output is not a UNIX socket'
sed "s/ $LAB_REFLECTOR4 / $LAB_THIRD4 /" "$LAB_DIR/fdpass_config" >"$LAB_DIR/wrong_config"
: >"$LAB_DIR/connect.err"
lab_exec laptop ssh -F "$LAB_DIR/wrong_config" home true </dev/null 2>/dev/null
is 'without a connection ssh fails' $? 255
like 'and connect says why' "$(cat "$LAB_DIR/connect.err")" \
	"^natpunch connect: cannot connect to $LAB_THIRD4:3478: Connection refused\$"

# ---- IPv6

lab_kill keep
lab_kill reflect
ROAD_ADDR=$LAB_REFLECTOR6
road_start
pass_config
check_session 'over IPv6' "\\[$LAB_HOME_PUBLIC6\\]:22"
lab_stop

# ---- by a relay: not a byte of the session is behind the reflector's answer

ROAD_ADDR=
ROAD_REFLECT=-R
lab_start symmetric symmetric
mkfifo "$LAB_DIR/go"
head -c 300000 /dev/urandom >"$LAB_DIR/some"
road_start
pass_config
check_session 'by a relay' "$LAB_REFLECTOR4:3478"
like 'it was relayed' "$(cat "$LAB_DIR/connect.err")" 'connected by a relay'
done_testing
