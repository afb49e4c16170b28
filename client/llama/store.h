/*
 * The worker's way to Quire: one connection and one namespace, from which prefixes come and into which blocks go.
 *
 * A worker must not depend on the cache. Nothing here fails a run: without a daemon, when a fetch misses, when there is no room
 * or a deadline passes, less is reused or kept, and `note` says why. Not thread-safe.
 */
#ifndef QUIRE_LLAMA_STORE_H
#define QUIRE_LLAMA_STORE_H

#include "client/llama/engine.h"
#include "client/llama/lanes.h"
#include "client/quire.h"

#define STORE_SLOTS 8u /* blocks a store call */

/* The partial block that ended the last prompt of this worker: a conversation that goes on makes it superfluous. */
struct store_tail {
    quire_key key;
    uint32_t *tokens; /* what it covers, from the beginning; NULL: none */
    size_t n_tokens;
};

struct store {
    struct engine *engine;
    quire_client *client;
    quire_ns *ns;
    char address[320];
    char ns_name[QUIRE_MAX_NAME + 1];
    bool wanted; /* false: a run without Quire */
    double tried_ms;
    char note[320]; /* the last thing that went wrong; empty: nothing */
    struct store_tail last_tail;
    struct engine_buffer fetched;
    struct engine_buffer slot[STORE_SLOTS];
    struct kvblob *rows; /* STORE_SLOTS of them */
    struct lane_bases *bases;
    quire_source *sources;
};

/* One sequence's dealings with Quire. */
struct store_run {
    quire_seq *seq;
    quire_key *keys; /* of the full blocks, and of the tail */
    size_t n_keys, key_tokens;
    uint32_t kept_blocks; /* full blocks that are stored */
    uint32_t tail_tokens; /* of the partial block behind them that is stored, 0: none */
    bool goes_on;         /* the prompt continues the last one: store->last_tail is superseded by what is fuller */
    bool stopped;         /* keep nothing more */
    uint32_t reused_tokens, stored_blocks;
    quire_fidelity fidelity; /* the worst that was fetched */
    double lookup_ms, fetch_ms, import_ms, store_ms;
};

/* address and ns may be NULL (the defaults). Connects unless `wanted` is false or the engine's mode is NONE. */
enum quire_status store_open(struct store *store, struct engine *engine, const char *address, const char *ns, bool wanted);
void store_close(struct store *store);
/* Tries to connect if there is no connection and the last try is a second ago. True when blocks can be stored and fetched. */
bool store_ready(struct store *store);

/* Looks the longest stored prefix of tokens[0..n − 1) up and brings it into the engine, which is empty. */
void store_reuse(struct store *store, struct store_run *run, const uint32_t *tokens, size_t n);
/*
 * Stores what is complete of tokens[0..n), all of them computed; the partial tail too if `tail`. A prompt's tail stays for whoever asks the
 * same again; it is superseded when this worker's next prompt goes on from it.
 */
void store_keep(struct store *store, struct store_run *run, const uint32_t *tokens, size_t n, bool tail);
/* A token of the batch just computed took so long: told to Quire with the next blocks that are stored. */
void store_cost(struct store_run *run, double us_per_token);
void store_run_end(struct store_run *run);

double store_now_ms(void);

#endif
