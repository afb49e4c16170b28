#include "daemon/net/places.h"

#include "proto/base/address.h"

#include <stdio.h>
#include <string.h>

/* ---- lists of addresses --------------------------------------------------------------------------------------------------------- */
/* The next address of a list separated by commas or blanks, and the list goes on behind it. NOT_FOUND: there is no more. */
static enum quire_status next_address(const char *option, const char **list, char address[PLACE_ADDRESS_BYTES], char *why,
                                      size_t why_bytes) {
    *list += strspn(*list, ", ");
    size_t length = strcspn(*list, ", ");
    if (length >= PLACE_ADDRESS_BYTES) {
        snprintf(why, why_bytes, "%s: an address is too long", option);
        return QUIRE_INVALID;
    }
    memcpy(address, *list, length);
    address[length] = '\0';
    *list += length;
    return length > 0 ? QUIRE_OK : QUIRE_NOT_FOUND;
}

/* What "host:port" or "[v6]:port" stands for, to be bound; the caller frees it by freeaddrinfo. */
static enum quire_status find(const char *option, const char *address, struct addrinfo **found, char *why, size_t why_bytes) {
    char host[QUIRE_HOST_BYTES], port[QUIRE_PORT_BYTES];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    *found = NULL;
    if (!quire_address_split(address, host, port)) {
        snprintf(why, why_bytes, "%s: '%s' is not host:port with a port up to 65535", option, address);
        return QUIRE_INVALID;
    }
    int rc = getaddrinfo(host, port, &hints, found);
    if (rc != 0) {
        snprintf(why, why_bytes, "%s: %s: %s", option, address, gai_strerror(rc));
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

static enum quire_status each_found(const char *option, const char *address, places_fn *each, void *arg, char *why, size_t why_bytes) {
    struct addrinfo *found;
    enum quire_status status = find(option, address, &found, why, why_bytes);
    for (const struct addrinfo *at = found; at != NULL && status == QUIRE_OK; at = at->ai_next) {
        status = each(arg, address, at, why, why_bytes);
    }
    if (found != NULL) {
        freeaddrinfo(found);
    }
    return status;
}

enum quire_status places_each(const char *option, const char *list, places_fn *each, void *arg, char *why, size_t why_bytes) {
    char address[PLACE_ADDRESS_BYTES];
    enum quire_status status;
    while ((status = next_address(option, &list, address, why, why_bytes)) == QUIRE_OK) {
        QUIRE_FORWARD(each_found(option, address, each, arg, why, why_bytes));
    }
    return status == QUIRE_NOT_FOUND ? QUIRE_OK : status;
}

/* ---- sharing out ---------------------------------------------------------------------------------------------------------------- */
static struct place *place_for(enum config_rails rails, const char *interface, struct place *places, uint32_t *n) {
    for (uint32_t i = 0; i < *n && rails != CONFIG_RAILS_EACH; i++) {
        if (rails == CONFIG_RAILS_ONE || strcmp(places[i].interface, interface) == 0) {
            return &places[i];
        }
    }
    if (*n == PLACES_MAX) {
        return NULL;
    }
    struct place *place = &places[(*n)++];
    *place = (struct place){.node = QUIRE_NODE_UNKNOWN};
    memcpy(place->interface, interface, IF_NAMESIZE);
    return place;
}

static enum quire_status pin(struct place *place, const char *wanted, const struct places_machine *machine, char *why, size_t why_bytes) {
    char usable[PLACE_TEXT_BYTES];
    place->node = quire_locality_node(machine->sys, place->interface);
    if (strcmp(wanted, "none") == 0) {
        return QUIRE_OK;
    }
    if (strcmp(wanted, "auto") == 0) {
        bool known = place->node >= 0 && quire_locality_nodes(machine->sys) > 1 &&
                     quire_locality_processors(machine->sys, place->node, &place->processors);
        if (known) {
            CPU_AND(&place->processors, &place->processors, &machine->usable);
            place->pinned = CPU_COUNT(&place->processors) > 0; /* else the daemon is kept away from the card */
        }
        return QUIRE_OK;
    }
    place->pinned = quire_locality_parse(wanted, &place->processors);
    CPU_AND(&place->processors, &place->processors, &machine->usable);
    if (!place->pinned || CPU_COUNT(&place->processors) == 0) {
        quire_locality_text(&machine->usable, usable, sizeof usable);
        snprintf(why, why_bytes,
                 "listen.pin: '%.60s' is neither auto, none, nor a list of processors such as 0-3,8 of which quired may use some (%s)",
                 wanted, usable);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

enum quire_status places_share(const char *option, const char *addresses, const struct config_listen *listen,
                               const struct places_machine *machine, struct place places[PLACES_MAX], uint32_t *n, char *why,
                               size_t why_bytes) {
    char address[PLACE_ADDRESS_BYTES], interface[IF_NAMESIZE];
    enum quire_status status;
    *n = 0;
    while ((status = next_address(option, &addresses, address, why, why_bytes)) == QUIRE_OK) {
        struct addrinfo *found;
        QUIRE_FORWARD(find(option, address, &found, why, why_bytes));
        quire_locality_interface(found->ai_addr, machine->interfaces, interface);
        freeaddrinfo(found);
        struct place *place = place_for(listen->rails, interface, places, n);
        if (place == NULL) {
            snprintf(why, why_bytes, "%s: more than %d rails: give fewer addresses, or listen.rails: one", option, PLACES_MAX);
            return QUIRE_INVALID;
        }
        if (strcmp(place->interface, interface) != 0) {
            place->interface[0] = '\0'; /* of several */
        }
        size_t used = strlen(place->addresses); /* together they are no longer than the list was */
        snprintf(place->addresses + used, sizeof place->addresses - used, "%s%s", used > 0 ? "," : "", address);
    }
    for (uint32_t i = 0; i < *n && status == QUIRE_NOT_FOUND; i++) {
        QUIRE_FORWARD(pin(&places[i], listen->pin, machine, why, why_bytes));
    }
    if (status == QUIRE_NOT_FOUND && *n == 0) {
        snprintf(why, why_bytes, "%s: names no address", option);
        return QUIRE_INVALID;
    }
    return status == QUIRE_NOT_FOUND ? QUIRE_OK : status;
}

enum quire_status places_here(const char *option, const char *addresses, const struct config_listen *listen,
                              struct place places[PLACES_MAX], uint32_t *n, char *why, size_t why_bytes) {
    struct ifaddrs *interfaces = NULL;
    struct places_machine machine = {.sys = QUIRE_SYS};
    if (getifaddrs(&interfaces) != 0) {
        interfaces = NULL; /* forbidden: no address has an interface then */
    }
    machine.interfaces = interfaces;
    if (sched_getaffinity(0, sizeof machine.usable, &machine.usable) != 0) {
        memset(&machine.usable, 0xff, sizeof machine.usable);
    }
    enum quire_status status = places_share(option, addresses, listen, &machine, places, n, why, why_bytes);
    if (interfaces != NULL) {
        freeifaddrs(interfaces);
    }
    return status;
}

void place_text(const struct place *place, char text[PLACE_TEXT_BYTES]) {
    char processors[PLACE_TEXT_BYTES / 2], node[32] = "";
    quire_locality_text(&place->processors, processors, sizeof processors);
    if (place->node >= 0) {
        snprintf(node, sizeof node, ", node %d", place->node);
    }
    snprintf(text, PLACE_TEXT_BYTES, "%s%s%s%s", place->interface[0] != '\0' ? place->interface : "any interface", node,
             place->pinned ? ", processors " : "", place->pinned ? processors : "");
}
