/*
 * keep.h - keeps a mapping in each family: finds it, keeps it alive, watches it, finds it again.
 *
 * It runs the parts of src/home: for each family an upkeep (upkeep.h) with a held connection, its
 * registration, verification, and the responder that connects to laptops. keep.c lists events and
 * timers, and how to add a part.
 */
#ifndef NATPUNCH_HOME_KEEP_H
#define NATPUNCH_HOME_KEEP_H

#include "natpunch/base/error.h"
#include "natpunch/home/keep_config.h"

/*
 * Runs until SIGTERM or SIGINT. Returns 0, or -1 with *error filled if this machine refuses before
 * there ever was a mapping, or if the launcher is gone: the service manager is to start natpunch
 * again, which then has a new launcher.
 */
int keep_run(const struct keep_config *config, struct error *error);

#endif
