#!/bin/sh
# check --lifetime: the lifetime that the kernel's NAT was given lies between the bounds that are
# printed. A signal ends the search, nothing is left behind, and it is said where nothing can be told.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft sshd perl script ss

natpunch=$lab_top/natpunch
established=4
datagrams=3

# NAME NS ARG...: starts the reflector of that name.
start_reflector()
{
	name=$1
	shift
	lab_spawn "$name" "$@"
	wait_for_line 5 "$LAB_DIR/$name.err" ready || bail "$name does not start"
}

# FILE NAME: a field of the JSON.
field()
{
	perl -MJSON::PP -0 -e 'my $value = decode_json(<STDIN>)->{$ARGV[0]};
		print defined $value ? $value : "null"' "$2" <"$1"
}

# Both protocols at once, and IPv6: $LAB_DIR/tcp.out, udp.out, tcp6.out.
search()
{
	lab_spawn tcp home "$natpunch" check -v -f json --lifetime 9 -r "$LAB_REFLECTOR4"
	lab_spawn udp home "$natpunch" check -f json --lifetime 9 -u -p 5022 -r "$LAB_REFLECTOR4"
	lab_spawn tcp6 home "$natpunch" check -6 -f json --lifetime 9 -r "$LAB_REFLECTOR6"
	for search in tcp udp tcp6; do
		read -r search_pid <"$LAB_DIR/$search.pid"
		wait "$search_pid"
		rm -f "$LAB_DIR/$search.pid"
	done
}

# NAME SECONDS
judge()
{
	least=$(field "$LAB_DIR/$1.out" lifetime_least)
	most=$(field "$LAB_DIR/$1.out" lifetime_most)
	diag "$1: between $least and $most s"
	between "$1: the lower bound holds" "$least" 1 "$2"
	between "$1: the upper bound holds" "$most" "$2" 9
	between "$1: one is near the other" "$((most - least))" 1 2
	like "$1: the evidence" "$(field "$LAB_DIR/$1.out" lifetime_evidence)" \
		"other ports.*alive after $least s of silence, gone after $most s"
}

LAB_NAT_ESTABLISHED=$established LAB_NAT_UDP=$datagrams
lab_start symmetric open
start_reflector two reflector "$natpunch" reflect -v -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6"
start_reflector one second "$natpunch" reflect -v
search
judge tcp "$established"
judge udp "$datagrams"
judge tcp6 "$established"
like '-v: each trial' "$(cat "$LAB_DIR/tcp.err")" 'silent for 1 s: alive$'
unlike 'no progress where there is no terminal' "$(cat "$LAB_DIR/udp.err")" 'mapping lifetime'

# Several at once, from ports of their own. A signal ends this one, which prints what is known so far.
lab_spawn early home "$natpunch" check -v --lifetime 10800 -u -p 5022 -r "$LAB_REFLECTOR4"
# check says why the first reflector cannot tell, and asks another one that can.
lab_spawn none home "$natpunch" check -f json --lifetime 9 -u -p 5023 -r "$LAB_SECOND4"
lab_spawn next home "$natpunch" check -f json --lifetime 2 -u -p 5024 -r "$LAB_SECOND4" \
	-r "$LAB_REFLECTOR4"
lab_spawn terminal home script -qefc \
	"$natpunch check --lifetime 2 -u -p 5025 -r $LAB_REFLECTOR4" "$LAB_DIR/typescript"
wait_for_line 20 "$LAB_DIR/early.err" 'silent for 1 s: alive$' || bail 'no trial ends'
lab_kill early INT
is 'Ctrl-C: the exit status is that of the verdict' $? 5
like 'and there is a report' "$(cat "$LAB_DIR/early.out")" '^  mapping lifetime   at least 1 s$'
like 'with what it rests on' "$(cat "$LAB_DIR/early.out")" 'alive after 1 s of silence; .* ended early$'

for search in none next terminal; do
	read -r search_pid <"$LAB_DIR/$search.pid"
	wait "$search_pid"
	rm -f "$LAB_DIR/$search.pid"
done
like 'a terminal: progress' "$(tr '\r' '\n' <"$LAB_DIR/typescript")" \
	'mapping lifetime: 1 of at most 2 s'
like 'and the result' "$(tr -d '\r' <"$LAB_DIR/typescript")" \
	'^  mapping lifetime   (at least|between)'
is 'without RESPONSE-PORT: not over UDP' "$(field "$LAB_DIR/none.out" lifetime_least)" null
is 'neither' "$(field "$LAB_DIR/none.out" lifetime_most)" null
like 'and why' "$(field "$LAB_DIR/none.out" lifetime_evidence)" "^$LAB_SECOND4:3478 .*RESPONSE-PORT"
like 'a second reflector is asked then' "$(field "$LAB_DIR/next.out" lifetime_evidence)" \
	"$LAB_REFLECTOR4:3478: alive after"
is 'no connection is left' "$(lab_exec home ss -Htan state established dport = :3478)" ''
lab_kill one
lab_kill two

# A reflector that promises a silence and breaks it proves nothing, whatever the NAT does.
for lie in early chatty; do
	lab_spawn liar reflector "$LAB_BIN/liar" $lie 3478
	wait_for_line 5 "$LAB_DIR/liar.out" ready || bail 'the liar does not start'
	lab_exec home "$natpunch" check -f json --lifetime 2 -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is "a lie, $lie: cannot be told" "$(field "$LAB_DIR/tcp.out" lifetime_least)" null
	like "a lie, $lie: and why" "$(field "$LAB_DIR/tcp.out" lifetime_evidence)" \
		': the reflector (closed before its time|spoke when it was to be silent)$'
	lab_kill liar KILL
done
lab_stop

done_testing
