#!/bin/sh
# probe -k over a line whose round trip is longer than the patience for a near
# one: it keeps its first connection and nothing sends a RST.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss nstat

natpunch=$lab_top/natpunch
LAB_DELAY=600
lab_start full-cone-port open
lab_spawn reflect reflector "$natpunch" reflect -v
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"

lab_spawn keep home "$natpunch" probe -k -v -i 1 -r "$LAB_REFLECTOR4"
wait_for_line 10 "$LAB_DIR/keep.err" 'keeping ' || bail "no mapping"
before=$(lab_exec home ss -tnH state established | grep -c ':3478')
asked=$(grep -c 'asked, answered' "$LAB_DIR/reflect.err")
answered_more()
{
	[ "$(grep -c 'asked, answered' "$LAB_DIR/reflect.err")" -ge $((asked + 4)) ]
}
ok "four keep-alives are answered" wait_for 20 answered_more
is "one connection" "$before" 1
unlike "none is given up" "$(cat "$LAB_DIR/keep.err")" 'no answer to the keep-alive'
is "and no segment was reset" \
	"$(lab_exec home nstat -asz TcpOutRsts | awk '/TcpOutRsts/ { print $2 }')" 0
lab_kill keep
is "SIGTERM ends it well" $? 0

done_testing
