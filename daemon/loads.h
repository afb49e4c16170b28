/*
 * LOAD requests under way: the pager brings records into memory, and one GRANTS frame tells where each is now. The pager knows a request by
 * a cookie and always tells its end, so a request lives until then, though its session may be gone or want it no more. Bounded in
 * requests and items over all sessions, and in items of one.
 */
#ifndef DAEMON_LOADS_H
#define DAEMON_LOADS_H

#include "daemon/session.h"

#define LOADS_MAX_REQUESTS 4096
#define LOADS_MAX_ITEMS (16 * QUIRE_MAX_BATCH)
#define LOADS_SESSION_ITEMS (2 * QUIRE_MAX_BATCH)

#define LOADS_NOBODY UINT64_MAX /* cookie of a load that no request asked for: its end is not told */

struct load_request;
struct pager_event;

struct loads {
    struct load_request **slots; /* LOADS_MAX_REQUESTS */
    uint32_t *free_slots;
    uint32_t n_free;
    uint32_t n_items;
};

enum quire_status loads_setup(struct loads *loads);
void loads_teardown(struct core *core);
uint32_t loads_count(const struct loads *loads);

/* One LOAD frame. */
enum session_verdict loads_request(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns);
/* PAGER_LOAD_DONE: answers. */
void loads_done(struct core *core, const struct pager_event *event);
/* The answer is of no interest any more: what nobody else waits for is not read, unless that has begun. */
void loads_cancel(struct session *session, uint64_t request);

#endif
