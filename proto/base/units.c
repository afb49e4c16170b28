#include "proto/base/units.h"

#include "proto/base/base.h"

#include <stdio.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* In the order in which an exact text tries them: largest first. */
static const struct unit size_units[] = {
    {"TiB", 1ull << 40},
    {"GiB", 1ull << 30},
    {"MiB", 1ull << 20},
    {"KiB", 1ull << 10},
    {"B", 1},
    {"T", 1ull << 40},
    {"G", 1ull << 30},
    {"M", 1ull << 20},
    {"K", 1ull << 10},
    {"k", 1ull << 10},
    {"TB", 1000000000000ull},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"KB", 1000},
    {"kB", 1000},
    {NULL, 0},
};
static const struct unit time_units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {NULL, 0}};

enum quire_status quire_parse_count(const char *text, bool octal, uint64_t *value) {
    uint64_t base = octal && text[0] == '0' ? 8 : 10, result = 0;
    if (text[0] == '\0') {
        return QUIRE_INVALID;
    }
    for (const char *at = text; *at != '\0'; at++) {
        uint64_t digit = (uint64_t)(unsigned char)*at - '0';
        if (*at < '0' || digit >= base || __builtin_mul_overflow(result, base, &result) || __builtin_add_overflow(result, digit, &result)) {
            return QUIRE_INVALID;
        }
    }
    *value = result;
    return QUIRE_OK;
}

static const struct unit *unit_find(const struct unit *units, const char *name) {
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (strcmp(unit->name, name) == 0) {
            return unit;
        }
    }
    return NULL;
}

/* Digits, perhaps a point and up to nine more, perhaps blanks, perhaps a unit. */
static enum quire_status parse_with_unit(const char *text, const struct unit *units, uint64_t *value) {
    uint64_t whole = 0, fraction = 0, scale = 1;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole)) {
            return QUIRE_INVALID;
        }
    }
    if (at == text) {
        return QUIRE_INVALID;
    }
    if (*at == '.') {
        const char *point = at++;
        for (; *at >= '0' && *at <= '9' && scale < QUIRE_NS_PER_S; at++, scale *= 10) {
            fraction = fraction * 10 + (uint64_t)(*at - '0');
        }
        if (at == point + 1) {
            return QUIRE_INVALID;
        }
    }
    while (*at == ' ') {
        at++;
    }
    const struct unit *unit = unit_find(units, at);
    uint64_t factor = unit != NULL ? unit->factor : 1, part;
    if ((*at != '\0' && unit == NULL) || __builtin_mul_overflow(whole, factor, &whole) || __builtin_mul_overflow(fraction, factor, &part) ||
        part % scale != 0 || __builtin_add_overflow(whole, part / scale, &whole)) {
        return QUIRE_INVALID;
    }
    *value = whole;
    return QUIRE_OK;
}

enum quire_status quire_parse_size(const char *text, uint64_t *size_bytes) { return parse_with_unit(text, size_units, size_bytes); }
enum quire_status quire_parse_duration(const char *text, uint64_t *duration_ms) { return parse_with_unit(text, time_units, duration_ms); }

/* The largest unit that divides the value; `last` is the one that divides everything. */
static void exact(uint64_t value, const struct unit *units, const char *last, char *text, size_t text_bytes) {
    const struct unit *unit = units;
    while (value % unit->factor != 0) {
        unit++;
    }
    if (value == 0) {
        snprintf(text, text_bytes, "0");
    } else {
        snprintf(text, text_bytes, "%llu%s", (unsigned long long)(value / unit->factor), unit->factor == 1 ? last : unit->name);
    }
}

void quire_exact_size(uint64_t size_bytes, char *text, size_t text_bytes) { exact(size_bytes, size_units, "", text, text_bytes); }
void quire_exact_duration(uint64_t duration_ms, char *text, size_t text_bytes) { exact(duration_ms, time_units, "ms", text, text_bytes); }

static void human(double value, const char *unit, char *text, size_t text_bytes) {
    int digits = value >= 99.95 || value == (double)(uint64_t)value ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(text, text_bytes, "%.*f %s", digits, value, unit);
}

void quire_human_size(uint64_t size_bytes, char *text, size_t text_bytes) {
    const struct unit *unit = size_units;
    while (size_bytes < unit->factor && unit->factor > 1) {
        unit++;
    }
    human((double)size_bytes / (double)unit->factor, unit->name, text, text_bytes);
}

void quire_human_duration(uint64_t duration_ms, char *text, size_t text_bytes) {
    if (duration_ms < 60000) {
        const struct unit *unit = duration_ms < 1000 ? &time_units[4] : &time_units[3];
        human((double)duration_ms / (double)unit->factor, unit->name, text, text_bytes);
        return;
    }
    /* Two units are enough for people: "3 min 20 s", "2 d 4 h". */
    const struct unit *unit = time_units;
    while (duration_ms < unit->factor) {
        unit++;
    }
    unsigned long long first = duration_ms / unit->factor, second = duration_ms % unit->factor / unit[1].factor;
    if (second == 0) {
        snprintf(text, text_bytes, "%llu %s", first, unit->name);
    } else {
        snprintf(text, text_bytes, "%llu %s %llu %s", first, unit->name, second, unit[1].name);
    }
}

void quire_human_count(uint64_t value, char *text, size_t text_bytes) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    size_t at = 0;
    for (int i = 0; i < n && at + 2 < text_bytes; i++) {
        if (i > 0 && (n - i) % 3 == 0) {
            text[at++] = ',';
        }
        text[at++] = digits[i];
    }
    text[at] = '\0';
}
