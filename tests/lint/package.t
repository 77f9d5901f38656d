#!/bin/sh
# What a packager gets: a tarball and a binary that are the same bytes wherever they are made, a
# version that is told in one place, all that was installed taken away again, and a Debian package
# in which lintian finds no fault.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need git tar dpkg-buildpackage lintian dh blhc

version=$(sed -n 's/^VERSION = //p' Makefile)
released=$(sed -n 's/^RELEASED = //p' Makefile)
tarball=build/natpunch-$version.tar.gz

# The index is what counts, so a tree of its own makes this independent of what lies about here.
mkdir "$lint_dir/tree"
if [ -e .git ]; then
	git ls-files | tar -cf - -T - | tar -xf - -C "$lint_dir/tree"
else
	tar -cf - --exclude=./build . | tar -xf - -C "$lint_dir/tree"
fi

is 'the version is told in one place' "$(cd "$lint_dir/tree" &&
	grep -rlF "$version" . --exclude-dir=corpus | sort | tr '\n' ' ')" './Makefile ./README.md '
like 'and the README says what is new in it' "$(cat README.md)" "^### $version, $released\$"

# The same tree under another name, by somebody with another umask, from a tarball.
ok 'make dist' make -s -C "$lint_dir/tree" dist
mkdir "$lint_dir/again"
tar -xzf "$lint_dir/tree/$tarball" -C "$lint_dir/again"
again=$lint_dir/again/natpunch-$version
(umask 077 && touch "$again/README.md" && make -s -C "$again" dist)
ok 'of a tarball: the same bytes' cmp "$lint_dir/tree/$tarball" "$again/$tarball"
if [ -e .git ]; then
	make -s dist
	ok 'of what git knows: the same bytes' cmp "$tarball" "$again/$tarball"
fi
none 'nobody is named in it' "$(tar -tvzf "$tarball" 2>/dev/null | grep -v ' 0/0 ')"

# The package, and meanwhile a part of the program in another place; it stands here already.
[ -x natpunch ] || bail 'build it first: make'
large env DEB_BUILD_OPTIONS=nocheck make -s -C "$again" deb >"$lint_dir/deb.log" 2>&1 &
deb=$!
part=build/src/os/socket.o
ok 'make, elsewhere' make -s -C "$lint_dir/tree" "$part"
ok 'the same bytes' cmp "$part" "$lint_dir/tree/$part"

ok 'make install' make -s install DESTDIR="$lint_dir/root"
ok 'make uninstall' make -s uninstall DESTDIR="$lint_dir/root"
none 'takes all of it away' "$(find "$lint_dir/root" ! -type d)"
none 'and its directory' "$(find "$lint_dir/root" -name natpunch)"
ok 'make uninstall, with nothing there' make -s uninstall DESTDIR="$lint_dir/root"

wait "$deb"
is 'make deb, and lintian finds no fault' $? 0
grep '^[EW]:' "$lint_dir/deb.log" | while read -r line; do diag "$line"; done
package=$(echo "$again"/build/deb/natpunch_*.deb)
is 'its place is told last' "$(tail -n 1 "$lint_dir/deb.log")" "${package#"$again"/}"
ok 'the flags for hardening are in use' blhc --all "$lint_dir/deb.log"
like 'its version' "$(dpkg-deb -f "$package" Version)" "^$version-1\$"
mkdir "$lint_dir/unpacked"
dpkg-deb -e "$package" "$lint_dir/scripts"
like 'a reflector that runs is stopped when it is removed,' "$(cat "$lint_dir/scripts/prerm")" \
	"deb-systemd-invoke stop '?natpunch-reflect.service"
like 'and started anew when it is upgraded' "$(cat "$lint_dir/scripts/postinst")" \
	'deb-systemd-invoke .*natpunch-reflect.service'
like 'a probe that runs is stopped when it is removed,' "$(cat "$lint_dir/scripts/prerm")" \
	"deb-systemd-invoke stop 'natpunch-probe@\*.service'"
like 'and started anew when it is upgraded' "$(cat "$lint_dir/scripts/postinst")" \
	"deb-systemd-invoke try-restart 'natpunch-probe@\*.service'"
dpkg-deb -x "$package" "$lint_dir/unpacked"
is 'the program in it' "$("$lint_dir/unpacked/usr/bin/natpunch" --version)" "natpunch $version"
is 'what is in it' "$(cd "$lint_dir/unpacked" && find . ! -type d ! -path '*/man/*' |
	sed 's,^\./lib/,./usr/lib/,' | sort)" \
	'./usr/bin/natpunch
./usr/lib/systemd/system/natpunch-probe@.service
./usr/lib/systemd/system/natpunch-reflect.service
./usr/lib/sysusers.d/natpunch.conf
./usr/share/bash-completion/completions/natpunch
./usr/share/doc/natpunch/README.md.gz
./usr/share/doc/natpunch/changelog.Debian.gz
./usr/share/doc/natpunch/copyright
./usr/share/fish/vendor_completions.d/natpunch.fish
./usr/share/lintian/overrides/natpunch
./usr/share/natpunch/natpunch-probe-after.conf
./usr/share/natpunch/natpunch-probe-sshd.conf
./usr/share/natpunch/natpunch.init
./usr/share/zsh/vendor-completions/_natpunch'
none 'each file of ours that a page names is in it' "$(find "$lint_dir/unpacked/usr/share/man" \
	-type f -exec zcat {} + | grep -o '/usr/[a-z]*/natpunch[^ ]*[a-z]' | sort -u |
	while read -r named; do [ -e "$lint_dir/unpacked$named" ] || echo "$named"; done)"
is 'every page of the manual' "$(find "$lint_dir/unpacked/usr/share/man" -type f | wc -l)" \
	"$(find man -name '*.[1-8]' | wc -l)"
done_testing
