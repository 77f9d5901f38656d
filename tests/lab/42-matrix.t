#!/bin/sh
# Which pairs of NATs connect gets through, and which way: what is tried is said in matrix. Pairs
# that differ in what they show; all of them with MATRIX=all.

# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ssh

# HOME LAPTOP -> how it goes. A symmetric NAT comes from a port that the other side does not know:
# that needs a NAT there which lets a known address in from any port, or a relay.
theory()
{
	case $1,$2 in
	symmetric,open | symmetric,full-cone* | symmetric,address-restricted) echo in ;;
	symmetric,*) echo relay ;;
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

set -- open:open open:symmetric full-cone:full-cone full-cone-port:full-cone-port \
	full-cone-port:symmetric address-restricted:address-restricted \
	address-restricted:symmetric port-restricted:port-restricted \
	port-restricted:port-restricted-rst port-restricted-rst:port-restricted \
	port-restricted-rst:port-restricted-rst port-restricted-rst:double symmetric:open \
	symmetric:full-cone-port symmetric:address-restricted symmetric:port-restricted \
	symmetric:symmetric port-restricted:symmetric double:double double:open double:full-cone
[ "${MATRIX-}" != all ] || set --

table=$(mktemp) || exit 255
trap 'rm -f "$table"' EXIT
"${0%/*}/matrix" -f list "$@" >"$table"
is 'all pairs were tried' "$(wc -l <"$table")" "$([ $# -gt 0 ] && echo $# || echo 64)"
while read -r home laptop path ms; do
	expected=$(theory "$home" "$laptop")
	ok "home $home, laptop $laptop: $expected (was $path $ms)" agrees "$path" "$expected"
done <"$table"
done_testing
