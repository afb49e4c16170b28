/*
 * The log's metadata file: which namespaces there are, and what is pinned. Written whole, beside the old one, synced and renamed over it,
 * before a record that depends on it is written. A namespace that is not in it was deleted: its records are dead wherever they lie.
 *
 *   head (64 bytes) ‖ namespaces, each {struct quire_meta_ns, name, domain, layout} padded to 8 ‖ pins ‖ files,
 *   16 bytes each ‖ check (XXH3-64 of all before)
 *
 * `files` are the ids of the set's files by their index, zero for one that was taken out of use: a file that comes back with an id that is
 * not here is formatted anew, because what it holds may have been deleted since.
 *
 * Pure; readers treat every byte as hostile.
 */
#ifndef QUIRE_LOG_META_H
#define QUIRE_LOG_META_H

#include "proto/quire_types.h"

#include <assert.h>
#include <string.h>

#define QUIRE_META_MAGIC 0x444d4c51u /* "QLMD" */
#define QUIRE_META_VERSION 1u
#define QUIRE_META_MAX_NAMESPACES 65536u
#define QUIRE_META_MAX_PINS (1u << 22)

struct quire_meta_head {
    uint32_t magic;
    uint32_t version;
    uint8_t set_id[16];
    uint64_t generation;  /* below QUIRE_LOG_GENERATIONS */
    uint32_t next_serial; /* no namespace has, or had, a higher serial: none is used twice */
    uint32_t n_namespaces;
    uint32_t n_pins;
    uint32_t n_files;    /* ≤ QUIRE_LOG_MAX_FILES */
    uint64_t size_bytes; /* of the file */
    uint64_t sequence;   /* no record has a higher one unless it is in the log */
};
static_assert(sizeof(struct quire_meta_head) == 64, "stored format");

struct quire_meta_ns {
    uint32_t serial;
    uint16_t name_bytes, domain_bytes;
    uint32_t layout_bytes; /* canonical encoding */
    uint32_t reserved;
    quire_key root;
};
static_assert(sizeof(struct quire_meta_ns) == 48, "stored format");

struct quire_meta_pin {
    quire_key key;
    uint32_t serial;
    uint32_t pins;
};
static_assert(sizeof(struct quire_meta_pin) == 40, "stored format");

/* A namespace as a caller holds it; the pointers are the caller's, or point into the decoded bytes. */
struct quire_meta_item {
    uint32_t serial;
    quire_key root;
    const char *name;   /* name_bytes long, not terminated when decoded */
    const char *domain; /* likewise */
    const uint8_t *layout;
    uint32_t name_bytes, domain_bytes, layout_bytes;
};

/* Writes into a buffer that the caller grows: *size is what is needed; TOO_LARGE when capacity is short (nothing is written then).
   INVALID: quire_meta_open would refuse it. Magic, version, size_bytes and check are filled in. */
enum quire_status quire_meta_encode(const struct quire_meta_head *head, const struct quire_meta_item *items,
                                    const struct quire_meta_pin *pins, const uint8_t (*files)[16], uint8_t *out, size_t capacity,
                                    size_t *size);
/* Checks the whole file. CORRUPT, VERSION, MISMATCH (another set; set_id NULL: not compared), TOO_LARGE (more namespaces or pins than MAX). */
enum quire_status quire_meta_open(const uint8_t *in, size_t size, const uint8_t set_id[16], struct quire_meta_head *head);
/* After quire_meta_open: item i follows item i−1. `at` starts at 0; false at the end. */
bool quire_meta_next(const uint8_t *in, size_t *at, struct quire_meta_item *item);
const struct quire_meta_head *quire_meta_head_of(const uint8_t *in);
/*
 * Which of two copies of a set's metadata is newer: above 0 the first, below 0 the second, 0 both are as new. Within a generation files are only taken out.
 * After quire_meta_open, and of equal n_files.
 */
static inline int quire_meta_compare(const uint8_t *a, const uint8_t *b);
/* Pin i (copied out: the array may be unaligned). */
void quire_meta_pin_at(const uint8_t *in, uint32_t i, struct quire_meta_pin *pin);
/* File i's id. */
void quire_meta_file_at(const uint8_t *in, uint32_t i, uint8_t file_id[16]);

/* How many files are in use. */
static inline uint32_t quire_meta_n_members(const uint8_t *in) {
    static const uint8_t nobody[16];
    uint8_t id[16];
    uint32_t n = 0;
    for (uint32_t i = 0; i < quire_meta_head_of(in)->n_files; i++) {
        quire_meta_file_at(in, i, id);
        n += memcmp(id, nobody, sizeof id) != 0;
    }
    return n;
}
static inline int quire_meta_compare(const uint8_t *a, const uint8_t *b) {
    uint64_t of_a = quire_meta_head_of(a)->generation, of_b = quire_meta_head_of(b)->generation;
    return of_a != of_b ? (of_a > of_b ? 1 : -1) : (int)quire_meta_n_members(b) - (int)quire_meta_n_members(a);
}

#endif
