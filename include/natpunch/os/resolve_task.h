/*
 * resolve_task.h - look-ups by a launcher, for a confined process: a C library may read any file
 * and open any socket for a look-up.
 */
#ifndef NATPUNCH_OS_RESOLVE_TASK_H
#define NATPUNCH_OS_RESOLVE_TASK_H

#include <stddef.h>

#include "natpunch/os/launcher.h"
#include "natpunch/os/resolve.h"

struct resolve_task {
	const struct launcher *launcher; /* one that is closed: every look-up of a name fails */
	pid_t parent; /* the process that starts the launcher, and whose children they are */
	size_t task;  /* the row of resolve_task_row() there */
	bool leaves;  /* as in struct resolve_helper: kill(2) may not be called */
};

/* The row that the launcher is started with. A child of it ends with the parent. */
struct launcher_task resolve_task_row(const struct resolve_task *task);

/* For resolve_start_reflector(). `task` stays where it is for as long as this is used. */
struct resolve_helper resolve_task_helper(const struct resolve_task *task);

#endif
