#include "client/quirectl/log_segment.h"

#include "client/quirectl/format.h"
#include "proto/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_BATCH 1u
#define HEAD_BYTES (64u << 10) /* a head of any length fits */

static const uint8_t *unit_at(const struct log_segment *s, uint32_t at_units) {
    return s->bytes + (size_t)at_units * s->geometry->unit_bytes;
}

static uint32_t end_of(const struct log_segment *s, const struct quire_log_entry *entry) {
    return entry->at_units + quire_log_units(s->geometry, entry->size_bytes);
}

/* Room for n items; the old array stays when there is none. */
static bool room_for(void *array, uint32_t *capacity, uint64_t n, size_t item_bytes) {
    void **place = array;
    if (n <= *capacity) {
        return true;
    }
    uint64_t wanted = quire_max_u64(n, quire_max_u64(64, 2ull * *capacity));
    void *grown = realloc(*place, wanted * item_bytes);
    if (grown == NULL) {
        return false;
    }
    *place = grown;
    *capacity = (uint32_t)wanted;
    return true;
}

/* NULL: no memory. Good until the next. */
static struct log_damage *damage(struct log_segment *s, enum log_part part, uint32_t at_units, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static struct log_damage *damage(struct log_segment *s, enum log_part part, uint32_t at_units, const char *format, ...) {
    va_list args;
    if (!room_for(&s->damages, &s->damages_capacity, (uint64_t)s->n_damages + 1, sizeof *s->damages)) {
        return NULL;
    }
    struct log_damage *new = &s->damages[s->n_damages++];
    *new = (struct log_damage){.part = part, .at_units = at_units};
    va_start(args, format);
    vsnprintf(new->text, sizeof new->text, format, args);
    va_end(args);
    return new;
}

void log_segment_free(struct log_segment *s) {
    free(s->entries);
    free(s->bad);
    free(s->batches);
    free(s->told);
    free(s->damages);
    s->entries = s->told = NULL;
    s->bad = NULL;
    s->batches = NULL;
    s->damages = NULL;
}

/* ---- heads ---------------------------------------------------------------------------------------------------------------- */

static enum quire_status take_head(struct log_segment *s, uint32_t at_units, bool *found) {
    struct quire_log_batch batch;
    if (!room_for(&s->told, &s->told_capacity, (uint64_t)s->n_told + QUIRE_LOG_MAX_BATCH, sizeof *s->told)) {
        return QUIRE_NO_MEMORY;
    }
    size_t size = (size_t)(s->geometry->segment_units - at_units) * s->geometry->unit_bytes;
    *found = quire_log_head_decode(s->geometry, unit_at(s, at_units), size, s->epoch, at_units, &batch, s->told + s->n_told) == QUIRE_OK;
    if (*found) {
        s->batches[s->n_batches++] = (struct log_batch){at_units, at_units + batch.size_units, s->n_told, batch.n_entries};
        s->n_told += batch.n_entries;
    }
    return QUIRE_OK;
}

static bool may_be_head(const struct log_segment *s, uint32_t at_units) {
    uint32_t magic;
    memcpy(&magic, unit_at(s, at_units), sizeof magic);
    return magic == QUIRE_LOG_MAGIC_BATCH;
}

/* The next unit that may hold a head: none lies inside a record that the footer tells of. `*entry` goes along. */
static uint32_t pass_records(const struct log_segment *s, uint32_t at_units, uint32_t *entry) {
    while (s->footer && *entry < s->n_entries) {
        const struct quire_log_entry *next = &s->entries[*entry];
        if (next->kind == QUIRE_LOG_RECORD && next->at_units > at_units) {
            break;
        }
        if (next->kind == QUIRE_LOG_RECORD && end_of(s, next) > at_units) {
            at_units = end_of(s, next);
        }
        ++*entry;
    }
    return at_units;
}

/* Every head of this epoch, from one to the next, and behind those that are damaged, too. */
static enum quire_status find_heads(struct log_segment *s, uint32_t limit_units) {
    uint32_t at = FIRST_BATCH, entry = 0;
    bool found;
    s->batches = calloc(s->geometry->segment_units, sizeof *s->batches);
    if (s->batches == NULL) {
        return QUIRE_NO_MEMORY;
    }
    while (at < limit_units) {
        found = false;
        if (may_be_head(s, at)) {
            QUIRE_FORWARD(take_head(s, at, &found));
        }
        at = found ? s->batches[s->n_batches - 1].end_units : pass_records(s, at + 1, &entry);
    }
    return QUIRE_OK;
}

/* Was it a head of this epoch before it was damaged? What an earlier epoch left here is none. */
static bool remains_of_head(const struct log_segment *s, uint32_t at_units) {
    struct quire_log_batch batch, right;
    if (at_units >= s->geometry->segment_units - 1) {
        return false;
    }
    memcpy(&batch, unit_at(s, at_units), sizeof batch);
    if (batch.epoch == s->epoch && (batch.magic == QUIRE_LOG_MAGIC_BATCH || batch.at_units == at_units)) {
        return true;
    }
    right = batch; /* whole, but for one of the fields that are known */
    right.epoch = s->epoch;
    struct quire_log_entry *entries = malloc(QUIRE_LOG_MAX_BATCH * sizeof *entries);
    size_t size = quire_min_u64(HEAD_BYTES, (uint64_t)(s->geometry->segment_units - at_units) * s->geometry->unit_bytes);
    uint8_t *copy = malloc(size);
    bool remains = false;
    if (entries != NULL && copy != NULL) {
        memcpy(copy, unit_at(s, at_units), size);
        memcpy(copy, &right, sizeof right);
        remains = quire_log_head_decode(s->geometry, copy, size, s->epoch, at_units, &batch, entries) == QUIRE_OK;
    }
    free(entries);
    free(copy);
    return remains;
}

/* ---- what counts ---------------------------------------------------------------------------------------------------------- */

static bool record_whole(const struct log_segment *s, const struct quire_log_entry *entry) {
    return !s->verify || quire_log_record_verify(unit_at(s, entry->at_units), entry) == QUIRE_OK;
}

static struct log_damage *damaged_record(struct log_segment *s, const struct quire_log_entry *entry) {
    char key[FORMAT_BYTES];
    format_key(entry->key.b, sizeof entry->key.b, key);
    return damage(s, LOG_PART_RECORD, entry->at_units, "record of block %s, group %u, %u bytes, is not whole", key, entry->group,
                  entry->size_bytes);
}

static void count_entry(struct log_segment *s, const struct quire_log_entry *entry) {
    if (entry->kind == QUIRE_LOG_TOMBSTONE) {
        s->n_tombstones++;
    } else {
        s->n_records++;
        s->record_bytes += entry->size_bytes;
    }
}

/* With a footer each record stands for itself. */
static enum quire_status judge_footer(struct log_segment *s) {
    for (uint32_t i = 0; i < s->n_entries; i++) {
        const struct quire_log_entry *entry = &s->entries[i];
        if (entry->kind == QUIRE_LOG_TOMBSTONE || record_whole(s, entry)) {
            count_entry(s, entry);
            continue;
        }
        struct log_damage *found = damaged_record(s, entry);
        if (found == NULL) {
            return QUIRE_NO_MEMORY;
        }
        found->entry = i;
        found->lost = 1;
        s->bad[i] = 1;
        s->n_bad++;
    }
    return QUIRE_OK;
}

/* The footer's entry i, as a head tells it; also when a repair put a deletion in a record's place. */
static bool same_entry(const struct quire_log_entry *footer, const struct quire_log_entry *head) {
    return memcmp(footer, head, sizeof *footer) == 0 ||
           (footer->kind == QUIRE_LOG_TOMBSTONE && head->kind == QUIRE_LOG_RECORD && footer->ns == head->ns &&
            footer->sequence <= head->sequence && quire_key_equal(&footer->key, &head->key));
}

/* The footer's entries [from, to) belong to heads that should lie in these units. None: a write had failed there, and was left out. */
static enum quire_status missing_heads(struct log_segment *s, uint32_t at_units, uint32_t end_units, uint32_t from, uint32_t to) {
    if (from == to) {
        return QUIRE_OK;
    }
    struct log_damage *found =
        damage(s, LOG_PART_HEAD, at_units, "head of a batch is damaged; the footer still tells of its %u entries", to - from);
    if (found == NULL) {
        return QUIRE_NO_MEMORY;
    }
    found->from = from;
    found->to = to;
    found->end_units = end_units;
    return QUIRE_OK;
}

/* Where a batch's entries begin in the footer, looking from `from` on; `from` when it has none of them. */
static uint32_t find_in_footer(const struct log_segment *s, const struct log_batch *batch, uint32_t from) {
    for (uint32_t i = 0; i < batch->n; i++) {
        for (uint32_t at = from; at < s->n_entries; at++) {
            if (same_entry(&s->entries[at], &s->told[batch->first + i])) {
                return at;
            }
        }
    }
    return from;
}

/* Footer and heads tell the same, so that either is enough when the other is lost. */
static enum quire_status compare_heads(struct log_segment *s) {
    uint32_t at = 0, expected = FIRST_BATCH;
    for (uint32_t i = 0; i < s->n_batches; i++) {
        const struct log_batch *batch = &s->batches[i];
        if (batch->at_units != expected) {
            uint32_t begin = find_in_footer(s, batch, at);
            QUIRE_FORWARD(missing_heads(s, expected, batch->at_units, at, begin));
            at = begin;
        }
        for (uint32_t j = 0; j < batch->n && at < s->n_entries; j++) {
            at += same_entry(&s->entries[at], &s->told[batch->first + j]);
        }
        expected = batch->end_units;
    }
    return missing_heads(s, expected, s->used_units, at, s->n_entries);
}

/* Without a footer: deletions from every head; records up to the first doubt. */
static enum quire_status judge_heads(struct log_segment *s) {
    uint32_t expected = FIRST_BATCH;
    struct log_damage *broken = NULL;
    s->entries = calloc((size_t)s->n_told + 1, sizeof *s->entries);
    s->bad = calloc((size_t)s->n_told + 1, 1);
    if (s->entries == NULL || s->bad == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < s->n_batches; i++) {
        const struct log_batch *batch = &s->batches[i];
        if (batch->at_units != expected && broken == NULL) {
            broken = damage(s, LOG_PART_HEAD, expected, "head of a batch is damaged; what follows counts only where it deletes");
            if (broken == NULL) {
                return QUIRE_NO_MEMORY;
            }
        }
        for (uint32_t j = batch->first; j < batch->first + batch->n; j++) {
            const struct quire_log_entry *entry = &s->told[j];
            if (entry->kind == QUIRE_LOG_RECORD && broken == NULL && !record_whole(s, entry)) {
                broken = damaged_record(s, entry);
                if (broken == NULL) {
                    return QUIRE_NO_MEMORY;
                }
            }
            if (entry->kind == QUIRE_LOG_RECORD && broken != NULL) {
                broken->lost++;
            } else {
                s->entries[s->n_entries++] = *entry;
                count_entry(s, entry);
            }
        }
        expected = s->used_units = batch->end_units;
    }
    if (remains_of_head(s, expected) &&
        damage(s, LOG_PART_HEAD, expected, "head of the last batch is damaged: what it told of is lost") == NULL) {
        return QUIRE_NO_MEMORY;
    }
    return QUIRE_OK;
}

/* ---- both ends ------------------------------------------------------------------------------------------------------------ */

static bool is_zero(const uint8_t *bytes, size_t size) {
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

static void forget_footer(struct log_segment *s) {
    free(s->entries);
    free(s->bad);
    s->entries = NULL;
    s->bad = NULL;
    s->n_entries = 0;
    s->footer = false;
}

/* Its footer when it has one; judges the trailer. */
static enum quire_status read_footer(struct log_segment *s, const struct quire_log_trailer *trailer) {
    s->entries = calloc((size_t)trailer->n_entries + 1, sizeof *s->entries);
    s->bad = calloc((size_t)trailer->n_entries + 1, 1);
    if (s->entries == NULL || s->bad == NULL) {
        return QUIRE_NO_MEMORY;
    }
    if (quire_log_footer_decode(s->geometry, trailer, unit_at(s, trailer->footer_units), s->entries) == QUIRE_OK) {
        s->footer = true;
        s->n_entries = trailer->n_entries;
        s->used_units = trailer->used_units;
        return QUIRE_OK;
    }
    forget_footer(s);
    return damage(s, LOG_PART_FOOTER, trailer->footer_units, "footer is damaged; the segment is read batch by batch") != NULL
               ? QUIRE_OK
               : QUIRE_NO_MEMORY;
}

static enum quire_status read_ends(struct log_segment *s) {
    struct quire_log_segment_header header;
    struct quire_log_trailer trailer;
    const uint32_t last = s->geometry->segment_units - 1;
    s->header = quire_log_segment_header_decode(s->geometry, s->bytes, s->set_id, s->number, &header) == QUIRE_OK;
    bool ends = quire_log_trailer_decode(s->geometry, unit_at(s, last), s->set_id, s->number, &trailer) == QUIRE_OK;
    if (s->header) {
        s->epoch = header.epoch;
        s->tail_epoch = header.tail_epoch;
        if (!ends && !is_zero(unit_at(s, last), sizeof trailer) &&
            damage(s, LOG_PART_FOOTER, last, "trailer is damaged; the segment is read batch by batch") == NULL) {
            return QUIRE_NO_MEMORY;
        }
        if (ends && trailer.epoch > header.epoch &&
            damage(s, LOG_PART_HEADER, 0, "header is of epoch %llu, the trailer of a later one: a write was lost",
                   (unsigned long long)header.epoch) == NULL) {
            return QUIRE_NO_MEMORY;
        }
        ends = ends && trailer.epoch == header.epoch;
    } else if (ends) {
        s->epoch = trailer.epoch;
    }
    s->state = s->header ? LOG_OPEN : ends ? LOG_HEADLESS : LOG_CLEAN;
    return ends ? read_footer(s, &trailer) : QUIRE_OK;
}

/* No header: the first head tells the epoch, too, and where it tells a later one than the trailer, that one is of a life before, which had ended. */
static void find_epoch(struct log_segment *s) {
    uint64_t epoch = quire_log_first_epoch(s->geometry, unit_at(s, FIRST_BATCH));
    if (epoch > s->epoch) {
        forget_footer(s);
        s->state = LOG_HEADLESS;
        s->tail_epoch = s->epoch > 0 ? s->epoch + 1 : 0;
        s->epoch = epoch;
    }
}

/* Records of a segment without a header do not count. */
static enum quire_status lose_records(struct log_segment *s) {
    uint32_t n = 0;
    struct log_damage *found = damage(s, LOG_PART_HEADER, 0, "header is damaged; what the segment holds counts only where it deletes");
    if (found == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < s->n_entries; i++) {
        if (s->entries[i].kind == QUIRE_LOG_TOMBSTONE) {
            s->entries[n++] = s->entries[i];
        } else {
            found->lost++;
        }
    }
    s->n_entries = n;
    s->n_records = 0;
    s->record_bytes = 0;
    return QUIRE_OK;
}

static enum quire_status examine_headless(struct log_segment *s) {
    find_epoch(s);
    if (s->state == LOG_CLEAN) {
        bool never = is_zero(s->bytes, sizeof(struct quire_log_segment_header));
        return never || damage(s, LOG_PART_HEADER, 0, "header is damaged; the segment counts as empty") != NULL ? QUIRE_OK
                                                                                                                : QUIRE_NO_MEMORY;
    }
    s->verify = false; /* records do not count, whole or not */
    if (!s->footer) {
        s->used_units = FIRST_BATCH;
        QUIRE_FORWARD(find_heads(s, s->geometry->segment_units - 1));
        QUIRE_FORWARD(judge_heads(s));
    } else {
        QUIRE_FORWARD(judge_footer(s));
    }
    return lose_records(s);
}

enum quire_status log_segment_examine(struct log_segment *s) {
    s->state = LOG_CLEAN;
    QUIRE_FORWARD(read_ends(s));
    if (!s->header) {
        return examine_headless(s);
    }
    if (s->footer) {
        s->state = LOG_SEALED;
        QUIRE_FORWARD(judge_footer(s));
        if (s->verify) {
            QUIRE_FORWARD(find_heads(s, s->used_units));
            QUIRE_FORWARD(compare_heads(s));
        }
        return QUIRE_OK;
    }
    s->used_units = FIRST_BATCH;
    QUIRE_FORWARD(find_heads(s, s->geometry->segment_units - 1));
    return judge_heads(s);
}
