#include "natpunch/os/confinement.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "natpunch/os/log.h"

/* For sanitizers and valgrind, which make calls of their own. Ignored after an exec that gave
 * rights.
 */
static bool is_off(void)
{
	const char *word = secure_getenv("NATPUNCH_SANDBOX");

	return word != NULL && strcmp(word, "off") == 0;
}

void confinement_of_files(const struct landlock_rule *rules, size_t count, bool signals)
{
	if (is_off())
		return;
	switch (landlock_enter(rules, count, signals)) {
	case LANDLOCK_ON:
		log_detail("confined by landlock: no files but those that it was given");
		break;
	case LANDLOCK_MISSING:
		log_detail("not confined by landlock: this kernel has none");
		break;
	case LANDLOCK_FAILED:
		log_warning("not confined by landlock: %s", strerror(errno));
		break;
	}
}

void confinement_add_calls(struct confinement_lists *lists, const struct sandbox_call *list)
{
	assert(lists->count < SANDBOX_LISTS_MAX);
	lists->all[lists->count++] = list;
}

int confinement_of_calls(const struct sandbox_call *const lists[], struct error *error)
{
	if (is_off()) {
		log_warning("not confined: $NATPUNCH_SANDBOX is off");
		return 0;
	}
	switch (sandbox_enter(lists)) {
	case SANDBOX_ON:
		log_detail("confined by seccomp: no system calls but those that it makes");
		return 0;
	case SANDBOX_MISSING:
		log_detail("not confined by seccomp: this kernel has none");
		return 0;
	case SANDBOX_FAILED:
		break;
	}
	if (errno == E2BIG)
		return error_set(error, EXIT_STATUS_BUG, "the lists of system calls are too long");
	log_warning("not confined by seccomp: %s", strerror(errno));
	return 0;
}
