#include "client/llama/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the character that begins with this byte; 0 when none does. */
static size_t expected_length(uint8_t byte) {
    if (byte < 0x80) {
        return byte != 0 ? 1 : 0;
    }
    return byte >= 0xc2 && byte <= 0xdf ? 2 : byte >= 0xe0 && byte <= 0xef ? 3 : byte >= 0xf0 && byte <= 0xf4 ? 4 : 0;
}

/* Length of the valid character at the front; 0 when there is none. */
static size_t valid_length(const uint8_t *at, size_t size) {
    const size_t length = size > 0 ? expected_length(at[0]) : 0;
    if (length == 0 || length > size) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    const bool bad = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
                     (at[0] == 0xf4 && at[1] > 0x8f);
    return bad ? 0 : length;
}

char *text_clean(const char *bytes, size_t size) {
    char *out = malloc(3 * size + 1), *at = out;
    if (out == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < size;) {
        const size_t length = valid_length((const uint8_t *)bytes + i, size - i);
        memcpy(at, length > 0 ? bytes + i : "\xef\xbf\xbd", length > 0 ? length : 3);
        at += length > 0 ? length : 3;
        i += length > 0 ? length : 1;
    }
    *at = '\0';
    return out;
}

size_t text_whole(const char *bytes, size_t size) {
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const uint8_t byte = (uint8_t)bytes[size - back];
        if ((byte & 0xc0) == 0x80) {
            continue; /* within a character */
        }
        return expected_length(byte) > back ? size - back : size;
    }
    return size;
}

enum quire_status text_read_file(const char *path, char **text, size_t *size, char *why, size_t why_bytes) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (file == NULL) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    size_t used = 0, capacity = 1 << 16;
    char *bytes = malloc(capacity);
    enum quire_status status = bytes != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
    while (status == QUIRE_OK) {
        const size_t got = fread(bytes + used, 1, capacity - used - 1, file);
        used += got;
        if (got == 0) {
            break;
        }
        if (used + 1 < capacity) {
            continue;
        }
        char *larger = capacity <= TEXT_FILE_MAX_BYTES ? realloc(bytes, capacity * 2) : NULL;
        status = larger != NULL ? QUIRE_OK : QUIRE_TOO_LARGE;
        bytes = larger != NULL ? larger : bytes;
        capacity *= 2;
    }
    if (status == QUIRE_OK && ferror(file)) {
        status = QUIRE_SYSTEM;
    }
    if (file != stdin) {
        fclose(file);
    }
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: %s", path, status == QUIRE_TOO_LARGE ? "too large" : "cannot be read");
        free(bytes);
        return status;
    }
    bytes[used] = '\0';
    *text = bytes;
    *size = used;
    return QUIRE_OK;
}
