#include "codec/log_internal.h"

static bool superblock_valid(const struct quire_log_superblock *superblock) {
    const struct quire_log_geometry geometry = {.unit_bytes = superblock->unit_bytes, .segment_units = superblock->segment_units};
    return superblock->n_files <= QUIRE_LOG_MAX_FILES && superblock->file_index < superblock->n_files &&
           superblock->generation < QUIRE_LOG_GENERATIONS && quire_log_geometry_valid(&geometry) && superblock->n_segments > 0 &&
           quire_in_range(superblock->first_number, superblock->n_segments, QUIRE_LOG_MAX_SEGMENTS) &&
           (superblock->flags & ~(uint32_t)QUIRE_LOG_CLEAN) == 0 && quire_log_is_zero(superblock->reserved, sizeof(superblock->reserved));
}

void quire_log_superblock_encode(const struct quire_log_superblock *superblock, uint8_t out[QUIRE_LOG_SUPERBLOCK_BYTES]) {
    struct quire_log_superblock stored = *superblock;
    stored.magic = QUIRE_LOG_MAGIC_SUPERBLOCK;
    stored.version = QUIRE_LOG_VERSION;
    memset(stored.reserved, 0, sizeof(stored.reserved));
    stored.check = QUIRE_LOG_SUM(&stored);
    memcpy(out, &stored, sizeof(stored));
    memset(out + sizeof(stored), 0, QUIRE_LOG_SUPERBLOCK_BYTES - sizeof(stored));
}

uint64_t quire_log_superblock_meta(const struct quire_log_superblock *superblock) {
    bool clean = (superblock->flags & QUIRE_LOG_CLEAN) != 0; /* a stop has a generation of its own, and leaves the metadata as it is */
    return superblock->generation - (clean && superblock->generation > 0);
}

/* Whether the sum is right with this version in its place: a bit of that field turned, and it is none of another version. */
static bool is_of_this_version(const struct quire_log_superblock *superblock) {
    struct quire_log_superblock meant = *superblock;
    meant.version = QUIRE_LOG_VERSION;
    return meant.check == QUIRE_LOG_SUM(&meant);
}

enum quire_status quire_log_superblock_decode(const uint8_t in[QUIRE_LOG_SUPERBLOCK_BYTES], struct quire_log_superblock *superblock) {
    memcpy(superblock, in, sizeof(*superblock));
    if (superblock->magic != QUIRE_LOG_MAGIC_SUPERBLOCK) {
        return QUIRE_CORRUPT;
    }
    if (superblock->version != QUIRE_LOG_VERSION) { /* nothing more is known of its shape */
        bool damaged = is_of_this_version(superblock);
        *superblock = (struct quire_log_superblock){.magic = superblock->magic, .version = superblock->version};
        return damaged ? QUIRE_CORRUPT : QUIRE_VERSION;
    }
    return superblock->check == QUIRE_LOG_SUM(superblock) && superblock_valid(superblock) ? QUIRE_OK : QUIRE_CORRUPT;
}
