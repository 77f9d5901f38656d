#!/bin/sh
# The road, when things happen: two at once and fifty, another address at home, a reflector that
# was away, an initiator that left, a home that left, a path that loses packets; and IPv6 through
# firewalls.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss ssh

# N: so many ssh at once; how many of them came through?
crowd()
{
	: >"$LAB_DIR/connect.err"
	crowd_pids=
	for crowd_i in $(seq "$1"); do
		lab_exec laptop ssh -F "$LAB_DIR/ssh_config" home echo "well $crowd_i" </dev/null \
			>"$LAB_DIR/crowd.$crowd_i" 2>"$LAB_DIR/crowd.$crowd_i.err" &
		crowd_pids="$crowd_pids $!"
	done
	# shellcheck disable=SC2086 # a list of pids
	wait $crowd_pids
	crowd_well=0
	for crowd_i in $(seq "$1"); do
		[ "$(cat "$LAB_DIR/crowd.$crowd_i")" != "well $crowd_i" ] ||
			crowd_well=$((crowd_well + 1))
	done
}

# Is home kept at this address?
kept_at()
{
	tail -n 1 "$LAB_DIR/keep.out" | grep -qx "$1 [0-9]*"
}

registrations()
{
	grep -c 'home is registered' "$LAB_DIR/keep.err"
}

registered_more_than()
{
	[ "$(registrations)" -gt "$1" ]
}

# NUMBER: connects as far as sshd's first line, which it leaves in a file.
greet()
{
	road_connect </dev/null 2>"$LAB_DIR/greet.$1.err" | head -n 1 >"$LAB_DIR/greet.$1"
}

umask 022
LAB_DELAY=20
lab_start port-restricted port-restricted
road_start -i 2

is 'ssh' "$(road_ssh echo well)" well

# ---- at once

crowd 2
is 'two at once' "$crowd_well" 2
crowd 50
is 'fifty at once' "$crowd_well" 50
[ "$crowd_well" -eq 50 ] || diag "$(sort "$LAB_DIR/connect.err" | uniq -c | sort -rn | head -n 20)"
is 'and one after them' "$(road_ssh echo well)" well

# ---- another address

count=$(registrations)
lab_nat_address home 203.0.113.40
ok 'home finds out that its address is another' wait_for 15 kept_at 203.0.113.40
ok 'and registers it' wait_for 10 registered_more_than "$count"
is 'ssh to the new one' "$(road_ssh echo well)" well
like 'that is where it went' "$(cat "$LAB_DIR/connect.err")" 'connected to 203\.0\.113\.40:22 '

# ---- the reflector

count=$(registrations)
lab_kill reflect KILL
said=$(road_ssh echo well 2>&1)
isnt 'without a reflector there is no way' $? 0
unlike 'and nothing of a session' "$said" well
like 'it is said' "$(cat "$LAB_DIR/connect.err")" "cannot connect to $LAB_REFLECTOR4:3478"
road_reflect
ok 'home registers at the new one' wait_for 30 registered_more_than "$count"
is 'ssh' "$(road_ssh echo well)" well

# A session goes on without it.
mkfifo "$LAB_DIR/go"
lab_spawn session laptop ssh -F "$LAB_DIR/ssh_config" home \
	"echo begun; cat '$LAB_DIR/go' >/dev/null; echo ended"
ok 'a session has begun' wait_for_line 20 "$LAB_DIR/session.out" '^begun$'
lab_kill reflect KILL
held()
{
	[ -n "$(lab_exec home ss -tnH state established 'sport = :22 and dport = :3478')" ]
}
lost()
{
	! held
}
ok 'home loses its connection' wait_for 5 lost
lab_kill keep
echo >"$LAB_DIR/go"
ok 'it goes on without reflector and without probe' wait_for_line 5 "$LAB_DIR/session.out" '^ended$'
road_reflect
road_keep -i 2

# ---- who went away

# The initiator is gone when home connects to it: home gives up, and is there for the next.
lab_spawn gone laptop "$natpunch" connect -v -r "$ROAD_ADDR" -K "$LAB_DIR/home.key" home
ok 'somebody is on the way' wait_for_line 5 "$LAB_DIR/gone.err" 'is told to connect to us'
lab_kill gone KILL
lab_nat_flush laptop
is 'the next comes in' "$(road_ssh echo well)" well
ok 'home gives the other up, or found it gone' wait_for_line 10 "$LAB_DIR/keep.err" \
	'gave up connecting|is through'
is 'and the next' "$(road_ssh echo well)" well

# Home is gone: its last address is tried, nothing answers, and what to do is said.
lab_kill keep
road_ssh echo well 2>/dev/null
like 'home is gone: its last address is tried' "$(cat "$LAB_DIR/connect.err")" \
	'home (was last heard of [0-9]+ s ago, at|is at) 203\.0\.113\.40:22'
like 'and no way found' "$(cat "$LAB_DIR/connect.err")" 'no direct way to home at 203\.0\.113\.40:22'
road_connect </dev/null >/dev/null 2>&1
is 'the exit status says that it cannot be reached' $? 5
road_keep -i 2
is 'home is back' "$(road_ssh echo well)" well

# ---- loss

# Each of these rules drops one packet, the first that it matches.
lab_exec laptop-router nft -f - <<'END'
table ip lossy {
	set calling {
		type inet_service
	}
	chain prerouting {
		type filter hook prerouting priority -400
		iifname lan tcp dport 3478 tcp flags & (syn | ack) == syn add @calling { tcp sport }
		iifname lan tcp dport 3478 tcp flags & (syn | ack) == syn limit rate 1/day burst 1 packets drop
	}
}
END
greet syn
like 'the first SYN to the reflector is lost' "$(cat "$LAB_DIR/greet.syn")" '^SSH-2\.0-'
between 'another one is sent from another port' "$(lab_exec laptop-router nft list set ip lossy calling |
	sed '/size/d' | grep -o '[0-9]\{4,5\}' | wc -l)" 2 3
lab_exec laptop-router nft delete table ip lossy

# As where the line that comes in its place is lost as well.
lab_exec laptop-router nft -f - <<'END'
table ip lossy {
	chain forward {
		type filter hook forward priority 0
		iifname lan tcp dport 3478 tcp flags & psh == psh limit rate 1/day burst 1 packets reject with tcp reset
	}
}
END
greet reset
like 'CONNECT is answered by a RST' "$(cat "$LAB_DIR/greet.reset")" '^SSH-2\.0-'
like 'it is asked once more' "$(cat "$LAB_DIR/greet.reset.err")" "no answer from $LAB_REFLECTOR4:3478"
lab_exec laptop-router nft delete table ip lossy

lab_line home 20 10
lab_line laptop 20 10
# A session would spend its time on TCP's own repeats; what connect does ends at sshd's first line.
greet_pids=
for number in 1 2 3 4 5; do
	greet "$number" &
	greet_pids="$greet_pids $!"
done
# shellcheck disable=SC2086 # a list of pids
wait $greet_pids
came=$(cat "$LAB_DIR"/greet.? | grep -c '^SSH-2\.0-')
lab_line home 20 0
lab_line laptop 20 0
between 'of five over lines that lose every tenth packet, most come in' "$came" 3 5
lab_stop

# ---- a home that lets strangers in, and a laptop that home cannot reach: straight to sshd

lab_start full-cone symmetric
road_start -i 2
is 'ssh' "$(road_ssh echo well)" well
like "sshd sees the laptop's public address" "$(cat "$LAB_SSHD_LOG")" \
	"^Accepted publickey for root from $LAB_LAPTOP_PUBLIC4 port "
lab_stop

# ---- IPv6, a stateful firewall on both sides

LAB_IPV6=firewall LAB_LAPTOP_IPV6=firewall
lab_start symmetric symmetric
ROAD_ADDR=$LAB_REFLECTOR6
road_start -i 2 -6
is 'IPv6: ssh through two firewalls' "$(road_ssh echo well)" well
like 'directly, from address to address' "$(cat "$LAB_DIR/connect.err")" \
	"connected to \\[$LAB_HOME6\\]:22 at try"
like "home's router let it out" "$(lab_exec home-router conntrack -f ipv6 -L -p tcp --sport 22 \
	-d "$LAB_LAPTOP6" 2>/dev/null)" "dst=$LAB_LAPTOP6 sport=22"

done_testing
