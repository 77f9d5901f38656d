# shellcheck shell=sh
#
# natpunch probe -V in the laboratory, held against a connection from a
# stranger. Source lab.sh and tap.sh first.
#
#   verify ARG...           probe -V: $status, $line and $said
#   verify_judge NAME WANT  is that what it says when the NAT is open, or shut?
#   verify_kind KIND WANT WANT_WITH_ONE_ADDRESS   in a laboratory of that kind
#   verify_keep METHOD [-u]   with -k, in a laboratory of its own
#   verify_drop PROTOCOL PORT home's firewall lets in no stranger

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
	verify -u -p 5000 -r "$LAB_REFLECTOR4"
	case $2 in
	open) is "$1, UDP: exit 0" "$status" 0 ;;
	*) is "$1, UDP: exit 5" "$status" 5 ;;
	esac
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

# PROTOCOL PORT
verify_drop()
{
	lab_exec home nft -f - <<-END
		table inet local {
			chain input {
				type filter hook input priority 0
				$1 dport $2 ct state new drop
			}
		}
	END
}

# METHOD [-u]: -k: nothing is claimed while strangers do not get in; then it is, and each turn is
# told. By raw there is no connection to ask over: it goes over one from another port.
verify_keep()
{
	protocol=tcp seen='connected after'
	[ $# = 1 ] || protocol=udp seen='a datagram from .* came$'
	lab_start full-cone open
	# shellcheck disable=SC2016 # for the hook to expand
	printf '#!/bin/sh\necho "$NATPUNCH_EVENT $1 $2" >>"%s/events"\n' "$LAB_DIR" >"$LAB_DIR/hook"
	chmod 755 "$LAB_DIR/hook"
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	# shellcheck disable=SC2086 # one option, or none
	lab_spawn keep home "$natpunch" probe -k -V -v -m "$1" ${2-} -i 0.5 \
		-e "$LAB_DIR/hook" -r "$LAB_REFLECTOR4"
	ok "$1: a mapping that works: up" wait_for_line 5 "$LAB_DIR/events" "^up $LAB_HOME_PUBLIC4 22\$"
	is "$1: and a line" "$(cat "$LAB_DIR/keep.out")" "$LAB_HOME_PUBLIC4 22"
	ok "$1: it was dialled before" grep -q "$seen" "$LAB_DIR/keep.err"

	# At a change it is verified anew; a firewall has come up meanwhile.
	verify_drop "$protocol" 22
	lab_nat_address home 203.0.113.3
	ok "$1: the next one lets nobody in: unreachable" \
		wait_for_line 15 "$LAB_DIR/events" '^unreachable 203\.0\.113\.3 22$'
	is "$1: and no line" "$(cat "$LAB_DIR/keep.out")" "203.0.113.2 22"
	lab_exec home nft delete table inet local
	lab_nat_address home 203.0.113.4
	ok "$1: the one after that does: up" wait_for_line 15 "$LAB_DIR/events" '^up 203\.0\.113\.4 22$'
	ok "$1: and a line" wait_for_line 5 "$LAB_DIR/keep.out" '^203\.0\.113\.4 22$'
	lab_kill keep
	is "$1: SIGTERM: exit 0" $? 0
	is "$1: the last event" "$(tail -n 1 "$LAB_DIR/events")" 'down 203.0.113.4 22'
	lab_kill two
	like "$1: is the method" "$(cat "$LAB_DIR/keep.err")" " by $1, asking"
	lab_stop
}
