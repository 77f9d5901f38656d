#!/bin/sh
# A key is changed while home is kept, by the commands of natpunch-keygen(1) in their order, and at no
# moment is anybody kept out: not who has the old key until it is removed, nor who has the new one. And
# a key that is revoked at once: home's connection is closed, home says what to do, and does it.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ssh

# FILE: ssh from the laptop with the key in it.
ssh_with()
{
	cp "$1" "$LAB_DIR/laptop.key"
	road_ssh echo well 2>/dev/null
}

lost_ssh()
{
	lab_exec laptop ssh -F "$LAB_DIR/lost_config" home echo well </dev/null 2>/dev/null
}

reload_reflector()
{
	reloads=$((reloads + 1))
	kill -HUP "$(cat "$LAB_DIR/reflect.pid")"
	wait_for 10 has_reloaded || bail "the reflector does not read its keys again"
}

has_reloaded()
{
	[ "$(grep -c 'keys read again' "$LAB_DIR/reflect.err")" -ge "$reloads" ]
}

# How often home was registered with a key.
registrations()
{
	grep -c 'home is registered as' "$LAB_DIR/keep.err"
}

registered_again()
{
	[ "$(registrations)" -gt "$before" ]
}

# FILE: home gets that key; over ssh, as its page has it.
give_home()
{
	before=$(registrations)
	lab_exec laptop ssh -F "$LAB_DIR/ssh_config" home \
		"umask 077; cat >$LAB_DIR/home.key.new && mv $LAB_DIR/home.key.new $LAB_DIR/home.key" <"$1"
	kill -HUP "$(cat "$LAB_DIR/keep.pid")"
}

# N: the commands of a step of natpunch-keygen(1), CHANGING A KEY, with the files that are here; those
# for systemd are left out.
step()
{
	awk -v wanted="$1" '/^\.Sh/ { inside = /CHANGING A KEY/ } inside && /^\.Ed/ { shown = 0 }
		shown { print } inside && /^\.Bd/ { shown = ++blocks == wanted }' \
		"$lab_top/man/natpunch-keygen.1" |
		sed "/^# systemctl/d; s/^# //; s/\\\\e\$/\\\\/; s|/etc/natpunch/keys|$LAB_DIR/keys|; s|>new\.key|>$LAB_DIR/new.key|"
}

# FILE OUT WHAT: begins a change of FILE with standard output to OUT, which must fail.
replace_into()
{
	cp "$LAB_DIR/keys" "$LAB_DIR/before"
	"$natpunch" keygen -K "$1" --replace home >"$2" 2>"$LAB_DIR/err"
	is "$3: exit 3" $? 3
	ok "$3: the file is as it was" cmp "$LAB_DIR/before" "$LAB_DIR/keys"
}

umask 077
PATH=$lab_top:$PATH
reloads=0
export LAB_DELAY=0
lab_start port-restricted port-restricted
road_files
cp "$LAB_DIR/home.key" "$LAB_DIR/old.key"
cp "$LAB_DIR/home.key" "$LAB_DIR/laptop.key"
sed -i 's/home\.key/laptop.key/' "$LAB_DIR/ssh_config"
"$natpunch" keygen work >>"$LAB_DIR/keys"
# shellcheck disable=SC2034 # for road_reflect
ROAD_REFLECT="-S $LAB_DIR/state"
road_reflect
road_keep
is "the old key alone" "$(ssh_with "$LAB_DIR/old.key")" well

# ---- a key that nobody has
replace_into "$LAB_DIR/keys" /dev/full "a line that cannot be printed"
like "and says so" "$(cat "$LAB_DIR/err")" 'keygen: cannot write to standard output: '
ln -s keys "$LAB_DIR/link"
replace_into "$LAB_DIR/link" "$LAB_DIR/out" "a file that cannot be changed"
like "and says so" "$(cat "$LAB_DIR/err")" 'keygen: cannot replace .*/link: it is a symbolic link$'
like "and what the line is worth" "$(cat "$LAB_DIR/err")" \
	'^hint: the printed line is of no use, as the file does not have it$'
"$natpunch" keygen -K "$LAB_DIR/keys" --replace elsewhere >"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "a name that has no key: exit 3" $? 3
is "and no line that is of no use" "$(cat "$LAB_DIR/out")" ""

# ---- in order
(umask 022 && sh -c "$(step 1)") 2>"$LAB_DIR/err"
is "a new key, which nobody else can read" "$(stat -c '%a %s' "$LAB_DIR/new.key")" '600 54'
is "which goes from the laptop to home" "$(step 3 | sed -n '$s/.*<//p')" "$(step 2 | sed 's/.* //')"
is "the new line stands first" "$(sed -n 1p "$LAB_DIR/keys")" "$(cat "$LAB_DIR/new.key")"
is "and the old one behind it" "$(sed -n 2p "$LAB_DIR/keys")" "$(cat "$LAB_DIR/old.key")"
replace_into "$LAB_DIR/keys" "$LAB_DIR/out" "a change that begins twice"
is "and prints no other key" "$(cat "$LAB_DIR/out")" ""
reload_reflector
like "the reflector has both" "$(cat "$LAB_DIR/reflect.err")" \
	'keys read again: 2 names, 1 of them with an old key$'
is "two keys, home has the old one: the old one gets in" "$(ssh_with "$LAB_DIR/old.key")" well
is "two keys, home has the old one: the new one gets in" "$(ssh_with "$LAB_DIR/new.key")" well

give_home "$LAB_DIR/new.key"
ok "home reads it" wait_for_line 10 "$LAB_DIR/keep.err" 'key read again: it is another one$'
ok "and registers with it" wait_for 10 registered_again
is "two keys, home has the new one: the old one gets in" "$(ssh_with "$LAB_DIR/old.key")" well
is "two keys, home has the new one: the new one gets in" "$(ssh_with "$LAB_DIR/new.key")" well

"$natpunch" keygen -K "$LAB_DIR/keys" --remove-old home 2>"$LAB_DIR/err"
is "the old line is gone" "$(grep -c '^home ' "$LAB_DIR/keys") $(sed -n 1p "$LAB_DIR/keys")" \
	"1 $(cat "$LAB_DIR/new.key")"
reload_reflector
isnt "the new key alone: the old one is refused" "$(ssh_with "$LAB_DIR/old.key")" well
like "which is told" "$(cat "$LAB_DIR/connect.err")" 'refuses the key for home'
is "the new key alone: the new one gets in" "$(ssh_with "$LAB_DIR/new.key")" well
unlike "home was registered all the while" "$(cat "$LAB_DIR/keep.err")" 'is not registered'
unlike "and its connection held" "$(cat "$LAB_DIR/reflect.err")" 'its key is no longer valid'

# ---- a lost laptop: its key for ssh
ssh-keygen -q -t ed25519 -N '' -C lost-laptop -f "$LAB_DIR/lost_key"
cat "$LAB_DIR/lost_key.pub" >>"$LAB_DIR/authorized_keys"
sed "s|IdentityFile .*|IdentityFile $LAB_DIR/lost_key|" "$LAB_DIR/ssh_config" >"$LAB_DIR/lost_config"
is "the lost laptop has a key for ssh" "$(lost_ssh)" well
is "it is taken away from another" "$(road_ssh "sed -i '/ lost-laptop\$/d' $LAB_DIR/authorized_keys; echo well")" well
isnt "it gets in no more" "$(lost_ssh)" well
is "the other does" "$(road_ssh echo well)" well

# ---- at once
sh -c "$(step 7 | sed 's|new\.key|third.key|')" 2>"$LAB_DIR/err"
is "the new line alone, as the manual has it" "$(grep '^home ' "$LAB_DIR/keys")" "$(cat "$LAB_DIR/third.key")"
reload_reflector
ok "a key that is replaced at once: home's connection is closed" wait_for_line 10 \
	"$LAB_DIR/reflect.err" 'closed: its key is no longer valid$'
ok "home says what to do" wait_for_line 20 "$LAB_DIR/keep.err" \
	'home is not registered: .* refuses the key for home; .*new line into the key file here and send SIGHUP$'
isnt "nobody gets in with the key that home has" "$(ssh_with "$LAB_DIR/new.key")" well
echo damaged >"$LAB_DIR/home.key"
kill -HUP "$(cat "$LAB_DIR/keep.pid")"
ok "a file that is damaged changes nothing" wait_for_line 10 "$LAB_DIR/keep.err" \
	'the key stays as it was$'
before=$(registrations)
cp "$LAB_DIR/third.key" "$LAB_DIR/home.key"
kill -HUP "$(cat "$LAB_DIR/keep.pid")"
ok "home registers with the new one" wait_for 10 registered_again
is "and it gets in" "$(ssh_with "$LAB_DIR/third.key")" well
lab_kill keep
is "home ends well" $? 0

done_testing
