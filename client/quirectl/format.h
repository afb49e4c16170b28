/* Small texts for people, beside proto/base/units.h. */
#ifndef QUIRECTL_FORMAT_H
#define QUIRECTL_FORMAT_H

#include "proto/quire.pb-c.h"
#include "proto/quire_types.h"

#define FORMAT_BYTES 64

/* "just now", "12 s ago", "3 min ago", "2 d ago" */
void format_ago(uint64_t ms, char text[FORMAT_BYTES]);
/* "840 µs", "12 ms", "3.4 s": as exact as an estimate deserves. */
void format_us(uint64_t us, char text[FORMAT_BYTES]);
/* "97.3 %", "–" when there is no whole */
void format_percent(uint64_t part, uint64_t whole, char text[FORMAT_BYTES]);
/* The first and last digits of a key: "1a2b3c4d…90ab"; `size` as received, short ones are shown whole. */
void format_key(const uint8_t *key, size_t size, char text[FORMAT_BYTES]);
/* "[|||||     ]", `width` between the brackets; `light` marks a second part ("." in the bar). text holds width + 3. */
void format_bar(uint64_t part, uint64_t light, uint64_t whole, unsigned width, char *text);
/* The value of a counter, 0 when it is not there. */
double format_counter(const Quire__Wire__AdminReply *reply, const char *name);

/* How the disk is read and written, and why: "io_uring, completions deferred", "threads: io_uring is switched off here". */
void format_backend(const Quire__Wire__DiskInfo *disk, char *text, size_t text_bytes);

#endif
