/*
 * Any bytes as a trailer and, behind it, the footer that it announces. The first byte says how: bit 7, that sums are to be made right, as a
 * forger would; bit 6, that the footer begins where it must; its low bits the units.
 */
#include "codec/checksum.h"
#include "codec/log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT 5u

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* The footer's units as they would be read: what the input lacks is zero. NULL: it announces more than a segment holds. */
static uint8_t *read_footer(const struct quire_log_geometry *g, uint32_t n_entries, const uint8_t *rest, size_t rest_bytes) {
    uint32_t units = quire_log_footer_units(g, n_entries);
    if (units >= g->segment_units) {
        return NULL;
    }
    size_t footer_bytes = (size_t)units * g->unit_bytes;
    uint8_t *footer = calloc(1, footer_bytes > 0 ? footer_bytes : 1);
    require(footer != NULL);
    if (rest_bytes > 0) {
        memcpy(footer, rest, rest_bytes < footer_bytes ? rest_bytes : footer_bytes);
    }
    return footer;
}

static void correct_trailer(const struct quire_log_geometry *g, struct quire_log_trailer *trailer, const uint8_t *footer, uint8_t how) {
    if ((how & 0x40) && footer != NULL) {
        trailer->footer_units = g->segment_units - 1 - quire_log_footer_units(g, trailer->n_entries);
    }
    if (how & 0x80) {
        if (footer != NULL) {
            trailer->entries_check = quire_checksum(footer, trailer->n_entries * sizeof(struct quire_log_entry));
        }
        trailer->check = quire_checksum(trailer, offsetof(struct quire_log_trailer, check));
    }
}

/* Every record lies in what was written, none over another. */
static void look_at(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer, const struct quire_log_entry *entries) {
    uint64_t free_from = 2;
    require(trailer->used_units <= trailer->footer_units && trailer->footer_units < g->segment_units);
    for (uint32_t i = 0; i < trailer->n_entries; i++) {
        require(quire_log_entry_valid(g, &entries[i]));
        if (entries[i].kind == QUIRE_LOG_RECORD) {
            require(entries[i].at_units >= free_from && entries[i].size_bytes > 0);
            free_from = (uint64_t)entries[i].at_units + (entries[i].size_bytes + (uint64_t)g->unit_bytes - 1) / g->unit_bytes;
            require(free_from <= trailer->used_units);
        }
    }
}

static void check_again(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer, const struct quire_log_entry *entries,
                        const uint8_t *footer, const uint8_t *bytes) {
    size_t footer_bytes = (size_t)quire_log_footer_units(g, trailer->n_entries) * g->unit_bytes;
    uint8_t *again = malloc(footer_bytes + g->unit_bytes);
    require(again != NULL);
    quire_log_footer_encode(g, trailer, entries, again);
    require(memcmp(again, footer, trailer->n_entries * sizeof(*entries)) == 0);
    require(memcmp(again + footer_bytes, bytes, sizeof(*trailer)) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct quire_log_trailer stored, trailer;
    if (size < 1 + sizeof(stored)) {
        return 0;
    }
    const struct quire_log_geometry g = {.unit_bytes = 512u << (data[0] & 3), .segment_units = 64};
    memcpy(&stored, data + 1, sizeof(stored));
    uint8_t *footer = read_footer(&g, stored.n_entries, data + 1 + sizeof(stored), size - 1 - sizeof(stored));
    correct_trailer(&g, &stored, footer, data[0]);
    uint8_t *bytes = malloc(sizeof(stored));
    require(bytes != NULL);
    memcpy(bytes, &stored, sizeof(stored));
    if (quire_log_trailer_decode(&g, bytes, stored.set_id, SEGMENT, &trailer) == QUIRE_OK) {
        require(footer != NULL && trailer.segment == SEGMENT);
        struct quire_log_entry *entries = malloc(trailer.n_entries * sizeof(*entries) + 1);
        require(entries != NULL);
        if (quire_log_footer_decode(&g, &trailer, footer, entries) == QUIRE_OK) {
            look_at(&g, &trailer, entries);
            check_again(&g, &trailer, entries, footer, bytes);
        }
        free(entries);
    }
    free(bytes);
    free(footer);
    return 0;
}
