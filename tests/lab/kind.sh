# shellcheck shell=sh
#
# What depends on the kind of NAT in front of home, all in one laboratory of
# that kind: RFC 5780 by other programs' clients, dial-back, probe -V, check
# and ssh from a stranger. Each kind has a script of its own, so that several
# run at once.
#
#   kind_try KIND MAPPING FILTERING [VERIFY]   MAPPING and FILTERING in the
#                           words that check has; VERIFY: with probe -V, which
#                           asks what check asks, and so for some kinds only

kind_here=$(dirname "$0")
# shellcheck source=tests/lab/lab.sh
. "$kind_here/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$kind_here/tap.sh"
for kind_part in behaviour dial-back verify check; do
	# shellcheck source=/dev/null
	. "$kind_here/$kind_part.sh"
done
need ip nft conntrack tcpdump sshd turnutils_natdiscovery turnserver stun perl

# VALUE: as natdiscovery has it.
kind_words()
{
	case $1 in
	none | endpoint-independent) echo 'Endpoint Independent' ;;
	address-dependent) echo 'Address Dependent' ;;
	address-and-port-dependent) echo 'Address and Port Dependent' ;;
	esac
}

# KIND FILTERING
kind_verify()
{
	case $2 in
	endpoint-independent) verify_kind "$1" open open ;;
	address-dependent) verify_kind "$1" shut open ;;
	*) verify_kind "$1" shut shut ;;
	esac
	lab_nat_flush home
}

kind_try()
{
	lab_start "$1" open
	dial_reflect -l "$LAB_REFLECTOR4:3478" -l "[$LAB_REFLECTOR6]:3478"
	behaviour_begin
	dial_kind "$1"
	behaviour_judge "$1" "$(kind_words "$2")" "$(kind_words "$3")"
	lab_kill reflect
	is "$1: the reflector ends cleanly" $? 0
	lab_nat_flush home
	[ -z "${4-}" ] || kind_verify "$1" "$3"
	check_kind "$1" "\"$2\"" "\"$3\""
	lab_stop
	check_json 6
	done_testing
}
