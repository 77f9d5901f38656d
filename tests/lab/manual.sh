# shellcheck shell=sh
#
# What the manual shows, to be run as it stands there. Source lab.sh first.
#
#   manual_display PAGE WORD   the first literal display or line of man/PAGE
#                              that has WORD in it, as a reader sees it; \n in
#                              WORD is the end of a line
#   manual_commands PAGE WORD  the commands in it: what follows a prompt, and
#                              the lines below that are indented. The reflector
#                              has its address here in the place of its name

manual_display()
{
	awk -v word="$2" '
		function end() { if (index(text, word)) { printf "%s", text; exit } text = "" }
		/^\.Dl / { text = substr($0, 5) "\n"; end() }
		/^\.Bd/ { inside = 1; text = ""; next }
		/^\.Ed/ { inside = 0; end() }
		inside { text = text $0 "\n" }' "${lab_top:?}/man/$1" | sed 's/\\e/\\/g; s/\\(dq/"/g'
}

manual_commands()
{
	manual_display "$@" | sed -n 's/^[$#] //; t keep
		/^ /!d
		:keep
		s/reflector\.example\.org/'"$LAB_REFLECTOR4"'/; p'
}
