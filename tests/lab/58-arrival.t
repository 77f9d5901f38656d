#!/bin/sh
# The router forwards the port to another machine of the LAN, whose sshd answers. -V and check must not
# take that machine for home. A dial-back that does come to home counts, by whichever way it came.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/verify.sh
. "$(dirname "$0")/verify.sh"
# shellcheck source=tests/lab/check.sh
. "$(dirname "$0")/check.sh"
need ip nft conntrack tcpdump sshd setpriv perl

elsewhere="natpunch probe: 203\\.0\\.113\\.[0-9]+:22 is answered, by another machine: nothing arrived here"
doubt="is answered; not proved that it is by this machine: "
no_raw='setpriv --bounding-set=-net_raw --inh-caps=-net_raw'

# Another machine at the router, with a sshd whose greeting tells it apart.
start_neighbour()
{
	lab_index=1000
	lab_hosts="$lab_hosts neighbour"
	{
		echo "netns add $LAB-neighbour"
		lab_cable neighbour eth0 home-router lan2
	} | ip -batch - || bail 'no neighbour'
	{
		lab_up lo
		lab_up eth0 192.168.2.2/24
		echo 'route add default via 192.168.2.1'
	} | lab_ip neighbour && lab_up lan2 192.168.2.1/24 | lab_ip home-router || bail 'no neighbour'
	sed 's/-f .*/& -o VersionAddendum=neighbour/' "$LAB_DIR/sshd.sh" >"$LAB_DIR/neighbour.sh"
	lab_spawn neighbour neighbour sh "$LAB_DIR/neighbour.sh"
	wait_for_line 30 "$LAB_DIR/neighbour.err" '^Server listening on 0\.0\.0\.0 port 22' ||
		bail "the neighbour's sshd does not start: $(cat "$LAB_DIR/neighbour.err")"
}

# ADDRESS[:PORT] [RULE]: the router forwards port 22 there, and does RULE to what it sends there.
forward()
{
	lab_exec home-router nft -f - <<-END
		table ip forward
		delete table ip forward
		table ip forward {
			chain in {
				type nat hook prerouting priority dstnat - 10
				iifname "wan" tcp dport 22 dnat to $1
			}
			chain out {
				type nat hook postrouting priority srcnat - 10
				oifname "lan" ct status dnat ${2:-accept}
			}
		}
	END
}

# Starts another reflector: one dials an address only so often.
reflect_anew()
{
	lab_kill two
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
}

# NAME ARG...: expects that the dial-back reached another machine: exit 5, and the words.
judge_elsewhere()
{
	name=$1
	shift
	verify -v "$@"
	is "$name: exit 5" "$status" 5
	is "$name: no line" "$line" ''
	like "$name: who it seems to be" "$said" "^$elsewhere \\(its greeting: SSH-2\\.0-[^)]* neighbour\\)\$"
	like "$name: the next step" "$said" \
		'^hint: the router forwards port 22 to another machine, or answers itself: have it forward that to 192\.168\.1\.2, '
}

# NAME: expects that the dial-back reached this machine, with a proof.
judge_here()
{
	lab_nat_flush home
	verify -v -r "$LAB_REFLECTOR4"
	is "$1: exit 0" "$status" 0
	is "$1: the line" "$line" "$LAB_HOME_PUBLIC4 22"
	like "$1: it was seen" "$said" 'the SYN from 198\.51\.100\.11:[0-9]+ came to this machine'
	unlike "$1: no doubt" "$said" "$doubt"
}

try_probe()
{
	forward 192.168.2.2
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	lab_capture home home eth0 "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst host 192.168.1.2"
	judge_elsewhere 'two addresses' -r "$LAB_REFLECTOR4"
	is 'nothing came to home' "$(lab_captured home)" ''
	ok 'it came to the neighbour' \
		grep -q "^Connection from $LAB_REFLECTOR_B4 port" "$LAB_DIR/neighbour.err"
	like 'so does a stranger' "$(lab_banner third "$LAB_HOME_PUBLIC4" 22)" '^SSH-2\.0-.* neighbour$'
	lab_exec home ip link set eth0 promisc on
	judge_elsewhere 'promiscuous' -r "$LAB_REFLECTOR4"
	lab_exec home ip link set eth0 promisc off

	verify -r "$LAB_REFLECTOR4"
	is 'without -v: two lines are said' "$(lab_said "$LAB_DIR/said" | grep -c .)" 2
	read -r neighbour <"$LAB_DIR/neighbour.pid"
	kill -STOP "$neighbour"
	forward 192.168.2.2
	verify -v -r "$LAB_REFLECTOR4"
	is 'no greeting: exit 5' "$status" 5
	like 'no greeting: who it seems to be' "$said" "^$elsewhere\$"
	kill -CONT "$neighbour"
}

# Forwards that lead to home.
try_here()
{
	reflect_anew
	forward 192.168.1.2
	judge_here 'forwarded to home'
	forward 192.168.1.2 masquerade
	judge_here 'by a router that puts its own address'
	forward 192.168.1.2 'masquerade random'
	lab_nat_flush home
	verify -r "$LAB_REFLECTOR4"
	is 'its own address and port: exit 0' "$status" 0
	is 'its own address and port: the line' "$line" "$LAB_HOME_PUBLIC4 22"
	like 'its own address and port: a doubt' "$said" \
		"^natpunch probe: warning: $LAB_HOME_PUBLIC4:22 ${doubt}what came was from 192\\.168\\.1\\.1:[0-9]+, which a proxy or a NAT may have made of it\$"
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'its own address and port: check: exit 5' $? 5
	is 'its own address and port: check: the verdict' "$(check_field "$LAB_DIR/tcp.out" direct)" null
	check_keep_json
	lab_exec home nft -f - <<-END
		table ip led {
			chain in {
				type nat hook prerouting priority dstnat
				tcp dport 2222 redirect to :22
			}
		}
	END
	forward 192.168.1.2:2222
	judge_here 'by another port of home'
	lab_exec home nft delete table ip led
}

# Home gets a copy of what goes to the neighbour, as in a network without a switch.
try_hub()
{
	reflect_anew
	lab_exec home-router ip neigh replace 192.168.1.9 lladdr 02:00:00:00:00:09 nud permanent dev lan
	lab_exec home-router nft -f - <<-END || return 1
		table ip hub {
			chain copy {
				type filter hook postrouting priority srcnat + 10
				oifname "lan2" dup to 192.168.1.9 device "lan"
			}
		}
	END
	forward 192.168.2.2
	lab_capture hub home eth0 "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst host 192.168.2.2"
	judge_elsewhere 'a hub' -r "$LAB_REFLECTOR4"
	isnt 'a hub: home is shown it' "$(lab_captured hub)" ''
	lab_exec home-router nft delete table ip hub
}

# Without CAP_NET_RAW there is no proof, and probe and check say so.
try_unprivileged()
{
	reflect_anew
	forward 192.168.2.2
	# shellcheck disable=SC2086 # a command and its options
	line=$(lab_exec home $no_raw "$natpunch" probe -V -t 10 -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
	is 'without CAP_NET_RAW: exit 0' $? 0
	is 'without CAP_NET_RAW: the line' "$line" "$LAB_HOME_PUBLIC4 22"
	like 'without CAP_NET_RAW: a doubt' "$(cat "$LAB_DIR/said")" \
		"^natpunch probe: warning: $LAB_HOME_PUBLIC4:22 ${doubt}to see what comes to this machine takes CAP_NET_RAW\$"
	# shellcheck disable=SC2086
	lab_exec home $no_raw "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'check without CAP_NET_RAW: exit 5' $? 5
	is 'check without CAP_NET_RAW: the verdict' "$(check_field "$LAB_DIR/tcp.out" direct)" null
	is 'check without CAP_NET_RAW: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" null
	is 'check without CAP_NET_RAW: a stranger' "$(check_field "$LAB_DIR/tcp.out" stranger)" null
	like 'check without CAP_NET_RAW: a stranger, why' "$(check_field "$LAB_DIR/tcp.out" stranger_evidence)" \
		'^"198\.51\.100\.11:[0-9]+: connected; not proved that it was to this machine: to see what comes to this machine takes CAP_NET_RAW"$'
	is 'check without CAP_NET_RAW: a firewall' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" null
	is 'check without CAP_NET_RAW: a firewall, why' "$(check_field "$LAB_DIR/tcp.out" local_firewall_evidence)" \
		'"to see what comes to this machine takes CAP_NET_RAW"'
	is 'check without CAP_NET_RAW: who is let through' "$(check_field "$LAB_DIR/tcp.out" filtering)" "$check_ei"
	is 'check without CAP_NET_RAW: arrived' "$(check_field "$LAB_DIR/tcp.out" arrived)" null
	is 'check without CAP_NET_RAW: why' "$(check_field "$LAB_DIR/tcp.out" arrived_evidence)" \
		'"to see what comes to this machine takes CAP_NET_RAW"'
	check_keep_json
	reflect_anew
	# shellcheck disable=SC2086
	text=$(lab_exec home $no_raw "$natpunch" check -r "$LAB_REFLECTOR4")
	is 'check without CAP_NET_RAW: the verdict' "$(echo "$text" | head -n 1)" \
		"perhaps: somebody answers at $LAB_HOME_PUBLIC4 port 22, and it is not proved that it is this machine"
	like 'check without CAP_NET_RAW: to paste' "$text" "^  ssh -p 22 $LAB_HOME_PUBLIC4 hostname\$"
	like 'check without CAP_NET_RAW: or as root' "$text" '^Or check again as root'
}

# A connection in the table of the kernel is a proof. Its end gets lost, so that it stays there.
try_table()
{
	reflect_anew
	forward 192.168.1.2
	lab_nat_flush home
	lab_exec home-router nft -f - <<-END
		table ip endless {
			chain through {
				type filter hook forward priority filter - 10
				ip saddr $LAB_REFLECTOR_B4 tcp flags & (fin | rst) != 0 drop
			}
		}
	END
	# shellcheck disable=SC2086
	lab_exec home $no_raw "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'in the table of the kernel: exit 0' $? 0
	lab_exec home-router nft delete table ip endless
	is 'in the table of the kernel: arrived' "$(check_field "$LAB_DIR/tcp.out" arrived)" true
	is 'in the table of the kernel: a stranger' "$(check_field "$LAB_DIR/tcp.out" stranger)" true
	is 'in the table of the kernel: a firewall' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" false
	check_keep_json
}

# -k says that the mapping is answered, and not by which machine.
try_keep_unprivileged()
{
	reflect_anew
	forward 192.168.2.2
	lab_nat_flush home
	# shellcheck disable=SC2086
	lab_spawn unproved home $no_raw "$natpunch" probe -k -V -i 0.5 -r "$LAB_REFLECTOR4"
	ok '-k without CAP_NET_RAW: who listens' \
		wait_for_line 15 "$LAB_DIR/unproved.err" \
		'sshd listens on port 22 itself; the mapping is kept, and is answered from outside$'
	like '-k without CAP_NET_RAW: a doubt' "$(cat "$LAB_DIR/unproved.err")" \
		"^natpunch probe: warning: $LAB_HOME_PUBLIC4:22 ${doubt}to see what comes"
	lab_kill unproved
}

try_check()
{
	reflect_anew
	forward 192.168.2.2
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'check: exit 5' $? 5
	check_keep_json
	is 'check: the verdict' "$(check_field "$LAB_DIR/tcp.out" direct)" false
	is 'check: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"another machine"'
	is 'check: it did not arrive' "$(check_field "$LAB_DIR/tcp.out" arrived)" false
	like 'check: the evidence' "$(check_field "$LAB_DIR/tcp.out" arrived_evidence)" \
		"the SYN from 198\\.51\\.100\\.11:[0-9]+ did not come to this machine; it was answered by another machine \\(its greeting: SSH-2\\.0-.* neighbour\\)"
	is 'check: nobody got in' "$(check_field "$LAB_DIR/tcp.out" stranger)" false
	is 'check: of the NAT it tells nothing' "$(check_field "$LAB_DIR/tcp.out" filtering)" null
	is 'check: nor of a firewall here' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" null
	reflect_anew
	text=$(lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
	like 'check: the first line' "$(echo "$text" | head -n 1)" \
		"^no: 203\\.0\\.113\\.2 port 22 leads to another machine \\(its greeting: SSH-2\\.0-.* neighbour\\), not to this one\$"
	like 'check: what to do' "$text" \
		'^What to do: if your router forwards port 22, have it forward that to 192\.168\.1\.2,$'
	like 'check: the row' "$text" '^  arrived here       no$'

	forward 192.168.1.2
	lab_nat_flush home
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'check, forwarded to home: exit 0' $? 0
	is 'check, forwarded to home: arrived' "$(check_field "$LAB_DIR/tcp.out" arrived)" true
	check_keep_json
}

# The reflector has one address to dial from, which the port has contacted.
try_known()
{
	lab_kill two
	lab_reflect one reflector
	forward 192.168.2.2
	lab_nat_flush home
	judge_elsewhere 'one address' -r "$LAB_REFLECTOR4"
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'check, one address: exit 5' $? 5
	check_keep_json
	is 'check, one address: the verdict' "$(check_field "$LAB_DIR/tcp.out" direct)" false
	is 'check, one address: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"another machine"'
	lab_kill one
}

# METHOD
try_keep()
{
	forward 192.168.2.2
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	# shellcheck disable=SC2016 # for the hook to expand
	printf '#!/bin/sh\necho "$NATPUNCH_EVENT $1 $2" >>"%s/events"\n' "$LAB_DIR" >"$LAB_DIR/hook"
	chmod 755 "$LAB_DIR/hook"
	rm -f "$LAB_DIR/events"
	lab_spawn keep home "$natpunch" probe -k -V -v -m "$1" -i 0.5 -e "$LAB_DIR/hook" -r "$LAB_REFLECTOR4"
	ok "-k, $1: unreachable" wait_for_line 15 "$LAB_DIR/events" "^unreachable $LAB_HOME_PUBLIC4 22\$"
	like "-k, $1: the same words" "$(cat "$LAB_DIR/keep.err")" "^natpunch probe: warning: ${elsewhere#*: } \\(its greeting: "
	is "-k, $1: no line" "$(cat "$LAB_DIR/keep.out")" ''
	forward 192.168.1.2
	lab_nat_address home "$2"
	ok "-k, $1: forwarded to home: up" wait_for_line 15 "$LAB_DIR/events" "^up $2 22\$"
	is "-k, $1: and a line" "$(cat "$LAB_DIR/keep.out")" "$2 22"
	lab_kill keep
	lab_kill two
}

lab_start port-restricted open
start_neighbour
try_probe
try_here
try_hub || diag 'the kernel has no dup'
try_unprivileged
try_table
try_keep_unprivileged
try_check
try_known
try_keep repair 203.0.113.3
try_keep raw 203.0.113.4
lab_stop
check_json 6

done_testing
