#compdef natpunch
# Completion of natpunch for zsh. Commands and options are those that `natpunch help` prints.

# The specification of _arguments for each line of options in the help of a command, into specs.
_natpunch_specs()
{
	local row argument action text name exclude
	local -a names values match mbegin mend
	specs=()
	for row in "${(@f)$($program help $1 2>/dev/null)}"; do
		[[ $row =~ '^ +(-[^-])?,? *(--[a-z0-9-]+)?( [^ ]+)?  +(.*)$' ]] || continue
		names=($match[1] $match[2])
		(( $#names )) || continue
		argument=${match[3]# } text=$match[4]
		action=
		case $argument in
		'') ;;
		*'|'*) action="(${argument//|/ })" ;;
		METHOD | FORMAT | LIST)
			values=()
			for name in ${(s:,:)${text%%\(*}// or /,}; do
				[[ ${name// /} == ${${name## }%% } ]] && values+=${name// /}
			done
			action="($values)"
			;;
		FILE | PATH) action=_files ;;
		HOST*) action=_hosts ;;
		IFACE) action=_net_interfaces ;;
		USER) action=_users ;;
		*) action=' ' ;;
		esac
		text=${${${text//\\/\\\\}//\[/\\[}//\]/\\]}
		for name in $names; do
			[[ $text == *repeatable* ]] && exclude='*' || exclude="($names)"
			case ${argument:+$name} in
			'') ;;
			--*) name+== ;;
			*) name+=+ ;;
			esac
			specs+=("$exclude${name}[$text]${argument:+:${argument//:/ }:$action}")
		done
	done
}

_natpunch()
{
	setopt localoptions extendedglob
	local program=${~words[1]} command
	local -a specs known
	known=(${(f)"$($program --help 2>/dev/null |
		sed -n 's/^  \([a-z][a-z]*\)  *\(.*\)/\1:\2/p')"})
	if (( CURRENT == 2 )); then
		[[ $PREFIX == -* ]] && specs=(-h --help -V --version) && compadd -a specs && return
		_describe -t commands command known
		return
	fi
	command=$words[2]
	if [[ $command == help ]]; then
		(( CURRENT == 3 )) && _describe -t commands command known
		return
	fi
	shift words
	(( CURRENT-- ))
	_natpunch_specs $command
	_arguments -s -S $specs '*::command:_normal'
}

_natpunch "$@"
