#!/bin/sh
# What a probe makes of servers that lie, dawdle or are not there: one line on
# standard error, nothing on standard output, the exit code of the manual.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip

natpunch=$lab_top/natpunch
lab_start open open

probe()
{
	lab_exec home "$natpunch" probe -t 1.5 "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
}

# NAME STATUS ERE: exit code, no result, one line (and perhaps a hint) that matches.
expect()
{
	is "$1: exit $2" "$status" "$2"
	is "$1: nothing on standard output" "$(cat "$LAB_DIR/out")" ""
	is "$1: one line of error" "$(lab_said "$LAB_DIR/err" | grep -vc '^hint: ')" 1
	like "$1: it says why" "$(cat "$LAB_DIR/err")" "$3"
}

# MODE STATUS ERE [probe option...]
lied_to()
{
	mode=$1
	want=$2
	text=$3
	shift 3
	lab_spawn liar reflector "$LAB_BIN/liar" "$mode" 3478
	wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
	probe -r "$LAB_REFLECTOR4" "$@"
	expect "$mode" "$want" "$text"
	lab_kill liar KILL
}

lied_to silent 1 'no answer from .* within 1.5 s$'
lied_to close 1 'it closed the connection$|Connection reset by peer$'
lied_to garbage 4 'bad answer from .*: it is not STUN$'
lied_to half 4 'bad answer from .*: it ends in the middle$'
lied_to id 4 'bad answer from .*transaction'
lied_to family 4 'bad answer from .*family'
lied_to unknown 4 'bad answer from '
lied_to zero 4 'bad answer from '
lied_to none 4 'bad answer from '
lied_to indication 4 'bad answer from '
lied_to huge 4 'bad answer from '
lied_to drip 1 'no answer from .* within 1.5 s$'
lied_to error 1 'refused by .*Server \\x1b\[31mError$'
lied_to moved-in 1 'refused by .*Try Alternate \(it names 127.0.0.1:3479\)$'

probe -r "$LAB_REFLECTOR4:9"
expect "a closed port" 1 'cannot connect to .*:9: Connection refused$'
probe -r no-such-host.invalid
expect "an unknown host" 1 'cannot look up no-such-host.invalid'
probe -r 198.51.100.77
expect "a host that is not there" 1 'no answer from |No route to host|Host is unreachable|Network is unreachable'
probe -r '[2001:db8::1]' -4
expect "the other family" 1 'cannot look up 2001:db8::1: '

lab_spawn liar reflector "$LAB_BIN/liar" late 3478
wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
probe -r "$LAB_REFLECTOR4"
is "a question that was late is asked again" "$(cat "$LAB_DIR/out")" "$LAB_HOME4 22"
lab_kill liar KILL

# MODE OUTPUT NAME [probe option...]: beside a reflector on the next port.
found_behind()
{
	mode=$1
	want=$2
	name=$3
	shift 3
	lab_spawn liar reflector "$LAB_BIN/liar" "$mode" 3478
	wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
	probe -r "$LAB_REFLECTOR4" "$@"
	is "$mode: $name" "$(cat "$LAB_DIR/out")" "$want"
	lab_kill liar KILL
}

lab_spawn next reflector "$natpunch" reflect -v -l 3479
wait_for_line 5 "$LAB_DIR/next.err" ready || bail "the reflector does not start"
found_behind before "$LAB_HOME4 22" "an indication is passed over"
found_behind moved "$LAB_HOME4 22" "error 300 is followed to the server that it names"
found_behind proxy "172.18.0.1 45678" "the address of a proxy, when nobody knows better"
found_behind proxy "$LAB_HOME4 22" "it is passed over for what another server says" \
	-r "$LAB_REFLECTOR4:3479"
lab_kill next

lab_spawn liar reflector "$LAB_BIN/liar" udp-id 3478
wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
probe -u -p 5000 -m bind -r "$LAB_REFLECTOR4"
is "over UDP the right answer is found behind false ones" "$(cat "$LAB_DIR/out")" "$LAB_HOME4 5000"
lab_kill liar KILL
lab_spawn liar reflector "$LAB_BIN/liar" udp-twice 3478
wait_for_line 5 "$LAB_DIR/liar.out" ready || bail "the liar does not start"
probe -u -p 5000 -m bind -r "$LAB_REFLECTOR4"
is "over UDP a lost question is asked again" "$(cat "$LAB_DIR/out")" "$LAB_HOME4 5000"
lab_kill liar KILL

# A result that cannot be written: the line must not go into whatever socket has got the number 1.
lab_spawn reflect reflector "$natpunch" reflect -v
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
# shellcheck disable=SC2016
for where in '>&-' '>/dev/full' '<&- >&-'; do
	lab_exec home sh -c 'eval "exec $3"; exec "$1" probe -q -p 5000 -r "$2"' - \
		"$natpunch" "$LAB_REFLECTOR4" "$where" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	expect "probe $where" 3 'cannot write to standard output: '
done
unlike "nothing but questions came to the reflector" "$(cat "$LAB_DIR/reflect.err")" 'not STUN'
lab_kill reflect

# The command line.
while read -r want arguments; do
	# shellcheck disable=SC2086
	probe $arguments
	expect "probe $arguments" "$want" '^natpunch probe: '
done <<-END
	2 -p 0 -r 192.0.2.1
	2 -p 65536 -r 192.0.2.1
	2 -p 22x -r 192.0.2.1
	2 -p -18446744073709551594 -r 192.0.2.1
	2 -p 18446744073709551638 -r 192.0.2.1
	2 -p 0x16 -r 192.0.2.1
	2 -p +22 -r 192.0.2.1
	2 -p 22 -p 22 -r 192.0.2.1
	2 -t 1 -t 2 -r 192.0.2.1
	2 -r 192.0.2.1:0
	2 -r 192.0.2.1:65536
	2 -r [2001:db8::1
	2 -r a/b
	2 -4 -6 -b ::1 -r 192.0.2.1
	2 -q -v -r 192.0.2.1
	2 -4 -b ::1 -r 192.0.2.1
	2 -m teleport -r 192.0.2.1
	2 -f plain -r 192.0.2.1
	2 -f %x -r 192.0.2.1
	2 -t 0 -r 192.0.2.1
	2 -t 1e3 -r 192.0.2.1
	2 -r
	2 --no-such-option
	2 -r 192.0.2.1 operand
	2 -b 255.255.255.255 -r 192.0.2.1
	2 -u -p 5000 -r 192.0.2.1 --to 127.0.0.1:9
	2 -k -u -m raw -p 5000 -r 192.0.2.1 --to 127.0.0.1:9
	2 -k -u -p 5000 -r 192.0.2.1 --to 127.0.0.1:5000
	2 -k -u -p 5000 -r 192.0.2.1 -- /bin/cat
	2 -k -p 5000 -r 192.0.2.1 --to 127.0.0.1:5000
	2 -k -p 5000 -r 192.0.2.1 --to localhost:5000
	2 -k -p 5000 -r 192.0.2.1 --to [::1]:5000
	3 -k -p 5000 -r 192.0.2.1 -- /no/such/command
	3 -k -p 5000 -r 192.0.2.1 -- cat
	3 -b 192.0.2.99 -r $LAB_REFLECTOR4
	3 -I nosuch0 -r $LAB_REFLECTOR4
	3 -c /no/such/directory/file -r $LAB_REFLECTOR4
END


for method in bind raw; do
	probe -p 5000 -m "$method" -I "$(printf 'l\no')" -r "$LAB_REFLECTOR4"
	expect "$method, an interface with a newline" 3 'cannot use interface l.x0ao: '
done

# Root is told nothing about becoming root.
probe -u -m repair -r "$LAB_REFLECTOR4"
expect "repair over UDP" 3 'method repair is for TCP'
unlike "repair over UDP: the hint is another method" "$(cat "$LAB_DIR/err")" 'as root'
for method in bind repair rewrite raw; do
	probe -p 5000 -m "$method" -b 192.0.2.99 -r "$LAB_REFLECTOR4"
	expect "$method, somebody else's address" 3 'Cannot assign requested address'
	unlike "$method: the hint is about the address" "$(cat "$LAB_DIR/err")" 'as root'
done

done_testing
