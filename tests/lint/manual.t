#!/bin/sh
# The manual pages are clean mdoc, fit a terminal of 80 columns, and the pages that they refer to
# exist.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need mandoc man perl

# Pages of others that ours refer to; that each is in this section was looked up.
others='capabilities.7 conntrack.8 cron.8 crontab.1 crontab.5 curl.1 inetd.8 ip.7 ipv6.7 nc.1 netstat.8 nft.8
	raw.7 getopt_long.3 scp.1 setcap.8 shutdown.2 socket.7 ss.8 ssh.1 ssh_config.5 sd_notify.3 sshd.8 sshd_config.5 systemd-sysusers.8 systemd.service.5
	systemd.socket.5 tcp.7 tsig-keygen.8 udp.7 wg.8'

# As mdoc(7) wants it: by section, then by name.
see_also()
{
	awk '/^\.Sh/ { inside = /SEE ALSO/ } inside && /^\.Xr/ { print $3, $2 }' "$1"
}

# What is wider than 80 columns of what comes in.
wide()
{
	perl -CS -ne 's/.\x08//g; chomp; print "$.: $_\n" if length > 80'
}

# The rows of a page's tables that do not fit, of which a formatter sets the cells askew. What is
# between columns is in mdoc(7); the last cell ends where the page does.
wide_rows()
{
	perl -ne '
		if (/^\.Bl -column (.*)/) {
			@widths = map { length } grep { defined && !/^-/ } $1 =~ /"([^"]*)"|([^" ]+)/g;
			$gap = @widths < 5 ? 4 : @widths == 5 ? 3 : 1;
		} elsif (/^\.El/) {
			@widths = ();
		} elsif (@widths && /^\.It (.*)/) {
			@cells = map { s/"|\b(?:Em|Cm|Dv|No|Pa) //gr } split / ?Ta /, $1;
			$end = 5 + length $cells[-1];
			$end += $widths[$_] + $gap for 0 .. $#cells - 1;
			print if $end > 78 || grep { length $cells[$_] > $widths[$_] } 0 .. $#cells - 1;
		}' "$1"
}

for page in man/*; do
	name=${page##*/}
	# Whether a page is installed here says nothing about ours; that is looked at below.
	none "$name is clean" "$(mandoc -T lint -W style "$page" 2>&1 |
		grep -v -e 'referenced manual not found' -e 'outdated mandoc.db')"
	none "$name: 80 columns, by mandoc" "$(mandoc -T utf8 -O width=78 "$page" | wide)"
	none "$name: 80 columns, by groff" "$(LC_ALL=C.UTF-8 MANWIDTH=80 man -l "$page" 2>/dev/null | wide)"
	none "$name: groff warns of nothing" \
		"$(LC_ALL=C.UTF-8 MANWIDTH=80 man -l "$page" 2>&1 >/dev/null)"
	none "$name: its tables fit" "$(wide_rows "$page")"
	none "$name names scripts and targets that are there" "$({
		grep -oE 'tests/[a-z]+/[a-z0-9][a-z0-9.-]*' "$page" | while read -r script; do
			[ -e "$script" ] || echo "$script"
		done
		sed -n 's/^\.Dl [$#] make \([a-z-]*\)$/\1/p' "$page" | while read -r target; do
			grep -qE "^([a-z-]+ )*$target( [a-z-]+)*:" Makefile || echo "make $target"
		done
	})"
	is "$name is titled so" "$(sed -n 's/^\.Dt \(.*\) \([0-9]\)$/\1.\2/p' "$page" |
		tr '[:upper:]' '[:lower:]')" "$name"
	none "$name refers to pages that exist" "$(sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1.\2/p' \
		"$page" | sort -u | while read -r reference; do
		case " $(echo "$others" | tr -s '\n\t' '  ') " in *" $reference "*) continue ;; esac
		[ -e "man/$reference" ] || echo "$reference"
	done)"
	is "$name: SEE ALSO is in order" "$(see_also "$page")" "$(see_also "$page" | sort -u)"
	see_also "$page" >"$lint_dir/seen"
	none "$name: SEE ALSO has all that the page refers to" "$(sed -n \
		's/^\.\([A-Z][a-z] \)\?Xr \([^ ]*\) \([0-9]\).*/\3 \2/p' "$page" | sort -u | grep -vxFf "$lint_dir/seen")"
done
# What the files of services have, as far as the command reads it: systemd is not asked.
[ -x natpunch ] || bail 'build it first: make'
sed -n 's/.*OPTIONS="\([^"]*\)".*/\1/p' README.md man/* src/service/*.service src/service/*.init | sort -u \
	>"$lint_dir/options"
while read -r options; do
	case $options in *-r*) command='probe -k' ;; *) command=reflect ;; esac
	# shellcheck disable=SC2086 # words
	ok "$command takes $options" ./natpunch $command $options --help
done <"$lint_dir/options"
like 'one of them is of a reflector with keys' "$(cat "$lint_dir/options")" '^-K /etc/natpunch/keys$'
# What to do where the first try fails is told beside it.
# shellcheck disable=SC2016 # Markdown
like 'the README: where ssh hangs' "$(sed -n '/^3\. From anywhere else:$/,/^`natpunch help probe`/p' README.md)" \
	'^   If ssh hangs: `natpunch check`\.$'
done_testing
