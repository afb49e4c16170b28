/*
 * The core: the loop thread that owns the pager and every session, and the work pool beside it. While it sleeps, the threads that carry other hosts'
 * sessions may borrow what it owns (core_borrow).
 *
 * main() sets it up, runs it, and tears it down in exact mirror order. Other threads (the HTTP server, a signal) reach it only through
 * core_call, a bounded mailbox: the function runs on the loop thread and the caller waits, at most so long. The loop beats a
 * heart that the watchdog and /healthz look at.
 */
#ifndef DAEMON_CORE_H
#define DAEMON_CORE_H

#include "daemon/config.h"
#include "proto/quire.pb-c.h"

struct core;

/* Creates pools, socket, pager, work pool. On failure `why` says what and what to do (for a socket in use: who holds it). */
enum quire_status core_create(const struct config *config, struct core **core, char *why, size_t why_bytes);
/* Runs until core_stop. The bound of draining is config.drain_ms. */
enum quire_status core_run(struct core *core);
/* Ask to stop: refuse new work, answer what is under way, leave. Async-signal-safe and thread-safe. */
void core_stop(struct core *core);
void core_destroy(struct core **core);

/* Runs fn(core, arg) on the loop thread and waits; TIMEOUT after timeout_ms (fn may then still run later: arg must outlive it, or fn
   must be prepared), RETRY when the mailbox is full. On the loop thread itself it runs at once. */
enum quire_status core_call(struct core *core, void (*fn)(struct core *core, void *arg), void *arg, uint32_t timeout_ms);
/* Milliseconds since the loop last came round. Thread-safe. */
uint64_t core_heartbeat_age_ms(const struct core *core);

/* Applies a reloaded configuration (loop thread): what can change. Not OK: a part of it was refused, *why (the core's) tells which; the rest is in
   force. */
enum quire_status core_apply_config(struct core *core, const struct config *config, const char **why);

/* Fills the sections of an administrative reply (loop thread): the same answers serve quirectl and /metrics. The reply's memory is the
   core's arena until the next call. */
void core_admin(struct core *core, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply *reply);

/* Where the HTTP server listens, for `quirectl status` (set by main once known). */
void core_set_metrics_address(struct core *core, const char *address);
/* What a reload did: in a sentence for people, and as names of options, separated by ", ". */
struct core_reloaded {
    char text[1700], changed[512], needs_restart[512];
};
typedef enum quire_status core_reload(void *ctx, struct core_reloaded *done);
/* Called by core_admin for QUIRE_ADMIN_RELOAD, set by main: re-reads the configuration; what it did answers the operator. */
void core_set_reload(struct core *core, core_reload *reload, void *ctx);

/* Counters and histograms that are the daemon's own, beside PAGER_COUNTERS. X(name, help) */
#define CORE_COUNTERS(X)                                                                                                                   \
    X(sessions_opened, "sessions accepted")                                                                                                \
    X(sessions_refused, "sessions refused, of this host and others: limit, peer credentials, version, token")                              \
    X(sessions_closed, "sessions ended in good order")                                                                                     \
    X(remote_accepted, "connections of other hosts taken")                                                                                 \
    X(remote_refused,                                                                                                                      \
      "connections of other hosts ended before they could ask anything: no place, no handshake in time, no TLS, no memory")                \
    X(remote_guarded, "connections and proofs of other hosts refused unseen, because their address failed too often")                      \
    X(remote_rests, "times that no connection of other hosts was taken for a moment: there were as many as may be, or no descriptor left") \
    X(remote_denied, "connections of other hosts ended because a certificate was not accepted")                                            \
    X(remote_broken, "connections of other hosts ended later for what they sent or did not go on to send")                                 \
    X(tokens_refused, "sessions of other hosts refused: no token has the name and secret that they gave")                                  \
    X(rma_withheld, "sessions of other hosts that were not told where the pool is, because many with their token were lost a moment ago")  \
    X(rate_held, "requests of other hosts that had to wait, because their token's rate was used up")                                       \
    X(sessions_lost, "sessions that ended without a goodbye")                                                                              \
    X(sessions_kicked, "sessions ended by an operator or for breaking a limit")                                                            \
    X(frames_in, "frames received")                                                                                                        \
    X(frames_bad, "frames refused: header, checksum, size, order")                                                                         \
    X(frames_out, "frames sent")                                                                                                           \
    X(requests_failed, "requests answered with an error")                                                                                  \
    X(ingest_waits, "requests for an ingest window that had to wait")                                                                      \
    X(ingest_refused, "requests for an ingest window that timed out")                                                                      \
    X(ingest_recalled, "ingest windows asked back: idle ones, and busy ones that somebody waits for")                                      \
    X(ingest_taken, "ingest windows taken because they were not given back in time")                                                       \
    X(fill_bytes, "payload bytes copied into pools")                                                                                       \
    X(bulk_bytes, "bytes of records sent to guests and other hosts")                                                                       \
    X(reads_waited, "READs that waited because their session had as much on its way as it may")                                            \
    X(reads_waited_all, "READs that waited because all sessions of other hosts together had")                                              \
    X(reads_damaged, "READs answered with a miss, because the record in memory was not what was stored any more (domains: rma)")           \
    X(accept_failures, "accept() failures, descriptor exhaustion among them")                                                              \
    X(disk_header_hits, "reads of a part of a record on disk that found its header and directory in memory")                               \
    X(disk_header_misses, "reads of a part of a record on disk that read its header and directory, too")

struct core_counters {
#define X(name, help) uint64_t name;
    CORE_COUNTERS(X)
#undef X
};
const struct core_counters *core_counters(const struct core *core);

/* Latency histograms, powers of two of microseconds. X(name, help) */
#define CORE_HISTOGRAMS(X)                                                                                                                 \
    X(lease_us, "from a lease request read to its answer written")                                                                         \
    X(put_us, "from a put request read to its answer written")                                                                             \
    X(load_us, "from a request for records on disk read to its answer written")                                                            \
    X(fill_us, "a copy with checksum in the work pool")
#define CORE_HISTOGRAM_BUCKETS 24
struct core_histogram {
    uint64_t count, sum_us, bucket[CORE_HISTOGRAM_BUCKETS]; /* bucket i: < 2^i µs */
};
struct core_histograms {
#define X(name, help) struct core_histogram name;
    CORE_HISTOGRAMS(X)
#undef X
};
const struct core_histograms *core_histograms(const struct core *core);

#endif
