#!/bin/sh
# The rooms: main > cmd > check, connect, home, reflector > client > borrow > os > proto > base, a
# folder each in src. A file uses its own room and those below, by what it includes and by what its
# object links to; the four in the middle do not use each other, and no files use each other in a
# circle. A header that another room uses is in include/natpunch/ROOM/, one that its room uses alone
# is beside its source. Pure code has neither system nor state. src/ROOM/portable/ is of the room, and
# not of the program on Linux.
# shellcheck disable=SC2046,SC2086 # lists of words, which have no spaces
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

# A room's height; those of the same height do not use each other.
heights='base=1 proto=2 os=3 borrow=4 client=5 check=6 connect=6 home=6 reflector=6 cmd=7 main=8'

# Sources whose contract is another header: the methods are rows behind method.h, the subcommands
# rows behind command.h.
without_header='borrow/bind borrow/repair borrow/rewrite borrow/raw cmd/check cmd/connect cmd/keygen
	cmd/lookup cmd/probe cmd/reflect'
# Headers of types, constants and inline functions alone.
without_source='base/relaxed_counter connect/times home/keep_config reflector/config'

# Pure are base and proto, and of the rooms above:
pure_files='check/lifetime check/nat_report reflector/counters reflector/registry_format
	reflector/source_table'
# All that pure code may include and call of the C library.
pure_includes='assert|inttypes|limits|stdalign|stdarg|stdbool|stddef|stdint|stdio|string'
pure_calls='mem(chr|cmp|cpy|move|set)|str(len|nlen|cmp|ncmp|chr|rchr|spn|cspn|pbrk|str)|v?snprintf|explicit_bzero
	|__stack_chk_fail|__assert_fail|_GLOBAL_OFFSET_TABLE_'
# The only variables: how much is said, how often, and for which subcommand; and what all sockets
# are marked with.
variables='os/log current_command
os/log current_level
os/log current_limit
os/socket current_mark'
# What may write to standard output and standard error.
printers='main|os/log|cmd/[a-z_]*'
print_calls='stdout|stderr|printf|vprintf|fprintf|vfprintf|dprintf|puts|fputs|putc|fputc|putchar|perror
	|__printf_chk|__fprintf_chk'

# A module is a header and the source of its name: FILE... as ROOM/NAME each, on a line.
modules()
{
	printf '%s\n' "$@" | sed -E 's,^(src|include/natpunch)/,,; s,\.[ch]$,,'
}

# A list that stands on several lines, on one.
line()
{
	printf '%s' "$1" | tr -s '\n\t ' ' '
}

# A pattern that stands on several lines, on one.
words()
{
	printf '%s' "$1" | tr -d '\n\t'
}

check_houses()
{
	none 'every file in src is a source or a header in a room, or of the service' "$(
		find src -type f ! -path 'src/service/*' | grep -vE \
			"^src/(main\\.c|(base|proto|os|borrow|client|check|connect|home|reflector|cmd)/([a-z0-9_]+\\.[ch]|portable/[a-z0-9_]+\\.c))\$")"
	none 'no two sources have one name' "$(find src -name '*.c' ! -path '*/portable/*' | sed 's,.*/,,' | sort | uniq -d)"

	orphans=
	bare=
	for module in $(modules $(find include src -name '*.h')); do
		case " $(line "$without_source") " in *" $module "*) continue ;; esac
		[ -e "src/$module.c" ] || orphans="$orphans $module"
	done
	for module in $(modules src/*/*.c); do
		case " $(line "$without_header") " in *" $module "*) continue ;; esac
		[ -e "src/$module.h" ] || [ -e "include/natpunch/$module.h" ] ||
			bare="$bare $module"
	done
	none 'every header is the contract of the source of its name' "$orphans"
	none 'every source has a header of its name, in its room' "$bare"
	none 'and only one' "$(modules $(find include src -name '*.h') | sort | uniq -d)"
}

# Leaves in uses a line "USER USED WHERE" for each include of a module by another.
list_includes()
{
	grep -rnE '#[[:space:]]*include[[:space:]]*"' src include >"$lint_dir/includes"
	sed -nE 's,^(src|include/natpunch)/([a-z0-9_/]+)\.([ch]):([0-9]+):.*"(natpunch/)?([a-z0-9_]+/[a-z0-9_]+)\.h".*,\2 \6 \1/\2.\3:\4,p' \
		"$lint_dir/includes" | awk '$1 != $2' >"$lint_dir/uses"
}

# Leaves in symbols a line "MODULE CLASS SECTION SYMBOL" for each symbol of each object that the
# program is made of, and in links a line "USER USED SYMBOL" for each that one module takes from
# another.
list_symbols()
{
	make -s natpunch || return
	nm -A -f sysv $(printf 'build/%s\n' src/*.c src/*/*.c | sed 's/c$/o/') >"$lint_dir/nm" || return
	awk -F'|' 'NF == 7 {
		gsub(/ /, "")
		split($1, name, ":")
		sub(/^build\/src\//, "", name[1])
		sub(/\.o$/, "", name[1])
		print name[1], $3, $7, name[2]
	}' "$lint_dir/nm" >"$lint_dir/symbols"
	awk 'NR == FNR { if ($2 ~ /^[TDBRVC]$/) { owner[$4] = $1 }; next }
		$2 == "U" && ($4 in owner) && owner[$4] != $1 { print $1, owner[$4], $4 }
		' "$lint_dir/symbols" "$lint_dir/symbols" >"$lint_dir/links"
}

# Prints of lines "USER USED WHERE" those that go up, or across.
list_upwards()
{
	awk -v heights="$heights" '
		BEGIN {
			for (n = split(heights, rows, " "); n > 0; n--) {
				split(rows[n], row, "=")
				height[row[1]] = row[2]
			}
		}
		function room(module) { sub(/\/.*/, "", module); return module }
		{
			user = room($1)
			used = room($2)
			if (!(user in height) || !(used in height) || height[used] > height[user] ||
				(height[used] == height[user] && used != user))
				print $3 ": " $1 " uses " $2
		}' "$1"
}

# Prints what is left of lines "USER USED" when all that use nothing any more are taken away.
list_circles()
{
	awk '{ edge[$1 " " $2] }
		END {
			do {
				taken = 0
				split("", uses)
				for (e in edge) { split(e, ends, " "); uses[ends[1]] }
				for (e in edge) {
					split(e, ends, " ")
					if (!(ends[2] in uses)) { delete edge[e]; taken++ }
				}
			} while (taken > 0)
			do {
				taken = 0
				split("", used)
				for (e in edge) { split(e, ends, " "); used[ends[2]] }
				for (e in edge) {
					split(e, ends, " ")
					if (!(ends[1] in used)) { delete edge[e]; taken++ }
				}
			} while (taken > 0)
			for (e in edge)
				print e
		}' "$@" | sort
}

check_includes()
{
	list_includes
	isnt 'includes were looked at' "$(head -n 1 "$lint_dir/uses")" ''
	none 'own headers are included as natpunch/ROOM/NAME.h, or ROOM/NAME.h in their room' "$(
		grep -vE '^src/([a-z]+)/[^"]*"(natpunch/[a-z]+|\1)/[a-z0-9_]+\.h"|^(src/main\.c|include/)[^"]*"natpunch/[a-z]+/[a-z0-9_]+\.h"' \
			"$lint_dir/includes")"
	# What a header in include includes has to be there as well.
	none 'a header in include is used by another room' "$(
		find include/natpunch -name '*.h' | sed 's,^include/,,' | awk -F'"' '
			function room(path) {
				sub(/^(src|natpunch)\//, "", path)
				sub(/\/.*/, "", path)
				return path
			}
			NR != FNR { if (!($0 in used)) print; next }
			/^include/ || room($1) != room($2) { used[$2] }
		' "$lint_dir/includes" -)"
	none 'no file includes a room above or beside its own' "$(list_upwards "$lint_dir/uses")"
	none 'pure files include no system' "$(list_pure |
		xargs grep -nE '#[[:space:]]*include[[:space:]]*<' /dev/null |
		grep -vE "<($pure_includes)\.h>")"
}

# The pure sources and their headers.
list_pure()
{
	for module in $(modules src/base/*.c src/proto/*.c) $pure_files; do
		for file in "src/$module.c" "src/$module.h" "include/natpunch/$module.h"; do
			[ ! -e "$file" ] || echo "$file"
		done
	done
}

check_symbols()
{
	pure="^((base|proto)/.*|$(line "$pure_files" | tr ' ' '|'))\$"
	ok 'every source has an object' list_symbols
	none 'no object links to a room above or beside its own' "$(list_upwards "$lint_dir/links")"
	none 'no files use each other in a circle' "$(list_circles "$lint_dir/uses" "$lint_dir/links")"
	none 'pure code calls nothing but pure code and functions of memory and text' "$(awk \
		-v allowed="^($(words "$pure_calls"))\$" -v pure="$pure" '
		NR == FNR { if ($1 ~ pure && $2 != "U") own[$4]; next }
		$1 ~ pure && $2 == "U" && !($4 in own) && $4 !~ allowed { print $1 ": " $4 }
		' "$lint_dir/symbols" "$lint_dir/symbols")"
	is 'the variables are those of the log, and the mark' "$(awk '
		$3 ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $3 !~ /^\.data\.rel\.ro/ &&
			$3 != $4 { print $1, $4 }' "$lint_dir/symbols" | sort)" "$variables"
	none 'only subcommands and the log print' "$(awk -v printers="^($printers)\$" \
		-v calls="^($(words "$print_calls"))\$" '
		$2 == "U" && $4 ~ calls && $1 !~ printers { print $1 ": " $4 }' "$lint_dir/symbols")"
}

check_houses
check_includes
check_symbols
done_testing
