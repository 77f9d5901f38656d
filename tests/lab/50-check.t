#!/bin/sh
# check tells this machine's firewall, and a port on which nothing listens, from a NAT that filters, and
# its text says what to do. 53-kind-* has what it says of every kind of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/check.sh
. "$(dirname "$0")/check.sh"
need ip nft conntrack tcpdump sshd perl

firewall()
{
	lab_exec home nft -f - <<-END
		table inet guard {
			chain incoming {
				type filter hook input priority 0
				tcp dport 22 ct state new $1
				udp dport 5022 ct state new drop
			}
		}
	END
}

# The NAT lets everybody in, and the machine behind it does not.
try_home()
{
	lab_start full-cone open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6"

	firewall drop
	check_both -r "$LAB_REFLECTOR4"
	check_judge 'firewall' tcp "$check_ei" "$check_ei" false
	is 'firewall: found' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" true
	is 'firewall: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"local firewall"'
	like 'firewall: named' "$(cat "$LAB_DIR/tcp.out")" 'dropped here, by one of: inet guard/incoming'
	check_ssh 'firewall' false
	is 'firewall, udp: found' "$(check_field "$LAB_DIR/udp.out" local_firewall)" true
	is 'firewall, udp: verdict' "$(check_field "$LAB_DIR/udp.out" direct)" false
	lab_exec home nft delete table inet guard
	firewall 'reject with tcp reset'
	check_both -r "$LAB_REFLECTOR4"
	is 'one that rejects: found' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" true
	is 'one that rejects: verdict' "$(check_field "$LAB_DIR/tcp.out" direct)" false
	lab_exec home nft delete table inet guard

	lab_sshd_stop
	check_both -r "$LAB_REFLECTOR4"
	check_judge 'nothing listens' tcp "$check_ei" "$check_ei" false
	is 'nothing listens: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"nothing listens"'
	is 'nothing listens: no firewall' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" false
	lab_sshd_start

	lab_exec home "$natpunch" check -6 -f json -r "$LAB_REFLECTOR6" >"$LAB_DIR/tcp.out"
	is 'IPv6: exit 5' $? 5
	is 'IPv6: no NAT' "$(check_field "$LAB_DIR/tcp.out" nat)" false
	is 'IPv6: a firewall on the way filters' "$(check_field "$LAB_DIR/tcp.out" filtering)" "$check_apd"
	is 'IPv6: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"router"'

	# Text: the verdict first.
	text=$(lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
	like 'text: the verdict' "$(echo "$text" | head -n 1)" \
		'^yes: anybody can connect to TCP port 22 here, through 203\.0\.113\.2 port 22$'
	like 'text: to paste' "$text" '^  ssh -p 22 203\.0\.113\.2$'
	ok 'text: pasted, a stranger gets in' lab_ssh third 203.0.113.2 22 true
	like 'text: to keep it' "$text" "^  natpunch probe -k -r $LAB_REFLECTOR4\$"
	like 'text: the path' "$text" '^   \[ the NAT \]  203\.0\.113\.2:22 outside$'
	is 'text: nothing else is said' "$(lab_said "$LAB_DIR/said")" ''

	# The NAT sends back what home sends to the public address.
	is 'hairpinning: not by this one' "$(check_field "$LAB_DIR/udp.out" hairpinning)" false
	lab_exec home-router nft -f - <<-END
		table ip hairpin {
			chain back {
				type nat hook prerouting priority dstnat - 1
				iifname "lan" ip daddr 203.0.113.2 dnat to 192.168.1.2
			}
			chain masked {
				type nat hook postrouting priority srcnat - 1
				oifname "lan" ct status dnat masquerade
			}
		}
	END
	check_both -r "$LAB_REFLECTOR4"
	is 'hairpinning: tcp' "$(check_field "$LAB_DIR/tcp.out" hairpinning)" true
	is 'hairpinning: udp' "$(check_field "$LAB_DIR/udp.out" hairpinning)" true

	# Killed in the middle, then two at the same time about the same port.
	lab_spawn killed home "$natpunch" check -v -r "$LAB_REFLECTOR4"
	wait_for_line 5 "$LAB_DIR/killed.err" 'dial-back from' || bail 'nobody is dialled'
	lab_kill killed KILL
	is 'killed: no rule is left' "$(lab_exec home nft list tables)" ''
	is 'killed: no port is held' \
		"$(lab_exec home ss -Hta state established state syn-sent | grep -c ':22 ')" 0
	lab_spawn one home "$natpunch" check -f json -r "$LAB_REFLECTOR4"
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'two at once: one' "$(check_field "$LAB_DIR/tcp.out" direct)" true
	wait_for 10 eval '! lab_alive one'
	is 'two at once: the other' "$(check_field "$LAB_DIR/one.out" direct)" true

	# Over UDP a server gets what the NAT lets in, once it has the port.
	like 'nobody on a UDP port: it is said' \
		"$(lab_exec home "$natpunch" check -u -p 5022 -r "$LAB_REFLECTOR4")" \
		'^yes: .* port 5022, but nothing listens on it yet$'
	lab_kill two
	lab_stop
}

try_home
check_json 8

done_testing
