/*
 * The index from the log: entries come a segment at a time from the newest to the oldest, while readers are served already. Of two records of one block and
 * group the higher sequence counts; a tombstone buries whatever has a lower one, also what is only found later. Both are remembered until the end.
 */
#include "pager/disk/internal.h"
#include "proto/layout.h"

#include <stdlib.h>

/* How many entries ahead the index is told of them. */
#define AHEAD 16u
/* What one call of the end does at most. */
#define SHED_BYTES (16ull << 20)
#define SEQUENCES_HUGE_FROM (4ull << 20)

/* Asked for with every entry: who was asked for last is tried first. */
struct pager_ns *pager_ns_of_serial(const struct pager *pager, uint32_t serial) {
    uint16_t unused, *hint = pager->disk ? &pager->disk->serial_hints[serial % PAGER_DISK_HINTS] : &unused;
    struct pager_ns *ns = pager->disk ? pager_ns_at(pager, *hint) : NULL;
    for (uint32_t i = 0; (!ns || ns->serial != serial) && i < pager->n_namespaces; i++) {
        ns = pager->namespaces[i];
        *hint = (uint16_t)i;
    }
    return ns && ns->serial == serial && !ns->deleted ? ns : NULL;
}

void pager_restore_serial(struct pager *pager, uint32_t next_serial) {
    pager->next_serial = (uint32_t)quire_max_u64(pager->next_serial, next_serial);
}

enum quire_status pager_restore_ns(struct pager *pager, const struct quire_meta_item *item, uint32_t domain, uint32_t next_serial) {
    quire_layout *layout = malloc(sizeof(*layout));
    if (!layout) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = quire_layout_decode(item->layout, item->layout_bytes, layout);
    if (status == QUIRE_OK) {
        status = pager_ns_restore(pager, item, layout, domain);
    }
    free(layout);
    pager->next_serial = (uint32_t)quire_max_u64(pager->next_serial, quire_max_u64(next_serial, item->serial));
    return status;
}

void pager_restore_segment(struct pager *pager, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units,
                           uint32_t n_entries) {
    const struct quire_log_geometry *g = &pager->disk->geometry;
    pager->disk->named_serial = pager->next_serial; /* nobody is served yet */
    uint64_t most = (uint64_t)g->segment_units * g->unit_bytes / sizeof(struct quire_log_entry);
    pager->disk->expected += state == PAGER_SEGMENT_SEALED ? quire_min_u64(n_entries, most) : 0;
    pager_log_found(pager->disk->log, segment, state, epoch, used_units, n_entries);
    if (pager->disk->n_devices > 1 && state == PAGER_SEGMENT_CLEAN && epoch > 0) {
        /* It is empty because another device said so, maybe, which may be lost. */
        pager_remains_doubt(pager, pager_log_segment(pager->disk->log, segment)->device, epoch);
    }
}

/* Of an entry of the log: one that was made since is not meant, whatever its serial. */
static struct pager_ns *ns_of_entry(const struct pager *pager, uint32_t serial) {
    return serial <= pager->disk->named_serial ? pager_ns_of_serial(pager, serial) : NULL;
}

/*
 * The metadata names a namespace before a record of it is written: one that does not speak of such a serial is of an earlier time. Whoever is given the number once
 * more would be served what is another's, so nobody is.
 */
static void take_serial(struct pager *pager, uint32_t serial) {
    if (serial > pager->disk->named_serial) {
        pager->next_serial = (uint32_t)quire_max_u64(pager->next_serial, serial);
    }
}

/* NULL: nothing was found of so late a block, or of such a group. */
static uint64_t *found_sequence(const struct pager_disk *disk, uint32_t block, uint32_t group) {
    uint64_t at = ((uint64_t)block * disk->sequence_groups + group) * sizeof(uint64_t);
    bool held = group < disk->sequence_groups && at + sizeof(uint64_t) <= disk->sequences.committed_bytes;
    return held ? (uint64_t *)(disk->sequences.base + at) : NULL;
}

void pager_restore_left(struct pager *pager, uint32_t block, uint32_t group) {
    uint64_t *known = found_sequence(pager->disk, block, group);
    const struct pager_block *b = pager_block_at(pager, block);
    if (!known || *known == 0 || (pager_where_groups(pager, block) >> group & 1)) {
        return;
    }
    const struct pager_domain *domain = pager_domain_of(pager, b);
    uint32_t slot = pager_record_find(domain, b, group);
    if (slot == PAGER_NO_RECORD || !pager_record_has_bytes(&domain->records[slot])) {
        *known = 0;
    }
}

uint64_t pager_restore_sequence(const struct pager *pager, uint32_t block, uint32_t group) {
    const uint64_t *known = found_sequence(pager->disk, block, group);
    return known ? *known : 0;
}

/* ---- what is buried ------------------------------------------------------------------------------------------------------- */
static uint64_t buried_up_to(const struct pager_disk *disk, const struct pager_ns *ns, uint32_t tag, const quire_key *key) {
    uint32_t grave = disk->graves ? pager_index_find_tagged(disk->graves, tag, ns->number, key) : PAGER_NO_BLOCK;
    return grave == PAGER_NO_BLOCK ? 0 : *pager_index_place(disk->graves, grave);
}

static enum quire_status grave_for(struct pager *pager, const struct pager_ns *ns, uint32_t tag, const quire_key *key, uint32_t *grave) {
    struct pager_disk *disk = pager->disk;
    if (!disk->graves) {
        QUIRE_FORWARD(pager_index_create_like(pager->index, &disk->graves));
        QUIRE_FORWARD(pager_index_add_places(disk->graves));
    }
    *grave = pager_index_find_tagged(disk->graves, tag, ns->number, key);
    return *grave != PAGER_NO_BLOCK ? QUIRE_OK : pager_index_insert_tagged(disk->graves, tag, ns->number, key, grave);
}

/* 0: no room for another one: as many as blocks there may be. Then what it buries could come back: nothing more is taken from the log. */
static uint64_t dig(struct pager *pager, const struct pager_ns *ns, uint32_t tag, const quire_key *key, uint64_t sequence) {
    uint32_t grave;
    if (grave_for(pager, ns, tag, key, &grave) != QUIRE_OK) {
        pager->disk->restore_failed = true;
        return 0;
    }
    uint64_t *up_to = pager_index_place(pager->disk->graves, grave);
    *up_to = quire_max_u64(*up_to, sequence);
    return *up_to;
}

void pager_restore_bury(struct pager *pager, const struct pager_tombstone *tombstone) {
    const struct pager_ns *ns = pager_ns_of_serial(pager, tombstone->serial);
    if (ns) {
        (void)dig(pager, ns, pager_index_tag(pager->index, ns->number, &tombstone->key), &tombstone->key, tombstone->sequence);
    }
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */
/* The place of a found record's sequence, 0 while the index has none that was found; NULL: no memory. */
static uint64_t *sequence_of(struct pager_disk *disk, uint32_t block, uint32_t group) {
    uint64_t at = (uint64_t)block * disk->sequence_groups;
    if (pager_arena_grow(&disk->sequences, (at + disk->sequence_groups) * sizeof(uint64_t)) != QUIRE_OK) {
        return NULL;
    }
    return (uint64_t *)disk->sequences.base + at + group;
}

/* No namespace that the log knows of has more; most have one. */
static uint32_t most_groups(const struct pager *pager) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        most = pager->namespaces[i] && pager->namespaces[i]->n_groups > most ? pager->namespaces[i]->n_groups : most;
    }
    return most;
}

/* Before the first entry: memory for the sequences is named, and taken as blocks are found. */
static bool begin(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (disk->sequence_groups == 0) {
        uint32_t groups = most_groups(pager);
        uint64_t bytes = pager->options.max_blocks * groups * sizeof(uint64_t);
        disk->sequence_groups = pager_arena_reserve(&disk->sequences, bytes, SEQUENCES_HUGE_FROM) == QUIRE_OK ? groups : 0;
        pager_index_open(pager->index, disk->expected);
        pager_arena_open(&disk->sequences, disk->expected * sizeof(uint64_t));
    }
    return disk->sequence_groups > 0;
}

static bool is_sound(const struct pager_ns *ns, const struct quire_log_entry *entry) {
    return entry->size_bytes > 0 && entry->group < ns->n_groups && entry->n_tokens > 0 && entry->n_tokens <= ns->layout->block_tokens;
}

/* How an entry's block is found: chains are written in order and told from their end, so mostly by the one that was told before. */
enum way { BY_TAG, BY_CHILD, BY_TWIN /* another group of the same block */ };

/* An entry that comes soon, of a namespace that is there (else ns is NULL). */
struct coming {
    struct pager_ns *ns;
    uint32_t tag, parent_tag;
    bool tagged, hangs; /* the tag is known; the parent's is */
    uint8_t way;
};

static uint32_t tag_for(const struct pager *pager, struct coming *coming, const quire_key *key) {
    if (!coming->tagged) {
        coming->tag = pager_index_tag(pager->index, coming->ns->number, key);
        coming->tagged = true;
    }
    return coming->tag;
}

/* Is it still there, and this key's? */
static bool is_block(const struct pager *pager, const struct coming *coming, const quire_key *key, uint32_t block) {
    const struct pager_block *b = block == PAGER_NO_BLOCK ? NULL : pager_block_at(pager, block);
    return b && !(b->flags & PAGER_BLOCK_FREE) && b->ns == coming->ns->number && quire_key_equal(&b->key, key);
}

/* A block that is new to the index hangs below its parent, as a put's would: often the one that was told last. */
static enum quire_status hang(struct pager *pager, const struct coming *coming, uint32_t block, const struct quire_log_entry *entry,
                              uint32_t last) {
    uint32_t parent;
    if (entry->flags & QUIRE_LOG_PARENT_UNKNOWN) {
        pager_block_at(pager, block)->flags |= PAGER_BLOCK_ORPHAN_ROOT;
    }
    if (entry->flags & (QUIRE_LOG_PARENT_UNKNOWN | QUIRE_LOG_ROOT)) {
        return QUIRE_OK;
    }
    if (is_block(pager, coming, &entry->parent, last)) {
        parent = last;
    } else {
        uint32_t tag = coming->hangs ? coming->parent_tag : pager_index_tag(pager->index, coming->ns->number, &entry->parent);
        QUIRE_FORWARD(pager_block_obtain_tagged(pager, coming->ns, tag, &entry->parent, &parent));
    }
    struct pager_block *p = pager_block_at(pager, parent);
    uint32_t used = p->used; /* to be found again is no use */
    enum quire_status status = pager_block_adopt(pager, block, parent);
    p->used = used;
    if (status != QUIRE_OK && p->children == 0) {
        pager_block_settle(pager, parent);
    }
    return status == QUIRE_RETRY ? QUIRE_OK : status;
}

/* The block, when the one that was told last leads to it. */
static uint32_t led_to(const struct pager *pager, const struct coming *coming, const quire_key *key, uint32_t last) {
    if (coming->way == BY_TAG || last == PAGER_NO_BLOCK) {
        return PAGER_NO_BLOCK;
    }
    uint32_t block = coming->way == BY_TWIN ? last : pager_block_at(pager, last)->parent;
    return is_block(pager, coming, key, block) ? block : PAGER_NO_BLOCK;
}

/* The block's entry; one that stood there only for others to continue becomes a block. */
static enum quire_status obtain(struct pager *pager, struct coming *coming, const struct quire_log_entry *entry, uint32_t last,
                                uint32_t *block) {
    *block = led_to(pager, coming, &entry->key, last);
    if (*block == PAGER_NO_BLOCK) {
        uint32_t tag = tag_for(pager, coming, &entry->key);
        QUIRE_FORWARD(pager_block_obtain_tagged(pager, coming->ns, tag, &entry->key, block));
    }
    struct pager_block *b = pager_block_at(pager, *block);
    if (pager_block_stored(pager, *block) || (b->flags & PAGER_BLOCK_BUILDING)) {
        return b->n_tokens == entry->n_tokens ? QUIRE_OK : QUIRE_MISMATCH;
    }
    b->n_tokens = entry->n_tokens;
    b->used = 0;
    b->flags |= PAGER_BLOCK_BUILDING; /* so that it stays while its parent is looked for */
    enum quire_status status = b->parent == PAGER_NO_BLOCK ? hang(pager, coming, *block, entry, last) : QUIRE_OK;
    b->flags &= (uint8_t)~PAGER_BLOCK_BUILDING;
    if (status != QUIRE_OK) {
        pager_block_settle(pager, *block);
    }
    return status;
}

/*
 * What memory has of what was found came from there: it goes, too, but for whoever holds it, and so does what was written from memory since, because the place
 * was lost.
 */
static void bury_found(struct pager *pager, uint32_t block, uint32_t group) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_domain *domain = &pager->domains[pager->namespaces[b->ns]->domain];
    uint32_t slot = b->record == PAGER_NO_RECORD ? PAGER_NO_RECORD : pager_record_find(domain, b, group);
    if (slot != PAGER_NO_RECORD) {
        pager_record_step(pager, domain, slot, PAGER_HAPPENS_DROP);
    }
    if (b->record == PAGER_NO_RECORD && (b->flags & PAGER_BLOCK_LISTED)) {
        pager_age_remove(&domain->ages, pager->index, block);
    }
    pager_disk_forget(pager, block, group);
}

/* Of what no namespace has any more nothing is taken, so nothing needs to be buried. */
static void bury(struct pager *pager, struct coming *coming, const struct quire_log_entry *entry) {
    struct pager_disk *disk = pager->disk;
    struct pager_ns *ns = coming->ns;
    if (!ns) {
        return;
    }
    uint32_t tag = tag_for(pager, coming, &entry->key);
    uint64_t sequence = dig(pager, ns, tag, &entry->key, quire_min_u64(entry->sequence, disk->sequence_end - 1));
    uint32_t block = pager_index_find_tagged(pager->index, tag, ns->number, &entry->key);
    bool some = false;
    for (uint32_t g = 0; block != PAGER_NO_BLOCK && g < ns->n_groups && g < disk->sequence_groups; g++) {
        const uint64_t *known = sequence_of(disk, block, g);
        if (known && *known > 0 && *known < sequence) {
            bury_found(pager, block, g); /* in a segment of a later epoch */
            block = pager_index_find_tagged(pager->index, tag, ns->number, &entry->key);
            some = true;
        }
    }
    if (some) {
        pager_bury_again(pager, ns, &entry->key, sequence);
    }
}

/* Its block; NO_BLOCK: nothing is taken of it. */
static uint32_t take(struct pager *pager, uint32_t segment, struct coming *coming, const struct quire_log_entry *entry, uint32_t last) {
    struct pager_disk *disk = pager->disk;
    struct pager_ns *ns = coming->ns;
    uint32_t block;
    if (!ns || !is_sound(ns, entry) || entry->group >= disk->sequence_groups ||
        (disk->graves && entry->sequence <= buried_up_to(disk, ns, tag_for(pager, coming, &entry->key), &entry->key)) ||
        obtain(pager, coming, entry, last, &block) != QUIRE_OK) {
        return PAGER_NO_BLOCK;
    }
    const struct pager_block *b = pager_block_at(pager, block);
    uint64_t *known = sequence_of(disk, block, entry->group);
    bool in_memory = b->record != PAGER_NO_RECORD && pager_record_find(&pager->domains[ns->domain], b, entry->group) != PAGER_NO_RECORD;
    bool on_disk = pager_where_groups(pager, block) >> entry->group & 1;
    const struct pager_where where = {
        .segment = segment,
        .at_units = entry->at_units,
        .size_units = quire_log_units(&disk->geometry, entry->size_bytes),
        .error = entry->error,
        .ancestry_error = entry->ancestry_error,
        .group = entry->group,
        .rung = entry->rung,
        .check = (uint16_t)entry->check,
    };
    /* What was stored since the start is newer than anything that is found, and so is what has no number here. */
    if (known && !in_memory && (!on_disk || (*known > 0 && *known < entry->sequence)) &&
        pager_where_put(pager, block, &where) == QUIRE_OK) {
        disk->counters.disk_restored++;
        *known = entry->sequence;
        pager_pin_arrived(pager, block);
    } else if (!pager_block_stored(pager, block)) {
        pager_block_settle(pager, block);
        return PAGER_NO_BLOCK;
    }
    return block;
}

/* Entries that come soon: where the index would have them takes a while to come into the cache. */
static void expect(const struct pager *pager, const struct quire_log_entry *entry, const struct quire_log_entry *before,
                   struct coming *coming) {
    *coming = (struct coming){.ns = ns_of_entry(pager, entry->ns)};
    if (!coming->ns) {
        return;
    }
    if (before && before->ns == entry->ns) {
        bool twin = entry->group != before->group && quire_key_equal(&before->key, &entry->key);
        coming->way = twin ? BY_TWIN : quire_key_equal(&before->parent, &entry->key) ? BY_CHILD : BY_TAG;
    }
    if (coming->way == BY_TAG) {
        pager_index_expect(pager->index, tag_for(pager, coming, &entry->key));
    }
    if (pager->disk->graves) {
        pager_index_expect(pager->disk->graves, tag_for(pager, coming, &entry->key));
    }
    /* Told from the parent on, as where the puts of a batch were done in reverse. */
    bool follows = before && before->ns == entry->ns && quire_key_equal(&before->key, &entry->parent);
    bool has_parent = entry->kind == QUIRE_LOG_RECORD && !(entry->flags & (QUIRE_LOG_PARENT_UNKNOWN | QUIRE_LOG_ROOT));
    if (has_parent && !follows && coming->way != BY_TWIN) {
        coming->parent_tag = pager_index_tag(pager->index, coming->ns->number, &entry->parent);
        coming->hangs = true;
        pager_index_expect(pager->index, coming->parent_tag);
    }
}

/* Its bucket is there: the block that it names is next. */
static void look(const struct pager *pager, const struct coming *coming) {
    if (coming->ns && coming->way == BY_TAG) {
        pager_index_expect_entry(pager->index, coming->tag);
    }
}

void *pager_restore_warm(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (!disk->restoring || !begin(pager)) {
        return NULL;
    }
    void *page = pager_index_warm(pager->index);
    return page ? page : pager_arena_warm(&disk->sequences, disk->sequence_groups * PAGER_ARENA_PAGE_BYTES);
}

/* What the index does not find there stands there all the same. Of a namespace that is no more nothing ever comes back. */
static void note_rest(struct pager *pager, const struct pager_ns *ns, uint32_t segment, const struct quire_log_entry *entry,
                      uint32_t block) {
    struct pager_where known;
    bool found = block != PAGER_NO_BLOCK && pager_where_find(pager, block, entry->group, &known) && known.segment == segment &&
                 known.at_units == entry->at_units;
    if (ns && !found) {
        pager_remains_note(pager, entry->ns, &entry->key, segment);
    }
}

/*
 * A number that no life up to this one can have given was written by nobody: such a record is none, and what is counted here does not go on from it, or
 * there would soon be no higher ones. Such a deletion is one all the same, of everything that is found.
 */
void pager_restore_entries(struct pager *pager, uint64_t now_ns, uint32_t segment, const struct quire_log_entry *entries, uint32_t n) {
    struct pager_disk *disk = pager->disk;
    struct coming coming[2 * AHEAD];
    uint32_t last = PAGER_NO_BLOCK;
    pager_clock(pager, now_ns);
    if (!disk->restoring) {
        return;
    }
    disk->restore_failed |= !begin(pager);
    for (uint32_t done = 0, expected = 0, known = 0; done < n; done++) {
        for (; expected < n && expected < done + 2 * AHEAD; expected++) {
            const struct quire_log_entry *entry = &entries[n - 1 - expected];
            expect(pager, entry, expected > 0 ? entry + 1 : NULL, &coming[expected % (2 * AHEAD)]);
        }
        for (; known < expected && known < done + AHEAD; known++) {
            look(pager, &coming[known % (2 * AHEAD)]);
        }
        const struct quire_log_entry *entry = &entries[n - 1 - done];
        bool given = entry->sequence < disk->sequence_end;
        pager->sequence = quire_max_u64(pager->sequence, given ? entry->sequence : 0);
        take_serial(pager, entry->ns);
        if (disk->restore_failed) {
            disk->counters.disk_unrestored++;
        } else if (entry->kind == QUIRE_LOG_TOMBSTONE) {
            bury(pager, &coming[done % (2 * AHEAD)], entry);
            last = PAGER_NO_BLOCK;
        } else {
            last = given ? take(pager, segment, &coming[done % (2 * AHEAD)], entry, last) : PAGER_NO_BLOCK;
            note_rest(pager, coming[done % (2 * AHEAD)].ns, segment, entry, last);
        }
    }
}

/* ---- from a snapshot ------------------------------------------------------------------------------------------------------ */
static bool still_lies(const struct pager_disk *disk, const struct quire_snapshot_entry *entry) {
    if (!quire_snapshot_entry_valid(&disk->geometry, entry) || entry->segment >= pager_log_segments(disk->log)) {
        return false;
    }
    const struct pager_segment *s = pager_log_segment(disk->log, entry->segment);
    return s->state == PAGER_SEGMENT_SEALED && s->epoch == entry->epoch && entry->at_units + entry->size_units <= s->used_units;
}

/* As a tick of this life. What is too old to be told is older than all that can be. */
static uint32_t tick_of(const struct pager *pager, uint32_t idle_ticks) {
    uint32_t now = pager_tick_now(pager);
    return idle_ticks == QUIRE_SNAPSHOT_NEVER ? 0 : idle_ticks < now ? now - idle_ticks : 1;
}

/*
 * What the snapshot says was so when everything was still: no tombstone older than it buries any of this, and no record older than it is
 * newer. So it gets no
 * sequence, like what was stored since the start; what was deleted since then has a grave.
 */
static uint32_t take_live(struct pager *pager, const struct quire_snapshot_entry *live) {
    struct pager_disk *disk = pager->disk;
    const struct quire_log_entry entry = {.key = live->key,
                                          .parent = live->parent,
                                          .ns = live->ns,
                                          .at_units = live->at_units,
                                          .size_bytes = live->size_units * disk->geometry.unit_bytes,
                                          .n_tokens = live->n_tokens,
                                          .group = live->group,
                                          .kind = QUIRE_LOG_RECORD,
                                          .flags = live->flags};
    struct coming coming;
    uint32_t block;
    expect(pager, &entry, NULL, &coming);
    struct pager_ns *ns = coming.ns;
    if (!ns || !still_lies(disk, live) || !is_sound(ns, &entry) || buried_up_to(disk, ns, coming.tag, &live->key) > 0 ||
        obtain(pager, &coming, &entry, PAGER_NO_BLOCK, &block) != QUIRE_OK) {
        return PAGER_NO_BLOCK;
    }
    const struct pager_where where = {
        .segment = live->segment,
        .at_units = live->at_units,
        .size_units = live->size_units,
        .error = live->error,
        .ancestry_error = live->ancestry_error,
        .group = live->group,
        .rung = live->rung,
        .check = live->check,
    };
    struct pager_block *b = pager_block_at(pager, block);
    bool known = (pager_block_groups(pager, block) >> live->group & 1) != 0;
    if (!known && pager_where_put(pager, block, &where) == QUIRE_OK) {
        disk->counters.disk_restored++;
        b->used = (uint32_t)quire_max_u64(b->used, tick_of(pager, live->idle_ticks));
        pager_pin_arrived(pager, block);
    } else if (!pager_block_stored(pager, block)) {
        pager_block_settle(pager, block);
        return PAGER_NO_BLOCK;
    }
    return block;
}

static void found_live(struct pager *pager, const struct quire_snapshot_entry *live) {
    struct pager_disk *disk = pager->disk;
    const struct quire_log_entry entry = {.key = live->key, .ns = live->ns, .at_units = live->at_units, .group = live->group};
    take_serial(pager, live->ns);
    if (live->kind == QUIRE_SNAPSHOT_DOUBT && live->segment < pager_log_segments(disk->log)) {
        pager_remains_doubt(pager, pager_log_segment(disk->log, live->segment)->device, live->epoch);
    } else if (still_lies(disk, live)) {
        uint32_t block = live->kind == QUIRE_SNAPSHOT_RECORD ? take_live(pager, live) : PAGER_NO_BLOCK;
        note_rest(pager, ns_of_entry(pager, live->ns), live->segment, &entry, block);
    }
}

void pager_restore_live(struct pager *pager, uint64_t now_ns, const struct quire_snapshot_entry *entries, uint32_t n) {
    pager_clock(pager, now_ns);
    for (uint32_t i = 0; i < n && pager->disk->restoring && !pager->disk->restore_failed; i++) {
        found_live(pager, &entries[i]);
    }
}

void pager_restore_openings(struct pager *pager, uint64_t now_ns, const uint32_t *idle_ticks, uint32_t n) {
    pager_clock(pager, now_ns);
    struct pager_disk *disk = pager->disk;
    for (uint32_t i = (uint32_t)quire_min_u64(n, pager_log_segments(disk->log)); i-- > 0 && disk->restoring;) {
        disk->open_ticks[disk->n_opened++ % pager_log_segments(disk->log)] = tick_of(pager, idle_ticks[i]);
    }
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */
/*
 * At most `bytes` of what only restoring needs. True: there is more. As long as the log may tell of deletions that were not heard, the numbers of what was found
 * stay: another start is to find it the older one.
 */
static bool shed(struct pager_disk *disk, uint64_t bytes) {
    if (disk->incomplete) {
        return pager_index_shed(&disk->graves, bytes);
    }
    disk->sequence_groups = 0;
    return pager_arena_shed(&disk->sequences, bytes) || pager_index_shed(&disk->graves, bytes);
}

void pager_restore_free(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    disk->incomplete = false;
    while (shed(disk, UINT64_MAX)) {
    }
}

void pager_restore_incomplete(struct pager *pager) {
    struct pager_log_stats stats;
    pager_log_stats(pager->disk->log, &stats);
    pager->disk->incomplete = true;
    for (uint32_t i = 0; i < pager->disk->n_devices; i++) {
        pager_remains_doubt(pager, i, stats.epoch);
    }
}

bool pager_restore_end(struct pager *pager, uint64_t now_ns) {
    pager_clock(pager, now_ns);
    struct pager_disk *disk = pager->disk;
    if (disk->restoring && disk->restore_failed) {
        pager_restore_incomplete(pager);
    }
    if (disk->restoring) {
        disk->restoring = false; /* nothing asks for graves any more */
        pager_pins_expect(pager);
        pager_orphans_expect(pager);
    }
    return shed(disk, SHED_BYTES);
}
