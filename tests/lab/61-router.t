#!/bin/sh
# probe -F: the home router is asked for a forward, by PCP, NAT-PMP and UPnP, and what is told is proved
# from outside: behind a NAT that lets no stranger in, and behind two; a router that grants another
# port, one that sends from another, one that refuses; one that is silent, and none.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/router.sh
. "$(dirname "$0")/router.sh"
need ip nft conntrack tcpdump miniupnpd natpmpc

natpunch=$lab_top/natpunch

# ARG...: at home. $status, $line and $said.
probe()
{
	line=$(lab_exec home "$natpunch" probe -t 15 -r "${reflector:-$LAB_REFLECTOR4}" "$@" 2>"$LAB_DIR/said")
	status=$?
	said=$(lab_said "$LAB_DIR/said")
}

# NAME WANT: it was proved, and so a stranger logs in.
proved()
{
	is "$1: exit 0" "$status" 0
	like "$1: the line" "$line" "$2"
	[ "$status" -eq 0 ] || diag "$said"
	is "$1: a stranger logs in" "$(lab_ssh third "${line% *}" "${line#* }" echo in 2>&1)" in
}

# Has a router forgotten what it forwards, and the NAT what it saw?
forget()
{
	lab_nat_flush home
}

# NAME ARG...: options that cannot be.
wrong()
{
	name=$1
	shift
	"$natpunch" probe -r 198.51.100.10 "$@" >/dev/null 2>"$LAB_DIR/said"
	is "$name: exit 2" "$?" 2
	is "$name: one line says so" "$(grep -c '^natpunch probe: ' "$LAB_DIR/said")" 1
}

# Kind of NAT, and the router's further lines.
begin()
{
	lab_start "$1"
	shift
	router_start "$@"
	lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4"
}

end()
{
	router_stop
	lab_stop
}

begin port-restricted "ext_ip=$router_public"
wrong '--lease without -F' --lease 600
wrong '--router without -F' --router 192.168.1.1
wrong '--forward-by without -F' --forward-by pcp
wrong 'a lease that is too short' -F --lease 119
wrong 'a lease that is too long' -F --lease 86401
wrong 'a protocol that there is not' -F --forward-by pcp,igd
wrong 'a router that is a name' -F --router router.example
wrong 'a router of the other family' -F -4 --router 2001:db8::1
wrong 'NAT-PMP in IPv6' -F -6 --forward-by nat-pmp
wrong '--lease 0 and -k' -F -k --lease 0
lab_capture asked home eth0 'udp port 5351'
probe -V
is 'without -F nobody gets in: exit 5' "$status" 5
is 'and nothing is sent to the router' "$(lab_captured asked | wc -l)" 0
forget
probe -F -V
proved 'one NAT' "^$LAB_HOME_PUBLIC4 22\$"
like 'what the router does is told' "$said" \
	"^natpunch probe: the router 192\.168\.1\.1 forwards its port 22 to port 22 here, by PCP, for 2 hours\$"
is 'PCP is asked, and NAT-PMP whether it is there' "$(lab_captured asked 'dst port 5351' | wc -l)" 2
forget
probe -F -f json
like 'json has it' "$line" \
	'"family":4,"router":"192\.168\.1\.1","router_method":"pcp","router_port":22,"lease":7200\}$'
probe -F -f json --forward-by nat-pmp --lease 600
like 'NAT-PMP, and another lease' "$line" '"router_method":"nat-pmp","router_port":22,"lease":600\}$'
like 'natpmpc is told of the same' "$(lab_exec home natpmpc -g 192.168.1.1 -a 22 22 tcp 3600 2>&1)" \
	'Mapped public port 22 protocol TCP to local port 22'
probe -F --lease 0
is 'taken back: exit 0' "$status" 0
is 'without a line' "$line" ''
is 'then nobody gets in' "$(lab_banner third "$LAB_HOME_PUBLIC4" 22)" ''
probe -F -u -p 5000 -f json
like 'UDP as well' "$line" '"protocol":"udp",.*"router_method":"pcp","router_port":5000'
probe -F -u -p 5000 -V
is 'UDP, and a stranger comes through it: exit 0' "$status" 0
is 'UDP, and a stranger comes through it: the line' "$line" "$LAB_HOME_PUBLIC4 5000"
router_stop

probe -F --router fe80::1
is 'a router of the other family: exit 0' "$status" 0
like 'it is told that none is asked' "$said" 'no router is asked in IPv4: --router is an address of IPv6$'
# UPnP, where it is the only one that is answered.
router_upnp=yes
router_start "ext_ip=$router_public"
forget
probe -F -V --forward-by upnp
proved 'by UPnP' "^$LAB_HOME_PUBLIC4 22\$"
like 'is told' "$said" 'forwards its port 22 to port 22 here, by UPnP, for 2 hours$'
probe -F --lease 0 --forward-by upnp
is 'taken back: exit 0' "$status" 0
is 'then nobody gets in' "$(lab_banner third "$LAB_HOME_PUBLIC4" 22)" ''
echo 'table ip deaf { chain input { type filter hook input priority -10; udp dport 5351 drop; }; }' |
	lab_exec home-router nft -f -
forget
probe -F -V
proved 'by UPnP, as PCP is silent' "^$LAB_HOME_PUBLIC4 22\$"
like 'is told, too' "$said" 'by UPnP, for 2 hours$'
lab_exec home-router nft delete table ip deaf
router_stop
router_upnp=

# The hook, and FILE: the port that was granted is asked for again.
router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 0-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
printf '#!/bin/sh\nenv | grep NATPUNCH_ROUTER_PORT= >"%s/hook.out"\n' "$LAB_DIR" >"$LAB_DIR/hook"
chmod 755 "$LAB_DIR/hook"
forget
probe -F -V -v -c "$LAB_DIR/file" -e "$LAB_DIR/hook"
proved 'another port than was asked for' "^$LAB_HOME_PUBLIC4 [0-9]{4,5}\$"
granted=${line#* }
like 'which the router gave' "$said" "forwards its port $granted to port 22 here"
is 'the hook has it' "$(cat "$LAB_DIR/hook.out")" "NATPUNCH_ROUTER_PORT=$granted"
like 'and FILE' "$(cat "$LAB_DIR/file")" " NATPUNCH_ROUTER_PORT=$granted\$"
probe -F -c "$LAB_DIR/file"
like 'it is asked for again' "$said" "forwards its port $granted to port 22 here"
unlike 'a lease that is renewed in time' "$said" 'the last run was'
touch -d '2 hours ago' "$LAB_DIR/file"
probe -F -c "$LAB_DIR/file" --lease 600
like 'one that is not is warned of' "$said" \
	'warning: the router forwards for 600 s only, and the last run was 72[0-9]{2} s ago: stay with -k'
probe -F -c "$LAB_DIR/file" --lease 600
unlike 'and the run before is this one then' "$said" 'the last run was'
router_stop

# As OpenWrt has it.
router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 1024-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
forget
probe -F -V
is 'a router that forwards no low ports: exit 5' "$status" 5
like 'why' "$said" 'the router 192\.168\.1\.1 refuses to forward port 22 \(PCP: NOT_AUTHORIZED\)'
like 'and what to do' "$said" '^hint: many routers forward to ports from 1024 only'
probe -F --lease 0
is 'what it never did it has forgotten' "$status" 0
router_stop

# Nobody there, which is known at once; and one who does not answer.
lab_capture nobody home eth0 'udp port 5351 or icmp'
probe -F
is 'no router that can be asked: exit 0' "$status" 0
like 'is told' "$said" 'the router 192\.168\.1\.1 cannot be asked to forward: Connection refused$'
probe -F --lease 0
is 'nor can it forget: exit 1' "$status" 1
lab_kill nobody

# One that lies: it grants what it does not do, and claims another address.
cat >"$LAB_DIR/liar.pl" <<'END'
	use Socket;
	my ($at, $s) = @ARGV;
	socket($s, PF_INET, SOCK_DGRAM, 0) && bind($s, sockaddr_in(5351, inet_aton($at))) or die $!;
	$| = 1;
	print "ready\n";
	while (my $from = recv($s, my $asked, 2000, 0)) {
		my ($version) = unpack('C', $asked);
		next if $version != 2 || length $asked < 60;
		send($s, pack('CCCCNNx12', 2, 0x81, 0, 0, 7200, 5) . substr($asked, 24, 18) .
			pack('n', 4444) . "\0" x 10 . "\xff\xff\6\6\6\6", 0, $from);
	}
END
lab_spawn liar home-router perl "$LAB_DIR/liar.pl" 192.168.1.1
ok 'a router that lies' wait_for_line 10 "$LAB_DIR/liar.out" ready
forget
probe -F
is 'what is told is what was seen' "$line" "$LAB_HOME_PUBLIC4 22"
like 'its word is told as its word' "$said" 'the router 192\.168\.1\.1 forwards its port 4444 to port 22 here'
forget
probe -F -V
is 'and nothing is proved: exit 5' "$status" 5
is 'so there is no line' "$line" ''
lab_kill liar
lab_exec home-router nft insert rule ip lab to_me udp dport 5351 drop
lab_capture silent home eth0 'udp port 5351 or tcp port 3478'
forget
probe -F
is 'a silent router: exit 0' "$status" 0
like 'is told' "$said" 'the router 192\.168\.1\.1 cannot be asked to forward: no answer$'
is 'it is asked once' "$(lab_captured silent 'udp' | wc -l)" 2
# From the first question to the first packet of the probe, in milliseconds; the machine may be busy.
waited=$(lab_captured silent -tt | awk '
	/\.5351:/ && !asked { asked = $1 }
	/\.3478:/ && !sent { sent = $1 }
	END { printf "%d", (sent - asked) * 1000 }')
between "and waited for for a moment ($waited ms)" "$waited" 240 1500
lab_stop

# Two NATs.
begin port-restricted+full-cone "ext_ip=$router_public"
probe -V
is 'two NATs, without -F: exit 5' "$status" 5
forget
probe -F -V
proved 'two NATs' "^$LAB_HOME_PUBLIC4 22\$"
router_stop
router_upnp=yes
router_start "ext_ip=$router_public"
forget
probe -F -V --forward-by upnp
proved 'two NATs, by UPnP' "^$LAB_HOME_PUBLIC4 22\$"
router_stop
router_upnp=
router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 0-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
forget
probe -F -V -v
proved 'two NATs, another port' "^$LAB_HOME_PUBLIC4 [0-9]{4,5}\$"
end

begin port-restricted+full-cone-port "ext_ip=$router_public"
probe -F -V
proved 'a carrier that changes ports' "^$LAB_HOME_PUBLIC4 [0-9]{4,5}\$"
isnt 'to another one' "${line#* }" 22
end

begin port-restricted+port-restricted "ext_ip=$router_public"
probe -F -V
is 'a carrier that lets nobody in: exit 5' "$status" 5
like 'that it is not the router' "$said" '^hint: the router 192\.168\.1\.1 forwards, but a NAT'
router_stop

# It knows that its outer address is a private one.
router_start
forget
probe -F -V
is 'a router behind another NAT: exit 5' "$status" 5
like 'says which address it has' "$said" 'its own address is 100\.64\.1\.2 \(PCP: NO_RESOURCES\)'
end

# It forwards port 22, and sends from another.
begin symmetric "ext_ip=$router_public"
probe -F -V
proved 'a router that changes ports' "^$LAB_HOME_PUBLIC4 22\$"
end

LAB_IPV6=none
begin port-restricted "ext_ip=$router_public"
reflector=$LAB_REFLECTOR6
lab_exec reflector true
probe -6 -V
is 'IPv6, a firewall: exit 5' "$status" 5
probe -6 -F -V
proved 'IPv6, a firewall that opens' "^$LAB_HOME6 22\$"
like 'is told' "$said" 'the router 2001:[0-9a-f:]+ lets port 22 in, by PCP, for 2 hours$'
end
done_testing
