# shellcheck shell=sh
#
# The Test Anything Protocol for POSIX sh: source it, make assertions, end
# with done_testing. The name of an assertion comes first, always.
#
#   plan N                      say beforehand how many there will be
#   ok NAME COMMAND [ARG...]    passes if the command succeeds
#   nok NAME COMMAND [ARG...]   passes if the command fails
#   is NAME GOT WANT            equal as strings
#   isnt NAME GOT UNWANTED
#   like NAME GOT ERE           some line of GOT matches
#   unlike NAME GOT ERE         no line of GOT does
#   between NAME GOT LOW HIGH   LOW <= GOT <= HIGH; decimals allowed
#   pass NAME; fail NAME
#   diag TEXT...                a comment that prove shows (standard error)
#   note TEXT...                one that it shows only with -v
#   bail TEXT...                give up: nothing after this makes sense
#   need TOOL...                bails unless each is installed
#   done_testing                prints the plan if there was none, and exits
#                               0 only if all went well
#
# Results carry no numbers; TAP does not ask for them, and so the output of
# several scripts can be put together into one. What a command in ok or nok
# prints to standard output is thrown away.

tap_count=0
tap_failed=0
tap_planned=

plan()
{
	tap_planned=$1
	printf '1..%s\n' "$1"
}

note()
{
	printf '%s\n' "$*" | sed 's/^/# /'
}

diag()
{
	printf '%s\n' "$*" | sed 's/^/# /' >&2
}

pass()
{
	tap_count=$((tap_count + 1))
	printf 'ok - %s\n' "$1"
}

fail()
{
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	printf 'not ok - %s\n' "$1"
	diag "failed: $1"
}

# The command runs in this shell, so that it may set variables.
ok()
{
	tap_name=$1
	shift
	if "$@" >/dev/null; then
		pass "$tap_name"
	else
		tap_status=$?
		fail "$tap_name"
		diag "exit $tap_status from: $*"
	fi
}

nok()
{
	tap_name=$1
	shift
	if "$@" >/dev/null; then
		fail "$tap_name"
		diag "should have failed: $*"
	else
		pass "$tap_name"
	fi
}

is()
{
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1"
		diag "     got: $2"
		diag "expected: $3"
	fi
}

isnt()
{
	if [ "$2" != "$3" ]; then
		pass "$1"
	else
		fail "$1"
		diag "got what should not be: $2"
	fi
}

# A here-document, as it takes a shell no process to write a short one.
tap_matches()
{
	grep -Eq -e "$2" <<-END
	$1
	END
}

like()
{
	if tap_matches "$2" "$3"; then
		pass "$1"
	else
		fail "$1"
		diag "        got: $2"
		diag "no match of: $3"
	fi
}

unlike()
{
	if tap_matches "$2" "$3"; then
		fail "$1"
		diag "    got: $2"
		diag "matches: $3"
	else
		pass "$1"
	fi
}

between()
{
	if awk -v x="$2" -v low="$3" -v high="$4" \
		'BEGIN { exit !(x ~ /^[0-9.]+$/ && x >= low + 0 && x <= high + 0) }'; then
		pass "$1"
	else
		fail "$1"
		diag "$2 is not between $3 and $4"
	fi
}

bail()
{
	printf 'Bail out! %s\n' "$*"
	exit 255
}

need()
{
	for tap_tool in "$@"; do
		command -v "$tap_tool" >/dev/null || bail "not installed: $tap_tool"
	done
}

done_testing()
{
	if [ -z "$tap_planned" ]; then
		printf '1..%d\n' "$tap_count"
	elif [ "$tap_planned" -ne "$tap_count" ]; then
		diag "planned $tap_planned, ran $tap_count"
		exit 1
	fi
	[ "$tap_count" -gt 0 ] && [ "$tap_failed" -eq 0 ]
	exit
}
