#!/bin/sh
# What `make install` installs, and whether systemd, OpenWrt's procd and the filter of system calls
# are content with it. Nothing is started.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need systemd-analyze strace shellcheck
# What `systemd-analyze security` of version 252 says, from 0 (safe) to 10. A tenth is for capset(2),
# by which the program gives up what the unit has to give it; systemd counts it as a privilege. Two
# tenths are for packet sockets, by which --verify sees what comes to this machine.
exposure_limit=1.9

[ -x natpunch ] || bail 'build it first: make'

make -s install DESTDIR="$lint_dir/package" PREFIX=/usr >"$lint_dir/told" 2>&1
is 'make install for a package' $? 0
none 'says nothing, as nothing is left to do here' "$(cat "$lint_dir/told")"
is 'what it installs' "$(cd "$lint_dir/package" && find . -type f ! -path '*/man/*' | sort)" \
	'./usr/bin/natpunch
./usr/lib/systemd/system/natpunch-probe@.service
./usr/lib/systemd/system/natpunch-reflect.service
./usr/lib/sysusers.d/natpunch.conf
./usr/share/bash-completion/completions/natpunch
./usr/share/fish/vendor_completions.d/natpunch.fish
./usr/share/natpunch/natpunch-probe-after.conf
./usr/share/natpunch/natpunch-probe-sshd.conf
./usr/share/natpunch/natpunch.init
./usr/share/zsh/site-functions/_natpunch'
is 'every page of the manual' "$(find "$lint_dir/package/usr/share/man" -type f | wc -l)" \
	"$(find man -name '*.[1-8]' | wc -l)"
none 'no file names another place' "$(grep -rlI /usr/local "$lint_dir/package")"
none 'nor the place of the package' "$(grep -rlI "$lint_dir" "$lint_dir/package")"

make -s install PREFIX="$lint_dir/here" >"$lint_dir/told" 2>&1
is 'make install for use' $? 0
like 'tells how the user is made' "$(cat "$lint_dir/told")" \
	" systemd-sysusers $lint_dir/here/lib/sysusers.d/natpunch.conf;"
like 'and that systemd has to read the units' "$(cat "$lint_dir/told")" '; systemctl daemon-reload$'
export SYSTEMD_UNIT_PATH="$lint_dir/here/lib/systemd/system:"
for unit in natpunch-reflect.service natpunch-probe@.service; do
	file=$lint_dir/here/lib/systemd/system/$unit
	like "$unit: its own path of the program" "$(grep ExecStart "$file")" \
		"^ExecStart=$lint_dir/here/bin/natpunch (reflect|probe -k) \\\$OPTIONS\$"
	none "$unit: systemd finds no fault" "$(systemd-analyze --man=no verify "$file" 2>&1)"
	between "$unit: exposure" "$(systemd-analyze --no-pager security --offline=true "$file" |
		sed -n 's/.*Overall exposure level.*: \([0-9.]*\).*/\1/p')" 0 "$exposure_limit"
done

# shellcheck disable=SC2016 # systemd's
like 'the reflector can be told to read its keys again' \
	"$(cat "$lint_dir/here/lib/systemd/system/natpunch-reflect.service")" '^ExecReload=.*-HUP \$MAINPID'

# shellcheck disable=SC2016 # systemd's
like 'and so can what keeps a mapping' \
	"$(cat "$lint_dir/here/lib/systemd/system/natpunch-probe@.service")" '^ExecReload=.*-HUP \$MAINPID'

# The drop-in must take back all that the unit forbids, or a login would find it out.
mkdir "$file.d"
cp "$lint_dir/here/share/natpunch/natpunch-probe-sshd.conf" "$file.d"
none 'the drop-in for sshd: systemd finds no fault' \
	"$(systemd-analyze --man=no verify "$file" 2>&1)"
cp "$lint_dir/here/share/natpunch/natpunch-probe-after.conf" "$file.d"
none 'the drop-in for an order: systemd finds no fault' \
	"$(systemd-analyze --man=no verify "$file" 2>&1)"
rows()
{
	sed -n '/^\[Service\]/,/^\[Install\]/s/^\([A-Z][A-Za-z]*\)=.*/\1/p' "$1" | sort -u
}
needless='User|Type|NotifyAccess|EnvironmentFile|ExecStart|ExecReload|Restart.*|WatchdogSec|KillMode|StateDirectory'
rows "$file" | grep -vxE "$needless|SystemCallErrorNumber" >"$lint_dir/forbidden"
isnt 'the unit forbids things' "$(cat "$lint_dir/forbidden")" ''
none 'the drop-in allows them all' \
	"$(rows src/service/natpunch-probe-sshd.conf | comm -13 - "$lint_dir/forbidden")"

# GROUP: the system calls in it.
calls_of()
{
	systemd-analyze --no-pager syscall-filter "$1" | sed -n 's/^    \([a-z0-9_@-]*\)$/\1/p' |
		while read -r call; do
			case $call in
			@*) calls_of "$call" ;;
			*) echo "$call" ;;
			esac
		done
}
calls_of @system-service | sort -u >"$lint_dir/allowed"
for group in @privileged @resources; do
	calls_of "$group"
done | sort -u | comm -23 "$lint_dir/allowed" - >"$lint_dir/filter"
# By which the program confines itself further.
confining='capset seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self'
for unit in natpunch-reflect.service natpunch-probe@.service; do
	like "$unit: it may confine itself" "$(cat "src/service/$unit")" \
		"^SystemCallFilter=$confining\$"
done
echo "$confining" | tr ' ' '\n' >>"$lint_dir/filter"
sort -u -o "$lint_dir/filter" "$lint_dir/filter"
like 'the filter lets something through' "$(cat "$lint_dir/filter")" '^splice$'
unlike 'and not all' "$(cat "$lint_dir/filter")" '^(chroot|setuid|mount|ptrace|sched_setscheduler)$'
for program in os/hook os/notify home/handover home/splice; do
	ok "$program under strace" strace -f -qq -o "$lint_dir/trace" "build/tests/unit/$program"
	sed -n 's/^[0-9 ]*\([a-z0-9_]*\)(.*/\1/p' "$lint_dir/trace" | sort -u >"$lint_dir/calls"
	like "$program: its calls were seen" "$(cat "$lint_dir/calls")" '^close$'
	none "$program: the filter lets all its calls through" \
		"$(comm -23 "$lint_dir/calls" "$lint_dir/filter")"
done

# procd's functions, as OpenWrt would call them.
ok 'shellcheck of the script for OpenWrt' shellcheck --shell=sh src/service/natpunch.init
mkdir "$lint_dir/conf"
echo 'OPTIONS="-r reflector.example.org -f %a* -p 22"' >"$lint_dir/conf/home.conf"
echo 'OPTIONS="-T 1337"' >"$lint_dir/conf/reflect.conf"
cat >"$lint_dir/procd" <<'END'
procd_open_instance() { echo "open $*"; }
procd_set_param() { for word in "$@"; do printf '[%s]' "$word"; done; echo; }
procd_close_instance() { echo close; }
NATPUNCH_CONF=$2
. "$1"
start_service
END
is 'what procd is told' "$(sh "$lint_dir/procd" src/service/natpunch.init "$lint_dir/conf")" \
	"open home
[command][/usr/local/bin/natpunch][probe][-k][-r][reflector.example.org][-f][%a*][-p][22]
[file][$lint_dir/conf/home.conf]
[respawn][3600][5][0]
[stderr][1]
close
open reflect
[command][/usr/local/bin/natpunch][reflect][-T][1337]
[file][$lint_dir/conf/reflect.conf]
[respawn][3600][5][0]
[stderr][1]
close"
mkdir "$lint_dir/empty"
none 'no file, no instance' "$(sh "$lint_dir/procd" src/service/natpunch.init "$lint_dir/empty")"
done_testing
