#!/bin/sh
# A transparent proxy at home: a NAT rule of home itself leads what is sent to a process there, and
# what that is told is not about the port. It is told, and --mark gets past it.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack

natpunch=$lab_top/natpunch

# COMMAND [ARG...]: at home, with no connection of before that the rule would not be asked about.
at_home()
{
	lab_exec home conntrack -F >/dev/null 2>&1
	command=$1
	shift
	lab_exec home "$natpunch" "$command" -r "$LAB_REFLECTOR4" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	out=$(cat "$LAB_DIR/out")
	err=$(lab_said "$LAB_DIR/err")
}

lab_start full-cone
lab_reflect reflect reflector
# It answers in the reflector's place, as a proxy's port would.
lab_spawn proxy home "$natpunch" reflect -l 127.0.0.1:7892
ok 'the proxy is there' wait_for_line 10 "$LAB_DIR/proxy.err" ready
lab_exec home nft -f - <<-END
	table ip proxy {
		chain out {
			type nat hook output priority -100
			meta mark 0x99 return
			ip daddr 127.0.0.0/8 return
			meta l4proto tcp redirect to :7892
		}
	}
END
told="^natpunch [a-z]*: a NAT rule of this machine redirects the connection to $LAB_REFLECTOR4:3478 to 127\.0\.0\.1:7892: "

for method in bind repair; do
	port=22
	[ "$method" = repair ] || port=4000
	at_home probe -m $method -p $port
	is "$method: exit 3" "$status" 3
	is "$method: no line" "$out" ''
	like "$method: it is told" "$err" "$told.* not $port\$"
	like "$method: and what to do" "$err" '^hint: .*--mark'
	for mark in 0x99 153; do
		at_home probe -m $method -p $port --mark $mark
		is "$method, --mark $mark: exit 0" "$status" 0
		is "$method, --mark $mark: the mapping" "$out" "$LAB_HOME_PUBLIC4 $port"
	done
	at_home probe -m $method -p $port --mark 7
	like "$method, another mark: it is told" "$err" "$told"
done
at_home probe -m raw -p 22 --mark 0x99
is 'raw, --mark 0x99: the mapping' "$out" "$LAB_HOME_PUBLIC4 22"
at_home probe -m rewrite -p 22 --mark 0x99
is 'rewrite, --mark 0x99: the mapping' "$out" "$LAB_HOME_PUBLIC4 22"
at_home check
is 'check: exit 3' "$status" 3
like 'check: it is told' "$err" "$told"
at_home check --mark 0x99
like 'check --mark: it is about the NAT' "$out" 'endpoint-independent'

# A name is not asked for from a port of its own, so a proxy does not matter.
(umask 077 && "$natpunch" keygen home >"$LAB_DIR/key")
at_home lookup -K "$LAB_DIR/key" home
is 'lookup goes through a proxy' "$status" 1
at_home connect --mark 0x99 -K "$LAB_DIR/key" home
like 'connect --mark asks the reflector' "$err" "$LAB_REFLECTOR4:3478 keeps no names\$"
is 'connect --ssh-config keeps the mark' "$("$natpunch" connect --ssh-config --mark 0x99 \
	-r "$LAB_REFLECTOR4" -K "$LAB_DIR/key" home | grep -c -e ' --mark 153 ')" 1
lab_stop

# Who has no right to it is told at once.
lab_start open
lab_exec home setpriv --reuid 65534 --clear-groups "$natpunch" probe --mark 1 -p 4000 \
	-r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is '--mark without privilege: exit 3' $? 3
like '--mark without privilege: in words' "$(cat "$LAB_DIR/err")" \
	'cannot mark what is sent: Operation not permitted$'
lab_stop
done_testing
