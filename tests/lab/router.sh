# shellcheck shell=sh
#
# A home router that forwards ports when it is asked: Debian's miniupnpd. Source lab.sh and tap.sh
# first; after lab_start:
#
#   router_start LINE...    starts it with these lines in its configuration besides ours. It serves
#                           nothing where its own address is no public one, and the laboratory's are
#                           of documentation: ext_ip=$router_public mends that, and then the address
#                           that it tells is a wrong one.
#                           With router_upnp=yes it also speaks UPnP; with router_package=iptables
#                           it is the one that writes its rules by iptables, $router_iptables
#   router_stop             ends it; what it forwards, it forwards no more
#   router_rules            prints the rules by which it forwards, if there are any
#   router_forwards, router_forgot  are there any, are there none?
#   router_lets_in PORT     does a stranger log in at home through that public port?
#
# A router that is to open IPv6 wants LAB_IPV6=none, as the firewall is then this one.

# shellcheck disable=SC2034 # for those who source this file
router_public=88.66.88.66
# tests/tools puts it there, as it cannot be installed beside the other one.
router_iptables=${lab_top:?}/build/miniupnpd-iptables/usr/sbin/miniupnpd

# The chains that it works on. IPv4 has the filters of the laboratory, which let in what is translated.
router_prepare()
{
	if [ "${router_package-}" = iptables ]; then
		router_prepare_iptables
		return
	fi
	lab_exec home-router nft -f - <<-END
	table inet filter
	delete table inet filter
	table inet filter {
		chain miniupnpd { }
		chain forward {
			type filter hook forward priority 0; policy drop
			ct state established,related accept
			meta nfproto ipv4 accept
			iifname "lan" accept
			meta l4proto ipv6-icmp accept
			jump miniupnpd
		}
		chain prerouting_miniupnpd { }
		chain prerouting {
			type nat hook prerouting priority -100; policy accept
			jump prerouting_miniupnpd
		}
		chain postrouting_miniupnpd { }
		chain postrouting {
			type nat hook postrouting priority 90; policy accept
			jump postrouting_miniupnpd
		}
	}
	END
}

router_prepare_iptables()
{
	lab_exec home-router iptables-legacy-restore <<-END
	*nat
	:MINIUPNPD - [0:0]
	:MINIUPNPD-POSTROUTING - [0:0]
	-A PREROUTING -i wan -j MINIUPNPD
	-A POSTROUTING -o wan -j MINIUPNPD-POSTROUTING
	COMMIT
	*mangle
	:MINIUPNPD - [0:0]
	-A PREROUTING -i wan -j MINIUPNPD
	COMMIT
	*filter
	:MINIUPNPD - [0:0]
	-A FORWARD -i wan ! -o wan -j MINIUPNPD
	COMMIT
	END
}

router_listens()
{
	lab_exec home-router ss -Hlun 'sport = :5351' | grep -q .
}

router_start()
{
	router_prepare
	{
		printf '%s\n' ext_ifname=wan listening_ip=lan http_port=5000 "enable_upnp=${router_upnp:-no}" \
			enable_natpmp=yes system_uptime=no secure_mode=yes \
			uuid=00000000-1111-2222-3333-444444444444
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >"$LAB_DIR/miniupnpd.conf"
	rm -f "$LAB_DIR/miniupnpd.pid"
	router_program=miniupnpd
	[ "${router_package-}" != iptables ] || router_program=$router_iptables
	lab_exec home-router "$router_program" -f "$LAB_DIR/miniupnpd.conf" -P "$LAB_DIR/miniupnpd.pid"
	wait_for 10 router_listens && wait_for 10 test -s "$LAB_DIR/miniupnpd.pid" ||
		bail 'miniupnpd does not start'
}

# It is a daemon: no child of ours, but a process of that namespace.
router_is_gone()
{
	! kill -0 "$router_pid" 2>/dev/null
}

router_stop()
{
	read -r router_pid <"$LAB_DIR/miniupnpd.pid"
	kill "$router_pid"
	wait_for 10 router_is_gone || bail 'miniupnpd does not end'
	[ "${router_package-}" = iptables ] || lab_exec home-router nft delete table inet filter
}

router_rules()
{
	if [ "${router_package-}" = iptables ]; then
		lab_exec home-router iptables-legacy -t nat -S MINIUPNPD | grep DNAT
		return
	fi
	lab_exec home-router nft list chain inet filter prerouting_miniupnpd | grep dnat
}

router_forwards()
{
	router_rules >/dev/null
}

router_forgot()
{
	! router_forwards
}

router_lets_in()
{
	[ "$(lab_ssh third "$LAB_HOME_PUBLIC4" "$1" echo in 2>/dev/null)" = in ]
}
