#!/bin/sh
# check and probe -V beside a probe -k that has the connection to the reflector: they ask the
# reflector's other port if it has one; else they name the program that has the connection.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/check.sh
. "$(dirname "$0")/check.sh"
need ip nft conntrack sshd ss

natpunch=$lab_top/natpunch

# COMMAND [option...]: sets $status, $out and $err.
at_home()
{
	lab_exec home "$natpunch" "$@" -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	out=$(cat "$LAB_DIR/out")
	err=$(cat "$LAB_DIR/err")
}

is_held()
{
	[ "$(lab_exec home ss -Htn state established 'sport = :22 and dport = :3478' | wc -l)" -eq 1 ]
}

lab_start full-cone open
lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
lab_spawn keep home "$natpunch" probe -k -i 1 -r "$LAB_REFLECTOR4"
keeper=$LAB_PID
ok 'a mapping is kept' wait_for_line 10 "$LAB_DIR/keep.out" .
ok 'by a connection' wait_for 5 is_held
at_home probe -V
is 'probe -V: exit 0' "$status" 0
is 'probe -V: the mapping that is kept' "$out" "$(cat "$LAB_DIR/keep.out")"
like 'probe -V: it says whom it asked' "$(lab_said "$LAB_DIR/err")" \
	"port 22 already has a connection to $LAB_REFLECTOR4:3478; asking $LAB_REFLECTOR4:3479 instead\$"
at_home check -f json
is 'check: exit 0' "$status" 0
is 'check: the verdict' "$(check_field "$LAB_DIR/out" direct)" true
is 'check: strangers get in' "$(check_field "$LAB_DIR/out" filtering)" "$check_ei"
at_home check -p 2222
is 'check of another port: exit 5' "$status" 5
unlike 'check of another port: not a word' "$(lab_said "$LAB_DIR/err")" instead
ok 'the keeper lives' lab_alive keep
is 'and has found nothing new' "$(wc -l <"$LAB_DIR/keep.out")" 1

# A reflector of one address has one port.
lab_kill two
lab_reflect one reflector
ok 'the keeper is back' wait_for 20 is_held
for command in 'probe -V -t 2' check; do
	# shellcheck disable=SC2086 # words
	at_home $command -v
	is "$command: exit 3" "$status" 3
	like "$command: why" "$err" "port 22 already has a connection to $LAB_REFLECTOR4:3478\$"
	like "$command: who has it, and what to do" "$err" \
		"^hint: natpunch \\(pid $keeper\\) holds it; ask another reflector \\(-r\\), or one with -a, or stop it meanwhile\$"
	is "$command: at -v, once why not by bind" "$(echo "$err" | grep -c 'method bind passed over')" 1
done
lab_kill keep
at_home probe -V
is 'once it is stopped, probe -V: exit 0' "$status" 0

# The end of the connection gets lost.
lab_spawn keep home "$natpunch" probe -k -r "$LAB_REFLECTOR4"
ok 'kept again' wait_for 20 is_held
lab_cut home
lab_kill keep
lab_mend home
is_free()
{
	[ -z "$(lab_exec home ss -Htan 'sport = :22 and dport = :3478')" ]
}
ok 'one that ends while the line is dead does not keep the port in use' wait_for 15 is_free
done_testing
