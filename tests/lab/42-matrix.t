#!/bin/sh
# Which pairs of NATs connect gets through, and which way, by what the kernels know and by what passes
# the reflector: how that is found out is said in matrix. Pairs that differ in what they show, some of
# them with the portable program at the laptop (make PORTABLE=1); with MATRIX=all each pair with both.

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

# WORDS PAIR...: all pairs without one; $LAPTOP_NATPUNCH is the program at the laptop.
try_rows()
{
	words=$1
	shift
	"${0%/*}/matrix" -f list "$@" >"$table"
	is "$words: all pairs were tried" "$(wc -l <"$table")" "$([ $# -gt 0 ] && echo $# || echo 81)"
	while read -r home laptop path ms packets; do
		expected=$(theory "$home" "$laptop")
		ok "$words: home $home, laptop $laptop: $expected (was $path $ms)" agrees "$path" "$expected"
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
posix='port-restricted-rst:port-restricted-rst symmetric:open port-restricted:symmetric
	double:full-cone symmetric-step:port-restricted-rst'
[ "${MATRIX-}" != all ] || linux='' posix=''
unset LAPTOP_NATPUNCH
# shellcheck disable=SC2086 # lists
try_rows linux $linux
export LAPTOP_NATPUNCH="$portable"
# shellcheck disable=SC2086
try_rows portable $posix
done_testing
