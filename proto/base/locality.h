/*
 * Locality: which interface an address is on, which NUMA node the interface is at, and which processors are that node's. Read from the
 * system's own folder /sys and the list of getifaddrs, both given, so that tests have machines of their own.
 *
 * What cannot be told is −1 or "", never an error: a thread that runs anywhere is slower, and no more than that.
 */
#ifndef QUIRE_BASE_LOCALITY_H
#define QUIRE_BASE_LOCALITY_H

#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define QUIRE_SYS "/sys"
#define QUIRE_NODE_UNKNOWN (-1)

/* The interface that has this address; "": none has, or all do. `interfaces` NULL: none is known. */
void quire_locality_interface(const struct sockaddr *address, const struct ifaddrs *interfaces, char name[IF_NAMESIZE]);
/* The node that an interface's card is at; of one made of others (a bond, a bridge, a VLAN) theirs, when they agree. */
int quire_locality_node(const char *sys, const char *interface);
/* What UCX calls the devices of an interface: itself, and the ports of its cards, and of those below it, that can do RDMA ("eth0,mlx5_0:1"). False: they do
   not fit. */
bool quire_locality_devices(const char *sys, const char *interface, char *text, size_t text_bytes);
/* Nodes that have processors. */
uint32_t quire_locality_nodes(const char *sys);
/* The processors of a node; false: they are not known, or there are none. */
bool quire_locality_processors(const char *sys, int node, cpu_set_t *processors);
/* "0-3,8,10-11", as the system writes them, also with a newline behind; false: it is something else, or none. */
bool quire_locality_parse(const char *text, cpu_set_t *processors);
/* The same the other way; cut short where it does not fit. */
void quire_locality_text(const cpu_set_t *processors, char *text, size_t text_bytes);

#endif
