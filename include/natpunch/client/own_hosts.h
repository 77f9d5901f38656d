/*
 * own_hosts.h - this machine's own addresses, for whoever comes to it from its own network: host
 * candidates, in the words of RFC 8445.
 */
#ifndef NATPUNCH_CLIENT_OWN_HOSTS_H
#define NATPUNCH_CLIENT_OWN_HOSTS_H

#include "natpunch/base/mapping.h"
#include "natpunch/proto/name_messages.h"

/*
 * Adds to a REGISTER (name_messages.h) where the local port of a mapping is to be reached without
 * it: the addresses of the interface that it leaves by. Those of other interfaces are left out: of
 * a bridge for virtual machines, a tunnel or a container, which are mostly numbered alike
 * everywhere, and so would be another host's, or the initiator's own. So are link-local ones: they
 * need to be told which interface of the initiator's they are on (RFC 4007 section 6). An address
 * that is the mapping itself need not be said twice.
 */
void own_hosts_add(struct name_question *question, const struct mapping *mapping);

#endif
