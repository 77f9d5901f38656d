#!/bin/sh
# What bash, zsh and fish offer when TAB is pressed is what `natpunch help` prints: each command,
# each option of each, and no option that there is not. A second program of that name, with rows of
# other shapes, shows that the rows are read and not known.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need bash zsh fish shellcheck timeout
[ -x natpunch ] || bail 'build it first: make'
mkdir "$lint_dir/real" "$lint_dir/other" "$lint_dir/zsh"
cp natpunch "$lint_dir/real"
cp src/service/natpunch.zsh "$lint_dir/zsh/_natpunch"
cat >"$lint_dir/other/natpunch" <<'END'
#!/bin/sh
case "$*" in
--help)
	printf 'usage: natpunch COMMAND ...\n\n  dig        find treasure\n'
	printf '  help       print the help of a command\n'
	;;
'help dig')
	printf 'usage: natpunch dig [options]\nfind treasure\n\n'
	printf '  %-29s  %s\n' '-4' 'a digit' '-d, --deep' 'a flag: [with] odd "text"' \
		'    --hook-args natmap|natter' 'a choice' '    --a-name-longer-than-its-column ARG' 'x' \
		'-m, --method METHOD' 'fast, slow or none (fast)' '-K, --key FILE' 'a file'
	;;
esac
END
chmod +x "$lint_dir/other/natpunch"

# PROGRAM SHELL LINE: the words that are offered, one a line.
offered()
{
	case $2 in
	bash)
		# shellcheck disable=SC2016 # for that shell
		PATH=$lint_dir/$1:$PATH bash --norc -c '. src/service/natpunch.bash
			read -ra COMP_WORDS <<<"$1"
			[[ $1 != *" " ]] || COMP_WORDS+=("")
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_natpunch
			printf "%s\n" "${COMPREPLY[@]}"' - "$3"
		;;
	fish)
		# shellcheck disable=SC2016
		PATH=$lint_dir/$1:$PATH HOME=$lint_dir fish --no-config -c \
			'source src/service/natpunch.fish; complete -C $argv' "$3" | cut -f 1
		;;
	zsh)
		PATH=$lint_dir/$1:$PATH timeout 120 zsh -f tests/lint/completions.zsh \
			"$lint_dir/zsh" "$3" | sed 's/ -- .*//' |
			tr -s ' ' '\n' | grep -vx -e - -e ''
		;;
	esac | sort -u
}

# PROGRAM COMMAND: the options of its help.
options()
{
	"$lint_dir/$1/natpunch" help "$2" | sed -n 's/^  \( *-.\{27\}[^ ]*\) .*/\1/p' |
		tr -s ', ' '\n' | grep -e '^-' | sort -u
}

words()
{
	sort | tr '\n' ' '
}

commands=$(./natpunch --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
like 'the help lists commands' "$commands" '^probe$'
for shell in bash zsh fish; do
	is "$shell: commands" "$(offered real "$shell" 'natpunch ' | grep -v '^-' | words)" \
		"$(printf '%s\n' "$commands" | words)"
	for command in $commands; do
		[ "$command" = help ] && continue
		expected=$(options real "$command")
		like "$command has options" "$expected" '^--help$'
		is "$shell: options of $command" \
			"$(offered real "$shell" "natpunch $command -" | words)" \
			"$(printf '%s\n' "$expected" | words)"
	done
	is "$shell: help of which command" "$(offered real "$shell" 'natpunch help ' | words)" \
		"$(printf '%s\n' "$commands" | words)"

	is "$shell: another command" "$(offered other "$shell" 'natpunch d' | words)" 'dig '
	is "$shell: other options" "$(offered other "$shell" 'natpunch dig -' | words)" \
		"$(printf '%s\n' -4 -K -d -m --a-name-longer-than-its-column --deep --hook-args --key \
			--method | words)"
	is "$shell: choices in the argument" \
		"$(offered other "$shell" 'natpunch dig --hook-args ' | words)" 'natmap natter '
	is "$shell: choices in the text" "$(offered other "$shell" 'natpunch dig -m ' | words)" \
		'fast none slow '
	like "$shell: a file" "$(offered other "$shell" 'natpunch dig --key ./LIC')" 'LICENSE$'
done
for method in $(offered real bash 'natpunch probe -m '); do
	unlike "the method $method is one" \
		"$(./natpunch probe -m "$method" -r '' 2>&1)" 'invalid method'
done
ok 'shellcheck of the one for bash' shellcheck --shell=bash src/service/natpunch.bash
done_testing
