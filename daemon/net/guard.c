#include "daemon/net/guard.h"

#include "proto/base/base.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define EVERY_NS (GUARD_EVERY_MS * QUIRE_NS_PER_MS)

/* Not of a link's own addresses, which all begin alike, nor of IPv4's in the clothes of IPv6. */
static void keep_network(char address[GUARD_ADDRESS_BYTES]) {
    struct in6_addr six;
    if (inet_pton(AF_INET6, address, &six) == 1 && !IN6_IS_ADDR_LINKLOCAL(&six) && !IN6_IS_ADDR_V4MAPPED(&six)) {
        memset(&six.s6_addr[8], 0, 8);
        inet_ntop(AF_INET6, &six, address, GUARD_ADDRESS_BYTES);
    }
}

/* What comes before the port: the last colon, outside of a v6 address's brackets. */
void guard_address(const char *peer, char address[GUARD_ADDRESS_BYTES]) {
    bool six = peer[0] == '[';
    const char *from = peer + six, *end = strchr(from, six ? ']' : ':');
    size_t length = end != NULL ? (size_t)(end - from) : strlen(from);
    snprintf(address, GUARD_ADDRESS_BYTES, "%.*s", (int)quire_min_u64(length, GUARD_ADDRESS_BYTES - 1), from);
    if (six) {
        keep_network(address);
    }
    if (address[0] == '\0') {
        snprintf(address, GUARD_ADDRESS_BYTES, "unknown");
    }
}

static const struct guard_entry *find(const struct guard *guard, const char *address) {
    for (uint32_t i = 0; i < GUARD_ADDRESSES; i++) {
        if (strcmp(guard->entries[i].address, address) == 0) {
            return &guard->entries[i];
        }
    }
    return NULL;
}

bool guard_admits(const struct guard *guard, const char *peer, uint64_t now_ns, uint32_t *wait_ms) {
    char address[GUARD_ADDRESS_BYTES];
    guard_address(peer, address);
    const struct guard_entry *entry = find(guard, address);
    uint64_t until_ns = entry != NULL ? entry->whole_ns : 0, most_ns = now_ns + GUARD_BURST * EVERY_NS;
    *wait_ms = until_ns > most_ns ? (uint32_t)((until_ns - most_ns) / QUIRE_NS_PER_MS + 1) : 0;
    return until_ns <= most_ns;
}

void guard_failed(struct guard *guard, const char *peer, uint64_t now_ns) {
    char address[GUARD_ADDRESS_BYTES];
    guard_address(peer, address);
    struct guard_entry *entry = (struct guard_entry *)find(guard, address);
    if (entry == NULL) {
        entry = &guard->entries[0];
        for (uint32_t i = 1; i < GUARD_ADDRESSES; i++) {
            entry = guard->entries[i].whole_ns < entry->whole_ns ? &guard->entries[i] : entry;
        }
        *entry = (struct guard_entry){0};
        memcpy(entry->address, address, sizeof address);
    }
    uint64_t most_ns = now_ns + 2 * GUARD_BURST * EVERY_NS; /* who goes on failing is not kept out for ever */
    entry->whole_ns = quire_min_u64(quire_max_u64(entry->whole_ns, now_ns) + EVERY_NS, most_ns);
}
