#!/bin/sh
# Dial-back asked for what it must not do: other hosts, the reflector itself,
# too often, over UDP with a forged source. Counted are the SYNs on the wire.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft tcpdump

natpunch=$lab_top/natpunch
dial=$LAB_BIN/dial

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect -v -T 1337 -a "$LAB_REFLECTOR_B4"
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
	lab_capture calls reflector eth0 \
		"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and (src host $LAB_REFLECTOR4 or src host $LAB_REFLECTOR_B4)"
}

# SYNs that left the reflector so far; with a filter, those that match.
calls()
{
	lab_captured calls -nn "$@" | grep -c ' > '
}

stop_reflector()
{
	lab_kill reflect
	ended=$?
	lab_kill calls
	is "$1: the reflector ends cleanly" $ended 0
}

lab_start open open

# Other hosts. The third is asked for in every attribute that can hold an address.
start_reflector
out=$(lab_exec home "$dial" -p 22 -x "$LAB_REFLECTOR4")
like "addresses in optional attributes are passed over" "$out" "^target $LAB_HOME4:22$"
like "and home is dialled" "$out" "^same connected from "
out=$(lab_exec home "$dial" -p 22 -X "$LAB_REFLECTOR4")
is "an address in one that must be understood is refused" "$out" "error 420"
is "only home was dialled" "$(calls "not dst host $LAB_HOME4")" 0
is "from two places, once each" "$(calls)" 2

# The reflector itself: asked on its own machine, for the ports it listens on.
for port in 3478 3479 1337; do
	out=$(lab_exec reflector "$dial" -p "$port" -o 1 "$LAB_REFLECTOR4")
	is "its own port $port is not dialled" "$out" \
		"$(printf 'target %s:%s\nsame forbidden' "$LAB_REFLECTOR4" "$port")"
done
stop_reflector "other hosts"

# Over UDP anybody can say to be anybody.
start_reflector
out=$(lab_exec home "$dial" -u -p 22 "$LAB_REFLECTOR4")
is "over UDP the method is unknown" "$out" "error 400"
forged()
{
	lab_exec third ip address add "$LAB_HOME4/32" dev lo
	lab_exec third ip route replace "$LAB_REFLECTOR4" via 198.51.100.129 src "$LAB_HOME4"
	lab_exec third "$dial" -u -p 22 "$LAB_REFLECTOR4" >/dev/null
	lab_exec third ip route delete "$LAB_REFLECTOR4"
	lab_exec third ip address delete "$LAB_HOME4/32" dev lo
}
lab_capture udp reflector eth0 "udp and src host $LAB_HOME4 and dst port 3478"
lab_capture sent third eth0 "udp and src host $LAB_HOME4"
forged
is "a forged question left its host" "$(lab_captured sent -nn | grep -c ' > ')" 1
is "and came to the reflector as home's" "$(lab_captured udp -nn | grep -c ' > ')" 1
is "and none dialled anybody" "$(calls)" 0
stop_reflector "over UDP"

# A thousand times a second, nothing listens: each is refused at once.
start_reflector
began=$(date +%s)
out=$(lab_exec home "$dial" -p 9 -o 1 -n 3000 "$LAB_REFLECTOR4")
took=$(($(date +%s) - began + 1))
most=$((8 + took / 8))
between "asked 3000 times: eight at once, then one in eight seconds" "$(calls)" 8 "$most"
is "as many as were told refused" "$(calls)" "$(echo "$out" | sed -n 's/ refused$//p')"
is "all others are told that it is too often" \
	"$(echo "$out" | sed -n 's/ asked too often$//p')" "$((3000 - $(calls)))"

# It holds for the source's address, whatever the port and the connection.
before=$(calls)
out=$(lab_exec home "$dial" -p 22 -o 1 "$LAB_REFLECTOR4")
like "another connection does not help" "$out" "^same asked too often"
out=$(lab_exec third "$dial" -p 22 -o 1 "$LAB_REFLECTOR4")
unlike "another source is not hindered" "$out" "too often"
is "by its own call" "$(calls)" "$((before + 1))"
stop_reflector "a thousand times a second"
is "the counters show it" "$(tail -n 1 "$LAB_DIR/reflect.err")" \
	"natpunch reflect: dialled back $((before + 1)) times, refused $((3001 - before)) questions"

# Where nothing answers a call takes its three seconds: one at a time.
start_reflector
lab_exec home nft -f - <<-END
	table inet local {
		chain input {
			type filter hook input priority 0
			tcp dport 9 drop
		}
	}
END
out=$(lab_exec home "$dial" -p 9 -n 2000 "$LAB_REFLECTOR4")
is "asked 2000 times while a call is under way: told once" \
	"$(echo "$out" | sed -n 's/ timed out$//p')" 1
between "two places, one SYN each, and again after one second, and after two" "$(calls)" 4 6
stop_reflector "one at a time"

# Many sources: all together are bounded, too.
start_reflector
sources=$LAB_DIR/sources
i=0
while [ $i -lt 60 ]; do
	i=$((i + 1))
	echo "address add 192.0.2.$((i + 130))/32 dev lo"
done >"$sources"
lab_exec reflector ip -batch "$sources"
out=$(
	i=0
	while [ $i -lt 60 ]; do
		i=$((i + 1))
		lab_exec reflector "$dial" -s "192.0.2.$((i + 130))" -p 9 -o 1 -n 8 "$LAB_REFLECTOR4" &
	done
	wait
)
stop_reflector "many sources"
dialled=$(sed -n 's/.*dialled back \([0-9]*\) times.*/\1/p' "$LAB_DIR/reflect.err")
is "what was told refused was dialled" \
	"$(echo "$out" | awk '$2 == "refused" { n += $1 } END { print n + 0 }')" "$dialled"
between "480 questions of 60 sources: 32 at once, then ten a second" "$dialled" 32 200
lab_stop

done_testing
