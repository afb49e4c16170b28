/*
 * One file of the set: opened, locked and judged; made; its superblock written. For daemon/disk/set*.c only.
 */
#ifndef DAEMON_DISK_SET_FILE_H
#define DAEMON_DISK_SET_FILE_H

#include "codec/log.h"
#include "proto/base/base.h"

#define SET_FILE_WHY_BYTES 480

enum set_file_state {
    SET_FILE_ABSENT, /* nothing at the path, perhaps not even a folder */
    SET_FILE_EMPTY,  /* nothing in it that counts: no bytes, or made and never used */
    SET_FILE_MEMBER, /* of the set that the superblock tells */
    SET_FILE_SILENT  /* its drive does not answer: `why` */
};

struct set_file {
    enum set_file_state state;
    int fd; /* open and locked, but when ABSENT or SILENT: −1 */
    uint64_t size_bytes;
    struct quire_log_superblock superblock; /* MEMBER: the copy that counts */
    uint32_t copy;
    bool damaged;            /* the other copy is */
    uint64_t meta_from;      /* the metadata beside it has this generation at least */
    uint64_t meta_from_copy; /* as `copy` alone tells it: more, when a crash kept its start from the metadata */
    char why[SET_FILE_WHY_BYTES];
};

/*
 * Opens, locks and judges. What must not be touched is refused: IN_USE, CORRUPT, VERSION, DENIED, INVALID; `why` names the file and a
 * remedy.
 */
enum quire_status set_file_probe(const char *path, struct set_file *file, char *why, size_t why_bytes);
void set_file_close(struct set_file *file);

/*
 * Makes a new file beside the path, with all of its space, locked. What a crash left of one makes room for it. FULL: there is not so
 * much; CORRUPT: somebody else's file is in the way. It takes its name when it is whole:
 * set_file_name, which replaces what is at the path only when `replace`. set_file_unmake removes one that has no name yet.
 */
enum quire_status set_file_make(const char *path, uint64_t size_bytes, int *fd, char *why, size_t why_bytes);
enum quire_status set_file_name(const char *path, int fd, bool replace, char *why, size_t why_bytes);
void set_file_unmake(const char *path, int *fd);

/* Writes one copy and syncs it. On failure errno tells why. */
enum quire_status set_file_write_superblock(int fd, uint32_t copy, const struct quire_log_superblock *superblock);

/* Switches to O_DIRECT; *unit_bytes: what it demands. False: the file system refuses, `why`; it stays as it was. */
bool set_file_direct(int fd, uint32_t *unit_bytes, char *why, size_t why_bytes);
void set_file_buffered(int fd);

#endif
