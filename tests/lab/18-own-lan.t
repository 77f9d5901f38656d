#!/bin/sh
# At home too: connect at the home machine itself, and from a guest network behind the same NAT, which
# does not hairpin and lets no stranger in; the reflector does not relay. And in a café, where home's own
# address is another host's: nothing goes there.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ssh tcpdump

# A laptop on a second leg of home's router.
start_guest()
{
	lab_index=1000
	lab_hosts="$lab_hosts guest"
	{
		echo "netns add $LAB-guest"
		lab_cable guest eth0 home-router lan2
	} | ip -batch - && {
		lab_up lo
		lab_up eth0 192.168.3.2/24
		echo 'route add default via 192.168.3.1'
	} | lab_ip guest && lab_up lan2 192.168.3.1/24 | lab_ip home-router || lab_die 'no guest'
}

# NS [OPTION...]: connect's first line there; what it says of itself goes to $LAB_DIR/said, and the
# milliseconds that it took to $LAB_DIR/took.
banner_at()
{
	at=$1
	shift
	began=$(date +%s%N)
	lab_exec "$at" "$natpunch" connect -v "$@" -r "$ROAD_ADDR" -K "$LAB_DIR/home.key" home \
		</dev/null 2>"$LAB_DIR/said" | {
		read -r line
		echo $((($(date +%s%N) - began) / 1000000)) >"$LAB_DIR/took"
		echo "$line" | tr -d '\r'
	}
}

# NS NAME
gets_in()
{
	like "$2: sshd greets" "$(banner_at "$1")" '^SSH-2\.0-OpenSSH'
	between "$2: at once (ms)" "$(cat "$LAB_DIR/took")" 1 2000
	like "$2: by home's own address" "$(cat "$LAB_DIR/said")" \
		"^natpunch connect: connected to $LAB_HOME4:22, home's own address\$"
	is "$2: ssh too, with home's host key" "$(lab_exec "$1" ssh -F "$LAB_DIR/ssh_config" home echo well \
		</dev/null 2>&1)" well
}

unset LAB_DELAY
LAB_IPV6=none LAB_LAPTOP_IPV6=none
lab_start port-restricted port-restricted
start_guest
road_start

gets_in home 'at the home machine'
gets_in guest 'behind the same NAT'

# ---- a café that is numbered as home is

echo "addr add $LAB_HOME4/32 dev lo" | lab_ip laptop-router
lab_capture stranger laptop eth0 "host $LAB_HOME4 or host $LAB_REFLECTOR4"
like 'elsewhere: sshd greets' "$(banner_at laptop)" '^SSH-2\.0-OpenSSH'
like 'elsewhere: by the way through both NATs' "$(cat "$LAB_DIR/said")" \
	"^natpunch connect: connected to $LAB_HOME_PUBLIC4:22 at try [0-9]+\$"
asked()
{
	[ -n "$(lab_captured stranger "host $LAB_REFLECTOR4")" ]
}
ok 'elsewhere: the wire was watched' wait_for 5 asked
is "elsewhere: no packet goes to who has home's own address there" \
	"$(lab_captured stranger "host $LAB_HOME4")" ''

# ---- a guest network that is kept apart

lab_exec home-router nft -f - <<-END
	table ip apart {
		chain through {
			type filter hook forward priority filter - 1
			iifname lan2 oifname lan reject
		}
	}
END
banner_at guest -t 1 >"$LAB_DIR/out"
is 'kept apart: nothing comes' "$(cat "$LAB_DIR/out")" ''
like 'kept apart: it is said that both are behind one NAT' "$(cat "$LAB_DIR/said")" \
	"^hint: home is behind the same NAT as this machine, .*: ssh -p 22 $LAB_HOME4\$"

done_testing
