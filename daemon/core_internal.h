/*
 * What the files of the core share: the core itself and the functions that cross a file's border. For daemon/ and its tests only.
 *
 * The way of a request: a link brings a frame, session.c takes it, requests.c has one function a message type, which asks the pager and
 * answers at once; what needs bytes moved becomes pager events that events.c turns into jobs of the work pool, and puts.c gathers the
 * outcomes of a put's items into one answer.
 */
#ifndef DAEMON_CORE_INTERNAL_H
#define DAEMON_CORE_INTERNAL_H

#include "daemon/arena.h"
#include "daemon/core.h"
#include "daemon/durable.h"
#include "daemon/flow.h"
#include "daemon/ingest.h"
#include "daemon/loads.h"
#include "daemon/loan.h"
#include "daemon/local.h"
#include "daemon/loop.h"
#include "daemon/mailbox.h"
#include "daemon/net/net.h"
#include "daemon/pool.h"
#include "daemon/puts.h"
#include "daemon/quarantine.h"
#include "daemon/recheck.h"
#include "daemon/savings.h"
#include "daemon/session.h"
#include "daemon/workpool.h"

#define CORE_JOBS 1024               /* jobs in the work pool at once */
#define CORE_ARENA_BYTES (16u << 20) /* what one request may unpack to and be answered with */
#define CORE_BORROWED_ROUNDS 4       /* of sessions that have something left over */
#define CORE_TICK_NS (500 * QUIRE_NS_PER_MS)
#define CORE_MAX_DEADLINE_MS 60000

struct core_job; /* jobs.h */
struct disk;     /* disk/disk.h */

struct core {
    struct config config;
    uint64_t epoch, seed;
    uint64_t started_ns, now_ns; /* now_ns: as of the current turn */
    struct loop *loop;
    struct pager *pager;
    struct pool *pools[CONFIG_MAX_DOMAINS];
    uint32_t n_pools;
    struct ingest *ingest;
    struct workpool *workpool;
    uint32_t work_threads;
    struct loop_wakeup work_done;
    struct loop_wakeup stop;
    struct mailbox mailbox;
    struct listener *listener;
    struct net net;
    uint32_t remote_domain;   /* to which sessions over a wire belong */
    struct arena arena;       /* the request that is being handled */
    struct arena admin_arena; /* the last administrative reply */
    uint8_t *rx;              /* SESSION_TURN_BYTES */

    struct session *sessions;   /* newest first */
    struct session *check_next; /* whose clocks are looked at next; one that ends makes way */
    uint32_t n_sessions;
    struct session *run_head, *run_tail;
    struct quarantine quarantine;
    struct flow flow;
    struct rechecks rechecks;
    struct puts puts;
    struct loads loads;
    struct durable durable;

    struct disk *disk_tier; /* NULL: there is none */
    struct core_job *jobs, *free_jobs;
    uint32_t n_free_jobs;
    uint32_t populating; /* domain whose pool a worker is populating, or UINT32_MAX */

    struct loan loan;  /* of all this: core_borrow */
    uint64_t wakes_ns; /* while it is on offer: when the loop's thread wakes at the latest */
    bool borrowed;

    _Atomic bool stopping;
    bool draining;
    uint64_t drain_until_ns;
    _Atomic uint64_t heartbeat_ns;
    uint64_t next_check_ns;
    uint64_t stall_ns, hello_ns, frame_ns, afar_quarantine_ns; /* bounds that tests shorten */
    uint64_t unfinished_bytes, unfinished_max_bytes;
    char metrics_address[64];
    core_reload *reload;
    void *reload_ctx;

    struct core_counters counters;
    uint64_t reader_misses[QUIRE_MISS_COUNT]; /* that only readers could see, as they tell */
    struct savings savings;
    struct core_histograms histograms;
};

/* core.c */
void core_histogram_add(struct core_histogram *histogram, uint64_t elapsed_ns);
/* The trust domain of a uid: DENIED when nobody knows it. */
enum quire_status core_classify(const struct core *core, uid_t uid, uint32_t *domain, bool *member);
void core_runnable(struct core *core, struct session *session);
/* One round of the loop: waits until the deadline at most (0: not at all), serves what is ready, what was left over and what is due. */
enum quire_status core_turn(struct core *core, uint64_t deadline_ns);
/*
 * For a rail's thread: the core is its own until core_return, so that requests are answered without waking the loop's thread and being woken by
 * it. False: that one is at work; wake it. core_return serves what is left over; true: the loop's thread is to be woken for the rest.
 */
bool core_borrow(struct core *core);
bool core_return(struct core *core);

/* requests.c */
enum session_verdict request_handle(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns);

/* events.c */
enum quire_status events_setup(struct core *core);
void events_teardown(struct core *core);
/* Turns the pager's events into jobs and answers until there is none, or no room in the work pool. */
void events_pump(struct core *core);
/* Keeps pages ahead of use. */
void events_populate(struct core *core);

/* guest.c */
/* What one READ may ask for. */
uint64_t guest_read_max_bytes(const struct core *core);
enum session_verdict guest_read(struct session *session, const struct quire_frame *frame, const uint8_t *body);
/* Answers a READ without bytes. */
void guest_refuse(struct session *session, uint64_t request, enum quire_status status, const char *text);
/* A READ whose bytes still wait is answered with CANCELLED; one that is on its way comes. */
void guest_cancel(struct session *session, uint64_t request);

/* ingest_requests.c */
enum session_verdict ingest_request_get(struct session *session, const struct quire_frame *frame, const uint8_t *body);
enum session_verdict ingest_request_return(struct session *session, const struct quire_frame *frame, const uint8_t *body);
struct ingest_limits ingest_limits_of(const struct config *config);
extern const struct ingest_ops ingest_session_ops;

/* admin.c */
enum session_verdict admin_request(struct session *session, const struct quire_frame *frame, const uint8_t *body);

#endif
