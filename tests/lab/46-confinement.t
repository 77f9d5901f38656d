#!/bin/sh
# All that natpunch does, confined and strictly, by the binary of either C library: a system call
# that is in no list ends it, and a file that it may not have is missing. And what the kernel says
# of each while it runs: which user, which capabilities, which filter.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss nc ssh curl setcap setpriv

nobody=65534
none=0000000000000000

# NAME: a line of /proc/PID/status of what lab_spawn began, without blanks at its ends.
status_of()
{
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$(cat "$LAB_DIR/$1.pid")/status" | tr '\t' ' '
}

# NAME UIDS CAPABILITIES: what the kernel says of one that stays.
look()
{
	is "$library: $1: user" "$(status_of "$1" Uid)" "$2"
	is "$library: $1: capabilities" "$(status_of "$1" CapPrm) $(status_of "$1" CapEff)" "$3 $3"
	is "$library: $1: none to be had" "$(status_of "$1" CapInh) $(status_of "$1" CapBnd) $(
		status_of "$1" CapAmb)" "$none $none $none"
	is "$library: $1: no new rights" "$(status_of "$1" NoNewPrivs)" 1
	is "$library: $1: a filter" "$(status_of "$1" Seccomp)" 2
	like "$library: $1: landlock" "$(cat "$LAB_DIR/$1.err")" ': confined by landlock: '
}

probe()
{
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" "$@" 2>"$LAB_DIR/probe.err"
}

test_once()
{
	for method in bind repair rewrite raw; do
		[ "$method" = bind ] && port=2222 || port=22
		is "$library: probe by $method" "$(probe -m "$method" -p "$port")" \
			"$LAB_HOME_PUBLIC4 $port"
		[ "$method" = repair ] || is "$library: probe by $method, UDP" \
			"$(probe -u -m "$method" -p 2223)" "$LAB_HOME_PUBLIC4 2223"
	done
	is "$library: probe by a name" "$(lab_exec home "$natpunch" probe -m bind -p 2224 \
		-r localhost -r "$LAB_REFLECTOR4" 2>/dev/null)" "$LAB_HOME_PUBLIC4 2224"
	is "$library: probe -V -c" "$(probe -V -c "$LAB_DIR/mapping.$library")" \
		"$LAB_HOME_PUBLIC4 22"
	# The second connection, which registers, is to the same name.
	is "$library: probe by raw and a name, -n" "$(lab_exec home unshare -m sh -c \
		"mount --bind $LAB_DIR/hosts /etc/hosts && exec $natpunch probe -q -m raw -n home \
		-K $LAB_DIR/home.key -r reflector.example.org" 2>"$LAB_DIR/named.err")" \
		"$LAB_HOME_PUBLIC4 22"
	is "$library: it was registered" "$(lab_exec laptop "$natpunch" lookup \
		-r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home)" "$LAB_HOME_PUBLIC4 22"
	ok "$library: check" lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4" -f json
	ok "$library: check, UDP" lab_exec home "$natpunch" check -u -p 2225 \
		-r "$LAB_REFLECTOR4" -f json
	is "$library: text" "$(lab_exec home nc -p 2226 "$LAB_REFLECTOR4" 1337 </dev/null)" \
		"$LAB_HOME_PUBLIC4 2226"
	like "$library: HTTP" "$(lab_exec home curl -s "http://$LAB_REFLECTOR4:3478/")" \
		"^$LAB_HOME_PUBLIC4 [0-9]+\$"
}

# CAPABILITIES COMMAND [ARG...]: what ends by itself, while it waits for one who says nothing.
look_while_asking()
{
	caps=$1 name=$2
	shift
	lab_spawn "$name" home "$natpunch" "$@"
	wait_for_line 5 "$LAB_DIR/$name.err" ': confined by seccomp: '
	look "$name" '0 0 0 0' "$caps"
	lab_kill "$name"
}

is_deaf()
{
	[ -n "$(lab_exec reflector ss -ltnH 'sport = :4479')" ]
}

test_asking()
{
	lab_spawn deaf reflector nc -lk -p 4479
	wait_for 5 is_deaf
	deaf=$LAB_REFLECTOR4:4479
	# The port's three.
	look_while_asking 0000000000003400 probe -v -t 60 -r "$deaf"
	look_while_asking 0000000000003400 check -v -r "$deaf"
	look_while_asking $none lookup -v -t 60 -r "$deaf" -K "$LAB_DIR/home.key" home
	look_while_asking $none connect -v -t 60 -r "$deaf" -K "$LAB_DIR/home.key" home
	lab_kill deaf
}

# NAME COMMAND [ARG...]: the key is where it is used, and not in the helper that looks up names and
# is not confined. The helper is there before it is asked for anything, so it is the oldest child.
look_for_key()
{
	name=$1 command=$2
	shift 2
	# shellcheck disable=SC2016 # for the inner shell
	lab_spawn "$name" home unshare -m sh -c 'mount --bind "$1" /etc/hosts && shift && exec "$@"' - \
		"$LAB_DIR/hosts" "$natpunch" "$command" -v -K "$LAB_DIR/home.key" \
		-r reflector.example.org:4479 "$@"
	wait_for_line 5 "$LAB_DIR/$name.err" ': confined by seccomp: '
	asker=$(cat "$LAB_DIR/$name.pid")
	is "$library: $name: the key is in one place, and not in the helper" \
		"$("$lab_top/tests/lab/secrets" "$LAB_DIR/home.key" "$asker" "$(pgrep -o -P "$asker")")" \
		'1 0'
	lab_kill "$name"
}

test_keys()
{
	lab_spawn deaf reflector nc -lk -p 4479
	wait_for 5 is_deaf
	look_for_key lookup lookup -t 60 home
	look_for_key connect connect -t 60 home
	look_for_key probe probe -t 60 -n home
	look_for_key keep probe -k -n home
	lab_kill deaf
}

# With -k; a hook, which is not confined, and a command for who connects.
test_kept()
{
	cat >"$LAB_DIR/hook" <<-END
	#!/bin/sh
	echo "hook \$NATPUNCH_EVENT \$(sed -n 's/^CapEff:.//p; s/^Seccomp:.//p' /proc/self/status)" |
		tr '\n' ' ' >>"$LAB_DIR/hook.out"
	END
	chmod 755 "$LAB_DIR/hook"
	: >"$LAB_DIR/hook.out"
	road_keep -e "$LAB_DIR/hook" -c "$LAB_DIR/kept.$library"
	# The port's three, and CAP_KILL for the hook.
	look keep '0 0 0 0' 0000000000003420
	like "$library: keep: it knew who listens" "$(cat "$LAB_DIR/keep.err")" \
		'sshd listens on port 22 itself'
	is "$library: lookup" "$(lab_exec laptop "$natpunch" lookup -r "$LAB_REFLECTOR4" \
		-K "$LAB_DIR/home.key" home)" "$LAB_HOME_PUBLIC4 22"
	is "$library: connect" "$(road_ssh echo well)" well
	lab_spawn listen home "$natpunch" probe -k -v -p 2230 -r "$LAB_REFLECTOR4" -- /bin/echo hello
	wait_for_line 5 "$LAB_DIR/listen.err" keeping
	is "$library: a command" "$(lab_exec third nc -w 3 "$LAB_HOME_PUBLIC4" 2230 </dev/null)" hello
	lab_kill listen
	is "$library: keep -- ends" $? 0
	kill -HUP "$(cat "$LAB_DIR/keep.pid")" "$(cat "$LAB_DIR/reflect.pid")"
	ok "$library: the keys are read again" wait_for_line 5 "$LAB_DIR/reflect.err" 'keys read again'
	lab_kill keep
	is "$library: keep ends" $? 0
	is "$library: the hook had all rights" "$(cat "$LAB_DIR/hook.out")" \
		"hook up $rights 0 hook down $rights 0 "
}

is_over()
{
	! lab_alive "$1"
}

# Who is confined cannot have another helper: its manager is to start all of it anew.
test_lost_helper()
{
	lab_spawn lone home "$natpunch" probe -k -p 2231 -r "$LAB_REFLECTOR4"
	wait_for_line 5 "$LAB_DIR/lone.err" keeping
	pkill -KILL -P "$(cat "$LAB_DIR/lone.pid")"
	ok "$library: keep ends without its helper" wait_for 5 is_over lone
	lab_kill lone
	is "$library: with a status for its manager" $? 3
	like "$library: and says so" "$(cat "$LAB_DIR/lone.err")" 'the helper process is gone'
}

test_life()
{
	library=$1
	natpunch=$lab_top/$2
	install -d -m 700 -o $nobody "$LAB_DIR/state.$library"
	# shellcheck disable=SC2034 # for road_reflect
	ROAD_REFLECT="-T 1337 -a $LAB_REFLECTOR_B4 -l $LAB_REFLECTOR4:3478 -R
		-S $LAB_DIR/state.$library/names -U $nobody"
	road_reflect
	look reflect "$nobody $nobody $nobody $nobody" 0000000000001000
	test_once
	test_asking
	test_keys
	test_kept
	test_lost_helper
	ok "$library: the names are written" wait_for_line 5 "$LAB_DIR/state.$library/names" '^home tcp '
	lab_kill reflect
	is "$library: reflect ends" $? 0
	# shellcheck disable=SC2034 # for road_reflect
	ROAD_REFLECT="-S $LAB_DIR/state.$library/names"
	chown 0 "$LAB_DIR/keys" "$LAB_DIR/state.$library" "$LAB_DIR/state.$library/names"
	road_reflect
	look reflect '0 0 0 0' 0000000000001000
	lab_kill reflect
	is "$library: reflect ends, root's" $? 0
}

# Who gains a right by running the file must not choose how it is confined.
test_gained_rights()
{
	gained=$LAB_DIR/gained
	cp "$lab_top/natpunch" "$gained"
	for right in without with; do
		[ $right = without ] || setcap cap_net_bind_service+ep "$gained"
		lab_spawn gained home setpriv --reuid $nobody --regid $nobody --clear-groups \
			env NATPUNCH_SANDBOX=off "$gained" reflect -v -l 127.0.0.1:4478
		wait_for_line 5 "$LAB_DIR/gained.err" ': ready'
		confined=$(grep -c ': confined by seccomp: ' "$LAB_DIR/gained.err" || :)
		filter=$(status_of gained Seccomp)
		lab_kill gained
		[ $right = without ] && wanted='0 0' || wanted='1 2'
		is "off, $right a right of the file: confined?" "$confined $filter" "$wanted"
	done
}

lab_start full-cone port-restricted
# Where somebody who is not root may get at it.
chmod 711 "$LAB_DIR"
echo "$LAB_REFLECTOR4 reflector.example.org" >"$LAB_DIR/hosts"
rights=$(lab_exec home sed -n 's/^CapEff:.//p' /proc/self/status)
for run in "glibc natpunch" "musl natpunch-static"; do
	[ -x "$lab_top/${run#* }" ] || bail 'build it first: make, make static'
	road_files
	chown $nobody "$LAB_DIR/keys"
	# shellcheck disable=SC2086 # two words
	test_life $run
done
test_gained_rights
done_testing
