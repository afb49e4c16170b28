#include "tests/bench/million.h"

#include "proto/base/base.h"

#include <stdlib.h>

enum { PUT_BATCH = 4096 };

int million_start(const struct bench_case *c, struct million *million) {
    *million = (struct million){.keys = malloc(MILLION * sizeof *million->keys), .seed = 5};
    for (uint32_t i = 0; million->keys != NULL && i < MILLION; i++) {
        million->keys[i] = fixture_key(i);
    }
    return million->keys != NULL ? 0 : bench_fail(c, "no memory for a million keys");
}

void million_stop(struct million *million) {
    pager_index_destroy(&million->index);
    free(million->keys);
}

static int fill_index(const struct bench_case *c, struct million *million) {
    uint32_t block;
    if (pager_index_create(2 * MILLION, 42, &million->index) != QUIRE_OK) {
        return bench_fail(c, "no memory for the index");
    }
    for (uint32_t i = 0; i < MILLION; i++) {
        if (pager_index_insert(million->index, 1, &million->keys[i], &block) != QUIRE_OK) {
            return bench_fail(c, "index full after %u", i);
        }
    }
    return 0;
}

int million_store(const struct bench_case *c, struct million *million, quire_ns *ns) {
    static quire_source sources[PUT_BATCH];
    static const uint8_t byte = 0x5A;
    const quire_key *keys = million->keys;
    for (uint32_t done = 0; done < MILLION;) {
        uint32_t n = (uint32_t)quire_min_u64(PUT_BATCH, MILLION - done);
        for (uint32_t i = 0; i < n; i++) {
            sources[i] = (quire_source){.key = keys[done + i],
                                        .parent = (done + i) % MILLION_KEYS == 0 ? (quire_key){{0}} : keys[done + i - 1],
                                        .n_tokens = 16,
                                        .opaque = &byte,
                                        .opaque_bytes = 1};
        }
        if (quire_store(ns, sources, n, NULL, 20000, NULL) != QUIRE_OK) {
            return bench_fail(c, "store after %u blocks: %s", done, quire_last_error());
        }
        done += n;
    }
    return fill_index(c, million);
}

static const quire_key *some_chain(struct million *million) {
    return million->keys + bench_random(&million->seed) % (MILLION / MILLION_KEYS) * MILLION_KEYS;
}

int million_lookup(const struct bench_case *c, struct million *million, quire_ns *ns, double *seconds) {
    quire_lookup_args args = {.keys = some_chain(million), .n_keys = MILLION_KEYS};
    quire_lookup_result result;
    bench_cold_caches();
    uint64_t start = bench_now_ns();
    if (quire_lookup(ns, &args, NULL, &result) != QUIRE_OK || result.hits != MILLION_KEYS) {
        return bench_fail(c, "lookup: %u hits, %s", result.hits, quire_last_error());
    }
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    quire_release(&result.lease);
    return 0;
}

int million_probe(const struct bench_case *c, struct million *million, double *seconds) {
    static uint32_t found[MILLION_KEYS];
    const quire_key *keys = some_chain(million);
    bench_cold_caches();
    uint64_t start = bench_now_ns();
    pager_index_find_batch(million->index, 1, keys->b, MILLION_KEYS, found);
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return found[0] == PAGER_NO_BLOCK ? bench_fail(c, "the bare probe found nothing") : 0;
}
