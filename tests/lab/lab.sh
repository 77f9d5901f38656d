# shellcheck shell=sh
#
# The laboratory: a home behind a NAT, a laptop behind another, and the hosts
# of an internet between them, each in a network namespace of its own, with
# the kernel's own NAT and a real sshd. Source this file, then lab_start.
#
#     home              home-router        (home-carrier)
#    +-------------+   +-------------+    +-------------+
#    | sshd on :22 |---| lan     wan |----| lan     wan |---+
#    +-------------+   +-------------+    +-------------+   |
#     192.168.1.2              203.0.113.2 of the outermost | the line: delay
#                                                           | and loss
#     laptop            laptop-router    (laptop-carrier)   |
#    +-------------+   +-------------+    +-------------+   |   +-----------+
#    |             |---| lan     wan |----| lan     wan |---+---| internet  |
#    +-------------+   +-------------+    +-------------+       +-----------+
#     192.168.178.2            192.0.2.2 of the outermost         |   |   |
#                                                                 |   |   |
#       reflector 198.51.100.10 and .11 --------------------------+   |   |
#       second    198.51.100.200, another reflector ------------------+   |
#       third     198.51.100.130, a stranger -----------------------------+
#
# Everything is IPv4 and IPv6. The router in the middle drops packets with a
# private source address, as providers do, so what a NAT lets out
# untranslated is lost.
#
# NAT kinds, for home and laptop each. Terms are those of RFC 4787 and 5382;
# TCP and UDP are treated alike.
#
#   KIND                 MAPPING                         FILTERING
#   open                 none: the host's own address    none
#   full-cone            endpoint-independent, port kept endpoint-independent
#   full-cone-port       same, the port changed          endpoint-independent
#   address-restricted   port kept                       address-dependent
#   port-restricted      port kept                       address and port
#   port-restricted-port the port changed                address and port
#   port-restricted-rst  port kept                       same, and a TCP RST
#                                                        for the unsolicited SYN
#   symmetric            a random port per destination   address and port
#   symmetric-step       the next port per destination   address and port
#   double               port-restricted at home, then a carrier's
#                        port-restricted-port behind 100.64.0.0/10
#   A+B                  kind A at the router, kind B at the carrier
#
# How: port-restricted is Linux's masquerade and nothing else. For the changed
# port the new one is a hash of the inner address and port, so that each
# destination sees the same. For the cones, every packet that leaves writes
# its mapping into a set of nftables, from which a packet that comes in is
# translated back: no packet out, no mapping. A mapping lives for
# LAB_NAT_ESTABLISHED seconds after the last packet out while conntrack holds
# that connection for longer than LAB_NAT_TRANSITORY, and for
# LAB_NAT_TRANSITORY otherwise; UDP: LAB_NAT_UDP. So an orderly close shortens
# the mapping and a silent one does not. (A real NAT would wait for the last
# of several connections; here the last packet decides.)
#
# Variables that lab_start reads:
#
#   LAB_IPV6            none      routed, nothing filtered (what open has)
#                       firewall  routed, stateful: only answers come in
#                                 (what all other kinds have)
#                       nat66     private addresses, and the same kind of NAT
#                                 as for IPv4
#   LAB_LAPTOP_IPV6     the same for the laptop's side
#   LAB_DELAY           milliseconds each way on home's line; 0 makes a line
#                       that can be changed later; unset: none, a plain cable
#   LAB_LAPTOP_DELAY    the same for the laptop's line; LAB_DELAY
#   LAB_LOSS            percent lost on lines, each way; 0
#   LAB_SEED            of the random generator for loss; 1
#   LAB_LINE            tun or netem; netem where the kernel has it
#   LAB_NAT_ESTABLISHED 7440 (RFC 5382 REQ-5); when set, conntrack gets it too
#   LAB_NAT_TRANSITORY  240 (RFC 5382 REQ-5); when set, conntrack gets it too
#   LAB_NAT_UDP         120; when set, conntrack gets it too
#   LAB_BIN             where inside, pids and delayline are; build/lab at the top of the tree
#   KEEP=1              leave the directory with logs, and say where it is
#
# Variables that it sets: LAB (the prefix of all namespaces), LAB_DIR (logs and
# all else; removed at the end) and addresses, each with 4 and 6 at its end:
# LAB_HOME LAB_LAPTOP (the host's own), LAB_HOME_PUBLIC LAB_LAPTOP_PUBLIC (what
# the world sees), LAB_REFLECTOR LAB_REFLECTOR_B LAB_SECOND LAB_THIRD. And
# LAB_KIND, LAB_LAPTOP_KIND, LAB_SSHD_LOG, LAB_SSHD_PID.
#
# Functions. NS is one of the names in the picture.
#
#   lab_start KIND [LAPTOPKIND]  builds all; laptop: port-restricted. Comes back
#                           when sshd listens and the lines carry packets
#   lab_stop                takes all down; also runs at exit, ^C and SIGTERM
#   lab_exec NS COMMAND...  runs it in there
#   lab_spawn NAME NS COMMAND...  in the background; standard output into
#                           $LAB_DIR/NAME.out, standard error into NAME.err,
#                           its pid into LAB_PID and NAME.pid
#   lab_reflect NAME NS [ARG...]  spawns natpunch reflect; back when it answers
#   lab_kill NAME [SIGNAL]  ends what lab_spawn NAME began and waits for it;
#                           its exit status (128 + signal if that ended it)
#   lab_alive NAME          is it still running?
#   wait_for SECONDS COMMAND...  until the command succeeds; fails at the
#                           deadline. Fractions allowed
#   wait_for_line SECONDS FILE ERE  until a line of FILE matches
#   lab_sshd_start, lab_sshd_stop  the sshd at home (lab_start started it)
#   lab_ssh NS ADDR PORT [COMMAND...]  ssh to root with the lab's key; it also
#                           proves that the other end is home's sshd. Further
#                           options: LAB_SSH_OPTIONS
#   lab_banner NS ADDR PORT  prints the other end's first line
#   lab_outer_nat [SIDE]    the namespace of the outermost NAT of home or
#                           laptop; for an open side its router, with no NAT
#   lab_conntrack NS PROTO ADDR PORT [DST [DPORT]]  the public address and port
#                           that this router's conntrack holds for
#                           connections from ADDR PORT: lines "ADDR PORT"
#   lab_mapping SIDE PROTO PORT [DST [DPORT]]  the same for home's or laptop's
#                           own port through all its NATs. DST may be 4 or 6:
#                           any of that family; 4 if left out. An open side:
#                           its own address and the port
#   lab_capture NAME NS IFACE FILTER  tcpdump; back when it listens
#   lab_captured NAME [ARG...]  prints what was caught so far; arguments go to
#                           tcpdump (-c 1, a filter, ...)
#   lab_said [FILE...]      what a command said, without the warning that each
#                           gives which is not confined (tests/run checked)
#   lab_line SIDE DELAY LOSS [LOSS_BACK]  changes a line at run time, and is
#                           back when that holds. LOSS is in percent, out of
#                           the house; LOSS_BACK into it; the same if left out
#   lab_cut SIDE, lab_mend SIDE  the outermost router's wan goes down, up again
#   lab_nat_flush SIDE      all NATs of the side forget everything
#   lab_nat_address SIDE ADDR  the outermost NAT gets another public address:
#                           203.0.113.3 to .62 for home, 192.0.2.3 to .62 for
#                           the laptop. Sets LAB_HOME_PUBLIC4 and the like
#
# Interfaces: eth0 at the hosts, lan and wan at routers and carriers; home,
# laptop, reflector, second and third in the namespace internet.

lab_top=${LAB_TOP:-$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)}
LAB_BIN=${LAB_BIN:-$lab_top/build/lab}
LAB=
LAB_DIR=
# A confined natpunch ends at a system call that is in none of its lists, and
# says which; lab_stop finds what it said.
export NATPUNCH_SANDBOX="${NATPUNCH_SANDBOX:-strict}"

lab_said()
{
	# shellcheck disable=SC2016 # the warning's own text
	sed '/: warning: not confined: \$NATPUNCH_SANDBOX is off$/d' "$@"
}

# ---------------------------------------------------------------- waiting

# Hundredths of a second since boot, without a process.
lab_clock()
{
	# shellcheck disable=SC2034 # the rest of the line
	read -r lab_uptime lab_idle </proc/uptime
	lab_now=${lab_uptime%.*}${lab_uptime#*.}
}

wait_for()
{
	lab_seconds=$1.
	shift
	lab_fraction=${lab_seconds#*.}
	lab_fraction=${lab_fraction%.}00
	lab_fraction=${lab_fraction%"${lab_fraction#??}"}
	lab_clock
	lab_deadline=$((lab_now + ${lab_seconds%%.*} * 100 + ${lab_fraction#0}))
	lab_step=0.01
	lab_rare=$((lab_now + 30))
	while ! "$@"; do
		lab_clock
		[ "$lab_now" -lt "$lab_deadline" ] || return 1
		# What takes long is asked less often: to ask costs more than to wait.
		[ "$lab_now" -lt "$lab_rare" ] || lab_step=0.05
		sleep "$lab_step"
	done
}

lab_file_has()
{
	[ -f "$1" ] && grep -Eq -e "$2" "$1"
}

wait_for_line()
{
	wait_for "$1" lab_file_has "$2" "$3"
}

lab_die()
{
	printf 'laboratory: %s\n' "$*" >&2
	exit 1
}

# -------------------------------------------------------------- processes

lab_exec()
{
	lab_ns=$1
	shift
	"$LAB_BIN/inside" "$LAB-$lab_ns" "$@"
}

# COMMAND...: at home, where the names of $LAB_DIR/hosts are known, in /etc/hosts of its own.
lab_exec_named()
{
	lab_exec home sh "$LAB_DIR/named" "$@"
}

lab_spawn()
{
	lab_name=$1
	lab_ns=$2
	shift 2
	# What one of the same name said before must not be taken for its word.
	rm -f "$LAB_DIR/$lab_name.out" "$LAB_DIR/$lab_name.err"
	"$LAB_BIN/inside" "$LAB-$lab_ns" "$@" </dev/null \
		>"$LAB_DIR/$lab_name.out" 2>"$LAB_DIR/$lab_name.err" &
	LAB_PID=$!
	echo "$LAB_PID" >"$LAB_DIR/$lab_name.pid"
}

lab_reflect()
{
	lab_reflector=$1
	lab_at=$2
	shift 2
	lab_spawn "$lab_reflector" "$lab_at" "$lab_top/natpunch" reflect "$@"
	wait_for_line 20 "$LAB_DIR/$lab_reflector.err" ready ||
		lab_die "the reflector $lab_reflector does not start"
}

lab_kill()
{
	[ -f "$LAB_DIR/$1.pid" ] || return 1
	read -r lab_pid <"$LAB_DIR/$1.pid"
	rm -f "$LAB_DIR/$1.pid"
	kill "-${2:-TERM}" "$lab_pid" 2>/dev/null
	wait "$lab_pid" 2>/dev/null
}

# A zombie still has an entry: the shell has not waited for it yet.
lab_alive()
{
	[ -f "$LAB_DIR/$1.pid" ] && read -r lab_pid <"$LAB_DIR/$1.pid" &&
		! grep -q '^State:[[:space:]]*[ZX]' "/proc/$lab_pid/status" 2>/dev/null &&
		[ -d "/proc/$lab_pid" ]
}

# ------------------------------------------------------------- NAT kinds

# KIND -> lab_router_kind, lab_carrier_kind ("" without a carrier).
lab_kind_split()
{
	lab_kind=$1
	[ "$lab_kind" != double ] || lab_kind=port-restricted+port-restricted-port
	lab_router_kind=${lab_kind%%+*}
	lab_carrier_kind=
	case $lab_kind in
	*+*) lab_carrier_kind=${lab_kind#*+} ;;
	esac
}

# Said at once, and not in the middle of a pipe.
lab_kind_check()
{
	lab_kind_split "$1"
	for lab_layer_kind in "$lab_router_kind" ${lab_carrier_kind:+"$lab_carrier_kind"}; do
		lab_kind_traits "$lab_layer_kind"
		[ -z "$lab_carrier_kind" ] || [ "$lab_layer_kind" != open ] ||
			lab_die "open cannot be a layer of several: $1"
	done
	case ${2-} in
	'' | none | firewall | nat66) ;;
	*) lab_die "no such kind of IPv6: $2" ;;
	esac
}

# KIND -> lab_to (how masquerade chooses the port), lab_filtering, lab_rst.
lab_kind_traits()
{
	lab_to=
	lab_rst=
	case $1 in
	open) lab_filtering=none ;;
	full-cone) lab_filtering=any ;;
	full-cone-port) lab_filtering=any lab_to=hash ;;
	address-restricted) lab_filtering=address ;;
	port-restricted) lab_filtering=port ;;
	port-restricted-port) lab_filtering=port lab_to=hash ;;
	port-restricted-rst) lab_filtering=port lab_rst=1 ;;
	symmetric) lab_filtering=port lab_to=random ;;
	symmetric-step) lab_filtering=port lab_to=step ;;
	*) lab_die "no such kind of NAT: $1" ;;
	esac
}

# The port argument of masquerade. nftables hands the number of a hash to the
# NAT as it lies in memory; on a little-endian machine its lowest byte is the
# port's highest. Setting 0x80 there makes the port 32768 or more, and never 0.
# The counter goes through a table, so that its steps are steps of the port.
lab_masquerade()
{
	case $lab_to in
	hash) echo "masquerade to : jhash $1 saddr . th sport mod 65536 seed 0x1 | 0x80" ;;
	random) echo "masquerade to :1024-65535 fully-random" ;;
	step) awk 'BEGIN {
			printf "masquerade to : numgen inc mod 4096 map {"
			for (i = 0; i < 4096; i++)
				printf "%s%d : %d", i ? ", " : "", i, 40000 + i
			print "}"
		}' ;;
	*) echo "masquerade" ;;
	esac
}

# FAMILY (ip, ip6) -> the part of a cone: which mappings there are, how packets
# out write them and packets in are translated by them; and who has been
# contacted from which, for address-dependent filtering. Two maps for address
# and port, because nft 1.0.6 cannot put an IPv6 address and a port into one.
lab_cone_rules()
{
	lab_type=ipv4_addr
	[ "$1" = ip ] || lab_type=ipv6_addr
	lab_contact=
	lab_contacted=
	if [ "$lab_filtering" = address ]; then
		lab_contact="meta l4proto . th sport . $1 daddr"
		lab_contacted="meta l4proto . th dport . $1 saddr @contacts"
	fi
	cat <<-END
	set contacts {
		type inet_proto . inet_service . $lab_type
		flags dynamic, timeout
		size 65535
	}
	map mappings {
		type inet_proto . inet_service : $lab_type
		flags dynamic, timeout
		size 65535
	}
	map mapped_ports {
		type inet_proto . inet_service : inet_service
		flags dynamic, timeout
		size 65535
	}
	chain learn_original {
		$(lab_learn_rules "$1" original)
	}
	chain learn_reply {
		$(lab_learn_rules "$1" reply)
	}
	chain learn {
		type filter hook postrouting priority srcnat + 10
		oifname != "wan" accept
		meta l4proto != { tcp, udp } accept
		ct direction original jump learn_original
		ct direction reply jump learn_reply
	}
	chain translate_in {
		type nat hook prerouting priority dstnat
		iifname "wan" meta l4proto { tcp, udp } $lab_contacted dnat $1 to meta l4proto . th dport map @mappings : meta l4proto . th dport map @mapped_ports
	}
	END
}

# FAMILY DIRECTION -> rules that write the mapping of a packet that leaves.
lab_learn_rules()
{
	lab_learn_rule udp "${LAB_NAT_UDP:-120}" "$1" "$2"
	lab_learn_rule "tcp ct expiration > ${LAB_NAT_TRANSITORY:-240}s" \
		"${LAB_NAT_ESTABLISHED:-7440}" "$1" "$2"
	lab_learn_rule tcp "${LAB_NAT_TRANSITORY:-240}" "$1" "$2"
}

# CONDITION SECONDS FAMILY DIRECTION
lab_learn_rule()
{
	echo "meta l4proto $1" \
		"update @mappings { meta l4proto . th sport timeout $2s : ct $4 $3 saddr }" \
		"update @mapped_ports { meta l4proto . th sport timeout $2s : ct $4 proto-src }" \
		"${lab_contact:+update @contacts { $lab_contact timeout $2s \}} return"
}

# FAMILY KIND [routed] -> the rules of one router, NAT and filter; routed: the
# filter only.
lab_nat_rules()
{
	lab_kind_traits "$2"
	[ "$lab_filtering" != none ] || return 0
	lab_icmp=icmp
	[ "$1" = ip ] || lab_icmp=ipv6-icmp
	echo "table $1 lab {"
	if [ "${3-}" != routed ]; then
		case $lab_filtering in
		any | address) lab_cone_rules "$1" ;;
		esac
		cat <<-END
		chain translate_out {
			type nat hook postrouting priority srcnat
			oifname "wan" meta l4proto { tcp, udp } $(lab_masquerade "$1")
			oifname "wan" masquerade
		}
		END
	fi
	cat <<-END
	chain unsolicited {
		meta l4proto $lab_icmp accept
		${lab_rst:+tcp flags & (syn | ack | rst) == syn reject with tcp reset}
		drop
	}
	chain to_me {
		type filter hook input priority filter
		ct state established,related accept
		iifname "wan" jump unsolicited
	}
	chain through_me {
		type filter hook forward priority filter
		ct state established,related accept
		ct status dnat accept
		iifname "wan" jump unsolicited
	}
	}
	END
}

# KIND IPV6 -> the whole ruleset of one router.
lab_router_rules()
{
	lab_nat_rules ip "$1"
	case $2 in
	nat66) lab_nat_rules ip6 "$1" ;;
	firewall) lab_nat_rules ip6 "$(lab_firewall_kind "$1")" routed ;;
	esac
}

lab_firewall_kind()
{
	case $1 in
	*-rst) echo port-restricted-rst ;;
	*) echo port-restricted ;;
	esac
}

# -------------------------------------------------------------- addresses

# shellcheck disable=SC2034 # for those who source this file
lab_addresses()
{
	LAB_REFLECTOR4=198.51.100.10 LAB_REFLECTOR6=2001:db8:10::10
	LAB_REFLECTOR_B4=198.51.100.11 LAB_REFLECTOR_B6=2001:db8:10::11
	LAB_SECOND4=198.51.100.200 LAB_SECOND6=2001:db8:20::10
	LAB_THIRD4=198.51.100.130 LAB_THIRD6=2001:db8:30::10
	LAB_HOME_PUBLIC4=203.0.113.2 LAB_HOME_PUBLIC6=2001:db8:1::2
	LAB_LAPTOP_PUBLIC4=192.0.2.2 LAB_LAPTOP_PUBLIC6=2001:db8:2::2
}

# SIDE -> what its networks are called: lab_wan4, lab_lan6, ... (the networks,
# without the last digits), and lab_kind..., lab_ipv6 of the side.
lab_side()
{
	case $1 in
	home)
		lab_kind_split "$LAB_KIND"
		lab_ipv6=${LAB_IPV6:-}
		lab_wan4=203.0.113 lab_lan4=192.168.1 lab_mid4=100.64.1 lab_digit=1
		;;
	laptop)
		lab_kind_split "$LAB_LAPTOP_KIND"
		lab_ipv6=${LAB_LAPTOP_IPV6:-}
		lab_wan4=192.0.2 lab_lan4=192.168.178 lab_mid4=100.64.2 lab_digit=2
		;;
	*) lab_die "no such side: $1" ;;
	esac
	if [ -z "$lab_ipv6" ]; then
		lab_ipv6=firewall
		[ "$lab_kind" != open ] || lab_ipv6=none
	fi
	lab_wan6=2001:db8:$lab_digit:
	lab_lan6=2001:db8:$lab_digit:1:
	lab_mid6=2001:db8:$lab_digit:2:
	if [ "$lab_ipv6" = nat66 ]; then
		lab_lan6=fd00:$lab_digit:1:
		lab_mid6=fd00:$lab_digit:2:
	fi
	lab_router4=$lab_lan4.1/24 lab_host4=$lab_lan4.2 lab_bits4=24
	if [ "$lab_router_kind" = open ]; then
		lab_router4=$lab_wan4.65/26 lab_host4=$lab_wan4.66 lab_bits4=26
	fi
	lab_outer=$1-router
	[ -z "$lab_carrier_kind" ] || lab_outer=$1-carrier
}

# -------------------------------------------------------------- building

lab_ip()
{
	ip -n "$LAB-$1" -batch -
}

lab_sysctl_default='
cd /proc/sys/net
echo 0 >ipv6/conf/default/accept_dad
echo 0 >ipv6/conf/default/accept_ra
echo 0 >ipv6/conf/all/accept_dad
echo 0 >ipv4/conf/default/rp_filter
echo 0 >ipv4/conf/all/rp_filter
echo 0 >ipv4/icmp_ratelimit
echo 0 >ipv6/icmp/ratelimit
'
lab_sysctl_router='
echo 1 >ipv4/ip_forward
echo 1 >ipv6/conf/all/forwarding
cd netfilter 2>/dev/null || exit 0
'

lab_sysctl_timeouts()
{
	if [ -n "${LAB_NAT_ESTABLISHED-}" ]; then
		echo "echo $LAB_NAT_ESTABLISHED >nf_conntrack_tcp_timeout_established"
	fi
	if [ -n "${LAB_NAT_TRANSITORY-}" ]; then
		for lab_state in syn_sent syn_recv fin_wait close_wait last_ack time_wait close; do
			echo "echo $LAB_NAT_TRANSITORY >nf_conntrack_tcp_timeout_$lab_state"
		done
	fi
	if [ -n "${LAB_NAT_UDP-}" ]; then
		echo "echo $LAB_NAT_UDP >nf_conntrack_udp_timeout"
		echo "echo $LAB_NAT_UDP >nf_conntrack_udp_timeout_stream"
	fi
}

# Which namespaces there are, hosts and routers apart.
lab_names()
{
	lab_hosts="home laptop reflector second third"
	lab_routers="internet"
	for lab_s in home laptop; do
		lab_side $lab_s
		lab_routers="$lab_routers $lab_s-router"
		[ -z "$lab_carrier_kind" ] || lab_routers="$lab_routers $lab_s-carrier"
	done
}

lab_build_namespaces()
{
	for lab_n in $lab_hosts $lab_routers; do
		echo "netns add $LAB-$lab_n"
	done | ip -batch - || lab_die "cannot make namespaces (root is needed)"
	for lab_n in $lab_hosts; do
		lab_exec "$lab_n" sh -c "$lab_sysctl_default"
	done
	for lab_n in $lab_routers; do
		lab_exec "$lab_n" sh -c "$lab_sysctl_default$lab_sysctl_router$(lab_sysctl_timeouts)"
	done
}

# NS IFACE NS IFACE -> a cable, as a line for ip -batch. No two interfaces get
# the same index: the kernel takes a veth whose peer, in another namespace, has
# its own index for a real card, whose carrier it looks at once a second only,
# and IPv6 waits for that.
lab_cable()
{
	lab_index=$((lab_index + 2))
	echo "link add $2 index $lab_index netns $LAB-$1 type veth" \
		"peer name $4 index $((lab_index + 1)) netns $LAB-$3"
}

lab_build_cables()
{
	lab_index=10
	{
		for lab_h in reflector second third; do
			lab_cable "$lab_h" eth0 internet "$lab_h"
		done
		for lab_s in home laptop; do
			lab_side $lab_s
			lab_cable $lab_s eth0 $lab_s-router lan
			if [ -n "$lab_carrier_kind" ]; then
				lab_cable $lab_s-router wan $lab_s-carrier lan
			fi
			[ "$(lab_line_kind $lab_s)" = tun ] || lab_cable "$lab_outer" wan internet $lab_s
		done
	} | ip -batch - || lab_die "cannot set addresses or links"
}

# IFACE ADDRESS... -> lines for ip -batch.
lab_up()
{
	lab_i=$1
	shift
	for lab_a in "$@"; do
		case $lab_a in
		*:*) echo "addr add $lab_a dev $lab_i nodad" ;;
		*) echo "addr add $lab_a dev $lab_i" ;;
		esac
	done
	echo "link set $lab_i up"
}

lab_build_internet()
{
	{
		lab_up lo
		lab_up reflector 198.51.100.1/26 2001:db8:10::1/64
		lab_up third 198.51.100.129/26 2001:db8:30::1/64
		lab_up second 198.51.100.193/26 2001:db8:20::1/64
		for lab_s in home laptop; do
			lab_side $lab_s
			lab_up $lab_s "$lab_wan4.1/26" "$lab_wan6:1/64"
			echo "route add $lab_wan4.64/26 via $lab_wan4.2"
			[ "$lab_ipv6" = nat66 ] || echo "route add ${lab_wan6%:}::/48 via $lab_wan6:2"
		done
	} | lab_ip internet || lab_die "cannot set addresses or links"
	lab_exec internet nft -f - <<-END || lab_die "nftables refuses the rules"
	table inet lab {
		chain no_private_sources {
			type filter hook forward priority filter
			ip saddr { 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16 } drop
			ip6 saddr fc00::/7 drop
		}
	}
	END
	lab_build_host reflector 198.51.100.10/26 198.51.100.1 2001:db8:10::10/64 2001:db8:10::1 \
		198.51.100.11/26 2001:db8:10::11/64
	lab_build_host third 198.51.100.130/26 198.51.100.129 2001:db8:30::10/64 2001:db8:30::1
	lab_build_host second 198.51.100.200/26 198.51.100.193 2001:db8:20::10/64 2001:db8:20::1
}

# NS ADDR4 GATEWAY4 ADDR6 GATEWAY6 [FURTHER-ADDR...]. A second IPv6 address is
# "deprecated", so that the first remains the one to speak from.
lab_build_host()
{
	lab_h=$1 lab_a4=$2 lab_g4=$3 lab_a6=$4 lab_g6=$5
	shift 5
	{
		lab_up lo
		lab_up eth0 "$lab_a4" "$lab_a6" "$@" | sed "/::11\/64/s/\$/ preferred_lft 0/"
		echo "route add default via $lab_g4"
		echo "route add default via $lab_g6"
	} | lab_ip "$lab_h" || lab_die "cannot set addresses or links"
}

# The networks of a side from the outside in: wan, (mid,) lan.
lab_build_side()
{
	lab_side "$1"
	if [ -n "$lab_carrier_kind" ]; then
		{
			lab_up lo
			lab_up wan "$lab_wan4.2/26" "$lab_wan6:2/64"
			lab_up lan "$lab_mid4.1/24" "$lab_mid6:1/64"
			echo "route add default via $lab_wan4.1"
			echo "route add default via $lab_wan6:1"
			[ "$lab_ipv6" = nat66 ] || echo "route add $lab_lan6:/64 via $lab_mid6:2"
		} | lab_ip "$1-carrier" || lab_die "cannot set addresses or links"
		lab_router_rules "$lab_carrier_kind" "$lab_ipv6" | lab_exec "$1-carrier" nft -f - || lab_die "nftables refuses the rules"
		lab_up4=$lab_mid4 lab_up6=$lab_mid6 lab_upbits=24
	else
		lab_up4=$lab_wan4 lab_up6=$lab_wan6 lab_upbits=26
	fi
	{
		lab_up lo
		lab_up wan "$lab_up4.2/$lab_upbits" "$lab_up6:2/64"
		lab_up lan "$lab_router4" "$lab_lan6:1/64"
		echo "route add default via $lab_up4.1"
		echo "route add default via $lab_up6:1"
	} | lab_ip "$1-router" || lab_die "cannot set addresses or links"
	lab_router_rules "$lab_router_kind" "$lab_ipv6" | lab_exec "$1-router" nft -f - || lab_die "nftables refuses the rules"
	lab_build_host "$1" "$lab_host4/$lab_bits4" "${lab_router4%/*}" "$lab_lan6:2/64" "$lab_lan6:1"
	lab_side_public "$1"
}

# shellcheck disable=SC2034 # for those who source this file
lab_side_public()
{
	if [ "$1" = home ]; then
		LAB_HOME4=$lab_host4 LAB_HOME6=$lab_lan6:2
		[ "$lab_kind" != open ] || LAB_HOME_PUBLIC4=$LAB_HOME4
		[ "$lab_ipv6" = nat66 ] || LAB_HOME_PUBLIC6=$LAB_HOME6
	else
		LAB_LAPTOP4=$lab_host4 LAB_LAPTOP6=$lab_lan6:2
		[ "$lab_kind" != open ] || LAB_LAPTOP_PUBLIC4=$LAB_LAPTOP4
		[ "$lab_ipv6" = nat66 ] || LAB_LAPTOP_PUBLIC6=$LAB_LAPTOP6
	fi
}

# ------------------------------------------------------------------ lines

lab_line_delay()
{
	case $1 in
	home) echo "${LAB_DELAY-}" ;;
	laptop) echo "${LAB_LAPTOP_DELAY-${LAB_DELAY-}}" ;;
	esac
}

# SIDE -> cable (no delay asked for), tun or netem
lab_line_kind()
{
	if [ -z "$(lab_line_delay "$1")" ]; then
		echo cable
	else
		echo "$LAB_LINE"
	fi
}

# The kernel says whether it knows netem when asked to use it on loopback of
# a namespace of ours, which is down.
lab_line_choose()
{
	[ -z "${LAB_LINE-}" ] && [ -n "${LAB_DELAY-}${LAB_LAPTOP_DELAY-}" ] || return 0
	LAB_LINE=tun
	if tc -n "$LAB-third" qdisc add dev lo root netem 2>/dev/null; then
		tc -n "$LAB-third" qdisc del dev lo root
		LAB_LINE=netem
	fi
}

lab_line_open()
{
	[ "$(lab_line_kind "$1")" = tun ] || return 0
	[ -x "$LAB_BIN/delayline" ] || lab_die "$LAB_BIN/delayline is missing"
	mkfifo "$LAB_DIR/line-$1.control"
	lab_side "$1"
	lab_spawn "line-$1" internet "$LAB_BIN/delayline" -d "$(lab_line_delay "$1")" \
		-l "${LAB_LOSS:-0}" -s "${LAB_SEED:-1}" -c "$LAB_DIR/line-$1.control" \
		"/run/netns/$LAB-$lab_outer" wan "/run/netns/$LAB-internet" "$1"
	wait_for_line 5 "$LAB_DIR/line-$1.out" '^ready$' ||
		lab_die "the line does not start: $(cat "$LAB_DIR/line-$1.err")"
}

# NS IFACE NS IFACE DIGIT: tells the first how to reach the second. To ask over
# a line with delay would cost round trips that a TUN device does not have.
lab_line_neighbour()
{
	lab_mac=$(ip -n "$LAB-$3" -o link show dev "$4" | sed 's/.*link\/ether \([^ ]*\) .*/\1/')
	for lab_a in "$lab_wan4.$5" "$lab_wan6:$5"; do
		echo "neigh replace $lab_a lladdr $lab_mac nud permanent dev $2"
	done | lab_ip "$1" || lab_die "cannot set neighbours"
}

lab_line_netem()
{
	[ "$(lab_line_kind "$1")" = netem ] || return 0
	lab_side "$1"
	lab_line_neighbour "$lab_outer" wan internet "$1" 1
	lab_line_neighbour internet "$1" "$lab_outer" wan 2
	lab_line "$1" "$(lab_line_delay "$1")" "${LAB_LOSS:-0}" ||
		lab_die "netem does not work here"
}

lab_line()
{
	lab_side "$1"
	case $(lab_line_kind "$1") in
	cable) lab_die "there is no line at $1: set LAB_DELAY" ;;
	netem)
		tc -n "$LAB-$lab_outer" qdisc replace dev wan root netem \
			limit 4096 delay "$2ms" loss "$3%" &&
			tc -n "$LAB-internet" qdisc replace dev "$1" root netem \
				limit 4096 delay "$2ms" loss "${4:-$3}%"
		;;
	tun)
		lab_serial=$(($(grep -c '^set ' "$LAB_DIR/line-$1.out") + 1))
		echo "set $lab_serial $2 $3 ${4:-$3}" >"$LAB_DIR/line-$1.control"
		wait_for_line 5 "$LAB_DIR/line-$1.out" "^set $lab_serial\$"
		;;
	esac
}

lab_cut()
{
	lab_side "$1"
	echo "link set wan down" | lab_ip "$lab_outer"
}

# The default routes went with the link.
lab_mend()
{
	lab_side "$1"
	{
		echo "link set wan up"
		echo "addr replace $lab_wan6:2/64 dev wan nodad"
		echo "route replace default via $lab_wan4.1"
		echo "route replace default via $lab_wan6:1"
	} | lab_ip "$lab_outer"
}

# -------------------------------------------------------------------- sshd

lab_sshd_files()
{
	ssh-keygen -q -t ed25519 -N '' -C lab -f "$LAB_DIR/host_key"
	ssh-keygen -q -t ed25519 -N '' -C lab -f "$LAB_DIR/user_key"
	cp "$LAB_DIR/user_key.pub" "$LAB_DIR/authorized_keys"
	sed 's/^/home /' "$LAB_DIR/host_key.pub" >"$LAB_DIR/known_hosts"
	# SHLVL: Debian's bash reads ~/.bashrc for each command by ssh, unless it is an inner shell; what
	# people keep there can take a second.
	cat >"$LAB_DIR/sshd_config" <<-END
	ListenAddress 0.0.0.0:22
	ListenAddress [::]:22
	HostKey $LAB_DIR/host_key
	AuthorizedKeysFile $LAB_DIR/authorized_keys
	PidFile none
	PermitRootLogin prohibit-password
	AuthenticationMethods publickey
	StrictModes no
	UsePAM no
	UseDNS no
	PermitUserRC no
	PrintMotd no
	PrintLastLog no
	LogLevel VERBOSE
	MaxStartups 200
	LoginGraceTime 30
	SetEnv SHLVL=2
	Subsystem sftp internal-sftp
	END
	# The machine's root may be locked, which sshd would refuse.
	printf 'root:*:19000:0:99999:7:::\nsshd:!:19000::::::\n' >"$LAB_DIR/shadow"
	# inside has made a mount namespace, so that what is mounted
	# here is seen by this sshd and what it starts, and goes with it.
	cat >"$LAB_DIR/sshd.sh" <<-END
	mount -t tmpfs -o mode=755 lab /run &&
	mkdir -m 755 /run/sshd &&
	mount --bind "$LAB_DIR/shadow" /etc/shadow &&
	exec /usr/sbin/sshd -D -e -f "$LAB_DIR/sshd_config"
	END
	LAB_SSHD_LOG=$LAB_DIR/sshd.err
	printf '%s\n' "mount --bind '$LAB_DIR/hosts' /etc/hosts && exec \"\$@\"" >"$LAB_DIR/named"
}

lab_sshd_start()
{
	lab_spawn sshd home sh "$LAB_DIR/sshd.sh"
	# shellcheck disable=SC2034 # for those who source this file
	LAB_SSHD_PID=$LAB_PID
	for lab_a in '0\.0\.0\.0' ::; do
		wait_for_line 30 "$LAB_SSHD_LOG" "^Server listening on $lab_a port 22" ||
			lab_die "sshd does not start: $(cat "$LAB_SSHD_LOG")"
	done
}

# Sessions that it has begun go on, as they do on a real machine.
lab_sshd_stop()
{
	lab_kill sshd
}

lab_ssh()
{
	lab_from=$1
	lab_addr=$2
	lab_port=$3
	shift 3
	# shellcheck disable=SC2086 # a list of options
	lab_exec "$lab_from" ssh -F none -p "$lab_port" -i "$LAB_DIR/user_key" \
		-o UserKnownHostsFile="$LAB_DIR/known_hosts" -o GlobalKnownHostsFile=none \
		-o HostKeyAlias=home -o StrictHostKeyChecking=yes -o BatchMode=yes \
		-o IdentitiesOnly=yes -o ConnectTimeout=3 -o LogLevel=ERROR \
		${LAB_SSH_OPTIONS-} "root@$lab_addr" "$@" </dev/null
}

lab_banner()
{
	lab_exec "$1" timeout 3 nc.openbsd -w 2 "$2" "$3" </dev/null 2>/dev/null |
		head -n 1 | tr -d '\r'
}

# ----------------------------------------------------- what a NAT remembers

lab_outer_nat()
{
	lab_side "${1:-home}"
	echo "$lab_outer"
}

# In a line of conntrack the second dst= and dport= are those of the answers:
# the public address and port.
lab_conntrack()
{
	lab_family=ipv4
	case $3 in
	*:*) lab_family=ipv6 ;;
	esac
	lab_exec "$1" conntrack -L -f "$lab_family" -p "$2" -s "$3" --sport "$4" \
		${5:+-d "$5"} ${6:+--dport "$6"} 2>/dev/null |
		awk '{
			dst = dport = 0
			for (i = 1; i <= NF; i++) {
				if ($i ~ /^dst=/ && ++dst == 2)
					address = substr($i, 5)
				if ($i ~ /^dport=/ && ++dport == 2 && !seen[address, substr($i, 7)]++)
					print address, substr($i, 7)
			}
		}'
}

lab_mapping()
{
	lab_dst=${4:-4}
	case $lab_dst in
	6 | *:*) lab_v=6 ;;
	*) lab_v=4 ;;
	esac
	[ "$lab_dst" != "$lab_v" ] || lab_dst=
	lab_side "$1"
	lab_inner="$lab_host4 $3"
	[ $lab_v = 4 ] || lab_inner="$lab_lan6:2 $3"
	for lab_layer in router ${lab_carrier_kind:+carrier}; do
		lab_layer_kind=$lab_router_kind
		[ "$lab_layer" = router ] || lab_layer_kind=$lab_carrier_kind
		[ "$lab_v$lab_layer_kind" != 4open ] || continue
		case $lab_v$lab_ipv6 in
		6none | 6firewall) continue ;;
		esac
		lab_inner=$(echo "$lab_inner" | while read -r lab_a lab_p; do
			lab_conntrack "$1-$lab_layer" "$2" "$lab_a" "$lab_p" "$lab_dst" "${5-}"
		done)
	done
	[ -n "$lab_inner" ] && echo "$lab_inner"
}

# NS FAMILY; kinds that are no cones have nothing of the kind.
lab_cone_flush()
{
	printf 'flush %s %s lab %s\n' map "$2" mappings map "$2" mapped_ports set "$2" contacts |
		lab_exec "$1" nft -f - 2>/dev/null || true
}

lab_nat_flush()
{
	lab_side "$1"
	for lab_layer in router ${lab_carrier_kind:+carrier}; do
		lab_cone_flush "$1-$lab_layer" ip
		lab_cone_flush "$1-$lab_layer" ip6
		lab_exec "$1-$lab_layer" conntrack -F 2>/dev/null
	done
}

# Masquerade itself forgets the connections of an address that goes.
lab_nat_address()
{
	lab_side "$1"
	if [ "$1" = home ]; then
		lab_old=$LAB_HOME_PUBLIC4
		LAB_HOME_PUBLIC4=$2
	else
		lab_old=$LAB_LAPTOP_PUBLIC4
		LAB_LAPTOP_PUBLIC4=$2
	fi
	printf '%s\n' "addr del $lab_old/26 dev wan" "addr add $2/26 dev wan" \
		"route replace default via $lab_wan4.1" | lab_ip "$lab_outer"
	lab_cone_flush "$lab_outer" ip
}

# ---------------------------------------------------------------- captures

lab_capture()
{
	lab_spawn "$1" "$2" tcpdump -i "$3" -n -U --immediate-mode -Z root \
		-w "$LAB_DIR/$1.pcap" "$4"
	wait_for_line 20 "$LAB_DIR/$1.err" 'listening on' ||
		lab_die "tcpdump does not start: $(cat "$LAB_DIR/$1.err")"
}

lab_captured()
{
	lab_name=$1
	shift
	tcpdump -n -r "$LAB_DIR/$lab_name.pcap" "$@" 2>/dev/null
}

# ----------------------------------------------------------- begin and end

lab_start()
{
	[ -z "$LAB_DIR" ] || lab_die "lab_start: there is one already"
	LAB_KIND=$1
	LAB_LAPTOP_KIND=${2:-port-restricted}
	lab_kind_check "$LAB_KIND" "${LAB_IPV6-}"
	lab_kind_check "$LAB_LAPTOP_KIND" "${LAB_LAPTOP_IPV6-}"
	LAB=np$$
	trap lab_stop EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 141' PIPE
	trap 'exit 143' TERM
	LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/natpunch-lab.XXXXXX") || exit 1
	lab_addresses
	lab_names
	lab_build_namespaces
	lab_line_choose
	lab_build_cables
	lab_line_open home
	lab_line_open laptop
	lab_build_internet
	lab_build_side home
	lab_build_side laptop
	lab_line_netem home
	lab_line_netem laptop
	lab_sshd_files
	lab_sshd_start
}

# All processes in our namespaces are ours: what lab_spawn began, what lab_exec
# left, and what these have begun. And what lab_spawn began this very moment,
# if it is still our child and has not entered its namespace yet.
lab_pids()
{
	set --
	for lab_n in $lab_hosts $lab_routers; do
		set -- "$@" "$LAB-$lab_n"
	done
	"$LAB_BIN/pids" "$@"
	for lab_f in "$LAB_DIR"/*.pid; do
		[ -f "$lab_f" ] || continue
		read -r lab_pid <"$lab_f" || continue
		! grep -qs "^PPid:[[:space:]]*$$\$" "/proc/$lab_pid/status" ||
			grep -qs '^State:[[:space:]]*Z' "/proc/$lab_pid/status" || echo "$lab_pid"
	done
}

lab_signal()
{
	lab_all=$(lab_pids)
	# shellcheck disable=SC2086 # a list of pids
	[ -z "$lab_all" ] || kill "-$1" $lab_all 2>/dev/null
	[ -z "$lab_all" ]
}

lab_stop()
{
	lab_status=$?
	trap - EXIT
	trap '' HUP INT PIPE TERM
	[ -n "$LAB_DIR" ] || return 0
	lab_signal TERM || wait_for 2 lab_gone || lab_signal KILL || wait_for 2 lab_gone
	for lab_n in $lab_hosts $lab_routers; do
		[ ! -e "/run/netns/$LAB-$lab_n" ] || echo "netns del $LAB-$lab_n"
	done | ip -batch -
	lab_refused=$(grep -rhsa 'refused system call' "$LAB_DIR") || :
	if [ "${KEEP-}" = 1 ]; then
		echo "# kept: $LAB_DIR" >&2
	else
		rm -rf "$LAB_DIR"
	fi
	LAB_DIR=
	trap - HUP INT PIPE TERM
	[ -z "$lab_refused" ] || lab_die "$lab_refused"
	return "$lab_status"
}

lab_gone()
{
	[ -z "$(lab_pids)" ]
}
