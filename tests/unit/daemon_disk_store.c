/* The store carries out the pager's wishes over a real file: what comes back is what was written, or is called corrupt. */
#include "daemon/disk/layouts.h"
#include "tests/unit/daemon_disk_double.h"

#include <poll.h>

/* Reads a record of a batch to the end of the pool and says how that ended; *at: where it is. */
/* By a reader who knows these bits of its sum. */
static int read_back_knowing(struct double_tier *tier, const struct double_batch *batch, uint32_t i, uint64_t known, uint8_t **at) {
    const struct quire_log_entry *entry = &batch->entries[i];
    uint32_t bytes = double_units(entry->size_bytes) * DOUBLE_UNIT;
    const struct pager_disk_piece piece = {.size_bytes = entry->size_bytes, .offset = DOUBLE_POOL_BYTES - bytes};
    const struct pager_disk_wish wish = {.device = batch->wish.device,
                                         .segment = batch->wish.segment,
                                         .epoch = batch->wish.epoch,
                                         .at_units = entry->at_units,
                                         .pieces = &piece,
                                         .key = entry->key,
                                         .group = entry->group,
                                         .check = entry->check,
                                         .check_mask = known};
    *at = tier->pool + piece.offset;
    memset(*at, 0x55, bytes);
    return double_do(tier, PAGER_DISK_READ, &wish);
}

static int read_back(struct double_tier *tier, const struct double_batch *batch, uint32_t i, uint8_t **at) {
    return read_back_knowing(tier, batch, i, UINT64_MAX, at);
}

/* Two batches in a segment of the second file, records of all lengths and tombstones between: every record is found where its entry says, bit for bit. */
Test(daemon_disk_store, what_was_written_is_read_back) {
    struct dice dice = dice_printed("store");
    struct double_tier *tier = double_tier_open();
    struct double_batch *first = double_batch(tier, &dice, 11, 5, 1, 12, 4);
    struct double_batch *second = double_behind(tier, &dice, first, 7, 0);
    double_turn(tier);
    cr_assert_eq(tier->statuses[first->ticket], QUIRE_OK);
    cr_assert_eq(tier->statuses[second->ticket], QUIRE_OK);
    cr_assert_eq(tier->io.n_writes, 2, "header, head and records are one write");
    uint32_t records = 0;
    for (uint32_t b = 0; b < 2; b++) {
        struct double_batch *batch = b == 0 ? first : second;
        uint32_t piece = 0;
        for (uint32_t i = 0; i < batch->wish.n; i++) {
            uint8_t *at;
            if (batch->entries[i].kind == QUIRE_LOG_RECORD) {
                cr_assert_eq(read_back(tier, batch, i, &at), QUIRE_OK);
                cr_assert_eq(memcmp(at, tier->pool + batch->pieces[piece++].offset, batch->entries[i].size_bytes), 0);
                cr_assert_neq(batch->entries[i].check, 0);
                records++;
            }
        }
    }
    cr_assert_eq(records, first->wish.n_pieces + second->wish.n_pieces);
    /* And what lies there is what codec/LOG.md describes. */
    uint8_t unit[DOUBLE_UNIT * 16];
    struct quire_log_segment_header header;
    struct quire_log_batch head;
    static struct quire_log_entry entries[QUIRE_LOG_MAX_BATCH];
    cr_assert_eq(pread(tier->io.fds[1], unit, sizeof unit, (off_t)double_place(11, 0)), (ssize_t)sizeof unit);
    cr_assert_eq(quire_log_segment_header_decode(&tier->env.set.geometry, unit, double_set_id, 11, &header), QUIRE_OK);
    cr_assert_eq(header.epoch, 5);
    cr_assert_eq(quire_log_head_decode(&tier->env.set.geometry, unit + DOUBLE_UNIT, sizeof unit - DOUBLE_UNIT, 5, 1, &head, entries),
                 QUIRE_OK);
    cr_assert_eq(memcmp(entries, first->entries, 12 * sizeof *entries), 0);
    free(first);
    free(second);
    double_tier_close(tier);
}

/* One bit of a record turns on the disk, wherever in it: the reader hears CORRUPT. Another record's bytes are CORRUPT for it, too. */
Test(daemon_disk_store, a_flipped_bit_is_corrupt) {
    struct dice dice = dice_printed("store flip");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batch = double_batch(tier, &dice, 0, 1, 1, 2, 0);
    uint8_t *at;
    double_turn(tier);
    for (uint32_t i = 0; i < 200; i++) {
        const struct quire_record_header *header = (void *)(tier->pool + batch->pieces[0].offset);
        uint64_t directory_end = sizeof *header + header->n_lane_groups * sizeof(struct quire_lane_entry);
        uint64_t byte = i < 100 ? dice_below(&dice, directory_end)
                                : header->payload_offset + dice_below(&dice, batch->entries[0].size_bytes - header->payload_offset);
        byte += (uint64_t)batch->entries[0].at_units * DOUBLE_UNIT;
        uint8_t bits = (uint8_t)(1u << dice_below(&dice, 8));
        double_flip(tier, 0, byte, bits);
        cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_CORRUPT, "byte %" PRIu64, byte);
        double_flip(tier, 0, byte, bits);
    }
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_OK);
    struct store_device told;
    store_device(tier->store, 0, &told);
    cr_assert_eq(told.corrupt, 200);
    cr_assert(!told.lost, "wrong bytes are a miss, no reason to lose the rest");
    struct quire_log_entry first = batch->entries[0];
    batch->entries[0].key = batch->entries[1].key;
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_CORRUPT, "another key's record");
    batch->entries[0] = first;
    batch->entries[0].check ^= 1;
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_CORRUPT, "another record of the same key");
    cr_assert_eq(read_back_knowing(tier, batch, 0, 0x7ff, &at), QUIRE_CORRUPT, "a few bits of its sum tell that");
    cr_assert_eq(read_back_knowing(tier, batch, 0, 0x7fe, &at), QUIRE_OK, "others do not");
    cr_assert_eq(read_back_knowing(tier, batch, 0, 0, &at), QUIRE_OK, "nothing is known of its sum");
    batch->entries[0].check = first.check;
    batch->entries[0].group = 1;
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_CORRUPT, "another group");
    batch->entries[0].group = 0;
    batch->entries[0].size_bytes = double_units(first.size_bytes) * DOUBLE_UNIT;
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_OK, "its length is known in units only");
    batch->entries[0].size_bytes = first.size_bytes + QUIRE_LOG_UNIT_MAX;
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_CORRUPT, "much longer than it is");
    free(batch);
    double_tier_close(tier);
}

/* A full block's record, by itself in the first batch of segment 0. */
static struct quire_log_entry written_record(struct double_tier *tier, struct dice *dice, struct pager_disk_piece *piece) {
    struct quire_log_entry entry = double_record(tier, dice, tier->layout.block_tokens, piece);
    const uint32_t head_units = quire_log_head_units(&tier->env.set.geometry, 1);
    const struct pager_disk_wish wish = {.epoch = 1,
                                         .at_units = 1,
                                         .first = true,
                                         .n = 1,
                                         .n_pieces = 1,
                                         .head_units = head_units,
                                         .size_units = head_units + double_units(entry.size_bytes),
                                         .entries = &entry,
                                         .pieces = piece};
    entry.at_units = 1 + head_units;
    cr_assert_eq(double_do(tier, PAGER_DISK_WRITE, &wish), QUIRE_OK);
    return entry;
}

/* A reader wants one head of one layer: header, directory and the units around those lanes are read, and nothing else; only those lanes are verified. Header and
   directory are known from then on. */
Test(daemon_disk_store, parts_of_a_record) {
    struct dice dice = dice_printed("store part");
    struct double_tier *tier = double_tier_open();
    tier->layout = sample_layout(4, 8, 64, 64, QUIRE_F16, 16); /* lanes of 2 KiB */
    struct pager_disk_piece piece;
    const struct quire_log_entry entry = written_record(tier, &dice, &piece);
    struct quire_record_shape shape = shape_of(&tier->layout, 16, 0);
    const struct pager_disk_piece to = {.size_bytes = entry.size_bytes,
                                        .offset = DOUBLE_POOL_BYTES - double_units(entry.size_bytes) * DOUBLE_UNIT};
    uint8_t *got = tier->pool + to.offset, *put = tier->pool + piece.offset;
    uint32_t k = quire_record_lane(&shape, 2, 0, 5), v = quire_record_lane(&shape, 2, 1, 5);
    /* Not in order, on purpose. */
    const struct pager_disk_range ranges[] = {
        {quire_record_lane_offset(&shape, v), quire_record_lane_offset(&shape, v) + shape.v_lane_bytes},
        {quire_record_lane_offset(&shape, k), quire_record_lane_offset(&shape, k) + shape.k_lane_bytes},
    };
    struct pager_disk_wish wish = {.epoch = 1,
                                   .at_units = entry.at_units,
                                   .pieces = &to,
                                   .key = entry.key,
                                   .check = entry.check,
                                   .check_mask = UINT64_MAX,
                                   .n_ranges = 2,
                                   .ranges = ranges,
                                   .rect = {.first_layer = 2, .n_layers = 1, .first_head = 5, .n_heads = 1}};
    for (int round = 0; round < 3; round++) {
        struct store_device before, after;
        memset(got, 0x55, entry.size_bytes);
        store_device(tier->store, 0, &before);
        uint64_t ticket = double_wish(tier, PAGER_DISK_READ, &wish);
        double_turn(tier);
        store_device(tier->store, 0, &after);
        cr_assert_eq(after.reads - before.reads, round == 0 ? 3 : 2);
        if (round == 0) {
            cr_assert_eq(tier->statuses[ticket], QUIRE_OK);
            cr_assert_leq(after.read_bytes - before.read_bytes,
                          quire_align_up(shape.payload_offset, DOUBLE_UNIT) + 2 * (2048 + DOUBLE_UNIT));
            cr_assert_eq(memcmp(got, put, shape.payload_offset), 0);
            cr_assert_eq(memcmp(got + wish.ranges[0].from_bytes, put + wish.ranges[0].from_bytes, 2048), 0);
            cr_assert_eq(memcmp(got + wish.ranges[1].from_bytes, put + wish.ranges[1].from_bytes, 2048), 0);
            cr_assert_eq(got[quire_record_lane_offset(&shape, 0) + 1024], 0x55, "nobody asked for the first lane");
            double_flip(tier, 0, (uint64_t)entry.at_units * DOUBLE_UNIT + quire_record_lane_offset(&shape, 0), 4);
        } else if (round == 1) {
            cr_assert_eq(tier->statuses[ticket], QUIRE_OK, "a lane that nobody asked for is damaged");
            double_flip(tier, 0, (uint64_t)entry.at_units * DOUBLE_UNIT + wish.ranges[0].to_bytes - 1, 4);
        } else {
            cr_assert_eq(tier->statuses[ticket], QUIRE_CORRUPT);
        }
    }
    double_tier_close(tier);
}

/*
 * One head of a deep model: K and V of each layer lie by themselves, which makes hundreds of reads of one wish. Every lane arrives, hardly more is read than
 * that, and one that is damaged is found.
 */
Test(daemon_disk_store, a_part_of_a_deep_record) {
    enum { LAYERS = 96, HEADS = 4, N = 2 * LAYERS };
    static struct pager_disk_range ranges[N];
    struct dice dice = dice_printed("store deep part");
    struct double_tier *tier = double_tier_open();
    tier->layout = sample_layout(LAYERS, HEADS, 8, 8, QUIRE_F16, 16); /* lanes of half a unit */
    struct pager_disk_piece piece;
    const struct quire_log_entry entry = written_record(tier, &dice, &piece);
    struct quire_record_shape shape = shape_of(&tier->layout, 16, 0);
    const uint16_t head = shape.payload_offset % DOUBLE_UNIT <= DOUBLE_UNIT / 2 ? 2 : 1; /* whose lanes lie in one unit each */
    uint8_t *put = malloc(entry.size_bytes), *got = tier->pool + piece.offset;
    memcpy(put, got, entry.size_bytes);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t from = quire_record_lane_offset(&shape, quire_record_lane(&shape, i / 2, i % 2, head));
        ranges[i] = (struct pager_disk_range){from, from + shape.k_lane_bytes};
    }
    const struct pager_disk_wish wish = {.epoch = 1,
                                         .at_units = entry.at_units,
                                         .pieces = &piece,
                                         .key = entry.key,
                                         .check = entry.check,
                                         .n_ranges = N,
                                         .ranges = ranges,
                                         .rect = {.n_layers = LAYERS, .first_head = head, .n_heads = 1}};
    struct store_device after;
    memset(got, 0x55, entry.size_bytes);
    cr_assert_eq(double_do(tier, PAGER_DISK_READ, &wish), QUIRE_OK);
    store_device(tier->store, 0, &after);
    cr_assert_geq(after.reads, N);
    cr_assert_leq(after.read_bytes, quire_align_up(shape.payload_offset, DOUBLE_UNIT) + N * DOUBLE_UNIT);
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_eq(memcmp(got + ranges[i].from_bytes, put + ranges[i].from_bytes, shape.k_lane_bytes), 0, "layer %u", i / 2);
    }
    double_flip(tier, 0, (uint64_t)entry.at_units * DOUBLE_UNIT + ranges[N - 1].from_bytes, 4);
    cr_assert_eq(double_do(tier, PAGER_DISK_READ, &wish), QUIRE_CORRUPT);
    free(put);
    double_tier_close(tier);
}

/* Reads the last head of one layer, which must end so; when it ends well, it is what was written. How many reads that took. */
static uint64_t read_head(struct double_tier *tier, const struct double_batch *batch, uint16_t layer, enum quire_status expected) {
    const struct quire_log_entry *entry = &batch->entries[0];
    struct quire_record_shape shape = shape_of(&tier->layout, entry->n_tokens, 0);
    const uint32_t head = shape.n_heads - 1, bytes = shape.k_lane_bytes, size = double_units(entry->size_bytes) * DOUBLE_UNIT;
    const struct pager_disk_piece to = {.size_bytes = entry->size_bytes, .offset = DOUBLE_POOL_BYTES - size};
    struct pager_disk_range ranges[2];
    struct pager_disk_wish wish = {.segment = batch->wish.segment,
                                   .epoch = batch->wish.epoch,
                                   .at_units = entry->at_units,
                                   .pieces = &to,
                                   .key = entry->key,
                                   .check = entry->check,
                                   .check_mask = UINT64_MAX,
                                   .n_ranges = 2,
                                   .ranges = ranges,
                                   .rect = {.first_layer = layer, .n_layers = 1, .first_head = (uint16_t)head, .n_heads = 1}};
    for (uint32_t kv = 0; kv < 2; kv++) {
        uint32_t from = quire_record_lane_offset(&shape, quire_record_lane(&shape, layer, kv, head));
        ranges[kv] = (struct pager_disk_range){from, from + bytes};
    }
    struct store_device before, after;
    const uint8_t *got = tier->pool + to.offset, *put = tier->pool + batch->pieces[0].offset;
    memset(tier->pool + to.offset, 0x55, size);
    store_device(tier->store, 0, &before);
    uint64_t ticket = double_wish(tier, PAGER_DISK_READ, &wish);
    double_turn(tier);
    store_device(tier->store, 0, &after);
    cr_assert_eq(tier->statuses[ticket], (int)expected, "layer %u, epoch %" PRIu64, layer, batch->wish.epoch);
    for (uint32_t kv = 0; expected == QUIRE_OK && kv < 2; kv++) {
        cr_assert_eq(memcmp(got + wish.ranges[kv].from_bytes, put + wish.ranges[kv].from_bytes, bytes), 0);
    }
    return after.reads - before.reads;
}

/*
 * The heads of a block are fetched one by one, as the ranks of a model do that is spread over devices: header and directory are read with the first, and known
 * to the others. What did not check is not kept. When the segment is used again, another record lies in that place: it is read with a header of its own, and
 * whoever still asks for the old one gets nothing.
 */
Test(daemon_disk_store, headers_are_read_once) {
    struct dice dice = dice_printed("store heads");
    struct double_tier *tier = double_tier_open();
    tier->layout = sample_layout(4, 8, 64, 64, QUIRE_F16, 16);
    struct double_batch *first = double_batch(tier, &dice, 3, 1, 1, 1, 0);
    double_turn(tier);
    uint64_t tag = (uint64_t)first->entries[0].at_units * DOUBLE_UNIT + offsetof(struct quire_record_header, layout_tag);
    double_flip(tier, 3, tag, 4);
    cr_assert_eq(read_head(tier, first, 2, QUIRE_CORRUPT), 3);
    double_flip(tier, 3, tag, 4);
    cr_assert_eq(read_head(tier, first, 2, QUIRE_OK), 3, "header and directory, K, V");
    cr_assert_eq(read_head(tier, first, 3, QUIRE_OK), 2, "K, V");
    struct double_batch *second = double_batch(tier, &dice, 3, 2, 1, 1, 0);
    double_turn(tier);
    cr_assert_eq(second->entries[0].at_units, first->entries[0].at_units);
    cr_assert_eq(read_head(tier, second, 3, QUIRE_OK), 3);
    cr_assert_eq(read_head(tier, second, 2, QUIRE_OK), 2);
    read_head(tier, first, 3, QUIRE_CORRUPT);
    uint64_t hits, misses;
    store_headers(tier->store, &hits, &misses);
    cr_assert(hits == 2 && misses == 4, "%llu and %llu", (unsigned long long)hits, (unsigned long long)misses);
    free(first);
    free(second);
    double_tier_close(tier);
}

/* Lanes so small that they lie in one unit with the directory's end come with it, each time that they are asked for. */
Test(daemon_disk_store, lanes_beside_the_directory) {
    struct dice dice = dice_printed("store small lanes");
    struct double_tier *tier = double_tier_open();
    tier->layout = sample_layout(64, 1, 4, 4, QUIRE_F16, 16);
    struct double_batch *batch = double_batch(tier, &dice, 3, 1, 1, 1, 0);
    double_turn(tier);
    cr_assert_eq(read_head(tier, batch, 0, QUIRE_OK), 1);
    cr_assert_eq(read_head(tier, batch, 0, QUIRE_OK), 1);
    cr_assert_eq(read_head(tier, batch, 40, QUIRE_OK), 2);
    cr_assert_eq(read_head(tier, batch, 50, QUIRE_OK), 1);
    cr_assert_eq(read_head(tier, batch, 0, QUIRE_OK), 1);
    free(batch);
    double_tier_close(tier);
}

/* A segment is sealed: data, sync, footer, sync, in this order; its entries are told from the footer, and without one from the batches' heads. */
Test(daemon_disk_store, sealed_segments_tell_their_entries) {
    struct dice dice = dice_printed("store seal");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batches[2];
    batches[0] = double_batch(tier, &dice, 3, 9, 1, 20, 5);
    batches[1] = double_behind(tier, &dice, batches[0], 6, 2);
    double_turn(tier);
    memset(tier->io.order, 0, sizeof tier->io.order);
    cr_assert_eq(double_seal(tier, batches, 2), QUIRE_OK);
    cr_assert_str_eq(tier->io.order, "sws");
    const struct pager_disk_wish wish = {.segment = 3, .epoch = 9};
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(double_do(tier, PAGER_DISK_ENTRIES, &wish), QUIRE_OK);
        cr_assert_eq(tier->n_entries, 26);
        cr_assert_eq(memcmp(tier->entries, batches[0]->entries, 20 * sizeof *tier->entries), 0);
        cr_assert_eq(memcmp(tier->entries + 20, batches[1]->entries, 6 * sizeof *tier->entries), 0);
        double_flip(tier, 3, (uint64_t)(DOUBLE_SEGMENT_UNITS - 2) * DOUBLE_UNIT, 1); /* the footer's last unit */
    }
    const struct pager_disk_wish other = {.segment = 3, .epoch = 10};
    cr_assert_eq(double_do(tier, PAGER_DISK_ENTRIES, &other), QUIRE_OK);
    cr_assert_eq(tier->n_entries, 0, "what bears another epoch is not there");
    free(batches[0]);
    free(batches[1]);
    double_tier_close(tier);
}

/*
 * Somebody cuts a file short, and with it goes the segment that told of deletions. A start knows by the length that they are missing: so nothing is written at the
 * file's end that would make it long again. It is out of use, told once; the other file goes on.
 */
Test(daemon_disk_store, a_file_that_was_cut_short_stays_short) {
    struct dice dice = dice_printed("store cut short");
    struct double_tier *tier = double_tier_open();
    struct double_batch *last = double_batch(tier, &dice, DOUBLE_SEGMENTS - 1, 9, 1, 5, 5);
    struct double_batch *other = double_batch(tier, &dice, DOUBLE_SEGMENTS, 10, 1, 5, 5);
    double_turn(tier);
    cr_assert(store_look_at_length(tier->store, 0));
    cr_assert_eq(ftruncate(tier->io.fds[0], (off_t)double_place(2, 0)), 0);
    cr_expect_eq(double_seal(tier, &last, 1), QUIRE_SYSTEM);
    cr_expect_leq(lseek(tier->io.fds[0], 0, SEEK_END), (off_t)double_place(2, 0));
    cr_expect(!store_look_at_length(tier->store, 0) && tier->lost[0] == 1);
    cr_expect(store_look_at_length(tier->store, 1) && tier->lost[1] == 0);
    cr_expect_eq(double_seal(tier, &other, 1), QUIRE_OK);
    free(last);
    free(other);
    double_tier_close(tier);
}

/* Deletions are acknowledged after a sync: it waits for the batches that were asked for before it, of its own device, and for no later ones. */
Test(daemon_disk_store, a_sync_waits_for_earlier_writes) {
    struct dice dice = dice_printed("store sync");
    struct double_tier *tier = double_tier_open();
    const struct pager_disk_wish sync = {.device = 0};
    tier->io.hold = true;
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 3, 0);
    struct double_batch *b = double_behind(tier, &dice, a, 3, 1);
    struct double_batch *elsewhere = double_batch(tier, &dice, 8, 2, 1, 3, 0);
    uint64_t first = double_wish(tier, PAGER_DISK_SYNC, &sync);
    struct double_batch *c = double_behind(tier, &dice, b, 3, 0);
    uint64_t second = double_wish(tier, PAGER_DISK_SYNC, &sync);
    double_turn(tier);
    cr_assert_eq(tier->statuses[first], DOUBLE_PENDING);
    /* Only c ends, which came last but for what goes elsewhere; then b; then a. */
    struct disk_op *ops[4];
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_not_null(tier->io.held);
        ops[i] = tier->io.held;
        tier->io.held = ops[i]->next;
    }
    cr_assert_null(tier->io.held, "no sync was sent");
    tier->io.hold = false;
    double_carry_out(&tier->io, ops[1]);
    double_turn(tier);
    cr_assert_eq(tier->statuses[c->ticket], QUIRE_OK);
    double_carry_out(&tier->io, ops[2]);
    double_turn(tier);
    cr_assert_eq(tier->statuses[b->ticket], QUIRE_OK);
    cr_assert_eq(tier->statuses[first], DOUBLE_PENDING, "the batch before is not there yet: what is behind it would not be found");
    cr_assert_eq(tier->io.n_syncs, 0);
    double_carry_out(&tier->io, ops[3]);
    double_turn(tier);
    cr_assert_eq(tier->statuses[first], QUIRE_OK);
    cr_assert_eq(tier->statuses[second], QUIRE_OK);
    double_carry_out(&tier->io, ops[0]);
    double_turn(tier);
    cr_assert_eq(tier->statuses[elsewhere->ticket], QUIRE_OK);
    free(a);
    free(b);
    free(c);
    free(elsewhere);
    double_tier_close(tier);
}

static uint64_t reuse(struct double_tier *tier, struct double_batch *batch, bool hold) {
    batch->wish.alone = true;
    memset(tier->io.order, 0, sizeof tier->io.order);
    tier->io.hold = hold;
    return double_wish(tier, PAGER_DISK_WRITE, &batch->wish);
}

static bool is_zero(const struct double_tier *tier, uint32_t segment, uint32_t unit) {
    static const uint8_t zeros[DOUBLE_UNIT];
    uint8_t bytes[DOUBLE_UNIT];
    cr_assert_eq(pread(tier->io.fds[0], bytes, sizeof bytes, (off_t)double_place(segment, unit)), (ssize_t)sizeof bytes);
    return memcmp(bytes, zeros, sizeof zeros) == 0;
}

/*
 * A segment is used again, and deletions in it may still be needed: nothing is written over them before the new header, which makes them needless, is
 * written and synced. When it cannot be, they stay; also when another sync fails meanwhile, because an error that is told once is not told again.
 */
Test(daemon_disk_store, a_header_lasts_before_what_it_makes_needless_goes) {
    struct dice dice = dice_printed("store reuse");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batch = double_batch(tier, &dice, 7, 1, 1, 3, 1); /* made by this; each of the following goes elsewhere */
    const struct pager_disk_wish sync = {.device = 0};
    double_turn(tier);
    batch->wish.segment = 0;
    uint64_t ticket = reuse(tier, batch, false), synced = double_wish(tier, PAGER_DISK_SYNC, &sync);
    double_turn(tier);
    cr_assert(tier->statuses[ticket] == QUIRE_OK && tier->statuses[synced] == QUIRE_OK);
    cr_assert_str_eq(tier->io.order, "wsws", "header, sync, batch; and the sync that was asked for meanwhile is behind all of it");
    cr_assert(!is_zero(tier, 0, 0) && !is_zero(tier, 0, 1));
    tier->io.error = ENOSPC;
    for (uint32_t i = 0; i < 2; i++) {
        batch->wish.segment = 1 + i;
        tier->io.fail_writes = i == 0;
        tier->io.fail_syncs = i == 1;
        ticket = reuse(tier, batch, false);
        double_turn(tier);
        cr_assert_eq(tier->statuses[ticket], QUIRE_FULL);
        cr_assert(is_zero(tier, 1 + i, 1), "%s", tier->io.order);
    }
    batch->wish.segment = 3;
    tier->io.fail_syncs = 1;
    ticket = reuse(tier, batch, true);
    disk_env_flush(&tier->env);
    double_release(&tier->io); /* the header is written */
    double_reap(&tier->io.io, UINT32_MAX);
    disk_env_flush(&tier->env); /* its sync is under way */
    cr_assert_str_eq(tier->io.order, "w");
    tier->io.hold = false;
    struct disk_op *own = tier->io.held;
    tier->io.held = NULL;
    const struct pager_disk_wish seal = {.epoch = 1, .used_units = 1};
    (void)double_wish(tier, PAGER_DISK_SEAL, &seal); /* another, which fails first, and would not wait */
    double_turn(tier);
    double_carry_out(&tier->io, own);
    double_turn(tier);
    cr_assert(tier->statuses[ticket] == QUIRE_FULL && is_zero(tier, 3, 1), "%s", tier->io.order);
    free(batch);
    double_tier_close(tier);
}

/* A write fails: the device is lost, told once; the sync that waited for it fails, and so does all that is wished of the device. The other one goes on. */
Test(daemon_disk_store, a_failed_write_loses_the_device_once) {
    struct dice dice = dice_printed("store lost");
    struct double_tier *tier = double_tier_open();
    const struct pager_disk_wish sync = {.device = 1};
    tier->io.fail_writes = 2;
    struct double_batch *a = double_batch(tier, &dice, 8, 1, 1, 3, 0);
    struct double_batch *b = double_behind(tier, &dice, a, 3, 0);
    uint64_t waiting = double_wish(tier, PAGER_DISK_SYNC, &sync);
    double_turn(tier);
    cr_assert_eq(tier->statuses[a->ticket], QUIRE_SYSTEM);
    cr_assert_eq(tier->statuses[b->ticket], QUIRE_SYSTEM);
    cr_assert_eq(tier->statuses[waiting], QUIRE_SYSTEM);
    cr_assert_eq(tier->lost[1], 1);
    uint64_t later = double_wish(tier, PAGER_DISK_SYNC, &sync);
    cr_assert_eq(tier->statuses[later], QUIRE_SYSTEM);
    struct double_batch *c = double_batch(tier, &dice, 0, 2, 1, 3, 0);
    double_turn(tier);
    cr_assert_eq(tier->statuses[c->ticket], QUIRE_OK);
    cr_assert_eq(tier->lost[0], 0);
    struct store_device told;
    store_device(tier->store, 1, &told);
    cr_assert(told.lost && told.write_errors == 2 && told.last_error == EIO);
    free(a);
    free(b);
    free(c);
    double_tier_close(tier);
}

/*
 * The system cannot even try, or the file system is full or read-only: that says nothing about the drive. It stays in use, what it has can be read, whoever
 * asks an operator's question is told why it takes nothing, and when a write is done, and a sync where one was refused, all is as before.
 */
Test(daemon_disk_store, what_says_nothing_about_the_device_does_not_lose_it) {
    static const struct {
        int error;
        enum quire_status write, sync;
    } cases[] = {{ENOSPC, QUIRE_FULL, QUIRE_FULL},      {EDQUOT, QUIRE_FULL, QUIRE_FULL},       {EROFS, QUIRE_FULL, QUIRE_FULL},
                 {ENOMEM, QUIRE_NO_MEMORY, QUIRE_FULL}, {ENOBUFS, QUIRE_NO_MEMORY, QUIRE_FULL}, {EAGAIN, QUIRE_NO_MEMORY, QUIRE_FULL},
                 {EINTR, QUIRE_NO_MEMORY, QUIRE_FULL}};
    struct dice dice = dice_printed("store refuses");
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        struct double_tier *tier = double_tier_open();
        const struct pager_disk_wish sync = {.device = 1};
        struct store_device told;
        uint8_t *at;
        struct double_batch *a = double_batch(tier, &dice, 8, 1, 1, 3, 0);
        double_turn(tier);
        tier->io.error = cases[i].error;
        tier->io.fail_writes = 20;
        for (uint32_t b = 0; b < 20; b++) {
            struct double_batch *refused = double_behind(tier, &dice, a, 1, 0);
            double_turn(tier);
            cr_assert_eq(tier->statuses[refused->ticket], (int)cases[i].write);
            free(refused);
        }
        store_device(tier->store, 1, &told);
        cr_assert(!told.lost && told.refuses == cases[i].error && told.write_errors == 20);
        cr_assert_eq(read_back(tier, a, 0, &at), QUIRE_OK);
        tier->io.fail_syncs = 1;
        cr_assert_eq(double_do(tier, PAGER_DISK_SYNC, &sync), (int)cases[i].sync, "a sync is never tried again as if nothing had happened");
        struct double_batch *c = double_behind(tier, &dice, a, 3, 0);
        double_turn(tier);
        cr_assert_eq(tier->statuses[c->ticket], QUIRE_OK);
        store_device(tier->store, 1, &told);
        cr_assert(!told.lost && told.refuses == cases[i].error, "a write does not tell that syncs are taken again");
        cr_assert_eq(double_do(tier, PAGER_DISK_SYNC, &sync), QUIRE_OK);
        store_device(tier->store, 1, &told);
        cr_assert(!told.lost && told.refuses == 0 && tier->lost[1] == 0);
        free(a);
        free(c);
        double_tier_close(tier);
    }
}

/* A read that the system cannot even try is no failure of the device's, however often it happens, and the record is not called damaged. */
Test(daemon_disk_store, reads_for_which_there_is_no_memory) {
    struct dice dice = dice_printed("store no memory");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batch = double_batch(tier, &dice, 0, 1, 1, 1, 0);
    struct store_device told;
    uint8_t *at;
    double_turn(tier);
    tier->io.error = ENOMEM;
    for (uint32_t i = 0; i < 3 * STORE_READ_ERRORS; i++) {
        tier->io.fail_reads = 1;
        cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_NO_MEMORY);
    }
    store_device(tier->store, 0, &told);
    cr_assert(!told.lost && told.read_errors == 0);
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_OK);
    free(batch);
    double_tier_close(tier);
}

/* The write that was to bring a segment's header failed, others behind it did not: the footer brings the header, too. */
Test(daemon_disk_store, a_footer_brings_a_header_that_failed) {
    struct dice dice = dice_printed("store header");
    struct double_tier *tier = double_tier_open();
    struct quire_log_segment_header header;
    uint8_t unit[DOUBLE_UNIT];
    tier->io.error = ENOSPC;
    tier->io.fail_writes = 1;
    struct double_batch *a = double_batch(tier, &dice, 0, 5, 1, 3, 0);
    double_turn(tier);
    struct double_batch *b = double_behind(tier, &dice, a, 3, 0);
    double_turn(tier);
    const struct pager_disk_wish seal = {.epoch = 5,
                                         .used_units = b->wish.at_units + b->wish.size_units,
                                         .n = b->wish.n,
                                         .entries = b->entries,
                                         .first = true,
                                         .tail_epoch = 3};
    cr_assert_eq(double_do(tier, PAGER_DISK_SEAL, &seal), QUIRE_OK);
    cr_assert_eq(pread(tier->io.fds[0], unit, sizeof unit, (off_t)double_place(0, 0)), (ssize_t)sizeof unit);
    cr_assert_eq(quire_log_segment_header_decode(&tier->env.set.geometry, unit, double_set_id, 0, &header), QUIRE_OK);
    cr_assert(header.epoch == 5 && header.tail_epoch == 3);
    const struct pager_disk_wish ask = {.epoch = 5, .used_units = seal.used_units};
    cr_assert_eq(double_do(tier, PAGER_DISK_ENTRIES, &ask), QUIRE_OK);
    cr_assert_eq(tier->n_entries, 3);
    free(a);
    free(b);
    double_tier_close(tier);
}

/* A sync that failed cannot be repeated: what it was to make durable may be gone. */
Test(daemon_disk_store, a_failed_sync_loses_the_device) {
    struct dice dice = dice_printed("store sync fails");
    struct double_tier *tier = double_tier_open();
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 3, 0);
    double_turn(tier);
    tier->io.fail_syncs = 1;
    cr_assert_eq(double_seal(tier, &a, 1), QUIRE_SYSTEM);
    cr_assert_eq(tier->lost[0], 1);
    cr_assert_eq(tier->io.n_writes, 1, "no footer");
    free(a);
    double_tier_close(tier);
}

/* Reads that fail are misses; so many of them within a minute cost the device, and a trickle does not. */
Test(daemon_disk_store, many_failed_reads_lose_the_device) {
    struct dice dice = dice_printed("store reads");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batch = double_batch(tier, &dice, 0, 1, 1, 1, 0);
    uint8_t *at;
    double_turn(tier);
    for (uint32_t i = 0; i < 3 * STORE_READ_ERRORS; i++) {
        tier->io.fail_reads = 1;
        tier->io.clock_ns += STORE_READ_ERRORS_NS / STORE_READ_ERRORS;
        cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_SYSTEM);
    }
    cr_assert_eq(tier->lost[0], 0);
    tier->io.clock_ns += STORE_READ_ERRORS_NS;
    for (uint32_t i = 0; i <= STORE_READ_ERRORS; i++) {
        tier->io.fail_reads = 1;
        tier->io.clock_ns += QUIRE_NS_PER_MS;
        cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_SYSTEM);
        cr_assert_eq(tier->lost[0], i == STORE_READ_ERRORS);
    }
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_SYSTEM, "out of use");
    free(batch);
    double_tier_close(tier);
}

/* A record in memory that is none: the batch fails, and is on the disk all the same, so that what lies behind it is found. */
Test(daemon_disk_store, a_broken_record_does_not_hide_the_next_batch) {
    struct dice dice = dice_printed("store broken");
    struct double_tier *tier = double_tier_open();
    tier->io.hold = true;
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 3, 0);
    double_turn(tier);
    tier->io.hold = false;
    double_release(&tier->io);
    double_turn(tier);
    cr_assert_eq(tier->statuses[a->ticket], QUIRE_OK);
    memset(tier->pool + a->pieces[1].offset, 0xff, sizeof(struct quire_record_header));
    uint64_t again = double_wish(tier, PAGER_DISK_WRITE, &a->wish);
    struct double_batch *b = double_behind(tier, &dice, a, 2, 1);
    double_turn(tier);
    cr_assert_eq(tier->statuses[again], QUIRE_CORRUPT);
    cr_assert_eq(tier->statuses[b->ticket], QUIRE_OK);
    cr_assert_eq(tier->lost[0], 0);
    const struct pager_disk_wish wish = {.segment = 0, .epoch = 1};
    double_wish(tier, PAGER_DISK_ENTRIES, &wish);
    double_turn(tier);
    cr_assert_eq(tier->n_entries, 5);
    free(a);
    free(b);
    double_tier_close(tier);
}

static struct work *take_job(struct double_tier *tier) {
    struct work *job = tier->jobs;
    cr_assert(job != NULL && job->next == NULL);
    tier->jobs = NULL;
    return job;
}

static bool saved_is(const struct double_tier *tier, const char *text) {
    return tier->saved_bytes == strlen(text) && memcmp(tier->saved, text, tier->saved_bytes) == 0;
}

/*
 * The drive under the metadata hangs. Whoever waits is told that it is not saved, but never while what the bytes are made from is still read: that is the
 * owner's, and goes with the wish. No second job is begun on top of the one that hangs, so that workers stay; what it saves when the drive answers
 * after all is what there was then; and the next one is saved.
 */
Test(daemon_disk_store, metadata_that_hangs) {
    struct double_tier *tier = double_tier_open();
    const struct pager_disk_wish wish = {0};
    tier->to_save = "before";
    uint64_t first = double_wish(tier, PAGER_DISK_META, &wish);
    struct work *putting_together = take_job(tier);
    store_meta_give_up(tier->store); /* no drive can hang yet */
    cr_assert_eq(store_meta_since_ns(tier->store), 0);
    cr_assert_eq(tier->statuses[first], DOUBLE_PENDING);
    putting_together->run(putting_together);
    putting_together->done(putting_together);
    struct work *hanging = take_job(tier);
    cr_assert_neq(store_meta_since_ns(tier->store), 0);
    store_meta_give_up(tier->store);
    cr_assert_eq(tier->statuses[first], QUIRE_TIMEOUT);
    cr_assert_null(tier->picture);
    tier->to_save = "after";
    cr_assert_eq(store_meta_since_ns(tier->store), 0);
    uint64_t second = double_wish(tier, PAGER_DISK_META, &wish);
    cr_assert_eq(tier->statuses[second], QUIRE_SYSTEM);
    cr_assert_null(tier->jobs);
    hanging->run(hanging);
    hanging->done(hanging);
    cr_assert(saved_is(tier, "before"));
    cr_assert_eq(double_do(tier, PAGER_DISK_META, &wish), QUIRE_OK);
    cr_assert(saved_is(tier, "after"));
    cr_assert_eq(tier->completed[first], 1);
    double_tier_close(tier);
}

/* The metadata is saved by jobs; a namespace that is gone meanwhile has nothing to read. */
Test(daemon_disk_store, metadata_and_deleted_namespaces) {
    struct dice dice = dice_printed("store meta");
    struct double_tier *tier = double_tier_open();
    const struct pager_disk_wish wish = {0};
    cr_assert_eq(double_do(tier, PAGER_DISK_META, &wish), QUIRE_OK);
    cr_assert(saved_is(tier, "what is to be saved"));
    tier->to_save = "what nobody puts together";
    tier->encode_status = QUIRE_NO_MEMORY;
    cr_assert_eq(double_do(tier, PAGER_DISK_META, &wish), QUIRE_NO_MEMORY);
    cr_assert(saved_is(tier, "what is to be saved"));
    tier->encode_status = QUIRE_OK;
    tier->save_status = QUIRE_SYSTEM;
    cr_assert_eq(double_do(tier, PAGER_DISK_META, &wish), QUIRE_SYSTEM);
    cr_assert_eq(tier->lost[0] + tier->lost[1], 0);
    struct double_batch *batch = double_batch(tier, &dice, 0, 1, 1, 1, 0);
    uint8_t *at;
    double_turn(tier);
    tier->no_layout = true;
    cr_assert_eq(read_back(tier, batch, 0, &at), QUIRE_NOT_FOUND);
    free(batch);
    double_tier_close(tier);
}

/* Copies of layouts: one a namespace while it fits, never one that somebody holds, and never another namespace's. */
Test(daemon_disk_store, layouts_are_copied) {
    struct layouts layouts;
    quire_layout a = sample_layout(1, 1, 32, 32, QUIRE_F16, 16), b = sample_layout(2, 1, 32, 32, QUIRE_F16, 16);
    cr_assert_eq(layouts_setup(&layouts, 2), QUIRE_OK);
    struct layouts_copy *first = layouts_hold(&layouts, 1, &a), *second = layouts_hold(&layouts, 2, &b);
    cr_assert(first != NULL && second != NULL && first != second && first->tag != second->tag);
    cr_assert_eq(layouts_hold(&layouts, 1, &a), first);
    layouts_let_go(first);
    cr_assert_null(layouts_hold(&layouts, 3, &b), "both are held");
    layouts_let_go(first);
    struct layouts_copy *third = layouts_hold(&layouts, 3, &b);
    cr_assert_not_null(third);
    cr_assert_eq(third->tag, second->tag);
    cr_assert_eq(third->layout.n_layers, 2);
    layouts_teardown(&layouts);
}

/* As many wishes at once as there are slots, over each real backend: all complete once, and the bytes are right. */
static void full_house(const struct disk_io_ops *ops) {
    struct dice dice = dice_printed(ops->name);
    struct double_tier *tier = double_tier_open();
    struct double_batch *batch = double_batch(tier, &dice, 2, 4, 1, 30, 0);
    char why[256];
    double_turn(tier);
    struct disk_io *io;
    if (ops->create(32, &io, why, sizeof why) != QUIRE_OK) {
        cr_log_warn("%s: %s", ops->name, why);
        free(batch);
        double_tier_close(tier);
        return;
    }
    for (uint32_t i = 0; i < DOUBLE_FILES; i++) {
        cr_assert_eq(ops->add_file(io, tier->io.fds[i], &tier->env.set.file[i]), QUIRE_OK);
    }
    tier->env.io = io;
    static struct pager_disk_piece pieces[STORE_SLOTS];
    static struct pager_disk_wish wishes[STORE_SLOTS];
    uint64_t first = tier->tickets + 1;
    for (uint32_t i = 0; i < STORE_SLOTS; i++) {
        const struct quire_log_entry *entry = &batch->entries[i % 30];
        pieces[i] = (struct pager_disk_piece){.size_bytes = entry->size_bytes, .offset = tier->pool_used};
        tier->pool_used += double_units(entry->size_bytes) * DOUBLE_UNIT;
        cr_assert(tier->pool_used <= DOUBLE_POOL_BYTES);
        wishes[i] = (struct pager_disk_wish){.segment = 2,
                                             .epoch = 4,
                                             .at_units = entry->at_units,
                                             .pieces = &pieces[i],
                                             .key = entry->key,
                                             .check = entry->check,
                                             .check_mask = UINT64_MAX};
        double_wish(tier, PAGER_DISK_READ, &wishes[i]);
    }
    cr_assert_eq(store_in_flight(tier->store), STORE_SLOTS);
    while (store_in_flight(tier->store) > 0) {
        struct pollfd poll_fd = {.fd = ops->event_fd(io), .events = POLLIN};
        disk_env_flush(&tier->env);
        cr_assert_geq(poll(&poll_fd, 1, 60000), 0);
        ops->reap(io, UINT32_MAX);
        double_turn(tier);
    }
    for (uint32_t i = 0; i < STORE_SLOTS; i++) {
        cr_assert_eq(tier->completed[first + i], 1);
        cr_assert_eq(tier->statuses[first + i], QUIRE_OK);
        cr_assert_eq(memcmp(tier->pool + pieces[i].offset, tier->pool + batch->pieces[i % 30].offset, pieces[i].size_bytes), 0);
    }
    ops->destroy(&io);
    tier->env.io = &tier->io.io;
    free(batch);
    double_tier_close(tier);
}

Test(daemon_disk_store, full_house_with_threads) { full_house(&disk_io_threads); }
Test(daemon_disk_store, full_house_with_io_uring) { full_house(&disk_io_uring); }

/*
 * A pool that others may write to. One of a batch's records was written over, in a lane, its header, or as a whole by another block's: the batch tells which by a sum
 * of 0, and is written all the same; the others are what they were. A pool that nobody else writes to is not looked at: that costs nothing.
 */
Test(daemon_disk_store, a_pool_that_others_write_to) {
    struct dice dice = dice_printed("store doubted");
    for (uint32_t how = 0; how < 4; how++) {
        struct double_tier *tier = double_tier_open();
        uint8_t *at;
        store_destroy(&tier->store);
        tier->doubted = how < 3;
        double_open_store(tier);
        struct double_batch *batch = double_batch(tier, &dice, 0, 1, 1, 4, 0); /* its job has not run yet */
        const struct pager_disk_piece *bad = &batch->pieces[2];
        uint8_t *record = tier->pool + bad->offset;
        if (how == 0 || how == 3) {
            record[bad->size_bytes - 1] ^= 1;
        } else if (how == 1) {
            record[offsetof(struct quire_record_header, sequence)] ^= 1;
        } else {
            batch->entries[2].key.b[0] ^= 1; /* what lies there is not this block's */
        }
        double_turn(tier);
        cr_assert_eq(tier->statuses[batch->ticket], how < 3 ? QUIRE_CORRUPT : QUIRE_OK, "way %u", how);
        cr_assert_eq(tier->io.n_writes, 1);
        for (uint32_t i = 0; i < 4; i++) {
            cr_assert_eq(batch->entries[i].check == 0, i == 2 && how < 3, "way %u, record %u", how, i);
            if (i != 2) {
                cr_assert_eq(read_back(tier, batch, i, &at), QUIRE_OK);
            }
        }
        cr_assert_eq(tier->lost[0], 0, "the drive is not to blame");
        free(batch);
        double_tier_close(tier);
    }
}
