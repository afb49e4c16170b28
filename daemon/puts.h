/*
 * Put requests under way: each remembers where its items' bytes lie, keeps the ingest window mapped, and gathers a status an item until the one
 * ACKS frame can go out. The pager knows an item by a cookie. Bounded in requests and items over all sessions.
 */
#ifndef DAEMON_PUTS_H
#define DAEMON_PUTS_H

#include "daemon/ingest.h"
#include "daemon/session.h"

#define PUTS_MAX_REQUESTS 8192
#define PUTS_MAX_ITEMS (16 * QUIRE_MAX_BATCH)

struct put_item {
    uint64_t offset; /* in the window */
    uint32_t length;
    uint8_t status; /* PENDING until known */
    bool pin;
};

struct put_request {
    struct session *session;
    struct ingest_window *window;
    uint64_t request;
    uint64_t read_ns;
    uint32_t slot;
    uint32_t n_items, n_pending;
    uint32_t retry_after_ms;
    uint16_t ns;
    bool blind; /* whoever asks may not read, and is not told whether a block was there */
    bool pins;  /* some item does, and there is a disk: the answer waits until that is durable (daemon/durable.h) */
    struct put_item items[];
};

struct puts {
    struct put_request **slots; /* PUTS_MAX_REQUESTS */
    uint32_t *free_slots;
    uint32_t n_free;
    uint32_t n_items;
};

enum quire_status puts_setup(struct puts *puts);
void puts_teardown(struct core *core);
uint32_t puts_count(const struct puts *puts);

/* One PUT frame. */
enum session_verdict puts_request(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns);
/* The bytes of an item, for a fill; never NULL for a cookie that the pager still holds. */
const uint8_t *puts_payload(const struct puts *puts, uint64_t cookie, uint32_t *length, struct ingest_window **window);
/* The outcome of an item; answers when it was the last. */
void puts_item_done(struct core *core, uint64_t cookie, enum quire_status status, uint32_t retry_after_ms);

#endif
