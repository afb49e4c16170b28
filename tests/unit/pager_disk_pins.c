/* Pins and namespaces from one life to the next: what the metadata tells of holds from the first request on, and nothing of it is lost unasked. */
#include "pager/disk/pins.h"
#include "tests/unit/pager_disk_rig.h"
#include "tests/unit/pager_random.h"

#define POOL (1ull << 20)
#define SEGMENTS 8u

/* A daemon that has just started: two segments hold something, the newer one is number 0, and nothing of them is known yet. */
static struct rig *restoring(const quire_layout *layout) {
    struct rig *rig = rig_new(POOL, layout);
    disk_attach(rig, SEGMENTS, 512);
    for (uint32_t i = 0; i < 2; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_SEALED, 2 - i, 400, 2);
    }
    disk_clean_from(rig, 2);
    return rig;
}

static void pinned_before(struct rig *rig, uint32_t key, uint32_t times) {
    const struct quire_meta_pin pin = {.key = rig_key(key), .serial = pager_ns_serial(rig->pager, rig->ns), .pins = times};
    cr_assert_eq(pager_restore_pin(rig->pager, &pin), QUIRE_OK);
}

static void find(struct rig *rig, uint32_t segment, uint32_t key, uint64_t sequence, enum quire_log_kind kind) {
    const struct quire_log_entry entry = {.key = rig_key(key),
                                          .sequence = sequence,
                                          .ns = pager_ns_serial(rig->pager, rig->ns),
                                          .at_units = kind == QUIRE_LOG_RECORD ? 4 + 20 * (key % 10) : 0,
                                          .size_bytes = kind == QUIRE_LOG_RECORD ? 8704 : 0,
                                          .n_tokens = 4,
                                          .kind = (uint8_t)kind,
                                          .flags = QUIRE_LOG_ROOT};
    pager_restore_entries(rig->pager, rig->now_ns, segment, &entry, 1);
    rig_pump(rig);
}

static void find_no_more(struct rig *rig) {
    disk_start_ends(rig);
    disk_settle(rig);
}

static uint32_t told(struct rig *rig, uint32_t key) { /* by the last metadata */
    const struct rig_disk *disk = disk_of(rig);
    const quire_key wanted = rig_key(key);
    for (uint32_t i = 0; i < disk->n_pins; i++) {
        if (quire_key_equal(&disk->pins[i].key, &wanted)) {
            return disk->pins[i].pins;
        }
    }
    return 0;
}

/* An operator deletes a pinned block right after the start, before it was found: it is pinned, and so it stays when it is found. */
Test(disk_pins, hold_while_the_log_is_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    pinned_before(rig, 1, 1);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_TOUCH, 1), QUIRE_MISS);
    find(rig, 0, 1, 10, QUIRE_LOG_RECORD);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    find_no_more(rig);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    cr_assert_eq(rig_each(rig, 1), 1);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    disk_rig_free(rig);
}

/* It is unpinned before it was found: that is durable like any other unpinning, and the pin does not come back with the block. */
Test(disk_pins, are_taken_back_while_the_log_is_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    pinned_before(rig, 1, 2);
    pinned_before(rig, 2, 1);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 2), QUIRE_OK); /* counted, as if it were there */
    disk_settle(rig);
    cr_assert(told(rig, 1) == 1 && told(rig, 2) == 2);
    rig->held = true;
    quire_key key = rig_key(1);
    uint8_t status;
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_UNPIN, key.b, 1, &status), QUIRE_OK);
    cr_assert_eq(status, QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig->held = false;
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(told(rig, 1), 0);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_MISS);
    find(rig, 0, 1, 10, QUIRE_LOG_RECORD);
    find(rig, 0, 2, 11, QUIRE_LOG_RECORD);
    find_no_more(rig);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 2), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 2), QUIRE_IN_USE);
    disk_rig_free(rig);
}

/* A pinned block is stored anew before it was found: it is pinned from that moment, and once is enough for one that is stored with PIN. */
Test(disk_pins, of_a_block_that_is_stored_while_the_log_is_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    pinned_before(rig, 1, 1);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    item.flags |= QUIRE_WIRE_PUT_PIN;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    find(rig, 0, 1, 10, QUIRE_LOG_RECORD);
    find_no_more(rig);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    disk_rig_free(rig);
}

/*
 * A block was stored, deleted, and stored and pinned once more; a late copy of its first life is found first, then the deletion, which buries that, then what
 * counts. The pin holds all the time.
 */
Test(disk_pins, outlive_what_was_buried) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    pinned_before(rig, 1, 1);
    find(rig, 0, 1, 10, QUIRE_LOG_RECORD);
    find(rig, 1, 1, 20, QUIRE_LOG_TOMBSTONE);
    cr_assert_eq(rig_each(rig, 1), 0);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    find(rig, 1, 1, 30, QUIRE_LOG_RECORD);
    find_no_more(rig);
    cr_assert_eq(rig_each(rig, 1), 1);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    disk_rig_free(rig);
}

/* A block that was pinned but never came to disk: its pin ends when all has been found, and one that is stored under its key later is not pinned. */
Test(disk_pins, end_with_blocks_that_do_not_come) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    for (uint32_t key = 1; key <= 5000; key++) { /* more than one turn looks at */
        pinned_before(rig, key, 1);
    }
    find(rig, 0, 3, 10, QUIRE_LOG_RECORD);
    find_no_more(rig);
    cr_assert_eq(disk_of(rig)->n_pins, 1);
    cr_assert_eq(told(rig, 3), 1);
    cr_assert_eq(disk_stats(rig).counters->disk_pins_dropped, 4999);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_MISS);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    disk_rig_free(rig);
}

/* There was no memory to read a part of the log: what was pinned there may be found at the next start, so the metadata goes on telling of it. */
Test(disk_pins, stay_when_the_log_was_not_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    pinned_before(rig, 1, 2);
    pinned_before(rig, 2, 1);
    find(rig, 0, 2, 10, QUIRE_LOG_RECORD);
    pager_restore_incomplete(rig->pager);
    find_no_more(rig);
    cr_assert_eq(rig_put(rig, 3, 0), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 3), QUIRE_OK);
    disk_settle(rig);
    cr_assert_eq(disk_of(rig)->n_pins, 3);
    cr_assert(told(rig, 1) == 2 && told(rig, 2) == 1 && told(rig, 3) == 1);
    disk_rig_free(rig);
}

/* Who pinned it takes that back, or stores it anew, in the life that could not find it: both are as they would be if it had been found. */
Test(disk_pins, are_reached_when_the_log_was_not_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    pinned_before(rig, 1, 2);
    pinned_before(rig, 2, 1);
    pager_restore_incomplete(rig->pager);
    find_no_more(rig);
    cr_expect_eq(rig_verb(rig, QUIRE_WIRE_PIN, 1), QUIRE_MISS, "it is not here");
    cr_expect_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_OK);
    disk_settle(rig);
    cr_expect_eq(told(rig, 1), 1);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_MISS);
    cr_expect_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_MISS);
    cr_assert_eq(rig_put(rig, 2, 0), QUIRE_OK);
    cr_expect_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 2), QUIRE_IN_USE);
    disk_settle(rig);
    cr_expect_eq(disk_of(rig)->n_pins, 1);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 2), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 2), QUIRE_OK);
    disk_settle(rig);
    cr_expect_eq(disk_of(rig)->n_pins, 0);
    disk_rig_free(rig);
}

/* ---- limits --------------------------------------------------------------------------------------------------------------- */
static struct rig *limited(uint32_t max_pins) {
    quire_layout layout = rig_layout();
    struct rig *rig = calloc(1, sizeof(*rig));
    char why[200];
    rig->now_ns = 1000 * RIG_MS;
    pager_options_default(&rig->options);
    rig->options.max_pins = max_pins;
    rig_new_pager(rig, 4 * POOL);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    disk_attach(rig, SEGMENTS, 512);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 400, 0);
    disk_clean_from(rig, 1);
    return rig;
}

/* A namespace pins up to its share of max_pins and is refused then; another one still may, up to the limit of all. Unpinning makes room. */
Test(disk_pins, have_a_limit) {
    quire_layout layout = rig_layout();
    struct rig *rig = limited(140); /* a share of 70 */
    char why[200];
    uint16_t first = rig->ns;
    pager_restore_end(rig->pager, rig->now_ns);
    for (uint32_t ns = 0; ns < 3; ns++) {
        char name[8] = {(char)('n' + ns)};
        cr_assert_eq(pager_ns_open(rig->pager, rig->domain, name, &layout, "s", 1, &rig->ns, why, sizeof(why)), QUIRE_OK);
        for (uint32_t key = 1; key <= 71; key++) {
            cr_assert_eq(rig_put(rig, key, 0), QUIRE_OK);
            cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, key), ns < 2 && key <= 70 ? QUIRE_OK : QUIRE_FULL, "%u of namespace %u", key, ns);
        }
    }
    cr_assert_eq(pager_counters(rig->pager)->pins_refused, 1 + 1 + 71);
    cr_assert(pager_pins_full(rig->pager, first) && pager_pins_full(rig->pager, rig->ns));
    rig->ns--;
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 1), QUIRE_OK); /* one more of what is pinned is none more */
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 2), QUIRE_OK);
    rig->ns = first;
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 1), QUIRE_OK);
    disk_settle(rig);
    cr_assert_eq(disk_of(rig)->n_pins, 140);
    disk_rig_free(rig);
}

/* A put that asks for a pin which it cannot have is refused before anything is stored. */
Test(disk_pins, are_refused_before_a_put) {
    struct rig *rig = limited(0);
    pager_restore_end(rig->pager, rig->now_ns);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    item.flags |= QUIRE_WIRE_PUT_PIN;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_FULL);
    cr_assert_eq(rig_each(rig, 1), 0);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    disk_rig_free(rig);
}

/* The metadata of an earlier start tells of more pins than are allowed now: all of them hold, and none more is taken. */
Test(disk_pins, more_than_are_allowed_now) {
    struct rig *rig = limited(4);
    for (uint32_t key = 1; key <= 1000; key++) {
        pinned_before(rig, key, 1);
    }
    for (uint32_t key = 1; key <= 9; key++) {
        find(rig, 0, key, 10 + key, QUIRE_LOG_RECORD);
    }
    find_no_more(rig);
    cr_assert_eq(disk_of(rig)->n_pins, 9);
    cr_assert_eq(rig_put(rig, 2000, 0), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 2000), QUIRE_FULL);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 9), QUIRE_IN_USE);
    disk_rig_free(rig);
}

/* ---- pictures ------------------------------------------------------------------------------------------------------------- */
#define NUMBERS 700u

static void require_picture(const struct quire_meta_pin *const *chunks, uint32_t n, const uint32_t *expected) {
    uint32_t seen[NUMBERS] = {0}, number;
    for (uint32_t i = 0; i < n; i++) {
        const struct quire_meta_pin *pin = &chunks[i / PAGER_PINS_CHUNK][i % PAGER_PINS_CHUNK];
        memcpy(&number, pin->key.b + 1, sizeof(number));
        cr_assert(number < NUMBERS && seen[number] == 0);
        seen[number] = pin->pins;
    }
    cr_assert_eq(memcmp(seen, expected, sizeof(seen)), 0);
}

/* Whatever is pinned and unpinned while a picture is out, it tells of what was pinned when it was taken: exactly that, each once. */
Test(disk_pins, a_picture_stays) {
    struct dice dice = dice_printed("pins");
    struct pager_pins pins;
    uint32_t now[NUMBERS] = {0}, then[NUMBERS], n_then = 0;
    const struct quire_meta_pin *const *picture = NULL;
    cr_assert_eq(pager_pins_init(&pins, 16, dice_next(&dice)), QUIRE_OK);
    for (uint32_t round = 0; round < 60000; round++) {
        uint32_t number = (uint32_t)dice_below(&dice, NUMBERS), most = round / 10000 % 2 ? 2 : 6; /* it grows, and shrinks */
        uint32_t times = dice_below(&dice, most) > 0 ? 0 : 1 + (uint32_t)dice_below(&dice, 3);
        times = most == 6 && dice_below(&dice, 3) > 0 ? now[number] : times;
        quire_key key = rig_key(number);
        cr_assert(pager_pins_set(&pins, number % 3, &key, times));
        now[number] = times;
        cr_assert_eq(pager_pins_get(&pins, number % 3, &key), times);
        cr_assert_eq(pager_pins_get(&pins, number % 3 + 3, &key), 0);
        if (dice_below(&dice, 200) == 0 && picture) {
            require_picture(picture, n_then, then);
            pager_pins_give(&pins);
            picture = NULL;
        } else if (dice_below(&dice, 200) == 0 && !picture) {
            picture = pager_pins_take(&pins);
            n_then = pins.n;
            memcpy(then, now, sizeof(then));
        }
        if (round % 500 == 0) {
            pager_pins_check(&pins);
        }
    }
    pager_pins_free(&pins);
}

/* ---- namespaces that cannot be had ---------------------------------------------------------------------------------------- */
static const uint8_t *layout_bytes(size_t *size) {
    static uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX];
    quire_layout layout = rig_layout();
    cr_assert_eq(quire_layout_encode(&layout, bytes, sizeof(bytes), size), QUIRE_OK);
    return bytes;
}

static struct quire_meta_item foreign(const char *name, uint32_t serial) {
    size_t size;
    struct quire_meta_item item = {.serial = serial, .name = name, .domain = "gone", .layout = layout_bytes(&size)};
    item.name_bytes = (uint32_t)strlen(name);
    item.domain_bytes = 4;
    item.layout_bytes = (uint32_t)size;
    memset(item.root.b, (int)serial, sizeof(item.root.b));
    return item;
}

/*
 * A trust domain is missing from the configuration: every metadata goes on telling of its namespaces and pins, whatever else changes, and nothing of theirs is
 * found. One of them is deleted for good, by its full name: it alone is not told any more, nor what was pinned in it.
 */
Test(disk_pins, a_domain_is_missing) {
    quire_layout layout = rig_layout();
    struct rig *rig = restoring(&layout);
    uint64_t blocks;
    for (uint32_t i = 0; i < 2; i++) {
        struct quire_meta_item item = foreign(i ? "chat" : "code", 70 - i);
        struct quire_meta_pin pin = {.key = rig_key(100 + i), .serial = 70 - i, .pins = 3 + i};
        cr_assert_eq(pager_restore_keep(rig->pager, &item), QUIRE_OK);
        cr_assert_eq(pager_restore_keep(rig->pager, &item), QUIRE_INVALID);
        cr_assert_eq(pager_restore_pin(rig->pager, &pin), QUIRE_OK);
    }
    struct quire_log_entry theirs = {.key = rig_key(100), .sequence = 9, .ns = 70, .at_units = 4, .size_bytes = 8704, .n_tokens = 4};
    theirs.kind = QUIRE_LOG_RECORD;
    theirs.flags = QUIRE_LOG_ROOT;
    pager_restore_entries(rig->pager, rig->now_ns, 0, &theirs, 1);
    find_no_more(rig);
    cr_assert_eq(disk_stats(rig).kept_namespaces, 2);
    cr_assert(disk_of(rig)->n_items == 3 && told(rig, 100) == 3 && told(rig, 101) == 4);
    cr_assert_eq(disk_stats(rig).log.live_records, 0);
    cr_assert_eq(pager_ns_delete(rig->pager, "gone/nothing", &blocks), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_ns_delete(rig->pager, "gone/chat", &blocks), QUIRE_OK);
    rig_pump(rig);
    disk_settle(rig);
    cr_assert(disk_of(rig)->n_items == 2 && told(rig, 100) == 3 && told(rig, 101) == 0);
    disk_rig_free(rig);
}

/* Right after a start every namespace looks empty: none of them makes room for a new one before its blocks were looked for. */
Test(disk_pins, namespaces_stay_while_the_log_is_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = calloc(1, sizeof(*rig));
    char why[200];
    uint16_t ns;
    size_t size;
    rig->now_ns = 1000 * RIG_MS;
    pager_options_default(&rig->options);
    rig->options.max_namespaces = 1;
    rig_new_pager(rig, POOL);
    disk_attach(rig, SEGMENTS, 512);
    struct quire_meta_item item = {.serial = 7, .name = "m", .domain = "own", .layout = layout_bytes(&size), .name_bytes = 1};
    item.domain_bytes = 3;
    item.layout_bytes = (uint32_t)size;
    cr_assert_eq(pager_restore_ns(rig->pager, &item, rig->domain, 7), QUIRE_OK);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "other", &layout, "s", 1, &ns, why, sizeof(why)), QUIRE_FULL);
    disk_start_ends(rig);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "other", &layout, "s", 1, &ns, why, sizeof(why)), QUIRE_OK);
    disk_rig_free(rig);
}

/* Metadata cannot be written: whoever looks at the counters sees it, and sees that it is over. */
Test(disk_pins, failures_are_counted) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, SEGMENTS, 512);
    disk_of(rig)->meta_status = QUIRE_FULL;
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 1), QUIRE_OK);
    disk_settle(rig);
    cr_assert(disk_stats(rig).meta_fails && disk_stats(rig).counters->disk_meta_failures > 0);
    disk_of(rig)->meta_status = QUIRE_OK;
    disk_settle(rig);
    cr_assert_not(disk_stats(rig).meta_fails);
    cr_assert_eq(told(rig, 1), 1);
    disk_rig_free(rig);
}
