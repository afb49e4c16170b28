/*
 * Sizes and times as people write them: "512MiB", "2GiB", "1.5KiB"; "30s", "250ms", "5min". Read by the configuration and by quirectl,
 * so that both accept the same. Parsing is exact: what does not come out as a whole number of units, or does not fit, is
 * INVALID. Thread-safe, no locale.
 */
#ifndef QUIRE_UNITS_H
#define QUIRE_UNITS_H

#include "proto/quire_types.h"

/* Digits only; base 10, or with a leading 0 base 8 when `octal`. No sign, no blanks. */
enum quire_status quire_parse_count(const char *text, bool octal, uint64_t *value);
/* B, KiB, MiB, GiB, TiB (powers of 1024, also written K, M, G, T) and KB, MB, GB, TB (powers of 1000); none: bytes. */
enum quire_status quire_parse_size(const char *text, uint64_t *size_bytes);
/* ms, s, min, h, d; none: milliseconds. */
enum quire_status quire_parse_duration(const char *text, uint64_t *duration_ms);

/* The shortest text that parses back to exactly the same: "64MiB", "1500ms". */
void quire_exact_size(uint64_t size_bytes, char *text, size_t text_bytes);
void quire_exact_duration(uint64_t duration_ms, char *text, size_t text_bytes);
/* For reading, with about three digits: "1.41 GiB", "3 min", "2.5 s". */
void quire_human_size(uint64_t size_bytes, char *text, size_t text_bytes);
void quire_human_duration(uint64_t duration_ms, char *text, size_t text_bytes);
/* "12,345,678" */
void quire_human_count(uint64_t value, char *text, size_t text_bytes);

/* Ends a word of which there are so many: "1 block", "2 blocks". */
static inline const char *quire_s(uint64_t n) { return n == 1 ? "" : "s"; }

/* Enough for every text above. */
#define QUIRE_UNITS_BYTES 32

#endif
