#include "client/quirectl/log_check.h"

#include "client/quirectl/progress.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BEGIN_BYTES (64u << 10) /* header and first head */

struct bad_record {
    struct quire_log_entry entry;
    uint64_t older; /* the highest lower sequence of the same record elsewhere; 0: none */
};

struct checking {
    struct log_check *check;
    struct progress progress;
    uint64_t tail_epoch;
    uint8_t *bytes; /* of a segment */
    uint32_t *to_mend;
    uint32_t n_to_mend;
    struct bad_record *bad;
    uint32_t n_bad, bad_capacity;
    bool doubt; /* not everything that may hold an older record was read */
};

static const char *const part_names[] = {
    [LOG_PART_HEADER] = "header", [LOG_PART_HEAD] = "head", [LOG_PART_RECORD] = "record", [LOG_PART_FOOTER] = "footer"};

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static void load_ends(const struct log_files *files, uint32_t number, uint8_t *bytes, uint32_t *unreadable) {
    const uint32_t unit = files->geometry.unit_bytes, last = files->geometry.segment_units - 1;
    const uint32_t begin = (uint32_t)quire_min_u64(BEGIN_BYTES / unit, last);
    struct quire_log_trailer trailer;
    uint32_t more[3] = {0};
    log_files_read(files, number, 0, begin, bytes, &more[0]);
    log_files_read(files, number, last, 1, bytes + (size_t)last * unit, &more[1]);
    if (quire_log_trailer_decode(&files->geometry, bytes + (size_t)last * unit, files->set_id, number, &trailer) == QUIRE_OK) {
        log_files_read(files, number, trailer.footer_units, last - trailer.footer_units, bytes + (size_t)trailer.footer_units * unit,
                       &more[2]);
    }
    *unreadable = more[0] + more[1] + more[2];
}

enum quire_status log_load(const struct log_files *files, uint32_t number, bool verify, uint8_t *bytes, struct log_segment *segment,
                           uint32_t *unreadable) {
    const struct log_segment wanted = {
        .geometry = &files->geometry, .set_id = files->set_id, .bytes = bytes, .number = number, .verify = verify};
    *segment = wanted;
    if (!verify) {
        load_ends(files, number, bytes, unreadable);
        enum quire_status status = log_segment_examine(segment);
        if (status != QUIRE_OK || segment->state == LOG_SEALED || (segment->state == LOG_CLEAN && segment->n_damages == 0)) {
            return status;
        }
        log_segment_free(segment);
        *segment = wanted;
    }
    log_files_read(files, number, 0, files->geometry.segment_units, bytes, unreadable);
    return log_segment_examine(segment);
}

/* What the segment says of it: its header, or, without one, a trailer of a former life behind a later first head. */
static uint64_t tail_epoch_of(const struct log_files *files, uint32_t number) {
    const struct quire_log_geometry *g = &files->geometry;
    uint8_t unit[QUIRE_LOG_UNIT_MAX];
    struct quire_log_segment_header header;
    struct quire_log_trailer trailer;
    uint32_t unreadable;
    log_files_read(files, number, 0, 1, unit, &unreadable);
    if (quire_log_segment_header_decode(g, unit, files->set_id, number, &header) == QUIRE_OK) {
        return header.tail_epoch;
    }
    log_files_read(files, number, 1, 1, unit, &unreadable);
    uint64_t epoch = quire_log_first_epoch(g, unit);
    log_files_read(files, number, g->segment_units - 1, 1, unit, &unreadable);
    bool ends = epoch > 0 && quire_log_trailer_decode(g, unit, files->set_id, number, &trailer) == QUIRE_OK;
    return ends && trailer.epoch < epoch ? trailer.epoch + 1 : 0;
}

uint64_t log_tail_epoch(const struct log_files *files) {
    uint64_t tail_epoch = 0;
    for (uint32_t i = 0; i < files->n; i++) {
        const struct quire_log_superblock *superblock = &files->file[i].superblock;
        for (uint32_t j = 0; files->file[i].used && j < superblock->n_segments; j++) {
            tail_epoch = quire_max_u64(tail_epoch, tail_epoch_of(files, superblock->first_number + j));
        }
    }
    return tail_epoch;
}

/* ---- telling -------------------------------------------------------------------------------------------------------------- */

static void tell(struct checking *c, const struct log_finding *finding) {
    struct log_totals *totals = &c->check->totals;
    totals->damages++;
    totals->lasting += finding->lasting;
    totals->lost_records += finding->lost;
    totals->repaired += finding->outcome == LOG_REPAIRED;
    totals->left += finding->outcome == LOG_LEFT;
    progress_end(&c->progress);
    c->check->found(c->check->ctx, finding);
}

static void tell_segment(struct checking *c, const struct log_segment *segment, const struct log_damage *damage, enum log_outcome outcome) {
    uint64_t offset;
    tell(c, &(struct log_finding){.path = log_files_find(c->check->files, segment->number, &offset)->path,
                                  .segment = segment->number,
                                  .at_units = damage->at_units,
                                  .part = part_names[damage->part],
                                  .text = damage->text,
                                  .lost = damage->lost,
                                  .outcome = outcome});
}

static void tell_file(struct checking *c, const char *path, const char *part, const char *text, enum log_outcome outcome) {
    tell(c, &(struct log_finding){.path = path, .segment = LOG_NO_SEGMENT, .part = part, .text = text, .outcome = outcome});
}

static void tell_lasting(struct checking *c, struct log_finding finding) {
    finding.lasting = true;
    finding.outcome = c->check->repair ? LOG_LEFT : LOG_FOUND;
    tell(c, &finding);
}

static void count(struct log_totals *totals, const struct log_segment *segment) {
    totals->segments++;
    totals->clean += segment->state == LOG_CLEAN;
    totals->open += segment->state == LOG_OPEN;
    totals->sealed += segment->state == LOG_SEALED;
    totals->headless += segment->state == LOG_HEADLESS;
    totals->records += segment->n_records;
    totals->record_bytes += segment->record_bytes;
    totals->deletions += segment->n_tombstones;
}

/* ---- superblocks, metadata, files ----------------------------------------------------------------------------------------- */

static bool mend_superblock(struct log_file *file, uint32_t copy) {
    if (!log_file_write_superblock(file, copy, &file->superblock)) {
        return false;
    }
    file->copies[copy] = file->superblock;
    file->copy_status[copy] = QUIRE_OK;
    return true;
}

static void check_file(struct checking *c, struct log_file *file) {
    char text[300];
    for (uint32_t copy = 0; copy < QUIRE_LOG_SUPERBLOCK_COPIES; copy++) {
        if (file->copy_status[copy] != QUIRE_OK) {
            bool mended = c->check->repair && mend_superblock(file, copy);
            snprintf(text, sizeof text, "copy %u of the superblock is damaged, the other one counts", copy);
            tell_file(c, file->path, "superblock", text, !c->check->repair ? LOG_FOUND : mended ? LOG_REPAIRED : LOG_LEFT);
        }
    }
    if (file->cut_short) { /* its length is what tells a start that deletions are missing: it stays as it is */
        snprintf(
            text, sizeof text,
            "is cut short: %u of its %u segments are not there in full, and deletions that were told there would be forgotten: nothing "
            "in it counts, quired makes it anew at its next start, without what it held",
            file->superblock.n_segments - file->whole_segments, file->superblock.n_segments);
        tell_lasting(c, (struct log_finding){.path = file->path, .segment = LOG_NO_SEGMENT, .part = "file", .text = text});
    }
}

static void check_meta(struct checking *c) {
    const struct log_files *files = c->check->files;
    bool needed = files->file[0].superblock.file_index == 0 && files->file[0].superblock.generation > 0;
    char text[200];
    if (files->meta_old || (files->meta_status != QUIRE_OK && needed)) {
        snprintf(text, sizeof text, "%s: put the right one back, without it quired refuses the set", log_files_meta_text(files));
        tell_lasting(c, (struct log_finding){.path = files->meta_path, .segment = LOG_NO_SEGMENT, .part = "metadata", .text = text});
    }
}

/* ---- the first look ------------------------------------------------------------------------------------------------------- */

static enum quire_status remember_bad(struct checking *c, const struct log_segment *segment) {
    for (uint32_t i = 0; segment->n_bad > 0 && i < segment->n_entries; i++) {
        if (!segment->bad[i]) {
            continue;
        }
        if (c->n_bad == c->bad_capacity) {
            uint32_t capacity = c->bad_capacity > 0 ? 2 * c->bad_capacity : 64;
            struct bad_record *grown = realloc(c->bad, capacity * sizeof *grown);
            if (grown == NULL) {
                return QUIRE_NO_MEMORY;
            }
            c->bad = grown;
            c->bad_capacity = capacity;
        }
        c->bad[c->n_bad++] = (struct bad_record){.entry = segment->entries[i]};
    }
    return QUIRE_OK;
}

/* What a drive does not give now, it may give later: nothing is written over it. */
static enum quire_status look_at_unreadable(struct checking *c, uint32_t number, uint32_t unreadable) {
    char text[200];
    uint64_t offset;
    snprintf(text, sizeof text, "%u of its units cannot be read: see the kernel's messages about this drive", unreadable);
    c->check->totals.unreadable_units += unreadable;
    c->doubt = true;
    const struct log_file *file = log_files_find(c->check->files, number, &offset);
    tell_lasting(c, (struct log_finding){.path = file->path, .segment = number, .part = "drive", .text = text});
    return QUIRE_OK;
}

static enum quire_status look_at(struct checking *c, uint32_t number) {
    struct log_segment segment;
    uint32_t unreadable;
    enum quire_status status = log_load(c->check->files, number, true, c->bytes, &segment, &unreadable);
    struct log_totals *totals = &c->check->totals;
    log_files_forget(c->check->files, number);
    totals->read_bytes += log_files_segment_bytes(c->check->files);
    if (status == QUIRE_OK && unreadable > 0) {
        log_segment_free(&segment);
        totals->segments++;
        return look_at_unreadable(c, number, unreadable);
    }
    if (status == QUIRE_OK && segment.epoch > 0 && segment.epoch < c->tail_epoch && segment.header) {
        totals->segments++; /* emptied: whatever lies there is dead, whole or not */
        totals->emptied++;
    } else if (status == QUIRE_OK) {
        count(totals, &segment);
        for (uint32_t i = 0; !c->check->repair && i < segment.n_damages; i++) {
            tell_segment(c, &segment, &segment.damages[i], LOG_FOUND);
        }
        if (segment.n_damages > 0) {
            c->to_mend[c->n_to_mend++] = number;
        }
        status = remember_bad(c, &segment);
    }
    log_segment_free(&segment);
    return status;
}

typedef enum quire_status visit_segment(struct checking *c, uint32_t number);

static enum quire_status visit_all(struct checking *c, const char *what, visit_segment *visit) {
    struct log_files *files = c->check->files;
    uint32_t done = 0, all = 0;
    for (uint32_t i = 0; i < files->n; i++) {
        all += files->file[i].superblock.n_segments;
    }
    for (uint32_t i = 0; i < files->n; i++) {
        const struct quire_log_superblock *superblock = &files->file[i].superblock;
        for (uint32_t j = 0; files->file[i].used && j < superblock->n_segments; j++) {
            QUIRE_FORWARD(visit(c, superblock->first_number + j));
            if (done++, progress_due(&c->progress)) {
                progress_tell(&c->progress, "%s %u of %u segments, %llu damages", what, done, all,
                              (unsigned long long)c->check->totals.damages);
            }
        }
    }
    return QUIRE_OK;
}

/* ---- older records -------------------------------------------------------------------------------------------------------- */

static int compare_record(const struct quire_log_entry *a, const struct quire_log_entry *b) {
    int order = memcmp(a->key.b, b->key.b, QUIRE_KEY_BYTES);
    order = order != 0 ? order : (a->ns > b->ns) - (a->ns < b->ns);
    return order != 0 ? order : (int)a->group - (int)b->group;
}

static int by_record(const void *a, const void *b) {
    return compare_record(&((const struct bad_record *)a)->entry, &((const struct bad_record *)b)->entry);
}

/* The first of those that are bad of this record; several may be. NULL: none. */
static struct bad_record *find_bad(const struct checking *c, const struct quire_log_entry *entry) {
    uint32_t from = 0, to = c->n_bad;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (compare_record(&c->bad[middle].entry, entry) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from < c->n_bad && compare_record(&c->bad[from].entry, entry) == 0 ? &c->bad[from] : NULL;
}

static enum quire_status look_for_older(struct checking *c, uint32_t number) {
    struct log_segment segment;
    uint32_t unreadable;
    enum quire_status status = log_load(c->check->files, number, false, c->bytes, &segment, &unreadable);
    c->doubt = c->doubt || unreadable > 0;
    bool emptied = segment.epoch < c->tail_epoch;
    for (uint32_t i = 0; status == QUIRE_OK && !emptied && i < segment.n_entries; i++) {
        const struct quire_log_entry *entry = &segment.entries[i];
        struct bad_record *bad = entry->kind == QUIRE_LOG_RECORD ? find_bad(c, entry) : NULL;
        for (; bad != NULL && bad < c->bad + c->n_bad && compare_record(&bad->entry, entry) == 0; bad++) {
            if (entry->sequence < bad->entry.sequence) {
                bad->older = quire_max_u64(bad->older, entry->sequence);
            }
        }
    }
    log_segment_free(&segment);
    return status;
}

/* In doubt there is one. */
static uint64_t older_than(void *ctx, const struct quire_log_entry *entry) {
    const struct checking *c = ctx;
    if (c->doubt || !c->check->files->complete) {
        return entry->sequence > 0 ? entry->sequence - 1 : 0;
    }
    for (const struct bad_record *bad = find_bad(c, entry); bad != NULL && bad < c->bad + c->n_bad; bad++) {
        if (compare_record(&bad->entry, entry) == 0 && bad->entry.sequence == entry->sequence) {
            return bad->older;
        }
    }
    return 0;
}

/* ---- mending -------------------------------------------------------------------------------------------------------------- */

/*
 * A snapshot of the index that was written when the set was closed no longer fits what is repaired: the superblocks stop speaking of it. They keep
 * their generation: by a higher one a copy of a file from long ago, repaired by itself, would pass for the file that the set goes on with. That this is a
 * stop's generation they go on saying: the metadata beside it is older by one. The copy that counts is written last, while the other one is whole.
 */
static bool forget_snapshot(struct checking *c) {
    struct log_files *files = c->check->files;
    for (uint32_t i = 0; i < files->n; i++) {
        struct log_file *file = &files->file[i];
        if (!file->used || (file->superblock.flags & QUIRE_LOG_CLEAN) == 0) {
            continue;
        }
        file->superblock.snapshot = 0;
        if (!mend_superblock(file, 1 - file->copy) || !mend_superblock(file, file->copy)) {
            return false;
        }
    }
    return true;
}

static bool is_left(const struct log_segment *now, const struct log_damage *was) {
    for (uint32_t i = 0; i < now->n_damages; i++) {
        if (now->damages[i].part == was->part && now->damages[i].at_units == was->at_units) {
            return true;
        }
    }
    return false;
}

static enum quire_status write_patches(struct checking *c, uint32_t number, const struct log_patches *patches) {
    for (uint32_t i = 0; i < patches->n; i++) {
        const struct log_patch *patch = &patches->patch[i];
        if (!log_files_write(c->check->files, number, patch->at_units, patch->units, patch->bytes)) {
            return QUIRE_SYSTEM;
        }
    }
    return QUIRE_OK;
}

/* The segment is read once more: what the first look found may not be given any more, and deletions with it. Then nothing is written. */
static enum quire_status mend(struct checking *c, uint32_t number) {
    struct log_segment was, now = {0};
    struct log_patches patches = {0};
    uint32_t unreadable;
    enum quire_status status = log_load(c->check->files, number, true, c->bytes, &was, &unreadable);
    if (status == QUIRE_OK && unreadable > 0) {
        log_segment_free(&was);
        return look_at_unreadable(c, number, unreadable);
    }
    if (status == QUIRE_OK) {
        status = log_segment_mend(&was, older_than, c, &patches);
    }
    if (status == QUIRE_OK) {
        status = write_patches(c, number, &patches);
    }
    log_patches_free(&patches);
    if (status == QUIRE_OK) {
        status = log_load(c->check->files, number, true, c->bytes, &now, &unreadable);
    }
    for (uint32_t i = 0; status == QUIRE_OK && i < was.n_damages; i++) {
        tell_segment(c, &was, &was.damages[i], is_left(&now, &was.damages[i]) ? LOG_LEFT : LOG_REPAIRED);
    }
    log_segment_free(&was);
    log_segment_free(&now);
    return status;
}

static enum quire_status mend_all(struct checking *c) {
    if (c->n_to_mend > 0 && !forget_snapshot(c)) {
        return QUIRE_SYSTEM;
    }
    if (c->n_bad > 0) {
        qsort(c->bad, c->n_bad, sizeof *c->bad, by_record);
        QUIRE_FORWARD(visit_all(c, "compared", look_for_older));
    }
    for (uint32_t i = 0; i < c->n_to_mend; i++) {
        QUIRE_FORWARD(mend(c, c->to_mend[i]));
        if (progress_due(&c->progress)) {
            progress_tell(&c->progress, "repaired %u of %u segments", i + 1, c->n_to_mend);
        }
    }
    return QUIRE_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------ */

static enum quire_status run(struct checking *c) {
    struct log_files *files = c->check->files;
    uint32_t n_segments = 0;
    for (uint32_t i = 0; i < files->n; i++) {
        n_segments += files->file[i].superblock.n_segments;
        c->check->totals.skipped += files->file[i].used ? 0 : files->file[i].superblock.n_segments;
        check_file(c, &files->file[i]);
    }
    check_meta(c);
    c->bytes = malloc(log_files_segment_bytes(files));
    c->to_mend = calloc(n_segments, sizeof *c->to_mend);
    if (c->bytes == NULL || c->to_mend == NULL) {
        return QUIRE_NO_MEMORY;
    }
    c->tail_epoch = log_tail_epoch(files);
    QUIRE_FORWARD(visit_all(c, "verified", look_at));
    return c->check->repair ? mend_all(c) : QUIRE_OK;
}

enum cli_exit log_check_run(struct log_check *check) {
    struct checking c = {.check = check};
    progress_begin(&c.progress, check->cli->json ? NULL : check->cli->err);
    errno = 0;
    enum quire_status status = run(&c);
    int error = errno;
    progress_end(&c.progress);
    free(c.bytes);
    free(c.to_mend);
    free(c.bad);
    if (status == QUIRE_OK) {
        return CLI_OK;
    }
    return cli_fail(check->cli, status, "not done to the end: %s", status == QUIRE_SYSTEM ? strerror(error) : quire_status_text(status));
}
