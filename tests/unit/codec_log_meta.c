/* The metadata file: told again as it was written; a file that is damaged, cut or forged is refused as a whole. */
#include "codec/log_meta.h"
#include "proto/layout.h"
#include "tests/unit/codec_log_sample.h"
#include "tests/unit/hex.h"
#include "tests/unit/pager_random.h"

static const char golden[] =
    "514c4d4401000000a00102030405060708090a0b0c0d0e0f53525100000000000a000000020000000200000003000000480100000000000068676665646362610300"
    "0000040007000d000000000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f206368617464656661756c74c8c9cacbcccdcecfd0"
    "d1d2d3d40900000001000300010000000000000002030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021616c61624c000000202122232425"
    "262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f0300000002000000606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
    "0900000001000000000102030405060708090a0b0c0d0e0f00000000000000000000000000000000eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee394de06262676d4b";

struct sample {
    struct quire_meta_head head;
    struct quire_meta_item items[2];
    struct quire_meta_pin pins[2];
    uint8_t files[3][16], layout[13];
};

static void make_sample(struct sample *s) {
    *s = (struct sample){
        .head = {.generation = 0x515253, .next_serial = 10, .n_namespaces = 2, .n_pins = 2, .n_files = 3, .sequence = 0x6162636465666768},
        .pins = {{sample_log_key(0x20), 3, 2}, {sample_log_key(0x60), 9, 1}}};
    memcpy(s->head.set_id, sample_set, 16);
    for (int i = 0; i < 16; i++) {
        s->files[0][i] = (uint8_t)i;
        s->files[2][i] = 0xee; /* the one between was taken out of use */
    }
    for (int i = 0; i < 13; i++) {
        s->layout[i] = (uint8_t)(200 + i);
    }
    s->items[0] = (struct quire_meta_item){3, sample_log_key(1), "chat", "default", s->layout, 4, 7, 13};
    s->items[1] = (struct quire_meta_item){9, sample_log_key(2), "a", "lab", (const uint8_t *)"L", 1, 3, 1};
}

/* The bytes in a heap block of exactly their size. */
static uint8_t *encoded(const struct sample *s, size_t *size) {
    cr_assert_eq(quire_meta_encode(&s->head, s->items, s->pins, s->files, NULL, 0, size), QUIRE_TOO_LARGE);
    size_t needed = *size;
    uint8_t *bytes = heap_bytes(needed);
    cr_assert_eq(quire_meta_encode(&s->head, s->items, s->pins, s->files, bytes, needed, size), QUIRE_OK);
    cr_assert_eq(*size, needed);
    return bytes;
}

static enum quire_status open_bytes(const uint8_t *bytes, size_t size) {
    struct quire_meta_head head;
    return quire_meta_open(bytes, size, sample_set, &head);
}

static void resum(uint8_t *bytes, size_t size) { sample_log_resum(bytes, size); }

static bool same_item(const struct quire_meta_item *a, const struct quire_meta_item *b) {
    return a->serial == b->serial && memcmp(&a->root, &b->root, sizeof(a->root)) == 0 && a->name_bytes == b->name_bytes &&
           a->domain_bytes == b->domain_bytes && a->layout_bytes == b->layout_bytes && memcmp(a->name, b->name, a->name_bytes) == 0 &&
           memcmp(a->domain, b->domain, a->domain_bytes) == 0 && memcmp(a->layout, b->layout, a->layout_bytes) == 0;
}

/* Every byte, as another program wrote it from the description in LOG.md. */
Test(meta, golden_bytes) {
    struct sample s;
    size_t size;
    make_sample(&s);
    uint8_t *bytes = encoded(&s, &size);
    cr_assert_hex(bytes, size, golden);
    free(bytes);
}

/* Namespaces, pins and files come back in order, and the walk ends where the namespaces do. */
Test(meta, round_trip) {
    struct sample s;
    struct quire_meta_head head;
    struct quire_meta_item item;
    size_t size, at = 0;
    make_sample(&s);
    uint8_t *bytes = encoded(&s, &size), file_id[16];
    cr_assert_eq(quire_meta_open(bytes, size, sample_set, &head), QUIRE_OK);
    cr_assert(head.generation == s.head.generation && head.next_serial == 10 && head.sequence == s.head.sequence);
    cr_assert(head.n_namespaces == 2 && head.n_pins == 2 && head.n_files == 3 && head.size_bytes == size);
    cr_assert_eq(memcmp(&head, quire_meta_head_of(bytes), sizeof(head)), 0);
    for (int i = 0; i < 2; i++) {
        struct quire_meta_pin pin;
        cr_assert(quire_meta_next(bytes, &at, &item) && same_item(&item, &s.items[i]));
        quire_meta_pin_at(bytes, (uint32_t)i, &pin);
        cr_assert_eq(memcmp(&pin, &s.pins[i], sizeof(pin)), 0);
    }
    cr_assert(!quire_meta_next(bytes, &at, &item) && !quire_meta_next(bytes, &at, &item));
    for (uint32_t i = 0; i < 3; i++) {
        quire_meta_file_at(bytes, i, file_id);
        cr_assert_eq(memcmp(file_id, s.files[i], 16), 0);
    }
    free(bytes);
}

/* A daemon without namespaces writes a file all the same. */
Test(meta, empty) {
    struct sample s;
    struct quire_meta_item item;
    size_t size, at = 0;
    make_sample(&s);
    s.head.n_namespaces = s.head.n_pins = s.head.n_files = 0;
    uint8_t bytes[72];
    cr_assert_eq(quire_meta_encode(&s.head, NULL, NULL, NULL, bytes, sizeof(bytes), &size), QUIRE_OK);
    cr_assert_eq(size, 72);
    cr_assert_eq(open_bytes(bytes, size), QUIRE_OK);
    cr_assert(!quire_meta_next(bytes, &at, &item));
}

/* A buffer that is too short by one byte is left alone, and the size that is needed is told. */
Test(meta, short_buffers_are_left_alone) {
    struct sample s;
    size_t size, told;
    make_sample(&s);
    uint8_t *whole = encoded(&s, &size), *bytes = heap_bytes(size - 1);
    cr_assert_eq(quire_meta_encode(&s.head, s.items, s.pins, s.files, bytes, size - 1, &told), QUIRE_TOO_LARGE);
    cr_assert_eq(told, size);
    for (size_t i = 0; i < size - 1; i++) {
        cr_assert_eq(bytes[i], 0xdd);
    }
    free(bytes);
    free(whole);
}

/* Every single flipped bit is refused: there is no byte that does not count. */
Test(meta, flipped_bits) {
    struct sample s;
    size_t size;
    make_sample(&s);
    uint8_t *bytes = encoded(&s, &size);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        flip_bit(bytes, bit);
        cr_assert_eq(open_bytes(bytes, size), bit / 32 == 1 ? QUIRE_VERSION : QUIRE_CORRUPT, "bit %zu", bit);
        flip_bit(bytes, bit);
    }
    cr_assert_eq(open_bytes(bytes, size), QUIRE_OK);
    free(bytes);
}

/* Cut anywhere, with or without the sum made right for what is left, and with a byte too many. */
Test(meta, truncated) {
    struct sample s;
    size_t size;
    make_sample(&s);
    uint8_t *bytes = encoded(&s, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *shorter = heap_bytes(cut);
        memcpy(shorter, bytes, cut);
        cr_assert_eq(open_bytes(shorter, cut), QUIRE_CORRUPT, "%zu bytes", cut);
        if (cut >= 72) {
            uint64_t said = cut;
            resum(shorter, cut);
            cr_assert_eq(open_bytes(shorter, cut), QUIRE_CORRUPT, "%zu bytes", cut);
            memcpy(shorter + offsetof(struct quire_meta_head, size_bytes), &said, 8);
            resum(shorter, cut);
            cr_assert_eq(open_bytes(shorter, cut), QUIRE_CORRUPT, "%zu bytes", cut);
        }
        free(shorter);
    }
    uint8_t *longer = heap_bytes(size + 1);
    memcpy(longer, bytes, size);
    cr_assert_eq(open_bytes(longer, size + 1), QUIRE_CORRUPT);
    free(longer);
    free(bytes);
}

/* Another set's file is whole, but not ours; who does not care may say so. */
Test(meta, another_set) {
    struct sample s;
    struct quire_meta_head head;
    size_t size;
    make_sample(&s);
    uint8_t *bytes = encoded(&s, &size), other_set[16] = {1};
    cr_assert_eq(quire_meta_open(bytes, size, other_set, &head), QUIRE_MISMATCH);
    cr_assert_eq(quire_meta_open(bytes, size, NULL, &head), QUIRE_OK);
    free(bytes);
}

/* Sums are right, sizes lie. The first namespace begins at 64, its names at 112; 4 + 7 + 13 bytes need no padding, 1 + 3 + 1 need three. */
Test(meta, forged_files) {
    static const struct {
        size_t at, size;
        uint64_t value;
        enum quire_status status;
    } lies[] = {
        {0, 4, QUIRE_LOG_MAGIC_SUPERBLOCK, QUIRE_CORRUPT},
        {4, 4, 2, QUIRE_VERSION},
        {offsetof(struct quire_meta_head, size_bytes), 8, 64, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, size_bytes), 8, UINT64_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_namespaces), 4, 1, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_namespaces), 4, 3, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_namespaces), 4, UINT32_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_pins), 4, 1, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_pins), 4, 3, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_pins), 4, QUIRE_META_MAX_PINS, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_pins), 4, UINT32_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_files), 4, 2, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, n_files), 4, 17, QUIRE_CORRUPT},
        {offsetof(struct quire_meta_head, generation), 8, QUIRE_LOG_GENERATIONS, QUIRE_CORRUPT}, /* no start can count on from it */
        {offsetof(struct quire_meta_head, generation), 8, QUIRE_LOG_GENERATIONS - 1, QUIRE_OK},
        {offsetof(struct quire_meta_head, next_serial), 4, 8, QUIRE_CORRUPT}, /* a namespace has a higher one */
        {offsetof(struct quire_meta_head, next_serial), 4, 9, QUIRE_OK},
        {64, 4, 0, QUIRE_CORRUPT},                                                  /* a serial that no namespace has */
        {64 + offsetof(struct quire_meta_ns, name_bytes), 2, 0, QUIRE_CORRUPT},     /* … */
        {64 + offsetof(struct quire_meta_ns, name_bytes), 2, 64, QUIRE_CORRUPT},    /* longer than names are */
        {64 + offsetof(struct quire_meta_ns, name_bytes), 2, 65535, QUIRE_CORRUPT}, /* longer than the file */
        {64 + offsetof(struct quire_meta_ns, domain_bytes), 2, 0, QUIRE_CORRUPT},   /* … */
        {64 + offsetof(struct quire_meta_ns, domain_bytes), 2, 65535, QUIRE_CORRUPT},
        {64 + offsetof(struct quire_meta_ns, layout_bytes), 4, 0, QUIRE_CORRUPT},
        {64 + offsetof(struct quire_meta_ns, layout_bytes), 4, 14, QUIRE_CORRUPT},
        {64 + offsetof(struct quire_meta_ns, layout_bytes), 4, UINT32_MAX, QUIRE_CORRUPT},
        {64 + offsetof(struct quire_meta_ns, reserved), 4, 1, QUIRE_CORRUPT},
        {112, 1, 0, QUIRE_CORRUPT},          /* a name that ends before its end */
        {112 + 4, 1, 0, QUIRE_CORRUPT},      /* likewise a domain's */
        {136 + 48 + 5, 1, 1, QUIRE_CORRUPT}, /* padding */
        {136 + 48 + 7, 1, 1, QUIRE_CORRUPT}, /* its last byte */
        {136 + 48 + 8, 1, 1, QUIRE_OK},      /* the first pin's key */
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct sample s;
        size_t size;
        make_sample(&s);
        uint8_t *bytes = encoded(&s, &size);
        memcpy(bytes + lies[i].at, &lies[i].value, lies[i].size);
        resum(bytes, size);
        cr_assert_eq(open_bytes(bytes, size), lies[i].status, "lie %zu", i);
        free(bytes);
    }
}

/* A file with one file id, or one namespace, more than there may be, that is right in every other respect: who has so many namespaces is told just that. */
Test(meta, more_than_there_may_be) {
    struct sample s;
    struct quire_meta_head head;
    static const uint8_t files[QUIRE_LOG_MAX_FILES][16];
    const uint32_t n = QUIRE_META_MAX_NAMESPACES;
    struct quire_meta_item *items = malloc((n + 1) * sizeof(*items));
    size_t size, item_bytes = 48 + 8;
    make_sample(&s);
    for (uint32_t i = 0; i < n + 1; i++) {
        items[i] = s.items[1];
    }
    s.head.n_namespaces = n;
    s.head.n_pins = 0;
    s.head.n_files = QUIRE_LOG_MAX_FILES;
    cr_assert_eq(quire_meta_encode(&s.head, items, NULL, files, NULL, 0, &size), QUIRE_TOO_LARGE);
    cr_assert_eq(size, 64 + n * item_bytes + 16 * 16 + 8);
    uint8_t *bytes = heap_bytes(size + item_bytes);
    cr_assert_eq(quire_meta_encode(&s.head, items, NULL, files, bytes, size, &size), QUIRE_OK);
    cr_assert_eq(quire_meta_open(bytes, size, NULL, &head), QUIRE_OK);
    memcpy(&head, bytes, sizeof(head));
    head.n_files++;
    head.size_bytes = size + 16;
    memcpy(bytes, &head, sizeof(head));
    memset(bytes + size, 0, 16);
    resum(bytes, size + 16);
    cr_assert_eq(quire_meta_open(bytes, size + 16, NULL, &head), QUIRE_CORRUPT);

    head = s.head;
    head.n_namespaces = n + 1;
    cr_assert_eq(quire_meta_encode(&head, items, NULL, files, NULL, 0, &size), QUIRE_INVALID);
    size = 64 + n * item_bytes + 16 * 16 + 8;
    cr_assert_eq(quire_meta_encode(&s.head, items, NULL, files, bytes, size, &size), QUIRE_OK);
    memmove(bytes + 64 + item_bytes, bytes + 64, size - 64);
    memcpy(&head, bytes, sizeof(head));
    head.n_namespaces++;
    head.size_bytes += item_bytes;
    memcpy(bytes, &head, sizeof(head));
    resum(bytes, size + item_bytes);
    cr_assert_eq(quire_meta_open(bytes, size + item_bytes, NULL, &head), QUIRE_TOO_LARGE);
    free(bytes);
    free(items);
}

/* What could not be read again is not written. */
Test(meta, nothing_is_written_that_would_be_refused) {
    static const uint8_t layout[QUIRE_LAYOUT_WIRE_MAX + 1];
    static char name[QUIRE_MAX_NAME + 1];
    struct sample s;
    uint8_t *bytes = heap_bytes(2 * sizeof(layout));
    size_t size;
    memset(name, 'n', sizeof(name));
#define ENCODE(expected, change)                                                                                                           \
    make_sample(&s);                                                                                                                       \
    change;                                                                                                                                \
    cr_assert_eq(quire_meta_encode(&s.head, s.items, s.pins, s.files, bytes, 2 * sizeof(layout), &size), expected, #change);               \
    cr_assert_eq(size == 0, expected == QUIRE_INVALID);                                                                                    \
    cr_assert(expected != QUIRE_OK || open_bytes(bytes, size) == QUIRE_OK, #change)
    ENCODE(QUIRE_INVALID, s.head.n_pins = QUIRE_META_MAX_PINS + 1);
    ENCODE(QUIRE_INVALID, s.head.n_files = QUIRE_LOG_MAX_FILES + 1);
    ENCODE(QUIRE_INVALID, s.head.next_serial = 8);
    ENCODE(QUIRE_INVALID, s.head.generation = QUIRE_LOG_GENERATIONS);
    ENCODE(QUIRE_INVALID, s.items[1].serial = 0);
    ENCODE(QUIRE_INVALID, s.items[1].name_bytes = 0);
    ENCODE(QUIRE_INVALID, s.items[1].domain_bytes = 0);
    ENCODE(QUIRE_INVALID, s.items[1].layout_bytes = 0);
    ENCODE(QUIRE_INVALID, (s.items[1].name = name, s.items[1].name_bytes = 64));
    ENCODE(QUIRE_INVALID, (s.items[1].name = name, s.items[1].name_bytes = 65536 + 1));
    ENCODE(QUIRE_OK, (s.items[1].name = name, s.items[1].name_bytes = 63));
    ENCODE(QUIRE_INVALID, (s.items[1].domain = name, s.items[1].domain_bytes = 64));
    ENCODE(QUIRE_INVALID, (s.items[1].layout = layout, s.items[1].layout_bytes = QUIRE_LAYOUT_WIRE_MAX + 1));
    ENCODE(QUIRE_OK, (s.items[1].layout = layout, s.items[1].layout_bytes = QUIRE_LAYOUT_WIRE_MAX));
    ENCODE(QUIRE_INVALID, s.items[0].name = "ch\0t");
#undef ENCODE
    free(bytes);
}

/* Namespaces of any lengths, many pins: all of it comes back. */
Test(meta, random_files_round_trip) {
    struct dice dice = dice_printed("meta");
    static struct quire_meta_item items[50];
    static struct quire_meta_pin pins[300];
    static uint8_t text[4096];
    memset(text, 'x', sizeof(text));
    for (int round = 0; round < 200; round++) {
        struct quire_meta_head head = {.next_serial = 1000}, read;
        struct quire_meta_item item;
        size_t size, at = 0;
        head.n_namespaces = (uint32_t)dice_below(&dice, 51);
        head.n_pins = (uint32_t)dice_below(&dice, 301);
        for (uint32_t i = 0; i < head.n_namespaces; i++) {
            items[i] = (struct quire_meta_item){.serial = 1 + (uint32_t)dice_below(&dice, 1000),
                                                .root = sample_log_key((uint8_t)dice_next(&dice)),
                                                .name = (const char *)text + i,
                                                .domain = (const char *)text + 2 * i,
                                                .layout = text,
                                                .name_bytes = 1 + (uint32_t)dice_below(&dice, 63),
                                                .domain_bytes = 1 + (uint32_t)dice_below(&dice, 63),
                                                .layout_bytes = 1 + (uint32_t)dice_below(&dice, sizeof(text))};
        }
        for (uint32_t i = 0; i < head.n_pins; i++) {
            pins[i] = (struct quire_meta_pin){sample_log_key((uint8_t)i), i, i + 1};
        }
        quire_meta_encode(&head, items, pins, NULL, NULL, 0, &size);
        uint8_t *bytes = heap_bytes(size);
        cr_assert_eq(quire_meta_encode(&head, items, pins, NULL, bytes, size, &size), QUIRE_OK);
        cr_assert_eq(quire_meta_open(bytes, size, NULL, &read), QUIRE_OK);
        for (uint32_t i = 0; i < head.n_namespaces; i++) {
            cr_assert(quire_meta_next(bytes, &at, &item) && same_item(&item, &items[i]));
        }
        cr_assert(!quire_meta_next(bytes, &at, &item));
        for (uint32_t i = 0; i < head.n_pins; i++) {
            struct quire_meta_pin pin;
            quire_meta_pin_at(bytes, i, &pin);
            cr_assert_eq(memcmp(&pin, &pins[i], sizeof(pin)), 0);
        }
        free(bytes);
    }
}
