/*
 * The index: (namespace, key) → block, for ten million blocks and more.
 *
 * A block's entry is one cache line; a table of 64-bit slots (entry number and tag) finds it. The table grows piecewise: an insertion costs
 * at most the splitting of one segment and one huge page from the system, at any size; and a batch lookup overlaps its cache misses. Memory
 * grows with the most blocks that were there at once; room of removed ones is used again. Whatever a block costs while its record is on no
 * faster tier is here: ≤ 96 bytes. Keys may be hostile (engines bring their own): a secret seed goes into the hash. Entries of absent
 * parents exist too, without records, so that orphans find their parent when it comes. Not thread-safe.
 */
#ifndef PAGER_INDEX_H
#define PAGER_INDEX_H

#include "proto/base/base.h"

#define PAGER_NO_BLOCK UINT32_MAX
#define PAGER_NO_RECORD UINT32_MAX

enum pager_block_flags {
    PAGER_BLOCK_ORPHAN_ROOT = 1, /* parent unknown (external key): nothing to hang below */
    PAGER_BLOCK_ROOTED = 2,      /* the disk's: follows a pass for orphans */
    PAGER_BLOCK_LISTED = 4,      /* in an age list */
    PAGER_BLOCK_BUILDING = 8,    /* a record of it is under construction */
    PAGER_BLOCK_FLEETING = 16,   /* read from disk once since it left memory: leaves again before others, stays when it is read again */
    PAGER_BLOCK_FREE = 128       /* the index's own: no block is here */
};

struct pager_block {
    quire_key key;
    uint32_t parent;     /* PAGER_NO_BLOCK: root or unknown */
    uint32_t children;   /* entries whose parent this is */
    uint32_t record;     /* first of its resident records, PAGER_NO_RECORD: none */
    uint32_t prev, next; /* age list, while evictable */
    uint32_t used;       /* tick of the last use */
    uint16_t ns;
    uint16_t n_tokens;
    uint16_t pins;
    uint8_t flags;
    uint8_t age; /* list that it was filed in */
};
static_assert(sizeof(struct pager_block) == 64, "one cache line");

struct pager_index;

enum quire_status pager_index_create(uint64_t max_blocks, uint64_t seed, struct pager_index **index);
/* An empty one for as many blocks, in which a key has the same tag. */
enum quire_status pager_index_create_like(const struct pager_index *index, struct pager_index **twin);
void pager_index_destroy(struct pager_index **index);
/* The same a little at a time, for a large one: gives back at most `bytes` of its memory. True: it goes on, and is good for nothing else. */
bool pager_index_shed(struct pager_index **index, uint64_t bytes);

struct pager_block *pager_index_at(const struct pager_index *index, uint32_t block);
/* PAGER_NO_BLOCK when absent. */
uint32_t pager_index_find(const struct pager_index *index, uint16_t ns, const quire_key *key);
/*
 * For whoever knows keys ahead: a key's tag, which says where it stands and stays the same while the index lives. With it, first the bucket and, when
 * that had time to come, the likely entry are brought into the cache; and neither finding nor inserting draws it again.
 */
uint32_t pager_index_tag(const struct pager_index *index, uint16_t ns, const quire_key *key);
void pager_index_expect(const struct pager_index *index, uint32_t tag);
void pager_index_expect_entry(const struct pager_index *index, uint32_t tag);
uint32_t pager_index_find_tagged(const struct pager_index *index, uint32_t tag, uint16_t ns, const quire_key *key);
enum quire_status pager_index_insert_tagged(struct pager_index *index, uint32_t tag, uint16_t ns, const quire_key *key, uint32_t *block);
/* n packed keys (unaligned), found[i] each: probes in waves so that misses overlap, and prefetches the entries. */
void pager_index_find_batch(const struct pager_index *index, uint16_t ns, const uint8_t *keys, uint32_t n, uint32_t *found);
/* The key must be absent. The new entry is zero but for key, ns and the NO_ values. FULL at max_blocks, NO_MEMORY. */
enum quire_status pager_index_insert(struct pager_index *index, uint16_t ns, const quire_key *key, uint32_t *block);
void pager_index_remove(struct pager_index *index, uint32_t block);

/* Eight bytes more for each block, zero at first and again when it is removed: where its records are on disk. Once, while the index is empty. */
enum quire_status pager_index_add_places(struct pager_index *index);
uint64_t *pager_index_place(const struct pager_index *index, uint32_t block); /* only after that */
bool pager_index_has_places(const struct pager_index *index);

/* About so many blocks will come soon: their memory is made usable at once. A wish. */
void pager_index_open(struct pager_index *index, uint64_t blocks);
/* A huge page (PAGER_ARENA_PAGE_BYTES) of it that will be needed next and was not touched yet; each is told once. NULL: none. */
void *pager_index_warm(struct pager_index *index);

uint64_t pager_index_count(const struct pager_index *index);
uint64_t pager_index_bytes(const struct pager_index *index); /* all memory it holds */
/* Visits entries in a fixed order: `for (uint32_t c = 0, b; (c = pager_index_next(index, c, &b)) != PAGER_NO_BLOCK;)`. Entries that were
   visited may be removed on the way; one that is inserted on the way may be visited or not. */
uint32_t pager_index_next(const struct pager_index *index, uint32_t cursor, uint32_t *block);
void pager_index_check(const struct pager_index *index);

#endif
