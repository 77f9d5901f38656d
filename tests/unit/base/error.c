/* error_set() and error_hint(): values, cut to their fields. */
#include "natpunch/base/error.h"

#include "tap.h"

int main(void)
{
	char word[600];
	struct error error;

	memset(&error, 'x', sizeof(error));
	is_int(error_set(&error, EXIT_STATUS_LOCAL, "cannot bind port %d: %s", 22, "in use"), -1,
		"error_set returns -1");
	is_int(error.status, EXIT_STATUS_LOCAL, "the status is kept");
	is_str(error.text, "cannot bind port 22: in use", "the text is formatted");
	is_str(error.hint, "", "the hint is emptied");

	is_int(error_hint(&error, "sshd holds port %d", 22), -1, "error_hint returns -1");
	is_str(error.hint, "sshd holds port 22", "the hint is formatted");
	is_str(error.text, "cannot bind port 22: in use", "and leaves the text alone");

	memset(word, 'a', sizeof(word));
	word[sizeof(word) - 1] = '\0';
	error_set(&error, EXIT_STATUS_PEER, "%s", word);
	is_uint(strlen(error.text), sizeof(error.text) - 1, "a long text is cut at its field");
	error_hint(&error, "%s", word);
	is_uint(strlen(error.hint), sizeof(error.hint) - 1, "a long hint too");
	is_int(error.status, EXIT_STATUS_PEER, "and the status stays whole");

	is_int(EXIT_STATUS_NETWORK, 1, "exit 1: network");
	is_int(EXIT_STATUS_USAGE, 2, "exit 2: usage");
	is_int(EXIT_STATUS_UNREACHABLE, 5, "exit 5: unreachable");
	is_int(EXIT_STATUS_BUG, 70, "exit 70: a bug");
	return done_testing();
}
