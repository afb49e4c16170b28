/* Any bytes as a superblock. The first byte's high bit: its sum is to be made right, because a forger can do that too. */
#include "codec/checksum.h"
#include "codec/log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* What is accepted has sizes that a reader can multiply, and is what would have been written. */
static void look_at(const struct quire_log_superblock *superblock, const uint8_t *bytes) {
    uint8_t *again = malloc(QUIRE_LOG_SUPERBLOCK_BYTES);
    require(again != NULL);
    require(superblock->n_files <= QUIRE_LOG_MAX_FILES && superblock->file_index < superblock->n_files);
    require(superblock->unit_bytes >= QUIRE_LOG_UNIT_MIN && QUIRE_LOG_UNIT_MAX % superblock->unit_bytes == 0);
    require(superblock->segment_units >= QUIRE_LOG_MIN_SEGMENT_UNITS && superblock->segment_units <= QUIRE_LOG_MAX_SEGMENT_UNITS);
    require(superblock->n_segments > 0 && (uint64_t)superblock->first_number + superblock->n_segments <= QUIRE_LOG_MAX_SEGMENTS);
    quire_log_superblock_encode(superblock, again);
    require(memcmp(again, bytes, sizeof(*superblock)) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct quire_log_superblock superblock;
    if (size < 1) {
        return 0;
    }
    uint8_t *bytes = calloc(1, QUIRE_LOG_SUPERBLOCK_BYTES);
    require(bytes != NULL);
    memcpy(bytes, data + 1, size - 1 < QUIRE_LOG_SUPERBLOCK_BYTES ? size - 1 : QUIRE_LOG_SUPERBLOCK_BYTES);
    if (data[0] & 0x80) {
        uint64_t check = quire_checksum(bytes, offsetof(struct quire_log_superblock, check));
        memcpy(bytes + offsetof(struct quire_log_superblock, check), &check, sizeof(check));
    }
    switch (quire_log_superblock_decode(bytes, &superblock)) {
    case QUIRE_OK:
        look_at(&superblock, bytes);
        break;
    case QUIRE_VERSION:
        require(superblock.magic == QUIRE_LOG_MAGIC_SUPERBLOCK && superblock.version != QUIRE_LOG_VERSION && superblock.n_files == 0);
        break;
    case QUIRE_CORRUPT:
        break;
    default:
        abort();
    }
    free(bytes);
    return 0;
}
