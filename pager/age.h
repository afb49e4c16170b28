/*
 * Age lists: who was used longest ago, at the cost of one store a use.
 *
 * A use writes only the block's tick. Blocks that may be evicted stand in one of 128 lists by the time of their last use as it was when
 * they were filed; whoever looks for the oldest re-files those that were used since. So order is exact between lists, and lists
 * are kept about a sixty-fourth of all. Orphans have a list of their own, which goes first. Lists are linked through index entries.
 */
#ifndef PAGER_AGE_H
#define PAGER_AGE_H

#include "pager/index.h"

#define PAGER_AGES 128u
#define PAGER_AGE_ORPHANS PAGER_AGES
/* Links at or above this are list heads. */
#define PAGER_AGE_HEADS 0xf0000000u

struct pager_age_head {
    uint32_t first, last;
    uint32_t since; /* no block in it was used earlier, as filed, than this; the oldest list takes everything older */
};

struct pager_ages {
    struct pager_age_head heads[PAGER_AGES + 1];
    uint64_t oldest, newest; /* counted on; the list is the remainder */
    uint64_t filed;          /* into the newest since it was opened */
    uint64_t listed;
};

void pager_ages_init(struct pager_ages *ages);
void pager_age_file(struct pager_ages *ages, struct pager_index *index, uint32_t block, uint32_t now, bool orphan);
void pager_age_remove(struct pager_ages *ages, struct pager_index *index, uint32_t block);
/* The block to go first, PAGER_NO_BLOCK: none is listed, or *budget is used up: each re-filing of one that was used since costs 1. */
uint32_t pager_age_oldest(struct pager_ages *ages, struct pager_index *index, uint32_t now, uint32_t *budget);
/* Opens a list when the newest has covered a long time: so that uses alone keep their order, too. */
void pager_age_open(struct pager_ages *ages, struct pager_index *index, uint32_t now);
/* Visits lists from what goes first: `cursor` starts at 0; false at the end. */
bool pager_age_next_list(const struct pager_ages *ages, uint64_t *cursor, uint32_t *first);
/* Asserts links and counts, and calls seen(ctx, block) for each. */
void pager_age_check(const struct pager_ages *ages, const struct pager_index *index);

#endif
