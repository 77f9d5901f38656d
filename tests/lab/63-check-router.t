#!/bin/sh
# check: what the home router speaks is told without a change there; -F has it forward for a moment,
# and says whether a stranger got in. What the router holds afterwards is looked at each time: a router
# that grants, by PCP or by UPnP alone, one that forwards high ports alone, one behind another NAT,
# one whose forward leads nowhere, and none; and a forward that a probe has is left alone.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/router.sh
. "$(dirname "$0")/router.sh"
need ip nft ss conntrack miniupnpd perl setpriv

natpunch=$lab_top/natpunch
out=$LAB_DIR/out

# ARG...: at home, with what the NAT saw forgotten. $text or $out.
check()
{
	lab_nat_flush home
	text=$(lab_exec home "$natpunch" check -r "${reflector:-$LAB_REFLECTOR4}" "$@" 2>"$LAB_DIR/said")
	status=$?
	out=$LAB_DIR/out
	echo "$text" >"$out"
}

it_did='What to do: have your router forward the port\. It did,'

# NAME: as JSON has it.
field()
{
	perl -MJSON::PP -e '$r = decode_json(<STDIN>)->{$ARGV[0]};
		print ref $r eq "ARRAY" ? join(" ", @$r) : !defined $r ? "null" :
			ref $r ? ($r ? "true" : "false") : $r' "$1" <"$out"
}

# LINE...: a router with these lines, and a reflector that has not been asked too often.
begin()
{
	lab_kill reflect
	lab_reflect reflect reflector -a "${second-$LAB_REFLECTOR_B4}"
	router_start "$@"
}

lab_start port-restricted
router_upnp=yes
begin "ext_ip=$router_public"

check -4
is 'read only: exit 5' "$status" 5
like 'read only: what it speaks' "$text" "^  router             PCP, NAT-PMP, UPnP; its own address is $router_public\$"
like 'read only: who, and what more there is' "$text" \
	'^ +192\.168\.1\.1 answered after [0-9]+ ms; with -F, check tries whether it forwards port 22$'
like 'read only: the next step' "$text" \
	'^What to do: ask your router to forward the port; it speaks PCP, NAT-PMP, UPnP:$'
like 'read only: the command' "$text" "^  natpunch probe -F -V -4 -r $LAB_REFLECTOR4\$"
ok 'read only: the router forwards nothing' router_forgot
check -4 -f json
is 'json: the router' "$(field router)" 192.168.1.1
is 'json: what it speaks' "$(field router_methods)" 'pcp nat-pmp upnp'
is 'json: its address' "$(field router_addr)" "$router_public"
is 'json: not tried' "$(field router_forwards)" null

check -4 -F
is 'tried: exit 5, as it is now' "$status" 5
like 'tried: what to do' "$text" "^$it_did by PCP, when it was tried:\$"
like 'tried: the evidence' "$text" \
	"^ +it forwarded its port 22 by PCP; [0-9.]+:[0-9]+ came to this machine through $LAB_HOME_PUBLIC4:22\$"
ok 'tried: the forward is taken back' router_forgot
like 'tried: the command' "$text" "^  natpunch probe -F -V -4 -r $LAB_REFLECTOR4\$"
check -4 -F -f json
is 'json: it would' "$(field router_forwards)" true
check -4 -F -u -p 5022
like 'UDP: it grants, which is no proof' "$text" \
	'^ +it forwarded its port 5022 by PCP; whether strangers get in by it: nobody dials over UDP$'
ok 'UDP: taken back' router_forgot

# Ended in the middle, while somebody dials.
lab_nat_flush home
lab_exec home-router nft insert rule inet filter forward iifname wan ct state new tcp dport 22 drop
lab_spawn ended home "$natpunch" check -4 -F -v -r "$LAB_REFLECTOR4"
ok 'ended: it forwards' wait_for 20 router_forwards
lab_kill ended
is 'ended: by the signal' "$?" 143
ok 'ended: taken back' router_forgot
router_stop
begin "ext_ip=$router_public"

# What a probe has is left to it.
lab_nat_flush home
lab_spawn keep home "$natpunch" probe -k -F -V -r "$LAB_REFLECTOR4"
ok 'a probe keeps a forward' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$" ||
	diag "$(cat "$LAB_DIR/keep.err")"
before=$(router_rules)
text=$(lab_exec home "$natpunch" check -4 -F -r "$LAB_REFLECTOR4" 2>&1)
like 'strangers get in by it' "$text" '^yes: anybody can connect'
is 'which is left alone' "$(router_rules)" "$before"
lab_exec home-router nft insert rule inet filter forward iifname wan ct state new tcp dport 22 drop
text=$(lab_exec home "$natpunch" check -4 -F -f json -r "$LAB_REFLECTOR4" 2>&1)
like 'where they do not: it is told who keeps the port' "$text" \
	'"router_forwards":null,"router_forwards_evidence":"not tried: natpunch \(pid [0-9]+\) keeps the port'
is 'and that it is left alone as well' "$(router_rules)" "$before"
lab_kill keep

# A forward that nobody keeps, and check cannot see who is reached by it.
lab_exec home-router nft delete rule inet filter forward handle "$(lab_exec home-router \
	nft -a list chain inet filter forward | sed -n 's/.*tcp dport 22 drop # handle //p')"
lab_nat_flush home
lab_exec home "$natpunch" probe -F -r "$LAB_REFLECTOR4" >/dev/null 2>&1
before=$(router_rules)
isnt 'it is there' "$before" ''
lab_nat_flush home
text=$(lab_exec home setpriv --bounding-set -net_raw "$natpunch" check -4 -F -f json -r "$LAB_REFLECTOR4" 2>&1)
like 'without CAP_NET_RAW a port that is answered is left alone' "$text" \
	'"router_forwards":null,"router_forwards_evidence":"not tried: strangers get '
is 'as it was' "$(router_rules)" "$before"
router_stop

# UPnP alone.
begin "ext_ip=$router_public"
lab_exec home-router nft -f - <<-END
	table inet mute {
		chain incoming {
			type filter hook input priority -5
			udp dport 5351 drop
		}
	}
END
check -4 -F
like 'UPnP alone: it is told' "$text" "^  router             UPnP; its own address is $router_public\$"
like 'UPnP alone: it would' "$text" "^$it_did by UPnP, when"
ok 'UPnP alone: taken back' router_forgot
lab_exec home-router nft delete table inet mute
router_stop
router_upnp=no

# As OpenWrt has it.
begin "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 1024-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
check -4 -F
like 'high ports alone: why not' "$text" \
	'^ +the router 192\.168\.1\.1 refuses to forward port 22 \(PCP: NOT_AUTHORIZED\); many routers forward to ports from 1024 only'
ok 'high ports alone: nothing is forwarded' router_forgot
router_stop

# Nobody there.
lab_kill reflect
lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4"
check -4 -F
like 'nobody: it is told' "$text" '^  router             speaks none of PCP, NAT-PMP and UPnP$'
like 'nobody: why' "$text" '^ +192\.168\.1\.1: Connection refused$'
unlike 'nobody: -F is no next step' "$text" 'probe -F'
check -4 -f json
is 'json: nobody' "$(field router) $(field router_methods) $(field router_addr) $(field router_forwards)" \
	'192.168.1.1  null null'
lab_stop

# Two NATs.
lab_start port-restricted+full-cone
begin "ext_ip=$router_public"
check -4 -F
like 'two NATs: it would' "$text" "^$it_did by PCP, when"
ok 'two NATs: taken back' router_forgot
router_stop
begin
check -4 -F -f json
is 'a router behind another NAT: it speaks' "$(field router_methods)" 'pcp nat-pmp'
is 'it does not forward' "$(field router_forwards)" false
like 'as it knows' "$(field router_forwards_evidence)" 'its own address is 100\.64\.1\.2 \(PCP: NO_RESOURCES\)'
router_stop
lab_stop

lab_start port-restricted+port-restricted
begin "ext_ip=$router_public"
check -4 -F
like 'a carrier that lets nobody in: why not' "$text" \
	'^ +it forwarded its port 22 by PCP, but a NAT or a firewall beyond it'
like 'a carrier that lets nobody in: whose it is' "$text" '^no: your provider lets nobody in to TCP port 22 here$'
ok 'a carrier that lets nobody in: taken back' router_forgot
router_stop
lab_stop

# A router that sends from another port than it forwards.
lab_start symmetric
begin "ext_ip=$router_public"
check -4 -F
like 'ports are changed: it would' "$text" "^$it_did by PCP, when"
ok 'ports are changed: taken back' router_forgot
router_stop
begin "ext_ip=$router_public"
lab_exec home "$natpunch" probe -F -V -r "$LAB_REFLECTOR4" >"$LAB_DIR/probed" 2>&1
before=$(router_rules)
check -4 -F
like 'a forward of before: it is found' "$text" \
	'^What to do: nothing at the router, which forwards port 22 already\.'
is 'and left alone' "$(router_rules)" "$before"
router_stop
lab_stop

# shellcheck disable=SC2034 # for lab_start
LAB_IPV6=none
lab_start port-restricted
second=$LAB_REFLECTOR_B6
begin "ext_ip=$router_public"
reflector=$LAB_REFLECTOR6
check -6 -F
like 'IPv6: it would' "$text" "^$it_did by PCP, when"
like 'IPv6: the command' "$text" "^  natpunch probe -F -V -6 -r '.$LAB_REFLECTOR6.'\$"
is 'IPv6: nothing stays open' "$(lab_exec home-router nft list chain inet filter miniupnpd | grep -c accept)" 0
check -F -r "$LAB_REFLECTOR4"
is 'both families: each would' "$(echo "$text" |
	grep -c "^$it_did by PCP, when")" 2
is 'both families: nothing stays open' "$(lab_exec home-router nft list chain inet filter miniupnpd | grep -c accept)" 0
ok 'both families: nothing is forwarded' router_forgot
router_stop
lab_stop
done_testing
