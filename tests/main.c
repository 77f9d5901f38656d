/*
 * The program that tests share. It is the test that it is called as: build/tests/unit/proto/stun is
 * that of tests/unit/proto/stun.c. With one test, it is that one by any name.
 */
#include "tap.h"

static struct tap_test *tests;

void tap_add(struct tap_test *test)
{
	test->next = tests;
	tests = test;
}

static bool is_called(const struct tap_test *test, const char *as)
{
	size_t size = strlen(test->source) - strlen(".c");
	size_t skipped = strlen(as) < size ? 0 : strlen(as) - size;

	return strlen(as) >= size && strncmp(as + skipped, test->source, size) == 0;
}

int main(int argc, char **argv)
{
	const char *as = argc > 0 ? argv[0] : "";

	for (struct tap_test *test = tests; test != NULL; test = test->next) {
		if (tests->next == NULL || is_called(test, as))
			return test->run();
	}
	fprintf(stderr, "%s: there is no test of this name\n", as);
	return 2;
}
