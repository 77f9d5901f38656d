#!/bin/sh
# RFC 5780 by other programs' clients, with a reflector that listens on every address; 53-kind-* has
# what they say in front of every kind of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/behaviour.sh
. "$(dirname "$0")/behaviour.sh"
need ip nft tcpdump turnutils_natdiscovery stun

# Listening on every address, as without -l: here the main one is chosen for us.
lab_start full-cone open
lab_reflect ours reflector -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6"
for address in "$LAB_REFLECTOR4" "$LAB_REFLECTOR_B4"; do
	out=$(behaviour_discover -m -f -P "$address")
	like "listening everywhere, asked at $address: mapping" "$out" "Endpoint Independent Mapping"
	like "listening everywhere, asked at $address: filtering" "$out" \
		"Endpoint Independent Filtering"
done
out=$(behaviour_discover -m "$LAB_REFLECTOR_B6")
like "listening everywhere, asked at $LAB_REFLECTOR_B6: mapping" "$out" \
	"Endpoint Independent Mapping"
# Asked to answer from the other place: where the packets really come from.
lab_capture answers home eth0 "udp and src port 3479"
lab_exec home stun "$LAB_REFLECTOR4" >/dev/null 2>&1
like "the answer to change the port comes from that port" "$(lab_captured answers -nn)" \
	"IP $LAB_REFLECTOR4\.3479 > "
lab_kill ours
lab_stop

done_testing
