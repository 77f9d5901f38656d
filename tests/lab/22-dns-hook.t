#!/bin/sh
# The hook of the manual page, as it is printed there, publishes a mapping in the
# zone of a real name server; whoever asks the DNS logs in at home.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft mandoc knotd nsupdate dig sshd ssh

natpunch=$lab_top/natpunch
secret='bmF0cHVuY2ggbGFib3JhdG9yeSBrZXksIG5vIHNlY3JldA=='

# The name server listens on the second host. Its zone has nothing but itself.
start_name_server()
{
	mkdir "$LAB_DIR/dns"
	cat >"$LAB_DIR/dns/example.org.zone" <<-END
	example.org. 60 IN SOA ns.example.org. hostmaster.example.org. 1 60 60 60 60
	example.org. 60 IN NS ns.example.org.
	ns.example.org. 60 IN A $LAB_SECOND4
	END
	cat >"$LAB_DIR/dns/knot.conf" <<-END
	server:
	    rundir: $LAB_DIR/dns
	    listen: [ $LAB_SECOND4@53 ]
	    user: root
	log:
	  - target: stderr
	    any: info
	database:
	    storage: $LAB_DIR/dns
	key:
	  - id: home
	    algorithm: hmac-sha256
	    secret: $secret
	acl:
	  - id: home
	    key: home
	    action: update
	zone:
	  - domain: example.org
	    storage: $LAB_DIR/dns
	    file: example.org.zone
	    zonefile-sync: -1
	    journal-content: none
	    acl: home
	END
	lab_spawn dns second knotd -c "$LAB_DIR/dns/knot.conf"
	wait_for 10 published SOA example.org || {
		diag "$(cat "$LAB_DIR/dns.err")"
		bail "the name server does not start"
	}
}

# TYPE NAME: what a stranger is told, if anything.
published()
{
	answer=$(lab_exec third dig "@$LAB_SECOND4" +short +time=1 +tries=1 -t "$1" "$2") &&
		[ -n "$answer" ]
}

# The hook of the page, with this laboratory's key and server in it and nothing else changed.
take_hook()
{
	mandoc -T ascii -O width=200 "$lab_top/man/natpunch-probe.1" | col -b | tr '\t' ' ' |
		sed -n '/^ *#!\/bin\/sh$/,/^ *END$/s/^     //p' >"$LAB_DIR/page"
	sed -e "s|^key=.*|key=$LAB_DIR/dns/home.key|" -e "s|^server=.*|server=$LAB_SECOND4|" \
		"$LAB_DIR/page" >"$LAB_DIR/hook"
	chmod +x "$LAB_DIR/hook"
	cat >"$LAB_DIR/dns/home.key" <<-END
	key "home" {
		algorithm hmac-sha256;
		secret "$secret";
	};
	END
}

# ADDRESS PORT: what the DNS must say.
expect_published()
{
	published A home.example.org
	is "$1: the address" "$answer" "$1"
	published SRV _ssh._tcp.home.example.org
	is "$1: the port" "$answer" "0 0 $2 home.example.org."
}

lab_start full-cone-port open
lab_spawn reflect reflector "$natpunch" reflect
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
start_name_server
take_hook
is "the page has one hook" "$(grep -c '^#!' "$LAB_DIR/page")" 1
is "two of its lines are changed here" "$(diff "$LAB_DIR/page" "$LAB_DIR/hook" | grep -c '^>')" 2
nok "before the hook has run there is nothing" published SRV _ssh._tcp.home.example.org

# PROBE's own call of the hook.
probe()
{
	lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" -c "$LAB_DIR/state" \
		-e "$LAB_DIR/hook" >"$LAB_DIR/line" 2>"$LAB_DIR/probe.err"
	is "$1: the probe succeeds" $? 0
	unlike "$1: and its hook" "$(cat "$LAB_DIR/probe.err")" 'hook'
	read -r address port <"$LAB_DIR/line"
}

probe 'the first mapping'
isnt "the NAT changed the port" "$port" 22
expect_published "$LAB_HOME_PUBLIC4" "$port"
is "it is what the NAT holds" "$address $port" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"

# A stranger who knows the name alone.
before=$(grep -c 'Accepted publickey' "$LAB_SSHD_LOG")
# shellcheck disable=SC2034 # read below as fields
published SRV _ssh._tcp.home.example.org && read -r priority weight port name <<END
$answer
END
published A "$name"
is "a stranger logs in with what the DNS says" \
	"$(lab_ssh third "$answer" "$port" echo in)" in
is "and sshd accepted it" "$(grep -c 'Accepted publickey' "$LAB_SSHD_LOG")" "$((before + 1))"

lab_nat_address home 203.0.113.9
lab_nat_flush home
probe 'after a change of the address'
expect_published 203.0.113.9 "$port"

# The other family and the other events, as natpunch would call it.
hook()
{
	lab_exec home env NATPUNCH_EVENT="$1" NATPUNCH_FAMILY="$4" NATPUNCH_PUBLIC_ADDR="$2" \
		NATPUNCH_PUBLIC_PORT="$3" "$LAB_DIR/hook" "$2" "$3" '' 22 tcp 192.168.1.2
}
ok "down: the hook succeeds" hook down 203.0.113.9 1 4
expect_published 203.0.113.9 "$port"
ok "IPv6: the hook succeeds" hook change 2001:db8::7 50022 6
published AAAA home6.example.org
is "IPv6: the address" "$answer" 2001:db8::7
published SRV _ssh._tcp.home6.example.org
is "IPv6: the port" "$answer" "0 0 50022 home6.example.org."
expect_published 203.0.113.9 "$port"

# Another key: the name server says no, and natpunch says that the hook failed.
sed -i 's/secret ".*"/secret "AAAA"/' "$LAB_DIR/dns/home.key"
rm "$LAB_DIR/state"
lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" -e "$LAB_DIR/hook" >"$LAB_DIR/line" \
	2>"$LAB_DIR/probe.err"
is "a wrong key: the mapping is printed all the same" "$(cut -d ' ' -f 1 "$LAB_DIR/line")" \
	203.0.113.9
like "a wrong key: the hook's failure is told" "$(cat "$LAB_DIR/probe.err")" \
	'warning: hook .* failed at up: exit status [1-9]'
published SRV _ssh._tcp.home.example.org
is "a wrong key: nothing is published" "$answer" "0 0 $port home.example.org."

lab_kill dns
lab_kill reflect
done_testing
