#!/bin/sh
# -V prints a mapping once a stranger got in through it, and not before. 53-kind-* has the kinds of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/verify.sh
. "$(dirname "$0")/verify.sh"
need ip nft conntrack tcpdump sshd

try_others()
{
	lab_start full-cone open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	for method in repair rewrite raw; do
		verify -v -m "$method" -r "$LAB_REFLECTOR4"
		is "$method: exit 0" "$status" 0
		like "$method: the line" "$line" "^$LAB_HOME_PUBLIC4 [0-9]+\$"
		like "$method: a stranger was let in" "$said" "$LAB_REFLECTOR_B4:[0-9]+: connected"
		lab_nat_flush home
	done
	lab_sshd_stop
	verify -r "$LAB_REFLECTOR4"
	is 'nothing listens: exit 5' "$status" 5
	is 'no line' "$line" ''
	like 'it says so' "$said" 'hint: nothing listens'
	lab_sshd_start
	lab_kill two

	lab_reflect mute reflector --no-dial
	verify -r "$LAB_REFLECTOR4"
	is '--no-dial: exit 1' "$status" 1
	is 'no line' "$line" ''
	like 'it says why' "$said" 'cannot verify: no reflector dials back'
	lab_kill mute
	NATPUNCH_REFLECTOR='' verify
	is '-V without a reflector: usage' "$status" 2
	lab_stop
}

try_keep_mute()
{
	lab_start full-cone open
	lab_reflect mute reflector --no-dial
	lab_spawn keep home "$natpunch" probe -k -V -r "$LAB_REFLECTOR4"
	wait_for 5 eval '! lab_alive keep'
	lab_kill keep
	is '-k with a reflector that cannot dial: exit 1' $? 1
	lab_stop
}

try_others
verify_keep repair
verify_keep raw
try_keep_mute

done_testing
