#!/bin/sh
# Without --to, home hands an initiator's connection over to the address that sshd listens on at that
# moment, also on a machine that does not know the name "localhost".

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss ssh

# ADDRESS: sshd at home listens on this one alone.
sshd_on()
{
	lab_sshd_stop
	sed "s/^ListenAddress 0.*/ListenAddress $1:22/; /^ListenAddress \[::\]/d" \
		"$LAB_DIR/sshd_config.all" >"$LAB_DIR/sshd_config"
	lab_spawn sshd home sh "$LAB_DIR/sshd.sh"
	wait_for_line 30 "$LAB_SSHD_LOG" '^Server listening on ' || bail "sshd does not start"
}

# NAME ADDRESS: a session gets in, and sshd sees it come from there.
try()
{
	is "$1: ssh" "$(road_ssh echo well)" well
	like "$1: sshd is asked from there" "$(cat "$LAB_SSHD_LOG")" \
		"^Accepted publickey for root from $2 port "
}

export LAB_DELAY=0
lab_start port-restricted port-restricted
cp "$LAB_DIR/sshd_config" "$LAB_DIR/sshd_config.all"
echo "$LAB_REFLECTOR4 reflector.example.org" >"$LAB_DIR/hosts"
road_files
echo "    ConnectTimeout 25" >>"$LAB_DIR/ssh_config"
road_reflect

sshd_on "$LAB_HOME4"
lab_spawn keep home sh "$LAB_DIR/named" "$natpunch" probe -k -v -4 -r "$LAB_REFLECTOR4" \
	-n home -K "$LAB_DIR/home.key"
wait_for_line 20 "$LAB_DIR/keep.err" 'home is registered' || bail "home is not registered"
try "the address of the LAN" "$LAB_HOME4"
sshd_on 127.0.0.2
try "moved to another of the loopback" '127\.0\.0\.[12]'
sshd_on '[::1]'
try "moved to IPv6" ::1
sshd_on 0.0.0.0
try "moved to all of IPv4" 127.0.0.1
lab_sshd_stop
isnt "without a server: no session" "$(road_ssh echo well 2>/dev/null)" well
ok "without a server: home says so" wait_for_line 5 "$LAB_DIR/keep.err" \
	'cannot hand over: nothing listens on port 22$'
lab_kill keep

done_testing
