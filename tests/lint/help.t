#!/bin/sh
# The help and the manual name the same commands and the same options, and the program takes those
# options and no others. It is built beforehand: make.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

[ -x natpunch ] || bail 'build it first: make'

# Options as lines: "-p ARG", "--port ARG" where it takes an argument, else "-q", "--quiet".

# Those in the help on standard input: "  -p, --port PORT   words".
help_options()
{
	awk '/^  +-/ {
		sub(/^ +/, ""); sub(/  .*/, ""); gsub(/,/, "")
		argument = ""
		for (i = 1; i <= NF; i++) if ($i !~ /^-/) argument = " ARG"
		for (i = 1; i <= NF; i++) if ($i ~ /^-/) print $i argument
	}' | sort
}

# Those that a page describes: ".It Fl p , Fl -port Ar PORT".
page_options()
{
	awk '/^\.It Fl/ {
		argument = / Ar / ? " ARG" : ""
		for (i = 3; i <= NF && $i !~ /^(Ar|O[op])$/; i++)
			if ($i != "Fl" && $i != "," && $i != "Ns") print "-" $i argument
	}' "$1" | sort
}

# All that a page mentions anywhere, without their arguments; ".Op Fl 46quv" is five.
page_mentions()
{
	awk '/^\.(Fl|Op Fl|Oo Fl|It Fl|Pq Fl|Ic|Cm)/ {
		for (i = 1; i < NF; i++) if ($i ~ /Fl$/ || ($i == "," && $1 == ".It")) {
			word = $(i + 1)
			if (word == "Fl" || word ~ /^[A-Z][a-z]$/) continue
			if (word ~ /^-/) { print "-" word; continue }
			for (j = 1; j <= length(word); j++)
				if (substr(word, j, 1) ~ /[A-Za-z0-9]/) print "-" substr(word, j, 1)
		}
	}' "$1" | sort -u
}

status_of()
{
	status=0
	"$@" >"$lint_dir/out" 2>"$lint_dir/err" </dev/null || status=$?
}

check_command()
{
	page=man/natpunch-$1.1
	./natpunch help "$1" >"$lint_dir/help"
	help_options <"$lint_dir/help" >"$lint_dir/in-help"
	isnt "$1: the help has options" "$(cat "$lint_dir/in-help")" ''
	is "$1: -h prints the help" "$(./natpunch "$1" -h)" "$(cat "$lint_dir/help")"
	ok "$1: there is $page" test -s "$page" || return
	page_options "$page" >"$lint_dir/in-page"
	is "$1: help and manual describe the same options" "$(cat "$lint_dir/in-page")" \
		"$(cat "$lint_dir/in-help")"
	none "$1: the manual mentions no others" "$(page_mentions "$page" |
		while read -r option; do
			grep -q -e "^$option\( ARG\)\?\$" "$lint_dir/in-help" || echo "$option"
		done)"
	grep -v -e '^-h' -e '^--help' "$lint_dir/in-help" >"$lint_dir/others"
	while read -r option argument; do
		check_option "$1" "$option" "$argument"
	done <"$lint_dir/others"
	for option in -Z -? --no-such-option --; do
		status_of ./natpunch "$1" "$option" two operands
		is "$1: $option is a usage error" "$status" 2
	done
}

check_option()
{
	if [ -n "$3" ]; then
		status_of ./natpunch "$1" "$2"
		like "$1: $2 needs an argument" "$status $(cat "$lint_dir/err")" '^2 .*needs an arg'
		status_of ./natpunch "$1" "$2" '' -h
		like "$1: $2 is handled" "$status" '^[02]$'
	else
		status_of ./natpunch "$1" "$2" -h
		is "$1: $2 is handled" "$status" 0
		case $2 in --*) status_of ./natpunch "$1" "$2=x" ;; *) return ;; esac
		is "$1: $2 takes no argument" "$status" 2
	fi
}

commands=$(./natpunch --help | awk 'NF > 1 && /^  [a-z]/ { print $1 }')
isnt 'the help has commands' "$commands" ''
is 'every command has a page, and every page a command' \
	"$(for page in man/natpunch-*.1; do
		name=${page##*/natpunch-}
		echo "${name%.1}"
	done | sort)" "$(echo "$commands" | grep -vx help | sort)"
is 'natpunch.1 lists the commands in the same order' \
	"$(sed -n '/^\.Sh COMMANDS/,/^\.Sh OPTIONS/s/^\.It Cm //p' man/natpunch.1)" "$commands"
is 'natpunch.1 has the options of all' "$(page_options man/natpunch.1 | tr '\n' ' ')" \
	'--help --version -V -h '
for command in $commands; do
	[ "$command" = help ] || check_command "$command"
done
for wrong in '' nosuch -Z --nosuch 'help nosuch'; do
	# shellcheck disable=SC2086 # words
	status_of ./natpunch $wrong
	is "natpunch $wrong is a usage error" "$status" 2
done
done_testing
