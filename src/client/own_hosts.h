/*
 * own_hosts.h - this machine's own addresses, for an initiator in its own network: host candidates,
 * in the words of RFC 8445.
 */
#ifndef NATPUNCH_CLIENT_OWN_HOSTS_H
#define NATPUNCH_CLIENT_OWN_HOSTS_H

#include "natpunch/base/mapping.h"
#include "natpunch/proto/name_messages.h"

/*
 * Adds to a REGISTER (name_messages.h) the addresses at which the local port of a mapping can be
 * reached without it: those of the interface that its packets leave by. Addresses of other
 * interfaces, of a bridge for virtual machines, a tunnel or a container, are left out: most are the
 * same on many machines, and so could be another host's, or the initiator's own. Link-local
 * addresses are left out, as they need the initiator's interface (RFC 4007 section 6), and so is
 * the mapping itself.
 */
void own_hosts_add(struct name_question *question, const struct mapping *mapping);

#endif
