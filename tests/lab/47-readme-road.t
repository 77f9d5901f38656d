#!/bin/sh
# The section "By a name" of README.md: its commands, as they stand there, on three machines.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ssh

# The Nth block of the section's commands.
block()
{
	awk -v want="$1" '
		/^## / { inside = /By a name/ }
		inside && /```sh/ { n++; code = 1; next }
		/```/ { code = 0 }
		inside && code && n == want { sub(/^ */, ""); print }' "$lab_top/README.md"
}

# N: the block's command, with the names and paths that hold here.
command_of()
{
	block "$1" | sed "s|reflector\.example\.org|$LAB_REFLECTOR4|; s|natpunch\.key|$LAB_DIR/natpunch.key|;
		s|~/\.ssh/config|$LAB_DIR/config|"
}

umask 022
PATH=$lab_top:$PATH
lab_start port-restricted port-restricted
like 'the first step makes a key' "$(command_of 1)" 'keygen home'
lab_exec reflector sh -c "$(command_of 1)"
like 'the second starts a reflector' "$(command_of 2)" 'natpunch reflect -K'
lab_spawn reflect reflector sh -c "exec $(command_of 2)"
ok 'it is ready' wait_for_line 5 "$LAB_DIR/reflect.err" ready
like 'the third keeps a mapping at home' "$(command_of 3)" 'probe -k .*-n home'
lab_spawn keep home sh -c "exec $(command_of 3) -v"
ok 'home is registered' wait_for_line 10 "$LAB_DIR/keep.err" 'home is registered'
like 'the fourth writes what ssh needs' "$(command_of 4)" 'connect --ssh-config'
lab_exec laptop sh -c "$(command_of 4)"
like 'it is there' "$(cat "$LAB_DIR/config")" 'ProxyCommand natpunch connect '
is 'the fifth is ssh' "$(block 5)" 'ssh home'
is 'and it leads home' "$(lab_exec laptop ssh -F "$LAB_DIR/config" -l root \
	-i "$LAB_DIR/user_key" -o UserKnownHostsFile="$LAB_DIR/known_hosts" \
	-o GlobalKnownHostsFile=none -o BatchMode=yes home echo well </dev/null)" well
done_testing
