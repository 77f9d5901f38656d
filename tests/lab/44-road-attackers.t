#!/bin/sh
# Those who want to use somebody else's name to connect, or to make a home connect: without the key,
# with another name's key, with what they caught on the path. None learns where home is, none makes
# it send a packet, and none keeps the owner out.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack tcpdump nc.openbsd od ssh

# What tcpdump -x prints, as a line of hex for each TCP payload that is not empty: "FROM TO HEX",
# where FROM and TO are ADDR.PORT.
payloads()
{
	awk '
	function digit(c) { return index("0123456789abcdef", c) - 1 }
	function flush(at) {
		if (hex == "")
			return
		at = 4 * digit(substr(hex, 2, 1))
		at += 4 * digit(substr(hex, 2 * at + 25, 1))
		if (length(hex) > 2 * at)
			print from, to, substr(hex, 2 * at + 1)
		hex = ""
	}
	/^[0-9]/ { flush(); from = $3; to = $5; sub(/:$/, "", to) }
	/^\t0x/ { for (i = 2; i <= NF; i++) hex = hex $i }
	END { flush() }'
}

# HEX: the bytes. In octal, which is all that printf of every shell knows.
bytes()
{
	# shellcheck disable=SC2059 # that is what it is for
	printf "$(echo "$1" | sed 's/../&\n/g' | awk 'BEGIN { d = "0123456789abcdef" } length($0) == 2 {
		printf "\\%03o", 16 * (index(d, substr($0, 1, 1)) - 1) + index(d, substr($0, 2, 1)) - 1 }')"
}

# NS HEX [OPTION...]: sends the bytes to the reflector over TCP, prints what it answers in hex.
replay()
{
	replay_ns=$1
	replay_hex=$2
	shift 2
	bytes "$replay_hex" | lab_exec "$replay_ns" nc.openbsd -w 1 "$@" "$LAB_REFLECTOR4" 3478 |
		od -An -v -tx1 | tr -d ' \n'
}

# TEXT: as hex.
hex()
{
	printf %s "$1" | od -An -v -tx1 | tr -d ' \n'
}

# FILE NAME: asks to be connected, from the stranger's host; sets status, said.
steal()
{
	lab_exec third "$natpunch" connect -v -t 3 -r "$LAB_REFLECTOR4" -K "$1" "$2" </dev/null \
		>"$LAB_DIR/steal.out" 2>"$LAB_DIR/steal.err"
	status=$?
	said=$(cat "$LAB_DIR/steal.err")
}

# How often home was sent somewhere, and how many SYNs it sent anywhere but to the reflector.
invitations()
{
	grep -c 'wants to come in' "$LAB_DIR/keep.err"
}

syns()
{
	lab_captured home "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and src $LAB_HOME4 and not \
		dst $LAB_REFLECTOR4" | wc -l
}

unmoved()
{
	is "$1: home was not sent anywhere" "$(invitations)" "$invited"
	is "$1: and sent nothing" "$(syns)" "$sent"
}

umask 077
lab_start port-restricted port-restricted
"$natpunch" keygen mallory >"$LAB_DIR/mallory.key"
"$natpunch" keygen home >"$LAB_DIR/guess.key"
sed 's/^mallory /home /' "$LAB_DIR/mallory.key" >"$LAB_DIR/borrowed.key"
"$natpunch" keygen nobody >"$LAB_DIR/nobody.key"
ROAD_KEYS=$LAB_DIR/mallory.key
road_start -i 25
lab_capture home home eth0 tcp
lab_capture path internet laptop "host $LAB_REFLECTOR4"
is 'the owner comes in' "$(road_ssh echo well)" well
invited=$(invitations)
sent=$(syns)
between 'home was invited' "$invited" 1 1
between 'and followed' "$sent" 1 100

# ---- who has no key, or another one

steal "$LAB_DIR/guess.key" home
is 'a key made up' "$status" 1
like 'it is refused' "$said" 'refuses the key for'
answer_wrong=$(echo "$said" | tail -n 2)
unmoved 'a key made up'
steal "$LAB_DIR/borrowed.key" home
is "another name's key" "$status" 3
like 'it is noticed at once' "$said" 'damaged, or the key of another name'
unmoved "another name's key"
steal "$LAB_DIR/nobody.key" nobody
is 'a name that there is not' "$status" 1
is 'says the same as a wrong key: who has none learns no names' \
	"$(echo "$said" | tail -n 2 | sed 's/nobody/home/')" \
	"$answer_wrong"
steal "$LAB_DIR/mallory.key" mallory
is 'a name of his own' "$status" 1
like 'it is known, and nobody is there' "$said" 'knows no address of '
unmoved 'a name of his own'
is 'no try wrote to stdout' "$(cat "$LAB_DIR/steal.out")" ''
unlike "none was told home's address" "$said$answer_wrong" "$LAB_HOME_PUBLIC4"

# ---- who was on the path

lab_captured path -x tcp | payloads >"$LAB_DIR/payloads"
# CONNECT is method 0x0e3; types are 02c3, and 03c3 for a success (RFC 8489 section 5).
request=$(awk '{ print $3 }' "$LAB_DIR/payloads" | grep '^02c3' | head -n 1)
answer=$(awk '{ print $3 }' "$LAB_DIR/payloads" | grep '^03c3' | head -n 1)
like 'a request was caught' "$request" "$(hex home)"
like 'and an answer' "$answer" '^[0-9a-f]{80,}$'
home_hex=$(echo "$LAB_HOME_PUBLIC4" | awk -F. '{ printf "%02x%02x%02x%02x", $1, $2, $3, $4 }')
unlike "the answer does not show home's address" "$answer" "$home_hex"
key_hex=$(hex "$(sed 's/.* //' "$LAB_DIR/home.key")")
unlike 'nor does the request show the key' "$request" "$key_hex"

# Sent again: from elsewhere, and from where it came from.
again=$(replay third "$request")
like 'sent again from elsewhere: stale' "$again" '^03d3.*000900..00000426'
unmoved 'sent again from elsewhere'
again=$(replay laptop "$request")
like 'sent again from the same address: the nonce was used' "$again" '^03d3.*000900..00000426'
unmoved 'sent again from the same address'

# Changed by a bit: in the header, the name, the nonce and the proof.
for at in 1 20 22 30 60 90 120; do
	changed=$(echo "$request" | awk -v at="$at" 'BEGIN { d = "0123456789abcdef" } {
		c = index(d, substr($0, 2 * at + 2, 1)) - 1
		c = (c % 2) ? c - 1 : c + 1
		print substr($0, 1, 2 * at + 1) substr(d, c + 1, 1) substr($0, 2 * at + 3) }')
	unlike "changed at byte $at: no success" "$(replay laptop "$changed")" '^03c3'
done
unmoved 'changed requests'

# An answer sent to an initiator by somebody else in the reflector's place.
cat >"$LAB_DIR/liar.sh" <<END
exec nc.openbsd -l -p 3478 <"$LAB_DIR/answer" >"$LAB_DIR/liar.in"
END
bytes "$answer" >"$LAB_DIR/answer"
lab_spawn liar third sh "$LAB_DIR/liar.sh"
lab_listens()
{
	[ -n "$(lab_exec third ss -ltnH 'sport = :3478')" ]
}
ok 'a false reflector listens' wait_for 5 lab_listens
lab_exec laptop "$natpunch" connect -v -t 3 -r "$LAB_THIRD4" -K "$LAB_DIR/home.key" home </dev/null \
	>"$LAB_DIR/lied.out" 2>"$LAB_DIR/lied.err"
isnt 'an old answer from a false reflector is not believed' $? 0
unlike 'nobody is connected to' "$(cat "$LAB_DIR/lied.err")" 'is told to connect|connected to'
lab_kill liar

# ---- the invitation on the path of home

# INVITE is method 0x0e5, an indication: 02d5.
invitation=$(lab_captured home -x "src $LAB_REFLECTOR4" | payloads | awk '{ print $3 }' |
	grep '^02d5' | head -n 1)
laptop_hex=$(echo "$LAB_LAPTOP_PUBLIC4" | awk -F. '{ printf "%02x%02x%02x%02x", $1, $2, $3, $4 }')
like 'an invitation was caught' "$invitation" '^[0-9a-f]{100,}$'
unlike 'it does not show who comes' "$invitation" "$laptop_hex"

is 'after all that the owner comes in' "$(road_ssh echo well)" well
is 'by an invitation of his own' "$(invitations)" $((invited + 1))
ok 'and the reflector lives' lab_alive reflect
done_testing
