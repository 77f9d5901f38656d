#!/bin/sh
# The units under a systemd of their own: do both services become ready, as whom do they run and with
# what, and are they started anew when they are killed, hang or lose their helper?
#
# That systemd is the first process of new namespaces of all kinds, on a copy-on-write / into which
# natpunch is installed. All of it goes with that process, which ends with this script.

here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)

# In the new namespaces: makes / and becomes systemd. Only what the units want is there to be started.
boot()
{
	top=$2/root
	mount -t tmpfs tmpfs "$2"
	mkdir "$2/new" "$2/work" "$top"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$2/new,workdir=$2/work" "$top"
	mount -t proc proc "$top/proc"
	mount -t sysfs -o ro sysfs "$top/sys"
	mount -t cgroup2 cgroup2 "$top/sys/fs/cgroup"
	mount -t tmpfs tmpfs "$top/run"
	mount -t tmpfs tmpfs "$top/dev"
	for device in null zero full random urandom tty; do
		: >"$top/dev/$device"
		mount --bind "/dev/$device" "$top/dev/$device"
	done
	mkdir "$top/dev/shm" "$top/dev/pts" "$top/dev/mqueue"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$top/dev/pts"
	ln -s pts/ptmx "$top/dev/ptmx"
	ln -s /proc/self/fd "$top/dev/fd"
	rm -rf "$top/etc/systemd/system" "$top/etc/natpunch" "$top/usr/sbin/policy-rc.d"
	mkdir -p "$top/etc/systemd/system" "$top/etc/natpunch"
	echo 'a2f3c1d4e5f60718293a4b5c6d7e8f90' >"$top/etc/machine-id"
	make -s -C "$here" install DESTDIR="$top" PREFIX=/usr
	systemd-sysusers --root="$top"
	cat >"$top/etc/systemd/system/listener.socket" <<-END
	[Socket]
	ListenStream=0.0.0.0:2222
	Accept=yes
	END
	cat >"$top/etc/systemd/system/listener@.service" <<-END
	[Service]
	ExecStart=/bin/echo hello
	StandardOutput=socket
	END
	for unit in natpunch-reflect natpunch-probe@; do
		mkdir "$top/etc/systemd/system/$unit.service.d"
		printf '[Service]\nWatchdogSec=2s\nRestartSec=100ms\n' \
			>"$top/etc/systemd/system/$unit.service.d/quick.conf"
	done
	(umask 077 && "$here/natpunch" keygen home >"$top/etc/natpunch/keys")
	chroot "$top" chown natpunch /etc/natpunch/keys
	keys='-K /etc/natpunch/keys'
	echo "OPTIONS='-v -T 1337 -S /var/lib/natpunch-reflect/names $keys'" \
		>"$top/etc/natpunch/reflect.conf"
	echo "OPTIONS='-v -i 1 -r 127.0.0.1 -p 2222 -c /var/lib/natpunch/home/mapping -n home $keys'" \
		>"$top/etc/natpunch/home.conf"
	ip link set lo up
	mkdir "$top/old"
	cd "$top"
	pivot_root . old
	umount -l /old
	exec env -i container=natpunch PATH="$PATH" chroot . /lib/systemd/systemd --system \
		--unit=basic.target --show-status=no
}

# Before that: a place of its own among the control groups, which the namespace begins at.
enter()
{
	mount --make-rprivate /
	mkdir "$2/groups"
	mount -t cgroup2 cgroup2 "$2/groups"
	mkdir "$2/groups/$3"
	echo 0 >"$2/groups/$3/cgroup.procs"
	umount "$2/groups"
	exec unshare -C sh "$0" boot "$2"
}

set -e
case ${1-} in
enter) enter "$@" ;;
boot) boot "$@" ;;
esac
set +e

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need unshare nsenter systemctl systemd-sysusers nc ip

dir=$(mktemp -d)
group=natpunch-lab-$$
clean()
{
	[ -z "${child-}" ] || kill -KILL "$child" 2>/dev/null
	[ -z "${child-}" ] || wait "$child" 2>/dev/null
	# shellcheck disable=SC2016 # for the shell that it starts
	unshare -m sh -c 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -exec rmdir {} +' \
		sh "$dir" "$group" 2>/dev/null
	rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

unshare -m -p -n -u -i -f --kill-child sh "$0" enter "$dir" "$group" \
	</dev/null >"$dir/boot.log" 2>&1 &
child=$!
first=
has_first()
{
	first=$(cat "/proc/$child/task/$child/children" 2>/dev/null)
	first=${first%% *}
	[ -n "$first" ]
}
inside()
{
	nsenter -t "$first" -m -p -n -u -i -C -r -w "$@"
}
# UNIT PROPERTY
show()
{
	inside systemctl show -P "$2" "$1"
}
is_active()
{
	[ "$(show "$1" ActiveState)" = active ]
}
# UNIT PID: another process than that is its main one, and ready.
is_anew()
{
	is_active "$1" || return 1
	case $(show "$1" MainPID) in
	0 | "$2") return 1 ;;
	esac
}
# UNIT NAME: a line of its main process's status.
status_of()
{
	inside sed -n "s/^$2:[[:space:]]*//p" "/proc/$(show "$1" MainPID)/status" | tr '\t' ' '
}

wait_for 5 has_first || bail 'no process in the namespaces'
# shellcheck disable=SC2310 # its failure is the answer
wait_for 60 inside systemctl is-active -q basic.target 2>/dev/null || {
	diag "$(cat "$dir/boot.log")"
	bail 'no systemd'
}
reflect=natpunch-reflect.service
probe=natpunch-probe@home.service

# NAME COMMAND...: what is said of the two when it fails.
told()
{
	ok "$@" || :
	[ "$tap_failed" -eq 0 ] || diag "$(inside journalctl --no-pager -n 40 -u $reflect -u $probe)"
}

told 'the reflector: started, and ready' inside systemctl start $reflect
inside systemctl start listener.socket
told 'the probe: started' inside systemctl start $probe
has_status()
{
	case $(show "$probe" StatusText) in
	'kept as 127.0.0.1:2222, not verified (-V)') ;;
	*) return 1 ;;
	esac
}
ok 'its status is the mapping' wait_for 5 has_status
has_mapping()
{
	inside grep -q ' NATPUNCH_PUBLIC_PORT=2222 ' /var/lib/natpunch/home/mapping
}
ok 'which a file has' has_mapping
like 'another run beside it names the service' \
	"$(inside natpunch probe -V -t 1 -p 2222 -r 127.0.0.1 2>&1)" \
	"^hint: natpunch \\(pid $(show "$probe" MainPID)\\) holds it; ask another .* or stop it meanwhile: systemctl stop $probe\$"
is 'whoever holds the port still has it' "$(inside nc -w 3 127.0.0.1 2222 </dev/null)" hello
is_known()
{
	[ "$(inside natpunch lookup -r 127.0.0.1 -K /etc/natpunch/keys home)" = '127.0.0.1 2222' ]
}
ok 'its name is known' wait_for 5 is_known
like 'the text port answers' "$(inside nc -w 3 127.0.0.1 1337 </dev/null)" '^127\.0\.0\.1 [0-9]+$'

user=$(inside id -u natpunch)
isnt 'the user has a number' "$user" ''
for unit in $reflect $probe; do
	is "$unit: runs as natpunch" "$(status_of "$unit" Uid)" "$user $user $user $user"
	is "$unit: no new rights" "$(status_of "$unit" NoNewPrivs)" 1
	said=$(inside journalctl --no-pager -q -u "$unit")
	like "$unit: its own filter as well" "$said" ': confined by seccomp: '
	like "$unit: its own view of files" "$said" ': confined by landlock: '
	is "$unit: inherits no capability" "$(status_of "$unit" CapInh) $(status_of "$unit" CapAmb)" \
		'0000000000000000 0000000000000000'
done
is 'the reflector: silent close, and nothing else' "$(status_of "$reflect" CapEff)" 0000000000001000
is 'the probe: what its methods need' "$(status_of "$probe" CapEff)" 0000000000003400

for unit in $reflect $probe; do
	before=$(show "$unit" MainPID)
	inside kill -KILL "$before"
	ok "$unit: killed, it is started anew" wait_for 10 is_anew "$unit" "$before"
	before=$(show "$unit" MainPID)
	inside kill -STOP "$before"
	ok "$unit: hanging, it is ended and started anew" wait_for 20 is_anew "$unit" "$before"
done
before=$(show "$probe" MainPID)
# shellcheck disable=SC2016 # for the shell that it starts
wait_for 10 inside sh -c '[ -n "$(cat "/proc/$1/task/$1/children")" ]' sh "$before" ||
	diag 'no helper'
# shellcheck disable=SC2016 # for the shell that it starts
inside sh -c 'for helper in $(cat "/proc/$1/task/$1/children"); do kill -KILL "$helper"; done' sh "$before"
ok 'the probe: without its helper, it is started anew' wait_for 10 is_anew "$probe" "$before"
like 'the old one said why' "$(inside journalctl --no-pager -q -u $probe "_PID=$before")" \
	'the helper process is gone'
ok 'the new one has the mapping' wait_for 5 has_status

# A reload reads the key file again: a name that is new there is known from then on.
knows_work()
{
	inside natpunch lookup -r 127.0.0.1 -K /etc/natpunch/work work 2>&1 | grep -q 'knows no address'
}
inside sh -c 'umask 077 && natpunch keygen work >/etc/natpunch/work &&
	cat /etc/natpunch/work >>/etc/natpunch/keys'
nok 'the reflector: a new name is not known' knows_work
ok 'reloaded' inside systemctl reload $reflect
ok 'it is' wait_for 5 knows_work
# A key file that the service may not read: told, with what to do, and the old keys stay. Who is
# confined cannot look up his name.
inside chown root /etc/natpunch/keys
inside systemctl reload $reflect
says_whose()
{
	inside journalctl --no-pager -q -u "$reflect" |
		grep -q "hint: user $1 may not read it: chown $1 /etc/natpunch/keys"
}
ok 'a key file of root: told whom to give it to' wait_for 5 says_whose "$user"
ok 'and the old keys stay' knows_work
nok 'nor does it start with such a file' inside systemctl restart $reflect 2>/dev/null
ok 'told, with the name' wait_for 5 says_whose natpunch
inside chown natpunch /etc/natpunch/keys
inside systemctl reset-failed $reflect
told 'given to the user, it starts' inside systemctl restart $reflect

# Without a reflector the probe runs all the same, and a start does not wait for it.
inside systemctl stop $probe $reflect
inside rm -f /var/lib/natpunch/home/mapping
told 'the probe, without a reflector: started' inside timeout 20 systemctl start $probe
is 'and active' "$(show "$probe" ActiveState)" active
nok 'though there is no mapping' has_status
has_reason()
{
	case $(show "$probe" StatusText) in
	*'trying again') ;;
	*) return 1 ;;
	esac
}
ok 'its status says why' wait_for 10 has_reason
inside systemctl start $reflect
ok 'and what it is when there is one' wait_for 20 has_status

# The drop-in for an order, among units that are started together.
late=natpunch-probe@late.service
inside mkfifo /run/late
# shellcheck disable=SC2016 # for the shell that it starts
inside sh -c 'cp /etc/natpunch/home.conf /etc/natpunch/late.conf
mkdir "/etc/systemd/system/$1.d"
sed s/nginx/late/ /usr/share/natpunch/natpunch-probe-after.conf \
	>"/etc/systemd/system/$1.d/after.conf"
printf "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/cat /run/late\n" \
	>/etc/systemd/system/late.service
printf "[Unit]\nWants=%s late.service\nAfter=%s late.service\n" "$1" "$1" \
	>/etc/systemd/system/boot.target
sed -i s,natpunch/home/,natpunch/late/, /etc/natpunch/late.conf
systemctl daemon-reload' sh $late
inside systemctl start --no-block boot.target
is_starting()
{
	[ "$(show late.service ActiveState)" = activating ]
}
ok 'the server of a port starts' wait_for 5 is_starting
is 'its probe waits for that' "$(show $late ActiveState)" inactive
inside sh -c ': >/run/late'
ok 'and is started then' wait_for 10 is_active $late
inside systemctl stop $late

# The scripts of the Debian package, without what debhelper puts into them.
script()
{
	script=$here/src/service/debian/natpunch.$1
	shift
	inside sh -s "$@" <"$script"
}
before=$(show "$probe" MainPID)
script postinst configure ''
is 'a first installation leaves a probe alone' "$(show "$probe" MainPID)" "$before"
script postinst configure 0.0.1
ok 'an upgrade starts it anew' is_anew "$probe" "$before"
before=$(show "$probe" MainPID)
script prerm upgrade 0.0.2
is 'of which the begin leaves it alone' "$(show "$probe" MainPID)" "$before"
script prerm remove
is 'the removal stops it' "$(show "$probe" ActiveState)" inactive

for unit in $probe $reflect; do
	ok "$unit: stops" inside systemctl stop "$unit"
	is "$unit: in order" "$(show "$unit" Result) $(show "$unit" ActiveState)" 'success inactive'
done
inside systemctl -q enable $reflect $probe
script postrm remove
ok 'removed, the package leaves the links' inside test -L "/etc/systemd/system/multi-user.target.wants/$probe"
script postrm purge
is 'purged, it leaves nothing' "$(inside find /etc/systemd/system/multi-user.target.wants \
	/var/lib/natpunch /var/lib/natpunch-reflect /var/lib/private -name 'natpunch*' 2>/dev/null)" ''

echo 'OPTIONS="--no-such-option"' | inside tee /etc/natpunch/reflect.conf >/dev/null
nok 'a wrong command line: does not start' inside systemctl start $reflect 2>/dev/null
is 'nor is tried again' "$(show "$reflect" ActiveState) $(show "$reflect" ExecMainStatus)" 'failed 2'
echo 'OPTIONS="--no-such-option"' | inside tee /etc/natpunch/home.conf >/dev/null
nok 'a wrong command line of the probe: the start fails' inside systemctl start $probe 2>/dev/null
done_testing
