#!/bin/sh
# A NAT that has home's own address and gives it another port, as one in user space does (pasta) or a
# rule of home itself: it is named, and nobody says that there is none.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack

natpunch=$lab_top/natpunch

probe()
{
	lab_exec home "$natpunch" probe -4 -m repair -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
}

check_nat()
{
	lab_exec home "$natpunch" check -4 -r "$LAB_REFLECTOR4" -f json 2>"$LAB_DIR/err" |
		sed -n 's/.*"nat":\([a-z]*\).*/\1/p'
}

export LAB_DELAY=0
lab_start open open
lab_reflect reflect reflector -v
probe
is "the same port" "$(cat "$LAB_DIR/out")" "$LAB_HOME4 22"
like "there is no NAT" "$(cat "$LAB_DIR/err")" "no NAT: $LAB_HOME4 is an address of this machine"
is "nor for check" "$(check_nat)" false

lab_exec home nft -f - <<-END
	table ip own {
		chain out {
			type nat hook postrouting priority srcnat
			ip daddr $LAB_REFLECTOR4 tcp sport 22 snat to $LAB_HOME4:51638
		}
	}
END
lab_exec home conntrack -F 2>/dev/null
probe
is "another port" "$(cat "$LAB_DIR/out")" "$LAB_HOME4 51638"
unlike "nobody says that there is no NAT" "$(cat "$LAB_DIR/err")" 'no NAT'
like "it is named" "$(cat "$LAB_DIR/err")" "a NAT of this machine turns port 22 of its own address $LAB_HOME4 into port 51638: "
is "for check too" "$(check_nat)" true

done_testing
