/*
 * The files of the disk tier as they lie there without a daemon: superblocks, metadata, where each segment lies. Read with codec/log.h and
 * codec/log_meta.h only.
 *
 * To look takes no lock and so stands in nobody's way; to verify takes a shared one, to repair an exclusive one: a daemon that has the
 * files is told by name.
 */
#ifndef QUIRECTL_LOG_FILES_H
#define QUIRECTL_LOG_FILES_H

#include "client/quirectl/args.h"
#include "codec/log.h"
#include "codec/log_meta.h"

#include <limits.h>

enum log_purpose { LOG_LOOK, LOG_VERIFY, LOG_REPAIR };

struct log_file {
    const char *path;
    int fd;
    uint64_t size_bytes;
    enum quire_status copy_status[QUIRE_LOG_SUPERBLOCK_COPIES];
    struct quire_log_superblock copies[QUIRE_LOG_SUPERBLOCK_COPIES];
    uint32_t copy;                          /* that counts */
    struct quire_log_superblock superblock; /* it */
    bool used;                              /* what it holds counts; else `why` */
    bool cut_short;                         /* that is why it does not count */
    uint32_t whole_segments;                /* the file ends behind them */
    char why[120];
    long holder; /* process that has it locked; 0: none that is known */
};

struct log_files {
    struct log_file file[QUIRE_LOG_MAX_FILES]; /* those given, by their index */
    uint32_t n;
    uint32_t n_set;    /* files that the set has */
    uint32_t n_absent; /* files of it that were not given, and are not known to be out of use */
    bool complete;     /* every file that counts was given, and that is known */
    struct quire_log_geometry geometry;
    uint8_t set_id[16];
    char meta_path[PATH_MAX];
    enum quire_status meta_status; /* of the copy that counts, of those beside the files given */
    bool meta_old;                 /* the files were used with a newer one */
    uint8_t *meta;
    size_t meta_bytes;
};

/* What is wrong is told by cli. At least one path; all must be files of one set. To be closed in any case. */
enum cli_exit log_files_open(struct cli *cli, const struct args_list *paths, enum log_purpose purpose, struct log_files *files);
void log_files_close(struct log_files *files);

/* NULL: none of the files given has it. *offset: where it begins. */
const struct log_file *log_files_find(const struct log_files *files, uint32_t segment, uint64_t *offset);
static inline size_t log_files_segment_bytes(const struct log_files *files) {
    return (size_t)files->geometry.unit_bytes * files->geometry.segment_units;
}
/* Units of a segment. What lies behind the file's end is zero; so is what cannot be read, *unreadable counts its units. */
void log_files_read(const struct log_files *files, uint32_t segment, uint32_t at_units, uint32_t units, uint8_t *to, uint32_t *unreadable);
/* What was read of a segment need not stay in the system's memory. */
void log_files_forget(const struct log_files *files, uint32_t segment);
/* Writes and syncs. On failure errno tells why. */
bool log_files_write(const struct log_files *files, uint32_t segment, uint32_t at_units, uint32_t units, const uint8_t *bytes);
bool log_file_write_superblock(const struct log_file *file, uint32_t copy, const struct quire_log_superblock *superblock);
/* What is wrong with the metadata, to follow its path: "is not there". */
const char *log_files_meta_text(const struct log_files *files);
/* The name of a namespace: "domain/name", or its serial when it was deleted. */
void log_files_ns(const struct log_files *files, uint32_t serial, char *text, size_t text_bytes);

#endif
