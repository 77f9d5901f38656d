#!/bin/sh
# The floors: src/main.c > src/cmd > src/engine > src/borrow > src/os > src/pure. A file uses its own
# floor and those below, by what it includes and by what its object links to. A header stands on the
# floor of the source of its name. Pure code has neither system nor state.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

floors='pure os borrow engine cmd'

# Sources whose contract is another header: the methods are rows behind borrow.h. So are the
# subcommands, behind command.h.
without_header='src/main.c src/borrow/bind.c src/borrow/repair.c src/borrow/rewrite.c
	src/borrow/raw.c'
# Headers of types and inline functions alone, which any floor may include.
types_only='shared'

# All that pure code may include and call of the C library.
pure_includes='assert|inttypes|limits|stdalign|stdarg|stdbool|stddef|stdint|stdio|string'
pure_calls='mem(chr|cmp|cpy|move|set)|str(len|nlen|cmp|ncmp|chr|rchr|spn|cspn|pbrk|str)|v?snprintf|explicit_bzero
	|__stack_chk_fail|__assert_fail|_GLOBAL_OFFSET_TABLE_'
# The only variables: how much is said, how often, and for which subcommand.
variables='src/os/log.c current_command
src/os/log.c current_level
src/os/log.c current_limit'
# Who may write to standard output and standard error.
printers='src/(main|os/log|cmd/[a-z_]*)\.c'
print_calls='stdout|stderr|printf|vprintf|fprintf|vfprintf|dprintf|puts|fputs|putc|fputc|putchar|perror
	|__printf_chk|__fprintf_chk'

# Sets floor to the number of a source's floor.
floor_of()
{
	case $1 in
	src/pure/*.c) floor=1 ;;
	src/os/*.c) floor=2 ;;
	src/borrow/*.c) floor=3 ;;
	src/engine/*.c) floor=4 ;;
	src/cmd/*.c) floor=5 ;;
	src/main.c) floor=6 ;;
	*) floor=0 ;;
	esac
}

# Sets owners to the sources of the name, below src/cmd where there are any.
owners_of()
{
	owners=
	for folder in $floors; do
		[ "$folder" = cmd ] && [ -n "$owners" ] && break
		[ -e "src/$folder/$1.c" ] && owners="$owners src/$folder/$1.c"
	done
	owners=${owners# }
}

check_houses()
{
	strangers=$(find src -type f ! -name '*.[ch]' ! -path 'src/service/*')
	for source in $(find src -name '*.[ch]' | sort); do
		floor_of "$source"
		[ "$floor" -gt 0 ] || strangers="$strangers $source"
	done
	none 'every file in src is a source on one of the floors, or of the service' "$strangers"

	orphans=
	for header in include/natpunch/*.h; do
		name=${header##*/}
		name=${name%.h}
		owners_of "$name"
		case " $types_only " in *" $name "*) continue ;; esac
		case $owners in
		'') orphans="$orphans$header has no source; " ;;
		*' '*) orphans="$orphans$header could be of $owners; " ;;
		esac
	done
	none 'every header is the contract of one source' "$orphans"

	bare=
	for source in src/*.c src/*/*.c; do
		name=${source##*/}
		owners_of "${name%.c}"
		[ "$owners" = "$source" ] && [ -e "include/natpunch/${name%.c}.h" ] && continue
		case $source in src/cmd/*) continue ;; esac
		for exception in $without_header; do
			[ "$source" = "$exception" ] && continue 2
		done
		bare="$bare $source"
	done
	none 'every source has a header of its name' "$bare"
}

check_includes()
{
	grep -rnE '#[[:space:]]*include[[:space:]]*"' src include >"$lint_dir/includes"
	upwards=
	odd=
	while IFS=: read -r file line text; do
		used=${text#*\"}
		used=${used%%\"*}
		case $used in
		natpunch/*.h) used=${used#natpunch/} used=${used%.h} ;;
		*) odd="$odd$file:$line: $used; " && continue ;;
		esac
		case $file in
		*.h)
			name=${file##*/}
			owners_of "${name%.h}"
			floor_of "$owners"
			;;
		*) floor_of "$file" ;;
		esac
		own=$floor
		owners_of "$used"
		floor_of "$owners"
		[ "$floor" -le "$own" ] || upwards="$upwards$file:$line: $used.h is of $owners; "
	done <"$lint_dir/includes"
	isnt 'includes were looked at' "$(head -n 1 "$lint_dir/includes")" ''
	none 'own headers are included as natpunch/NAME.h' "$odd"
	none 'no file includes a higher floor' "$upwards"
	none 'pure files include no system' "$(list_pure |
		xargs grep -nE '#[[:space:]]*include[[:space:]]*<' /dev/null |
		grep -vE "<($pure_includes)\.h>")"
}

# The pure sources and their headers.
list_pure()
{
	for source in src/pure/*.c; do
		name=${source##*/}
		header=include/natpunch/${name%.c}.h
		echo "$source"
		[ ! -e "$header" ] || echo "$header"
	done
}

# Leaves in symbols a line "FLOOR SOURCE CLASS SECTION SYMBOL" for each symbol of each object.
list_symbols()
{
	for source in src/*.c src/*/*.c; do
		floor_of "$source"
		compile -O1 -fPIE -fno-builtin -c -o "$lint_dir/o" "$source" || return
		nm -f sysv "$lint_dir/o" | awk -F'|' -v floor="$floor" -v source="$source" '
			NF == 7 { gsub(/ /, ""); print floor, source, $3, $7, $1 }' || return
	done >"$lint_dir/symbols"
}

words()
{
	printf '%s' "$1" | tr -d '\n\t'
}

check_symbols()
{
	ok 'every source compiles' list_symbols
	none 'no object links to a higher floor' "$(awk '
		NR == FNR { if ($3 ~ /^[TDBRVC]$/) { floor[$5] = $1; where[$5] = $2 }; next }
		$3 == "U" && floor[$5] > $1 { print $2 ": " $5 " is of " where[$5] }
		' "$lint_dir/symbols" "$lint_dir/symbols")"
	none 'pure code calls nothing but pure code and functions of memory and text' "$(awk \
		-v allowed="^($(words "$pure_calls"))\$" '
		NR == FNR { if ($1 == 1 && $3 != "U") own[$5]; next }
		$1 == 1 && $3 == "U" && !($5 in own) && $5 !~ allowed { print $2 ": " $5 }
		' "$lint_dir/symbols" "$lint_dir/symbols")"
	is 'the variables are those of the log' "$(awk '
		$4 ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $4 !~ /^\.data\.rel\.ro/ &&
			$4 != $5 { print $2, $5 }' "$lint_dir/symbols" | sort)" "$variables"
	none 'only subcommands and the log print' "$(awk -v printers="^$printers\$" \
		-v calls="^($(words "$print_calls"))\$" '
		$3 == "U" && $5 ~ calls && $2 !~ printers { print $2 ": " $5 }' "$lint_dir/symbols")"
}

check_houses
check_includes
check_symbols
done_testing
