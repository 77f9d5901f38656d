#!/bin/sh
# UDP: bind on a free port, and rewrite and raw on one that OpenVPN holds all the while.
# In front of every kind of NAT the printed mapping is the one that the
# outermost NAT holds, and home is afterwards as it was before. Through the
# printed address and port a client outside reaches the VPN.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss tcpdump openvpn ssh

natpunch=$lab_top/natpunch

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# What ss says, with the inode of each; of the control groups it says nothing.
home_sockets()
{
	lab_exec home ss -tuanpeH 2>/dev/null | tr -s ' ' | sort
}

home_state()
{
	lab_exec home nft list ruleset
	home_sockets
	lab_exec home conntrack -L 2>/dev/null
	lab_exec home conntrack -L -f ipv6 2>/dev/null
}

# ARG...: probes; status, line and errors.
probe()
{
	lab_exec home "$natpunch" probe -v -u "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	line=$(cat "$LAB_DIR/out")
}

# NAME NS ARG...: an end of a VPN with a common key; back when it is up.
start_vpn()
{
	vpn_name=$1
	vpn_ns=$2
	shift 2
	lab_spawn "$vpn_name" "$vpn_ns" openvpn --dev-type tun --dev vpn --secret "$LAB_DIR/vpn.key" \
		--cipher AES-256-CBC --auth SHA256 --verb 3 --ping 1 "$@"
	wait_for_line 10 "$LAB_DIR/$vpn_name.out" 'TUN/TAP device vpn opened' ||
		bail "OpenVPN does not start: $(cat "$LAB_DIR/$vpn_name.out" "$LAB_DIR/$vpn_name.err")"
}

start_vpn_server()
{
	openvpn --genkey secret "$LAB_DIR/vpn.key" || bail "openvpn --genkey"
	start_vpn vpn home --ifconfig 10.9.0.1 10.9.0.2 --proto udp6 --port 1194 --float
	ok "$1: OpenVPN holds the port" wait_for 5 vpn_holds
	like "$1: for any address" "$(vpn_sockets)" '\*:1194|\[::\]:1194'
}

vpn_sockets()
{
	lab_exec home ss -uanpeH 'sport = :1194' 2>/dev/null | tr -s ' '
}

# shellcheck disable=SC2317 # by wait_for
vpn_holds()
{
	vpn_sockets | grep -q openvpn
}

# NAME METHOD PORT FAMILY: the mapping, and nothing left behind.
try_method()
{
	before=$(home_state)
	reflector=$LAB_REFLECTOR4
	[ "$4" = 4 ] || reflector=$LAB_REFLECTOR6
	probe -m "$2" -p "$3" -r "$reflector"
	is "$1: exit 0" "$status" 0
	held=$(lab_mapping home udp "$3" "$reflector" 3478 || echo "$LAB_HOME6 $3")
	is "$1: the line is what the outermost NAT holds" "$line" "$held"
	is "$1: home is as before" "$(home_state)" "$before"
}

# NAME NS FROM: a client outside reaches the VPN at $line, and home through it.
try_client()
{
	# shellcheck disable=SC2086 # an address and a port
	start_vpn client "$2" --ifconfig 10.9.0.2 10.9.0.1 --proto udp --remote $line --nobind
	ok "$1: the tunnel stands" wait_for_line 10 "$LAB_DIR/client.out" 'Initialization Sequence Completed'
	is "$1: home's sshd is reached through it" "$(lab_ssh "$2" 10.9.0.1 22 echo in)" in
	like "$1: OpenVPN at home says from where" "$(cat "$LAB_DIR/vpn.out")" \
		"Peer Connection Initiated with .*$3"
	lab_kill client
}

# NAME: a port that is passed on to the VPN's.
try_to()
{
	lab_exec home "$natpunch" probe -k -u -p 1194 --to "$LAB_HOME4:1194" -r "$LAB_REFLECTOR4" \
		-m raw >/dev/null 2>&1
	is "$1: --to takes the port by bind alone: usage" $? 2
	lab_spawn keep home "$natpunch" probe -k -u -4 -p 3000 --to 127.0.0.1:1194 -r "$LAB_REFLECTOR4"
	ok "$1: --to: a line" wait_for_line 10 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 "
	line=$(cat "$LAB_DIR/keep.out")
	try_client "$1, by --to" third 127.0.0.1
	lab_kill keep
	is "$1: --to: it ends" $? 0
}

# KIND IPV6
try_kind()
{
	LAB_IPV6=$2
	lab_start "$1" full-cone
	start_reflector
	start_vpn_server "$1"
	sockets=$(vpn_sockets)
	for family in 4 6; do
		for again in once again; do
			try_method "$1, IPv$family, bind $again" bind 2222 $family
			try_method "$1, IPv$family, rewrite $again" rewrite 1194 $family
			try_method "$1, IPv$family, raw $again" raw 1194 $family
		done
	done
	probe -m bind -p 1194 -r "$LAB_REFLECTOR4"
	is "$1: bind cannot" "$status" 3
	like "$1: and says who holds the port" "$(cat "$LAB_DIR/err")" '^hint: openvpn \(pid [0-9]+\) holds it; '
	probe -p 1194 -r "$LAB_REFLECTOR4" -f '%m %A %P'
	is "$1: auto comes to rewrite" "$line" "rewrite $LAB_HOME4 1194"
	like "$1: and says what it passed over" "$(cat "$LAB_DIR/err")" 'method bind passed over: '
	case $1 in
	full-cone*)
		probe -p 1194 -r "$LAB_REFLECTOR4"
		try_client "$1" third "$LAB_THIRD4"
		try_client "$1, through another NAT" laptop "$LAB_LAPTOP_PUBLIC4"
		[ "$1" != full-cone ] || try_to "$1"
		;;
	esac
	is "$1: OpenVPN's socket is the same" "$(vpn_sockets)" "$sockets"
	lab_stop
	LAB_IPV6=
}

asking()
{
	[ -n "$(lab_exec home ss -unH 'dport = :3478')" ]
}

# Killed while it waits for an answer; the next one follows at once.
try_kill()
{
	lab_start port-restricted
	start_vpn_server kill
	lab_exec reflector nft 'table inet silent { chain in {
		type filter hook input priority filter
		udp dport 3478 drop
	}; }'
	before_rules=$(lab_exec home nft list ruleset)
	before_sockets=$(home_sockets)
	lab_spawn probe home "$natpunch" probe -u -p 1194 -t 20 -m rewrite -r "$LAB_REFLECTOR4"
	ok "kill: it asks" wait_for 5 asking
	like "kill: with a rule" "$(lab_exec home nft list ruleset)" 'snat to :1194'
	lab_kill probe KILL
	is "kill: it is killed" $? 137
	is "kill: the rules are as before" "$(lab_exec home nft list ruleset)" "$before_rules"
	is "kill: the sockets are as before" "$(home_sockets)" "$before_sockets"
	lab_exec reflector nft delete table inet silent
	start_reflector
	probe -p 1194 -r "$LAB_REFLECTOR4"
	is "kill: the next one" "$line" "$LAB_HOME_PUBLIC4 1194"
	lab_exec reflector nft 'table inet silent { chain in {
		type filter hook input priority filter
		udp dport 9 drop
	}; }'
	try_silent_first
	lab_stop
}

# A reflector that is silent does not keep the port from the question to the next one.
try_silent_first()
{
	for method in bind auto; do
		probe -4 -m "$method" -p 2222 -r "$LAB_REFLECTOR4:9" -r "$LAB_REFLECTOR4" -f '%m %a %p'
		is "silent: $method asks the next one" "$line" "bind $LAB_HOME_PUBLIC4 2222"
	done
	is "silent: nothing has the port" "$(lab_exec home ss -unaH 'sport = :2222')" ''
}

# The daemon itself speaks with the reflector's address: never taken from it.
try_busy()
{
	lab_start port-restricted
	start_reflector
	lab_exec home nft 'table inet own { chain in { type filter hook input priority 0; ct state new accept; }; }'
	openvpn --genkey secret "$LAB_DIR/vpn.key" || bail "openvpn --genkey"
	start_vpn vpn home --ifconfig 10.9.0.1 10.9.0.2 --proto udp --port 1194 \
		--remote "$LAB_REFLECTOR4" 3478
	ok "busy: OpenVPN speaks with the same address" wait_for 5 spoken
	probe -t 0.5 -m rewrite -p 1194 -r "$LAB_REFLECTOR4"
	is "busy: exit 3" "$status" 3
	like "busy: in words" "$(cat "$LAB_DIR/err")" \
		"^natpunch probe: port 1194 already has a connection to $LAB_REFLECTOR4:3478\$"
	ok "busy: its entry is still there" spoken
	lab_stop
}

# shellcheck disable=SC2317 # by wait_for
spoken()
{
	lab_exec home conntrack -L -p udp --sport 1194 2>/dev/null | grep -q 'dport=3478'
}

# Where packets are exempt from connection tracking, no wrong mapping is told.
try_untracked()
{
	lab_start port-restricted
	start_reflector
	start_vpn_server untracked
	lab_exec home nft 'table inet own { chain out { type filter hook output priority raw; notrack; }; }'
	probe -m rewrite -p 1194 -r "$LAB_REFLECTOR4"
	is "untracked: exit 3" "$status" 3
	is "untracked: no line" "$line" ""
	like "untracked: in words" "$(cat "$LAB_DIR/err")" "another rule of this machine's firewall decides"
	lab_stop
}

for kind in full-cone full-cone-port port-restricted double; do
	try_kind $kind nat66
done
try_kill
try_busy
try_untracked
done_testing
