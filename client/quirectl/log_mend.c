/* What is written into a damaged segment so that a reader passes over the damage: codec/LOG.md, "Repair". */
#include "client/quirectl/log_segment.h"
#include "proto/base/base.h"

#include <stdlib.h>

#define PATCHES_MAX 4096u /* of one segment */

void log_patches_free(struct log_patches *patches) {
    for (uint32_t i = 0; i < patches->n; i++) {
        free(patches->patch[i].bytes);
    }
    free(patches->patch);
    *patches = (struct log_patches){0};
}

/* Zeroed bytes for so many units; NULL: no memory, or too many patches. */
static uint8_t *add_patch(const struct log_segment *s, struct log_patches *patches, uint32_t at_units, uint32_t units) {
    if (patches->patch == NULL) {
        patches->patch = calloc(PATCHES_MAX, sizeof *patches->patch);
    }
    if (patches->patch == NULL || patches->n == PATCHES_MAX) {
        return NULL;
    }
    uint8_t *bytes = calloc(units, s->geometry->unit_bytes);
    if (bytes != NULL) {
        patches->patch[patches->n++] = (struct log_patch){at_units, units, bytes};
    }
    return bytes;
}

static bool has_damage(const struct log_segment *s, enum log_part part) {
    for (uint32_t i = 0; i < s->n_damages; i++) {
        if (s->damages[i].part == part) {
            return true;
        }
    }
    return false;
}

/* ---- heads ---------------------------------------------------------------------------------------------------------------- */

/* One head for the footer's entries [from, to); false: they do not fit where it must lie. */
static bool write_head(const struct log_segment *s, struct log_patches *patches, uint32_t at_units, uint32_t end_units, uint32_t from,
                       uint32_t to) {
    const struct quire_log_batch batch = {
        .n_entries = (uint16_t)(to - from), .epoch = s->epoch, .at_units = at_units, .size_units = end_units - at_units};
    uint32_t units = quire_log_head_units(s->geometry, to - from), first = end_units;
    for (uint32_t i = to; i > from; i--) {
        first = s->entries[i - 1].kind == QUIRE_LOG_RECORD ? s->entries[i - 1].at_units : first;
    }
    if (to == from || to - from > QUIRE_LOG_MAX_BATCH || at_units + units > first) {
        return false;
    }
    uint8_t *bytes = add_patch(s, patches, at_units, units);
    if (bytes != NULL) {
        quire_log_head_encode(s->geometry, &batch, s->entries + from, bytes);
    }
    return bytes != NULL;
}

/* Several heads in a row may be lost: wherever records do not follow one another, there was one. */
static bool mend_heads(const struct log_segment *s, const struct log_damage *damage, struct log_patches *patches) {
    uint32_t from = damage->from, at = damage->at_units, end = 0;
    for (uint32_t i = damage->from; i < damage->to; i++) {
        const struct quire_log_entry *entry = &s->entries[i];
        if (entry->kind != QUIRE_LOG_RECORD) {
            continue;
        }
        if (end != 0 && entry->at_units > end) {
            if (!write_head(s, patches, at, end, from, i)) {
                return false;
            }
            at = end;
            from = i;
        }
        end = entry->at_units + quire_log_units(s->geometry, entry->size_bytes);
    }
    return write_head(s, patches, at, damage->end_units, from, damage->to);
}

/* Those that cannot be written again stay as they are: the footer tells what they told. */
static void mend_all_heads(const struct log_segment *s, struct log_patches *patches) {
    for (uint32_t i = 0; i < s->n_damages; i++) {
        uint32_t before = patches->n;
        if (s->damages[i].part == LOG_PART_HEAD && s->damages[i].to > s->damages[i].from && !mend_heads(s, &s->damages[i], patches)) {
            while (patches->n > before) {
                free(patches->patch[--patches->n].bytes);
            }
        }
    }
}

/* ---- footer --------------------------------------------------------------------------------------------------------------- */

/* What stays: all that counts. A damaged record goes, and a deletion takes its place when an older one would come back otherwise. */
static uint32_t keep_entries(const struct log_segment *s, log_older *older, void *ctx, struct quire_log_entry *kept) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_entries; i++) {
        kept[n] = s->entries[i];
        if (s->bad[i]) {
            uint64_t sequence = older(ctx, &s->entries[i]);
            if (sequence == 0) {
                continue;
            }
            kept[n] = (struct quire_log_entry){.key = s->entries[i].key,
                                               .parent = s->entries[i].parent,
                                               .ns = s->entries[i].ns,
                                               .sequence = sequence + 1,
                                               .group = s->entries[i].group,
                                               .rung = s->entries[i].rung,
                                               .kind = QUIRE_LOG_TOMBSTONE,
                                               .flags = s->entries[i].flags};
        }
        n++;
    }
    return n;
}

static enum quire_status mend_footer(const struct log_segment *s, log_older *older, void *ctx, struct log_patches *patches) {
    struct quire_log_trailer trailer = {.epoch = s->epoch, .segment = s->number, .used_units = s->used_units};
    struct quire_log_entry *kept = calloc((size_t)s->n_entries + 1, sizeof *kept);
    if (kept == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memcpy(trailer.set_id, s->set_id, sizeof trailer.set_id);
    trailer.n_entries = keep_entries(s, older, ctx, kept);
    uint32_t units = quire_log_footer_units(s->geometry, trailer.n_entries), last = s->geometry->segment_units - 1;
    if (units > last || trailer.used_units > last - units) {
        free(kept);
        log_patches_free(patches); /* no room behind what is there: all stays as it is */
        return QUIRE_OK;
    }
    uint8_t *bytes = add_patch(s, patches, last - units, units + 1);
    if (bytes != NULL) {
        quire_log_footer_encode(s->geometry, &trailer, kept, bytes);
    }
    free(kept);
    return bytes != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

/* ---- header --------------------------------------------------------------------------------------------------------------- */

/* Of the epoch that is known, claiming about others what is certain; zeros when none is: nothing of the segment counts then, as before. */
static enum quire_status mend_header(const struct log_segment *s, struct log_patches *patches) {
    struct quire_log_segment_header header = {.epoch = s->epoch, .segment = s->number, .tail_epoch = s->tail_epoch};
    uint8_t *bytes = add_patch(s, patches, 0, 1);
    if (bytes == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memcpy(header.set_id, s->set_id, sizeof header.set_id);
    if (s->epoch > 0) {
        quire_log_segment_header_encode(s->geometry, &header, bytes);
    }
    return QUIRE_OK;
}

/*
 * The segment's deletions in batches of their own at its beginning, and nothing behind: when it has a header again, no head may tell of its records, which
 * may long have been deleted. *used_units: where they end.
 */
static enum quire_status only_deletions(const struct log_segment *s, struct log_patches *patches, uint32_t *used_units) {
    uint32_t at = 1;
    for (uint32_t i = 0; i < s->n_entries; i += QUIRE_LOG_MAX_BATCH) {
        uint32_t n = (uint32_t)quire_min_u64(QUIRE_LOG_MAX_BATCH, s->n_entries - i), units = quire_log_head_units(s->geometry, n);
        if (!write_head(s, patches, at, at + units, i, i + n)) {
            return QUIRE_NO_MEMORY;
        }
        at += units;
    }
    *used_units = at;
    return add_patch(s, patches, at, 1) != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

static enum quire_status mend_headless(const struct log_segment *s, log_older *older, void *ctx, struct log_patches *patches) {
    struct log_segment deletions = *s;
    const uint64_t units = quire_log_footer_units(s->geometry, s->n_entries) + 3ull * (s->n_entries / QUIRE_LOG_MAX_BATCH + 1);
    if (units * 2 + 2 >= s->geometry->segment_units) {
        return QUIRE_OK; /* no room: hostile sizes only, since heads and footer were there before */
    }
    QUIRE_FORWARD(only_deletions(s, patches, &deletions.used_units));
    QUIRE_FORWARD(mend_footer(&deletions, older, ctx, patches));
    return mend_header(s, patches);
}

enum quire_status log_segment_mend(const struct log_segment *s, log_older *older, void *ctx, struct log_patches *patches) {
    *patches = (struct log_patches){0};
    if (s->n_damages == 0) {
        return QUIRE_OK;
    }
    switch (s->state) {
    case LOG_CLEAN:
        return mend_header(s, patches);
    case LOG_HEADLESS:
        return mend_headless(s, older, ctx, patches);
    case LOG_SEALED:
        mend_all_heads(s, patches);
        return has_damage(s, LOG_PART_RECORD) ? mend_footer(s, older, ctx, patches) : QUIRE_OK;
    case LOG_OPEN:
        return has_damage(s, LOG_PART_HEADER) ? QUIRE_OK : mend_footer(s, older, ctx, patches);
    }
    return QUIRE_OK;
}
