# shellcheck shell=sh
#
# natpunch check in the laboratory, and what there is to say of its answers.
# Source lab.sh and tap.sh first.
#
#   check_both ARG...       over TCP and UDP at once, for ports 22 and 5022
#   check_judge NAME PROTOCOL MAPPING FILTERING DIRECT   as JSON has them
#   check_ssh NAME DIRECT   does ssh from a stranger do what the verdict says?
#   check_kind KIND MAPPING FILTERING   all of it, in a laboratory of that kind
#   check_json COUNT        is what came all JSON, and so many times at least?

natpunch=${lab_top:?}/natpunch
check_ei='"endpoint-independent"'
check_ad='"address-dependent"'
check_apd='"address-and-port-dependent"'
check_dependent='"address-dependent or address-and-port-dependent"'
check_not_by_port='"endpoint-independent or address-dependent"'
check_all_json=$(mktemp)

# FILE NAME: a field of the JSON.
check_field()
{
	sed -n 's/.*[{,]"'"$2"'":\("[^"]*"\|[a-z0-9]*\).*/\1/p' "$1"
}

# What is there as JSON is kept for check_json, which looks at all of it at once.
check_keep_json()
{
	cat "$LAB_DIR/tcp.out" "$LAB_DIR/udp.out" >>"$check_all_json" 2>/dev/null
}

# Both protocols at once: $LAB_DIR/tcp.out and udp.out, $tcp_status and $udp_status.
check_both()
{
	lab_spawn tcp home "$natpunch" check -f json "$@"
	lab_spawn udp home "$natpunch" check -f json -u -p 5022 "$@"
	for protocol in tcp udp; do
		read -r check_pid <"$LAB_DIR/$protocol.pid"
		wait "$check_pid"
		status=$?
		[ "$protocol" = tcp ] && tcp_status=$status || udp_status=$status
		rm -f "$LAB_DIR/$protocol.pid"
	done
	check_keep_json
}

# NAME PROTOCOL MAPPING FILTERING DIRECT
check_judge()
{
	out=$LAB_DIR/$2.out
	[ -s "$out" ] || diag "$(cat "$LAB_DIR/$2.err")"
	is "$1, $2: mapping" "$(check_field "$out" mapping)" "$3"
	is "$1, $2: filtering" "$(check_field "$out" filtering)" "$4"
	is "$1, $2: verdict" "$(check_field "$out" direct)" "$5"
	status=$tcp_status
	[ "$2" = tcp ] || status=$udp_status
	if [ "$5" = true ]; then
		is "$1, $2: exit 0" "$status" 0
	else
		is "$1, $2: exit 5" "$status" 5
	fi
}

# NAME DIRECT: does ssh from a stranger do what the verdict over TCP says?
check_ssh()
{
	ip=$(check_field "$LAB_DIR/tcp.out" public_addr | tr -d '"')
	port=$(check_field "$LAB_DIR/tcp.out" public_port)
	like "$1: the mapping is the NAT's" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4")" \
		"^$ip $port\$"
	case $2 in
	true) ok "$1: ssh from a stranger gets in" lab_ssh third "$ip" "$port" true ;;
	false) nok "$1: ssh from a stranger does not" lab_ssh third "$ip" "$port" true 2>/dev/null ;;
	esac
}

# KIND MAPPING FILTERING, as in RFC 4787: with one reflector of one address, with two reflectors, with
# one of two addresses.
check_kind()
{
	kind=$1
	mapping=$2
	filtering=$3
	one_mapping=null
	some_mapping=$mapping
	one_filtering=$check_not_by_port
	direct=false
	one_direct=null
	case $kind in
	open) one_mapping='"none"' ;;
	symmetric*) some_mapping=$check_dependent ;;
	esac
	[ "$filtering" != "$check_ei" ] || direct=true
	[ "$filtering" != "$check_apd" ] || one_filtering=$check_apd one_direct=false

	lab_reflect one reflector
	lab_reflect second second
	check_both -r "$LAB_REFLECTOR4"
	check_judge "$kind, one address" tcp "$one_mapping" "$one_filtering" "$one_direct"
	check_judge "$kind, one address" udp "$one_mapping" null null
	check_ssh "$kind, one address" "$one_direct"
	lab_nat_flush home

	check_both -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
	check_judge "$kind, two reflectors" tcp "$some_mapping" "$filtering" "$direct"
	check_judge "$kind, two reflectors" udp "$some_mapping" null null
	check_ssh "$kind, two reflectors" "$direct"
	lab_kill one
	lab_nat_flush home

	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	check_both -r "$LAB_REFLECTOR4"
	check_judge "$kind, two addresses" tcp "$mapping" "$filtering" "$direct"
	check_judge "$kind, two addresses" udp "$mapping" "$filtering" "$direct"
	check_ssh "$kind, two addresses" "$direct"
	obstacle='"router"'
	[ "$direct" = false ] || obstacle='"none"'
	[ "$kind" != double ] || obstacle='"carrier"'
	for protocol in tcp udp; do
		is "$kind, $protocol: the obstacle" "$(check_field "$LAB_DIR/$protocol.out" obstacle)" "$obstacle"
	done
	login=no
	[ "$direct" = false ] || login=yes
	is "$kind: the row in natpunch-nat(7), which tests/lab/kinds prints" \
		"$(grep "^\.It $kind Ta .* Ta .* Ta \(yes\|no\)\$" "$lab_top/man/natpunch-nat.7")" \
		"$(echo ".It $kind Ta $mapping Ta $filtering Ta $login" |
			sed 's/"//g; s/endpoint-independent/independent/g
				s/address-and-port-dependent/address, port/g; s/address-dependent/address/g')"
	case $kind in
	open) layers=0 ;;
	double) layers=2 ;;
	*+*) layers=2 ;;
	*) layers=1 ;;
	esac
	is "$kind: layers" "$(check_field "$LAB_DIR/tcp.out" layers)" "$layers"
	unsolicited='"dropped"'
	[ "$direct" = false ] || unsolicited='"let in"'
	case $kind in *-rst) unsolicited='"answered with a reset"' ;; esac
	is "$kind: unsolicited" "$(check_field "$LAB_DIR/tcp.out" unsolicited)" "$unsolicited"
	public=$(check_field "$LAB_DIR/tcp.out" public_port)
	preserved=false
	[ "$public" != 22 ] || preserved=true
	is "$kind: port preserved" "$(check_field "$LAB_DIR/tcp.out" port_preserved)" "$preserved"
	parity=false
	[ $((public % 2)) -eq 1 ] || parity=true
	is "$kind: parity preserved" "$(check_field "$LAB_DIR/tcp.out" parity_preserved)" "$parity"
}

check_json()
{
	ok 'there were runs with JSON' test "$(grep -c . "$check_all_json")" -ge "$1"
	# shellcheck disable=SC2016 # for perl
	ok 'each is one object on one line' perl -MJSON::PP -ne 'decode_json($_)' "$check_all_json"
	rm -f "$check_all_json"
}
