/* A call for which memory is short: it ends with NO_MEMORY, its results say so, and it keeps nothing. */
#include "tests/unit/client_quired.h"

#include <dlfcn.h>

static __thread bool no_realloc; /* what the table of deadlines grows by */

void *realloc(void *old, size_t size) {
    static void *(*next)(void *, size_t);
    if (next == NULL) {
        next = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    }
    return no_realloc ? NULL : next(old, size);
}

static void start(void) {
    cr_assert(quired_start(&quired));
    worker_open((quire_options){.max_jobs = 128});
}

/* The first 64 jobs fit into the table; the next one of each kind is refused. Leases that were leaked would be seen by the leak checker. */
Test(client_memory, a_job_too_many, .init = start, .fini = worker_stop, .timeout = 60) {
    quire_key key;
    quire_lookup_result found, results[64], late = {.hits = 7};
    static struct toy toy, back;
    toy_keys(ns, 1, &key, 1);
    cr_assert_eq(toy_store(ns, &key, 1), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, &key, 1, &found), QUIRE_OK);
    toy_fill(&toy, 0);
    toy_clear(&back);
    quire_dest dest = toy_dest(&back, 0);
    quire_source source = toy_source(&toy, key, NULL, TOY_BLOCK);
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_PROBE};
    for (int i = 0; i < 64; i++) {
        cr_assert_neq(quire_submit_lookup(ns, &args, NULL, &results[i], NULL), 0);
    }
    no_realloc = true;
    cr_assert_eq(quire_submit_fetch(found.lease, &dest, 1, NULL, 0, NULL), 0);
    cr_assert_eq(quire_last_status(), QUIRE_NO_MEMORY);
    cr_assert_eq(dest.status, QUIRE_NO_MEMORY);
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 0, NULL), QUIRE_NO_MEMORY);
    cr_assert_eq(source.status, QUIRE_NO_MEMORY);
    cr_assert_eq(quire_lookup(ns, &args, NULL, &late), QUIRE_NO_MEMORY);
    cr_assert_eq(late.status, QUIRE_NO_MEMORY);
    cr_assert_eq(late.hits, 0);
    no_realloc = false;
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK);
    cr_assert_eq(quire_quiesce(client, 20000), QUIRE_OK);
    quire_release(&found.lease);
}
