#!/bin/sh
# The main job, in front of every kind of NAT: sshd listens all the while, a
# probe prints the mapping that the outermost NAT really holds, and a stranger
# gets in with it where the NAT lets strangers in, and nowhere else.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss tcpdump sshd ssh strace

natpunch=$lab_top/natpunch

# Which process listens on 22, through which socket: must not change.
sshd_state()
{
	lab_exec home ss -ltnpeH 'sport = :22' | grep -o 'pid=[0-9]*\|ino:[0-9]*' | sort
}

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# KIND: probes, and compares with what the NAT's table holds.
probe_and_compare()
{
	lab_exec home strace -f -o "$LAB_DIR/strace" -e trace=kill,tkill,tgkill,ptrace,pidfd_getfd,pidfd_send_signal,bind,connect \
		"$natpunch" probe -r "$LAB_REFLECTOR4" >"$LAB_DIR/line" 2>"$LAB_DIR/line.err"
	is "$1: probe succeeds" $? 0
	line=$(cat "$LAB_DIR/line")
	is "$1: the line is what the NAT holds" "$line" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"
	# The child of a look-up would be the only thing ever killed; numeric addresses need none.
	nok "$1: nothing is signalled, traced or taken from" \
		grep -E '^[0-9]+ +(kill|tkill|tgkill|ptrace|pidfd)' "$LAB_DIR/strace"
	ok "$1: it did bind port 22" grep -q 'bind(.*htons(22)' "$LAB_DIR/strace"
}

# KIND WHERE: logs in with the printed address, and sshd says so.
log_in()
{
	before=$(grep -c 'Accepted publickey' "$LAB_SSHD_LOG")
	# shellcheck disable=SC2086
	out=$(lab_ssh "$2" $line echo "in from $2")
	is "$1: ssh from $2 logs in" "$out" "in from $2"
	is "$1: sshd accepted it" "$(grep -c 'Accepted publickey' "$LAB_SSHD_LOG")" "$((before + 1))"
}

# KIND WHERE: is turned away by the NAT, before home sees anything.
turned_away()
{
	lab_capture stranger home eth0 "tcp dst port 22 and src host $LAB_THIRD4"
	# shellcheck disable=SC2086
	nok "$1: ssh from $2 does not get in" lab_ssh "$2" $line true 2>/dev/null
	is "$1: no packet of it reached home" "$(lab_captured stranger | grep -c ' > ')" 0
}

try_kind()
{
	lab_start "$1" full-cone
	start_reflector
	state=$(sshd_state)
	probe_and_compare "$1"
	case $1 in
	open | full-cone*)
		log_in "$1" third
		log_in "$1" laptop
		;;
	*)
		turned_away "$1" third
		;;
	esac
	is "$1: sshd and its socket are as before" "$(sshd_state)" "$state"
	lab_kill reflect
	is "$1: the reflector ends cleanly" $? 0
	lab_stop
}

# sshd is restarted while a probe from its port is under way.
try_restart()
{
	lab_start full-cone open
	lab_spawn silent reflector "$LAB_BIN/liar" silent 3478
	wait_for_line 5 "$LAB_DIR/silent.out" ready || bail "the liar does not start"
	lab_spawn probe home "$natpunch" probe -t 20 -r "$LAB_REFLECTOR4"
	connected()
	{
		[ -n "$(lab_exec home ss -tnH state established "sport = :22 and dport = :3478")" ]
	}
	ok "restart: the probe is connected from port 22" wait_for 5 connected
	lab_sshd_stop
	lab_sshd_start
	ok "restart: sshd could bind its port again" \
		lab_ssh home 127.0.0.1 22 true
	ok "restart: the probe still runs" lab_alive probe
	ok "restart: with its connection" connected
	lab_kill probe
	lab_stop
}
try_restart

for kind in open full-cone full-cone-port address-restricted port-restricted \
	port-restricted-rst symmetric double full-cone+full-cone-port; do
	try_kind "$kind"
done

done_testing
