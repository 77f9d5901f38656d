#!/bin/sh
# A NAT that gives the next port to each destination: what comes next is predicted, and the other side
# goes there. Directly, by what the NATs and the laptop's kernel know, where it was a relay before;
# also when somebody else takes the port that was predicted; by a relay when it is too many. How many
# ports are tried, and what those get who send again what they heard.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
# shellcheck source=tests/lab/payload.sh
. "$(dirname "$0")/payload.sh"
need ip nft conntrack tcpdump nc.openbsd od perl ss ssh

# Sends datagrams from home, each to another port of somebody, so that each takes a port of the NAT:
# so many as soon as home has predicted its own.
# shellcheck disable=SC2016 # perl's
taker='
use Socket;
my ($said, $address, $count) = @ARGV;
open(my $lines, "<", $said) or die;
seek($lines, 0, 2);
socket(my $out, PF_INET, SOCK_DGRAM, 0) or die;
syswrite(STDOUT, "ready\n");
for (1 .. 5000) {
	while (<$lines>) {
		next unless /our next port is/;
		send($out, "x", 0, sockaddr_in(9000 + 100 * $count + $_, inet_aton($address)))
			for 1 .. $count;
		exit 0;
	}
	select(undef, undef, undef, 0.005);
	seek($lines, 0, 1);
}
exit 1'

# N: ssh, while so many others get a port between what home predicted and what it does.
ssh_beside()
{
	: >"$LAB_DIR/connect.err"
	lab_spawn taker home perl -e "$taker" "$LAB_DIR/keep.err" "$LAB_THIRD4" "$1"
	wait_for_line 5 "$LAB_DIR/taker.out" ready
	is "beside $1 others: a session comes" "$(road_ssh echo through)" through
	lab_kill taker
	is 'they had their ports' $? 0
}

connected_to()
{
	sed -n "s/.*connected to $LAB_HOME_PUBLIC4:\([0-9]*\) at try.*/\1/p" "$LAB_DIR/connect.err"
}

predicted()
{
	sed -n "s/.*home's next port is \([0-9]*\), .*/\1/p" "$LAB_DIR/connect.err"
}

# Ports of home that the laptop sent a SYN to.
ports_tried()
{
	lab_captured syns | sed 's/.* > [0-9.]*\.\([0-9]*\): .*/\1/' | sort -un
}

umask 022

# ---- without a second address there is no prediction

LAB_DELAY=150 LAB_LAPTOP_DELAY=10
lab_start symmetric-step port-restricted
ROAD_REFLECT=
# shellcheck disable=SC2119 # no further arguments of probe
road_start
road_connect </dev/null >/dev/null 2>"$LAB_DIR/err"
is 'a reflector with one address: no way' $? 5
unlike 'nor is one predicted' "$(cat "$LAB_DIR/err")" 'next port'
lab_kill keep
lab_kill reflect

# ---- with one

ROAD_REFLECT="--relay -a $LAB_REFLECTOR_B4"
road_reflect
# shellcheck disable=SC2119
road_keep
lab_capture syns internet home "src $LAB_LAPTOP_PUBLIC4 and dst $LAB_HOME_PUBLIC4 and
	tcp[tcpflags] & (tcp-syn | tcp-ack) == tcp-syn"
lab_capture asked reflector any "tcp port 3479 and tcp[tcpflags] & (tcp-syn | tcp-ack) == tcp-syn"
lab_capture heard internet any "tcp port 3478 and (host $LAB_HOME_PUBLIC4 or host $LAB_LAPTOP_PUBLIC4)"
mkfifo "$LAB_DIR/go"
: >"$LAB_DIR/connect.err"
lab_spawn session laptop ssh -F "$LAB_DIR/ssh_config" home "echo begun; cat '$LAB_DIR/go' >/dev/null"
ok 'with two: a session comes' wait_for_line 20 "$LAB_DIR/session.out" '^begun$'
port=$(connected_to)
is 'to the port that home predicted' "$port" "$(predicted)"
like "home's NAT has it at that port" "$(lab_exec home-router conntrack -L -p tcp \
	-d "$LAB_LAPTOP_PUBLIC4" 2>/dev/null | grep ESTABLISHED)" \
	"src=$LAB_HOME4 dst=$LAB_LAPTOP_PUBLIC4 sport=22 .*dst=$LAB_HOME_PUBLIC4 .*dport=$port .*ASSURED"
like 'the laptop is connected to it' "$(lab_exec laptop ss -Htn state established)" \
	"$LAB_HOME_PUBLIC4:$port"
unlike 'and not to the reflector' "$(lab_exec laptop ss -Htn state established)" ':3478'
echo >"$LAB_DIR/go"
between 'ports of home that were tried, the first one and a handful' "$(ports_tried | wc -l)" 2 6
is 'they are neighbours' "$(($(ports_tried | tail -n 1) - $(predicted)))" 4
between 'connections to the other places, of both' "$(lab_captured asked | wc -l)" 4 8

# ---- what was heard, once more

prediction=$(lab_captured heard -x | payloads | grep '^02d8' | tail -n 1)
invitation=$(lab_captured heard -x | payloads | grep 'c6ea0004' | tail -n 1)
like 'a prediction was heard' "$prediction" '^02d8'
isnt 'and an invitation with one' "$invitation" ''
said=$(grep -c 'looking what port' "$LAB_DIR/keep.err")
is 'said again by a stranger it gets no answer' "$(say third "$prediction")" ''
is 'nor from behind the NAT of home' "$(say home "$prediction")" ''
is 'nor does the invitation, which is for home' "$(say third "$invitation")" ''
is 'home did nothing on it' "$(grep -c 'looking what port' "$LAB_DIR/keep.err")" "$said"

# ---- others take what was predicted

ssh_beside 2
between 'the port is one of those behind the one predicted' $(($(connected_to) - $(predicted))) 1 4
ssh_beside 9
like 'nine are too many: by a relay' "$(cat "$LAB_DIR/connect.err")" 'connected by a relay'
is 'and the next one is direct again' "$(road_ssh echo well)" well
unlike 'by no relay' "$(cat "$LAB_DIR/connect.err")" 'connected by a relay'
done_testing
