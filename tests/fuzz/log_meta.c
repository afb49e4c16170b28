/* Any bytes as a metadata file. The first byte's high bit: its size and its sum are to be made right, because a forger can do that too. */
#include "codec/log_meta.h"
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

static void correct_sums(uint8_t *bytes, size_t size) {
    uint64_t value = size;
    if (size < sizeof(struct quire_meta_head) + sizeof(value)) {
        return;
    }
    memcpy(bytes + offsetof(struct quire_meta_head, size_bytes), &value, sizeof(value));
    value = quire_checksum(bytes, size - sizeof(value));
    memcpy(bytes + size - sizeof(value), &value, sizeof(value));
}

/* What opens can be walked to its end, and is what would have been written. */
static void look_at(const uint8_t *bytes, size_t size, const struct quire_meta_head *head) {
    struct quire_meta_item *items = malloc(head->n_namespaces * sizeof(*items) + 1), item;
    struct quire_meta_pin *pins = malloc(head->n_pins * sizeof(*pins) + 1);
    uint8_t files[QUIRE_LOG_MAX_FILES][16], *again = malloc(size);
    size_t at = 0, again_bytes;
    require(items != NULL && pins != NULL && again != NULL && head->n_files <= QUIRE_LOG_MAX_FILES);
    for (uint32_t i = 0; i < head->n_namespaces; i++) {
        require(quire_meta_next(bytes, &at, &items[i]));
        require(strnlen(items[i].name, items[i].name_bytes) == items[i].name_bytes && items[i].name_bytes <= QUIRE_MAX_NAME);
    }
    require(!quire_meta_next(bytes, &at, &item));
    for (uint32_t i = 0; i < head->n_pins; i++) {
        quire_meta_pin_at(bytes, i, &pins[i]);
    }
    for (uint32_t i = 0; i < head->n_files; i++) {
        quire_meta_file_at(bytes, i, files[i]);
    }
    require(quire_meta_encode(head, items, pins, files, again, size - 1, &again_bytes) == QUIRE_TOO_LARGE && again_bytes == size);
    require(quire_meta_encode(head, items, pins, files, again, size, &again_bytes) == QUIRE_OK);
    require(memcmp(again, bytes, size) == 0);
    free(items);
    free(pins);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct quire_meta_head head;
    if (size < 1) {
        return 0;
    }
    uint8_t *bytes = malloc(size > 1 ? size - 1 : 1);
    require(bytes != NULL);
    if (size > 1) {
        memcpy(bytes, data + 1, size - 1);
    }
    if (data[0] & 0x80) {
        correct_sums(bytes, size - 1);
    }
    enum quire_status status = quire_meta_open(bytes, size - 1, NULL, &head);
    if (status == QUIRE_OK) {
        look_at(bytes, size - 1, &head);
    } else {
        require(status == QUIRE_CORRUPT || status == QUIRE_VERSION || status == QUIRE_TOO_LARGE);
    }
    free(bytes);
    return 0;
}
