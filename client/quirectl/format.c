#include "client/quirectl/format.h"

#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdio.h>

void format_ago(uint64_t ms, char text[FORMAT_BYTES]) {
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}};
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(units); i++) {
        if (ms >= units[i].ms) {
            snprintf(text, FORMAT_BYTES, "%llu %s ago", (unsigned long long)(ms / units[i].ms), units[i].name);
            return;
        }
    }
    snprintf(text, FORMAT_BYTES, "just now");
}

void format_us(uint64_t us, char text[FORMAT_BYTES]) {
    if (us < 1000) {
        snprintf(text, FORMAT_BYTES, "%llu µs", (unsigned long long)us);
    } else if (us < 9950) {
        snprintf(text, FORMAT_BYTES, "%.1f ms", (double)us / 1000);
    } else {
        quire_human_duration((us + 500) / 1000, text, FORMAT_BYTES);
    }
}

void format_percent(uint64_t part, uint64_t whole, char text[FORMAT_BYTES]) {
    if (whole == 0) {
        snprintf(text, FORMAT_BYTES, "–");
        return;
    }
    /* Never "100 %" or "0 %" for what is nearly so. */
    double percent = 100.0 * (double)part / (double)whole;
    percent = part < whole && percent > 99.9 ? 99.9 : part > 0 && percent < 0.1 ? 0.1 : percent;
    snprintf(text, FORMAT_BYTES, part == whole || part == 0 ? "%.0f %%" : "%.1f %%", percent);
}

void format_key(const uint8_t *key, size_t size, char text[FORMAT_BYTES]) {
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (size <= 8 || i < 4 || i >= size - 2) {
            used += (size_t)snprintf(text + used, FORMAT_BYTES - used, "%02x", key[i]);
        } else if (i == 4) {
            used += (size_t)snprintf(text + used, FORMAT_BYTES - used, "…");
        }
    }
    text[used] = '\0';
}

void format_bar(uint64_t part, uint64_t light, uint64_t whole, unsigned width, char *text) {
    double scale = whole == 0 ? 0 : (double)width / (double)whole;
    unsigned full = (unsigned)quire_min_u64(width, (uint64_t)((double)part * scale + 0.5));
    unsigned both = (unsigned)quire_min_u64(width, (uint64_t)((double)(part + light) * scale + 0.5));
    text[0] = '[';
    for (unsigned i = 0; i < width; i++) {
        text[1 + i] = i < full ? '|' : i < both ? '.' : ' ';
    }
    text[1 + width] = ']';
    text[2 + width] = '\0';
}

double format_counter(const Quire__Wire__AdminReply *reply, const char *name) {
    for (size_t i = 0; i < reply->n_counters; i++) {
        if (strcmp(reply->counters[i]->name, name) == 0) {
            return reply->counters[i]->value;
        }
    }
    return 0;
}

void format_backend(const Quire__Wire__DiskInfo *disk, char *text, size_t text_bytes) {
    if (strncmp(disk->backend_why, disk->backend, strlen(disk->backend)) == 0) {
        snprintf(text, text_bytes, "%s", disk->backend_why[0] != '\0' ? disk->backend_why : disk->backend);
    } else {
        snprintf(text, text_bytes, "%s%s%s", disk->backend, disk->backend_why[0] != '\0' ? ": " : "", disk->backend_why);
    }
}
