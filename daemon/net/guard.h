/*
 * The guard: how often an address may fail to prove who it is. A few failures are forgiven, then the address waits: GUARD_EVERY_MS a failure.
 * Of IPv6 the network of 64 bits counts as one address: whoever has one has all of it.
 *
 * Deterministic, time is given. A bounded table; when it is full the address whose last failure is longest ago makes way, so that somebody with very
 * many addresses is slowed by the table, and honest ones are not kept out. One thread.
 */
#ifndef DAEMON_NET_GUARD_H
#define DAEMON_NET_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#define GUARD_ADDRESSES 256
#define GUARD_ADDRESS_BYTES 64
#define GUARD_BURST 5
#define GUARD_EVERY_MS 2000

struct guard {
    struct guard_entry {
        char address[GUARD_ADDRESS_BYTES];
        uint64_t whole_ns; /* when all its failures will be forgotten */
    } entries[GUARD_ADDRESSES];
};

/* Whom it counts as: `peer`, "address:port…", without its port; never "". */
void guard_address(const char *peer, char address[GUARD_ADDRESS_BYTES]);
/* May it try? *wait_ms: when it may again. */
bool guard_admits(const struct guard *guard, const char *peer, uint64_t now_ns, uint32_t *wait_ms);
void guard_failed(struct guard *guard, const char *peer, uint64_t now_ns);

#endif
