#!/bin/sh
# A NAT in user space, Debian's pasta, which lets nothing more through from a port to a reflector where
# the last connection ended without a packet: a probe notices, and ends it by a RST.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack pasta

natpunch=$lab_top/natpunch
inside="pasta --netns-only --runas 0:0 --config-net --no-map-gw --"

lab_start full-cone
lab_reflect reflect reflector

# The address that such a NAT shows to its inside is that of the machine, and the reflector may see it.

lab_spawn near home-router "$natpunch" reflect -l 192.168.1.1:3478
wait_for_line 20 "$LAB_DIR/near.err" ready || bail 'no reflector'
# shellcheck disable=SC2086 # a command and its options
lab_exec home $inside sh -c "for i in 1 2; do $natpunch probe -t 4 -r 192.168.1.1; done" \
	>"$LAB_DIR/out" 2>"$LAB_DIR/said"
is 'one probe after another gets an answer' "$(grep -c '^192\.168\.1\.2 [0-9]*$' "$LAB_DIR/out")" 2
like 'it is said why' "$(cat "$LAB_DIR/said")" 'is reset: a NAT of this machine may never forget one'
lab_kill near

lab_stop
done_testing
