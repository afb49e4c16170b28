/* Records under construction: parts are admitted, filled, and the record sealed when every layer and head of it is there. */
#include "pager/internal.h"

#include <stdlib.h>

uint32_t pager_assembly_bucket(uint32_t block) { return (block * 0x9e3779b1u) >> 16 & (PAGER_ASSEMBLY_BUCKETS - 1); }

struct pager_assembly *pager_assembly_of(const struct pager *pager, uint32_t block, struct pager_assembly *after) {
    struct pager_assembly *assembly = after ? after->bucket_next : pager->buckets[pager_assembly_bucket(block)];
    while (assembly && assembly->block != block) {
        assembly = assembly->bucket_next;
    }
    return assembly;
}

struct pager_assembly *pager_assembly_find(const struct pager *pager, uint32_t block, uint8_t group, uint64_t put_id) {
    struct pager_assembly *assembly = NULL;
    while ((assembly = pager_assembly_of(pager, block, assembly))) {
        if (assembly->group == group && assembly->put_id == put_id) {
            return assembly;
        }
    }
    return NULL;
}

uint64_t pager_assembly_memory(const struct pager_assembly *assembly) {
    uint64_t bits = assembly->cells ? quire_align_up(assembly->n_cells, 64) / 8 : 0;
    return sizeof(*assembly) + bits + assembly->n_contributors * sizeof(*assembly->contributors) +
           assembly->landed_capacity * sizeof(*assembly->landed);
}

enum quire_status pager_assembly_begin(struct pager *pager, const struct pager_assembly *as, struct pager_assembly **out) {
    QUIRE_FORWARD(pager_timers_promise(&pager->timers));
    struct pager_assembly *assembly = malloc(sizeof(*assembly));
    if (!assembly) {
        pager->timers.promised--;
        return QUIRE_NO_MEMORY;
    }
    *assembly = *as;
    assembly->timer = (struct pager_timer){.kind = PAGER_TIMER_ASSEMBLY};
    assembly->slot = PAGER_NO_RECORD;
    assembly->next = &pager->assemblies;
    assembly->prev = pager->assemblies.prev;
    assembly->prev->next = assembly;
    assembly->next->prev = assembly;
    struct pager_assembly **bucket = &pager->buckets[pager_assembly_bucket(assembly->block)];
    assembly->bucket_next = *bucket;
    *bucket = assembly;
    pager_session_builds(pager, assembly, true);
    pager_block_at(pager, assembly->block)->flags |= PAGER_BLOCK_BUILDING;
    *out = assembly;
    return QUIRE_OK;
}

/* ---- parts ---------------------------------------------------------------------------------------------------------------- */
void pager_part_attach(struct pager *pager, struct pager_assembly *assembly, struct pager_part *part) {
    pager_session_waits(pager, part->session, 1);
    part->assembly = assembly;
    part->next = NULL;
    part->prev = assembly->last;
    *(assembly->last ? &assembly->last->next : &assembly->first) = part;
    assembly->last = part;
}

static void part_detach(struct pager_part *part) {
    struct pager_assembly *assembly = part->assembly;
    *(part->prev ? &part->prev->next : &assembly->first) = part->next;
    *(part->next ? &part->next->prev : &assembly->last) = part->prev;
    part->prev = part->next = NULL;
    part->assembly = NULL;
}

void pager_part_discard(struct pager *pager, struct pager_part *part) {
    if (part->assembly) {
        pager_session_waits(pager, part->session, part->state == PAGER_PART_WAITING ? -1 : 0);
        part_detach(part);
    }
    pager_timers_forget(&pager->timers, &part->timer);
    pager_table_remove(&pager->parts, part->handle);
    free(part);
}

void pager_part_done(struct pager *pager, struct pager_part *part, enum quire_status status) {
    pager_timer_disarm(&pager->timers, &part->timer);
    if (part->assembly) {
        pager_session_waits(pager, part->session, part->state == PAGER_PART_WAITING ? -1 : 0);
        part_detach(part);
    }
    if (part->wish.next) {
        pager_wish_cancel(&part->wish);
    }
    part->state = PAGER_PART_DONE;
    part->verdict = (uint8_t)status;
    bool again = status == QUIRE_FULL || status == QUIRE_RETRY;
    part->retry_after_ms = again ? pager_room_retry_ms(pager) : 0;
    pager->counters.puts_full += status == QUIRE_FULL;
    pager->counters.puts_corrupt += status == QUIRE_CORRUPT;
    pager_wish_ask(pager, &part->wish, PAGER_PUT_DONE);
}

static uint32_t rect_cells(const struct pager_part *part) { return (uint32_t)part->rect.n_layers * part->rect.n_heads; }

/* Runs over the rectangle's cells; with `set` 0 or 1 writes them, else only looks. True when any of them was claimed before. */
static bool cells_walk(const struct pager_assembly *assembly, const quire_rect *rect, int set) {
    bool any = false;
    for (uint32_t layer = rect->first_layer; layer < rect->first_layer + (uint32_t)rect->n_layers; layer++) {
        for (uint32_t head = rect->first_head; head < rect->first_head + (uint32_t)rect->n_heads; head++) {
            uint32_t cell = layer * assembly->shape.n_heads + head;
            uint64_t *word = &assembly->cells[cell / 64], bit = 1ull << cell % 64;
            any |= (*word & bit) != 0;
            *word = set < 0 ? *word : set ? *word | bit : *word & ~bit;
        }
    }
    return any;
}

static enum quire_status claim(struct pager_assembly *assembly, const struct pager_part *part) {
    if (part->whole) {
        if (assembly->claimed > 0) {
            return QUIRE_INVALID;
        }
        assembly->claimed = assembly->n_cells;
        return QUIRE_OK;
    }
    if (!assembly->cells) {
        if (assembly->claimed > 0) {
            return QUIRE_INVALID;
        }
        assembly->cells = calloc(quire_align_up(assembly->n_cells, 64) / 64, sizeof(*assembly->cells));
        if (!assembly->cells) {
            return QUIRE_NO_MEMORY;
        }
    }
    if (assembly->claimed == assembly->n_cells || cells_walk(assembly, &part->rect, -1)) {
        return QUIRE_INVALID;
    }
    cells_walk(assembly, &part->rect, 1);
    assembly->claimed += rect_cells(part);
    return QUIRE_OK;
}

static void unclaim(struct pager_assembly *assembly, const struct pager_part *part) {
    if (part->whole) {
        assembly->claimed = 0;
        return;
    }
    cells_walk(assembly, &part->rect, 0);
    assembly->claimed -= rect_cells(part);
}

/* What the record will say of itself is what its parts say, and no part that was refused. */
static void adopt_facts(struct pager_assembly *assembly, const struct pager_part *part, bool first) {
    float ancestry_error = first ? 0 : assembly->ancestry_error;
    assembly->ancestry_error = part->ancestry_error > ancestry_error ? part->ancestry_error : ancestry_error;
    assembly->pin = part->pin || (!first && assembly->pin);
    assembly->supersedes = part->supersedes || (!first && assembly->supersedes);
    assembly->shorter = part->supersedes ? part->shorter : assembly->shorter;
}

static enum quire_status add_contributor(struct pager *pager, struct pager_assembly *assembly, uint64_t session) {
    for (uint32_t i = 0; i < assembly->n_contributors; i++) {
        if (assembly->contributors[i] == session) {
            return QUIRE_OK;
        }
    }
    if (!pager_session_find(pager, session)) {
        return QUIRE_OK; /* its bytes are good, but it will not complete the block */
    }
    if (assembly->n_contributors == PAGER_MAX_CONTRIBUTORS) {
        return QUIRE_TOO_LARGE;
    }
    uint64_t *grown = realloc(assembly->contributors, (assembly->n_contributors + 1) * sizeof(*grown));
    if (!grown) {
        return QUIRE_NO_MEMORY;
    }
    assembly->contributors = grown;
    grown[assembly->n_contributors++] = session;
    return QUIRE_OK;
}

/* A part that came before. Whoever brings it again is one of those who may complete the block, as if it had come now. */
static bool repeats(struct pager *pager, struct pager_assembly *assembly, struct pager_part *part) {
    enum quire_status status = pager_repeat_of(assembly, part);
    if (status == QUIRE_NOT_FOUND) {
        return false;
    }
    pager->counters.puts_repeated++;
    pager_part_done(pager, part, status == QUIRE_OK ? add_contributor(pager, assembly, part->session) : status);
    return true;
}

enum quire_status pager_assembly_admit(struct pager *pager, struct pager_assembly *assembly, struct pager_part *part) {
    assert(!assembly->waiting && part->state == PAGER_PART_WAITING);
    bool first = assembly->claimed == 0;
    enum quire_status status = claim(assembly, part);
    if (status == QUIRE_INVALID && repeats(pager, assembly, part)) {
        return QUIRE_OK;
    }
    QUIRE_FORWARD(status);
    adopt_facts(assembly, part, first);
    part->state = PAGER_PART_ASKED;
    part->slot = assembly->slot;
    pager_session_waits(pager, part->session, -1);
    pager_timer_disarm(&pager->timers, &part->timer);
    pager_wish_ask(pager, &part->wish, PAGER_FILL);
    return QUIRE_OK;
}

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
void pager_assembly_start(struct pager *pager, struct pager_assembly *assembly, uint32_t slot, uint32_t extent) {
    struct pager_domain *domain = &pager->domains[pager->namespaces[assembly->ns]->domain];
    assembly->slot = slot;
    pager_record_take(pager, domain, slot,
                      &(struct pager_record){
                          .block = assembly->block,
                          .extent = extent,
                          .size_bytes = assembly->shape.size_bytes,
                          .ns = assembly->ns,
                          .group = assembly->group,
                          .rung = QUIRE_RUNG_RAW,
                      });
    pager_timer_arm(&pager->timers, &assembly->timer, pager->now_ns + pager->options.part_expiry_ms * QUIRE_NS_PER_MS);
    struct pager_part *next;
    for (struct pager_part *part = assembly->first; part; part = next) {
        next = part->next;
        enum quire_status status = pager_assembly_admit(pager, assembly, part);
        if (status != QUIRE_OK) {
            pager->counters.puts_invalid += status == QUIRE_INVALID;
            pager_part_done(pager, part, status);
        }
    }
}

static bool is_building(const struct pager *pager, uint32_t block) { return pager_assembly_of(pager, block, NULL) != NULL; }

static void assembly_free(struct pager *pager, struct pager_assembly *assembly) {
    assert(!assembly->first && !assembly->waiting);
    pager_timers_forget(&pager->timers, &assembly->timer);
    assembly->prev->next = assembly->next;
    assembly->next->prev = assembly->prev;
    struct pager_assembly **link = &pager->buckets[pager_assembly_bucket(assembly->block)];
    while (*link != assembly) {
        link = &(*link)->bucket_next;
    }
    *link = assembly->bucket_next;
    pager_session_builds(pager, assembly, false);
    uint32_t block = assembly->block;
    free(assembly->cells);
    free(assembly->contributors);
    free(assembly->landed);
    free(assembly);
    if (!is_building(pager, block)) {
        pager_block_at(pager, block)->flags &= (uint8_t)~PAGER_BLOCK_BUILDING;
    }
    pager_block_settle(pager, block);
}

void pager_assembly_end(struct pager *pager, struct pager_assembly *assembly, enum quire_status verdict) {
    struct pager_part *next;
    for (struct pager_part *part = assembly->first; part; part = next) {
        next = part->next;
        if (part->state == PAGER_PART_FLYING) {
            part->verdict = (uint8_t)verdict;
            part_detach(part);
        } else {
            pager_part_done(pager, part, verdict);
        }
    }
    struct pager_domain *domain = &pager->domains[pager->namespaces[assembly->ns]->domain];
    if (assembly->waiting) {
        pager_room_leave(pager, assembly);
    } else if (assembly->slot != PAGER_NO_RECORD) {
        pager_record_step(pager, domain, assembly->slot, PAGER_HAPPENS_DROP);
    }
    assembly_free(pager, assembly);
}

void pager_assembly_published(struct pager *pager, struct pager_assembly *assembly) {
    assembly->slot = PAGER_NO_RECORD;
    assembly_free(pager, assembly);
}

bool pager_assembly_wants_pin(const struct pager_assembly *assembly) {
    bool pin = assembly->pin;
    for (const struct pager_part *part = assembly->first; part; part = part->next) {
        pin |= part->pin;
    }
    return pin;
}

void pager_assembly_end_all(struct pager *pager, uint32_t block, enum quire_status verdict, enum quire_status pin_verdict) {
    struct pager_assembly *assembly = pager_assembly_of(pager, block, NULL);
    while (assembly) {
        struct pager_assembly *next = pager_assembly_of(pager, block, assembly);
        pager_assembly_end(pager, assembly, pager_assembly_wants_pin(assembly) ? pin_verdict : verdict);
        assembly = next;
    }
}

static bool is_of(const struct pager_assembly *assembly, uint64_t session) {
    for (uint32_t i = 0; i < assembly->n_contributors; i++) {
        if (assembly->contributors[i] != session) {
            return false;
        }
    }
    for (const struct pager_part *part = assembly->first; part; part = part->next) {
        if (part->session != session) {
            return false;
        }
    }
    return assembly->owner == session;
}

uint32_t pager_assembly_cancel(struct pager *pager, uint32_t block, uint64_t put_id, uint64_t session) {
    uint32_t n_ended = 0;
    struct pager_assembly *next, *assembly = pager_assembly_of(pager, block, NULL);
    for (; assembly; assembly = next) {
        next = pager_assembly_of(pager, block, assembly);
        if (assembly->put_id == put_id && is_of(assembly, session)) {
            pager_assembly_end(pager, assembly, QUIRE_CANCELLED);
            n_ended++;
        }
    }
    return n_ended;
}

/* Nobody is left who could complete it. */
static void review(struct pager *pager, struct pager_assembly *assembly) {
    if (!assembly->first && (assembly->filled == 0 || assembly->n_contributors == 0)) {
        pager_assembly_end(pager, assembly, QUIRE_CANCELLED);
    }
}

void pager_part_late(struct pager *pager, struct pager_part *part) {
    struct pager_assembly *assembly = part->assembly;
    pager_part_done(pager, part, QUIRE_FULL);
    review(pager, assembly);
}

void pager_assembly_expired(struct pager *pager, struct pager_assembly *assembly) {
    if (assembly->first) { /* something is under way: not a matter of parts that never come */
        pager_timer_arm(&pager->timers, &assembly->timer, pager->now_ns + pager->options.part_expiry_ms * QUIRE_NS_PER_MS);
        return;
    }
    pager->counters.parts_expired++;
    pager_assembly_end(pager, assembly, QUIRE_TIMEOUT);
}

/* ---- what the daemon reports ---------------------------------------------------------------------------------------------- */
static void part_filled(struct pager *pager, struct pager_part *part) {
    struct pager_assembly *assembly = part->assembly;
    struct pager_domain *domain = &pager->domains[part->domain];
    struct pager_session *session = pager_session_find(pager, part->session);
    assembly->filled += part->whole ? assembly->n_cells : rect_cells(part);
    if (session) {
        session->stored_bytes += part->length;
    }
    if (assembly->filled < assembly->n_cells) {
        pager_part_done(pager, part, QUIRE_OK);
        review(pager, assembly);
        return;
    }
    pager_record_step(pager, domain, assembly->slot, PAGER_HAPPENS_FILLED);
    if (part->whole) {
        pager_publish(pager, assembly, part);
        return;
    }
    part->sealing = true;
    part->state = PAGER_PART_ASKED;
    pager_wish_ask(pager, &part->wish, PAGER_SEAL);
}

static void fill_landed(struct pager *pager, struct pager_part *part, enum quire_status status) {
    struct pager_assembly *assembly = part->assembly;
    status = status == QUIRE_OK && !part->whole ? add_contributor(pager, assembly, part->session) : status;
    bool completes = part->whole || assembly->filled + rect_cells(part) == assembly->n_cells; /* its OK says that the block is sealed */
    status = status == QUIRE_OK && !completes ? pager_repeat_note(assembly, part) : status;
    if (status == QUIRE_OK) {
        part_filled(pager, part);
        return;
    }
    unclaim(assembly, part);
    pager_part_done(pager, part, status);
    review(pager, assembly);
}

void pager_part_landed(struct pager *pager, struct pager_part *part, enum quire_status status) {
    struct pager_domain *domain = &pager->domains[part->domain];
    struct pager_record *record = &domain->records[part->slot];
    assert(record->busy > 0);
    record->busy--;
    if (!part->assembly) {
        pager_record_step(pager, domain, part->slot, PAGER_HAPPENS_LET_GO);
        pager_part_done(pager, part, status == QUIRE_OK ? (enum quire_status)part->verdict : status);
    } else if (!part->sealing) {
        fill_landed(pager, part, status);
    } else if (status == QUIRE_OK) {
        pager_publish(pager, part->assembly, part);
    } else {
        struct pager_assembly *assembly = part->assembly;
        pager_part_done(pager, part, status);
        pager_assembly_end(pager, assembly, status);
    }
}

static void forget_contributor(struct pager_assembly *assembly, uint64_t session) {
    for (uint32_t i = 0; i < assembly->n_contributors; i++) {
        if (assembly->contributors[i] == session) {
            assembly->contributors[i] = assembly->contributors[--assembly->n_contributors];
            return;
        }
    }
}

static void session_gone(struct pager *pager, struct pager_assembly *assembly, uint64_t session) {
    forget_contributor(assembly, session);
    struct pager_part *next;
    for (struct pager_part *part = assembly->first; part; part = next) {
        next = part->next;
        if (part->session != session || part->sealing || part->state == PAGER_PART_FLYING) {
            continue;
        }
        if (part->state == PAGER_PART_ASKED) {
            unclaim(assembly, part);
        }
        pager_part_done(pager, part, QUIRE_CANCELLED);
    }
    review(pager, assembly);
}

void pager_assembly_session_gone(struct pager *pager, uint64_t session) {
    struct pager_assembly *next;
    for (struct pager_assembly *assembly = pager->assemblies.next; assembly != &pager->assemblies; assembly = next) {
        next = assembly->next;
        session_gone(pager, assembly, session);
    }
}
