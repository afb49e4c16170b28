/*
 * A part of a record that is read alone: the lanes of a rectangle, as bytes. What is kept of it is small and depends on nothing else, since its block may
 * be gone by the time that it is read; its ranges, which a deep model has hundreds of, are there only while it is being read.
 */
#ifndef PAGER_DISK_PART_H
#define PAGER_DISK_PART_H

#include "codec/record.h"
#include "proto/wire.h"

struct pager;
struct pager_record;
struct pager_where;
struct pager_disk_range;

struct pager_lanes {
    struct quire_record_shape shape;
    quire_rect rect;
    uint32_t n_ranges; /* 0: no part, but all of it */
    uint32_t bytes;    /* of the ranges */
};

/*
 * What was read in parts of a record, far smaller than all of it, since it left memory. So that there is a bound, a place has one line among these where it may be
 * noted, and whichever record comes last has it: another one's parts are counted anew.
 */
#define PAGER_PART_LINES 4096u
struct pager_part_line {
    uint64_t place, read_bytes;
    uint64_t op; /* the last one's read, which may have ended */
};
/* Its own from now on; empty, when no part of it was read since it left memory. */
struct pager_part_line *pager_part_line(struct pager *pager, const struct pager_record *record, const struct pager_where *where);

/* False when reading all of it is as good. */
bool pager_lanes_of(const struct pager *pager, const struct pager_record *record, const quire_rect *rect, struct pager_lanes *part);
/* What reading it costs a drive, as the bytes of one read: a piece by itself costs as much as the bytes that are read in vain to join two. */
uint64_t pager_lanes_cost(const struct pager_lanes *part);
/* In ascending order, with something between one and the next: part->n_ranges of them. */
void pager_lanes_ranges(const struct pager_lanes *part, struct pager_disk_range *ranges);
/* Are these in what is read of it: header and directory, and each range? */
bool pager_lanes_hold(const struct pager_lanes *part, const struct quire_wire_range *wanted, uint32_t n);

#endif
