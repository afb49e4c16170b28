/*
 * Answers that wait for the disk. A deletion, a pin (also one that came with a put) and a namespace's end hold at once; who asked for one is told
 * when it has become durable, or that the disk would not take it. Without a disk tier nothing waits.
 */
#ifndef DAEMON_DURABLE_H
#define DAEMON_DURABLE_H

#include "daemon/session.h"
#include "proto/wire.h"

#define DURABLE_MAX_WAITS 2048   /* fewer than the pager's own limit */
#define DURABLE_SESSION_WAITS 64 /* a session's */

struct durable_wait;
struct pager_event;

struct durable {
    struct durable_wait *slots[DURABLE_MAX_WAITS];
    uint32_t n, promised;
};

void durable_teardown(struct core *core);

/* Before anything is changed: may one more of this session's requests wait? Else it is told RETRY. */
bool durable_has_room(const struct session *session);
#define DURABLE_RETRY_MS 20

/* What KEYS did, with a status a key, which are copied: answers now or later. */
void durable_keys(struct session *session, uint64_t request, enum quire_wire_keys_verb verb, const uint8_t *statuses, uint32_t n_keys);
/* A put that pins is under way: there will be room when it has ended. */
void durable_promise(struct session *session);
void durable_unpromise(struct session *session);
/* Then: `pins` says which of its items were to be pinned. */
void durable_put(struct session *session, uint64_t request, const uint8_t *statuses, const bool *pins, uint32_t n_items,
                 uint32_t retry_after_ms, const char *text);
#define DURABLE_NO_MORE_PINS                                                                                                               \
    "no more blocks may be pinned: there are max_pins, or this namespace has its share of them; unpin some, or raise max_pins"
/* A namespace was deleted: likewise, with this text. */
void durable_admin(struct session *session, uint64_t request, const char *text);
/* PAGER_DURABLE. */
void durable_told(struct core *core, const struct pager_event *event);

#endif
