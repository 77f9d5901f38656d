#!/bin/sh
# The errors and hints for what is wrong at home, or with the options: a server of UDP alone, another
# uplink's address, a machine that is offline, a program that cannot be run, and one not needed.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack sshd

natpunch=$lab_top/natpunch

# COMMAND [option...]: sets $status, $out and $err.
at_home()
{
	lab_exec home timeout 30 "$natpunch" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	out=$(cat "$LAB_DIR/out")
	err=$(lab_said "$LAB_DIR/err")
}

# NAME STATUS ERE: how it ended, without a mapping, and what it said.
expect()
{
	is "$1: exit $2" "$status" "$2"
	is "$1: nothing is printed" "$out" ''
	like "$1: it says so" "$err" "$3"
}

lab_start port-restricted open
lab_reflect reflect reflector

# ---- what cannot be run

printf '#!/bin/sh\r\ntrue\r\n' >"$LAB_DIR/dos"
printf '#!/nonexistent/sh\n' >"$LAB_DIR/lost"
chmod 755 "$LAB_DIR/dos" "$LAB_DIR/lost"
at_home probe -e /nonexistent/hook -r "$LAB_REFLECTOR4"
expect 'a hook that is not there' 3 '^natpunch probe: cannot run hook /nonexistent/hook: No such file'
like 'a hook that is not there: a hint' "$err" '^hint: -e takes the path of a program'
at_home probe -p 2222 -e "$LAB_DIR/dos" -r "$LAB_REFLECTOR4"
like 'a hook from DOS: it says so' "$err" ': its first line ends in CR, where LF alone must be$'
isnt 'a hook from DOS: the mapping is told all the same' "$out" ''
at_home probe -k -r "$LAB_REFLECTOR4" -- "$LAB_DIR/dos"
expect 'a command from DOS' 3 ": cannot run $LAB_DIR/dos: its first line ends in CR, where LF alone must be\$"
at_home probe -k -r "$LAB_REFLECTOR4" -- "$LAB_DIR/lost"
expect 'a command without its interpreter' 3 ': its interpreter /nonexistent/sh is not there$'

# ---- what is not needed

lab_spawn keep home "$natpunch" probe -k -r "$LAB_REFLECTOR4" --to 127.0.0.1:2022
ok '--to where sshd has the port: it says so' wait_for_line 10 "$LAB_DIR/keep.err" \
	'warning: --to is not used: sshd listens on port 22 itself$'
lab_kill keep
lab_nat_flush home
lab_spawn keep home "$natpunch" probe -k -r "$LAB_REFLECTOR4" -- /bin/cat
ok 'a command where sshd has the port: so, too' wait_for_line 10 "$LAB_DIR/keep.err" \
	'warning: the command is not used: sshd listens on port 22 itself$'
lab_kill keep
lab_nat_flush home

# ---- a server of UDP alone

lab_exec reflector nft -f - <<-END
	table inet deaf {
		chain in {
			type filter hook input priority 0
			tcp dport 3478 reject with tcp reset
		}
	}
END
for command in 'probe -4' check; do
	# shellcheck disable=SC2086 # words
	at_home $command -r "$LAB_REFLECTOR4"
	expect "$command, a server of UDP alone" 1 'Connection refused$'
	like "$command, a server of UDP alone: a hint" "$err" \
		"^hint: $LAB_REFLECTOR4:3478 answers over UDP: for a TCP port ask another server \\(-r\\)\$"
done
lab_kill reflect
at_home probe -r "$LAB_REFLECTOR4"
expect 'no server' 1 'Connection refused$'
unlike 'no server: no such hint' "$err" UDP
lab_exec reflector nft delete table inet deaf
lab_reflect reflect reflector

# ---- another uplink

lab_exec home ip link add uplink type veth peer name far
lab_exec home ip addr add 192.168.77.2/24 dev uplink
lab_exec home ip link set far up
lab_exec home ip link set uplink up
at_home probe -t 1 -b 192.168.77.2 -r "$LAB_REFLECTOR4"
expect "another uplink's address" 1 'no answer from'
like "another uplink's address: a hint" "$err" \
	'^hint: 192\.168\.77\.2 is an address of uplink, and the way there is by eth0: add -I uplink$'
at_home probe -t 1 -I uplink -b 192.168.77.2 -r "$LAB_REFLECTOR4"
unlike 'with -I: no such hint' "$err" 'add -I'

# ---- offline

lab_exec home ip link del uplink
at_home probe -t 3 -r nobody.invalid
unlike 'online: it is not said' "$err" offline
for family in 4 6; do
	lab_exec home ip -$family route flush default
done
at_home probe -t 3 -r "$LAB_REFLECTOR4"
expect 'offline' 3 '^hint: this machine is offline: it has no route out, in IPv4 or in IPv6$'
at_home probe -t 5 -r nobody.invalid
expect 'offline, a name' 1 '^hint: this machine is offline'
at_home check -u -p 5022 -r "$LAB_REFLECTOR4"
expect 'offline, check -u' 3 '^hint: this machine is offline'
done_testing
