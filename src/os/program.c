#include "natpunch/os/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/base/text.h"

#define INTERPRETER_SIZE 128
#define PATH_SHOWN_SIZE  160

/* The interpreter on the first line of a script, with the CR that may end it; else "". */
static void read_interpreter(const char *path, char out[INTERPRETER_SIZE])
{
	char line[INTERPRETER_SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t size = fd >= 0 ? read(fd, line, sizeof(line) - 1) : 0;
	const char *name = line + 2;
	size_t length;

	if (fd >= 0)
		close(fd);
	out[0] = '\0';
	if (size < 2 || memcmp(line, "#!", 2) != 0)
		return;
	line[size] = '\0';
	name += strspn(name, " \t");
	length = strcspn(name, " \t\n");
	memcpy(out, name, length);
	out[length] = '\0';
}

const char *program_explain(const char *path, int problem, char out[PROGRAM_REASON_SIZE])
{
	char interpreter[INTERPRETER_SIZE] = "";
	char safe[INTERPRETER_SIZE];
	size_t length;

	if (problem == ENOENT)
		read_interpreter(path, interpreter);
	length = strlen(interpreter);
	if (length == 0)
		snprintf(out, PROGRAM_REASON_SIZE, "%s", strerror(problem));
	else if (interpreter[length - 1] == '\r')
		snprintf(out, PROGRAM_REASON_SIZE,
			"its first line ends in CR, where LF alone must be");
	else
		snprintf(out, PROGRAM_REASON_SIZE, "its interpreter %s is not there",
			text_escape(safe, sizeof(safe), interpreter, length));
	return out;
}

static int find_problem(const char *path)
{
	char interpreter[INTERPRETER_SIZE];

	if (access(path, X_OK) != 0)
		return errno;
	read_interpreter(path, interpreter);
	return interpreter[0] == '\0' || access(interpreter, F_OK) == 0 ? 0 : errno;
}

int program_check(const char *kind, const char *path, struct error *error)
{
	char safe[PATH_SHOWN_SIZE];
	char reason[PROGRAM_REASON_SIZE];
	int problem = find_problem(path);

	if (problem == 0)
		return 0;
	return error_set(error, EXIT_STATUS_LOCAL, "cannot run %s%s: %s", kind,
		text_escape(safe, sizeof(safe), path, strlen(path)),
		program_explain(path, problem, reason));
}
