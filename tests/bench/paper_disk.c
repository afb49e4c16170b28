#include "tests/bench/paper_disk.h"
#include "proto/base/base.h"

#include <stdlib.h>

static enum quire_status paper_wrote(struct paper *paper, const struct pager_disk_wish *wish) {
    struct paper_segment *segment = &paper->segments[wish->segment];
    segment->n = wish->first ? 0 : segment->n;
    if (segment->n + wish->n > segment->capacity) {
        uint32_t capacity = 2 * (segment->n + wish->n);
        struct quire_log_entry *grown = realloc(segment->entries, capacity * sizeof *grown);
        if (grown == NULL) {
            return QUIRE_NO_MEMORY;
        }
        segment->entries = grown;
        segment->capacity = capacity;
    }
    memcpy(segment->entries + segment->n, wish->entries, wish->n * sizeof *wish->entries);
    segment->n += wish->n;
    return QUIRE_OK;
}

static enum quire_status paper_do(struct paper *paper, const struct pager_event *event) {
    struct pager_disk_meta meta;
    switch (event->type) {
    case PAGER_DISK_WRITE:
        return paper_wrote(paper, event->disk);
    case PAGER_DISK_META:
        return pager_disk_meta(paper->pager, event->ticket, &meta);
    case PAGER_DISK_ENTRIES: {
        const struct paper_segment *segment = &paper->segments[event->disk->segment];
        return pager_disk_entries(paper->pager, event->ticket, segment->entries, segment->n);
    }
    default:
        return QUIRE_OK;
    }
}

void paper_pump(struct paper *paper) {
    struct pager_event event;
    while (pager_next_event(paper->pager, &event)) {
        if (event.type == PAGER_PUT_DONE) {
            paper->put_status = event.status;
        } else if (event.type == PAGER_LOAD_DONE) {
            paper->load_ticket = event.ticket;
        } else if (event.type != PAGER_DURABLE && event.type != PAGER_FLUSHED) {
            enum quire_status status = paper_do(paper, &event);
            pager_complete(paper->pager, paper->now_ns, event.ticket, status);
        }
    }
}

void paper_advance(struct paper *paper, uint64_t to_ns) {
    for (uint64_t next_ns; (next_ns = pager_next_deadline(paper->pager)) < to_ns;) {
        paper->now_ns = quire_max_u64(paper->now_ns, next_ns);
        pager_tick(paper->pager, paper->now_ns);
        paper_pump(paper);
        if (pager_next_deadline(paper->pager) <= paper->now_ns) {
            paper->now_ns += QUIRE_NS_PER_MS; /* it asked for another turn */
        }
    }
    paper->now_ns = quire_max_u64(paper->now_ns, to_ns);
    pager_tick(paper->pager, paper->now_ns);
    paper_pump(paper);
}

static enum quire_status paper_open(struct paper *paper, const struct paper_options *options, const quire_layout *layout) {
    struct pager_options pager_options;
    char why[200];
    pager_options_default(&pager_options);
    pager_options.max_blocks = options->max_blocks;
    QUIRE_FORWARD(pager_create(&pager_options, 42, 1, &paper->pager));
    QUIRE_FORWARD(pager_domain_add(paper->pager, "bench", options->pool_bytes, paper->generations, options->n_slots, &paper->domain));
    QUIRE_FORWARD(pager_disk_create(paper->pager, &paper->shape, &options->disk, 1));
    QUIRE_FORWARD(pager_ns_open(paper->pager, paper->domain, "bench", layout, "", 0, &paper->ns, why, sizeof why));
    return pager_session_open(paper->pager, paper->domain, &paper->session);
}

int paper_create(const struct bench_case *c, const struct paper_options *options, const quire_layout *layout, bool restoring,
                 struct paper *paper) {
    *paper = (struct paper){.now_ns = QUIRE_NS_PER_S};
    paper->shape = (struct pager_log_shape){
        .geometry = {.unit_bytes = options->unit_bytes, .segment_units = options->segment_bytes / options->unit_bytes},
        .n_devices = 1,
        .segments = {options->n_segments},
        .reserve = 1,
    };
    paper->generations = calloc(options->n_slots, sizeof *paper->generations);
    paper->segments = calloc(options->n_segments, sizeof *paper->segments);
    enum quire_status status = paper->generations != NULL && paper->segments != NULL ? paper_open(paper, options, layout) : QUIRE_NO_MEMORY;
    if (status != QUIRE_OK) {
        return bench_fail(c, "no pager: %s", quire_status_name(status));
    }
    for (uint32_t i = 0; i < options->n_segments && !restoring; i++) {
        pager_restore_segment(paper->pager, i, PAGER_SEGMENT_CLEAN, 0, 0, 0);
    }
    if (!restoring) {
        pager_restore_end(paper->pager, paper->now_ns);
    }
    paper_pump(paper);
    return 0;
}

void paper_destroy(struct paper *paper) {
    for (uint32_t i = 0; paper->segments != NULL && i < paper->shape.segments[0]; i++) {
        free(paper->segments[i].entries);
    }
    if (paper->pager != NULL) {
        pager_destroy(&paper->pager);
    }
    free(paper->segments);
    free((void *)(uintptr_t)paper->generations);
}
