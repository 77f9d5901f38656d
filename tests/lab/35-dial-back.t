#!/bin/sh
# Dial-back: a reflector connects to home's mapping from an address and from
# ports that home never contacted, and tells what became of it. What it says
# is held against what sshd and the NAT did, in front of every kind of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack tcpdump sshd

natpunch=$lab_top/natpunch
dial=$LAB_BIN/dial

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect -v \
		-a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6" "$@"
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# NS [dial option...]: the answer, in $answer.
ask()
{
	asker=$1
	shift
	answer=$(lab_exec "$asker" "$dial" "$@")
}

# SYNs, those sent again left out, that the capture NAME holds and that match the filter.
syns()
{
	syn_capture=$1
	shift
	lab_captured "$syn_capture" -nn \
		"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn ${1:+and $1}" |
		awk '{ print $3, $5 }' | sort -u | grep -c .
}

# KIND: home asks from another port than 22, about the mapping of 22.
try_kind()
{
	lab_start "$1" open
	start_reflector
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" >"$LAB_DIR/line" ||
		bail "$1: probe: $(cat "$LAB_DIR/line")"
	read -r ip port <"$LAB_DIR/line"
	lab_capture knocks home eth0 "tcp dst port 22"
	lab_capture calls reflector eth0 "tcp and not port 3478"
	ask home -p "$port" "$LAB_REFLECTOR4"
	is "$1: what was dialled is the mapping" "$(echo "$answer" | grep target)" "target $ip:$port"
	is "$1: both places called" "$(syns calls "dst host $ip and dst port $port")" 2
	case $1 in
	open | full-cone*)
		like "$1: the same address gets through" "$answer" \
			"^same connected from $LAB_REFLECTOR4:[0-9]+ SSH-2\.0-OpenSSH"
		like "$1: and so does the other" "$answer" \
			"^other connected from $LAB_REFLECTOR_B4:[0-9]+ SSH-2\.0-OpenSSH"
		is "$1: both SYNs came to home" "$(syns knocks)" 2
		ok "$1: sshd tells of a visitor that only looked" \
			wait_for_line 5 "$LAB_SSHD_LOG" "$LAB_REFLECTOR_B4 port"
		;;
	address-restricted)
		like "$1: the address that home spoke to gets through" "$answer" \
			"^same connected from $LAB_REFLECTOR4:[0-9]+ SSH-2\.0-OpenSSH"
		like "$1: the other does not" "$answer" "^other timed out from $LAB_REFLECTOR_B4:"
		is "$1: one SYN came to home" "$(syns knocks)" 1
		;;
	*-rst)
		like "$1: another port is refused" "$answer" "^same refused from $LAB_REFLECTOR4:"
		like "$1: another address too" "$answer" "^other refused from $LAB_REFLECTOR_B4:"
		is "$1: nothing came to home" "$(syns knocks)" 0
		;;
	*)
		like "$1: another port does not get through" "$answer" \
			"^same timed out from $LAB_REFLECTOR4:"
		like "$1: another address neither" "$answer" "^other timed out from $LAB_REFLECTOR_B4:"
		is "$1: nothing came to home" "$(syns knocks)" 0
		;;
	esac
	lab_kill reflect
	is "$1: the reflector ends cleanly" $? 0
	lab_stop
}

# What else can be: told apart on a full cone, where the NAT is no obstacle.
try_reasons()
{
	lab_start full-cone open
	start_reflector

	# A second reflector, which home's port never spoke to, is asked from another port.
	lab_spawn second second "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/second.err" ready || bail "the second reflector does not start"
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" >"$LAB_DIR/line"
	read -r ip port <"$LAB_DIR/line"
	ask home -p "$port" "$LAB_SECOND4"
	like "a second reflector gets through" "$answer" "^same connected from $LAB_SECOND4:.*SSH-2\.0"
	like "and says that it has no other address" "$answer" "^other no such address there$"

	# From port 22 itself: the source of the question is what is dialled.
	lab_sshd_stop
	ask home -b 22 "$LAB_REFLECTOR4"
	like "without a port: the question's source" "$answer" "^target $LAB_HOME_PUBLIC4:"
	like "nothing listens: refused" "$answer" "^other refused from "
	lab_sshd_start

	lab_exec home nft -f - <<-END
		table inet local {
			chain input {
				type filter hook input priority 0
				ip saddr != $LAB_REFLECTOR4 tcp dport 22 ct state new drop
			}
		}
	END
	lab_capture dropped home eth0 "tcp dst port 22 and src host $LAB_REFLECTOR_B4"
	ask home -p "$port" -o 2 "$LAB_REFLECTOR4"
	like "a firewall at home that drops: timed out" "$answer" "^other timed out from "
	is "though the SYN came to home" "$(syns dropped)" 1
	lab_exec home nft delete table inet local

	lab_exec home nft -f - <<-END
		table inet local {
			chain input {
				type filter hook input priority 0
				tcp dport 22 ct state new reject with icmpx admin-prohibited
			}
		}
	END
	ask home -p "$port" -o 2 "$LAB_REFLECTOR4"
	like "one that rejects by ICMP: unreachable" "$answer" "^other unreachable from "
	lab_exec home nft delete table inet local

	# A service that waits for its client; one that hangs up.
	lab_spawn mute home "$LAB_BIN/liar" silent 2200
	wait_for_line 5 "$LAB_DIR/mute.out" ready || bail "the liar does not start"
	ask laptop -p 22 -o 1 "$LAB_REFLECTOR4"
	like "a host without NAT and without a listener: refused" "$answer" "^same refused"
	lab_exec home "$natpunch" probe -p 2200 -r "$LAB_REFLECTOR4" >"$LAB_DIR/line"
	read -r ip port <"$LAB_DIR/line"
	ask home -p "$port" -o 1 "$LAB_REFLECTOR4"
	like "who says nothing is connected, without a banner" "$answer" \
		"^same connected from $LAB_REFLECTOR4:[0-9]+$"
	lab_kill mute KILL

	ask home -p 22 -o 1 "$LAB_REFLECTOR6"
	like "IPv6: asked and dialled" "$answer" "^target \[$LAB_HOME6\]:22"
	like "IPv6: the firewall of the router drops" "$answer" "^same timed out"
	lab_kill reflect
	lab_kill second

	start_reflector --no-dial
	lab_capture none reflector eth0 "tcp and src host $LAB_REFLECTOR4 and not port 3478"
	ask home -p "$port" "$LAB_REFLECTOR4"
	like "--no-dial: it says so" "$answer" "^same switched off there$"
	like "for each place" "$answer" "^other switched off there$"
	is "and dials nobody" "$(syns none)" 0
	lab_kill reflect

	# Another server knows nothing of this.
	lab_spawn liar reflector "$LAB_BIN/liar" error 3478
	wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
	ask home -p "$port" "$LAB_REFLECTOR4"
	like "a server that answers otherwise: no dial-back" "$answer" "^failed: "
	lab_kill liar KILL
	lab_stop
}

try_reasons
for kind in open full-cone full-cone-port address-restricted port-restricted \
	port-restricted-port port-restricted-rst symmetric symmetric-step double \
	full-cone+full-cone-port; do
	try_kind "$kind"
done

done_testing
