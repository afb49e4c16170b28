/* The tables of codes: their values are on the wire, and every value, known or not, has a text. */
#include "proto/status.h"

#include <criterion/criterion.h>

/* A client of today must understand a daemon of tomorrow: no value ever changes its meaning. */
Test(status, values_are_the_wires) {
    static const char *const names[] = {
        "OK",           "MISS",     "PENDING",   "RETRY",     "FULL",      "TIMEOUT",     "CANCELLED",
        "CORRUPT",      "MISMATCH", "DENIED",    "INVALID",   "TOO_LARGE", "UNSUPPORTED", "VERSION",
        "DISCONNECTED", "STALE",    "NOT_FOUND", "NO_MEMORY", "IN_USE",    "SYSTEM",      "INTERNAL",
    };
    for (int i = 0; i < 21; i++) {
        cr_assert_str_eq(quire_status_name(i), names[i]);
        cr_assert_gt(strlen(quire_status_text(i)), 1);
    }
    cr_assert_str_eq(quire_status_text(QUIRE_MISS), "not stored here");
}

/* The reasons are labels in metrics: dashboards depend on their names. */
Test(status, miss_reasons_are_metric_labels) {
    static const char *const names[] = {"none",   "never_stored", "evicted", "deleted", "incomplete", "floor",
                                        "layout", "orphan",       "corrupt", "timeout", "quota"};
    cr_assert_eq(QUIRE_MISS_COUNT, 11);
    for (int i = 0; i < QUIRE_MISS_COUNT; i++) {
        cr_assert_str_eq(quire_miss_name(i), names[i]);
        cr_assert_gt(strlen(quire_miss_text(i)), 1);
    }
}

/* A byte from the wire may hold anything; asking for its text must never fail. */
Test(status, unknown_values_have_texts_too) {
    for (int i = -3; i < 300; i++) {
        cr_assert_not_null(quire_status_name(i));
        cr_assert_not_null(quire_status_text(i));
        cr_assert_not_null(quire_miss_name(i));
        cr_assert_not_null(quire_miss_text(i));
        cr_assert_not_null(quire_rung_name(i));
        cr_assert_not_null(quire_elem_name(i));
    }
    cr_assert_str_eq(quire_status_name(21), "UNKNOWN");
    cr_assert_str_eq(quire_miss_name(QUIRE_MISS_COUNT), "unknown");
}

/* Sizes of lanes follow from these. */
Test(status, element_sizes) {
    cr_assert_eq(quire_elem_bytes(QUIRE_F16), 2);
    cr_assert_eq(quire_elem_bytes(QUIRE_BF16), 2);
    cr_assert_eq(quire_elem_bytes(QUIRE_F32), 4);
    cr_assert_eq(quire_elem_bytes(QUIRE_F8_E4M3), 1);
    cr_assert_eq(quire_elem_bytes(QUIRE_F8_E5M2), 1);
    cr_assert_eq(quire_elem_bytes(QUIRE_I8), 1);
    cr_assert_eq(quire_elem_bytes(QUIRE_ELEM_COUNT), 0);
    cr_assert_eq(quire_elem_bytes(-1), 0);
    cr_assert_str_eq(quire_elem_name(QUIRE_BF16), "bf16");
    cr_assert_str_eq(quire_rung_name(QUIRE_RUNG_RAW), "raw");
}
