/*
 * Verifies the whole set as a restart would read it, and repairs what is damaged (codec/LOG.md, "Repair"). Each damage is told once; when
 * repairing, with what became of it: the segment is read again after it was written.
 */
#ifndef QUIRECTL_LOG_CHECK_H
#define QUIRECTL_LOG_CHECK_H

#include "client/quirectl/log_files.h"
#include "client/quirectl/log_segment.h"

enum log_outcome { LOG_FOUND, LOG_REPAIRED, LOG_LEFT };
#define LOG_NO_SEGMENT UINT32_MAX

struct log_finding {
    const char *path;
    uint32_t segment; /* or LOG_NO_SEGMENT: of the file, or its superblock */
    uint32_t at_units;
    const char *part; /* "superblock", "metadata", "file", "drive", "header", "head", "record", "footer" */
    const char *text;
    uint32_t lost; /* records that are not used because of it */
    bool lasting;  /* a repair leaves it as it is */
    enum log_outcome outcome;
};

struct log_totals {
    uint32_t segments, clean, emptied, open, sealed, headless, skipped;
    uint64_t records, record_bytes, deletions, read_bytes;
    uint64_t damages, lasting, repaired, left, lost_records, unreadable_units;
};

struct log_check {
    struct cli *cli;
    struct log_files *files;
    bool repair;
    void (*found)(void *ctx, const struct log_finding *finding);
    void *ctx;
    struct log_totals totals;
};

/* CLI_OK also when something is damaged: the totals tell. Otherwise it could not be done to the end, and why was told. */
enum cli_exit log_check_run(struct log_check *check);

/* Segments below were emptied: they hold nothing. The highest that any header tells. */
uint64_t log_tail_epoch(const struct log_files *files);
/*
 * Reads a segment into `bytes` (log_files_segment_bytes) and examines it: as little as is needed when its records are not to be verified.
 * *unreadable: units. To be freed with log_segment_free in any case.
 */
enum quire_status log_load(const struct log_files *files, uint32_t number, bool verify, uint8_t *bytes, struct log_segment *segment,
                           uint32_t *unreadable);

#endif
