/* Memory: what a block costs, how much of a pool is usable, what sessions cost. */
#include "client/admin.h"
#include "pager/index.h"
#include "proto/base/base.h"
#include "proto/wire.h"
#include "tests/bench/fixture.h"
#include "tests/bench/local.h"

#include <math.h>
#include <stdlib.h>

/* The worst over the fill levels of a growing index, since a table that has just grown is at its emptiest. */
int local_index_bytes(const struct bench_options *options, const struct bench_case *self) {
    enum { LAST = 10000000, FIRST = 1000000 };
    struct pager_index *index = NULL;
    if (pager_index_create(LAST + 1, 42, &index) != QUIRE_OK) {
        return bench_fail(self, "no memory for the index");
    }
    double worst = 0, at_1m = 0, last = 0;
    uint32_t block;
    for (uint64_t i = 1; i <= LAST; i++) {
        quire_key key = {{0}};
        uint64_t seed = i;
        for (uint32_t word = 0; word < 4; word++) {
            uint64_t random = bench_random(&seed);
            memcpy(key.b + 8 * word, &random, 8);
        }
        if (pager_index_insert(index, 1, &key, &block) != QUIRE_OK) {
            pager_index_destroy(&index);
            return bench_fail(self, "index full after %llu", (unsigned long long)i);
        }
        if (i >= FIRST && i % 10000 == 0) {
            last = (double)pager_index_bytes(index) / (double)i;
            worst = last > worst ? last : worst;
            at_1m = i == FIRST ? last : at_1m;
        }
    }
    pager_index_destroy(&index);
    bench_report(options, "local", self, worst, "bytes", 96, worst / 96);
    bench_note(options, "worst between 1 and 10 million blocks; %.1f at 1 million, %.1f at 10 million", at_1m, last);
    bench_note(options,
               "apart: a resident record has 24 bytes of directory a lane group inside the record; attention mass: none is kept yet");
    return 0;
}

/* ---- churn ------------------------------------------------------------------------------------------------------------------- */

enum { CHURN_BATCH = 16 };
#define CHURN_POOL (768ull << 20)

static Quire__Wire__AdminReply *ask(const struct bench_case *c, quire_client *client, uint32_t verb) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    request.verb = verb;
    if (quire_admin_call(client, &request, &reply, 5000) != QUIRE_OK) {
        bench_fail(c, "status: %s", quire_last_error());
        return NULL;
    }
    return reply;
}

static int churn_store(const struct bench_case *c, struct fixture *fixture, const uint8_t *bytes, uint64_t *number, const uint64_t *sizes) {
    quire_source sources[CHURN_BATCH];
    for (uint32_t i = 0; i < CHURN_BATCH; i++) {
        sources[i] = (quire_source){.key = fixture_key((*number)++),
                                    .flags = QUIRE_STORE_PARENT_UNKNOWN,
                                    .n_tokens = 16,
                                    .opaque = bytes,
                                    .opaque_bytes = sizes[i]};
    }
    if (quire_store(fixture->ns, sources, CHURN_BATCH, NULL, 20000, NULL) != QUIRE_OK) {
        return bench_fail(c, "store: %s", quire_last_error());
    }
    return 0;
}

static int churn_measure(const struct bench_options *options, const struct bench_case *self, struct fixture *fixture,
                         const uint8_t *bytes) {
    uint64_t seed = 17, number = 0, stored = 0, sizes[CHURN_BATCH];
    double lowest = 1;
    for (uint32_t sample = 0; stored < 10 * CHURN_POOL || sample == 0;) {
        for (uint32_t i = 0; i < CHURN_BATCH; i++) {
            double position = (double)(bench_random(&seed) >> 11) / 9007199254740992.0;
            sizes[i] = (uint64_t)(20480.0 * pow(2097152.0 / 20480.0, position));
            stored += sizes[i];
        }
        if (churn_store(self, fixture, bytes, &number, sizes) != 0) {
            return 1;
        }
        if (stored > 9 * CHURN_POOL) { /* the tenth turnover: how much lives in the pool at each moment */
            Quire__Wire__AdminReply *reply = ask(self, fixture->client, QUIRE_ADMIN_STATUS);
            if (reply == NULL || reply->n_tiers == 0) {
                return 1;
            }
            double share = (double)reply->tiers[0]->live_bytes / (double)reply->tiers[0]->capacity_bytes;
            lowest = share < lowest ? share : lowest;
            sample++;
            quire__wire__admin_reply__free_unpacked(reply, NULL);
        }
    }
    for (uint32_t i = 0; i < CHURN_BATCH; i++) {
        sizes[i] = 2097152;
    }
    if (churn_store(self, fixture, bytes, &number, sizes) != 0) {
        return 1;
    }
    bench_report(options, "local", self, lowest, "share", 1, lowest);
    bench_note(options, "lowest moment of the tenth turnover of %llu MiB; 2 MiB puts succeed after it",
               (unsigned long long)(CHURN_POOL >> 20));
    return 0;
}

int local_churn(const struct bench_options *options, const struct bench_case *self) {
    struct fixture fixture;
    quire_layout layout;
    fixture_opaque_layout(&layout);
    uint8_t *bytes = calloc(1, 2097152);
    char yaml[128];
    snprintf(yaml, sizeof yaml, "domains:\n  - name: default\n    pool_bytes: %lluMiB\n", (unsigned long long)(CHURN_POOL >> 20));
    int failed = fixture_start(options, self, yaml, &fixture);
    failed = failed != 0 ? failed : fixture_open_ns(self, &fixture, "bench", &layout);
    failed = failed != 0 || bytes == NULL ? 1 : churn_measure(options, self, &fixture, bytes);
    fixture_stop(&fixture);
    free(bytes);
    return failed;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------------------- */

enum { SESSIONS = 100 };

static int use_session(const struct bench_case *c, const struct fixture *fixture, const quire_layout *layout, uint32_t number,
                       quire_client **client, quire_ns **ns) {
    static uint8_t bytes[65536];
    quire_options open_options = {.address = fixture->address, .client_name = "quire-bench"};
    if (quire_open(&open_options, client) != QUIRE_OK || quire_ns_open(*client, "bench", layout, ns) != QUIRE_OK) {
        return bench_fail(c, "session %u: %s", number, quire_last_error());
    }
    quire_key key = fixture_key(number);
    quire_source source = {.key = key, .flags = QUIRE_STORE_PARENT_UNKNOWN, .n_tokens = 16, .opaque = bytes, .opaque_bytes = sizeof bytes};
    quire_lookup_args args = {.keys = &key, .n_keys = 1};
    quire_lookup_result result = {0};
    if (quire_store(*ns, &source, 1, NULL, 20000, NULL) != QUIRE_OK || quire_lookup(*ns, &args, NULL, &result) != QUIRE_OK) {
        return bench_fail(c, "session %u: %s", number, quire_last_error());
    }
    quire_release(&result.lease);
    return 0;
}

int local_sessions(const struct bench_options *options, const struct bench_case *self) {
    struct fixture fixture;
    quire_layout layout;
    quire_client *clients[SESSIONS] = {0};
    quire_ns *spaces[SESSIONS] = {0};
    fixture_opaque_layout(&layout);
    int failed = fixture_start(options, self, "domains:\n  - name: default\n    pool_bytes: 256MiB\n", &fixture);
    for (uint32_t i = 0; failed == 0 && i < SESSIONS; i++) {
        failed = use_session(self, &fixture, &layout, i, &clients[i], &spaces[i]);
    }
    Quire__Wire__AdminReply *reply = failed == 0 ? ask(self, fixture.client, QUIRE_ADMIN_STATUS) : NULL;
    if (reply != NULL && reply->daemon != NULL) {
        /* Pool, generations and ingest windows are shared memory; the index is told by the daemon. */
        double rss = (double)(fixture_proc_bytes(fixture.daemon, "RssAnon") + fixture_proc_bytes(fixture.daemon, "RssFile"));
        double value = (rss - (double)reply->daemon->index_bytes) / (1 << 20);
        bench_report(options, "local", self, value, "MiB", 64, value / 64);
        quire__wire__admin_reply__free_unpacked(reply, NULL);
    } else {
        failed = 1;
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        if (spaces[i] != NULL) {
            quire_ns_close(&spaces[i]);
        }
        if (clients[i] != NULL) {
            quire_close(&clients[i]);
        }
    }
    fixture_stop(&fixture);
    return failed;
}
