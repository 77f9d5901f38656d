#!/bin/sh
# Where no direct way can be had: a session through the reflector, between two
# NATs that choose another port for each destination, and other such pairs.
# Bulk, half-close, silence, the limits, either end's going, laptops that are
# gone without a word, what those get who have no key or only what they caught,
# and a reflector that does not relay.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
# shellcheck source=tests/lab/payload.sh
. "$(dirname "$0")/payload.sh"
need ip nft conntrack tcpdump nc.openbsd od ss ssh scp cmp

limit=8 # relayed connections of one name
gone=5  # of those, from a laptop that does not answer any more

# How often the reflector, or the probe at home, said it.
said()
{
	grep -Ec -e "$2" "$LAB_DIR/$1.err"
}

said_times()
{
	[ "$(said "$1" "$2")" -ge "$3" ]
}

descriptors()
{
	read -r pid <"$LAB_DIR/reflect.pid"
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

descriptors_are()
{
	[ "$(descriptors)" -eq "$1" ]
}

memory()
{
	read -r pid <"$LAB_DIR/reflect.pid"
	awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"
}

# Connections at the reflector, by its kernel; arguments: a filter of ss.
legs()
{
	lab_exec reflector ss -Htno state established "$@"
}

legs_are()
{
	[ "$(legs sport = :3478 | wc -l)" -eq "$1" ]
}

# NAME: natpunch connect whose standard input stays open.
begin()
{
	lab_spawn "$1" laptop sh -c "exec \"$natpunch\" connect -v -r $ROAD_ADDR \
		-K $LAB_DIR/home.key home <$LAB_DIR/open"
}

# The laptop's ports at the reflector.
ports()
{
	lab_exec laptop ss -Htn state established "dst $LAB_REFLECTOR4" | awk '{ sub(/.*:/, "", $3); print $3 }'
}

# PORT: all that goes and comes there is dropped, except by that one.
cut_off()
{
	lab_exec laptop nft -f - <<-EOF
	table inet gone {
		chain out { type filter hook output priority 0; tcp dport 3478 tcp sport { $(ports | grep -vx "$1" | paste -sd ,) } drop; }
		chain in { type filter hook input priority 0; tcp sport 3478 tcp dport { $(ports | grep -vx "$1" | paste -sd ,) } drop; }
	}
	EOF
}

# Has it been so many seconds?
since()
{
	lab_clock
	[ $((lab_now - $1)) -ge $(($2 * 100)) ]
}

has_banner()
{
	grep -q '^SSH-2.0-' "$LAB_DIR/$1.out"
}

# ---- the pairs that have no direct way
for pair in symmetric/port-restricted port-restricted-port/symmetric symmetric/port-restricted-rst; do
	lab_start "${pair%/*}" "${pair#*/}"
	ROAD_REFLECT=-R
	# shellcheck disable=SC2119 # no further arguments of probe
	road_start
	is "$pair: ssh comes through" "$(road_ssh echo through)" through
	like "$pair: by a relay, and it says so" "$(cat "$LAB_DIR/connect.err")" \
		"connected by a relay: all bytes pass through $LAB_REFLECTOR4:3478"
	lab_stop
done

# ---- symmetric at both sides, with NATs that forget what is silent for 30 s
LAB_NAT_ESTABLISHED=30
lab_start symmetric symmetric
ROAD_REFLECT="-R -a $LAB_REFLECTOR_B4"
# shellcheck disable=SC2119
road_start
ok 'home finds that its ports cannot be predicted' wait_for_line 20 "$LAB_DIR/keep.err" \
	'our ports cannot be predicted: telling the reflector'
registered_again()
{
	[ "$(said keep 'home is registered')" -eq 2 ]
}
ok 'and registers that' wait_for 10 registered_again
free=$(descriptors)
memory=$(memory)

mkfifo "$LAB_DIR/idle.in" "$LAB_DIR/open"
exec 4<>"$LAB_DIR/open"
lab_capture there internet laptop "tcp port 3478 and src host $LAB_LAPTOP_PUBLIC4"
lab_capture home internet home "tcp port 3478 and src host $LAB_HOME_PUBLIC4"
lab_spawn idle laptop sh -c "exec ssh -F $LAB_DIR/ssh_config home cat <$LAB_DIR/idle.in"
exec 5>"$LAB_DIR/idle.in"
ok "a session begins" wait_for_line 10 "$LAB_DIR/reflect.err" 'relay for .* at home begins'
echo begin >&5
ok "and answers" wait_for_line 20 "$LAB_DIR/idle.out" '^begin$'
like 'no direct way was waited for' "$(cat "$LAB_DIR/connect.err")" \
	"neither home's port nor ours can be predicted"
unlike 'and no port predicted' "$(cat "$LAB_DIR/connect.err")" 'looking what port comes next'
lab_clock
idle_since=$lab_now
# Home's held connection, home's end of the relay, the initiator's.
is "the reflector has both ends, and home's own" "$(legs sport = :3478 | wc -l)" 3
both_kept()
{
	[ "$(legs sport = :3478 | grep -c 'timer:(keepalive,[12]\?[0-9]sec')" -eq 2 ]
}
ok "both ends are kept alive by TCP" wait_for 2 both_kept
idle_port=$(ports)
like "the end from the laptop is its NAT's mapping" "$(legs dst "$LAB_LAPTOP_PUBLIC4")" \
	"$(lab_mapping laptop tcp "$idle_port" "$LAB_REFLECTOR4" 3478 | tr ' ' ':')"

# ---- some are gone without a word, and are looked for at the end
for i in $(seq $gone); do
	lab_spawn "gone$i" laptop sh -c "exec ssh -F $LAB_DIR/ssh_config home \
		'echo here; exec cat' <$LAB_DIR/open"
done
for i in $(seq $gone); do
	ok "session $((i + 1)) of $limit is there" wait_for_line 20 "$LAB_DIR/gone$i.out" '^here$'
done
cut_off "$idle_port"
lab_clock
gone_since=$lab_now

# ---- bulk, both ways
dd if=/dev/urandom of="$LAB_DIR/there" bs=1M count=10 2>/dev/null
passed=$(said reflect 'relay for home ended')
ok "10 MB by scp to home" lab_exec laptop scp -q -F "$LAB_DIR/ssh_config" \
	"$LAB_DIR/there" "home:$LAB_DIR/came"
ok "came as they were" cmp "$LAB_DIR/there" "$LAB_DIR/came"
ok "10 MB by scp from home" lab_exec laptop scp -q -F "$LAB_DIR/ssh_config" \
	"home:$LAB_DIR/came" "$LAB_DIR/back"
ok "came as they were too" cmp "$LAB_DIR/there" "$LAB_DIR/back"
ok "both relays have ended" wait_for 5 said_times reflect 'relay for home ended' $((passed + 2))
like "the bytes to home are counted" "$(grep 'relay for home ended' "$LAB_DIR/reflect.err")" \
	': 1[0-9]{7} bytes to it, [0-9]{3,6} bytes from it$'
like "and those from home" "$(grep 'relay for home ended' "$LAB_DIR/reflect.err")" \
	': [0-9]{3,6} bytes to it, 1[0-9]{7} bytes from it$'
like "sshd had them from the machine itself" "$(cat "$LAB_SSHD_LOG")" \
	'Connection from (127\.0\.0\.1|::1) port'

# ---- the limit of one name: the idle session is the first
before=$(descriptors)
for i in $(seq $((gone + 2)) $limit); do
	begin "many$i"
done
for i in $(seq $((gone + 2)) $limit); do
	ok "session $i of $limit has the banner" wait_for 10 has_banner "many$i"
done
is "six descriptors each" "$(descriptors)" $((before + 6 * (limit - gone - 1)))
road_connect </dev/null >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "one more is refused: exit 5" "$?" 5
like "and told why" "$(cat "$LAB_DIR/err")" 'too many relayed connections for that name$'
like "with method two" "$(cat "$LAB_DIR/err")" '^hint: .*ssh -N -R 1337:localhost:22 HOST'
is "and gets not a byte" "$(wc -c <"$LAB_DIR/out")" 0

# ---- either end goes
child=$(awk '/goes to the server of port 22/ { sub(/\)/, "", $NF); pid = $NF } END { print pid }' "$LAB_DIR/keep.err")
kill -KILL "$child"
ok "home's end is killed: the relay ends" wait_for 5 descriptors_are $((before + 6))
one_lives()
{
	living=0
	for i in $(seq $((gone + 2)) $limit); do
		lab_alive "many$i" && living=$((living + 1)) last=many$i
	done
	[ $living -eq 1 ]
}
ok "and its initiator ends" wait_for 5 one_lives
ended=$(said keep 'pid [0-9]+ ended')
lab_kill "$last" KILL
ok "the other initiator is killed: the relay ends" wait_for 5 descriptors_are "$before"
ok "and so does what home had begun for it" wait_for 5 said_times keep 'pid [0-9]+ ended' $((ended + 1))
ok "no connection is left but of the idle one and those that are gone" wait_for 5 legs_are \
	$((3 + 2 * gone))

# ---- who has no key, or only what he caught
join=$(lab_captured home -x | payloads | grep '^02c7' | tail -n 1)
relay=$(lab_captured there -x | payloads | grep '^02c6' | tail -n 1)
like "a JOIN was caught" "$join" '^02c70038'
like "and a RELAY" "$relay" '^02c6'
invitations=$(said keep 'by a relay: joining')
like "the JOIN again is refused" "$(say third "$join")" '^03d7.*0009....00000401'
like "from home's own address too" "$(say home "$join")" '^03d7.*0009....00000401'
like "the RELAY again: of another connection" "$(say laptop "$relay")" '^03d6.*0009....00000426'
like "and from elsewhere" "$(say third "$relay")" '^03d6.*0009....00000426'
is "home is not told of these" "$(said keep 'by a relay: joining')" "$invitations"

# The next one's number is no secret: the first slot behind those that are taken,
# the next generation there.
slot=$(printf '%08x' $((gone + 1)))
number=$(lab_captured home -x | payloads | sed -n 's/^02c7.\{36\}c6e90008'"$slot"'\(.\{8\}\).*/\1/p' | sort | tail -n 1)
number=$(printf '%s%08x' "$slot" $((0x$number + 1)))
read -r pid <"$LAB_DIR/keep.pid"
kill -STOP "$pid"
begin guessed
ok "a relay waits for home" wait_for_line 8 "$LAB_DIR/guessed.err" 'asking for a relay'
ok "with its leg alone" wait_for 2 legs_are $((4 + 2 * gone))
# No FINGERPRINT, which would not fit.
forged=$(printf '02c70030%.32sc6e90008%s001c0020%064d' "$(printf '%s' "$join" | cut -c 9-40)" "$number" 0)
like "a guessed token is refused" "$(say third "$forged")" '^03d7.*0009....00000401'
kill -CONT "$pid"
ok "and the true home still comes" wait_for 5 has_banner guessed
is "under that very number" "$(lab_captured home -x | payloads | grep -c "^02c7.\{36\}c6e90008$number")" 1
lab_kill guessed

# ---- home does not come
kill -STOP "$pid"
begin waits
ok "an initiator waits" wait_for_line 8 "$LAB_DIR/waits.err" 'asking for a relay'
lab_kill waits KILL
ok "and goes: its relay is off" wait_for_line 5 "$LAB_DIR/reflect.err" 'is off: it went away'
road_connect </dev/null >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "home is deaf: exit 5" "$?" 5
like "and told so" "$(cat "$LAB_DIR/err")" "home does not come to the reflector's relay\$"
like "the reflector gave it up" "$(cat "$LAB_DIR/reflect.err")" 'is off: home did not come'
kill -CONT "$pid"
ok "what it finds then is gone" wait_for 5 said_times keep \
	'cannot join it at the relay: the initiator is gone' 2
ok "nothing is left of it" wait_for 5 descriptors_are "$before"

# ---- those that are gone make room, and the idle one does not
ok "some have been gone for a minute" wait_for 60 since "$gone_since" 61
like "nobody wants their places: they have them" "$(legs)" 'timer:\(keepalive,[^,]*,[2-9]\)'
for i in $(seq $((gone + 2)) $((limit + 1))); do
	begin "late$i"
done
for i in $(seq $((gone + 2)) $((limit + 1))); do
	ok "session $i has the banner" wait_for 10 has_banner "late$i"
done
is "one made room for the last" \
	"$(said reflect 'relay for .* at home does not answer: its place goes to another')" 1
is "and the others did not" "$(descriptors)" $((before + 6 * (limit - gone - 1)))
kill -USR1 "$(cat "$LAB_DIR/reflect.pid")"
ok "it is counted" wait_for_line 2 "$LAB_DIR/reflect.err" 'natpunch_yielded_total{what="relay_of_name"} 1$'
lab_exec laptop nft delete table inet gone
for i in $(seq $gone); do
	lab_kill "gone$i"
done
for i in $(seq $((gone + 2)) $((limit + 1))); do
	lab_kill "late$i"
done
ok "all are gone but the idle one" wait_for 10 descriptors_are $((before - 6 * gone))

# ---- the idle one, whose NATs would have forgotten it
is "the NATs forget after" "$(lab_exec laptop-router \
	cat /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established)" 30
ok "it was silent for longer than two keep-alives" wait_for 60 since "$idle_since" 60
echo end >&5
ok "and still answers" wait_for_line 5 "$LAB_DIR/idle.out" '^end$'
exec 5>&-
ok "its end is the end of the relay" wait_for 5 descriptors_are "$free"
between "memory is back, in kB more" $(($(memory) - memory)) 0 256

# ---- half-close: home answers when all was said
lab_kill keep
road_keep -p 2200 -- /usr/bin/cksum
printf 'all that there is\n' >"$LAB_DIR/said"
is "a FIN is passed on, and the other direction goes on" \
	"$(road_connect <"$LAB_DIR/said" 2>/dev/null)" "$(cksum <"$LAB_DIR/said")"
lab_kill keep KILL
road_connect </dev/null >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "home is not there at all: exit 5" "$?" 5
lab_kill reflect
like "how much it was in all is told at the end" "$(cat "$LAB_DIR/reflect.err")" \
	'relayed in all: [0-9]+ connections, 2[0-9]{7} bytes$'

# ---- a reflector that does not relay
ROAD_REFLECT=
road_reflect
road_keep
lab_capture none internet reflector "tcp port 3478 and src host $LAB_LAPTOP_PUBLIC4"
road_connect </dev/null >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "without --relay: exit 5" "$?" 5
like "it says so" "$(cat "$LAB_DIR/err")" 'no direct way to home at .*; the reflector does not relay$'
like "and has method two ready" "$(cat "$LAB_DIR/err")" \
	'^hint: .*ssh -N -R 1337:localhost:22 HOST at home, then ssh -J HOST -p 1337 localhost here$'
is "no RELAY was asked" "$(lab_captured none -x | payloads | grep -c '^02c6')" 0
done_testing
