#!/bin/sh
# Which pairs of NATs connect gets through, and which way, by what the kernels know and by what passes
# the reflector: how that is found out is said in matrix. Pairs that differ in what they show, some of
# them with the portable program at the laptop (make PORTABLE=1); with MATRIX=all each pair with both,
# and with the portable program there are two reflectors, one of which is killed in the middle of each
# tenth connect. Without it, in the middle of one connect.

# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss ssh

# HOME LAPTOP -> how it goes. A symmetric NAT comes from a port that the other side does not know:
# that needs a NAT there which lets a known address in from any port; or ports that can be predicted,
# by both sides if both do so; or a relay.
theory()
{
	case $1,$2 in
	symmetric*,open | symmetric*,full-cone* | symmetric*,address-restricted) echo in ;;
	symmetric,* | symmetric-step,symmetric) echo relay ;;
	open,* | full-cone*,* | address-restricted,*) echo out ;;
	*,symmetric) echo relay ;;
	*) echo out ;;
	esac
}

# Of two SYNs that meet no answer on the way, either may be the one that stands.
agrees()
{
	[ "$1" = "$2" ] || { [ "$1" = in ] && [ "$2" = out ]; }
}

# PATH PACKETS: 300 kB are more than 200 packets. A direct session may leave a keep-alive of home's.
leaves_as_many()
{
	case $1 in
	in | out) [ "$2" -lt 10 ] ;;
	relay) [ "$2" -gt 200 ] ;;
	*) false ;;
	esac
}

# WORDS N PAIR...: all pairs without one; $LAPTOP_NATPUNCH is the program at the laptop; a reflector is
# killed in each Nth connect, in none if N is 0.
try_rows()
{
	words=$1
	every=$2
	shift 2
	"${0%/*}/matrix" -k "$every" -f list "$@" >"$table"
	pairs=$(wc -l <"$table")
	kills=$(grep -c '@' "$table")
	is "$words: as many reflectors were killed as connects were to see it" "$kills" \
		"$([ "$every" -eq 0 ] && echo 0 || echo $((pairs * 2 / every)))"
	diag "$words: $pairs pairs, $((pairs * 2)) connects, $kills with a reflector killed"
	is "$words: all pairs were tried" "$(wc -l <"$table")" "$([ $# -gt 0 ] && echo $# || echo 81)"
	while read -r home laptop path ms packets killed; do
		expected=$(theory "$home" "$laptop")
		ok "$words: home $home, laptop $laptop: $expected (was $path $ms, killed $killed)" agrees "$path" "$expected"
		ok "and ${packets:-no} packets of it at the reflector" leaves_as_many "$path" "${packets:-none}"
	done <"$table"
}

top=$(cd "${0%/*}/../.." && pwd)
portable=$top/build/portable/natpunch
[ -x "$portable" ] || bail 'build it first: make PORTABLE=1'
table=$(mktemp) || exit 255
trap 'rm -f "$table"' EXIT
linux='open:open full-cone-port:symmetric port-restricted:port-restricted port-restricted-rst:double
	symmetric:port-restricted symmetric:symmetric symmetric-step:symmetric-step'
posix='symmetric:open port-restricted:symmetric double:full-cone symmetric-step:port-restricted-rst'
[ "${MATRIX-}" != all ] || linux='' posix=''
unset LAPTOP_NATPUNCH
# shellcheck disable=SC2086 # lists
try_rows linux 0 $linux
export LAPTOP_NATPUNCH="$portable"
if [ "${MATRIX-}" = all ]; then
	try_rows 'portable, two reflectors' 10
else
	# shellcheck disable=SC2086
	try_rows portable 0 $posix
	try_rows 'portable, two reflectors' 2 port-restricted-rst:port-restricted-rst
fi
done_testing
