#!/bin/sh
# Who gets the connections that come in through a kept mapping: sshd itself on
# its port, `-- sshd -i` on a port that is free, or another address by --to. A
# session that was opened through the mapping outlives what a TCP connection
# can outlive.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss

natpunch=$lab_top/natpunch

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# How sshd is started at home, with its own ideas of /run and /etc/shadow.
in_sshd_sandbox()
{
	sed "s|^exec .*|exec $1|" "$LAB_DIR/sshd.sh" >"$LAB_DIR/$2.sh"
}

line()
{
	tail -n 1 "$LAB_DIR/keep.out"
}

descriptors()
{
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

children()
{
	pgrep -P "$pid" | wc -l
}

# But for the one that begins the others.
no_children()
{
	[ "$(children)" -eq 1 ]
}

# A session over the mapping that answers each line with the same line.
open_session()
{
	mkfifo "$LAB_DIR/say"
	# shellcheck disable=SC2046
	set -- $(line)
	ip netns exec "$LAB-third" ssh -F none -p "$2" -i "$LAB_DIR/user_key" \
		-o UserKnownHostsFile="$LAB_DIR/known_hosts" -o GlobalKnownHostsFile=none \
		-o HostKeyAlias=home -o StrictHostKeyChecking=yes -o BatchMode=yes \
		-o IdentitiesOnly=yes -o ConnectTimeout=3 -o LogLevel=ERROR "root@$1" cat \
		<"$LAB_DIR/say" >"$LAB_DIR/heard" 2>"$LAB_DIR/session.err" &
	session=$!
	exec 9>"$LAB_DIR/say"
}

close_session()
{
	exec 9>&-
	wait "$session"
	is "$1: the session ends well" $? 0
	rm "$LAB_DIR/say"
}

# NAME WORD: is the session alive?
session_answers()
{
	echo "$2" >&9
	ok "$1" wait_for_line 15 "$LAB_DIR/heard" "^$2$"
}

faults()
{
	session_answers "$1: a session stands" first
	lab_kill reflect KILL
	session_answers "$1: while there is no reflector" second
	start_reflector 9>&-
	lab_line home 0 100
	lab_clock
	until=$((lab_now + 200))
	wait_for 4 over
	lab_line home 0 0
	session_answers "$1: after two seconds of loss" third
	lab_exec home ip link set eth0 down
	lab_exec home ip link set eth0 up
	lab_exec home ip route replace default via 192.168.1.1
	session_answers "$1: after the link was down" fourth
}

over()
{
	lab_clock
	[ "$lab_now" -ge "$until" ]
}

# NAME CLIENT: what sshd's log must name as the client.
try()
{
	ok "$1: a mapping is there" wait_for_line 8 "$LAB_DIR/keep.out" .
	before=$(descriptors)
	# shellcheck disable=SC2046,SC2016
	is "$1: a stranger logs in" "$(lab_ssh third $(line) 'echo in')" in
	like "$1: sshd names the client" "$(cat "$LAB_SSHD_LOG" "$LAB_DIR/keep.err")" \
		"Accepted publickey for root from $2 port"
	open_session
	faults "$1"
	close_session "$1"
	ok "$1: its children are gone" wait_for 5 no_children
	between "$1: and their descriptors" "$(descriptors)" 1 "$before"
	lab_kill keep
	is "$1: it ends well" $? 0
}

export LAB_DELAY=0
lab_start full-cone-port open
start_reflector

lab_spawn keep home "$natpunch" probe -k -v -i 1 -r "$LAB_REFLECTOR4"
pid=$LAB_PID
try "sshd itself" "$LAB_THIRD4"
like "sshd itself: said so" "$(cat "$LAB_DIR/keep.err")" 'sshd listens on port 22 itself; the mapping is kept, not verified \(-V\)$'
lab_sshd_stop

in_sshd_sandbox "\"$natpunch\" probe -k -v -i 1 -r $LAB_REFLECTOR4 -- /usr/sbin/sshd -i -e -f \"$LAB_DIR/sshd_config\"" inetd
lab_spawn keep home sh "$LAB_DIR/inetd.sh"
pid=$LAB_PID
try "-- sshd -i" "$LAB_THIRD4"

# sshd on another port of loopback; the port of the mapping is free.
in_sshd_sandbox "/usr/sbin/sshd -D -e -f \"$LAB_DIR/sshd_config\" -o ListenAddress=127.0.0.1:2022" elsewhere
sed '/^ListenAddress/d; /^Port/d' "$LAB_DIR/sshd_config" >"$LAB_DIR/sshd_config.new"
mv "$LAB_DIR/sshd_config.new" "$LAB_DIR/sshd_config"
lab_spawn sshd home sh "$LAB_DIR/elsewhere.sh"
wait_for_line 5 "$LAB_DIR/sshd.err" 'Server listening on 127.0.0.1 port 2022' || bail "sshd does not start"
lab_spawn keep home "$natpunch" probe -k -v -i 1 -r "$LAB_REFLECTOR4" --to 127.0.0.1:2022
pid=$LAB_PID
try "--to" 127.0.0.1

# As an unprivileged user with one capability, beside its own listener.
lab_spawn keep home setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +net_bind_service \
	--ambient-caps +net_bind_service "$natpunch" probe -k -v -i 1 -r "$LAB_REFLECTOR4" --to 127.0.0.1:2022
ok "as nobody: a mapping is there" wait_for_line 8 "$LAB_DIR/keep.out" .
# shellcheck disable=SC2046
is "as nobody: a stranger logs in" "$(lab_ssh third $(line) 'echo in')" in
lab_kill keep

# A target that is not there, and more connections than there may be.
lab_spawn keep home "$natpunch" probe -k -v -i 1 -r "$LAB_REFLECTOR4" --to 127.0.0.1:9
ok "a target that refuses: a mapping is there" wait_for_line 8 "$LAB_DIR/keep.out" .
# shellcheck disable=SC2046
nok "a target that refuses: the stranger is told" lab_ssh third $(line) true 2>/dev/null
ok "a target that refuses: the keeper lives" lab_alive keep
lab_kill keep

done_testing
