/* What a block costs in memory when only the disk has it: index entry, its place, the log's books. */
#include "proto/base/base.h"
#include "tests/bench/disk.h"
#include "tests/bench/fixture.h"
#include "tests/bench/paper_disk.h"

#include <stdlib.h>

/* Records of 2 MiB, 31 in a segment: of what is usual the fewest, so that a segment's books weigh most. */
enum { LAST = 10000000, FIRST = 1000000, UNIT_BYTES = 4096, SEGMENT_BYTES = 64 << 20, A_SEGMENT = 31, SEGMENTS = LAST / A_SEGMENT + 8 };

struct costs {
    double worst, at_first, at_last;
};

/* The books are those of a full disk. */
static double cost(const struct paper *paper, uint64_t blocks) {
    struct pager_memory memory;
    struct pager_disk_stats stats;
    pager_memory(paper->pager, &memory);
    pager_disk_stats(paper->pager, &stats);
    return (double)(memory.index_bytes + stats.where_bytes) / (double)blocks + (double)stats.log.books_bytes / LAST;
}

/* A segment's entries, as a footer tells them: blocks of chains of 31. */
static void segment_entries(uint64_t first, uint32_t serial, struct quire_log_entry *entries) {
    for (uint32_t i = 0; i < A_SEGMENT; i++) {
        uint64_t seed = first + i;
        entries[i] = (struct quire_log_entry){
            .sequence = first + i + 1,
            .ns = serial,
            .at_units = 2 + i * (SEGMENT_BYTES / UNIT_BYTES - 4) / A_SEGMENT,
            .size_bytes = 2 << 20,
            .n_tokens = 16,
            .kind = QUIRE_LOG_RECORD,
            .flags = QUIRE_LOG_ROOT,
        };
        for (uint32_t word = 0; word < 4; word++) {
            uint64_t random = bench_random(&seed);
            memcpy(entries[i].key.b + 8 * word, &random, 8);
        }
        if (i > 0) {
            entries[i].parent = entries[i - 1].key;
            entries[i].flags = 0;
        }
    }
}

static int fill(const struct bench_case *self, struct paper *paper, struct costs *costs) {
    struct quire_log_entry entries[A_SEGMENT];
    uint32_t serial = pager_ns_serial(paper->pager, paper->ns);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        bool holds = (uint64_t)(i + 1) * A_SEGMENT <= LAST;
        pager_restore_segment(paper->pager, i, holds ? PAGER_SEGMENT_SEALED : PAGER_SEGMENT_CLEAN, holds ? SEGMENTS - i : 0,
                              SEGMENT_BYTES / UNIT_BYTES - 2, holds ? A_SEGMENT : 0);
    }
    for (uint64_t n = 0; n + A_SEGMENT <= LAST; n += A_SEGMENT) {
        segment_entries(n, serial, entries);
        pager_restore_entries(paper->pager, paper->now_ns, (uint32_t)(n / A_SEGMENT), entries, A_SEGMENT);
        if (n >= FIRST && n / A_SEGMENT % 4096 == 0) {
            costs->at_last = cost(paper, n + A_SEGMENT);
            costs->worst = costs->at_last > costs->worst ? costs->at_last : costs->worst;
            costs->at_first = costs->at_first == 0 ? costs->at_last : costs->at_first;
        }
    }
    struct pager_disk_stats stats;
    while (pager_restore_end(paper->pager, paper->now_ns)) {
    }
    pager_disk_stats(paper->pager, &stats);
    return stats.log.live_records == LAST / A_SEGMENT * A_SEGMENT
               ? 0
               : bench_fail(self, "only %llu blocks were taken", (unsigned long long)stats.log.live_records);
}

int disk_block_bytes(const struct bench_options *options, const struct bench_case *self) {
    struct paper_options paper_options = {.pool_bytes = 64 << 20,
                                          .n_slots = 1024,
                                          .n_segments = SEGMENTS,
                                          .segment_bytes = SEGMENT_BYTES,
                                          .unit_bytes = UNIT_BYTES,
                                          .max_blocks = LAST + 1};
    struct paper paper;
    struct costs costs = {0};
    quire_layout layout;
    fixture_opaque_layout(&layout);
    pager_disk_options_default(&paper_options.disk);
    int failed = paper_create(self, &paper_options, &layout, true, &paper);
    failed = failed != 0 ? failed : fill(self, &paper, &costs);
    paper_destroy(&paper);
    if (failed == 0) {
        bench_report(options, "disk", self, costs.worst, "bytes", 96, costs.worst / 96);
        bench_note(options, "worst between 1 and 10 million blocks; %.1f at 1 million, %.1f at 10 million", costs.at_first, costs.at_last);
    }
    return failed;
}
