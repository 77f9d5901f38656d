# Completion of natpunch for bash. Commands and options are those that `natpunch help` prints.

# Sets rows to the lines of options in the help of a command, and pattern to what takes them apart:
# 1 the letter, 2 the long name, 3 the argument, 4 the text.
_natpunch_rows()
{
	mapfile -t rows < <("${COMP_WORDS[0]}" help "$1" 2>/dev/null)
	pattern='^ +(-[^-])?,? *(--[a-z0-9-]+)?( [^ ]+)?  +(.*)$'
}

_natpunch_commands()
{
	"${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p'
}

# The words of an argument's own row: "a|b", or a text like "a, b or c (a)".
_natpunch_choices()
{
	local words=$1
	case $1 in
	*'|'*) ;;
	METHOD | FORMAT | LIST) words=${2%%(*} ;;
	*) return ;;
	esac
	words=${words// or /,}
	tr '|,' '\n' <<<"$words" | sed -n 's/^ *\([a-z0-9]*\) *$/\1/p'
}

# COMMAND OPTION: completes the argument of an option; fails if it has none.
_natpunch_argument()
{
	local rows pattern row argument text
	_natpunch_rows "$1"
	for row in "${rows[@]}"; do
		[[ $row =~ $pattern ]] || continue
		[[ $2 == "${BASH_REMATCH[1]}" || $2 == "${BASH_REMATCH[2]}" ]] || continue
		argument=${BASH_REMATCH[3]# } text=${BASH_REMATCH[4]}
		[[ -n $argument ]] || return 1
		case $argument in
		FILE | PATH)
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			;;
		HOST*) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
		IFACE) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -- "$cur") ;;
		USER) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
		*)
			mapfile -t COMPREPLY < <(compgen -W \
				"$(_natpunch_choices "$argument" "$text")" -- "$cur")
			;;
		esac
		return 0
	done
	return 1
}

_natpunch_options()
{
	local rows pattern row words=
	_natpunch_rows "$1"
	for row in "${rows[@]}"; do
		[[ $row =~ $pattern ]] || continue
		[[ -n ${BASH_REMATCH[1]}${BASH_REMATCH[2]} ]] || continue
		words+=" ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
	done
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

_natpunch()
{
	local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command i
	COMPREPLY=()
	command=${COMP_WORDS[1]-}
	if [[ $COMP_CWORD -eq 1 ]]; then
		mapfile -t COMPREPLY < <(compgen -W \
			"$(_natpunch_commands) -h --help -V --version" -- "$cur")
		return
	fi
	if [[ $command == help ]]; then
		[[ $COMP_CWORD -eq 2 ]] || return
		mapfile -t COMPREPLY < <(compgen -W "$(_natpunch_commands)" -- "$cur")
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -- ]] || continue
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		return
	done
	# --name=value is three words to bash.
	[[ $cur != = ]] || cur=
	[[ $previous != = ]] || previous=${COMP_WORDS[COMP_CWORD - 2]}
	_natpunch_argument "$command" "$previous" || _natpunch_options "$command"
}

complete -F _natpunch natpunch
