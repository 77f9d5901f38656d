#!/bin/sh
# From the road with ProxyUseFdpass: natpunch connect passes its connection to ssh, and ends. What is
# looked at is which processes the laptop has, and whose the connection is; over IPv4, over IPv6, and
# by a relay. And the examples of natpunch-connect(1).

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
# shellcheck source=tests/lab/manual.sh
. "$(dirname "$0")/manual.sh"
need ip nft conntrack ss ssh strace scp sftp rsync git perl

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

root=$(getent passwd 0 | cut -d : -f 6)

# At the laptop root has a directory of its own, and programs before all others.
make_home()
{
	mkdir -p "$LAB_DIR/root/.ssh" "$LAB_DIR/root/photos" "$LAB_DIR/there/project" "$LAB_DIR/bin"
	cp "$LAB_DIR/home.key" "$LAB_DIR/natpunch.key"
	cp "$LAB_DIR/natpunch.key" "$LAB_DIR/known_hosts" "$LAB_DIR/root/.ssh"
	cp "$LAB_DIR/natpunch.key" "$LAB_DIR/root"
	cp "$LAB_DIR/user_key" "$LAB_DIR/root/.ssh/id_ed25519"
	chmod -R go= "$LAB_DIR/root/.ssh"
	echo notes | tee "$LAB_DIR/root/notes.txt" >"$LAB_DIR/root/photos/one"
	git -C "$LAB_DIR/there/project" -c init.defaultBranch=main init -q
	# What natpunch tells them; the daemons themselves are in 66-udp-connect.t.
	for daemon in wg openvpn; do
		printf '#!/bin/sh\necho "$*" >>%s/%s.told\n' "$LAB_DIR" "$daemon" >"$LAB_DIR/bin/$daemon"
		chmod +x "$LAB_DIR/bin/$daemon"
	done
}

# WORD: what natpunch-connect(1) shows with that word, to be run there.
shown()
{
	echo "mount --bind '$LAB_DIR/root' '$root' && cd '$root' && export HOME='$root' PATH='$LAB_DIR/bin:$lab_top':\"\$PATH\""
	manual_commands natpunch-connect.1 "$1" | sed "s| home:| home:$LAB_DIR/there/|"
}

# The block that the page says it is, with its folded line whole again.
shown_block()
{
	manual_display natpunch-connect.1 'ProxyCommand natpunch' | sed "/natpunch connect/{N; s/\n  *-K/ -K/; }
		s|reflector\.example\.org|$LAB_REFLECTOR4|; s|/root|$root|"
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

# ---- EXAMPLES of natpunch-connect(1), as they stand there

make_home
lab_exec laptop sh -c "$(shown --ssh-config)"
is 'the manual: --ssh-config adds this block' "$(cat "$LAB_DIR/root/.ssh/config")" "$(shown_block)"
ok 'the manual: ssh, scp, sftp, rsync and git' lab_exec laptop sh -e -c "$(shown rsync)" </dev/null
is 'the manual: what went to home, and came' "$(cat "$LAB_DIR/there/notes.txt" \
	"$LAB_DIR/there/photos/one" && ls -d "$LAB_DIR/root/project/.git")" "notes
notes
$LAB_DIR/root/project/.git"
lab_exec laptop sh -c "$(shown 'connect -v')" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
like 'the manual: what answers there' "$(cat "$LAB_DIR/out")" '^SSH-2\.0-OpenSSH'
manual_display natpunch-connect.1 'connect -v' | sed -n "/^natpunch connect:/{
	s/203\.0\.113\.2:22/$LAB_HOME_PUBLIC4:22/; s/try 1/try [0-9]+/; p; }" >"$LAB_DIR/said"
is 'the manual: and what it says' "$(grep -cxEf "$LAB_DIR/said" "$LAB_DIR/err")" 2

# Over UDP, from a port that a daemon has at home.
# shellcheck disable=SC2016 # perl's
lab_spawn daemon home perl -MIO::Socket::INET -e '$| = 1;
	$s = IO::Socket::INET->new(Proto => "udp", LocalPort => 51820) or die; print "bound\n"; alarm 100; 1 while defined $s->recv($_, 2048)'
wait_for_line 10 "$LAB_DIR/daemon.out" bound || bail 'no daemon at home'
lab_spawn udp home sh -c "cd '$LAB_DIR' && PATH=$lab_top:\$PATH && exec $(manual_commands natpunch-connect.1 'probe -k -u') -v"
ok 'the manual: home keeps its UDP port' wait_for_line 10 "$LAB_DIR/udp.err" 'home is registered'
lab_spawn loop laptop sh -c "$(shown 'while read')"
ok 'the manual: the loop for WireGuard' wait_for_line 10 "$LAB_DIR/wg.told" \
	"^set wg0 peer KEY endpoint $LAB_HOME_PUBLIC4:51820\$"
lab_exec laptop sh -c "$(shown openvpn)"
is 'the manual: and OpenVPN' "$(cat "$LAB_DIR/openvpn.told")" \
	"--config home.conf --lport 1195 --remote $LAB_HOME_PUBLIC4 51820"
ip netns pids "$LAB-laptop" | xargs kill # the loop, both sides of its pipe
lab_kill loop
lab_kill udp
lab_kill daemon

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
