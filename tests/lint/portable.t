#!/bin/sh
# What a laptop needs is no Linux program: connect, and all below it, compiles and links as strict
# C11 with POSIX.1-2008 and SO_REUSEPORT alone, imports nothing but what POSIX has, and runs. One
# exception: getopt_long(3), which macOS and the BSDs have as well.
# shellcheck source=tests/lint/lint.sh
. "$(dirname "$0")/lint.sh"

files="src/cmd/connect.c src/cmd/command.c src/cmd/common_options.c src/cmd/name_options.c
	src/connect/initiator.c src/connect/attempt.c src/connect/nearby.c src/connect/stdio_pump.c
	src/connect/socket_pass.c src/client/punch.c src/client/port_sampler.c src/client/stun_stream.c src/os/key_file.c src/os/clock.c
	src/os/file.c src/os/log.c src/os/random.c src/client/reflector_list.c src/os/resolve.c
	src/os/socket.c src/connect/reflector_session.c
	$(echo src/base/*.c src/proto/*.c)"
flags='-std=c11 -D_POSIX_C_SOURCE=200809L -U__linux__ -include tests/lint/posix-only.h
	-Iinclude -Isrc -Wall -Wextra -Werror -O1
	-ffunction-sections -fdata-sections -Wl,--gc-sections'

cat >"$lint_dir/main.c" <<'END'
#include "natpunch/cmd/command.h"

int main(int argc, char **argv)
{
	return command_connect.run(&command_connect, argc, argv);
}
END

for cc in gcc clang; do
	# shellcheck disable=SC2086 # lists of words
	ok "$cc: connect compiles and links with POSIX alone" \
		"$cc" $flags -o "$lint_dir/connect-$cc" "$lint_dir/main.c" $files
done

# Headers: C11's and POSIX's. random.c has one of Linux for Linux, resolve.c two, file.c one for a lock
# that connect does not use.
headers='assert|complex|ctype|errno|fcntl|inttypes|limits|netdb|poll|signal|stdalign|stdarg|stdbool'
headers="$headers|stddef|stdint|stdio|stdlib|string|strings|time|unistd|arpa/inet|net/if|netinet/in"
headers="$headers|netinet/tcp|sys/(select|socket|stat|time|types|uio|un|wait)"
# shellcheck disable=SC2086 # a list
none 'no header that POSIX has not' "$(grep -nE '^#include <' $files |
	grep -vE "<($headers)\\.h>" | grep -vE '<(sys/random|sys/file|getopt|resolv|arpa/nameser)\.h>')"

# What the linked program takes from libc. Some of POSIX's functions have other names in there.
posix='abort|accept|access|bind|calloc|clock_gettime|close|connect|dup|dup2|errno|execv|_exit|exit'
posix="$posix|fcntl|fflush|fork|fprintf|fputc|fputs|free|freeaddrinfo|fstat|fwrite|gai_strerror"
posix="$posix|getaddrinfo|getcwd|geteuid|getpeername|getpid|getsockname|getsockopt|isatty|kill|listen|malloc|memchr"
posix="$posix|memcmp|memcpy|memmove|memset|open|opterr|optarg|optind|optopt|getopt_long|pipe|poll|printf"
posix="$posix|putc|putchar|puts|read|recv|send|sendmsg|setsockopt|shutdown|sigaction|sigemptyset|signal"
posix="$posix|sigprocmask|snprintf|socket|stderr|stdout|strchr|strcmp|strcspn|strerror|strlen"
posix="$posix|strncmp|strnlen|strrchr|strspn|vsnprintf|waitpid|write|realloc|qsort|bsearch"
imported=$(nm -uD "$lint_dir/connect-gcc" | awk '{ sub(/@.*/, "", $2); print $2 }' |
	grep -vE '^(__libc_start_main|__gmon_start__|_ITM_.*|__cxa_finalize|__stack_chk_fail)$' |
	sed 's/^__errno_location$/errno/; s/64$//; s/^__isoc99_//; s/^__sysv_//')
like 'the symbols were listed' "$imported" '^connect$'
none 'no function that POSIX has not' "$(echo "$imported" | grep -vxE "$posix")"

# It runs: it finds out that there is nobody at that port.
(umask 077 && echo 'home BE7SeoJJUvHtJrLWeWN71t8-ECLoN9y1uYHMyvDyRLHrOwYd' >"$lint_dir/key")
said=$("$lint_dir/connect-gcc" -r 127.0.0.1:1 -K "$lint_dir/key" home 2>&1 </dev/null)
is 'it runs, and ends as it should where nobody answers' $? 1
like 'it says so' "$said" 'cannot connect to 127\.0\.0\.1:1: Connection refused$'
done_testing
