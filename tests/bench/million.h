/* A million blocks of one byte in chains of 1,250, to look up, and the bare probe that such a look-up is held against. */
#ifndef BENCH_MILLION_H
#define BENCH_MILLION_H

#include "pager/index.h"
#include "tests/bench/fixture.h"

enum { MILLION = 1000000, MILLION_KEYS = 1250 };
#define MILLION_YAML "record_slots: 1100000\n"
#define MILLION_POOL "1200MiB"

struct million {
    quire_key *keys;
    struct pager_index *index; /* of the daemon's kind, in this process */
    uint64_t seed;
};
int million_start(const struct bench_case *c, struct million *million);
void million_stop(struct million *million);
/* In the namespace, and in the index. */
int million_store(const struct bench_case *c, struct million *million, quire_ns *ns);
/* One chain chosen at random, with cold caches: looked up with a lease, and probed for bare. */
int million_lookup(const struct bench_case *c, struct million *million, quire_ns *ns, double *seconds);
int million_probe(const struct bench_case *c, struct million *million, double *seconds);

#endif
