/*
 * firewall.h - names the rules of this machine that may keep packets from a service.
 */
#ifndef NATPUNCH_OS_FIREWALL_H
#define NATPUNCH_OS_FIREWALL_H

#include <stddef.h>

#define FIREWALL_NAME_SIZE 128

/*
 * Names what filters incoming packets here, as "inet filter/input, ip nat/INPUT": the base chains
 * of nftables at the input hook (iptables-nft's too), and "iptables" where the old one is loaded.
 * What does not fit is left out. "" when there is nothing or it may not be read (CAP_NET_ADMIN).
 * Names are escaped.
 */
void firewall_name(char out[FIREWALL_NAME_SIZE]);

#endif
