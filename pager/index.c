/*
 * Extendible hashing. A 32-bit tag, drawn from ns and key by a seeded hash, says everything about a slot's place: its top bits lead through the
 * directory to a segment of 4,096 slots, its low bits to a home bucket of eight slots, one cache line. A full bucket spills
 * into the next one of the segment; slots of a bucket are packed to its front. A removal pulls spilled slots back, so no
 * tombstones exist. A segment that is seven eighths full splits by its tags alone: about 3,600 slots move, no entry is touched.
 */
#include "pager/index.h"
#include "pager/arena.h"

#include <stdlib.h>

#define INDEX_MAGIC 0x51495831u
#define BUCKET_SLOTS 8u
#define SEGMENT_BUCKETS 512u
#define SEGMENT_SLOTS (BUCKET_SLOTS * SEGMENT_BUCKETS)
#define SEGMENT_BYTES (SEGMENT_SLOTS * sizeof(uint64_t))
#define SPLIT_AT (SEGMENT_SLOTS / 8 * 7)
/* Taken only when a segment cannot split; one bucket stays with room, so that every probe ends. */
#define SEGMENT_FULL (SEGMENT_SLOTS - BUCKET_SLOTS)
#define TAG_BITS 32u
#define DEPTH_LIMIT 20u
#define MAX_BLOCKS (1ull << 28)
#define WAVE 64u
/* From these sizes on the unused part of the last huge page stays below a tenth of a block's budget. */
#define ENTRIES_HUGE_FROM (16ull << 20)
#define SLOTS_HUGE_FROM (4ull << 20)
#define PLACES_HUGE_FROM (4ull << 20)
/* Entries are touched ahead of their use so far. */
#define WARM_BYTES (8ull << 20)

__extension__ typedef unsigned __int128 wide;

struct segment_info {
    uint16_t used;
    uint8_t depth; /* how many top bits of the tag its slots share */
};

struct pager_index {
    uint32_t magic;
    uint32_t depth; /* the directory has 1 << depth elements */
    uint32_t max_depth;
    uint32_t n_segments;
    uint32_t *directory;
    struct segment_info *segments; /* as many as the directory has elements */
    struct pager_arena slots, entries;
    struct pager_arena places; /* none reserved: without a disk */
    wide factor[6];
    uint64_t max_blocks, count;
    uint32_t entries_used; /* entries below were handed out at least once */
    uint32_t free_head;    /* removed entries, linked by `next` */
    uint64_t scratch[SEGMENT_SLOTS];
};

bool pager_index_has_places(const struct pager_index *index) { return index->places.reserved_bytes > 0; }

enum quire_status pager_index_add_places(struct pager_index *index) {
    assert(index->entries_used == 0 && !pager_index_has_places(index));
    return pager_arena_reserve(&index->places, index->max_blocks * sizeof(uint64_t), PLACES_HUGE_FROM);
}

uint64_t *pager_index_place(const struct pager_index *index, uint32_t block) {
    assert(block < index->entries_used);
    return (uint64_t *)index->places.base + block;
}

/* ---- tags and slots --------------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Multilinear hashing modulo 2^128, its top bits: strongly universal, so whoever chooses keys without knowing the factors gains
   nothing by it, at ten multiplications a key. */
static inline uint32_t tag_of(const struct pager_index *index, uint16_t ns, const uint8_t *key) {
    uint64_t word[4];
    memcpy(word, key, sizeof(word));
    wide sum = index->factor[5] + index->factor[4] * ns;
    for (unsigned i = 0; i < 4; i++) {
        sum += index->factor[i] * word[i];
    }
    return (uint32_t)(sum >> 96);
}

static inline uint64_t slot_make(uint32_t tag, uint32_t block) { return (uint64_t)tag << 32 | (block + 1); } /* 0 is an empty slot */
static inline uint32_t slot_tag(uint64_t slot) { return (uint32_t)(slot >> 32); }
static inline uint32_t slot_block(uint64_t slot) { return (uint32_t)slot - 1; }
static inline uint32_t home_of(uint32_t tag) { return tag & (SEGMENT_BUCKETS - 1); }
static inline uint32_t next_bucket(uint32_t bucket) { return (bucket + 1) & (SEGMENT_BUCKETS - 1); }
static inline bool bucket_full(const uint64_t *bucket) { return bucket[BUCKET_SLOTS - 1] != 0; }

static inline uint64_t *segment_slots(const struct pager_index *index, uint32_t segment) {
    return (uint64_t *)(index->slots.base + (uint64_t)segment * SEGMENT_BYTES);
}

static inline uint32_t segment_of(const struct pager_index *index, uint32_t tag) {
    return index->directory[index->depth == 0 ? 0 : tag >> (TAG_BITS - index->depth)];
}

static inline const uint64_t *home_bucket(const struct pager_index *index, uint32_t tag) {
    return segment_slots(index, segment_of(index, tag)) + home_of(tag) * BUCKET_SLOTS;
}

/* The block that a bucket has under this tag, most likely the one that is looked for. */
static inline uint32_t candidate_for(const uint64_t *slot, uint32_t tag) {
    uint32_t candidate = PAGER_NO_BLOCK;
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        candidate = slot_tag(slot[s]) == tag ? slot_block(slot[s]) : candidate;
    }
    return candidate;
}

static inline struct pager_block *entry_at(const struct pager_index *index, uint32_t block) {
    return (struct pager_block *)index->entries.base + block;
}

static inline bool entry_is(const struct pager_block *entry, uint16_t ns, const uint8_t *key) {
    return entry->ns == ns && memcmp(entry->key.b, key, QUIRE_KEY_BYTES) == 0;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static enum quire_status directory_double(struct pager_index *index, uint32_t new_depth) {
    size_t n = (size_t)1 << new_depth;
    uint32_t *directory = malloc(n * sizeof(*directory));
    struct segment_info *segments = calloc(n, sizeof(*segments));
    if (directory == NULL || segments == NULL) {
        free(directory);
        free(segments);
        return QUIRE_NO_MEMORY;
    }
    if (index->directory != NULL) {
        for (size_t i = 0; i < n; i++) {
            directory[i] = index->directory[i >> 1];
        }
        memcpy(segments, index->segments, index->n_segments * sizeof(*segments));
        free(index->directory);
        free(index->segments);
    } else {
        directory[0] = 0;
    }
    index->directory = directory;
    index->segments = segments;
    index->depth = new_depth;
    return QUIRE_OK;
}

/* Deep enough for evenly spread tags with two levels to spare; keys that all fall together cannot drive it further. */
static uint32_t depth_for(uint64_t max_blocks) {
    uint32_t depth = 2;
    for (uint64_t room = SPLIT_AT / 2; room < max_blocks && depth < DEPTH_LIMIT; room *= 2) {
        depth++;
    }
    return depth;
}

static enum quire_status index_init(struct pager_index *index, uint64_t max_blocks, uint64_t seed) {
    index->magic = INDEX_MAGIC;
    index->max_blocks = max_blocks;
    index->max_depth = depth_for(max_blocks);
    index->free_head = PAGER_NO_BLOCK;
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(index->factor); i++) {
        wide high = next_random(&seed);
        index->factor[i] = high << 64 | next_random(&seed);
    }
    QUIRE_FORWARD(pager_arena_reserve(&index->entries, max_blocks * sizeof(struct pager_block), ENTRIES_HUGE_FROM));
    QUIRE_FORWARD(pager_arena_reserve(&index->slots, SEGMENT_BYTES << index->max_depth, SLOTS_HUGE_FROM));
    QUIRE_FORWARD(pager_arena_grow(&index->slots, SEGMENT_BYTES));
    QUIRE_FORWARD(directory_double(index, 0));
    index->n_segments = 1;
    return QUIRE_OK;
}

enum quire_status pager_index_create(uint64_t max_blocks, uint64_t seed, struct pager_index **index) {
    *index = NULL;
    if (max_blocks == 0 || max_blocks > MAX_BLOCKS) {
        return QUIRE_INVALID;
    }
    struct pager_index *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = index_init(made, max_blocks, seed);
    if (status != QUIRE_OK) {
        pager_index_destroy(&made);
        return status;
    }
    *index = made;
    return QUIRE_OK;
}

enum quire_status pager_index_create_like(const struct pager_index *index, struct pager_index **twin) {
    QUIRE_FORWARD(pager_index_create(index->max_blocks, 0, twin));
    memcpy((*twin)->factor, index->factor, sizeof(index->factor));
    return QUIRE_OK;
}

void pager_index_destroy(struct pager_index **index) {
    if (*index == NULL) {
        return;
    }
    QUIRE_MAGIC_CHECK(*index, INDEX_MAGIC);
    pager_arena_release(&(*index)->slots);
    pager_arena_release(&(*index)->entries);
    pager_arena_release(&(*index)->places);
    free((*index)->directory);
    free((*index)->segments);
    (*index)->magic = 0;
    free(*index);
    *index = NULL;
}

bool pager_index_shed(struct pager_index **index, uint64_t bytes) {
    struct pager_index *i = *index;
    if (i && (pager_arena_shed(&i->entries, bytes) || pager_arena_shed(&i->slots, bytes) || pager_arena_shed(&i->places, bytes))) {
        return true;
    }
    pager_index_destroy(index);
    return false;
}

/* ---- finding ---------------------------------------------------------------------------------------------------------- */

struct pager_block *pager_index_at(const struct pager_index *index, uint32_t block) {
    assert(block < index->entries_used);
    return entry_at(index, block);
}

static uint32_t find_tagged(const struct pager_index *index, uint32_t tag, uint16_t ns, const uint8_t *key) {
    const uint64_t *slots = segment_slots(index, segment_of(index, tag));
    for (uint32_t bucket = home_of(tag);; bucket = next_bucket(bucket)) {
        const uint64_t *slot = slots + bucket * BUCKET_SLOTS;
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (slot[i] == 0) {
                return PAGER_NO_BLOCK;
            }
            if (slot_tag(slot[i]) == tag && entry_is(entry_at(index, slot_block(slot[i])), ns, key)) {
                return slot_block(slot[i]);
            }
        }
    }
}

uint32_t pager_index_find(const struct pager_index *index, uint16_t ns, const quire_key *key) {
    return find_tagged(index, tag_of(index, ns, key->b), ns, key->b);
}

uint32_t pager_index_tag(const struct pager_index *index, uint16_t ns, const quire_key *key) { return tag_of(index, ns, key->b); }

void pager_index_expect(const struct pager_index *index, uint32_t tag) { __builtin_prefetch(home_bucket(index, tag), 1); }

void pager_index_expect_entry(const struct pager_index *index, uint32_t tag) {
    uint32_t candidate = candidate_for(home_bucket(index, tag), tag);
    if (candidate != PAGER_NO_BLOCK) {
        __builtin_prefetch(entry_at(index, candidate), 1);
        __builtin_prefetch((uint64_t *)index->places.base + candidate, 1);
    }
}

uint32_t pager_index_find_tagged(const struct pager_index *index, uint32_t tag, uint16_t ns, const quire_key *key) {
    return find_tagged(index, tag, ns, key->b);
}

/* First wave: tags of a run of keys, their home buckets on the way into the cache. */
static void wave_buckets(const struct pager_index *index, uint16_t ns, const uint8_t *keys, uint32_t n, uint32_t *tags) {
    for (uint32_t i = 0; i < n; i++) {
        tags[i] = tag_of(index, ns, keys + (size_t)i * QUIRE_KEY_BYTES);
        __builtin_prefetch(home_bucket(index, tags[i]));
    }
}

/* Second wave: the likely entry of each, on its way too. A tag that is not in its home bucket is left to the last wave. */
static void wave_entries(const struct pager_index *index, uint32_t n, const uint32_t *tags, uint32_t *found) {
    for (uint32_t i = 0; i < n; i++) {
        found[i] = candidate_for(home_bucket(index, tags[i]), tags[i]);
        if (found[i] != PAGER_NO_BLOCK) {
            __builtin_prefetch(entry_at(index, found[i]));
        }
    }
}

/* Third wave: believe a candidate when its key is the one asked for; otherwise probe from the start. */
static void wave_keys(const struct pager_index *index, uint16_t ns, const uint8_t *keys, uint32_t n, const uint32_t *tags,
                      uint32_t *found) {
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *key = keys + (size_t)i * QUIRE_KEY_BYTES;
        if (found[i] == PAGER_NO_BLOCK || !entry_is(entry_at(index, found[i]), ns, key)) {
            found[i] = find_tagged(index, tags[i], ns, key);
        }
    }
}

void pager_index_find_batch(const struct pager_index *index, uint16_t ns, const uint8_t *keys, uint32_t n, uint32_t *found) {
    uint32_t tags[2][WAVE];
    uint32_t now = (uint32_t)quire_min_u64(n, WAVE);
    wave_buckets(index, ns, keys, now, tags[0]);
    for (uint32_t first = 0, turn = 0; first < n; turn ^= 1) {
        const uint8_t *here = keys + (size_t)first * QUIRE_KEY_BYTES;
        uint32_t after = (uint32_t)quire_min_u64(n - first - now, WAVE);
        wave_entries(index, now, tags[turn], found + first);
        wave_buckets(index, ns, here + (size_t)now * QUIRE_KEY_BYTES, after, tags[turn ^ 1]);
        wave_keys(index, ns, here, now, tags[turn], found + first);
        first += now;
        now = after;
    }
}

/* ---- changing --------------------------------------------------------------------------------------------------------- */

static void slot_put(struct pager_index *index, uint32_t segment, uint64_t slot) {
    uint64_t *slots = segment_slots(index, segment);
    uint32_t bucket = home_of(slot_tag(slot));
    while (bucket_full(slots + bucket * BUCKET_SLOTS)) {
        bucket = next_bucket(bucket);
    }
    uint64_t *place = slots + bucket * BUCKET_SLOTS;
    while (*place != 0) {
        place++;
    }
    *place = slot;
    index->segments[segment].used++;
}

/* The slots of a segment that is divided, from where they stand aside to its halves. What is in each bucket is counted, which is cheaper than looking. */
static void share_out(struct pager_index *index, uint32_t lower, uint32_t upper) {
    const uint32_t segments[2] = {lower, upper};
    unsigned shift = TAG_BITS - index->segments[lower].depth;
    uint8_t filled[2][SEGMENT_BUCKETS] = {{0}};
    for (uint32_t i = 0; i < SEGMENT_SLOTS; i++) {
        uint64_t slot = index->scratch[i];
        if (slot == 0) {
            continue;
        }
        unsigned half = slot_tag(slot) >> shift & 1;
        uint32_t bucket = home_of(slot_tag(slot));
        while (filled[half][bucket] == BUCKET_SLOTS) {
            bucket = next_bucket(bucket);
        }
        segment_slots(index, segments[half])[bucket * BUCKET_SLOTS + filled[half][bucket]++] = slot;
        index->segments[segments[half]].used++;
    }
}

/* Divides a segment by the next bit of its tags. NO_MEMORY leaves everything as it was. */
static enum quire_status segment_split(struct pager_index *index, uint32_t segment, uint32_t tag) {
    uint32_t depth = index->segments[segment].depth;
    if (depth == index->max_depth) {
        return QUIRE_NO_MEMORY;
    }
    QUIRE_FORWARD(pager_arena_grow(&index->slots, (uint64_t)(index->n_segments + 1) * SEGMENT_BYTES));
    if (depth == index->depth) {
        QUIRE_FORWARD(directory_double(index, depth + 1));
    }
    uint32_t fresh = index->n_segments++;
    uint64_t *slots = segment_slots(index, segment);
    memcpy(index->scratch, slots, SEGMENT_BYTES);
    memset(slots, 0, SEGMENT_BYTES);
    index->segments[segment] = (struct segment_info){.depth = (uint8_t)(depth + 1)};
    index->segments[fresh] = (struct segment_info){.depth = (uint8_t)(depth + 1)};
    /* Directory elements that led here: those sharing the old prefix. The upper half now leads to the fresh one. */
    uint32_t half = 1u << (index->depth - depth - 1);
    uint32_t prefix = depth == 0 ? 0 : tag >> (TAG_BITS - depth);
    uint32_t *upper = index->directory + ((size_t)(2 * prefix + 1) * half);
    for (uint32_t i = 0; i < half; i++) {
        upper[i] = fresh;
    }
    share_out(index, segment, fresh);
    return QUIRE_OK;
}

static enum quire_status entry_take(struct pager_index *index, uint32_t *block) {
    if (index->free_head != PAGER_NO_BLOCK) {
        *block = index->free_head;
        index->free_head = entry_at(index, *block)->next;
        return QUIRE_OK;
    }
    QUIRE_FORWARD(pager_arena_grow(&index->entries, ((uint64_t)index->entries_used + 1) * sizeof(struct pager_block)));
    if (pager_index_has_places(index)) {
        QUIRE_FORWARD(pager_arena_grow(&index->places, ((uint64_t)index->entries_used + 1) * sizeof(uint64_t)));
    }
    *block = index->entries_used++;
    return QUIRE_OK;
}

enum quire_status pager_index_insert(struct pager_index *index, uint16_t ns, const quire_key *key, uint32_t *block) {
    return pager_index_insert_tagged(index, tag_of(index, ns, key->b), ns, key, block);
}

enum quire_status pager_index_insert_tagged(struct pager_index *index, uint32_t tag, uint16_t ns, const quire_key *key, uint32_t *block) {
    if (index->count >= index->max_blocks) {
        return QUIRE_FULL;
    }
    uint32_t segment = segment_of(index, tag);
    while (index->segments[segment].used >= SPLIT_AT && segment_split(index, segment, tag) == QUIRE_OK) {
        segment = segment_of(index, tag);
    }
    if (index->segments[segment].used >= SEGMENT_FULL) {
        return QUIRE_NO_MEMORY;
    }
    QUIRE_FORWARD(entry_take(index, block));
    slot_put(index, segment, slot_make(tag, *block));
    *entry_at(index, *block) = (struct pager_block){
        .key = *key,
        .ns = ns,
        .parent = PAGER_NO_BLOCK,
        .record = PAGER_NO_RECORD,
        .prev = PAGER_NO_BLOCK,
        .next = PAGER_NO_BLOCK,
    };
    index->count++;
    return QUIRE_OK;
}

void pager_index_open(struct pager_index *index, uint64_t blocks) {
    uint64_t n = quire_min_u64(blocks, index->max_blocks), slots_bytes = SEGMENT_BYTES;
    while (slots_bytes / SEGMENT_BYTES * SPLIT_AT < n) {
        slots_bytes *= 2;
    }
    pager_arena_open(&index->entries, n * sizeof(struct pager_block));
    pager_arena_open(&index->slots, slots_bytes);
    pager_arena_open(&index->places, n * sizeof(uint64_t));
}

/* Segments split at about the same time: their memory doubles in a short while. */
void *pager_index_warm(struct pager_index *index) {
    void *page = pager_arena_warm(&index->entries, WARM_BYTES);
    page = page ? page : pager_arena_warm(&index->places, PAGER_ARENA_PAGE_BYTES);
    return page ? page : pager_arena_warm(&index->slots, quire_max_u64(index->slots.committed_bytes, PAGER_ARENA_PAGE_BYTES));
}

/* How far `to` lies behind `from`, going round the segment. */
static inline uint32_t bucket_distance(uint32_t from, uint32_t to) { return (to - from) & (SEGMENT_BUCKETS - 1); }

/* Looks behind `bucket`, which was full, for a slot that had spilled past it. NULL: nothing did. */
static uint64_t *spilled_past(uint64_t *slots, uint32_t bucket, uint32_t *where) {
    for (uint32_t next = next_bucket(bucket); next != bucket; next = next_bucket(next)) {
        uint64_t *slot = slots + next * BUCKET_SLOTS;
        for (unsigned i = 0; i < BUCKET_SLOTS && slot[i] != 0; i++) {
            if (bucket_distance(home_of(slot_tag(slot[i])), next) >= bucket_distance(bucket, next)) {
                *where = next;
                return slot + i;
            }
        }
        if (!bucket_full(slot)) {
            break;
        }
    }
    return NULL;
}

/* Empties a slot; the hole travels to where no probe passes it. */
static void slot_drop(uint64_t *slots, uint32_t bucket, uint64_t *slot) {
    while (slot != NULL) {
        uint64_t *here = slots + bucket * BUCKET_SLOTS;
        bool was_full = bucket_full(here);
        uint64_t *last = here + BUCKET_SLOTS - 1;
        while (*last == 0) {
            last--;
        }
        *slot = *last;
        *last = 0;
        if (!was_full) {
            return;
        }
        slot = spilled_past(slots, bucket, &bucket);
        if (slot != NULL) {
            *last = *slot;
        }
    }
}

void pager_index_remove(struct pager_index *index, uint32_t block) {
    struct pager_block *entry = pager_index_at(index, block);
    assert(!(entry->flags & PAGER_BLOCK_FREE));
    assert(!pager_index_has_places(index) || *pager_index_place(index, block) == 0);
    uint32_t tag = tag_of(index, entry->ns, entry->key.b);
    uint32_t segment = segment_of(index, tag);
    uint64_t *slots = segment_slots(index, segment);
    uint32_t bucket = home_of(tag);
    uint64_t wanted = slot_make(tag, block);
    uint64_t *slot = NULL;
    while (slot == NULL) {
        uint64_t *here = slots + bucket * BUCKET_SLOTS;
        for (unsigned i = 0; i < BUCKET_SLOTS && slot == NULL; i++) {
            assert(here[i] != 0);
            slot = here[i] == wanted ? here + i : NULL;
        }
        bucket = slot == NULL ? next_bucket(bucket) : bucket;
    }
    slot_drop(slots, bucket, slot);
    index->segments[segment].used--;
    memset(entry, 0, sizeof(*entry));
    entry->flags = PAGER_BLOCK_FREE;
    entry->next = index->free_head;
    index->free_head = block;
    index->count--;
}

/* ---- the whole -------------------------------------------------------------------------------------------------------- */

uint64_t pager_index_count(const struct pager_index *index) { return index->count; }

uint64_t pager_index_bytes(const struct pager_index *index) {
    uint64_t directory = (sizeof(*index->directory) + sizeof(*index->segments)) << index->depth;
    return sizeof(*index) + directory + index->slots.committed_bytes + index->entries.committed_bytes + index->places.committed_bytes;
}

uint32_t pager_index_next(const struct pager_index *index, uint32_t cursor, uint32_t *block) {
    for (uint32_t i = cursor; i < index->entries_used; i++) {
        if (!(entry_at(index, i)->flags & PAGER_BLOCK_FREE)) {
            *block = i;
            return i + 1;
        }
    }
    return PAGER_NO_BLOCK;
}

static void check_segment(const struct pager_index *index, uint32_t segment, uint32_t first) {
    const uint64_t *slots = segment_slots(index, segment);
    uint32_t used = 0;
    uint32_t depth = index->segments[segment].depth;
    for (uint32_t i = 0; i < SEGMENT_SLOTS; i++) {
        if (slots[i] == 0) {
            continue;
        }
        used++;
        uint32_t tag = slot_tag(slots[i]);
        uint32_t bucket = i / BUCKET_SLOTS;
        assert(i % BUCKET_SLOTS == 0 || slots[i - 1] != 0); /* packed */
        assert(depth == 0 || tag >> (TAG_BITS - depth) == first >> (index->depth - depth));
        for (uint32_t b = home_of(tag); b != bucket; b = next_bucket(b)) {
            assert(bucket_full(slots + b * BUCKET_SLOTS)); /* no probe stops short of it */
        }
        assert(slot_block(slots[i]) < index->entries_used);
        const struct pager_block *entry = entry_at(index, slot_block(slots[i]));
        assert(!(entry->flags & PAGER_BLOCK_FREE));
        assert(tag_of(index, entry->ns, entry->key.b) == tag);
    }
    assert(used == index->segments[segment].used && used <= SEGMENT_FULL);
}

static void check_entries(const struct pager_index *index) {
    uint64_t live = 0, dead = 0;
    for (uint32_t i = 0; i < index->entries_used; i++) {
        const struct pager_block *entry = entry_at(index, i);
        if (!(entry->flags & PAGER_BLOCK_FREE)) {
            live++;
            assert(pager_index_find(index, entry->ns, &entry->key) == i); /* found, and no twin before it */
        }
    }
    for (uint32_t i = index->free_head; i != PAGER_NO_BLOCK; i = entry_at(index, i)->next) {
        assert(i < index->entries_used && (entry_at(index, i)->flags & PAGER_BLOCK_FREE));
        assert(++dead <= index->entries_used);
    }
    assert(live == index->count && live + dead == index->entries_used);
}

void pager_index_check(const struct pager_index *index) {
    QUIRE_MAGIC_CHECK(index, INDEX_MAGIC);
    assert(index->count <= index->max_blocks && index->depth <= index->max_depth);
    uint64_t slots_used = 0;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 1u << index->depth; seen++) {
        uint32_t segment = index->directory[i];
        assert(segment < index->n_segments && index->segments[segment].depth <= index->depth);
        uint32_t span = 1u << (index->depth - index->segments[segment].depth);
        assert(i % span == 0);
        for (uint32_t j = 0; j < span; j++) {
            assert(index->directory[i + j] == segment);
        }
        check_segment(index, segment, i);
        slots_used += index->segments[segment].used;
        i += span;
    }
    assert(seen == index->n_segments && slots_used == index->count);
    check_entries(index);
}
