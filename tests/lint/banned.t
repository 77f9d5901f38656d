#!/bin/sh
# What must not stand in the tree, and what stands there instead. (Some patterns have a letter in
# brackets, so that they do not find themselves.)
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

find . \( -name .git -o -path ./build \) -prune -o -type f -print | sed 's,^\./,,' |
	grep -vE '^(natpunch|natpunch-static|tests/fuzz/corpus/.*)$' | sort >"$lint_dir/files"

# banned NAME FILES PATTERN [EXCEPT]: no line of the files whose names match FILES matches PATTERN,
# but for those where "file:line:text" matches EXCEPT.
banned()
{
	none "$1" "$(grep -E "$2" "$lint_dir/files" | tr '\n' '\0' |
		xargs -0 grep -nIE -e "$3" /dev/null | grep -vE -e "${4:-^\$}")"
}

source='^(src|include)/'
# A call, or its address taken: the name as a word and no member.
word='(^|[^A-Za-z0-9_.>])'

banned 'numbers are read by parse_number(), which takes the whole text and no sign' "$source" \
	"$word(strto(l|ll|ul|ull|d|f|ld|imax|umax)|ato(i|l|ll|f)|v?[fs]?scanf) *\("
banned 'text is written with its bound' "$source" \
	"$word(v?sprintf|st[rp]cpy|strncpy|st[rp]ncpy|strncat|strcat|gets|wcscpy) *\("
banned 'addresses are read and written by addr.h' "$source" \
	"$word(inet_(ntoa|addr|aton|network|ntop|pton)|getservbyname|gethostbyname2?|gethostbyaddr) *\(" \
	'^src/base/addr\.c:[0-9]*: \*'
banned 'random bytes come from random_fill()' "$source" \
	"$word(s?rand|rand_r|s?random|[dlm]rand48) *\("
banned 'no memory of a size that somebody else chose' "$source" "$word(alloca|strdupa?|asprintf) *\("
banned 'no shell and no race for a file' "$source" \
	"$word(system|popen|tmpnam|tempnam|mktemp|tmpfile) *\("
banned 'no process of others is touched' "$source" \
	"$word(ptrace|pidfd_getfd|process_vm_(readv|writev)|SYS_(ptrace|pidfd_getfd)) *\("
banned 'no wait for a fixed time' "$source" "$word(u?sleep|nanosleep|clock_nanosleep) *\("
# Once, when a command starts; never for a packet or a connection. Comments may speak of it.
takers='os/(file|key_file)|client/mapping_race|reflector/(reflector|udp|raw_answer|relay|tcp_table|worker|registry|registry_file|forget_limit)'
banned 'no memory is taken but where it is known to be' "$source" "$word(m|c|re)alloc(array)? *\(" \
	"^src/($takers)\.c:|^[^:]*:[0-9]*:[[:space:]]*/?\*"
# What waits step by step until something holds is named here. `sleep 100` is a process that stays.
banned 'tests wait for an event, not for a fixed time' '^tests/.*\.(sh|t|c|h)$' \
	"(^|[^#_A-Za-z\"'-])(u?slee[p] *\(|nanoslee[p] *\(|slee[p] +[0-9.]{1,2}([^0-9]|\$))" \
	'^tests/unit/server\.h:'
banned 'nothing is left open' '' \
	'(^|[^A-Za-z])(TOD[O]|FIXM[E]|XX[X]|HAC[K])([^A-Za-z]|$)|not implemente[d]|placeholde[r]'
banned 'no path of a machine that it was written on' '' \
	'(^|[^A-Za-z0-9_.])/(hom[e]|User[s]|wor[k]|mn[t])/'
banned 'the text speaks of the program, not of how it was written' '' \
	'\b(this|earlier|next) sessio[n]\b|\bCE[O]\b|\bA[I]\b|language mode[l]|DESIGN\.m[d]'
# One word for one thing: TERMS in natpunch-nat(7).
synonyms='[Ff]oretold|[Ff]oretell|[Tt]raveller|[Rr]endezvous|keepalive[^_]|hole.?punch|port forwarding'
synonyms="$synonyms|external (address|port)|but for |[Oo]n the road|[Ff]rom the road|public host"
synonyms="$synonyms|pass(es|ed|ing)? on |passe[sd] [a-z]+ on to |\\b[Aa]skers?\\b"
banned 'one word for one thing, in what users read' '^(man/|README\.md)' \
	"$synonyms"
none 'and in what natpunch says' "$(perl tests/messages | grep -iE "	.*	.*($synonyms)")"
# Comments say who acts, and have the exception behind the rule.
banned 'plain words in what maintainers read' \
	'^(src|include/natpunch)/(base|proto|os|borrow|reflector|client|check|home|cmd)/' \
	'[Ww]home?ver|[Ww]hoever|without a word|come to stand|but for ' \
	'/udp_punch\.[ch]:|/check_report|_log\(|\.summary|"answers_total"'
banned 'no white space at the end of a line' '' '[[:space:]]$'
banned 'no line break of other systems' '' "$(printf '\r')"

# shellcheck disable=SC2016 # perl's
none 'every file ends with a line break' "$(tr '\n' '\0' <"$lint_dir/files" | xargs -0 perl -e '
	for (@ARGV) {
		open my $file, "<", $_ or die "$_: $!\n";
		seek $file, -1, 2 or next;
		print "$_\n" if getc $file ne "\n";
	}')"
like 'the files were listed' "$(cat "$lint_dir/files")" '^src/main\.c$'
done_testing
