/*
 * Routes: the addresses that quire_open was given for one daemon, and which of them is tried next.
 *
 * The nearest comes first: the local socket, then addresses on a network that an interface of this host is on, of those the interface at the caller's
 * NUMA node; otherwise in the order given. One that led nowhere is passed over for ROUTE_REST_NS, as long as there are others.
 */
#include "client/internal.h"
#include "proto/base/locality.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUTE_REST_NS (30 * QUIRE_NS_PER_S)
#define ROUTE_SHARE_MIN_MS 100

/* ---- the list --------------------------------------------------------------------------------------------------------------- */
static bool begins_with_scheme(const char *text) {
    size_t length = 0;
    while (islower((unsigned char)text[length])) {
        length++;
    }
    return length > 0 && strncmp(text + length, "://", 3) == 0;
}

/* Where this address ends. A path may have commas in it, so that behind one only an address with a scheme is another. */
static size_t address_length(const char *text, bool wire) {
    size_t length = 0;
    while (text[length] != '\0' && !(text[length] == ',' && (wire || begins_with_scheme(text + length + 1)))) {
        length++;
    }
    return length;
}

static enum quire_status add(quire_client *client, const char *address) {
    char why[JOB_TEXT_BYTES] = "";
    const char *rest;
    if (client->n_routes == ROUTES_MAX) {
        return error_set(QUIRE_INVALID, "more than %d addresses of one daemon", ROUTES_MAX);
    }
    struct route *route = &client->routes[client->n_routes];
    QUIRE_FORWARD(transport_find(address, &route->ops, &rest));
    enum quire_status status = route->ops->resolve(rest, route->full, (struct transport_why){why, sizeof(why)});
    client->n_routes += status == QUIRE_OK;
    return status == QUIRE_OK ? QUIRE_OK : error_set(status, "address '%.64s': %s", address, why);
}

enum quire_status routes_set(quire_client *client, const char *text) {
    char one[ROUTE_TEXT_BYTES], scheme[16] = "";
    bool wire = false;
    do {
        text += wire ? strspn(text, " ") : 0;
        const char *end = strstr(text, "://");
        bool has_scheme = begins_with_scheme(text);
        if (has_scheme) {
            snprintf(scheme, sizeof(scheme), "%.*s", (int)(end + 3 - text), text);
            wire = strncmp(text, "unix:", 5) != 0;
        }
        size_t length = address_length(text, wire);
        int used = snprintf(one, sizeof(one), "%s%.*s", has_scheme || !wire ? "" : scheme, (int)length, text); /* "tls://a:1,b:1" */
        if (used < 0 || (size_t)used >= sizeof(one)) {
            return error_set(QUIRE_TOO_LARGE, "address '%.64s…' is too long", text);
        }
        QUIRE_FORWARD(add(client, one));
        text += length;
    } while (*text++ != '\0');
    client->transport = client->routes[0].ops;
    return QUIRE_OK;
}

bool routes_wire(const quire_client *client) {
    bool wire = false;
    for (uint32_t i = 0; i < client->n_routes; i++) {
        wire |= client->routes[i].ops->wire;
    }
    return wire;
}

/* ---- how near --------------------------------------------------------------------------------------------------------------- */
/* A family's address as bytes. */
static const uint8_t *bytes_of(const struct sockaddr *address, int family, size_t *size) {
    if (address == NULL || address->sa_family != family) {
        return NULL;
    }
    *size = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    return family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr
                             : (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
}

static bool on_its_network(const uint8_t *address, int family, const struct ifaddrs *at) {
    size_t size = 0;
    const uint8_t *own = bytes_of(at->ifa_addr, family, &size), *mask = bytes_of(at->ifa_netmask, family, &size);
    bool any = false;
    if (own == NULL || mask == NULL || (at->ifa_flags & IFF_UP) == 0) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        any |= mask[i] != 0;
        if (((address[i] ^ own[i]) & mask[i]) != 0) {
            return false;
        }
    }
    return any;
}

static enum route_distance distance_by(const struct ifaddrs *at, const struct routes_host *host) {
    if ((at->ifa_flags & IFF_LOOPBACK) != 0 || host->node < 0) {
        return ROUTE_NEAR;
    }
    int node = quire_locality_node(host->sys, at->ifa_name);
    return node == host->node ? ROUTE_NEAR : node < 0 ? ROUTE_NODE_UNKNOWN : ROUTE_OTHER_NODE;
}

/* One number of those that an address was resolved to. */
static enum route_distance distance_of(const char *number, const struct routes_host *host) {
    uint8_t address[sizeof(struct in6_addr)];
    enum route_distance nearest = ROUTE_FAR;
    int family = strchr(number, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(family, number, address) != 1) {
        return nearest;
    }
    for (const struct ifaddrs *at = host->interfaces; at != NULL; at = at->ifa_next) {
        if (on_its_network(address, family, at)) {
            enum route_distance distance = distance_by(at, host);
            nearest = distance < nearest ? distance : nearest;
        }
    }
    return nearest;
}

enum route_distance route_distance(const struct route *route, const struct routes_host *host) {
    char text[TRANSPORT_ADDRESS_MAX], *rest = NULL;
    enum route_distance nearest = ROUTE_FAR;
    if (!route->ops->wire) {
        return ROUTE_HERE;
    }
    snprintf(text, sizeof(text), "%s", route->full);
    const char *port = strtok_r(text, " ", &rest) != NULL ? strtok_r(NULL, " ", &rest) : NULL; /* behind them the numbers */
    for (const char *number; port != NULL && (number = strtok_r(NULL, " ", &rest)) != NULL;) {
        enum route_distance distance = distance_of(number, host);
        nearest = distance < nearest ? distance : nearest;
    }
    return nearest;
}

/* ---- which next ------------------------------------------------------------------------------------------------------------- */
struct route *routes_choose(quire_client *client, const struct routes_host *host, uint64_t now_ns) {
    struct route *best = NULL;
    unsigned best_rank = 0;
    for (uint32_t i = 0; i < client->n_routes; i++) {
        struct route *route = &client->routes[i];
        if (route->tried) {
            continue;
        }
        bool rests = route->failed_ns != 0 && now_ns < route->failed_ns + ROUTE_REST_NS;
        unsigned rank = (rests ? ROUTE_DISTANCES : 0) + route_distance(route, host);
        if (best == NULL || rank < best_rank) {
            best = route;
            best_rank = rank;
        }
    }
    return best;
}

/* Asked anew each time: the caller's thread may run elsewhere now, and a cable be plugged in. */
struct route *routes_next(quire_client *client, uint64_t now_ns) {
    struct routes_host host = {.sys = QUIRE_SYS, .node = QUIRE_NODE_UNKNOWN};
    struct ifaddrs *interfaces = NULL;
    unsigned processor, node;
    if (client->n_routes == 1) {
        return &client->routes[0];
    }
    if (getifaddrs(&interfaces) == 0) {
        host.interfaces = interfaces;
    }
    if (quire_locality_nodes(QUIRE_SYS) > 1 && getcpu(&processor, &node) == 0) {
        host.node = (int)node;
    }
    struct route *route = routes_choose(client, &host, now_ns);
    if (interfaces != NULL) {
        freeifaddrs(interfaces);
    }
    return route != NULL ? route : &client->routes[0];
}

void routes_begin(quire_client *client) {
    for (uint32_t i = 0; i < client->n_routes; i++) {
        client->routes[i].tried = false;
    }
}

static uint32_t untried(const quire_client *client) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < client->n_routes; i++) {
        n += !client->routes[i].tried;
    }
    return n;
}

bool routes_failed(quire_client *client, struct route *route, uint64_t now_ns) {
    route->tried = true;
    route->failed_ns = now_ns;
    route->failures++;
    return untried(client) > 0;
}

void routes_worked(struct route *route) {
    route->failures = 0;
    route->failed_ns = 0;
}

uint32_t routes_share_ms(const quire_client *client) {
    uint32_t left = untried(client), all_ms = client->options.connect_timeout_ms;
    return left <= 1 ? all_ms : (uint32_t)quire_min_u64(all_ms, quire_max_u64(all_ms / left, ROUTE_SHARE_MIN_MS));
}
