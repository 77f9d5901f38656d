#!/bin/sh
# UPnP with a router that people have, miniupnpd: it is found, it forwards a port and a stranger gets
# in, upnpc sees our mappings and we take back its; and what it refuses is told as it says it.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/router.sh
. "$(dirname "$0")/router.sh"
need ip nft ss miniupnpd upnpc

router=192.168.1.1
# shellcheck disable=SC2034 # for router_start
router_upnp=yes

igd()
{
	lab_exec home "$LAB_BIN/igd" "$LAB_HOME4" "$router" "${patience:-10000}" "$@"
}

theirs()
{
	lab_exec home upnpc -u "http://$router:5000/rootDesc.xml" "$@" 2>&1
}

# PORT: does sshd answer a stranger there?
gets_in()
{
	lab_banner third "$LAB_HOME_PUBLIC4" "$1" | grep -q '^SSH-'
}

lab_start port-restricted
is 'a router without UPnP' "$(patience=1000 igd find)" 'failed no answer'

router_start "ext_ip=$router_public"
is 'a router is found, and tells its address' "$(igd find)" "ready $router_public"
nok 'it lets no stranger in' gets_in 22
is 'it forwards port 22' "$(igd map tcp 22 22 3600)" 'mapped 22 3600'
ok 'then a stranger gets in' gets_in 22
like 'upnpc sees the mapping' "$(theirs -l)" \
	"TCP +22->$LAB_HOME4:22 +'natpunch' '' (3600|3[0-5][0-9]{2})\$"
is 'it can be renewed' "$(igd map tcp 22 22 7200)" 'mapped 22 7200'
like 'for as long' "$(theirs -l)" "TCP +22->$LAB_HOME4:22 +'natpunch' '' (7200|7[01][0-9]{2})\$"
is 'UDP as well' "$(igd map udp 5000 51820 60)" 'mapped 5000 60'
is 'and taken back' "$(igd unmap tcp 22 22)" removed
nok 'then nobody gets in' gets_in 22
is 'what is not there is gone' "$(igd unmap tcp 22 22)" removed

like 'upnpc maps a port' "$(theirs -a "$LAB_HOME4" 22 2300 TCP 600)" \
	"external $router_public:2300 TCP is redirected to internal $LAB_HOME4:22"
ok 'a stranger gets in there' gets_in 2300
is 'its mapping is taken back' "$(igd unmap tcp 2300 22)" removed
unlike 'and gone for it too' "$(theirs -l)" 2300
theirs -a "$LAB_HOME4" 80 2301 TCP 600 >/dev/null
is 'one to another port is not ours' "$(igd unmap tcp 2301 22)" removed
like 'so it stays' "$(theirs -l)" 2301

lab_spawn taken home-router nc.openbsd -lk 2222
wait_for 10 sh -c "'$LAB_BIN/inside' '$LAB-home-router' ss -Hltn 'sport = :2222' | grep -q ." ||
	bail 'nothing listens at the router'
other=$(igd map tcp 2222 22 600)
like "a port that the router has itself: another one ($other)" "$other" '^mapped [0-9]+ 600$'
other=${other#mapped }
isnt 'not that one' "${other% *}" 2222
ok 'a stranger gets in there' gets_in "${other% *}"
router_stop

# As OpenWrt has it.
router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 1024-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
is 'a router that forwards no low ports' "$(igd map tcp 22 22 600)" 'refused 606 Action not authorized'
is 'and high ones' "$(igd map tcp 2022 2022 600)" 'mapped 2022 600'
router_stop

# Low external ports alone: it chooses.
router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 0-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
other=$(igd map tcp 22 22 600)
like "a router that gives no low ports: another one ($other)" "$other" '^mapped [0-9]{4,5} 600$'
router_stop

# Its outer address is one that it takes for private: it says that it has none, and forwards nothing.
router_start
is 'a router behind another NAT' "$(igd find)" 'ready ?'
is 'says no' "$(igd map tcp 22 22 600)" 'refused 501 Action Failed'
router_stop
done_testing
