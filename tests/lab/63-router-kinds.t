#!/bin/sh
# probe -F -V behind NATs of every kind whose router forwards: natpunch-nat(7) has what comes of it.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/router.sh
. "$(dirname "$0")/router.sh"
need ip nft conntrack miniupnpd iptables-legacy "$router_iptables"

natpunch=$lab_top/natpunch

# KIND: what it comes to, as the manual page has it.
row()
{
	lab_start "$1"
	router_start "ext_ip=$router_public"
	lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4"
	line=$(lab_exec home "$natpunch" probe -F -V -t 15 -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
	status=$?
	came=no
	port=none
	if [ "$status" -eq 0 ]; then
		port=22
		[ "${line#* }" = 22 ] || port=another
		[ "$(lab_ssh third "${line% *}" "${line#* }" echo in 2>&1)" != in ] || came=yes
	else
		is "$1: exit 5" "$status" 5
	fi
	is "$1: as the manual page has it" "It $1 Ta $came Ta $port" \
		"$(sed -n "/^\\.Sh WITH A ROUTER/,/^\\.Sh SEE/s/^\\.\\(It $1 Ta .*\\)\$/\\1/p" \
			"$lab_top/man/natpunch-nat.7")"
	[ "$came" = no ] || ok "$1: by a rule of the router's" router_forwards
	router_stop
	lab_stop
}

for kind in address-restricted port-restricted port-restricted-port port-restricted-rst symmetric \
	symmetric-step port-restricted+full-cone port-restricted+full-cone-port double; do
	row "$kind"
done
router_package=iptables
row port-restricted
done_testing
