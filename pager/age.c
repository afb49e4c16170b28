#include "pager/age.h"

static uint32_t list_link(uint32_t list) { return PAGER_AGE_HEADS + list; }

void pager_ages_init(struct pager_ages *ages) {
    *ages = (struct pager_ages){0};
    for (uint32_t i = 0; i <= PAGER_AGES; i++) {
        ages->heads[i].first = ages->heads[i].last = list_link(i);
    }
}

/* Where the link to a list's or block's successor, or predecessor, is kept. */
static uint32_t *next_of(struct pager_ages *ages, struct pager_index *index, uint32_t link) {
    return link >= PAGER_AGE_HEADS ? &ages->heads[link - PAGER_AGE_HEADS].first : &pager_index_at(index, link)->next;
}

static uint32_t *prev_of(struct pager_ages *ages, struct pager_index *index, uint32_t link) {
    return link >= PAGER_AGE_HEADS ? &ages->heads[link - PAGER_AGE_HEADS].last : &pager_index_at(index, link)->prev;
}

static bool is_empty(const struct pager_ages *ages, uint32_t list) { return ages->heads[list].first == list_link(list); }

static void append(struct pager_ages *ages, struct pager_index *index, uint32_t list, uint32_t block) {
    struct pager_block *b = pager_index_at(index, block);
    b->next = list_link(list);
    b->prev = ages->heads[list].last;
    b->age = (uint8_t)list;
    *next_of(ages, index, b->prev) = block;
    ages->heads[list].last = block;
}

static void detach(struct pager_ages *ages, struct pager_index *index, uint32_t block) {
    struct pager_block *b = pager_index_at(index, block);
    *next_of(ages, index, b->prev) = b->next;
    *prev_of(ages, index, b->next) = b->prev;
    b->prev = b->next = PAGER_NO_BLOCK;
}

/* The oldest list goes before the second oldest, which inherits its age. */
static void merge_oldest(struct pager_ages *ages, struct pager_index *index) {
    uint32_t from = (uint32_t)(ages->oldest % PAGER_AGES), to = (uint32_t)((ages->oldest + 1) % PAGER_AGES);
    struct pager_age_head *a = &ages->heads[from], *b = &ages->heads[to];
    if (!is_empty(ages, from)) {
        uint32_t first = a->first, last = a->last, second = b->first;
        *next_of(ages, index, last) = second;
        *prev_of(ages, index, second) = last;
        b->first = first;
        *prev_of(ages, index, first) = list_link(to);
        a->first = a->last = list_link(from);
    }
    b->since = a->since;
    ages->oldest++;
}

/* From the next tick on: what was used in this one stays together, in the order in which it came. */
static void open_list(struct pager_ages *ages, struct pager_index *index, uint32_t now) {
    if (ages->newest - ages->oldest == PAGER_AGES - 1) {
        merge_oldest(ages, index);
    }
    ages->newest++;
    ages->heads[ages->newest % PAGER_AGES].since = now + 1;
    ages->filed = 0;
}

void pager_age_open(struct pager_ages *ages, struct pager_index *index, uint32_t now) {
    uint32_t since = ages->heads[ages->newest % PAGER_AGES].since;
    uint32_t span = now - ages->heads[ages->oldest % PAGER_AGES].since;
    bool many = ages->filed > ages->listed / (PAGER_AGES / 2) && now >= since;
    bool long_ago = now > since && now - since > span / (PAGER_AGES / 4) + 64;
    if (many || long_ago) {
        open_list(ages, index, now);
    }
}

/* The youngest list whose time had begun when the block was last used. */
static uint64_t list_for(const struct pager_ages *ages, uint32_t used) {
    uint64_t low = ages->oldest, high = ages->newest;
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        if (ages->heads[middle % PAGER_AGES].since <= used) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

void pager_age_file(struct pager_ages *ages, struct pager_index *index, uint32_t block, uint32_t now, bool orphan) {
    struct pager_block *b = pager_index_at(index, block);
    assert(!(b->flags & PAGER_BLOCK_LISTED));
    b->flags |= PAGER_BLOCK_LISTED;
    ages->listed++;
    if (orphan) {
        append(ages, index, PAGER_AGE_ORPHANS, block);
        return;
    }
    pager_age_open(ages, index, now);
    uint64_t list = list_for(ages, b->used);
    append(ages, index, (uint32_t)(list % PAGER_AGES), block);
    ages->filed += list == ages->newest;
}

void pager_age_remove(struct pager_ages *ages, struct pager_index *index, uint32_t block) {
    struct pager_block *b = pager_index_at(index, block);
    assert(b->flags & PAGER_BLOCK_LISTED);
    detach(ages, index, block);
    b->flags &= (uint8_t)~PAGER_BLOCK_LISTED;
    ages->listed--;
}

uint32_t pager_age_oldest(struct pager_ages *ages, struct pager_index *index, uint32_t now, uint32_t *budget) {
    if (!is_empty(ages, PAGER_AGE_ORPHANS)) {
        return ages->heads[PAGER_AGE_ORPHANS].first;
    }
    for (;;) {
        uint32_t list = (uint32_t)(ages->oldest % PAGER_AGES);
        if (is_empty(ages, list)) {
            if (ages->oldest == ages->newest) {
                return PAGER_NO_BLOCK;
            }
            ages->oldest++;
            continue;
        }
        uint32_t block = ages->heads[list].first;
        if (list_for(ages, pager_index_at(index, block)->used) == ages->oldest) {
            return block;
        }
        if (*budget == 0) {
            return PAGER_NO_BLOCK;
        }
        --*budget;
        pager_age_remove(ages, index, block);
        pager_age_file(ages, index, block, now, false);
    }
}

bool pager_age_next_list(const struct pager_ages *ages, uint64_t *cursor, uint32_t *first) {
    if (*cursor > ages->newest - ages->oldest + 1) {
        return false;
    }
    uint32_t list = *cursor == 0 ? PAGER_AGE_ORPHANS : (uint32_t)((ages->oldest + *cursor - 1) % PAGER_AGES);
    *first = ages->heads[list].first;
    (*cursor)++;
    return true;
}

void pager_age_check(const struct pager_ages *ages, const struct pager_index *index) {
    uint64_t listed = 0;
    for (uint32_t list = 0; list <= PAGER_AGES; list++) {
        uint32_t before = list_link(list);
        for (uint32_t block = ages->heads[list].first; block != list_link(list);) {
            const struct pager_block *b = pager_index_at(index, block);
            assert(b->prev == before && (b->flags & PAGER_BLOCK_LISTED));
            listed++;
            before = block;
            block = b->next;
        }
        assert(ages->heads[list].last == before);
    }
    assert(listed == ages->listed);
    assert(ages->newest - ages->oldest < PAGER_AGES);
    for (uint64_t i = ages->oldest; i < ages->newest; i++) {
        assert(ages->heads[i % PAGER_AGES].since <= ages->heads[(i + 1) % PAGER_AGES].since);
    }
}
