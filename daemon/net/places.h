/*
 * Where rails are: listed addresses are shared out to rails, so that each interface can have a thread of its own, beside its card.
 *
 *   listen.rails  auto  a rail an interface; addresses of no interface (0.0.0.0) have one together      one  all on one      each  a rail an address
 *   listen.pin    auto  a rail runs on the processors of its interface's NUMA node; on a machine of one node, and where the node is not known,
 *                       anywhere      none  anywhere      "0-3,8"  all rails on these
 *
 * The same for every transport: whoever makes rails asks for places first, makes a rail of each place's addresses, and sets rail->place.
 */
#ifndef DAEMON_NET_PLACES_H
#define DAEMON_NET_PLACES_H

#include "daemon/config.h"
#include "proto/base/locality.h"

#include <netdb.h>

#define PLACES_MAX 16 /* rails of a transport */
#define PLACE_LIST_BYTES sizeof(((struct config_listen *)0)->tls)
#define PLACE_ADDRESS_BYTES 256
#define PLACE_TEXT_BYTES 128

struct place {
    char addresses[PLACE_LIST_BYTES]; /* of the list, separated by commas */
    char interface[IF_NAMESIZE];      /* "": of none, or of several */
    int node;                         /* QUIRE_NODE_UNKNOWN */
    bool pinned;
    cpu_set_t processors; /* when it is pinned */
};

/* The machine, or a test's. */
struct places_machine {
    const char *sys;
    const struct ifaddrs *interfaces;
    cpu_set_t usable; /* processors that the daemon may run on */
};

/* `option` is what the list is called, for `why`. INVALID: processors are asked for that there are not, more rails than may be. */
enum quire_status places_share(const char *option, const char *addresses, const struct config_listen *listen,
                               const struct places_machine *machine, struct place places[PLACES_MAX], uint32_t *n, char *why,
                               size_t why_bytes);
/* The same on this machine. */
enum quire_status places_here(const char *option, const char *addresses, const struct config_listen *listen,
                              struct place places[PLACES_MAX], uint32_t *n, char *why, size_t why_bytes);
/* "eth0, node 1, processors 0-15", for people. */
void place_text(const struct place *place, char text[PLACE_TEXT_BYTES]);

/* Everything to be bound that a list of addresses stands for, one after the other, until one is not OK. */
typedef enum quire_status places_fn(void *arg, const char *address, const struct addrinfo *at, char *why, size_t why_bytes);
enum quire_status places_each(const char *option, const char *list, places_fn *each, void *arg, char *why, size_t why_bytes);

#endif
