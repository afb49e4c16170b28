/* Sizes, times and numbers as people write and read them, and the nearest name to a mistyped one. */
#include "proto/base/base.h"
#include "proto/base/nearest.h"
#include "proto/base/units.h"

#include <criterion/criterion.h>
#include <time.h>

static uint64_t size_of(const char *text) {
    uint64_t value = 12345;
    cr_assert_eq(quire_parse_size(text, &value), QUIRE_OK, "%s", text);
    return value;
}

/* All the ways to write a size. */
Test(proto_units, sizes) {
    cr_expect_eq(size_of("0"), 0);
    cr_expect_eq(size_of("123"), 123);
    cr_expect_eq(size_of("512MiB"), 512ull << 20);
    cr_expect_eq(size_of("2 GiB"), 2ull << 30);
    cr_expect_eq(size_of("1.5KiB"), 1536);
    cr_expect_eq(size_of("3GB"), 3000000000ull);
    cr_expect_eq(size_of("4k"), 4096);
    cr_expect_eq(size_of("15T"), 15ull << 40);
}

/* What is no size, no whole number of bytes, or too much. */
Test(proto_units, not_sizes) {
    static const char *const wrong[] = {"",
                                        " 1",
                                        "-1",
                                        "+1",
                                        "1.",
                                        ".5",
                                        "0.3",
                                        "1.0001KiB",
                                        "1XiB",
                                        "MiB",
                                        "1 MiB ",
                                        "1e9",
                                        "0x10",
                                        "18446744073709551616",
                                        "16777216TiB",
                                        "1.5.5GiB"};
    uint64_t value;
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(wrong); i++) {
        cr_expect_eq(quire_parse_size(wrong[i], &value), QUIRE_INVALID, "'%s'", wrong[i]);
    }
}

/* Times, and octal numbers. */
Test(proto_units, times_and_counts) {
    uint64_t value;
    cr_expect(quire_parse_duration("1500", &value) == QUIRE_OK && value == 1500);
    cr_expect(quire_parse_duration("1.5s", &value) == QUIRE_OK && value == 1500);
    cr_expect(quire_parse_duration("2min", &value) == QUIRE_OK && value == 120000);
    cr_expect(quire_parse_duration("30d", &value) == QUIRE_OK && value == 2592000000ull);
    cr_expect_eq(quire_parse_duration("0.5ms", &value), QUIRE_INVALID);
    cr_expect(quire_parse_count("0600", true, &value) == QUIRE_OK && value == 0600);
    cr_expect_eq(quire_parse_count("0800", true, &value), QUIRE_INVALID);
    cr_expect(quire_parse_count("0800", false, &value) == QUIRE_OK && value == 800);
    cr_expect_eq(quire_parse_count("", false, &value), QUIRE_INVALID);
}

/* Exact texts read back to the same value, whatever it is. */
Test(proto_units, exact_texts_read_back) {
    uint64_t seed = (uint64_t)time(NULL) * 2654435761u + 1;
    cr_log_info("seed %llu", (unsigned long long)seed);
    char text[QUIRE_UNITS_BYTES];
    for (unsigned i = 0; i < 20000; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        uint64_t value = seed >> (seed % 64), back;
        value <<= (seed >> 8) % (1 + (unsigned)(value == 0 ? 0 : __builtin_clzll(value)));
        quire_exact_size(value, text, sizeof text);
        cr_assert(quire_parse_size(text, &back) == QUIRE_OK && back == value, "%s", text);
        quire_exact_duration(value, text, sizeof text);
        cr_assert(quire_parse_duration(text, &back) == QUIRE_OK && back == value, "%s", text);
    }
}

static void reads(void (*format)(uint64_t, char *, size_t), uint64_t value, const char *expected) {
    char text[QUIRE_UNITS_BYTES];
    format(value, text, sizeof text);
    cr_expect_str_eq(text, expected);
}

/* What people see. */
Test(proto_units, people_read) {
    reads(quire_human_size, 0, "0 B");
    reads(quire_human_size, 1023, "1023 B");
    reads(quire_human_size, 1536, "1.50 KiB");
    reads(quire_human_size, 64ull << 20, "64 MiB");
    reads(quire_human_size, 1511828488, "1.41 GiB");
    reads(quire_human_size, 123456789012ull, "115 GiB");
    reads(quire_human_duration, 0, "0 ms");
    reads(quire_human_duration, 950, "950 ms");
    reads(quire_human_duration, 2500, "2.50 s");
    reads(quire_human_duration, 200000, "3 min 20 s");
    reads(quire_human_duration, 180000, "3 min");
    reads(quire_human_duration, 187200000, "2 d 4 h");
    reads(quire_human_count, 12345678, "12,345,678");
    reads(quire_human_count, 999, "999");
}

/* A mistyped name finds the one that was meant; nonsense finds none. */
Test(proto_units, nearest_name) {
    static const char *const names[] = {"log_level", "log_json", "drain_ms", "lease_ms"};
    cr_expect_str_eq(quire_nearest("log_levle", names, 4), "log_level");
    cr_expect_str_eq(quire_nearest("lgo_json", names, 4), "log_json");
    cr_expect_str_eq(quire_nearest("lease", names, 3 + 1) == NULL ? "none" : "one", "none");
    cr_expect_str_eq(quire_nearest("drain_ms", names, 4), "drain_ms");
    cr_expect_null(quire_nearest("frobnicate", names, 4));
    cr_expect_null(quire_nearest("", names, 4));
    char long_word[200];
    memset(long_word, 'a', sizeof long_word);
    long_word[sizeof long_word - 1] = '\0';
    cr_expect_null(quire_nearest(long_word, names, 4));
}
