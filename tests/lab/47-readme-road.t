#!/bin/sh
# What the README and the pages show, as it stands there: the examples of natpunch(1), natpunch-probe(1)
# and natpunch-keygen(1), the README's commands, and its section "By a name" on three machines.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ssh mandoc sshd

# The Nth block of the section's commands.
block()
{
	awk -v want="$1" -v section="${2:-By a name}" '
		/^## / { inside = substr($0, 4) == section }
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

# PAGE: its examples, numbered, in $LAB_DIR/PAGE: the commands of a display in N.sh, what they print in
# N.out.
take_examples()
{
	mkdir "$LAB_DIR/$1"
	mandoc -T ascii -O width=200 "$lab_top/man/$1" | col -bx | awk -v to="$LAB_DIR/$1" '
		/^[A-Z]/ { inside = /^EXAMPLES/ }
		!inside || /^ *$/ { shown = more = 0; next }
		more || /^ *[#$] / {
			n += !shown
			shown = 1
			if (!more)
				sub(/^ *[#$] /, "")
			more = /[\\|]$/
			print >(to "/" n ".sh")
			next
		}
		shown { sub(/^ */, ""); print >(to "/" n ".out") }'
	sed -i "s|/etc/natpunch/home\.key|$LAB_DIR/natpunch.key|; s|/etc/natpunch/|$LAB_DIR/|
		s|/var/lib/|$LAB_DIR/|" "$LAB_DIR/$1"/*.sh
}

# What is printed, without ports, and addresses of IPv6, which are those of another home.
shape()
{
	perl -pe 's/\b[0-9a-f]*:[0-9a-f:]+\b/V6/g; s/(?<![\d.])\d+(?![\d.])/N/g'
}

# FILE: runs the commands in it at home, which knows the reflectors by their names.
run()
{
	lab_exec_named sh "$1" 2>"$LAB_DIR/err"
}

# FILE: runs the one command in it, which stays.
stay()
{
	sed -i '1s/^/exec /' "$1"
	lab_spawn example home sh "$LAB_DIR/named" sh "$1"
	ok "stays: $(tr -s '\n\\ ' '   ' <"$1" | sed "s|$LAB_DIR|...|g")" \
		wait_for_line 15 "$LAB_DIR/example.err" 'keeping '
	lab_kill example
}

example()
{
	if [ -e "${1%.sh}.out" ]; then
		is "prints what the page shows: $(head -n 1 "$1")" "$(run "$1" | shape)" \
			"$(shape <"${1%.sh}.out")"
	else
		like "prints something: $(head -n 1 "$1")" "$(run "$1")" .
	fi
	unlike 'and has no fault' "$(cat "$LAB_DIR/err")" 'natpunch( probe)?: (cannot|invalid|unknown)'
}

umask 022
PATH=$lab_top:$PATH
lab_start port-restricted port-restricted
like 'the first step makes a key' "$(command_of 1)" 'keygen home'
lab_exec reflector sh -c "$(command_of 1)"
like 'the second starts a reflector' "$(command_of 2)" 'natpunch reflect -K'
lab_spawn reflect reflector sh -c "exec $(command_of 2)"
ok 'it is ready' wait_for_line 5 "$LAB_DIR/reflect.err" ready

# ---- the examples
for name in one.example.org reflector.example.org; do
	printf '%s\n' "$LAB_REFLECTOR6 $name" "$LAB_REFLECTOR4 $name"
done >"$LAB_DIR/hosts"
printf '%s\n' "$LAB_SECOND4 two.example.org" '127.0.0.1 localhost' >>"$LAB_DIR/hosts"
printf '#!/bin/sh\n' >"$LAB_DIR/publish"
chmod +x "$LAB_DIR/publish"
for page in natpunch.1 natpunch-probe.1 natpunch-keygen.1; do
	take_examples $page
done
ran=0
for file in "$LAB_DIR/natpunch.1"/*.sh "$LAB_DIR/natpunch-probe.1"/*.sh; do
	ran=$((ran + 1))
	case $(cat "$file") in
	*setcap*) ;;              # 33-privileges.t
	'natpunch reflect'*) ;;   # above
	'ssh '*) ;;               # 10-main-job.t
	*'natpunch probe -k'*) stay "$file" ;;
	*) example "$file" ;;
	esac
done
is 'none is left out' "$ran" "$(cat "$lab_top/man/natpunch.1" "$lab_top/man/natpunch-probe.1" | awk '
	/^\.Sh/ { inside = /EXAMPLES/ } inside && (/^\.Dl/ || /^\.Bd/) { n++ } END { print n - 1 }')"

# ---- the forms that are folded in the page
# FORM BETWEEN: what stands between its lines, when they are one.
form()
{
	echo "natpunch probe -f $1 -r reflector.example.org" >"$LAB_DIR/form.sh"
	sed -n "/^\.It Cm $1/,/^\.Ed/p" "$lab_top/man/natpunch-probe.1" |
		sed "1,/^\.Bd/d; /^\.Ed/d; s/\\\\(aq/'/g" | paste -sd "$2" - | shape >"$LAB_DIR/form"
	is "the form $1 is that of the page" "$(run "$LAB_DIR/form.sh" | shape)" "$(cat "$LAB_DIR/form")"
}
form json '\0'
form env ' '

# ---- what is no command: crontab, and a file that a script reads
{
	echo "export NATPUNCH_REFLECTOR=nowhere.example.org"
	sed -n '/^\.Sh EXAMPLES/,/^\.Sh/s/^NATPUNCH_REFLECTOR=/export &/p
		s/^\*\/10 \* \* \* \* //p' "$lab_top/man/natpunch-probe.1"
	sed -n 's|^\*/10 \* \* \* \* /usr/local/bin/||p' "$lab_top/README.md"
	sed -n '/^\.It Ar FILE No of/,/^\.Ed/s/^\$ //p' "$lab_top/man/natpunch-probe.1"
} | sed "s|/var/lib/|$LAB_DIR/|" >"$LAB_DIR/cron.sh"
is 'cron has two lines to run' "$(grep -c '^natpunch probe -q' "$LAB_DIR/cron.sh")" 2
is 'the first finds the mapping, the second no change, and a script reads it' \
	"$(run "$LAB_DIR/cron.sh" | shape)" "$(printf 'N.N.N.N N\nN\n' | sed "s/N\.N\.N\.N/$LAB_HOME_PUBLIC4/")"

# ---- the key
sed 's/^natpunch reflect/exec &/' "$LAB_DIR/natpunch-keygen.1/1.sh" >"$LAB_DIR/keygen.sh"
lab_spawn other second sh -c "cd $LAB_DIR && . ./keygen.sh"
ok 'a reflector with a key and a state' wait_for_line 10 "$LAB_DIR/other.err" ready
is 'the key is its owner'"'"'s alone' "$(stat -c %a "$LAB_DIR/keys")" 600

# ---- by a name
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

# ---- a key goes home by ssh, and a way without natpunch
cat >"$LAB_DIR/others" <<-END
	Host *
	    User root
	    HostKeyAlias home
	    IdentityFile $LAB_DIR/user_key
	    UserKnownHostsFile $LAB_DIR/known_hosts
	    GlobalKnownHostsFile none
	    BatchMode yes
END
cat "$LAB_DIR/others" >>"$LAB_DIR/config"
sed "s|ssh |&-F $LAB_DIR/config |; s|$LAB_DIR/natpunch\.key'|$LAB_DIR/copy.key'|" \
	"$LAB_DIR/natpunch-keygen.1/2.sh" >"$LAB_DIR/copy.sh"
ok 'the key is copied home' lab_exec laptop sh "$LAB_DIR/copy.sh"
is 'as it is' "$(cat "$LAB_DIR/copy.key")" "$(cat "$LAB_DIR/keys")"
is 'and is the owner'"'"'s alone' "$(stat -c %a "$LAB_DIR/copy.key")" 600
is 'natpunch(1) has the same tunnel as the README' \
	"$(sed -n '/^\.Sh CAVEATS/,$s/^\.Dl \$ //p' "$lab_top/man/natpunch.1")" \
	"$(block 1 'Nothing works' | sed 's/ *#.*//')"
tunnel()
{
	block 1 'Nothing works' | sed -n "s/ *#.*//; s|^ssh |&-F $LAB_DIR/others |; $1p"
}
lab_spawn outside reflector sh "$LAB_DIR/sshd.sh"
wait_for_line 30 "$LAB_DIR/outside.err" '^Server listening on 0\.0\.0\.0 port 22' || bail 'no sshd outside'
lab_spawn tunnel home sh "$LAB_DIR/named" sh -c "exec $(tunnel 1)"
ok 'a tunnel stands' wait_for 10 lab_exec reflector sh -c 'ss -ltnH "sport = :1337" | grep -q .'
is 'and leads home' "$(lab_exec laptop sh "$LAB_DIR/named" sh -c "$(tunnel 2) echo well" </dev/null)" well
done_testing
