# shellcheck shell=sh
#
# What was caught on a wire, sent again. Source lab.sh first.

# What tcpdump -x prints, as a line of hex for each TCP or UDP payload that is not empty.
payloads()
{
	awk '
	function digit(c) { return index("0123456789abcdef", c) - 1 }
	function flush(at) {
		if (packet == "")
			return
		at = 8 * digit(substr(packet, 2, 1))
		if (substr(packet, 19, 2) == "06")
			at += 8 * digit(substr(packet, at + 25, 1))
		else
			at += 16
		if (length(packet) > at)
			print substr(packet, at + 1)
		packet = ""
	}
	/^\t0x/ {
		# What is asked for is at the begin; joining all of a long one takes too long.
		if (length(packet) < 4096) {
			sub(/^[^:]*:/, "")
			gsub(/ /, "")
			packet = packet $0
		}
		next
	}
	{ flush() }
	END { flush() }'
}

# HEX: the bytes. In octal, which is all that printf of every shell knows.
bytes()
{
	# shellcheck disable=SC2059 # made of escapes alone
	printf "$(printf '%s\n' "$1" | awk '
	function digit(c) { return index("0123456789abcdef", c) - 1 }
	{ for (i = 1; i < length($0); i += 2)
		printf "\\%03o", 16 * digit(substr($0, i, 1)) + digit(substr($0, i + 1, 1)) }')"
}

# NS HEX OPTION...: sends the bytes to the reflector, prints its first answer in hex.
say()
{
	from=$1
	what=$2
	shift 2
	bytes "$what" | lab_exec "$from" timeout 5 nc.openbsd -w 2 "$@" "$LAB_REFLECTOR4" 3478 |
		od -An -v -tx1 | tr -d ' \n'
}
