#!/bin/sh
# What a laptop needs is no Linux program: connect, lookup and keygen, and all below them (make
# PORTABLE=1), compile and link as strict C11 with POSIX.1-2008 and SO_REUSEPORT alone, import
# nothing but what POSIX has, and run. One exception: getopt_long(3), which macOS and the BSDs have
# as well.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

strict=$(make -s PORTABLE=1 print-flags)
files=$(make -s PORTABLE=1 print-sources)
natpunch=build/portable/natpunch

ok 'it compiles and links with POSIX alone' make -s -j2 PORTABLE=1
ok 'and clang says the same, without a warning' eval "clang $strict -Werror -fsyntax-only $files"

# Headers: C11's and POSIX's. random.c has one of Linux for Linux, resolve.c two, file.c one for a
# lock that these commands do not use, which macOS and the BSDs have, and sandbox.h one for Linux.
headers='assert|complex|ctype|errno|fcntl|inttypes|limits|netdb|poll|signal|stdalign|stdarg|stdbool'
headers="$headers|stddef|stdint|stdio|stdlib|string|strings|time|unistd|arpa/inet|net/if|netinet/in"
headers="$headers|netinet/tcp|sys/(resource|select|socket|stat|time|types|uio|un|wait)"
objects=$(echo "$files" | sed 's,[^ ]*src/,build/portable/&,g; s/\.c\>/.o/g')
included=$(echo "$objects" | sed 's/\.o\>/.d/g' | xargs cat | tr ' ' '\n' |
	grep -E '^(src|include)/.*\.h$' | sort -u)
like 'the headers were listed' "$included" '^include/natpunch/os/sandbox\.h$'
# shellcheck disable=SC2086 # lists
none 'no header that POSIX has not' "$(grep -nE '^#include <' $files $included |
	grep -vE "<($headers)\\.h>" | grep -vE '<(sys/random|sys/file|getopt|resolv|arpa/nameser)\.h>' |
	grep -v '^include/natpunch/os/sandbox\.h:.*<sys/syscall\.h>$')"

# What the linked program takes from libc. Some of POSIX's functions have other names in there.
posix='abort|accept|access|bind|calloc|clock_gettime|close|connect|dup|dup2|errno|execv|_exit|exit'
posix="$posix|fchmod|fchown|fcntl|ferror|fflush|fork|fprintf|fputc|fputs|free|freeaddrinfo|fstat|fsync"
posix="$posix|fwrite|gai_strerror|getaddrinfo|getcwd|getegid|getenv|geteuid|getpeername|getpid|getrlimit"
posix="$posix|getsockname|getsockopt|isatty|kill|listen|lstat|malloc|memchr"
posix="$posix|memcmp|memcpy|memmove|memset|mkstemp|open|opterr|optarg|optind|optopt|getopt_long|pipe|poll"
posix="$posix|printf|putc|putchar|puts|read|recv|recvfrom|rename|send|sendmsg|sendto|setrlimit|setsockopt|shutdown"
posix="$posix|sigaction|sigemptyset|signal|sigprocmask|snprintf|socket|stderr|stdout|strchr|strcmp|strcspn"
posix="$posix|strerror|strlen|strncmp|strnlen|strrchr|strspn|unlink|vsnprintf|waitpid|write|realloc|qsort|bsearch"
imports()
{
	nm -uD "$1" | awk '{ sub(/@.*/, "", $2); print $2 }' |
		grep -vE '^(__libc_start_main|__gmon_start__|_ITM_.*|__cxa_finalize|__stack_chk_fail)$' |
		sed 's/^__errno_location$/errno/; s/64$//; s/^__isoc99_//; s/^__sysv_//'
}
imported=$(imports "$natpunch")
like 'the symbols were listed' "$imported" '^connect$'
none 'no function that POSIX has not' "$(echo "$imported" | grep -vxE "$posix")"

# Another system's linker may take what nobody calls as well.
# shellcheck disable=SC2086 # a list
ok 'it links with what nobody calls' gcc -o "$lint_dir/whole" $objects
none 'which needs the lock besides' "$(imports "$lint_dir/whole" |
	grep -vxE "$posix|__assert_fail|faccessat|flock|stat|strstr")"

# An older macOS has no MSG_NOSIGNAL.
cat >"$lint_dir/macos.h" <<'END'
#include <sys/socket.h>
#undef MSG_NOSIGNAL
#undef SOCK_CLOEXEC
#undef SOCK_NONBLOCK
#define SO_NOSIGPIPE 0x1022
END
for file in $(echo "$files" | xargs grep -l MSG_NOSIGNAL) src/os/socket.c; do
	ok "$file compiles where send(2) has no MSG_NOSIGNAL" compile -DNATPUNCH_PORTABLE \
		-U__linux__ -include "$lint_dir/macos.h" -c -o "$lint_dir/macos.o" "$file"
done

# What make does on such a system: its own name of the program, no service, no page of what is not there.
like 'elsewhere, make makes natpunch' "$(make -n SYSTEM=Darwin B="$lint_dir/elsewhere")" \
	'cc .*-DNATPUNCH_PORTABLE .* -o natpunch '
unlike 'without options that its linker may not have' \
	"$(make -n SYSTEM=Darwin B="$lint_dir/elsewhere")" '-Wl,'
is 'PORTABLE=0 is as without it' "$(make -s PORTABLE=0 print-flags)" "$(make -s print-flags)"
make -s PORTABLE=1 install DESTDIR="$lint_dir/root"
is 'what is installed' "$(cd "$lint_dir/root/usr/local" && find . ! -type d | sort)" \
	'./bin/natpunch
./share/bash-completion/completions/natpunch
./share/fish/vendor_completions.d/natpunch.fish
./share/man/man1/natpunch-connect.1
./share/man/man1/natpunch-keygen.1
./share/man/man1/natpunch-lookup.1
./share/man/man1/natpunch.1
./share/man/man7/natpunch-nat.7
./share/man/man7/natpunch-protocol.7
./share/zsh/site-functions/_natpunch'

# It names what it has.
is 'its commands' "$("$natpunch" --help | sed -n 's/^  \([a-z]*\) .*/\1/p' | tr '\n' ' ')" \
	'connect lookup keygen help '
is 'as of every build' "$("$natpunch" --version)" "$(sed -n 's/^VERSION = /natpunch /p' Makefile)"
for words in probe 'reflect -K keys' 'check --help' 'help probe'; do
	# shellcheck disable=SC2086 # a list
	said=$("$natpunch" $words 2>&1)
	is "$words: a usage error" $? 2
	like "$words: what it says" "$said" \
		'^natpunch: [a-z]* is for Linux: this build has connect, lookup and keygen$'
done

# It runs: it makes a key, and finds out that there is nobody at that port.
(umask 077 && "$natpunch" keygen home >"$lint_dir/key")
for command in connect lookup; do
	said=$("$natpunch" "$command" -r 127.0.0.1:1 -K "$lint_dir/key" home 2>&1 </dev/null)
	is "$command runs, and ends as it should where nobody answers" $? 1
	like "$command says so" "$said" ' 127\.0\.0\.1:1: Connection refused$'
done
said=$("$natpunch" lookup -r localhost:1 -K "$lint_dir/key" home 2>&1)
like 'a name is looked up' "$said" ':1: Connection refused$'
done_testing
