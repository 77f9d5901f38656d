#!/bin/sh
# Each method with exactly the capabilities that it needs, as a user who has no
# other, and with one of them missing: exit 3, the reason, and what to grant.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack setpriv setcap sshd nc.openbsd ss

nobody=65534
lab_start port-restricted
lab_spawn reflect reflector "$lab_top/natpunch" reflect
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
# Where a user who is not root may get at it.
chmod 755 "$LAB_DIR"
natpunch=$LAB_DIR/natpunch
cp "$lab_top/natpunch" "$natpunch"

# CAPABILITIES ARG...: probes with these, as ",+net_admin,+net_raw", and no others.
probe_with()
{
	capabilities=-all$1
	shift
	lab_exec home setpriv --reuid $nobody --regid $nobody --clear-groups \
		--bounding-set "$capabilities" --inh-caps "$capabilities" --ambient-caps "$capabilities" \
		"$natpunch" probe -v -f '%m %a %p' -r "$LAB_REFLECTOR4" "$@" \
		>"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	line=$(cat "$LAB_DIR/out")
}

# NAME CAPABILITIES LINE ARG...
can()
{
	name=$1 wanted=$3 capabilities=$2
	shift 3
	probe_with "$capabilities" "$@"
	is "$name" "$line" "$wanted"
	is "$name: exit 0" "$status" 0
}

# NAME CAPABILITIES GRANT ARG...: GRANT is what the hint says to grant.
cannot()
{
	name=$1 wanted=$3 capabilities=$2
	shift 3
	probe_with "$capabilities" "$@"
	is "$name: exit 3" "$status" 3
	is "$name: no line" "$line" ""
	like "$name: the reason" "$(cat "$LAB_DIR/err")" '^natpunch probe: cannot .*: (Permission denied|Operation not permitted|Address already in use)$'
	like "$name: the hint" "$(cat "$LAB_DIR/err")" "^hint: .*$wanted\$|^$wanted\$"
}

bind=,+net_bind_service
admin=,+net_admin
raw=,+net_raw
public=$LAB_HOME_PUBLIC4

can "bind, a free port from 1024 on: nothing" "" "bind $public 2222" -m bind -p 2222
can "bind, a free port below: net_bind_service" $bind "bind $public 222" -m bind -p 222
cannot "bind, without it" $admin$raw ': setcap cap_net_bind_service\+ep '"$natpunch" -m bind -p 222
cannot "bind, a port that is held: no capability helps" $bind$admin$raw \
	'another process holds it; use another method: -m auto' -m bind

can "repair, from 1024 on: net_admin" $admin "repair $public 2222" -m repair -p 2222
can "repair, below: both" $admin$bind "repair $public 22" -m repair
cannot "repair, without net_admin" $bind$raw \
	': setcap cap_net_admin,cap_net_bind_service\+ep '"$natpunch" -m repair
cannot "repair, below, without net_bind_service" $admin$raw \
	': setcap cap_net_admin,cap_net_bind_service\+ep '"$natpunch" -m repair
cannot "repair, from 1024 on, without net_admin" $bind$raw \
	': setcap cap_net_admin\+ep '"$natpunch" -m repair -p 2222

can "rewrite: net_admin" $admin "rewrite $public 22" -m rewrite
can "rewrite, UDP: net_admin" $admin "rewrite $public 22" -m rewrite -u
cannot "rewrite, without it" $bind$raw ': setcap cap_net_admin\+ep '"$natpunch" -m rewrite
cannot "rewrite, UDP, without it" $bind$raw ': setcap cap_net_admin\+ep '"$natpunch" -m rewrite -u

can "raw: net_raw" $raw "raw $public 22" -m raw
can "raw, UDP: net_raw" $raw "raw $public 22" -m raw -u
cannot "raw, without it" $bind$admin ': setcap cap_net_raw\+ep '"$natpunch" -m raw
cannot "raw, UDP, without it" $bind$admin ': setcap cap_net_raw\+ep '"$natpunch" -m raw -u
can "auto, only net_raw" $raw "raw $public 22"

can "auto: what the hint says to grant suffices" $admin$raw "rewrite $public 22"
like "auto: and -v says why not bind" "$(cat "$LAB_DIR/err")" \
	'^natpunch probe: method bind passed over: cannot bind port 22: Permission denied$'
like "auto: and why not repair" "$(cat "$LAB_DIR/err")" \
	'^natpunch probe: method repair passed over: cannot share port 22: Permission denied$'
can "auto, from 1024 on: nothing" "" "bind $public 2222" -p 2222
cannot "auto, without any" "" \
	'another process holds it; run as root, or: setcap cap_net_admin,cap_net_bind_service\+ep '"$natpunch"
cannot "auto, a free port, without any" "" \
	'hint: run as root, or: setcap cap_net_bind_service\+ep '"$natpunch" -p 222

# check -u beside a daemon takes raw packets.
lab_spawn daemon home nc.openbsd -u -l -n 0.0.0.0 5022
daemon_is_there()
{
	[ -n "$(lab_exec home ss -lunH 'sport = :5022')" ]
}
wait_for 5 daemon_is_there || bail 'no daemon'
lab_exec home setpriv --reuid $nobody --regid $nobody --clear-groups --bounding-set -all \
	"$natpunch" check -u -p 5022 -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "check -u, without any: exit 3" $? 3
like "check -u, without any: the hint" "$(cat "$LAB_DIR/err")" \
	'^hint: another process holds it; run as root, or: setcap cap_net_raw\+ep '"$natpunch\$"
lab_kill daemon

# The hint to the letter, which the README has as well.
probe_with ""
grant=$(sed -n 's/^hint: .* or: setcap //p' "$LAB_DIR/err")
# shellcheck disable=SC2086 # words for setcap
setcap $grant || bail "setcap"
like "the README: the same capabilities" "$(cat "$lab_top/README.md")" \
	"\`setcap $(echo "${grant%% *}" | sed 's/+/\\+/') /usr/local/bin/natpunch\`"
is "setcap as the hint says" "$(lab_exec home setpriv --reuid $nobody --regid $nobody \
	--clear-groups "$natpunch" probe -f '%m %a %p' -r "$LAB_REFLECTOR4" 2>/dev/null)" \
	"repair $public 22"
setcap -r "$natpunch"

# Root may look into other processes, and so knows the name.
lab_exec home setpriv --bounding-set -net_admin,-net_raw,-net_bind_service \
	"$natpunch" probe -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/err"
is "root without capabilities for the network: exit 3" $? 3
like "root: who holds the port" "$(cat "$LAB_DIR/err")" "^hint: sshd \\(pid $LAB_SSHD_PID\\) holds it; "
like "root: what is missing, and where it was taken" "$(cat "$LAB_DIR/err")" \
	"; root lacks cap_net_admin,cap_net_bind_service here: .*container.*CapabilityBoundingSet"
is "nobody left a rule" "$(lab_exec home nft list ruleset)" ""
done_testing
