/*
 * The guard: how often an address may fail to prove who it is. A few failures are forgiven, then the address waits: GUARD_EVERY_MS a failure.
 *
 * Deterministic, time is given. A bounded table; when it is full the address whose last failure is longest ago makes way, so that somebody with very
 * many addresses is slowed by the table, and honest ones are not kept out. Loop thread only.
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
        char address[GUARD_ADDRESS_BYTES]; /* without its port */
        uint64_t whole_ns;                 /* when all its failures will be forgotten */
    } entries[GUARD_ADDRESSES];
};

/* May it try? `peer` is "address:port…"; *wait_ms: when it may again. */
bool guard_admits(const struct guard *guard, const char *peer, uint64_t now_ns, uint32_t *wait_ms);
void guard_failed(struct guard *guard, const char *peer, uint64_t now_ns);

#endif
