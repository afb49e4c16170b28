#include "daemon/net/guard.h"

#include "proto/base/base.h"

#include <stdio.h>
#include <string.h>

#define EVERY_NS (GUARD_EVERY_MS * QUIRE_NS_PER_MS)

/* What comes before the port: the last colon, outside of a v6 address's brackets. */
static void address_of(const char *peer, char address[GUARD_ADDRESS_BYTES]) {
    const char *end = peer[0] == '[' ? strchr(peer, ']') : strchr(peer, ':');
    size_t length = end != NULL ? (size_t)(end - peer) : strlen(peer);
    snprintf(address, GUARD_ADDRESS_BYTES, "%.*s", (int)quire_min_u64(length, GUARD_ADDRESS_BYTES - 1), peer);
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
    address_of(peer, address);
    const struct guard_entry *entry = find(guard, address);
    uint64_t until_ns = entry != NULL ? entry->whole_ns : 0, most_ns = now_ns + GUARD_BURST * EVERY_NS;
    *wait_ms = until_ns > most_ns ? (uint32_t)((until_ns - most_ns) / QUIRE_NS_PER_MS + 1) : 0;
    return until_ns <= most_ns;
}

void guard_failed(struct guard *guard, const char *peer, uint64_t now_ns) {
    char address[GUARD_ADDRESS_BYTES];
    address_of(peer, address);
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
