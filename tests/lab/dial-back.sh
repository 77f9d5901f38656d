# shellcheck shell=sh
#
# A reflector that is asked to dial, and what arrived of it. Source lab.sh and
# tap.sh first.
#
#   dial_reflect [ARG...]   a reflector with a second address
#   dial_ask NS [ARG...]    asks it with tests/lab/dial.c: $answer
#   dial_syns NAME [FILTER] how many different SYNs that capture holds
#   dial_kind KIND          in a laboratory of that kind, with that reflector

natpunch=${lab_top:?}/natpunch
dial=$LAB_BIN/dial

dial_reflect()
{
	lab_reflect reflect reflector -v -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6" "$@"
}

# NS [dial option...]: the answer, in $answer.
dial_ask()
{
	asker=$1
	shift
	answer=$(lab_exec "$asker" "$dial" "$@")
}

# SYNs, those sent again left out, that the capture NAME holds and that match the filter.
dial_syns()
{
	syn_capture=$1
	shift
	lab_captured "$syn_capture" -nn \
		"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn ${1:+and $1}" |
		awk '{ print $3, $5 }' | sort -u | grep -c .
}

# KIND: home asks from another port than 22, about the mapping of 22.
dial_kind()
{
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" >"$LAB_DIR/line" ||
		bail "$1: probe: $(cat "$LAB_DIR/line")"
	read -r ip port <"$LAB_DIR/line"
	lab_capture knocks home eth0 "tcp dst port 22"
	lab_capture calls reflector eth0 "tcp and not port 3478"
	dial_ask home -p "$port" "$LAB_REFLECTOR4"
	is "$1: what was dialled is the mapping" "$(echo "$answer" | grep target)" "target $ip:$port"
	is "$1: both places called" "$(dial_syns calls "dst host $ip and dst port $port")" 2
	case $1 in
	open | full-cone*)
		like "$1: the same address gets through" "$answer" \
			"^same connected from $LAB_REFLECTOR4:[0-9]+ SSH-2\.0-OpenSSH"
		like "$1: and so does the other" "$answer" \
			"^other connected from $LAB_REFLECTOR_B4:[0-9]+ SSH-2\.0-OpenSSH"
		is "$1: both SYNs came to home" "$(dial_syns knocks)" 2
		ok "$1: sshd tells of a visitor that only looked" \
			wait_for_line 5 "$LAB_SSHD_LOG" "$LAB_REFLECTOR_B4 port"
		;;
	address-restricted)
		like "$1: the address that home spoke to gets through" "$answer" \
			"^same connected from $LAB_REFLECTOR4:[0-9]+ SSH-2\.0-OpenSSH"
		like "$1: the other does not" "$answer" "^other timed out from $LAB_REFLECTOR_B4:"
		is "$1: one SYN came to home" "$(dial_syns knocks)" 1
		;;
	*-rst)
		like "$1: another port is refused" "$answer" "^same refused from $LAB_REFLECTOR4:"
		like "$1: another address too" "$answer" "^other refused from $LAB_REFLECTOR_B4:"
		is "$1: nothing came to home" "$(dial_syns knocks)" 0
		;;
	*)
		like "$1: another port does not get through" "$answer" \
			"^same timed out from $LAB_REFLECTOR4:"
		like "$1: another address neither" "$answer" "^other timed out from $LAB_REFLECTOR_B4:"
		is "$1: nothing came to home" "$(dial_syns knocks)" 0
		;;
	esac
}
