#include "pager/disk/internal.h"

#include <stdlib.h>

/* From the lowest: at_units and size_units, as wide as this geometry needs them; the segment; of the sum what fits. */
#define MOST_UNITS_BITS 17u
#define SEGMENT_BITS 22u
#define SEGMENT_MASK (QUIRE_LOG_MAX_SEGMENTS - 1)
#define FLAGS_AT 61u
#define MOST_CHECK_BITS 16u
#define PLACE_PARTED (1ull << 61) /* see pager_where_parted */
#define PLACE_SET (1ull << 62)    /* the place itself */
#define PLACE_NODES (1ull << 63)  /* the first node's number, from 1 */
static_assert(QUIRE_LOG_MAX_SEGMENT_UNITS == 1u << MOST_UNITS_BITS && QUIRE_LOG_MAX_SEGMENTS == 1u << SEGMENT_BITS &&
                  2 * MOST_UNITS_BITS + SEGMENT_BITS + 5 <= FLAGS_AT,
              "a place fits, and five bits of a sum");

/* The widest number of units in it is one less than the segment has. */
static uint32_t units_bits(const struct pager *pager) { return 32 - (uint32_t)__builtin_clz(pager->disk->geometry.segment_units - 1); }

uint16_t pager_where_check_mask(const struct pager *pager) {
    uint32_t left = FLAGS_AT - SEGMENT_BITS - 2 * units_bits(pager);
    return (uint16_t)((1u << (left < MOST_CHECK_BITS ? left : MOST_CHECK_BITS)) - 1);
}

static uint64_t pack(const struct pager *pager, const struct pager_where *where) {
    uint32_t bits = units_bits(pager);
    uint64_t check = where->check & pager_where_check_mask(pager);
    return PLACE_SET | check << (2 * bits + SEGMENT_BITS) | (uint64_t)where->segment << 2 * bits | (uint64_t)where->size_units << bits |
           where->at_units;
}

/* Straight into its place: copying what was just written in smaller pieces stalls, which cost a restart 20 ns an entry. */
static void unpack(const struct pager *pager, uint64_t place, struct pager_where *where) {
    uint32_t bits = units_bits(pager), mask = (1u << bits) - 1;
    *where = (struct pager_where){
        .segment = (uint32_t)(place >> 2 * bits) & SEGMENT_MASK,
        .size_units = (uint32_t)(place >> bits) & mask,
        .at_units = (uint32_t)place & mask,
        .check = (uint16_t)(place >> (2 * bits + SEGMENT_BITS)) & pager_where_check_mask(pager),
    };
}

static bool is_plain(const struct pager_where *where) {
    return where->group == 0 && where->rung == QUIRE_RUNG_RAW && where->error == 0 && where->ancestry_error == 0;
}

static uint64_t place_of(const struct pager *pager, uint32_t block) { return pager->disk ? *pager_index_place(pager->index, block) : 0; }

static struct pager_where_node *node_at(const struct pager *pager, uint32_t node) {
    return pager_where_node_at(&pager->disk->places, node);
}

static void unpack_node(const struct pager *pager, const struct pager_where_node *node, struct pager_where *where) {
    unpack(pager, node->place, where);
    where->error = node->error;
    where->ancestry_error = node->ancestry_error;
    where->group = node->group;
    where->rung = node->rung;
}

bool pager_where_any(const struct pager *pager, uint32_t block) { return place_of(pager, block) != 0; }

bool pager_where_next(const struct pager *pager, uint32_t block, uint32_t *at, struct pager_where *where) {
    uint64_t place = place_of(pager, block);
    if (place == 0 || *at == UINT32_MAX) {
        return false;
    }
    if (!(place & PLACE_NODES)) {
        unpack(pager, place, where);
        *at = UINT32_MAX;
        return true;
    }
    const struct pager_where_node *node = node_at(pager, *at == 0 ? (uint32_t)place : *at);
    unpack_node(pager, node, where);
    *at = node->next ? node->next : UINT32_MAX;
    return true;
}

uint32_t pager_where_groups(const struct pager *pager, uint32_t block) {
    uint64_t place = place_of(pager, block);
    if (!(place & PLACE_NODES)) {
        return place != 0; /* what needs no node is of group 0 */
    }
    struct pager_where where;
    uint32_t groups = 0;
    for (uint32_t at = 0; pager_where_next(pager, block, &at, &where);) {
        groups |= 1u << where.group;
    }
    return groups;
}

bool pager_where_find(const struct pager *pager, uint32_t block, uint32_t group, struct pager_where *where) {
    for (uint32_t at = 0; pager_where_next(pager, block, &at, where);) {
        if (where->group == group) {
            return true;
        }
    }
    return false;
}

/* The group's own place, NULL when there is none. */
static uint64_t *place_in(const struct pager *pager, uint32_t block, uint32_t group) {
    uint64_t *place = pager_index_place(pager->index, block);
    if (!(*place & PLACE_NODES)) {
        return *place != 0 && group == 0 ? place : NULL;
    }
    uint32_t node = (uint32_t)*place;
    while (node && node_at(pager, node)->group != group) {
        node = node_at(pager, node)->next;
    }
    return node ? &node_at(pager, node)->place : NULL;
}

bool pager_where_parted(const struct pager *pager, uint32_t block, uint32_t group) {
    const uint64_t *place = place_in(pager, block, group);
    return place && (*place & PLACE_PARTED);
}

void pager_where_part(const struct pager *pager, uint32_t block, uint32_t group, bool parted) {
    uint64_t *place = place_in(pager, block, group);
    if (place) {
        *place = (*place & ~PLACE_PARTED) | (parted ? PLACE_PARTED : 0);
    }
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------------- */
static bool chunk_add(struct pager_where_nodes *places) {
    if (places->n_chunks == UINT32_MAX / PAGER_WHERE_CHUNK) {
        return false;
    }
    if (places->n_chunks == places->chunks_capacity) {
        uint32_t capacity = places->chunks_capacity ? 2 * places->chunks_capacity : 16;
        struct pager_where_node **grown = realloc(places->chunks, (size_t)capacity * sizeof(*grown));
        if (!grown) {
            return false;
        }
        places->chunks = grown;
        places->chunks_capacity = capacity;
    }
    struct pager_where_node *chunk = malloc(PAGER_WHERE_CHUNK * sizeof(*chunk));
    if (chunk) {
        places->chunks[places->n_chunks++] = chunk;
    }
    return chunk != NULL;
}

static uint32_t node_take(struct pager_where_nodes *places) {
    uint32_t node = places->first_free;
    if (node) {
        places->first_free = pager_where_node_at(places, node)->next;
        return node;
    }
    if (places->n == places->n_chunks * PAGER_WHERE_CHUNK && !chunk_add(places)) {
        return 0;
    }
    return ++places->n;
}

uint64_t pager_where_nodes_bytes(const struct pager_where_nodes *places) {
    return (uint64_t)places->n_chunks * PAGER_WHERE_CHUNK * sizeof(**places->chunks) +
           (uint64_t)places->chunks_capacity * sizeof(*places->chunks);
}

void pager_where_nodes_free(struct pager_where_nodes *places) {
    for (uint32_t i = 0; i < places->n_chunks; i++) {
        free(places->chunks[i]);
    }
    free(places->chunks);
    *places = (struct pager_where_nodes){0};
}

static void node_give(struct pager_where_nodes *places, uint32_t node) {
    *pager_where_node_at(places, node) = (struct pager_where_node){.next = places->first_free};
    places->first_free = node;
}

/* In front of the others, which may be a plain place that becomes a node. */
static enum quire_status node_add(struct pager *pager, uint64_t *place, const struct pager_where *where) {
    struct pager_where_nodes *places = &pager->disk->places;
    uint32_t node = node_take(places), second = 0;
    if (node && *place && !(*place & PLACE_NODES) && !(second = node_take(places))) {
        node_give(places, node);
        node = 0;
    }
    if (!node) {
        return QUIRE_NO_MEMORY;
    }
    if (second) {
        *node_at(pager, second) = (struct pager_where_node){.place = *place};
        *place = PLACE_NODES | second;
    }
    *node_at(pager, node) = (struct pager_where_node){
        .place = pack(pager, where),
        .error = where->error,
        .ancestry_error = where->ancestry_error,
        .group = where->group,
        .rung = where->rung,
        .next = (uint32_t)*place,
    };
    *place = PLACE_NODES | node;
    return QUIRE_OK;
}

static void node_remove(struct pager *pager, uint64_t *place, uint32_t group) {
    uint32_t *link = NULL, node = (uint32_t)*place;
    while (node_at(pager, node)->group != group) {
        link = &node_at(pager, node)->next;
        node = *link;
    }
    uint32_t next = node_at(pager, node)->next;
    if (link) {
        *link = next;
    } else {
        *place = next ? PLACE_NODES | next : 0;
    }
    node_give(&pager->disk->places, node);
}

/* ---- changes -------------------------------------------------------------------------------------------------------------- */
static void count(struct pager *pager, uint32_t block, const struct pager_where *where, bool lives) {
    struct pager_ns *ns = pager->namespaces[pager_block_at(pager, block)->ns];
    uint32_t bytes = where->size_units * pager->disk->geometry.unit_bytes;
    (lives ? pager_log_live : pager_log_dead)(pager->disk->log, where->segment, bytes);
    ns->disk_records += lives ? 1 : UINT64_MAX;
    ns->disk_bytes += lives ? bytes : -(uint64_t)bytes;
    if (!lives && !ns->deleted) { /* of a deleted namespace nothing comes back: metadata tells */
        pager_remains_note(pager, ns->serial, &pager_block_at(pager, block)->key, where->segment);
    }
}

static void take_out(struct pager *pager, uint32_t block, const struct pager_where *where) {
    uint64_t *place = pager_index_place(pager->index, block);
    count(pager, block, where, false);
    if (*place & PLACE_NODES) {
        node_remove(pager, place, where->group);
    } else {
        *place = 0;
    }
    pager_restore_left(pager, block, where->group);
}

enum quire_status pager_where_put(struct pager *pager, uint32_t block, const struct pager_where *where) {
    uint64_t *place = pager_index_place(pager->index, block);
    struct pager_where old;
    if (*place == 0 && is_plain(where)) { /* nearly all, and all that a restart finds */
        const struct pager_block *b = pager_block_at(pager, block);
        *place = pack(pager, where);
        pager->namespaces[b->ns]->blocks += b->record == PAGER_NO_RECORD;
        count(pager, block, where, true);
        return QUIRE_OK;
    }
    bool replaces = pager_where_find(pager, block, where->group, &old);
    bool was_stored = pager_block_stored(pager, block);
    assert(where->size_units > 0 && where->at_units + where->size_units < pager->disk->geometry.segment_units);
    if (is_plain(where) && (*place == 0 || (replaces && !(*place & PLACE_NODES)))) {
        if (replaces) {
            count(pager, block, &old, false);
        }
        *place = pack(pager, where);
    } else {
        if (replaces) { /* the node that it frees is the one that it gets */
            take_out(pager, block, &old);
        }
        enum quire_status status = node_add(pager, place, where);
        if (status != QUIRE_OK) {
            pager->namespaces[pager_block_at(pager, block)->ns]->blocks -= was_stored && !pager_block_stored(pager, block);
            return status;
        }
    }
    count(pager, block, where, true);
    pager->namespaces[pager_block_at(pager, block)->ns]->blocks += !was_stored;
    return QUIRE_OK;
}

void pager_where_drop(struct pager *pager, uint32_t block, uint32_t group) {
    struct pager_where where;
    if (!pager_where_find(pager, block, group, &where)) {
        return;
    }
    take_out(pager, block, &where);
    pager->namespaces[pager_block_at(pager, block)->ns]->blocks -= !pager_block_stored(pager, block);
}

void pager_where_drop_all(struct pager *pager, uint32_t block) {
    struct pager_where where;
    for (uint32_t at = 0; pager_where_next(pager, block, &at, &where); at = 0) {
        pager_where_drop(pager, block, where.group);
    }
}

uint32_t pager_where_bytes(const struct pager *pager, uint32_t block, const struct pager_where *where) {
    const struct pager_block *b = pager_block_at(pager, block);
    const quire_layout *layout = pager->namespaces[b->ns]->layout;
    struct quire_record_shape shape;
    if (where->rung == QUIRE_RUNG_RAW && !layout->opaque && b->n_tokens > 0 &&
        quire_record_shape(layout, where->group, b->n_tokens, 0, &shape) == QUIRE_OK &&
        quire_log_units(&pager->disk->geometry, shape.size_bytes) == where->size_units) {
        return shape.size_bytes;
    }
    return where->size_units * pager->disk->geometry.unit_bytes;
}
