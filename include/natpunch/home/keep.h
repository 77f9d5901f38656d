/*
 * keep.h - mappings that live: found, kept alive, watched, found again, one in each family.
 *
 * It runs the parts of src/home: for each family an upkeep (upkeep.h) with a held connection, its
 * registration, verification, and the responder that connects to laptops. keep.c lists events and
 * timers, and how a part is added.
 */
#ifndef NATPUNCH_HOME_KEEP_H
#define NATPUNCH_HOME_KEEP_H

#include "natpunch/base/error.h"
#include "natpunch/home/keep_config.h"

/*
 * Runs until SIGTERM or SIGINT. Returns 0, or -1 with *error filled when this machine refuses
 * before there ever was a mapping, or when the launcher is gone: whoever watches over us is to
 * start us anew, with another one.
 */
int keep_run(const struct keep_config *config, struct error *error);

#endif
