/* Golden byte strings, written in hexadecimal: formats that are stored or sent are pinned by them. */
#ifndef TEST_HEX_H
#define TEST_HEX_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Returns how many bytes were written. */
static inline size_t hex_decode(const char *text, uint8_t *out, size_t capacity) {
    size_t size = strlen(text) / 2;
    for (size_t i = 0; i < size && i < capacity; i++) {
        unsigned value = 0;
        sscanf(text + 2 * i, "%2x", &value);
        out[i] = (uint8_t)value;
    }
    return size;
}

static inline const char *hex_encode(const void *bytes, size_t size, char *out) {
    for (size_t i = 0; i < size; i++) {
        snprintf(out + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
    }
    return out;
}

/* Fails with both strings, so that the difference is seen. */
#define cr_assert_hex(bytes, size, expected)                                                                                               \
    do {                                                                                                                                   \
        char hex_text_[8192];                                                                                                              \
        cr_assert_str_eq(hex_encode(bytes, size, hex_text_), expected);                                                                    \
    } while (0)

#endif
