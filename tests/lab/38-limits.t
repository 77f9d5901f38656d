#!/bin/sh
# One host does its worst against a reflector; the honest client next door is
# answered all the while, how fast is printed, and the counters tell what was
# done, by SIGUSR1 as by HTTP.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip perl curl

natpunch=$lab_top/natpunch
hostile=$lab_top/tests/lab/hostile
exposition=$lab_top/tests/lab/exposition
room=64

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect -C $room --metrics 9399 "$@"
	wait_for_line 5 "$LAB_DIR/reflect.err" 'reflect: ready$' || bail "it does not start"
}

stop_reflector()
{
	lab_kill reflect
	is "$1: the reflector ends cleanly" $? 0
}

# Leaves what is told by HTTP in samples; fails where it is not right to the letter.
scrape()
{
	lab_exec reflector curl -si --max-time 5 http://127.0.0.1:9399/metrics |
		"$exposition" >"$LAB_DIR/samples"
}

# SAMPLE: its value at the last scrape.
value()
{
	grep -F "$1 " "$LAB_DIR/samples" | sed 's/.* //'
}

# MODE [ARG...]: the hostile host, until it is at it.
attack()
{
	attack_mode=$1
	shift
	lab_spawn attack third "$hostile" "$attack_mode" "$LAB_REFLECTOR4" "$@"
	wait_for_line 20 "$LAB_DIR/attack.out" ready || bail "no attack: $(cat "$LAB_DIR/attack.err")"
}

# NAME: home asks a while; all of it is answered.
ask_honestly()
{
	out=$(lab_exec home "$hostile" ask "$LAB_REFLECTOR4" 40)
	like "$1: all is answered over TCP" "$out" '^tcp 40 '
	like "$1: and over UDP" "$out" '^udp 40 '
	note "$1: answered, median and worst in ms: $(echo "$out" | tr '\n' ' ')"
	between "$1: over TCP within half a second each" \
		"$(echo "$out" | sed -n 's/^tcp .* //p')" 0 500
}

lab_start open open

# What is done is what is counted.
start_reflector
lab_exec home "$hostile" ask "$LAB_REFLECTOR4" 7 >/dev/null
lab_exec home curl -s "http://$LAB_REFLECTOR4:3478/" >/dev/null
lab_exec home "$natpunch" probe -p 4022 -m bind -r "$LAB_REFLECTOR4" >/dev/null
lab_exec home "$LAB_BIN/dial" -p 9 -o 1 -n 20 "$LAB_REFLECTOR4" >/dev/null
ok 'the text format is right to the letter' scrape
for sample in \
	'requests_total{transport="udp",kind="binding"} 7' \
	'answers_total{transport="udp",kind="binding"} 7' \
	'requests_total{transport="tcp",kind="binding"} 8' \
	'answers_total{transport="tcp",kind="binding"} 8' \
	'requests_total{transport="tcp",kind="http"} 1' \
	'answers_total{transport="tcp",kind="http"} 1' \
	'requests_total{transport="tcp",kind="dial"} 20' \
	'answers_total{transport="tcp",kind="dial"} 20' \
	'connections_total{result="accepted"} 10' \
	'capacity{what="connections"} 64' 'capacity{what="held"} 56'; do
	like "natpunch_$sample" "$(grep -F "natpunch_$sample" "$LAB_DIR/samples")" '.'
done
# Eight in a row, but for one that is asked for before the last has ended.
dialled=$(sed -n 's/^natpunch_dials_total{result="refused"} //p' "$LAB_DIR/samples")
between 'no more were dialled than may be in a row' "$dialled" 1 8
is 'what was not dialled was too often, or too early' "$(awk '
	/^natpunch_dial_refusals_total{reason="(busy|often)"}/ { n += $2 } END { print n }
	' "$LAB_DIR/samples")" $((20 - dialled))
is 'what was accepted is there, or has ended' "$(awk '
	/^natpunch_connections_ended_total/ || /^natpunch_entries{what="connections"}/ { n += $2 }
	END { print n }' "$LAB_DIR/samples")" 10
kill -USR1 "$(cat "$LAB_DIR/reflect.pid")"
wait_for_line 5 "$LAB_DIR/reflect.err" 'natpunch_capacity.*sources' || fail 'SIGUSR1 has it told'
scrape
is 'by SIGUSR1 the same is told' \
	"$(sed -n 's/^natpunch reflect: natpunch_/natpunch_/p' "$LAB_DIR/reflect.err" | grep -v sources)" \
	"$(grep -v sources "$LAB_DIR/samples")"
stop_reflector counted

# Every place in the table is asked for, again and again.
start_reflector
attack silent 200
ask_honestly 'a flood of silent connections'
scrape
between 'it is the flood that was ended' \
	"$(value 'natpunch_connections_ended_total{reason="evicted"}')" 100 10000000
is 'each by the limit' "$(value 'natpunch_limited_total{what="connection"}')" \
	"$(value 'natpunch_connections_ended_total{reason="evicted"}')"
is 'the table is full' "$(value 'natpunch_entries{what="connections"}')" $room
lab_kill attack
stop_reflector silent

# Every place that can be held is held; a home comes later and has one nevertheless.
start_reflector
attack hold 100
mkfifo "$LAB_DIR/again"
lab_spawn held home sh -c "exec \"\$0\" hold-one \"\$1\" <\"\$2\"" "$hostile" "$LAB_REFLECTOR4" \
	"$LAB_DIR/again"
exec 7>"$LAB_DIR/again"
wait_for_line 10 "$LAB_DIR/held.out" held || fail 'a home that comes later is held'
ask_honestly 'a hoard of held connections'
scrape
is 'as many are held as can be' "$(value 'natpunch_entries{what="held"}')" 56
between 'the hoard had to let go' "$(value 'natpunch_limited_total{what="hold"}')" 1 10000000
echo >&7
ok 'the home is held still' wait_for 10 sh -c "[ \$(grep -c held \"$LAB_DIR/held.out\") -eq 2 ]"
exec 7>&-
lab_kill held
lab_kill attack
stop_reflector hoard

# Questions without a pause: the source is slowed down, the one next door is not.
start_reflector
began=$(date +%s)
attack pipeline 16
ask_honestly 'questions without a pause'
scrape
answered=$(value 'natpunch_answers_total{transport="tcp",kind="binding"}')
took=$(($(date +%s) - began + 1))
between 'two thousand a second, after four thousand at once' "$answered" 1000 \
	"$((8000 + took * 2000))"
between 'put off it was' "$(value 'natpunch_limited_total{what="source"}')" 1 10000000
lab_kill attack
stop_reflector pipeline

# Over UDP none is refused; what is too much is the kernel's to drop.
start_reflector
attack datagrams
ask_honestly 'datagrams without a pause'
lab_kill attack
stop_reflector datagrams

# The log has its limit, and says what is missing.
start_reflector -v
began=$(date +%s)
attack silent 100
scrape
wait_for 20 sh -c "grep -q 'lines more were too many' \"$LAB_DIR/reflect.err\"" ||
	fail 'that lines are missing is told'
lab_kill attack
scrape
took=$(($(date +%s) - began + 1))
stop_reflector log
between 'so many lines at once, and so many a second' \
	"$(grep -c '^natpunch reflect: tcp ' "$LAB_DIR/reflect.err")" 1000 "$((1010 + 100 * took))"
between 'how many were not is counted' \
	"$(sed -n 's/.*: \([0-9]*\) lines more were.*/\1/p' "$LAB_DIR/reflect.err" |
		awk '{ n += $1 } END { print n }')" \
	"$(value natpunch_log_lines_suppressed_total)" 10000000

# The port of the counters has few places, and they are told all the same.
start_reflector
lab_spawn attack reflector "$hostile" metrics 9399 40
wait_for_line 20 "$LAB_DIR/attack.out" ready || bail 'no attack on the counters'
ok 'who keeps its connections keeps nobody from the counters' scrape
ask_honestly 'connections to the counters'
lab_kill attack
is 'from elsewhere nobody listens there' \
	"$(lab_exec home curl -s --max-time 2 "http://$LAB_REFLECTOR4:9399/metrics"; echo $?)" 7
stop_reflector counters
lab_stop

done_testing
