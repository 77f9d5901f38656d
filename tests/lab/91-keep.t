#!/bin/sh
# probe -k through what happens to homes and routers. After each fault the
# printed mapping is the NAT's, a stranger gets through it, and the hook was
# called once if the mapping changed and not at all if it did not.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss

natpunch=$lab_top/natpunch
rounds=${ROUNDS:-20}
seed=${NATPUNCH_SEED:-$(date +%N | sed 's/^0*//')}
diag "seed $seed, rounds $rounds (NATPUNCH_SEED, ROUNDS)"

# random N -> drawn: 0 to N - 1
random()
{
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	drawn=$((seed / 65536 % $1))
}

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# What the NAT holds for the held connection is what was printed last, and it leads to sshd.
agrees()
{
	line=$(tail -n 1 "$LAB_DIR/keep.out")
	# To whichever port of the reflector.
	[ -n "$line" ] && lab_mapping home tcp 22 "$LAB_REFLECTOR4" | grep -qxF "$line" || return 1
	# shellcheck disable=SC2086
	lab_banner third $line 2>/dev/null | grep -q '^SSH-2.0-'
}

hooks()
{
	wc -l <"$LAB_DIR/hooks"
}

memory()
{
	awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"
}

descriptors()
{
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

# As few as at the start: what a fault left to be done has its own for a while.
descriptors_are_few()
{
	[ "$(descriptors)" -le "$descriptors" ]
}

# The faults. Each leaves the network as good as it was.
fault_flush()
{
	lab_nat_flush home
}

fault_address()
{
	random 24
	# Never the one that it has: even and odd take turns.
	addresses=$((${addresses:-0} + 1))
	lab_nat_address home 203.0.113.$((10 + 2 * drawn + addresses % 2))
	lab_nat_flush home
}

fault_link()
{
	lab_exec home ip link set eth0 down
	lab_exec home ip link set eth0 up
	lab_exec home ip route replace default via 192.168.1.1
}

fault_reflector()
{
	lab_kill reflect KILL
	start_reflector
}

fault_loss()
{
	lab_line home 0 100
	lab_clock
	until=$((lab_now + ${LOSS_SECONDS:-3} * 100))
	wait_for $((${LOSS_SECONDS:-3} + 2)) over
	lab_line home 0 0
}

over()
{
	lab_clock
	[ "$lab_now" -ge "$until" ]
}

# NAME: one fault, and how long until all is well.
try()
{
	lines=$(wc -l <"$LAB_DIR/keep.out")
	calls=$(hooks)
	lab_clock
	began=$lab_now
	"fault_$1"
	lab_clock
	ended=$lab_now
	# One interval and two seconds. A new address and a new table are two steps: the kernel sends
	# a SYN that fell between them again after one second, and after two more.
	most=300
	[ "$1" != address ] || most=500
	ok "$1: the mapping is right again" wait_for 6 agrees
	lab_clock
	note "$1 took $((ended - began)) cs, and $((lab_now - ended)) cs until all was well"
	between "$1: in time" "$((lab_now - ended))" 0 "$most"
	now=$(wc -l <"$LAB_DIR/keep.out")
	ok "$1: the hook ran once for each line" wait_for 2 hooks_are $((calls + now - lines))
	if [ "$1" = address ]; then
		is "$1: one new line" "$((now - lines))" 1
	fi
}

hooks_are()
{
	[ "$(hooks)" -eq "$1" ]
}

LAB_DELAY=0
lab_start full-cone-port open
start_reflector
cat >"$LAB_DIR/hook" <<END
#!/bin/sh
echo "\$NATPUNCH_EVENT \$*" >>"$LAB_DIR/hooks"
END
chmod +x "$LAB_DIR/hook"
: >"$LAB_DIR/hooks"
lab_spawn keep home "$natpunch" probe -k -v -i 1 -e "$LAB_DIR/hook" -r "$LAB_REFLECTOR4"
pid=$LAB_PID
ok "a mapping is there" wait_for 5 agrees
is "one line" "$(wc -l <"$LAB_DIR/keep.out")" 1
ok "one hook call" wait_for 2 hooks_are 1
line=$(cat "$LAB_DIR/keep.out")
like "the hook's event and arguments" "$(cat "$LAB_DIR/hooks")" \
	"^up ${line% *} ${line#* } 2001::[0-9a-f]{4}:[0-9a-f]{4}:[0-9a-f]{4} 22 tcp $LAB_HOME4\$"
ok "it says who takes the connections" wait_for_line 2 "$LAB_DIR/keep.err" 'sshd listens on port 22 itself'
memory=$(memory)
descriptors=$(descriptors)

for fault in flush address link reflector loss; do
	try "$fault"
done
for _ in $(seq "$rounds"); do
	random 5
	case $drawn in
	0) try flush ;;
	1) try address ;;
	2) try link ;;
	3) try reflector ;;
	4) try loss ;;
	esac
done

ok "the keeper never ended" lab_alive keep
ok "no more descriptors than at the start" wait_for 5 descriptors_are_few
between "no more memory than at the start" "$(memory)" 0 $((memory + 256))
lab_kill keep
is "SIGTERM ends it well" $? 0
like "the last event is down" "$(tail -n 1 "$LAB_DIR/hooks")" '^down '

done_testing
