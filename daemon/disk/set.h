/*
 * The files of the disk tier as one set: found or made at the start, locked against other daemons, closed in good order.
 *
 * A file is only ever formatted when it is new, empty, or known to hold nothing that counts. Everything else is judged by its superblocks:
 *
 *   no file has any content             a new set is made, unless there was one that is not there now (daemon/disk/fresh.h)
 *   one copy is damaged                 the other counts, and the damaged one is written next
 *   both are, or another version        refused
 *   another set, another number of      refused: whoever changed the configuration meant something else. The order of the
 *   files, another size                 files in the configuration does not matter
 *   missing, a folder or drive that     taken out of use, the others go on: what is only there is a miss. With no other: refused
 *   does not answer
 *   an empty file in its place          made anew: how an operator says that the drive was replaced
 *   was out of use, or is older than    made anew: what it holds may have been deleted since
 *   the metadata
 *   newer than the metadata             refused: what was deleted since would be there again
 *   cut short                           made anew: what the rest holds may have been deleted, and only its lost end told so
 *
 * What is written beside them (daemon/disk/sidecar.h) is judged as well: a set is not made where something else has such a name.
 *
 * Which files are members is in the metadata (codec/log_meta.h), beside each of them. Without that of the first one in use the set cannot be used, unless an empty
 * file says that it was replaced (daemon/disk/copies.h). A file whose superblock has generation 0 was made and never used. The generation grows at each start and at each clean stop. A start writes it to
 * one copy, to the metadata, and to the other copy, in this order (codec/LOG.md: Generations): one copy is always whole, and neither files
 * nor metadata of an earlier time fit the others.
 */
#ifndef DAEMON_DISK_SET_H
#define DAEMON_DISK_SET_H

#include "codec/log.h"
#include "codec/log_meta.h"
#include "daemon/config.h"

struct disk_set_file {
    char path[CONFIG_FILE_PATH_MAX];
    int fd;      /* −1: could not be opened */
    bool in_use; /* a member */
    bool direct; /* O_DIRECT */
    bool fresh;  /* made at this start: its segments are clean */
    uint8_t file_id[16];
    uint32_t n_segments, first_number;
    uint32_t next_copy; /* of the superblock: where the next generation goes */
    char why[480];      /* out of use, or not direct: for people */
};

struct disk_set {
    struct quire_log_geometry geometry;
    uint8_t set_id[16];
    uint64_t generation; /* this start's */
    bool fresh;          /* made at this start */
    bool clean;          /* every file was closed in good order; `snapshot` is whole then */
    uint64_t snapshot;
    uint32_t n_files, n_segments;
    struct disk_set_file files[QUIRE_LOG_MAX_FILES]; /* by index: the pager's devices */
    char meta_path[CONFIG_FILE_PATH_MAX + 8];        /* beside the file of index 0; every file has one */
    _Atomic uint32_t saving;                         /* the file whose copy is being written, or was last */
    uint32_t without_copy;                           /* a bit a file: no copy can be kept there. Whoever saves */
    uint8_t *meta;                                   /* the metadata as found, checked; its owner may free it and set NULL */
    size_t meta_bytes;
    uint64_t created_s;
    uint64_t written_bytes; /* by the set itself: superblocks, metadata as it was opened, the snapshot */
};

/*
 * From a resolved configuration with at least one file. On return everything that may have changed is durable: generation, members. On
 * failure `why` names the file and what to do, and nothing that had content was changed. IN_USE: another daemon has a file.
 */
enum quire_status disk_set_open(const struct config *config, struct disk_set **set, char *why, size_t why_bytes);
/* Closes and unlocks. `clean`: everything is on disk, and the index in snapshot `snapshot`. Nothing may be under way. Returned: written_bytes. */
uint64_t disk_set_close(struct disk_set **set, bool clean, uint64_t snapshot);

/* A file that fails: no member from now on. To be followed by saving the metadata, and that before a deletion counts as done. */
void disk_set_take_out(struct disk_set *set, uint32_t file, const char *why);
/* The head of the metadata as the set is now, and its members' ids. */
void disk_set_describe_meta(const struct disk_set *set, struct quire_meta_head *head, uint8_t members[QUIRE_LOG_MAX_FILES][16]);
/* The metadata as it is to be saved now, by malloc. INVALID: what the pager told does not fit the format. */
enum quire_status disk_set_encode_meta(const struct disk_set *set, uint32_t next_serial, uint64_t sequence,
                                       const struct quire_meta_item *items, uint32_t n_items, const struct quire_meta_pin *pins,
                                       uint32_t n_pins, uint8_t **bytes, size_t *size);

#endif
