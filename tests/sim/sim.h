/*
 * The simulator's world: one daemon's pager and log, its disk, its clients and the network between them, all of it in one process, with one
 * clock that is only ever set forward, and dice whose seed says everything that happens. The same seed gives the same life, to the last event.
 *
 *   sim_agenda    what happens when           sim_disk      bytes that a crash may lose     sim_clients   who wants what
 *   sim_trace     what happened last          sim_executor  fills, seals, moves             sim_server    what the daemon does about it
 *   sim_config    how this world is made      sim_store     the disk's wishes on bytes      sim_model     what is true, whatever the pager says
 *   sim_content   which bytes a block has     sim_restart   from the disk to a new life     sim_walk      a segment's entries
 *   sim_snapshot  the index as a stop left it sim_scrub     what rests on disk is verified  sim_pins      what is true of pins
 *   sim_faults    what goes wrong with drives     sim_weather   stops while drives take nothing    sim_main      the program
 *   sim_ledger    what was written where          sim_wire      slow readers, broken connections   sim      the loop, crashes, quiet times
 */
#ifndef SIM_H
#define SIM_H

#include "codec/record.h"
#include "pager/disk.h"
#include "tests/sim/sim_agenda.h"
#include "tests/sim/sim_clients.h"
#include "tests/sim/sim_config.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_executor.h"
#include "tests/sim/sim_ledger.h"
#include "tests/sim/sim_model.h"
#include "tests/sim/sim_snapshot.h"
#include "tests/sim/sim_trace.h"
#include "tests/sim/sim_weather.h"
#include "tests/sim/sim_wire.h"
#include "tests/unit/pager_random.h"

#include <stdatomic.h>

#define SIM_MS QUIRE_NS_PER_MS

struct sim_domain {
    uint8_t *pool;
    _Atomic uint32_t *generations;
};

/*
 * How often what happened, over all seeds: a simulator in which nothing happens finds nothing. X(group, name). Of drives: what a crash found unsynced was
 * lost, torn at sectors, or kept; overtaken: lost, while something that was written later was kept.
 */
#define SIM_COUNTS(X)                                                                                                                      \
    X(work, steps)                                                                                                                         \
    X(work, puts)                                                                                                                          \
    X(work, hits)                                                                                                                          \
    X(work, grants)                                                                                                                        \
    X(work, loads)                                                                                                                         \
    X(work, loaded)                                                                                                                        \
    X(work, cancelled)                                                                                                                     \
    X(work, partial)                                                                                                                       \
    X(work, deletions)                                                                                                                     \
    X(work, acknowledged)                                                                                                                  \
    X(work, pins_found)                                                                                                                    \
    X(work, pins_waited)                                                                                                                   \
    X(disk, writes)                                                                                                                        \
    X(disk, reads)                                                                                                                         \
    X(disk, tombstones)                                                                                                                    \
    X(disk, emptied)                                                                                                                       \
    X(disk, rewritten)                                                                                                                     \
    X(disk, restored)                                                                                                                      \
    X(disk, orphans)                                                                                                                       \
    X(disk, declined)                                                                                                                      \
    X(disk, refused)                                                                                                                       \
    X(disk, scrubbed)                                                                                                                      \
    X(disk, scrub_dropped)                                                                                                                 \
    X(drives, crashes)                                                                                                                     \
    X(drives, stops)                                                                                                                       \
    X(drives, bad_weather)                                                                                                                 \
    X(drives, snapshots)                                                                                                                   \
    X(drives, lost)                                                                                                                        \
    X(drives, torn)                                                                                                                        \
    X(drives, kept)                                                                                                                        \
    X(drives, overtaken)                                                                                                                   \
    X(drives, rotten)                                                                                                                      \
    X(drives, rotten_footers)                                                                                                              \
    X(drives, corrupt)                                                                                                                     \
    X(drives, bad_sectors)                                                                                                                 \
    X(drives, unreadable)                                                                                                                  \
    X(drives, slow)                                                                                                                        \
    X(drives, full)                                                                                                                        \
    X(drives, full_for_long)                                                                                                               \
    X(drives, refused_writes)                                                                                                              \
    X(drives, refused_syncs)                                                                                                               \
    X(drives, short_of_memory)                                                                                                             \
    X(drives, failed_reads)                                                                                                                \
    X(drives, failed_metadata)                                                                                                             \
    X(drives, hangs)                                                                                                                       \
    X(drives, hangs_at_start)                                                                                                              \
    X(drives, left_out)                                                                                                                    \
    X(drives, waited)                                                                                                                      \
    X(drives, passed_over)                                                                                                                 \
    X(drives, deaths)                                                                                                                      \
    X(drives, devices_lost)                                                                                                                \
    X(network, delayed)                                                                                                                    \
    X(network, dropped)                                                                                                                    \
    X(network, repeated)                                                                                                                   \
    X(network, cut)                                                                                                                        \
    X(network, broken)                                                                                                                     \
    X(network, lost_loads)                                                                                                                 \
    X(network, sent)                                                                                                                       \
    X(network, sent_again)                                                                                                                 \
    X(asserted, bytes_verified)                                                                                                            \
    X(asserted, believed)                                                                                                                  \
    X(asserted, looks)                                                                                                                     \
    X(asserted, recounts)

struct sim_counts {
#define X(group, name) uint64_t name;
    SIM_COUNTS(X)
#undef X
};

struct sim {
    uint64_t seed, now_ns;
    uint64_t life; /* the daemon's: grows with each start */
    struct dice dice;
    struct sim_config config;
    struct sim_agenda agenda;
    struct sim_trace trace;
    struct sim_domain domains[SIM_MAX_DOMAINS];
    struct sim_disk disk;
    struct sim_snapshot snapshot;
    struct sim_executor executor;
    struct sim_model model;
    struct sim_clients clients;
    struct sim_weather weather;
    struct sim_ledger ledger;
    struct sim_wire wire;
    struct pager *pager; /* NULL: the daemon is down */
    bool calm;           /* no faults, nobody wants anything new */
    bool flushed, restored;
    bool hopeful;   /* the index came from a snapshot that names what a refused sync had left in doubt, and what may be gone since */
    bool ill_fated; /* it crashes soon */
    uint64_t n_steps;
    uint64_t spins; /* ticks in a row that did not let time pass */
    struct sim_counts *counts;
};

static inline uint32_t sim_roll(struct sim *sim, uint32_t n) { return (uint32_t)dice_below(&sim->dice, n); }
static inline bool sim_chance(struct sim *sim, uint32_t percent) { return sim_roll(sim, 100) < percent; }
/* [from, to] */
static inline uint32_t sim_between(struct sim *sim, uint32_t from, uint32_t to) { return from + sim_roll(sim, to - from + 1); }

/* A seed's lives, so many steps of them; the sum over all that happened. */
uint64_t sim_run(uint64_t seed, uint64_t steps, bool verbose, struct sim_counts *counts);

#define SIM_REQUIRE(sim, condition)                                                                                                        \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            sim_fail(sim, __FILE__, __LINE__, #condition);                                                                                 \
        }                                                                                                                                  \
    } while (0)

#endif
