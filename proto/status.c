#include "proto/status.h"

const char *quire_status_name(enum quire_status status) {
    switch (status) {
#define X(name, value, text)                                                                                                               \
    case QUIRE_##name:                                                                                                                     \
        return #name;
        QUIRE_STATUS_TABLE(X)
#undef X
    }
    return "UNKNOWN";
}

const char *quire_status_text(enum quire_status status) {
    switch (status) {
#define X(name, value, text)                                                                                                               \
    case QUIRE_##name:                                                                                                                     \
        return text;
        QUIRE_STATUS_TABLE(X)
#undef X
    }
    return "a status that this version does not know";
}

const char *quire_miss_text(enum quire_miss reason) {
    switch (reason) {
#define X(name, value, text)                                                                                                               \
    case QUIRE_MISS_##name:                                                                                                                \
        return text;
        QUIRE_MISS_TABLE(X)
#undef X
    case QUIRE_MISS_COUNT:
        break;
    }
    return "a reason that this version does not know";
}

/* Written out, because the preprocessor cannot make lower case; the compiler says when a new reason is missing here. */
const char *quire_miss_name(enum quire_miss reason) {
    switch (reason) {
    case QUIRE_MISS_NONE:
        return "none";
    case QUIRE_MISS_NEVER_STORED:
        return "never_stored";
    case QUIRE_MISS_EVICTED:
        return "evicted";
    case QUIRE_MISS_DELETED:
        return "deleted";
    case QUIRE_MISS_INCOMPLETE:
        return "incomplete";
    case QUIRE_MISS_FLOOR:
        return "floor";
    case QUIRE_MISS_LAYOUT:
        return "layout";
    case QUIRE_MISS_ORPHAN:
        return "orphan";
    case QUIRE_MISS_CORRUPT:
        return "corrupt";
    case QUIRE_MISS_TIMEOUT:
        return "timeout";
    case QUIRE_MISS_QUOTA:
        return "quota";
    case QUIRE_MISS_COUNT:
        break;
    }
    return "unknown";
}

const char *quire_rung_name(enum quire_rung rung) {
    switch (rung) {
#define X(name, value, text)                                                                                                               \
    case QUIRE_RUNG_##name:                                                                                                                \
        return text;
        QUIRE_RUNG_TABLE(X)
#undef X
    }
    return "unknown";
}

static const struct {
    const char *name;
    size_t size_bytes;
} elems[QUIRE_ELEM_COUNT] = {
    [QUIRE_F16] = {"f16", 2},         [QUIRE_BF16] = {"bf16", 2},       [QUIRE_F32] = {"f32", 4},
    [QUIRE_F8_E4M3] = {"f8_e4m3", 1}, [QUIRE_F8_E5M2] = {"f8_e5m2", 1}, [QUIRE_I8] = {"i8", 1},
};

const char *quire_elem_name(enum quire_elem elem) { return (unsigned)elem < QUIRE_ELEM_COUNT ? elems[elem].name : "unknown"; }

size_t quire_elem_bytes(enum quire_elem elem) { return (unsigned)elem < QUIRE_ELEM_COUNT ? elems[elem].size_bytes : 0; }
