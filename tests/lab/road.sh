# shellcheck shell=sh
#
# A home with a name, and a laptop on the road to it, in the laboratory. Source
# lab.sh and tap.sh first, then this; lab_start, then road_start.
#
#   road_start [ARG...]     a reflector with names, and at home probe -k as
#                           "home"; the arguments are further ones of probe.
#                           Back when the name is registered
#   road_files              makes the keys and ssh's configuration
#   road_reflect            starts the reflector (again) with the same keys
#   road_keep [ARG...]      starts probe -k at home
#   road_connect            natpunch connect at the laptop, to "home"
#   road_ssh [COMMAND...]   ssh from the laptop through natpunch connect; what
#                           connect says goes to $LAB_DIR/connect.err
#   road_banner             time and first line of a connection: "MS LINE";
#                           connect's words go to $LAB_DIR/banner.err
#
# Variables: ROAD_REFLECT, ROAD_CONNECT: further arguments of reflect and of
# connect. ROAD_ADDR: where the reflector is asked; its IPv4 address. ROAD_KEYS:
# a file of further keys for the reflector. LAPTOP_NATPUNCH: the program at the laptop, where it is
# not the one at home.

natpunch=${lab_top:?}/natpunch
laptop_natpunch=${LAPTOP_NATPUNCH:-$natpunch}

road_reflect()
{
	# shellcheck disable=SC2086 # a list of options
	lab_spawn reflect reflector "$natpunch" reflect -v -K "$LAB_DIR/keys" ${ROAD_REFLECT-}
	wait_for_line 20 "$LAB_DIR/reflect.err" ready || lab_die "the reflector does not start"
}

road_keep()
{
	lab_spawn keep home "$natpunch" probe -k -v -r "$ROAD_ADDR" -n home \
		-K "$LAB_DIR/home.key" "$@"
	wait_for_line 20 "$LAB_DIR/keep.err" 'home is registered' ||
		lab_die "home is not registered: $(cat "$LAB_DIR/keep.err")"
}

road_files()
{
	ROAD_ADDR=${ROAD_ADDR:-$LAB_REFLECTOR4}
	(umask 077 && "$natpunch" keygen home >"$LAB_DIR/home.key" &&
		cat "$LAB_DIR/home.key" ${ROAD_KEYS:+"$ROAD_KEYS"} >"$LAB_DIR/keys") || lab_die "no key"
	cat >"$LAB_DIR/ssh_config" <<-END
	Host home
	    HostKeyAlias home
	    CheckHostIP no
	    ProxyCommand $laptop_natpunch connect -v -r $ROAD_ADDR -K $LAB_DIR/home.key ${ROAD_CONNECT-} home 2>>$LAB_DIR/connect.err
	    User root
	    IdentityFile $LAB_DIR/user_key
	    IdentitiesOnly yes
	    UserKnownHostsFile $LAB_DIR/known_hosts
	    GlobalKnownHostsFile none
	    StrictHostKeyChecking yes
	    BatchMode yes
	    LogLevel ERROR
	END
}

road_start()
{
	road_files
	road_reflect
	road_keep "$@"
}

road_connect()
{
	# shellcheck disable=SC2086 # a list of options
	lab_exec laptop "$laptop_natpunch" connect -v -r "$ROAD_ADDR" -K "$LAB_DIR/home.key" \
		${ROAD_CONNECT-} home
}

road_ssh()
{
	: >"$LAB_DIR/connect.err"
	lab_exec laptop ssh -F "$LAB_DIR/ssh_config" home "$@" </dev/null
}

road_banner()
{
	road_began=$(date +%s%N)
	road_connect </dev/null 2>"$LAB_DIR/banner.err" | {
		read -r road_line || exit 1
		echo "$((($(date +%s%N) - road_began) / 1000000)) $road_line" | tr -d '\r'
		cat >/dev/null
	}
}
