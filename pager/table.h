/*
 * Numbers for objects that others name: a handle is a place and a stamp, so that a stale or invented handle finds nothing.
 * Bounded; places are given out in a fixed order.
 */
#ifndef PAGER_TABLE_H
#define PAGER_TABLE_H

#include "proto/base/base.h"

struct pager_table_entry {
    void *object;   /* NULL: free */
    uint32_t stamp; /* of the present or the last owner, from 1 */
    uint32_t next;  /* free list */
};

struct pager_table {
    struct pager_table_entry *entries;
    uint32_t n, capacity, limit;
    uint32_t first_free; /* UINT32_MAX: none */
    uint32_t used;
};

void pager_table_init(struct pager_table *table, uint32_t limit);
void pager_table_free(struct pager_table *table);
/* RETRY at the limit, NO_MEMORY. */
enum quire_status pager_table_add(struct pager_table *table, void *object, uint64_t *handle);
void *pager_table_find(const struct pager_table *table, uint64_t handle);
void pager_table_remove(struct pager_table *table, uint64_t handle);
/* Visits objects in order of their places: start with 0, NULL at the end. */
void *pager_table_next(const struct pager_table *table, uint32_t *cursor);
uint64_t pager_table_bytes(const struct pager_table *table);

#endif
