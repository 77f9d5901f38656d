#!/bin/sh
# From the road: ssh, scp, sftp, rsync and git through natpunch connect, between two NATs that let
# no stranger in, with sshd on port 22 all the time. What is looked at is what the NATs, the wire
# and sshd know.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss tcpdump ssh scp sftp rsync git

# Runs something of ssh's family at the laptop, with the road's configuration.
laptop()
{
	lab_exec laptop env GIT_SSH_COMMAND="ssh -F $LAB_DIR/ssh_config" GIT_CONFIG_NOSYSTEM=1 \
		HOME="$LAB_DIR" "$@" </dev/null
}

# The source that sshd saw last.
seen_by_sshd()
{
	sed -n 's/^Accepted publickey for root from \([0-9a-f.:]*\) port .*/\1/p' "$1" | tail -n 1
}

# What home's outermost NAT knows of a connection of port 22 to the laptop, and its state.
through_nat()
{
	lab_exec "$(lab_outer_nat home)" conntrack -L -p tcp --sport 22 -d "$LAB_LAPTOP_PUBLIC4" 2>/dev/null
}

reflector_packets()
{
	lab_captured reflector "host $LAB_LAPTOP_PUBLIC4" | wc -l
}

# Is the count of packets the same as a tenth of a second ago?
quiet()
{
	before=${after:-none}
	after=$(reflector_packets)
	[ "$before" = "$after" ]
}

milliseconds()
{
	echo $(($(date +%s%N) / 1000000))
}

umask 022
LAB_DELAY=20
lab_start port-restricted port-restricted
road_start -i 25

# ---- how long it takes

# The reflector is 40 ms away from both, there and back; home is 80 ms away from the laptop.
times=
for _ in 1 2 3 4 5; do
	answer=$(road_banner)
	like 'sshd greets' "$answer" '^[0-9]+ SSH-2\.0-OpenSSH'
	times="$times ${answer%% *}"
done
# shellcheck disable=SC2086 # a list
median=$(printf '%s\n' $times | sort -n | sed -n 3p)
diag "from connect's start to sshd's first line:$times ms; the round trip is 80 ms"
# The rest is processes that start. A SYN sent again would add a second.
between 'it takes three round trips and no retransmission' "$median" 160 900
like 'it says what it does' "$(cat "$LAB_DIR/banner.err")" \
	"^natpunch connect: home is at $LAB_HOME_PUBLIC4:22 and is told to connect to us\$"
like 'and how it went' "$(cat "$LAB_DIR/banner.err")" \
	"^natpunch connect: connected to $LAB_HOME_PUBLIC4:22 at try [0-9]+\$"
like 'home says who came' "$(cat "$LAB_DIR/keep.err")" \
	"$LAB_LAPTOP_PUBLIC4:[0-9]+ is through, at try [0-9]+\$"

# ---- ssh

is 'ssh runs a command' "$(road_ssh echo well)" well
is 'its standard input and output are whole' "$(head -c 300000 /dev/zero | lab_exec laptop \
	ssh -F "$LAB_DIR/ssh_config" home cat | cksum)" "$(head -c 300000 /dev/zero | cksum)"
road_ssh exit 3
is 'its exit status is passed on' $? 3
like 'stdout carried the session alone' "$(lab_exec laptop "$natpunch" connect -q -r "$ROAD_ADDR" \
	-K "$LAB_DIR/home.key" home </dev/null 2>&1 | head -n 1)" '^SSH-2\.0-'
like "home's NAT holds a connection from port 22 to the laptop" "$(through_nat)" \
	"src=$LAB_HOME4 dst=$LAB_LAPTOP_PUBLIC4 sport=22 .*src=$LAB_LAPTOP_PUBLIC4 dst=$LAB_HOME_PUBLIC4"
unlike 'and none that was let in as a stranger' "$(lab_exec "$(lab_outer_nat home)" \
	conntrack -L -p tcp --orig-src "$LAB_LAPTOP_PUBLIC4" 2>/dev/null)" ESTABLISHED

# ---- the rest of the family, and 10 MB

head -c 10485760 /dev/urandom >"$LAB_DIR/ten"
laptop scp -q -F "$LAB_DIR/ssh_config" "$LAB_DIR/ten" "home:$LAB_DIR/ten.up"
is 'scp: 10 MB up' "$(cksum <"$LAB_DIR/ten.up")" "$(cksum <"$LAB_DIR/ten")"
laptop scp -q -F "$LAB_DIR/ssh_config" "home:$LAB_DIR/ten" "$LAB_DIR/ten.down"
is 'scp: 10 MB down' "$(cksum <"$LAB_DIR/ten.down")" "$(cksum <"$LAB_DIR/ten")"
echo "get $LAB_DIR/ten $LAB_DIR/ten.sftp" >"$LAB_DIR/batch"
laptop sftp -q -F "$LAB_DIR/ssh_config" -b "$LAB_DIR/batch" home >/dev/null
is 'sftp' "$(cksum <"$LAB_DIR/ten.sftp")" "$(cksum <"$LAB_DIR/ten")"
mkdir "$LAB_DIR/tree"
printf 'one\n' >"$LAB_DIR/tree/one"
laptop rsync -a -e "ssh -F $LAB_DIR/ssh_config" "$LAB_DIR/tree/" "home:$LAB_DIR/copy/"
is 'rsync' "$(cat "$LAB_DIR/copy/one")" one
git init -q "$LAB_DIR/tree" 2>/dev/null
git -C "$LAB_DIR/tree" add one
git -C "$LAB_DIR/tree" -c user.name=lab -c user.email=lab@lab commit -q -m one
laptop git clone -q "home:$LAB_DIR/tree" "$LAB_DIR/clone"
is 'git' "$(cat "$LAB_DIR/clone/one")" one

# ---- nothing by way of the reflector

lab_capture reflector reflector eth0 'tcp port 3478 or udp port 3478'
mkfifo "$LAB_DIR/go"
lab_spawn session laptop ssh -F "$LAB_DIR/ssh_config" home \
	"echo begun; cat '$LAB_DIR/go' >/dev/null; cat '$LAB_DIR/ten'"
ok 'a session has begun' wait_for_line 20 "$LAB_DIR/session.out" '^begun$'
after=
ok 'the laptop is done with the reflector' wait_for 5 quiet
count=$(reflector_packets)
between 'packets between the laptop and the reflector to punch' "$count" 1 40
echo >"$LAB_DIR/go"
session_over()
{
	! lab_alive session
}
ok '10 MB come' wait_for 30 session_over
is 'all of them' "$(tail -c 10485760 "$LAB_DIR/session.out" | cksum)" "$(cksum <"$LAB_DIR/ten")"
is 'and no packet of it passed the reflector' "$(reflector_packets)" "$count"
lab_kill reflector

# ---- who sshd thinks is there

isnt 'spliced to sshd on port 22, it sees the loopback' "$(seen_by_sshd "$LAB_SSHD_LOG")" \
	"$LAB_LAPTOP_PUBLIC4"
lab_kill keep
lab_sshd_stop
# Its mounts are needed here too; probe is in place of sshd, and begins one for each connection.
sed "\$s|.*|exec $natpunch probe -k -v -r $LAB_REFLECTOR4 -n home -K $LAB_DIR/home.key \
	-- /usr/sbin/sshd -i -E $LAB_DIR/sshd-i.log -f $LAB_DIR/sshd_config|" \
	"$LAB_DIR/sshd.sh" >"$LAB_DIR/sshd-i.sh"
lab_spawn keep home sh "$LAB_DIR/sshd-i.sh"
ok 'home is kept with sshd -i' wait_for_line 10 "$LAB_DIR/keep.err" 'home is registered'
is 'ssh to it' "$(road_ssh echo well)" well
is "it sees the laptop's public address" "$(seen_by_sshd "$LAB_DIR/sshd-i.log")" \
	"$LAB_LAPTOP_PUBLIC4"
lab_kill keep
lab_sshd_start
road_keep
is 'and back to sshd on port 22' "$(road_ssh echo well)" well

# ---- the rate, beside plain TCP over the same path

lab_exec home-router nft add table ip forward
lab_exec home-router nft add chain ip forward in '{ type nat hook prerouting priority -110; }'
lab_exec home-router nft add rule ip forward in iifname wan tcp dport 2222 dnat to "$LAB_HOME4:22"
plain()
{
	lab_exec laptop scp -q -F none -P 2222 -i "$LAB_DIR/user_key" -o HostKeyAlias=home \
		-o UserKnownHostsFile="$LAB_DIR/known_hosts" -o GlobalKnownHostsFile=none \
		-o BatchMode=yes "root@$LAB_HOME_PUBLIC4:$LAB_DIR/ten" "$LAB_DIR/ten.plain"
}
began=$(milliseconds)
ok 'plain scp by a forwarded port' plain
between=$(milliseconds)
laptop scp -q -F "$LAB_DIR/ssh_config" "home:$LAB_DIR/ten" "$LAB_DIR/ten.down"
ended=$(milliseconds)
diag "10 MB by scp: plain $((between - began)) ms, punched $((ended - between)) ms"
between 'as fast as plain TCP, the half at least' $((ended - between)) 1 $((2 * (between - began) + 1000))

# ---- what --ssh-config prints is what works

(cd "$LAB_DIR" && "$natpunch" connect --ssh-config -r "$LAB_REFLECTOR4" -K home.key home) \
	>"$LAB_DIR/printed"
sed "s|ProxyCommand natpunch|ProxyCommand $natpunch|; s|HostKeyAlias.*|&\n    User root|" \
	"$LAB_DIR/printed" >"$LAB_DIR/printed_config"
is 'the printed configuration works' "$(lab_exec laptop ssh -F "$LAB_DIR/printed_config" \
	-i "$LAB_DIR/user_key" -o UserKnownHostsFile="$LAB_DIR/known_hosts" -o BatchMode=yes \
	-o GlobalKnownHostsFile=none home echo well </dev/null 2>&1)" well
like 'other options go with it' "$("$natpunch" connect --ssh-config -4 -t 2.5 \
	-r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home)" ' connect -4 -t 2\.500 -r '
is 'without the key nothing is printed' "$("$natpunch" connect --ssh-config \
	-r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" other 2>"$LAB_DIR/other.err")" ''
like 'but the reason' "$(cat "$LAB_DIR/other.err")" 'home\.key has no key for other'
ok 'sshd lived through all of it' lab_alive sshd

done_testing
