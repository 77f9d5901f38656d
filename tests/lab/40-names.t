#!/bin/sh
# Names, from home through two NATs to the laptop: registered, looked up, used;
# and what those try who have no key, another key, or what they caught on the
# way. The reflector is killed at random moments and knows what it knew.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/payload.sh
. "$(dirname "$0")/payload.sh"
# shellcheck source=tests/lab/manual.sh
. "$(dirname "$0")/manual.sh"
need ip nft conntrack tcpdump nc.openbsd od

natpunch=$lab_top/natpunch
rounds=${ROUNDS:-15}
seed=${NATPUNCH_SEED:-$(date +%N | sed 's/^0*//')}
diag "seed $seed, rounds $rounds (NATPUNCH_SEED, ROUNDS)"
lab_start full-cone-port port-restricted
keys=$LAB_DIR/keys
state=$LAB_DIR/state
umask 077

# For an ssh whose command line is not lab_ssh's.
ssh_options="-F none -l root -i $LAB_DIR/user_key -o UserKnownHostsFile=$LAB_DIR/known_hosts
	-o GlobalKnownHostsFile=none -o HostKeyAlias=home -o BatchMode=yes -o LogLevel=ERROR"
# shellcheck disable=SC2086,SC2116 # on one line
ssh_options=$(echo $ssh_options)

# random N -> drawn: 0 to N - 1
random()
{
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	drawn=$((seed / 65536 % $1))
}

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect -K "$keys" -S "$state"
	wait_for_line 5 "$LAB_DIR/reflect.err" 'ready$' || bail "the reflector does not start"
}

# NAME [OPTION...]: registers from home; sets status.
register()
{
	name=$1
	shift
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" -n "$name" -K "$keys" "$@" \
		>"$LAB_DIR/line" 2>"$LAB_DIR/register.err"
	status=$?
}

# FILE NAME [OPTION...]: asks from the laptop; sets status and found.
look_up()
{
	file=$1
	name=$2
	shift 2
	found=$(lab_exec laptop "$natpunch" lookup -r "$LAB_REFLECTOR4" -K "$file" "$@" "$name" \
		2>"$LAB_DIR/lookup.err")
	status=$?
}

# WORD [ARG...]: at the laptop, what natpunch-lookup(1) shows with that word, and further arguments.
shown()
{
	command=$(manual_commands natpunch-lookup.1 "$1" | sed "s|~/\.ssh/natpunch\.key|$keys|")
	shift
	lab_exec laptop sh -c "PATH=$lab_top:\$PATH && $command $*" </dev/null 2>&1
}

# NAME [PROTOCOL]: the public port that the state file has for it; empty for none.
stored_port()
{
	awk -v name="$1" -v protocol="${2:-tcp}" '$1 == name && $2 == protocol { print $4 }' "$state"
}

has_stored_udp()
{
	[ "$(stored_port "$1" udp)" = "$2" ]
}

"$natpunch" keygen home >"$keys"
"$natpunch" keygen work >>"$keys"
"$natpunch" keygen home >"$LAB_DIR/wrong"
sed -n 's/^work /home /p' "$keys" >"$LAB_DIR/pasted"
"$natpunch" keygen away >"$LAB_DIR/away"
start_reflector
like "the reflector tells how many names" "$(cat "$LAB_DIR/reflect.err")" ': 2 names$'

# ---- the use of it
look_up "$keys" home
is "a name that never registered: exit 1" "$status" 1
is "and nothing on standard output" "$found" ""
like "and how to register it" "$(cat "$LAB_DIR/lookup.err")" 'hint: at home: natpunch probe .*-n home'
lab_capture register internet reflector "tcp port 3478 and src host $LAB_HOME_PUBLIC4"
register home
is "home registers, sshd listening: exit 0" "$status" 0
is "its line is what the NAT holds" "$(cat "$LAB_DIR/line")" \
	"$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"
lab_capture lookup laptop eth0 "tcp port 3478 and src host $LAB_REFLECTOR4"
look_up "$keys" home
is "the laptop looks it up: exit 0" "$status" 0
is "and gets the same line" "$found" "$(cat "$LAB_DIR/line")"
# shellcheck disable=SC2086
is "ssh with it logs in" "$(lab_ssh laptop $found echo in)" in
port=${found#* }
look_up "$keys" home -f ssh
is "-f ssh" "$found" "ssh -p $port $LAB_HOME_PUBLIC4"
# As its page has it: what it prints is the line and the command. And with a string, what ssh takes.
is "the manual: lookup, and ssh by it" "$(shown 'lookup -f ssh' "$ssh_options echo in" | lab_said)" \
	"$(cat "$LAB_DIR/line")
in"
is "the manual: with HostKeyAlias" "$(shown HostKeyAlias "$ssh_options echo in" | lab_said)" in
is "ssh \$(natpunch lookup -f '-p %p %a' ...)" "$(lab_exec laptop sh -c "ssh $ssh_options \
	\$('$natpunch' lookup -f '-p %p %a' -r $LAB_REFLECTOR4 -K '$keys' home) echo in" \
	</dev/null 2>&1 | lab_said)" in
look_up "$keys" home -f json
like "-f json has the age" "$found" '"name":"home","age":[0-9]+,"held":false}$'
look_up "$keys" home -f env
like "-f env too" "$found" "^NATPUNCH_PUBLIC_ADDR=$LAB_HOME_PUBLIC4 .* NATPUNCH_NAME=home NATPUNCH_AGE=[0-9]+ NATPUNCH_HELD=false$"
look_up "$keys" home -f '%a|%p|%P|%m'
is "-f with a string" "$found" "$LAB_HOME_PUBLIC4|$port|22|lookup"
look_up "$keys" home -6
is "no IPv6 address was registered" "$status" 1
register work -u -p 5000
is "a UDP port registers: exit 0" "$status" 0
look_up "$keys" work -u -f '%p'
is "and is looked up" "$found" "$(lab_mapping home udp 5000 "$LAB_REFLECTOR4" 3478 | sed 's/.* //')"
look_up "$keys" work
is "but not as a TCP port" "$status $found" '1 '
like "which is told" "$(cat "$LAB_DIR/lookup.err")" 'knows no TCP address of work$'
like "and what to say instead" "$(cat "$LAB_DIR/lookup.err")" 'hint: it knows a UDP one: add -u$'
look_up "$keys" home -u
is "nor is home's TCP port a UDP one" "$status $found" '1 '
like "which is told as well" "$(cat "$LAB_DIR/lookup.err")" 'knows no UDP address of home$'
like "with what to leave out" "$(cat "$LAB_DIR/lookup.err")" 'hint: .*leave out -u$'
register home -u -p 5001
is "the manual: the UDP port of the same name" "$(shown 'lookup -u')" "$(tr ' ' : <"$LAB_DIR/line")"
look_up "$keys" home
is "a UDP port of the same name does not take the TCP port's place" "$found" \
	"$LAB_HOME_PUBLIC4 $port"
look_up "$keys" home -u -f '%p'
is "and is found with -u" "$found" "$(lab_mapping home udp 5001 "$LAB_REFLECTOR4" 3478 | sed 's/.* //')"
register work -m raw
is "method raw registers: exit 0" "$status" 0
look_up "$keys" work
is "the port that it found, by number" "$found" "$(cat "$LAB_DIR/line")"

# ---- who has no key
before=$(stored_port home)
for other in wrong away; do
	name=$(sed 's/ .*//' "$LAB_DIR/$other")
	look_up "$LAB_DIR/$other" "$name"
	is "lookup, $other key: exit 1" "$status" 1
	like "lookup, $other key: refused" "$(cat "$LAB_DIR/lookup.err")" "refuses the key for $name$"
	sed "s/$name/NAME/" "$LAB_DIR/lookup.err" >"$LAB_DIR/$other.refusal"
	lab_exec third "$natpunch" probe -p 4000 -r "$LAB_REFLECTOR4" -n "$name" -K "$LAB_DIR/$other" \
		>"$LAB_DIR/line" 2>"$LAB_DIR/probe.err"
	is "probe -n, $other key: exit 1" $? 1
	is "probe -n, $other key: the mapping is printed all the same" "$(cat "$LAB_DIR/line")" \
		"$LAB_THIRD4 4000"
done
ok "a wrong key and no such name look alike" cmp -s "$LAB_DIR/wrong.refusal" "$LAB_DIR/away.refusal"
look_up "$LAB_DIR/pasted" home
is "another name's key behind the name: exit 3" "$status" 3
like "it is noticed at once" "$(cat "$LAB_DIR/lookup.err")" 'line 1: damaged, or the key of another name$'
look_up "$keys" home
is "home is where it was" "$found" "$LAB_HOME_PUBLIC4 $port"

# ---- who was on the path
lab_captured lookup -x | payloads >"$LAB_DIR/seen"
ok "the answer to the laptop was seen" grep -q '^03c2' "$LAB_DIR/seen"
hex=$(echo "$LAB_HOME_PUBLIC4" | awk -F. '{ printf "%02x%02x%02x%02x", $1, $2, $3, $4 }')
xored=$(printf '%08x' $((0x$hex ^ 0x2112a442)))
nok "home's address is not in it" grep -q "$hex" "$LAB_DIR/seen"
nok "not by STUN's xor either" grep -q "$xored" "$LAB_DIR/seen"

registered=$(lab_captured register -x | payloads | grep '^02c1' | tail -n 1)
isnt "the request that registered home was caught" "$registered" ""
answer=$(say home "$registered" -p 2222)
like "again from another port at home: stale" "$answer" '^03d1.*000900..00000426'
answer=$(say third "$registered")
like "again from elsewhere: stale" "$answer" '^03d1.*000900..00000426'
look_up "$keys" home
is "home is where it was" "$found" "$LAB_HOME_PUBLIC4 $port"
lab_capture datagrams internet reflector "udp port 3478 and src host $LAB_HOME_PUBLIC4"
register work -u -p 5000
registered=$(lab_captured datagrams -x | payloads | grep '^02c1' | tail -n 1)
look_up "$keys" work -u
was=$found
answer=$(say home "$registered" -u -W 1 -p 6666)
like "over UDP, again from another port: stale" "$answer" '^03d1.*000900..00000426'
between "and the answer is no larger" "${#answer}" 1 "${#registered}"
look_up "$keys" work -u
is "work is where it was" "$found" "$was"
asked=$(lab_captured datagrams -x | payloads | grep '^02c1' | head -n 1)
first=$(say third "$asked" -u -W 1)
like "a first request is answered to anybody: a nonce" "$first" '^03d1.*000900..00000401'
between "which is no larger" "${#first}" 1 "${#asked}"

# ---- keys that change
cp "$keys" "$LAB_DIR/good"
echo 'work nonsense' >>"$keys"
kill -HUP "$(cat "$LAB_DIR/reflect.pid")"
ok "a damaged file is told by its line" wait_for_line 5 "$LAB_DIR/reflect.err" 'keys line 3: not a key$'
look_up "$LAB_DIR/good" home
is "and the old keys stay" "$found" "$LAB_HOME_PUBLIC4 $port"
cat "$LAB_DIR/wrong" >"$keys"
kill -HUP "$(cat "$LAB_DIR/reflect.pid")"
wait_for_line 5 "$LAB_DIR/reflect.err" 'read again: 1 name$' || fail "the keys are not read again"
look_up "$LAB_DIR/good" home
is "after new keys the old one is refused" "$status" 1
look_up "$LAB_DIR/wrong" home
is "and the new one finds nothing that was said with it" "$status $found" "1 "
is "home registers with the new one" "$(lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" \
	-n home -K "$LAB_DIR/wrong" 2>/dev/null)" "$LAB_HOME_PUBLIC4 $port"
look_up "$LAB_DIR/wrong" home
is "and is found with it" "$found" "$LAB_HOME_PUBLIC4 $port"
cp "$LAB_DIR/good" "$keys"
chmod 644 "$keys"
kill -HUP "$(cat "$LAB_DIR/reflect.pid")"
ok "keys that all can read are told" wait_for_line 5 "$LAB_DIR/reflect.err" 'open to others \(mode 644\)$'
chmod 600 "$keys"
kill -HUP "$(cat "$LAB_DIR/reflect.pid")"
ok "good ones are taken" wait_for_line 5 "$LAB_DIR/reflect.err" 'read again: 2 names$'

# ---- files that lead astray
lab_exec internet "$natpunch" reflect -l 4478 -K "$keys" -S "$keys" 2>"$LAB_DIR/err"
is "keys and state in one file: refused" $? 2
is "and the keys are as they were" "$(cat "$keys")" "$(cat "$LAB_DIR/good")"
mkdir "$LAB_DIR/linked"
ln -s ../keys "$LAB_DIR/linked/keys"
lab_spawn linked internet "$natpunch" reflect -l 127.0.0.1:4478 -K "$LAB_DIR/linked/keys"
wait_for_line 5 "$LAB_DIR/linked.err" ready
kill -HUP "$(cat "$LAB_DIR/linked.pid")"
ok "keys behind a link to elsewhere are read again" \
	wait_for_line 5 "$LAB_DIR/linked.err" 'read again: 2 names$'
lab_kill linked

# ---- held
lab_spawn keep home "$natpunch" probe -k -v -r "$LAB_REFLECTOR4" -n home -K "$keys"
ok "probe -k registers" wait_for_line 5 "$LAB_DIR/keep.err" 'home is registered as'
look_up "$keys" home -f '%p' -v
is "it is found" "$found" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478 | sed 's/.* //')"
like "and held now" "$(cat "$LAB_DIR/lookup.err")" 'home is at .* now '
is "the manual: whether home is registered now" "$(shown 'lookup -v' |
	sed '/ confined by /d; s/[0-9][0-9.]*[: ][0-9]*/ADDR/')" \
	"$(manual_display natpunch-lookup.1 'lookup -v' | sed '1d; s/[0-9][0-9.]*[: ][0-9]*/ADDR/')"
before=$(grep -c 'home is registered' "$LAB_DIR/keep.err")
lab_kill reflect KILL
start_reflector
registered_again()
{
	[ "$(grep -c 'home is registered' "$LAB_DIR/keep.err")" -gt "$before" ]
}
ok "after the reflector's death it registers again" wait_for 10 registered_again
look_up "$keys" home -f json
like "and is held again" "$found" '"held":true}$'
lab_kill keep KILL
not_held()
{
	look_up "$keys" home -f json
	[ "${found%'"held":false}'}" != "$found" ]
}
ok "home's death ends that" wait_for 5 not_held
isnt "but not the memory" "$found" ""

# ---- two machines with one name
# VERDICT: what comes from home to the reflector meets it from here on.
meet_home_by()
{
	lab_exec reflector nft -f - <<-END
		table ip home {
			chain input {
				type filter hook input priority 0
				ip saddr $LAB_HOME_PUBLIC4 tcp dport 3478 $1
			}
		}
	END
}

lab_spawn keep home "$natpunch" probe -k -v -i 2 -r "$LAB_REFLECTOR4" -n home -K "$keys"
wait_for_line 5 "$LAB_DIR/keep.err" 'home is registered as' || bail "home does not register"
lab_exec third "$natpunch" probe -p 4000 -r "$LAB_REFLECTOR4" -n home -K "$keys" \
	>/dev/null 2>"$LAB_DIR/second.err"
is "a second machine registers: exit 0" $? 0
like "it is told of the first" "$(cat "$LAB_DIR/second.err")" \
	"warning: another machine, seen as $LAB_HOME_PUBLIC4:[0-9]+, is registered as home too: .*keygen"
unlike "which has not warned of itself" "$(cat "$LAB_DIR/keep.err")" 'another machine'
# It registers again each minute, and when it has to connect anew.
meet_home_by 'reject with tcp reset'
wait_for_line 20 "$LAB_DIR/keep.err" 'Connection reset' || fail "home does not lose its connection"
lab_exec reflector nft delete table ip home
ok "and the first one of the second" wait_for_line 20 "$LAB_DIR/keep.err" \
	"warning: another machine, seen as $LAB_THIRD4:4000, is registered as home too"
meet_home_by 'tcp flags & fin == fin drop'
lab_kill keep KILL
look_up "$keys" home -f json
like "a death that the reflector does not hear of" "$found" '"held":true}$'
# Its old port is still busy with what the reflector does not answer.
register home -p 2200
is "home is started again" "$status" 0
unlike "and is no other machine" "$(cat "$LAB_DIR/register.err")" 'another machine'
lab_exec reflector nft delete table ip home

# ---- kill -9
# It was forgotten when its key was not in the file.
register work -u -p 5000
ok "the state file has work" wait_for 5 has_stored_udp work "$(sed 's/.* //' "$LAB_DIR/line")"
lost=0
for round in $(seq "$rounds"); do
	# One that stands, and one that may or may not have been written when the blow falls.
	register work -u -p $((7000 + round))
	stands=$(sed 's/.* //' "$LAB_DIR/line")
	wait_for 5 has_stored_udp work "$stands" || fail "round $round: not written"
	register work -u -p $((8000 + round))
	newer=$(sed 's/.* //' "$LAB_DIR/line")
	random 40
	wait_for "0.$((10 + drawn))" false || :
	lab_kill reflect KILL
	start_reflector
	look_up "$keys" work -u -f '%p'
	case $found in
	"$stands" | "$newer") ;;
	*)
		lost=$((lost + 1))
		diag "round $round: $stands stood, $newer was told, '$found' is known"
		;;
	esac
	[ ! -e "$state.damaged" ] || lost=$((lost + 1))
done
is "$rounds times killed: what stood or what came after, never less" "$lost" 0
lab_kill reflect TERM
has_stored_udp work "$found" && pass "SIGTERM writes what is known" || fail "SIGTERM writes what is known"
ok "the state is its owner's alone" sh -c "ls -l '$state' | grep -q '^-rw-------'"
sed -i 's/ tcp / udp /' "$state"
start_reflector
like "a damaged state is told" "$(cat "$LAB_DIR/reflect.err")" 'state is damaged \(its checksum does not match\)'
ok "and set aside" test -e "$state.damaged"
look_up "$keys" home
is "and not half believed" "$status" 1
lab_kill reflect TERM

# ---- the command line
while read -r want arguments; do
	# shellcheck disable=SC2086
	"$natpunch" $arguments >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	is "$arguments: exit $want" $? "$want"
	is "$arguments: nothing on standard output" "$(cat "$LAB_DIR/out")" ""
done <<END
2 keygen
2 keygen Home
2 keygen a b
2 lookup home
2 lookup -r 127.0.0.1 home
2 lookup -K $keys home
2 lookup -r 127.0.0.1 -K $keys
2 lookup -r 127.0.0.1 -K $keys Home
2 lookup -4 -6 -r 127.0.0.1 -K $keys home
2 lookup -f x -r 127.0.0.1 -K $keys home
3 lookup -r 127.0.0.1 -K $keys elsewhere
3 lookup -r 127.0.0.1 -K $keys.none home
2 probe -r 127.0.0.1 -n home
2 probe -r 127.0.0.1 -K $keys
2 probe -r 127.0.0.1 -n Home -K $keys
3 probe -r 127.0.0.1 -n elsewhere -K $keys
2 reflect -S $state
3 reflect -K $keys.none
END
NATPUNCH_REFLECTOR='' "$natpunch" probe -n home -K "$keys" 2>"$LAB_DIR/err"
is "probe -n without a reflector: exit 2" $? 2

done_testing
