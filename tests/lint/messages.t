#!/bin/sh
# What natpunch says to people, as tests/messages collects it: begun and ended alike, each fault in
# one wording, and the manual's DIAGNOSTICS in the same words.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

need perl
perl tests/messages >"$lint_dir/messages"
like 'the texts were collected' "$(cat "$lint_dir/messages")" '	cannot bind port %u: %s$'

# What becomes a line of its own, or its hint; others are parts of one, or go over the network.
grep -E '	(error_(set|hint)|log_(error|warning|note|detail))	' "$lint_dir/messages" |
	grep -vE '	 ' >"$lint_dir/lines"
none 'a message begins in lower case, unless with a name' "$(grep -E '	[A-Z][^	]*$' "$lint_dir/lines" |
	grep -vE '	(IPv%d|UPnP|NAT-PMP)[^	]*$')"
none 'and has no full stop' "$(grep -E '[.!]$' "$lint_dir/lines")"
none 'a value that was typed stands in quotes' \
	"$(grep -E "	(invalid|unknown) [a-z %]*: %" "$lint_dir/lines" | grep -v 'unknown %s: %s')"

# WORDING, a pattern | what is said instead
while IFS='|' read -r wording instead; do
	none "not '${wording% }', as there is:${instead}" \
		"$(grep -E "	[^	]*	.*(${wording% })" "$lint_dir/messages")"
done <<'WORDINGS'
out of memory | no memory, no memory for WHAT
took too long | the time is up
not a STUN message | it is not STUN
not an answer | bad answer
no word from | no answer from
never heard of | WHO knows no address of NAME
key is refused by | WHO refuses the key for NAME
names are kept by | WHO keeps no names
holds it \(pid | WHO (pid N) holds it
connection cut | the connection was cut
no more$ | no longer
for want of | as it lacks
WORDINGS

# The same words in another order are a second wording; options of a command have no order.
none 'one order of words for one fault' "$(perl -F'\t' -lane '
	next if $F[1] =~ /^_?static_assert$/i || $F[2] =~ /^ *-/;
	my @words = grep { !/^(a|an|the|is|are|was|it)$/ } split / /,
		join " ", lc($F[2]) =~ s/%[-+0-9.*]*(?:l|ll|z)?[a-z]|<PRI\w+>//gr =~ /([a-z]{2,})/g;
	next if @words < 3;
	my $key = join " ", sort @words;
	$seen{$key}{"@words"} .= "$F[0]: $F[2]\n";
	END { print join "", values %$_ for grep { keys %$_ > 1 } values %seen }' "$lint_dir/messages")"

# An item is one text of ours, or several with ": " or "; " between them; what errno says is the
# C library's.
none 'DIAGNOSTICS has what is said' "$(perl -e '
	open my $messages, "<", shift or die;
	for (<$messages>) {
		my $text = (split /\t/)[2] =~ s/\\"/"/gr =~ s/(\\[rn])*\n$//r;
		for my $part ($text, split /[:;,] (?!\z)/, $text) {
			push @texts, $part;
			my $said = join ".*", map { quotemeta s/%%/%/gr }
				split /(?:%[-+0-9.*]*(?:l|ll|z)?[a-zA-Z]|<[A-Z]\w+>)+/, $part, -1;
			push @said, qr/$said(?: %\w)?/ if $said =~ /[a-z]{3}/;
		}
	}
	$said = join "|", @said, "%\\w", "Address already in use", "Operation not permitted", "Permission denied";
	$said = qr/(?:$said)/;
	for my $page (@ARGV) {
		open my $in, "<", $page or die;
		while (<$in>) {
			$inside = /DIAGNOSTICS/ if /^\.Sh/;
			next if !$inside || !/^\.It "(.*)"/;
			my $item = $1 =~ s/^warning: //r =~ s/[,:] \.\.\.$//r;
			my $form = join ".+", map { quotemeta } split /%[a-z]/, $item, -1;
			next if $item =~ /^$said$/ || grep { /^$form$/ } @texts;
			print "$page:$.: $item\n" if grep { !/^$said$/ } split /[:;] /, $item;
		}
	}' "$lint_dir/messages" man/*)"
done_testing
