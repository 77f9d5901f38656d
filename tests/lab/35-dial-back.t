#!/bin/sh
# Dial-back: a reflector connects to home's mapping from an address and from
# ports that home never contacted, and tells what became of it. Here the NAT is
# no obstacle, and something else is; 53-kind-* has every kind of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/dial-back.sh
. "$(dirname "$0")/dial-back.sh"
need ip nft conntrack tcpdump sshd

# What else can be: told apart on a full cone, where the NAT is no obstacle.
try_reasons()
{
	lab_start full-cone open
	dial_reflect

	# A second reflector, which home's port never spoke to, is asked from another port.
	lab_reflect second second
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" >"$LAB_DIR/line"
	read -r ip port <"$LAB_DIR/line"
	dial_ask home -p "$port" "$LAB_SECOND4"
	like "a second reflector gets through" "$answer" "^same connected from $LAB_SECOND4:.*SSH-2\.0"
	like "and says that it has no other address" "$answer" "^other no such address there$"

	# From port 22 itself: the source of the question is what is dialled.
	lab_sshd_stop
	dial_ask home -b 22 "$LAB_REFLECTOR4"
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
	dial_ask home -p "$port" -o 2 "$LAB_REFLECTOR4"
	like "a firewall at home that drops: timed out" "$answer" "^other timed out from "
	is "though the SYN came to home" "$(dial_syns dropped)" 1
	lab_exec home nft delete table inet local

	lab_exec home nft -f - <<-END
		table inet local {
			chain input {
				type filter hook input priority 0
				tcp dport 22 ct state new reject with icmpx admin-prohibited
			}
		}
	END
	dial_ask home -p "$port" -o 2 "$LAB_REFLECTOR4"
	like "one that rejects by ICMP: unreachable" "$answer" "^other unreachable from "
	lab_exec home nft delete table inet local

	# A service that waits for its client; one that hangs up.
	lab_spawn mute home "$LAB_BIN/liar" silent 2200
	wait_for_line 5 "$LAB_DIR/mute.out" ready || bail "the liar does not start"
	dial_ask laptop -p 22 -o 1 "$LAB_REFLECTOR4"
	like "a host without NAT and without a listener: refused" "$answer" "^same refused"
	lab_exec home "$natpunch" probe -p 2200 -r "$LAB_REFLECTOR4" >"$LAB_DIR/line"
	read -r ip port <"$LAB_DIR/line"
	dial_ask home -p "$port" -o 1 "$LAB_REFLECTOR4"
	like "who says nothing is connected, without a banner" "$answer" \
		"^same connected from $LAB_REFLECTOR4:[0-9]+$"
	lab_kill mute KILL

	dial_ask home -p 22 -o 1 "$LAB_REFLECTOR6"
	like "IPv6: asked and dialled" "$answer" "^target \[$LAB_HOME6\]:22"
	like "IPv6: the firewall of the router drops" "$answer" "^same timed out"
	lab_kill reflect
	lab_kill second

	dial_reflect --no-dial
	lab_capture none reflector eth0 "tcp and src host $LAB_REFLECTOR4 and not port 3478"
	dial_ask home -p "$port" "$LAB_REFLECTOR4"
	like "--no-dial: it says so" "$answer" "^same switched off there$"
	like "for each place" "$answer" "^other switched off there$"
	is "and dials nobody" "$(dial_syns none)" 0
	lab_kill reflect

	# Another server knows nothing of this.
	lab_spawn liar reflector "$LAB_BIN/liar" error 3478
	wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
	dial_ask home -p "$port" "$LAB_REFLECTOR4"
	like "a server that answers otherwise: no dial-back" "$answer" "^failed: "
	lab_kill liar KILL
	lab_stop
}

try_reasons

done_testing
