/*
 * Where a block's records lie on disk: eight bytes beside its index entry, which hold segment, place and size of one exact record of group
 * 0, as nearly every block has, and in the bits that are left as much of the sum over its header and directory as fits: so a read knows
 * a record that another namespace has under the same key, or that lay there before, from the one that was written. What is more than that
 * (other groups, lossy records) hangs in a list of nodes. The books of the log follow every change.
 */
#ifndef PAGER_DISK_WHERE_H
#define PAGER_DISK_WHERE_H

#include "proto/base/base.h"

struct pager;

struct pager_where {
    uint32_t segment, at_units, size_units;
    float error, ancestry_error;
    uint8_t group, rung;
    uint16_t check; /* the entry's, as far as pager_where_check_mask goes */
};

struct pager_where_node {
    uint64_t place;
    float error, ancestry_error;
    uint32_t next; /* in the block's list; in the list of free ones */
    uint8_t group, rung;
};

/* In chunks: that there are more of them moves none. */
#define PAGER_WHERE_CHUNK 4096u
struct pager_where_nodes {
    struct pager_where_node **chunks;
    uint32_t n_chunks, chunks_capacity;
    uint32_t n, first_free; /* counted from 1; 0: none */
};
static inline struct pager_where_node *pager_where_node_at(const struct pager_where_nodes *places, uint32_t node) {
    return &places->chunks[(node - 1) / PAGER_WHERE_CHUNK][(node - 1) % PAGER_WHERE_CHUNK];
}
uint64_t pager_where_nodes_bytes(const struct pager_where_nodes *places);
void pager_where_nodes_free(struct pager_where_nodes *places);

/*
 * Which bits of a sum a place has room for: up to 16, at least 5, by the geometry alone; 11 with segments of 64 MiB in units of 4 KiB.
 */
uint16_t pager_where_check_mask(const struct pager *pager);
/* Without a disk no block has any of these. */
bool pager_where_any(const struct pager *pager, uint32_t block);
uint32_t pager_where_groups(const struct pager *pager, uint32_t block);
bool pager_where_find(const struct pager *pager, uint32_t block, uint32_t group, struct pager_where *where);
/* One after the other, groups in no order: *at starts at 0; false at the end. */
bool pager_where_next(const struct pager *pager, uint32_t block, uint32_t *at, struct pager_where *where);
/* Adds or replaces the group's. NO_MEMORY: unchanged. */
enum quire_status pager_where_put(struct pager *pager, uint32_t block, const struct pager_where *where);
/* The group's, or all, are no more; harmless when there is none. A record that was to be read from there is the caller's affair. */
void pager_where_drop(struct pager *pager, uint32_t block, uint32_t group);
void pager_where_drop_all(struct pager *pager, uint32_t block);
/*
 * Was a part of it asked for since it left memory? A second time is reuse: then all of it is read. Of each group by itself, so that fetching a part of
 * each in turn stays what it is; a record that is written anew, or found at a start, was not.
 */
bool pager_where_parted(const struct pager *pager, uint32_t block, uint32_t group);
void pager_where_part(const struct pager *pager, uint32_t block, uint32_t group, bool parted);
/* The record's bytes: exact where its shape tells, else whole units. */
uint32_t pager_where_bytes(const struct pager *pager, uint32_t block, const struct pager_where *where);

#endif
