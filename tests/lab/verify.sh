# shellcheck shell=sh
#
# natpunch probe -V in the laboratory, held against a connection from a
# stranger. Source lab.sh and tap.sh first.
#
#   verify ARG...           probe -V: $status, $line and $said
#   verify_judge NAME WANT  is that what it says when the NAT is open, or shut?
#   verify_kind KIND WANT WANT_WITH_ONE_ADDRESS   in a laboratory of that kind

natpunch=${lab_top:?}/natpunch

# [option...]: $status, $line and $said. The machine may be busy.
verify()
{
	line=$(lab_exec home "$natpunch" probe -V -t 10 "$@" 2>"$LAB_DIR/said")
	status=$?
	said=$(cat "$LAB_DIR/said")
}

# NAME WANT: WANT is open or shut.
verify_judge()
{
	if [ "$2" = open ]; then
		is "$1: exit 0" "$status" 0
		is "$1: the line is the mapping" "$line" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"
		like "$1: -v shows the banner" "$said" 'connected after [0-9]+ ms: SSH-2\.0-OpenSSH'
		return
	fi
	is "$1: exit 5" "$status" 5
	is "$1: no line" "$line" ''
	like "$1: the reason" "$said" 'natpunch probe: [0-9.:]+ is not reachable from elsewhere: '
	like "$1: the next step" "$said" '^hint: '
}

# KIND WANT WANT_WITH_ONE_ADDRESS
verify_kind()
{
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	verify -v -r "$LAB_REFLECTOR4"
	verify_judge "$1, two addresses" "$2"
	if [ "$2" = open ]; then
		read -r ip port <<-END
			$line
		END
		like "$1: and so a stranger gets through" "$(lab_banner third "$ip" "$port")" '^SSH-2\.0'
	else
		set -- "$@" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"
		is "$1: and so a stranger does not" "$(lab_banner third "${4% *}" "${4#* }")" ''
	fi
	lab_kill two
	lab_nat_flush home

	lab_reflect one reflector
	verify -v -r "$LAB_REFLECTOR4"
	verify_judge "$1, one address" "$3"
	[ "$3" = shut ] ||
		like "$1, one address: what that leaves open is said" "$said" 'cannot be told'
	lab_nat_flush home

	lab_reflect second second
	verify -v -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
	verify_judge "$1, two reflectors" "$2"
	lab_kill one
	lab_kill second
}
