/*
 * What the files of libquire share: the client, its connection, jobs and requests, leases and mappings.
 *
 * One lock a client guards everything here that is not said to be atomic. Whoever needs an answer drives the I/O: a blocked thread becomes the
 * leader and polls the socket without the lock; other blocked threads sleep on conditions of their own and take over when it leaves.
 * Copies into and out of shared memory always run without the lock, on a job that is marked busy.
 *
 *   job:      what a caller asked for. Advanced by a thread that calls in: runnable → busy → waiting for answers … → done
 *   request:  one frame on its way whose answer is expected. A job may have several; a put's outlives a job that gave up,
 *             because the daemon may still be reading the ingest memory
 */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include "client/list.h"
#include "client/quire.h"
#include "client/transport.h"
#include "codec/record.h"
#include "proto/base/base.h"
#include "proto/frame.h"
#include "proto/key.h"
#include "proto/layout.h"
#include "proto/proof.h"
#include "proto/quire.pb-c.h"
#include "proto/wire.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define CLIENT_MAGIC 0x51434c49u
#define NS_MAGIC 0x51434e53u
#define LEASE_MAGIC 0x51434c45u

#define JOB_TEXT_BYTES 192
#define TOKEN_SECRET_MAX 128
#define REQUESTS_MAX 65536u       /* frames whose answer is outstanding */
#define TX_BACKLOG_MAX (4u << 20) /* bytes unsent beyond which jobs wait to be sent */
#define RX_BUFFER_BYTES (128u << 10)
#define RX_DIRECT_BYTES (32u << 10)   /* as much of a copy is worth a receive of its own */
#define RX_READS_MAX 32               /* before deadlines have a turn */
#define RELEASES_MAX 512              /* leases told in one frame */
#define RELEASE_HELD_BYTES (1u << 20) /* what releases that wait for the next frame may hold in the pool */
#define RELEASE_BUSY_NS 50000u        /* a caller that asks again so soon after a release is expected to do so again */
#define STORE_CHUNK_BYTES (2u << 20)  /* bytes of a put frame: small enough that our gathering and the daemon's copying overlap */
#define STORE_CHUNK_ITEMS 256u
#define STORE_DIRECT_BYTES (256u << 10) /* from here on a message of its own costs less than gathering */
#define STORE_CHUNKS_IN_FLIGHT 3u       /* as few as keep both ends busy: what the daemon copies out of is still in its cache */
#define FETCH_STEP_BYTES (16u << 20)    /* copied before other jobs have a turn */
#define READ_SLICE_BYTES (1u << 20)     /* records are copied in slices */
#define READ_MESSAGE_BYTES (4u << 20)   /* where each is a message: its way costs more than its turn */
#define COPIES_MOST 16u                 /* records on their way to one fetch at once */
#define AFAR_BYTES (16u << 20)          /* read from afar at once, by all fetches of a connection; a quarter of it by those that prefetch */
#define COPIES_BYTES (4u << 20)         /* likewise bytes asked for: as many as the daemon keeps in memory for a session */
#define LOAD_AGAIN_NS QUIRE_NS_PER_MS   /* when the socket takes no more */
#define INGEST_SEGMENTS_MAX 64

/* ---- mappings ------------------------------------------------------------------------------------------------------------- */
/* The domain's pool as this process sees it; lives until the connection and every lease on it are gone. */
struct pool {
    _Atomic uint32_t refs;
    const uint8_t *base;
    uint64_t bytes;
    const _Atomic uint32_t *generations;
    uint32_t n_slots;
    bool inherited; /* a forked child: the mapping is the parent's and is not there */
};

/* The ingest window lent to this session, and which parts of it are in use: segments in ascending order. */
struct window {
    uint32_t refs;
    uint32_t id;
    uint64_t serial; /* of the connection */
    uint8_t *base;
    uint64_t bytes;
    struct segment {
        uint64_t offset, bytes;
    } segments[INGEST_SEGMENTS_MAX];
    uint32_t n_segments;
};

/* ---- jobs ----------------------------------------------------------------------------------------------------------------- */
enum job_kind { JOB_CONNECT, JOB_NS_OPEN, JOB_LOOKUP, JOB_FETCH, JOB_LOAD, JOB_STORE, JOB_KEYS, JOB_ADMIN, JOB_KINDS };

/* Records of a lease that are to come from disk, and what became of each. */
struct load {
    struct load_item {
        uint32_t grant; /* of the lease; ascending */
        bool partial;   /* only rect is wanted */
        uint8_t status; /* PENDING: not known yet */
        quire_rect rect;
    } * items;
    uint32_t n, asked, known; /* the first `known` have their status; those up to `asked` are asked for */
    uint32_t seen;            /* of those known, as the job looked last: what it may read without the lock */
    uint64_t request;         /* outstanding; 0: none */
    uint64_t again_ns;        /* not asked before: the daemon was busy */
};

struct job_fetch {
    quire_lease *lease;
    quire_dest *dests;
    uint32_t n_dests, next;
    quire_seq *seq;
    bool planned;
    struct load load;
    struct copy *copies;  /* where the pool is not mapped: records on their way, oldest first */
    struct slice *slices; /* that were asked for and did not come yet */
    uint32_t n_copies;
    uint64_t awaited_bytes; /* of all slices */
    uint32_t afar_left;     /* slices that are being read from afar */
    bool cut_off;           /* what was read from afar ended with the connection */
    bool staged;            /* what was received in its place was not right there: the rest goes through memory of ours */
    struct spare {
        uint8_t *bytes;
        uint32_t size_bytes;
    } spare; /* memory that a copy is done with, for the next: fresh pages cost more than a copy into them */
};

struct job_store {
    quire_ns *ns;
    quire_source *sources;
    uint32_t n_sources;
    uint32_t next; /* what to put next, but for parts */
    struct cut *cuts;
    uint32_t in_flight;
    bool retry;       /* some source is to be sent again at retry_at_ns */
    bool progress;    /* something was taken since it was sent again last */
    uint32_t in_vain; /* so many times before, nothing was */
    uint64_t retry_at_ns;
    uint64_t serial; /* of the connection on which it puts */
    uint32_t breaks; /* connections that broke under it */
    float ancestry_error;
    quire_seq *seq;     /* NULL, or whose cost it is */
    float us_per_token; /* for the next frame to tell; 0: nothing, or told */
    uint64_t put_id;    /* last one given to a block that was cut into parts */
    uint32_t *retry_after_ms;
};

/* A block, or a part of one, that the window does not take at once: which of its layers are under way, and which were taken. */
struct cut {
    struct cut *next; /* in the order of the sources */
    uint32_t source;
    bool ours; /* the put_id: nobody else puts parts under it */
    uint64_t put_id;
    quire_rect rect;
    uint32_t n_each;          /* layers of a part: the same for all, so that they can be repeated */
    bool begun;               /* something went out under the put_id */
    uint32_t n_sent, n_taken; /* layers; sent: taken or under way */
    uint64_t sent[QUIRE_MAX_LAYERS / 64], taken[QUIRE_MAX_LAYERS / 64]; /* from the rectangle's first */
};

struct job {
    enum job_kind kind;
    bool async, busy, runnable, done;
    uint32_t slot; /* of an asynchronous job in the table */
    quire_job id;
    void *user;
    quire_ns *ns; /* kept for an asynchronous job until it is forgotten; NULL when blocking: the caller has it */
    enum quire_status status;
    enum quire_status abort; /* a busy job is to end with this; OK: go on */
    char text[JOB_TEXT_BYTES];
    uint64_t deadline_ns;
    uint32_t heap_index; /* UINT32_MAX: not in the heap */
    uint64_t request;    /* the one outstanding request of jobs that have one at a time; 0: none */
    struct link link;    /* runnable, stalled or done list */
    union {
        struct {
            quire_ns *ns;
        } ns_open;
        struct {
            quire_ns *ns;
            quire_lookup_args args;
            uint8_t *misses;
            quire_lookup_result *result;
        } lookup;
        struct job_fetch fetch;
        struct {
            quire_lease *lease;
            struct load *load;
        } load;
        struct job_store store;
        struct {
            quire_ns *ns;
            enum quire_keys_verb verb;
            const quire_key *keys;
            uint32_t n_keys;
            uint8_t *statuses;
        } keys;
        struct {
            const Quire__Wire__AdminRequest *request;
            Quire__Wire__AdminReply **reply;
        } admin;
    } u;
};

/* A put frame under way. */
struct chunk {
    struct job *job; /* NULL: gave up, only the memory is still in use */
    struct window *window;
    uint64_t offset, bytes;
    uint32_t n_items;
    struct chunk_item {
        uint32_t source;
        struct quire_record_shape shape;
        quire_rect rect;
        uint64_t offset, bytes; /* within the window */
        const uint8_t *direct;  /* over a wire: sent from here, from the caller's memory, and not gathered; NULL: it is */
        bool cut;               /* a part that we cut */
        uint32_t taken;         /* of its block before, layers × heads */
        uint64_t put_id;
    } * items;
    struct quire_wire_put *wire;
    float us_per_token; /* told in this frame */
};

struct request {
    uint64_t id; /* 0: free */
    enum quire_msg type;
    struct job *job;
    quire_ns *ns;        /* NS_OPEN after a reconnect */
    struct chunk *chunk; /* PUT */
    struct slice *slice; /* READ */
    uint32_t next_free;
};

/* A thread that is blocked in a call. */
struct waiter {
    pthread_cond_t cond;
    struct job *job; /* NULL: wants to know about every asynchronous job */
    bool asleep;
    struct link link;
};

/* Where raw bytes that are coming belong: a slice of a copy, at this byte of this range; `place` is one not behind it. NULL: nowhere. */
struct bulk {
    struct slice *slice;
    uint32_t range, at, place;
};

/* A record that is being read from the daemon's memory (afar.c). */
struct afar {
    quire_client *client;
    void (*over)(quire_client *client, void *arg, enum quire_status status);
    void *arg;
    uint32_t left; /* reads under way, and the caller's hand on it */
    enum quire_status failed;
    uint64_t record; /* where it is in the pool */
    uint32_t slot, expected, generation;
    bool checking;
};

/* Whether what is read from the daemon's memory comes, as far as we were there to see it. */
struct afar_watch {
    bool got; /* since we looked last */
    uint64_t looked_ns, silent_ns;
};

/* Whether the other end of a wire lives, as far as we were there to hear it. */
struct heartbeat {
    bool heard, moved, pinged; /* since we looked last: bytes came, bytes went; since something was heard last: it was asked */
    uint64_t ping_end_bytes;   /* the PING is out when so many bytes of frames are */
    uint64_t looked_ns, silent_ns;
};

/* ---- connection ----------------------------------------------------------------------------------------------------------- */
enum conn_state { CONN_DOWN, CONN_HELLO, CONN_REOPENING, CONN_UP }; /* HELLO: over a wire also before the challenge came */

struct conn {
    enum conn_state state;
    struct transport *transport; /* NULL when it is down */
    struct route *route;         /* by which it came, or was tried last; NULL: none was yet */
    uint64_t serial;             /* of the attempt; never reused */
    uint64_t hello_deadline_ns;
    uint64_t next_attempt_ns; /* back-off */
    uint64_t attempts_end_ns; /* a crowded socket is tried again until then */
    uint32_t failures;
    char why[JOB_TEXT_BYTES]; /* it went down */
    uint32_t reopening;       /* namespaces whose answer is outstanding */
    uint64_t epoch, session, pool_bytes, ingest_max_bytes;
    uint64_t slice_bytes; /* of a copy: what one READ asks for */
    uint32_t lease_ms;
    bool afar;           /* records are read from the daemon's memory */
    uint32_t afar_reads; /* of them under way */
    uint64_t afar_bytes; /* likewise */
    struct afar_watch afar_watch;
    bool member, verify, admin, ranges, challenged;
    char version[64];
    struct pool *pool;
    struct quire_decoder decoder;
    uint8_t *rx;
    uint64_t bulk_left; /* raw bytes to come before the next frame */
    struct bulk bulk;
    uint8_t *tx;
    size_t tx_start, tx_end, tx_capacity;
    uint64_t tx_sent_bytes; /* of frames, so far */
    struct tx_bulk *bulks;  /* what goes behind some of them, in order */
    uint64_t bulks_bytes;
    uint64_t releases[RELEASES_MAX];
    uint32_t n_releases;
    uint64_t released_bytes; /* by them */
    uint64_t released_ns;    /* when the last one came */
    bool busy;               /* the last request came close behind a release */
    bool pings;              /* over a wire, to a daemon that answers PING */
    struct heartbeat heartbeat;
};

/* What quire_event_fd hands out; made on demand, -1 before. */
struct events {
    int epoll, timer, done;
    int watched; /* the transport's descriptor that is in the epoll set */
    bool watched_out;
    bool done_set;
    uint64_t armed_ns;
};

#define ROUTES_MAX 16
#define ROUTE_TEXT_BYTES 512
/* One of the addresses that quire_open was given for its daemon. */
struct route {
    const struct transport_ops *ops;
    char full[TRANSPORT_ADDRESS_MAX]; /* as `ops` takes it */
    bool tried;                       /* without success, since the connection was wanted */
    uint32_t failures;                /* since a session was opened by it */
    uint64_t failed_ns;               /* the last of them; 0: none */
};

struct quire_client {
    uint32_t magic;
    pthread_mutex_t lock;
    struct link registry; /* of all clients, for fork */
    bool forked;          /* in a child, before its first call */
    bool many_processors; /* so that polling a little does not keep the daemon from answering */
    quire_options options;
    const struct transport_ops *transport; /* of the route in use, or tried last */
    struct route routes[ROUTES_MAX];
    uint32_t n_routes;
    char name[64];
    struct transport_settings settings; /* strings of its own */
    uint32_t fetch_path;                /* enum quire_fetch_path */
    struct client_token {
        char name[QUIRE_MAX_NAME + 1], secret[TOKEN_SECRET_MAX + 1];
    } token; /* what is proven over a wire */
    uint64_t random;
    _Atomic uint64_t serial_up;               /* connection that is up; 0: none */
    _Atomic uint32_t seen_corrupt, seen_late; /* misses that only a reader sees; told with the next release */
    struct conn conn;
    uint64_t ping_after_ns, silence_ns; /* QUIRE_HEARTBEAT_* */
    uint64_t last_epoch, reconnects, serials;

    struct request *requests;
    uint32_t n_requests, free_request, live_requests;
    uint64_t request_serial;

    struct job **jobs;    /* asynchronous, by slot; kept for reuse */
    uint32_t *free_slots; /* a stack */
    uint32_t n_free_slots, active_jobs;
    uint64_t job_serial;
    struct job **heap; /* all unfinished jobs by deadline */
    uint32_t n_heap, heap_capacity;
    struct link runnable, stalled_conn, stalled_space, stalled_load, done;
    uint64_t next_wake_ns; /* when stalled stores and loads look again; UINT64_MAX: on an event */

    struct link waiters;
    struct waiter *leader;
    bool polling;
    uint64_t poll_until_ns;
    const struct transport *polled; /* by the leader */
    struct transport *closing;      /* it went down while the leader polls it */
    int kick;                       /* eventfd that ends the leader's poll */
    struct events events;
    pthread_t thread;
    bool has_thread, stop_thread;
    struct waiter thread_waiter;

    struct link namespaces, leases;
    struct window *window;
    bool window_asked, window_recalled;
    uint64_t window_retry_ns;
};

struct quire_ns {
    uint32_t magic;
    _Atomic uint32_t refs; /* the caller's, each lease's, and each asynchronous job's */
    quire_client *client;  /* NULL once the client is closed */
    struct link link;
    char name[QUIRE_MAX_NAME + 1];
    bool has_layout;
    bool reopening; /* it was deleted under us, and is being opened again */
    quire_layout layout;
    quire_key root;
    uint32_t handle;
    uint64_t serial;          /* connection on which the handle is valid */
    enum quire_status status; /* why it could not be opened again */
    char why[JOB_TEXT_BYTES];
};

struct quire_lease {
    uint32_t magic;
    _Atomic uint32_t refs; /* the caller's and each fetch job's */
    quire_client *client;
    quire_ns *ns;
    struct link link;
    struct pool *pool; /* NULL for guests and in a forked child */
    uint64_t id, serial, valid_until_ns;
    bool verify;
    bool prefetch;  /* what is fetched under it is not waited for yet */
    uint64_t bytes; /* of the leased records */
    uint32_t n_keys, n_grants;
    uint32_t n_away; /* grants of records that were only on disk */
    quire_key *keys;
    _Atomic(struct learned *) *learned; /* a grant: where it is now; NULL when nothing was away */
    struct learned_batch *learned_batches;
    struct quire_wire_grant grants[];
};

struct quire_seq {
    quire_fidelity worst;
    float us_per_token; /* to be told with the next store; 0: nothing */
};

/* ---- error.c -------------------------------------------------------------------------------------------------------------- */
enum quire_status error_set(enum quire_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Repeats what a job has to say for the calling thread. */
enum quire_status error_from_job(const struct job *job);
/* A status off the wire: unknown values become INTERNAL. */
enum quire_status status_from_wire(uint32_t value);

/* ---- client.c ------------------------------------------------------------------------------------------------------------- */
uint64_t clock_ns(void);
uint64_t deadline_after(const quire_client *client, uint32_t deadline_ms);
uint32_t remaining_ms(uint64_t deadline_ns, uint64_t now_ns);
/* How long the daemon may wait for room: less than what is left, so that its reason (FULL) arrives before our TIMEOUT. */
uint32_t patience_ms(uint64_t deadline_ns, uint64_t now_ns);
uint64_t client_random(quire_client *client);
/* Every call's way in and out: takes the lock, and first makes a forked child's client its own. */
void client_enter(quire_client *client);
void client_leave(quire_client *client);
/* The lock around work that must not hold it. */
void client_unlock(quire_client *client);
void client_lock(quire_client *client);

/* ---- wire.c --------------------------------------------------------------------------------------------------------------- */
/* Of a client over a wire: its token, and what TLS needs, from the options or the environment. With the error's text. */
enum quire_status wire_settings(quire_client *client, const quire_options *options);
void wire_forget(quire_client *client);

/* ---- routes.c ------------------------------------------------------------------------------------------------------------- */
/* "tls://host:port,host:port", "unix:///path,tls://host:port": the client's routes. With the error's text. */
enum quire_status routes_set(quire_client *client, const char *text);
/* One of them leads to another host. */
bool routes_wire(const quire_client *client);
/* A connection is wanted: all may be tried. */
void routes_begin(quire_client *client);
/* The nearest that was not tried. */
struct route *routes_next(quire_client *client, uint64_t now_ns);
/* True: there is another to try. */
bool routes_failed(quire_client *client, struct route *route, uint64_t now_ns);
void routes_worked(struct route *route);
/* How long an attempt may take, so that the others come to theirs within connect_timeout_ms. */
uint32_t routes_share_ms(const quire_client *client);

enum route_distance { ROUTE_HERE, ROUTE_NEAR, ROUTE_NODE_UNKNOWN, ROUTE_OTHER_NODE, ROUTE_FAR, ROUTE_DISTANCES };
/* This host, or a test's: interfaces as getifaddrs has them, its /sys, the caller's NUMA node (−1: there is one, or it is not known). */
struct ifaddrs;
struct routes_host {
    const struct ifaddrs *interfaces;
    const char *sys;
    int node;
};
enum route_distance route_distance(const struct route *route, const struct routes_host *host);
/* NULL: all were tried. */
struct route *routes_choose(quire_client *client, const struct routes_host *host, uint64_t now_ns);

/* ---- conn.c, rx.c, tx.c --------------------------------------------------------------------------------------------------- */
/* Makes sure that a connection exists or is being made. OK: up. PENDING: wait. Else why there is none. */
enum quire_status conn_need(quire_client *client, uint64_t now_ns);
/* Likewise for a job whose connection broke: also during the back-off it waits, for one attempt. */
enum quire_status conn_need_again(quire_client *client, uint64_t now_ns);
void conn_down(quire_client *client, enum quire_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* How long the back-off lasts after as many failures as there were. */
uint64_t conn_wait_ns(quire_client *client);
/* Over a wire the daemon speaks first. */
void conn_on_challenge(quire_client *client, const uint8_t *body, size_t size);
void conn_on_hello(quire_client *client, const uint8_t *body, size_t size);
void conn_on_ns_reopened(quire_client *client);
/* Reads, writes, expires: everything that is due. */
void conn_io(quire_client *client);
void conn_reset_buffers(quire_client *client);
/* Lets go of the transport; in a forked child without a word to the daemon. */
void conn_close_transport(quire_client *client, bool forked);

void rx_read(quire_client *client);
void rx_drop(quire_client *client);

bool tx_full(const quire_client *client);
/* Appends a frame; tx_flush sends. NO_MEMORY, TOO_LARGE. */
enum quire_status tx_frame(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body);
/* And raw bytes of a chunk's behind it, that stay where they are until the request is answered, or the connection is down. */
struct tx_run {
    const uint8_t *bytes;
    uint64_t size;
    uint8_t *
        spare; /* the bytes are the caller's: here is room for them, should they have to wait for longer than he does; NULL: they are ours */
};
enum quire_status tx_frame_bulk(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body,
                                const struct chunk *chunk, const struct tx_run *runs, uint32_t n_runs);
/* Something waits to be sent. */
bool tx_waits(const struct conn *conn);
/* Raw bytes of this chunk wait to be sent. */
bool tx_bulk_waits(const struct conn *conn, const struct chunk *chunk);
/* What waits of it, and is the caller's, goes to its spare room. */
void tx_bulk_keep(struct conn *conn, const struct chunk *chunk);
void tx_drop(struct conn *conn);
void tx_flush(quire_client *client);

/* ---- heartbeat.c ---------------------------------------------------------------------------------------------------------- */
/* The first request after a rest: silence counts from now. */
void heartbeat_begin(quire_client *client);
/* After what came was read: asks for a sign of life, or gives the connection up. */
void heartbeat_look(quire_client *client, uint64_t now_ns);
/* When to look again; UINT64_MAX: nobody waits for anything. */
uint64_t heartbeat_due_ns(const quire_client *client);

/* ---- request.c ------------------------------------------------------------------------------------------------------------ */
/* NULL at the limit or without memory. Valid until the next request_new. */
struct request *request_new(quire_client *client, enum quire_msg type, struct job *job);
struct request *request_find(quire_client *client, uint64_t id);
void request_free(quire_client *client, struct request *request);
/* Its answer is of no interest any more: the daemon is told. Nothing for 0, and for one that was answered. */
void request_abandon(quire_client *client, uint64_t id);
/* Sends the one request of a job and remembers it. The job waits, or has failed. */
void request_send(quire_client *client, struct job *job, enum quire_msg type, const ProtobufCMessage *body);
/* The connection is gone: forgets all. Jobs that waited for an answer end; stores may send `again` what was under way. */
void request_fail_all(quire_client *client, enum quire_status status, bool again, const char *text);

/* ---- job.c ---------------------------------------------------------------------------------------------------------------- */
void job_init(struct job *job, enum job_kind kind, uint64_t deadline_ns);
/* An asynchronous job: NULL with quire_last_status() when there may be no more. */
struct job *job_new(quire_client *client, enum job_kind kind, uint64_t deadline_ns, void *user);
/* Hands a prepared job to the client; starts it at once where that is cheap. OK, or NO_MEMORY. */
enum quire_status job_submit(quire_client *client, struct job *job);
quire_job job_submit_async(quire_client *client, struct job *job);
/* Submits a job on the caller's stack and waits for its end. */
enum quire_status job_run(quire_client *client, struct job *job);
void job_wake(quire_client *client, struct job *job);
void job_wake_list(quire_client *client, struct link *list);
void job_stall(struct job *job, struct link *list);
void job_finish(quire_client *client, struct job *job, enum quire_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Ends a job from outside: at once, or as soon as the thread that is busy with it notices. */
void job_abort(quire_client *client, struct job *job, enum quire_status status, const char *text);
void job_advance(quire_client *client, struct job *job);
void job_expire(quire_client *client, uint64_t now_ns);
struct job *job_find(quire_client *client, quire_job id);
void job_forget(quire_client *client, struct job *job);
/* In a forked child, or when all have ended: those still under way let go of what they hold. */
void job_forget_all(quire_client *client);

/* ---- progress.c ----------------------------------------------------------------------------------------------------------- */
/* Drives work until `finished` says so or until_ns has passed: true when finished. */
bool progress_until(quire_client *client, struct job *job, bool (*finished)(quire_client *client, void *arg), void *arg, uint64_t until_ns);
/* Wakes the threads that wait for this job. */
void progress_wake(quire_client *client, const struct job *job);
void progress_kick(quire_client *client);
/* Something is due at that time for jobs that wait for space: the leader must not sleep longer. */
void progress_wake_at(quire_client *client, uint64_t at_ns);
/* Called by a thread that is about to copy without the lock, or leaves: somebody else may have to poll. */
void progress_hand_over(quire_client *client);
/* When something is due even if nothing arrives; UINT64_MAX: never. */
uint64_t progress_due_ns(const quire_client *client);
enum quire_status progress_start_thread(quire_client *client);
void progress_stop_thread(quire_client *client);
void waiter_init(struct waiter *waiter, struct job *job);

/* ---- events.c ------------------------------------------------------------------------------------------------------------- */
void events_init(struct events *events);
void events_update(quire_client *client);
void events_forget_socket(quire_client *client);
void events_close(struct events *events);

/* ---- pool.c --------------------------------------------------------------------------------------------------------------- */
/* Maps both descriptors (and closes them). On failure `why` says what is wrong with them. */
enum quire_status pool_map(int pool_fd, int generations_fd, uint64_t pool_bytes, uint32_t n_slots, struct pool **pool, const char **why);
struct pool *pool_ref(struct pool *pool);
void pool_unref(struct pool **pool);
bool pool_stands(const struct pool *pool, uint32_t slot, uint32_t generation);
/* Maps a descriptor that can not shrink under us; NULL when it could. Closes it. */
void *map_sealed(int fd, uint64_t bytes, bool writable);

/* ---- ingest.c ------------------------------------------------------------------------------------------------------------- */
/* OK: there is a window. PENDING: asked for, the job is to stall for space. */
enum quire_status ingest_need(quire_client *client, uint64_t now_ns, uint32_t deadline_ms);
void ingest_on_ack(quire_client *client, const uint8_t *body, size_t size);
void ingest_on_error(quire_client *client, enum quire_status status, uint32_t retry_after_ms, const char *text);
/* Gives the window back when it was recalled and nothing is in it. */
void ingest_settle(quire_client *client);
void ingest_drop(quire_client *client);
bool ingest_alloc(struct window *window, uint64_t bytes, uint64_t *offset);
void ingest_free(quire_client *client, struct window *window, uint64_t offset);
void window_unref(struct window **window);
void chunk_free(quire_client *client, struct chunk *chunk);

/* ---- lookup.c, fetch.c, store.c, keys.c, ns.c, admin.c: a job's parts ----------------------------------------------------- */
void lookup_on_grants(quire_client *client, struct job *job, const uint8_t *body, size_t size);
/* The lease of an answer that nobody waits for any more. */
void lookup_on_late_grants(quire_client *client, const uint8_t *body, size_t size);
void lease_unref(quire_lease *lease);
const struct quire_wire_grant *lease_grant(const quire_lease *lease, uint32_t key_index, uint32_t group);
void lease_orphan_all(quire_client *client, bool inherited);
void release_flush(quire_client *client);
/* Puts what waits to be released in front of the frame that is about to be sent. */
void release_before(quire_client *client);

/* ---- load.c --------------------------------------------------------------------------------------------------------------- */
/* For a new lease of which something is away: makes room for where it will be. NO_MEMORY. */
enum quire_status lease_expect_loads(quire_lease *lease);
void lease_forget_loads(quire_lease *lease);
/* The rectangle that a destination means, of its group; all zero for opaque blocks. INVALID. */
enum quire_status lease_rect(const quire_lease *lease, uint8_t group, const quire_rect *asked, quire_rect *rect);
/* Where this much of a record lies in memory; NULL: only on disk. Without the lock. */
const struct quire_wire_grant *lease_place(const quire_lease *lease, const struct quire_wire_grant *grant, const quire_rect *rect);
/* Adds a record to what is to be loaded, when it is away; the first of at_most calls makes room for all. Then load_sort, once. */
enum quire_status load_want(struct load *load, const quire_lease *lease, const struct quire_wire_grant *grant, const quire_rect *rect,
                            uint32_t at_most);
void load_sort(struct load *load, const quire_lease *lease);
/* Why a record has no place: PENDING: that is not known yet. */
enum quire_status load_outcome(const struct load *load, uint32_t grant);
/* Says so for people. */
enum quire_status load_error(uint32_t key_index, enum quire_status status);
/* For a job under way: asks for what was not asked for, unless an answer is outstanding; stalls while it is too early to ask again. */
void load_ask(quire_client *client, struct job *job);
void load_wait(quire_client *client, struct job *job);
void load_abandon(quire_client *client, struct load *load);
void load_on_grants(quire_client *client, struct job *job, const uint8_t *body, size_t size);
void load_on_error(quire_client *client, struct job *job, enum quire_status status, uint32_t retry_after_ms);

/* ---- dest.c: destinations ------------------------------------------------------------------------------------------------- */
/* Resolves the rectangle of one that is not opaque, and checks that so many tokens of it lie where they may. INVALID. */
enum quire_status dest_check(const quire_layout *layout, const quire_dest *dest, uint32_t n_tokens, quire_rect *rect);
struct quire_scatter dest_scatter(const quire_dest *dest, const quire_rect *rect);

/*
 * Where the bytes of a record on its way are put: runs of lanes in the caller's memory, ascending in the record; the head, and lanes that must be scattered
 * later, in memory of our own, at their offset in the record; padding nowhere.
 */
struct dest_places {
    struct quire_record_place *of;
    uint32_t n;
    uint32_t payload_offset; /* of the shape that they were found for; 0: there are none */
    uint32_t own_bytes;      /* the record's first that `own` has room for */
    uint8_t *own;
    uint8_t padding[QUIRE_RECORD_ALIGN];
};
/* All of the record in memory of our own: the spare, if that is large enough. NO_MEMORY. */
enum quire_status dest_places_own(struct dest_places *places, uint32_t size_bytes, struct spare *spare);
/* For a destination that was checked. wanted_bytes: of the lanes that will come. NO_MEMORY. */
enum quire_status dest_places_find(struct dest_places *places, const quire_dest *dest, const struct quire_record_shape *shape,
                                   const quire_rect *rect, uint64_t wanted_bytes, struct spare *spare);
/* Where the record's byte at `offset` goes, and how many of *size go there, too. *next: 0 at first, then as it was left; offsets ascend. */
uint8_t *dest_places_at(struct dest_places *places, uint32_t *next, uint32_t offset, uint32_t *size);
void dest_places_free(struct dest_places *places);

/* ---- copies.c: records from a pool that is not mapped ----------------------------------------------------------------------- */
/* One that is all there, or failed; the bytes are to be given back. */
struct landed {
    uint32_t dest;
    uint32_t size_bytes;
    enum quire_status status;
    uint8_t *bytes;
    uint32_t own_bytes;      /* so many of the record are in them */
    uint32_t payload_offset; /* of one whose lanes are in their places, if they have some; 0: all of it is in `bytes` */
};
/* As much is on its way as may be. What is read from afar the daemon cannot bound: one record may be on its way to each fetch, and AFAR_BYTES to all. */
bool copies_full(const quire_client *client, const struct job *job);
/* May the daemon's memory be read, and is that wanted? False: it is not to be had though it was asked for; the connection is down. */
bool afar_attach(quire_client *client, const Quire__Wire__HelloAck *ack);
/* `over` is called once, when all that was begun up to afar_end has ended: OK, STALE (another record is there by now), DISCONNECTED. Perhaps
   in afar_end, but not before it. */
void afar_begin(quire_client *client, struct afar *afar, const struct quire_wire_grant *grant,
                void (*over)(quire_client *client, void *arg, enum quire_status status), void *arg);
void afar_read(struct afar *afar, uint32_t offset, void *to, uint32_t size);
void afar_end(struct afar *afar);
/* It is read to its end for nothing: CANCELLED. */
void afar_abandon(struct afar *afar);
/* Gives the connection up if nothing came for as long as a daemon may be silent. When it is to look again; UINT64_MAX: nothing is under way. */
void afar_look(quire_client *client, uint64_t now_ns);
uint64_t afar_due_ns(const quire_client *client);
/* Asks for what a destination wants of its record. What fails later is told by copies_take. */
enum quire_status copies_begin(quire_client *client, struct job *job, uint32_t dest, const struct quire_wire_grant *grant);
bool copies_take(struct job *job, struct landed *landed);
void copies_give_back(struct job *job, struct landed *landed);
void copies_on_bulk(quire_client *client, struct slice *slice, const struct quire_frame *frame, const uint8_t *body);
void copies_on_bulk_bytes(struct bulk *bulk, const uint8_t *bytes, size_t size);
/*
 * Where the rest of them belong, in order: how many places were given, `most` of them if that is not all; 0: nothing is to come, or nobody wants it.
 * Some are the caller's memory: they are good while the client's lock is held, or until a transport that writes there later is told to let go or to stop.
 */
uint32_t copies_bulk_places(const struct bulk *bulk, struct iovec *places, uint32_t most);
/* So many of them came, into their places. */
void copies_on_bulk_placed(struct bulk *bulk, size_t size);
void copies_on_bulk_end(quire_client *client, struct slice *slice);
/* Whose it is; NULL for none. */
struct job *slice_job(const struct slice *slice);
/* Nobody waits any more for what is on its way; then copies_drop. */
void copies_abandon(quire_client *client, struct job *job);
void copies_drop(struct job *job);

/* ---- store_again.c -------------------------------------------------------------------------------------------------------- */
/* The connection broke; a put that was under way may have arrived or not. The store goes on by another connection, or ends. */
void store_on_break(quire_client *client, struct chunk *chunk, bool again, const char *text);
/* The same for one that has nothing under way, or notices it by itself. */
void store_broke(quire_client *client, struct job *job, bool again, const char *text);
/* It goes on by another connection than before. */
void store_moved(struct job_store *store);
/* What the daemon said of a source, as its caller is told: a part that was cut in another way before a break is no error of the caller's. */
enum quire_status store_verdict(const struct job_store *store, const quire_source *source, enum quire_status status);
/* Its connection is not the one on which it put before, or there is none. */
bool store_is_cut_off(const quire_client *client, const struct job_store *store);

/* An answered put's chunk: the transport reads none of its bytes any more. May end the connection. */
void store_let_go(quire_client *client, const struct chunk *chunk);
void store_on_acks(quire_client *client, struct chunk *chunk, const uint8_t *body, size_t size);
void store_on_error(quire_client *client, struct chunk *chunk, enum quire_status status, uint32_t retry_after_ms);
void keys_on_acks(quire_client *client, struct job *job, const uint8_t *body, size_t size);
void ns_on_ack(quire_client *client, struct job *job, quire_ns *ns, const uint8_t *body, size_t size);
quire_ns *ns_ref(quire_ns *ns);
/* NULL is fine. */
void ns_unref(quire_ns *ns);
void ns_reopen_all(quire_client *client);
/* A request learned that the namespace is gone: the next one shall find it again. */
void ns_lost(quire_client *client, quire_ns *ns);
void admin_on_reply(quire_client *client, struct job *job, const uint8_t *body, size_t size);
/* The namespace's handle on this connection, or why there is none, with words that last as long as the namespace. */
enum quire_status ns_handle(const quire_client *client, const quire_ns *ns, uint32_t *handle, const char **why);
/* It could not be opened again. */
void ns_refused(quire_ns *ns, enum quire_status status, const char *text);

void connect_advance(quire_client *client, struct job *job);
void ns_advance(quire_client *client, struct job *job);
void lookup_advance(quire_client *client, struct job *job);
void fetch_advance(quire_client *client, struct job *job);
void load_advance(quire_client *client, struct job *job);
void store_advance(quire_client *client, struct job *job);
void keys_advance(quire_client *client, struct job *job);
void admin_advance(quire_client *client, struct job *job);
void lookup_end(quire_client *client, struct job *job);
void fetch_end(quire_client *client, struct job *job);
void load_end(quire_client *client, struct job *job);
/* Lets go of what an unfinished fetch holds, and says nothing to its caller. */
void fetch_drop(struct job *job);
void store_settle(quire_client *client, struct job *job);

void seq_learn(quire_seq *seq, const quire_fidelity *fidelity);
/* What is to be told of its cost, once; 0: nothing. NULL is fine. */
float seq_take_cost(quire_seq *seq);
/* No frame told what was taken, if it is not 0: the next store does. */
void seq_keep_cost(quire_seq *seq, float us_per_token);

/* ---- cuts.c: blocks that go in parts -------------------------------------------------------------------------------------- */
struct cut *cut_of(const struct job_store *store, uint32_t source);
/* Begins one; NULL without memory. */
struct cut *cut_begin(struct job_store *store, uint32_t source, const quire_rect *rect);
/* The next part that can be put now, not larger than a quarter of the window if that is at least a layer; false: none. */
bool cut_next(struct job_store *store, struct cut *cut, uint64_t window_bytes, struct chunk_item *item);
void cut_sent(struct cut *cut, const struct chunk_item *item);
void cut_unsent(struct cut *cut, const struct chunk_item *item);
void cut_answered(quire_client *client, struct job_store *store, const struct chunk_item *item, enum quire_status status);
/* The connection is another one: what was taken may be gone, and what was under way may have arrived. */
void cuts_lost(struct job_store *store);
/* Forgets those whose source has its outcome, or all; the daemon is told to drop what it has of those that are not stored. */
void cuts_sweep(quire_client *client, struct job_store *store, bool all);
/* Lets go of what an unfinished store holds, and tells nobody. */
void store_drop(struct job_store *store);

/* ---- bounds.c ------------------------------------------------------------------------------------------------------------- */
/* One side (K or V) of a rectangle in the caller's memory. */
struct plane {
    const void *const *base;
    uint32_t n_layers, n_heads, n_tokens, token_bytes;
    int64_t head_stride, token_stride;
};
/* OK when every byte lies in [region, region + region_bytes); INVALID also on any overflow. region NULL, 0 bytes: only overflow. */
enum quire_status bounds_check(const struct plane *plane, const void *region, uint64_t region_bytes);
/* Resolves "all zero" and checks a rectangle against a group of the layout. */
enum quire_status rect_resolve(const quire_layout *layout, uint32_t group, const quire_rect *asked, quire_rect *rect);

/* ---- fork.c --------------------------------------------------------------------------------------------------------------- */
void fork_register(quire_client *client);
void fork_unregister(quire_client *client);
/* First call in a child: forgets what was the parent's. */
void fork_reset(quire_client *client);

#endif
