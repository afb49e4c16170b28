/*
 * libquire: store the KV of a context once, fetch it from anywhere.
 *
 * A worker opens a client and a namespace (one model's layout), derives keys from its tokens, asks how long a prefix is stored
 * (a lease keeps it there), has it copied into its own memory, computes only the rest and stores that.
 *
 * Rules for all calls
 *  - Thread-safe unless said otherwise; one handle may be used by any number of threads at once.
 *  - Every call has a deadline; when it passes the outcome is QUIRE_TIMEOUT, which a caller treats as a miss. Nothing hangs.
 *  - Nothing prints, raises a signal or exits. Errors are return values; quire_status_text(), quire_last_error() explain them.
 *    The one exception is misuse that no return value could mend: a handle that was closed already, when noticed, ends the program by an
 *    assertion.
 *  - Sizes are bytes, strides bytes, times milliseconds, lengths of contexts tokens, unless a name says otherwise.
 *  - What a call hands out (client, namespace, sequence, lease) is closed by its own call, which NULLs the handle. What it takes stays the
 *    caller's and is read only during the call, except the buffers of submitted jobs.
 *  - A failed or missed fetch leaves the destination's contents undefined and says so; wrong bytes are never reported as right.
 *  - Buffers passed to a submit call stay the caller's and must stay valid until its completion has been drained.
 *  - The library has no thread of its own unless QUIRE_OPEN_PROGRESS_THREAD is given: submitted work advances inside quire_drain,
 *    quire_wait and the blocking calls. Poll quire_event_fd() and call quire_drain() when it is readable.
 *  - After fork() the child's handle opens a session of its own on its first call; the parent's jobs, leases and mappings do not
 *    pass to the child. Not over ucx://: UCX cannot be used in the child of a process that has used it, which then needs another address.
 *  - When the daemon goes away, calls miss, and the library reconnects by itself with back-off.
 *
 * Example (compiled by the tests as tests/unit/client_example.c; file and documentation are one):
 * @example
 *     #include <quire.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     enum { LAYERS = 2, HEADS = 2, DIM = 64, BLOCK = 16, TOKENS = 48, BLOCKS = TOKENS / BLOCK };
 *     static uint16_t cache[2][LAYERS][TOKENS][HEADS][DIM]; // an engine's K and V, f16
 *
 *     int main(void) {
 *         quire_layout layout = {.n_layers = LAYERS, .n_groups = 1, .block_tokens = BLOCK, .kv_src = {0, 1}};
 *         layout.group[0] = (quire_group){.n_kv_heads = HEADS, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
 *         memset(layout.weights_digest, 7, sizeof(layout.weights_digest)); // SHA-256 of the model's weights
 *         uint32_t tokens[TOKENS] = {101, 102, 103};
 *         quire_client *client = NULL;
 *         quire_ns *ns = NULL;
 *         if (quire_open(NULL, &client) != QUIRE_OK || quire_ns_open(client, "example", &layout, &ns) != QUIRE_OK) {
 *             printf("computing everything: %s\n", quire_last_error());
 *             quire_close(&client);
 *             return 0;
 *         }
 *         quire_key keys[BLOCKS], none = {{0}};
 *         size_t n_keys = 0;
 *         quire_chain(ns, tokens, TOKENS, NULL, 0, false, keys, BLOCKS, &n_keys);
 *         quire_lookup_args args = {.keys = keys, .n_keys = (uint32_t)n_keys};
 *         quire_lookup_result found;
 *         quire_lookup(ns, &args, NULL, &found); // a failure is a miss: found.hits is 0
 *         for (uint32_t i = 0; i < BLOCKS; i++) {
 *             void *k[LAYERS], *v[LAYERS];
 *             const void *from_k[LAYERS], *from_v[LAYERS];
 *             for (int layer = 0; layer < LAYERS; layer++) {
 *                 from_k[layer] = k[layer] = cache[0][layer][i * BLOCK];
 *                 from_v[layer] = v[layer] = cache[1][layer][i * BLOCK];
 *             }
 *             int64_t head = sizeof(cache[0][0][0][0]), token = sizeof(cache[0][0][0]);
 *             quire_dest dest = {.key_index = i, .k_base = k, .v_base = v, .region = cache, .region_bytes = sizeof(cache)};
 *             dest.k_head_stride = dest.v_head_stride = head;
 *             dest.k_token_stride = dest.v_token_stride = token;
 *             if (i < found.hits && quire_fetch(found.lease, &dest, 1, NULL, 0) == QUIRE_OK) {
 *                 printf("block %u: reused %u tokens\n", i, dest.n_tokens);
 *                 continue;
 *             }
 *             found.hits = 0;                                                             // what follows a miss is computed
 *             memset(cache[0][0][i * BLOCK], (int)i + 1, sizeof(cache[0][0][0]) * BLOCK); // ... by the engine
 *             quire_source source = {.key = keys[i], .parent = i == 0 ? none : keys[i - 1], .n_tokens = BLOCK};
 *             source.k_base = from_k, source.v_base = from_v;
 *             source.k_head_stride = source.v_head_stride = head;
 *             source.k_token_stride = source.v_token_stride = token;
 *             enum quire_status status = quire_store(ns, &source, 1, NULL, 0, NULL);
 *             printf("block %u: computed, stored: %s\n", i, quire_status_text(status));
 *         }
 *         quire_release(&found.lease);
 *         quire_ns_close(&ns);
 *         quire_close(&client);
 *         return 0;
 *     }
 * @end
 */
#ifndef QUIRE_H
#define QUIRE_H

#include "quire_types.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* libquire.so shows what is declared here, and nothing else */

typedef struct quire_client quire_client;
typedef struct quire_ns quire_ns;       /* a namespace, open for reading and storing */
typedef struct quire_lease quire_lease; /* a right to the bytes of some stored blocks */
typedef struct quire_seq quire_seq;     /* what a sequence was computed on, and what that took: from fetch and prefill to store */
typedef uint64_t quire_job;             /* 0 is never a job */

/* ---- texts ---------------------------------------------------------------------------------------------------------------- */
/* Static strings, never NULL, also for values that do not exist: a sentence's worth, "STALE", and why a key missed. */
const char *quire_status_text(enum quire_status status);
const char *quire_status_name(enum quire_status status);
const char *quire_miss_text(enum quire_miss reason);
/*
 * What the last failing call of this thread wanted to say, with what to do next. Never NULL, "" before the first failure; the library's,
 * valid until this thread's next call. A call that succeeds leaves it as it is.
 */
const char *quire_last_error(void);
/* This library's, as in "0.1.0": static. The daemon's is in quire_info. */
const char *quire_version(void);

/* ---- client --------------------------------------------------------------------------------------------------------------- */
enum quire_open_flags {
    QUIRE_OPEN_PROGRESS_THREAD = 1, /* a thread inside the library advances submitted jobs */
    QUIRE_OPEN_LAZY = 2             /* do not fail when the daemon is not there: connect later */
};

/*
 * How records come over ucx://. RMA: read from the daemon's memory by the network's cards, where the daemon's trust domain allows it and the token has the
 * right `rma`. AUTO does so where there are such cards; RMA asks for it in any case, and a daemon that does not allow it is UNSUPPORTED.
 */
enum quire_fetch_path { QUIRE_FETCH_AUTO = 1, QUIRE_FETCH_AM = 2, QUIRE_FETCH_RMA = 3 };

typedef struct quire_options {
    const char *address;          /* "unix:///path" or a path, made absolute by quire_open; of another host "tls://host:port", or on a
                                     network whose hosts are trusted "ucx://host:port"; NULL: $QUIRE_SOCKET, else
                                     $XDG_RUNTIME_DIR/quire/quired.sock, /run/quire/quired.sock or /tmp/quire-UID/quired.sock, the first
                                     that is there. Several of one daemon, separated by commas: "tls://10.0.0.1:7070,10.1.0.1:7070":
                                     the nearest is tried first (the local socket; then those on a network of this host's, by an
                                     interface at the caller's NUMA node before others; else in order), the next when it leads nowhere;
                                     what led nowhere waits half a minute behind the others */
    const char *client_name;      /* for people, in `quirectl session list`; NULL: the program's name */
    uint32_t flags;               /* enum quire_open_flags */
    uint32_t connect_timeout_ms;  /* of all addresses together; 0: 2000 */
    uint32_t default_deadline_ms; /* for calls that pass 0; 0: 5000 */
    uint32_t max_jobs;            /* jobs submitted and not yet drained; 0: 1024; submit gives RETRY beyond */
    uint64_t ingest_bytes;        /* memory lent for stores; 0: 16 MiB, bounded by the daemon */
    /* Of another host. */
    const char *token_file;      /* a line "name secret", which others may not read (chmod 600); NULL: $QUIRE_TOKEN_FILE */
    const char *tls_authorities; /* PEM file: whose certificates to believe; NULL: $QUIRE_TLS_AUTHORITIES, else the system's */
    const char *tls_certificate; /* PEM files, where the daemon asks for a certificate; NULL: $QUIRE_TLS_CERTIFICATE, $QUIRE_TLS_KEY, */
    const char *tls_key;         /* else none; the key may be in the certificate's file */
    uint32_t fetch_path;         /* enum quire_fetch_path; 0: $QUIRE_FETCH_PATH ("auto", "am", "rma"), else auto */
} quire_options;

/*
 * options may be NULL, and are copied, strings too. *client is NULL on failure. DISCONNECTED when no daemon answers (unless LAZY), VERSION,
 * DENIED.
 * Of another host: a call that waits ends as DISCONNECTED when the daemon has said nothing for 4 s, however long its deadline; a daemon that is only slow
 * does say something. Time during which no call of the library runs counts little.
 */
enum quire_status quire_open(const quire_options *options, quire_client **client);
/* Cancels what is outstanding, releases every lease, closes. Views become invalid. NULLs *client. Not concurrently with other calls. */
void quire_close(quire_client **client);

typedef struct quire_info {
    uint64_t epoch; /* the daemon's boot epoch; differs after each of its starts; 0 while disconnected */
    uint64_t session;
    bool connected;
    bool zero_copy; /* a member of the trust domain: views are possible */
    uint64_t pool_bytes;
    uint64_t reconnects;
    char daemon_version[64];
} quire_info;
/*
 * How the client stands just now, after looking once at what the daemon has sent; never blocks, and is no reason to connect. OK, or INVALID
 * for NULL. *info is the caller's; without a connection all but `reconnects` is 0.
 */
enum quire_status quire_get_info(quire_client *client, quire_info *info);

/* ---- namespaces ----------------------------------------------------------------------------------------------------------- */
/*
 * Opens or creates the namespace `name` (1..63 of [A-Za-z0-9._-]) with this layout; layout NULL opens an existing one.
 * MISMATCH names the first field that differs in quire_last_error(). Close with quire_ns_close before quire_close.
 * Waits for the daemon as long as the client's default_deadline_ms.
 */
enum quire_status quire_ns_open(quire_client *client, const char *name, const quire_layout *layout, quire_ns **ns);
/* NULL-safe; NULLs *ns. Leases and sequences of the namespace, and jobs under way on it, may outlive this; nothing outlives quire_close. */
void quire_ns_close(quire_ns **ns);
/*
 * The namespace's layout, also when it was opened with NULL. Belongs to ns and never changes; valid until quire_ns_close (copy it to keep
 * it).
 */
const quire_layout *quire_ns_layout(const quire_ns *ns);
/* The root of the namespace's key chains (layout digest and the operator's salt). Never changes; all zero for NULL. */
quire_key quire_ns_root(const quire_ns *ns);

/* ---- keys ----------------------------------------------------------------------------------------------------------------- */
/*
 * Keys of the full blocks of tokens[0..n_tokens), and of the partial tail block if `tail`; *n_keys is how many were written,
 * TOO_LARGE when capacity is short. Equal on every host and in every process. `extra` (may be NULL) is what else the KV depends on:
 * adapter, image digest.
 */
enum quire_status quire_chain(const quire_ns *ns, const uint32_t *tokens, size_t n_tokens, const void *extra, size_t extra_bytes, bool tail,
                              quire_key *keys, size_t capacity, size_t *n_keys);
/* A key from exactly 64 hexadecimal digits of either case, and nothing behind them; else INVALID. */
enum quire_status quire_key_from_text(const char *hex64, quire_key *key);
/* Writes 64 lower-case hexadecimal digits and a NUL. Neither may be NULL. */
void quire_key_to_text(const quire_key *key, char text[65]);

/* ---- sequences: ancestry and cost ----------------------------------------------------------------------------------------- */
/* Tracks the worst fidelity delivered to one sequence and puts it on what the sequence stores. Not thread-safe per object: one call, or one
   job until it is drained, at a time. INVALID, NO_MEMORY. */
enum quire_status quire_seq_create(quire_ns *ns, quire_seq **seq);
/* NULL-safe; NULLs *seq. Not while a submitted job still has it. */
void quire_seq_destroy(quire_seq **seq);
/* The worst of what it was given so far; exact for a new one, and for NULL. */
quire_fidelity quire_seq_ancestry(const quire_seq *seq);
/*
 * Tells what a token's prefill took where seq is computed: microseconds a token, best measured over a batch of the usual length;
 * QUIRE_COST_MIN_US to QUIRE_COST_MAX_US, or 0 to take back what was not sent yet. Goes to the daemon once, with the next store through
 * seq that sends it anything: tell again what was measured again. The daemon prices with it what readers of the namespace lease
 * (`quirectl ns show`, /metrics), and nothing else: no call waits, fails or hits because of it. As for every call on a seq: not while
 * another call or a submitted job has it.
 * INVALID for NULL and for other values; what was told before then stands.
 */
enum quire_status quire_seq_set_cost(quire_seq *seq, double us_per_token);

/* ---- lookup and leases ---------------------------------------------------------------------------------------------------- */
enum quire_lookup_flags {
    QUIRE_LOOKUP_EACH = 1,     /* each key for itself; default: the longest usable prefix of the chain */
    QUIRE_LOOKUP_PROBE = 2,    /* take no lease: says what is there now, promises nothing */
    QUIRE_LOOKUP_FLOOR = 4,    /* max_error counts: what is stored less faithfully is a miss */
    QUIRE_LOOKUP_FETCH = 8,    /* all of it will be fetched whole, in order: the daemon may begin to read what is on disk */
    QUIRE_LOOKUP_PREFETCH = 16 /* nobody waits yet for what is fetched under the lease: from another host it comes behind other fetches */
};

typedef struct quire_lookup_args {
    const quire_key *keys;
    uint32_t n_keys;     /* ≤ QUIRE_MAX_BATCH */
    uint32_t flags;      /* enum quire_lookup_flags */
    uint32_t group_mask; /* layer groups wanted, bit g; 0: all. Windowed groups are required only where a reader that resumes
                             behind the prefix looks: the last ⌈window ÷ block_tokens⌉ blocks, one more behind a partial tail */
    float max_error;
    uint32_t lease_ms;    /* new uses end after this; bytes in use stay. 0: the daemon's default */
    uint32_t deadline_ms; /* 0: the client's default */
    /*
     * Where the daemon keeps blocks on disk, too, a hit may be there: it is leased like any other and comes into memory when it is fetched.
     * May be NULL; else n_keys elements: microseconds from now until the block of a key that hits will have been read if all before it are
     * asked for at once, 0 when it and all before it are in memory. An estimate from what the disks did lately and have to do already, no
     * promise; the copy from memory comes on top. Compare it with what computing the same tokens takes.
     */
    uint32_t *estimates_us;
} quire_lookup_args;

typedef struct quire_lookup_result {
    enum quire_status status; /* OK also when nothing hit; else why the call as a whole failed */
    uint32_t hits;            /* blocks of the prefix, or keys that hit */
    uint32_t retry_after_ms;  /* with RETRY */
    quire_lease *lease;       /* NULL with PROBE, on no hit and on failure; release it */
    uint32_t fetch_us;        /* the last hit's estimate (estimates_us): until everything that hit can be in memory; 0: it is */
} quire_lookup_result;

/* misses: n_keys bytes (enum quire_miss, NONE = hit), may be NULL. Beyond the result's own status: INVALID and TOO_LARGE (n_keys) for the
   arguments; NOT_FOUND when the namespace was deleted. When a call that was well asked fails, misses are TIMEOUT. */
enum quire_status quire_lookup(quire_ns *ns, const quire_lookup_args *args, uint8_t *misses, quire_lookup_result *result);
quire_job quire_submit_lookup(quire_ns *ns, const quire_lookup_args *args, uint8_t *misses, quire_lookup_result *result, void *user);

/* Keys under the lease: 0..n_keys of the lookup. NULL-safe; NULLs *lease. Ends views. One-way: never blocks. The daemon is told
   at once, or, of a caller that keeps asking within 50 µs, with its next request: at most 1 MiB of the pool waits so. */
void quire_release(quire_lease **lease);
/* The same for n leases at once, NULLs among them passed over: one frame, and one way into the library, for up to 512 of one client. */
void quire_release_many(quire_lease **leases, uint32_t n_leases);
/* True while the lease may be newly used: not expired, same connection, same epoch. */
bool quire_lease_valid(const quire_lease *lease);

/* ---- fetch ---------------------------------------------------------------------------------------------------------------- */
/*
 * Where one block goes. Element (layer, kv, head, token, dim) is written to base[layer] + head·head_stride + token·token_stride +
 * dim·element size; strides in bytes; layers and heads counted from the rectangle's first. Everything written must lie in
 * [region, region + region_bytes), else INVALID: one region holds all bases of a block.
 * Opaque blocks: only `opaque` and `opaque_bytes` count.
 */
typedef struct quire_dest {
    uint32_t key_index; /* which key of the lease */
    uint8_t group;
    quire_rect rect; /* all zero: the whole group */
    void *const *k_base;
    void *const *v_base; /* ignored when the layout has no V */
    int64_t k_head_stride, k_token_stride;
    int64_t v_head_stride, v_token_stride;
    void *region; /* bounds; NULL with region_bytes 0: the caller vouches for the strides */
    uint64_t region_bytes;
    void *opaque;
    uint64_t opaque_bytes; /* capacity */
    /* results */
    enum quire_status status;
    quire_fidelity fidelity;
    uint32_t n_tokens;     /* tokens in the block */
    uint64_t bytes_copied; /* opaque: the block's length */
} quire_dest;

/*
 * Copies blocks under a lease into the caller's memory. OK when every destination is; else the first failure, and each
 * destination's own status tells: MISS (not leased, or not to be had from disk any more: evicted there, or damaged), STALE (expired,
 * reconnected, or the bytes were reused: look up again), CORRUPT, INVALID (no such key, or outside the region), TOO_LARGE (opaque_bytes),
 * TIMEOUT, FULL (no room in memory to read it into from disk). `seq` (may be NULL) learns the fidelity delivered. What a destination that is
 * not OK held before may be overwritten, in part or with bytes that are not the block's: over a wire they are received where they belong and verified
 * there. Nothing is written any more when the call has ended, or the job.
 *
 * What is only on disk is asked for by one request for all destinations of the call, or less of it when less is wanted: chosen layers and
 * heads are read by themselves where that is worth it. What is in memory is copied meanwhile. The call waits for the disk until its
 * deadline; a submitted one never does. What was read once stays in memory until the lease is released, and later calls under it need not
 * ask again.
 */
enum quire_status quire_fetch(quire_lease *lease, quire_dest *dests, uint32_t n_dests, quire_seq *seq, uint32_t deadline_ms);
quire_job quire_submit_fetch(quire_lease *lease, quire_dest *dests, uint32_t n_dests, quire_seq *seq, uint32_t deadline_ms, void *user);

/* ---- view: zero-copy ------------------------------------------------------------------------------------------------------ */
/* Pointers into the daemon's pool, read-only, valid until quire_release. DENIED for sessions outside the trust domain. */
typedef struct quire_view {
    const void *record; /* the sealed record, header and all, as codec/record.h describes it; lanes: quire_view_lane */
    uint64_t record_bytes;
    const void *payload; /* raw lanes in order [layer][K, V][head][token][dim], each aligned to 64 bytes */
    uint64_t payload_bytes;
    quire_fidelity fidelity;
    uint32_t n_tokens;
    uint32_t slot, generation; /* for quire_view_end */
} quire_view;
/*
 * Fills *view with where the block lies; nothing is copied. MISS: that key and group are not leased. STALE: the lease has expired, its
 * connection is gone, or the bytes were reused. CORRUPT, MISMATCH, VERSION: the record there is not what was asked for. DENIED: no member
 * of the trust domain. INVALID: no such key index. A block that is only on disk is read first, within the client's default deadline: MISS,
 * FULL, TIMEOUT as in quire_fetch. On failure view->record is NULL. The pointers are the daemon's and go with the lease (or
 * quire_close); a quire_view itself is the caller's, and for one thread at a time.
 */
enum quire_status quire_view_begin(quire_lease *lease, uint32_t key_index, uint8_t group, quire_view *view);
/*
 * The same for many, with one request for all that are only on disk: view i is of key key_indices[i] (NULL: i) and layer group groups[i]
 * (NULL: 0). Each stands for itself: those that began are to be read even when others failed. statuses: n_views bytes (enum quire_status),
 * may be NULL. OK when all are, else the first failure.
 */
enum quire_status quire_view_begin_many(quire_lease *lease, const uint32_t *key_indices, const uint8_t *groups, uint32_t n_views,
                                        quire_view *views, uint8_t *statuses);
/*
 * Address of one lane, [token][dim] of one layer, K (kv 0) or V (kv 1), and head, packed; *size_bytes (may be NULL) its size. layer counts
 * within the group, head within the layer. NULL when out of range, and for opaque blocks (theirs is `payload`). No error text.
 */
const void *quire_view_lane(const quire_view *view, const quire_layout *layout, uint8_t group, uint32_t layer, uint32_t kv, uint32_t head,
                            uint64_t *size_bytes);
/* Says whether the bytes stood during the whole view: OK, or STALE: discard what was read. INVALID: not begun. Clears *view. */
enum quire_status quire_view_end(quire_lease *lease, quire_view *view);
/*
 * The same for many; those that never began are passed over, as MISS in `statuses` (n_views bytes, may be NULL). OK when all others stood.
 */
enum quire_status quire_view_end_many(quire_lease *lease, quire_view *views, uint32_t n_views, uint8_t *statuses);

/* ---- store ---------------------------------------------------------------------------------------------------------------- */
enum quire_store_flags {
    QUIRE_STORE_PARENT_UNKNOWN = 1, /* an engine's own key whose parent is not known */
    QUIRE_STORE_PIN = 2
};

/* One block, or a part of one, gathered from the caller's memory (strides as in quire_dest). */
typedef struct quire_source {
    quire_key key;
    quire_key parent;     /* the previous key; all zero: the namespace's root */
    quire_key supersedes; /* a shorter tail block that this one replaces (not from a guest); all zero: none */
    uint32_t n_tokens;    /* 1..block_tokens */
    uint32_t flags;       /* enum quire_store_flags */
    uint64_t put_id;      /* parts of one block combine only under equal ids; 0: the block comes whole */
    uint8_t group;
    quire_rect rect; /* all zero: the whole group */
    const void *const *k_base;
    const void *const *v_base;
    int64_t k_head_stride, k_token_stride;
    int64_t v_head_stride, v_token_stride;
    const void *opaque;
    uint64_t opaque_bytes;
    /* result */
    enum quire_status status;
} quire_source;

/*
 * Stores blocks. OK when every source's status is OK (also when an equally faithful block was there already). FULL and RETRY come
 * with *retry_after_ms (may be NULL). A part's OK says it was taken; the block is visible when all parts are there. A block larger than
 * half of ingest_bytes is sent in parts; one layer of it, or an opaque block, must fit into ingest_bytes, else TOO_LARGE.
 * What of such a block was taken is not sent again; when the call ends without it, the daemon drops its parts at once. STALE: parts under the
 * caller's own put_id were dropped before all had come (part_expiry_ms): every rank stores its part again, under another put_id.
 * A block that somebody deletes at the same time is not there afterwards; its store is OK all the same, but with PIN it is MISS.
 * When the connection breaks, what is left goes by another one, and what was under way goes again, with the parts under the caller's own put_id
 * that this call has put: it is stored once. STALE: the daemon has some of those in other parts. What has PIN does not go again: DISCONNECTED then
 * means that it may be there or not. Parts of earlier calls are dropped with the connection, unless somebody else has brought some, too.
 * What the sources point at stays as it is until the call ends, or the job: over a wire it may be sent from where it lies. It is the caller's again then,
 * also when the store was called off or its time was up: for that the connection may be ended, should nobody at its other end take the bytes.
 */
enum quire_status quire_store(quire_ns *ns, quire_source *sources, uint32_t n_sources, quire_seq *seq, uint32_t deadline_ms,
                              uint32_t *retry_after_ms);
quire_job quire_submit_store(quire_ns *ns, quire_source *sources, uint32_t n_sources, quire_seq *seq, uint32_t deadline_ms,
                             uint32_t *retry_after_ms, void *user);

/* ---- by key --------------------------------------------------------------------------------------------------------------- */
/*
 * statuses: n_keys bytes (enum quire_status), may be NULL. touch: counts as use. delete: gone for new readers at once. pin: not evicted
 * until unpinned; pins are counted. FULL: no more blocks may be pinned, or no more of this namespace (max_pins).
 * Where the daemon keeps blocks on disk, delete, pin and unpin are answered when the disk has them: what was deleted with OK never comes
 * back, whenever the machine fails, and a pin outlives the daemon. SYSTEM: done in memory, but the disk would not take it, and
 * quire_last_error() says what to do. After TIMEOUT or DISCONNECTED it may be either way. RETRY: nothing was done, because too many wait,
 * or because the daemon has just started and may still find the block on its disks; a pin from before holds already then. Of delete also because what
 * deletions may write is used up; quire_last_error() says when to try again. A store with PIN is answered like a pin: OK when it will outlive the daemon, SYSTEM
 * when the block is stored and pinned, but the disk would not take the pin.
 */
enum quire_status quire_touch(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms);
enum quire_status quire_delete(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms);
enum quire_status quire_pin(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms);
enum quire_status quire_unpin(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms);
enum quire_keys_verb { QUIRE_KEYS_TOUCH = 1, QUIRE_KEYS_DELETE = 2, QUIRE_KEYS_PIN = 3, QUIRE_KEYS_UNPIN = 4 };
quire_job quire_submit_keys(quire_ns *ns, enum quire_keys_verb verb, const quire_key *keys, uint32_t n_keys, uint8_t *statuses,
                            uint32_t deadline_ms, void *user);

/* ---- completions ---------------------------------------------------------------------------------------------------------- */
/* Every submit call returns a job, or 0 with quire_last_error() and quire_last_status() telling why (RETRY: max_jobs reached). `user` comes
   back with the completion, untouched. */
typedef struct quire_done {
    quire_job job;
    enum quire_status status;
    void *user;
} quire_done;
/* The status of this thread's last failing call; OK before the first. */
enum quire_status quire_last_status(void);

/*
 * Readable when quire_drain has something to do. Owned by the client; do not read from it. Changes in a forked child. -1 when the process
 * has no descriptors left.
 */
int quire_event_fd(quire_client *client);
/* Advances work and hands out up to max completions; never waits for the daemon. Returns how many; 0 also for NULL. */
int quire_drain(quire_client *client, quire_done *done, int max);
/* Waits for one job and consumes its completion. TIMEOUT when timeout_ms passes first (the job goes on). NOT_FOUND: drained already. */
enum quire_status quire_wait(quire_client *client, quire_job job, uint32_t timeout_ms);
/*
 * The job ends soon, CANCELLED unless it was done already. Its completion is still to be drained, and its buffers stay in use until then:
 * another thread may be copying. NOT_FOUND when unknown.
 */
enum quire_status quire_cancel(quire_client *client, quire_job job);
/* Waits until no submitted job is under way; their completions are still to be drained. TIMEOUT when timeout_ms passes first. */
enum quire_status quire_quiesce(quire_client *client, uint32_t timeout_ms);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
