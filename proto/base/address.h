/*
 * Addresses of other hosts as people write them: "host:port", "[v6]:port". Looked up once; attempts to connect go through what was found, one
 * after the other. Thread-safe.
 */
#ifndef QUIRE_BASE_ADDRESS_H
#define QUIRE_BASE_ADDRESS_H

#include "proto/quire_types.h"

#include <stdbool.h>
#include <sys/socket.h>

#define QUIRE_HOST_BYTES 256
#define QUIRE_PORT_BYTES 16

/* False: it is not host:port, with a number up to 65535 for a port. */
bool quire_address_split(const char *address, char host[QUIRE_HOST_BYTES], char port[QUIRE_PORT_BYTES]);

/* Looks up an address and writes "host port number number…" to full. May wait for a name to be found. INVALID, NOT_FOUND, TOO_LARGE with *why. */
enum quire_status quire_address_resolve(const char *address, char *full, size_t full_bytes, const char **why);

struct quire_address {
    char host[QUIRE_HOST_BYTES], port[QUIRE_PORT_BYTES];
    struct sockaddr_storage at;
    socklen_t at_bytes;
};
/* Of what was resolved, the one for this attempt, which counts those that failed before. */
enum quire_status quire_address_choose(const char *full, uint32_t attempt, struct quire_address *chosen);

#endif
