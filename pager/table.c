#include "pager/table.h"

#include <stdlib.h>

#define NONE UINT32_MAX
/* The highest bits stay free for whoever needs to tell kinds of handles apart. */
#define STAMP_MASK 0x3fffffffu

void pager_table_init(struct pager_table *table, uint32_t limit) { *table = (struct pager_table){.limit = limit, .first_free = NONE}; }

void pager_table_free(struct pager_table *table) {
    free(table->entries);
    pager_table_init(table, table->limit);
}

static enum quire_status grow(struct pager_table *table) {
    uint32_t capacity = (uint32_t)quire_min_u64(table->capacity ? 2ull * table->capacity : 64, table->limit);
    if (capacity <= table->n) {
        return QUIRE_RETRY;
    }
    struct pager_table_entry *entries = realloc(table->entries, capacity * sizeof(*entries));
    if (!entries) {
        return QUIRE_NO_MEMORY;
    }
    table->entries = entries;
    table->capacity = capacity;
    return QUIRE_OK;
}

enum quire_status pager_table_add(struct pager_table *table, void *object, uint64_t *handle) {
    uint32_t place = table->first_free;
    if (place == NONE) {
        if (table->n == table->capacity) {
            QUIRE_FORWARD(grow(table));
        }
        place = table->n++;
        table->entries[place].stamp = 0;
    } else {
        table->first_free = table->entries[place].next;
    }
    struct pager_table_entry *entry = &table->entries[place];
    entry->object = object;
    entry->stamp = (entry->stamp % STAMP_MASK) + 1;
    entry->next = NONE;
    table->used++;
    *handle = (uint64_t)entry->stamp << 32 | (place + 1u);
    return QUIRE_OK;
}

static struct pager_table_entry *entry_of(const struct pager_table *table, uint64_t handle) {
    uint64_t place = (handle & UINT32_MAX) - 1;
    if (place >= table->n) {
        return NULL;
    }
    struct pager_table_entry *entry = &table->entries[place];
    return entry->object && entry->stamp == handle >> 32 ? entry : NULL;
}

void *pager_table_find(const struct pager_table *table, uint64_t handle) {
    struct pager_table_entry *entry = entry_of(table, handle);
    return entry ? entry->object : NULL;
}

void pager_table_remove(struct pager_table *table, uint64_t handle) {
    struct pager_table_entry *entry = entry_of(table, handle);
    assert(entry);
    entry->object = NULL;
    entry->next = table->first_free;
    table->first_free = (uint32_t)(entry - table->entries);
    table->used--;
}

void *pager_table_next(const struct pager_table *table, uint32_t *cursor) {
    while (*cursor < table->n) {
        void *object = table->entries[(*cursor)++].object;
        if (object) {
            return object;
        }
    }
    return NULL;
}

uint64_t pager_table_bytes(const struct pager_table *table) { return table->capacity * sizeof(*table->entries); }
