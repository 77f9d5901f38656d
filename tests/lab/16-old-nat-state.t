#!/bin/sh
# A router that loses its address and holds on to the state that it has made with it, as pf and Linux's
# snat do: what is in its table goes on to leave with the old address, and no answer comes back. probe
# -k, with one reflector, asks at that one's spare port.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack

natpunch=$lab_top/natpunch
old=203.0.113.2
new=203.0.113.20

# ADDRESS: what home's packets leave with from here on; the table stays.
translate_to()
{
	lab_exec home-router nft -f - <<-END
	table ip test
	delete table ip test
	table ip test {
		chain out {
			type nat hook postrouting priority srcnat
			oifname wan snat to $1
		}
	}
	END
}

# PROTOCOL ADDRESS: entries of the router's table whose answers would go there.
tracked()
{
	lab_exec home-router conntrack -L -f ipv4 -p "$1" 2>/dev/null | grep -c "dst=$2 " || :
}

lab_start open open
lab_reflect reflect reflector -v
like 'the reflector listens on a spare port, too' "$(cat "$LAB_DIR/reflect.err")" \
	'listening on 0\.0\.0\.0:13478, too, udp tcp$'
translate_to $old
lab_spawn tcp home "$natpunch" probe -k -i 5 -r "$LAB_REFLECTOR4"
lab_spawn udp home "$natpunch" probe -k -i 5 -u -p 4000 -r "$LAB_REFLECTOR4"
ok 'a TCP mapping' wait_for_line 10 "$LAB_DIR/tcp.out" "^$old 22\$"
ok 'a UDP mapping' wait_for_line 10 "$LAB_DIR/udp.out" "^$old 4000\$"

lab_exec home-router ip addr add $new/26 dev wan
translate_to $new
lab_exec internet nft add rule inet lab no_private_sources ip daddr $old drop
ok 'another address: a TCP mapping' wait_for_line 40 "$LAB_DIR/tcp.out" "^$new 22\$"
ok 'another address: a UDP mapping' wait_for_line 40 "$LAB_DIR/udp.out" "^$new 4000\$"
isnt 'the router holds on to the old state over TCP' "$(tracked tcp $old)" 0
isnt 'and over UDP' "$(tracked udp $old)" 0
lab_stop
done_testing
