/* Parts: rectangles of one record from several ranks, in any order; together they make a block, or they expire. */
#include "tests/unit/pager_rig.h"

static const quire_rect quarter[4] = {{0, 2, 0, 1}, {0, 2, 1, 1}, {2, 2, 0, 1}, {2, 2, 1, 1}};

static enum quire_status put_part(struct rig *rig, uint64_t session, uint32_t key, uint64_t put_id, quire_rect rect) {
    struct quire_wire_put item = rig_item(rig, key, 0);
    item = rig_part(rig, item, put_id, rect);
    uint64_t cookie;
    enum quire_status status = rig_offer(rig, session, &item, &cookie);
    return status == QUIRE_OK ? rig->outcome[cookie] : status;
}

static uint64_t another_session(struct rig *rig) {
    uint64_t session;
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &session), QUIRE_OK);
    return session;
}

/* Four ranks, each a session of its own, bring a quarter each; the block appears with the last. */
Test(parts, complete_a_block_from_any_session_in_any_order) {
    static const uint32_t orders[3][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}, {2, 3, 1, 0}};
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    for (uint32_t o = 0; o < 3; o++) {
        for (uint32_t i = 0; i < 4; i++) {
            cr_assert_eq(rig_why(rig, o + 1), i ? QUIRE_MISS_INCOMPLETE : QUIRE_MISS_NEVER_STORED);
            cr_assert_eq(put_part(rig, another_session(rig), o + 1, 77, quarter[orders[o][i]]), QUIRE_OK);
        }
        cr_assert_eq(rig_why(rig, o + 1), QUIRE_MISS_NONE);
    }
    cr_assert_eq(pager_counters(rig->pager)->puts_stored, 3);
    rig_free(rig);
}

/* Fills are asked for one by one; the seal comes when the last has landed, whichever that is. */
Test(parts, seal_after_the_last_fill) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill[4], seal;
    rig->held = true;
    for (uint32_t i = 0; i < 4; i++) {
        put_part(rig, rig->session, 1, 5, quarter[i]);
        cr_assert(rig_take(rig, &fill[i]) && fill[i].type == PAGER_FILL && !fill[i].seal);
        cr_assert_eq(fill[i].offset, fill[0].offset);
        cr_assert_eq(fill[i].rect.first_head, quarter[i].first_head);
    }
    for (uint32_t i = 4; i-- > 0;) {
        cr_assert_not(rig_take(rig, &seal));
        rig_complete(rig, &fill[i], QUIRE_OK);
    }
    cr_assert(rig_take(rig, &seal) && seal.type == PAGER_SEAL);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    cr_assert(rig->outcome[4] == QUIRE_OK && rig->outcome[1] == QUIRE_PENDING); /* part 1 landed last: it waits for the seal */
    rig_complete(rig, &seal, QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[1], QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* Only equal put_ids combine: two writers that cut the block differently do not mix their bytes. */
Test(parts, of_different_puts_do_not_mix) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 0, 1});
    put_part(rig, rig->session, 1, 6, (quire_rect){0, 4, 1, 1});
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    cr_assert_eq(put_part(rig, rig->session, 1, 6, (quire_rect){0, 4, 0, 1}), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    /* What the other had brought is given up: the block is there, and its late part is a duplicate. */
    cr_assert_eq(rig_info(rig, 1).n_records, 1);
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 1, 1}), QUIRE_OK);
    cr_assert_eq(rig_stats(rig).used_bytes, rig_stats(rig).live_bytes + 1024 - rig_stats(rig).live_bytes % 1024);
    rig_free(rig);
}

/* A part of which the checksum is this. */
static enum quire_status put_sum(struct rig *rig, uint64_t session, quire_rect rect, uint64_t check) {
    struct quire_wire_put item = rig_part(rig, rig_item(rig, 1, 0), 5, rect);
    uint64_t cookie;
    item.check = check;
    enum quire_status status = rig_offer(rig, session, &item, &cookie);
    return status == QUIRE_OK ? rig->outcome[cookie] : status;
}

/* Parts that overlap others, or say something else in their place, are refused; what is there stays and may still be completed. */
Test(parts, refuse_overlap_and_other_bytes) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put worse = rig_part(rig, rig_item(rig, 1, 0), 5, (quire_rect){0, 3, 0, 1});
    worse.check = 11;
    worse.ancestry_error = 0.5f;
    cr_assert_eq(put_sum(rig, rig->session, (quire_rect){0, 3, 0, 1}, 11), QUIRE_OK);
    cr_assert_eq(put_sum(rig, rig->session, (quire_rect){0, 3, 0, 1}, 12), QUIRE_INVALID); /* other bytes */
    cr_assert_eq(put_sum(rig, rig->session, (quire_rect){0, 2, 0, 1}, 11), QUIRE_INVALID); /* some of its place */
    cr_assert_eq(rig_put_item(rig, &worse), QUIRE_INVALID); /* it would be held for more faithful than it is */
    cr_assert_eq(put_sum(rig, rig->session, (quire_rect){2, 2, 0, 2}, 11), QUIRE_INVALID);
    cr_assert_eq(put_sum(rig, rig->session, (quire_rect){0, 4, 0, 2}, 11), QUIRE_INVALID); /* the whole over a part */
    cr_assert_eq(pager_counters(rig->pager)->puts_invalid, 5);
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){3, 1, 0, 1}), QUIRE_OK);
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 1, 1}), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* A rank whose connection broke does not know what arrived. All it does is to send its part again, by another session, until it is told OK: while
 * the first one is under way, when it has landed, while the block is sealed, and when that is there. It is one block, and filled once. */
Test(parts, may_be_repeated) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event first, last, seal;
    uint64_t mate = another_session(rig), again = another_session(rig);
    rig->held = true;
    cr_assert_eq(put_sum(rig, mate, (quire_rect){0, 2, 0, 2}, 21), QUIRE_PENDING);
    cr_assert(rig_take(rig, &first));
    cr_assert_eq(put_sum(rig, rig->session, (quire_rect){2, 2, 0, 2}, 22), QUIRE_PENDING);
    cr_assert(rig_take(rig, &last) && last.type == PAGER_FILL);
    pager_session_close(rig->pager, rig->session, false);
    rig->session = again;
    put_sum(rig, again, (quire_rect){2, 2, 0, 2}, 22);
    cr_assert_not(rig_take(rig, &seal));
    cr_assert(rig->outcome[3] == QUIRE_RETRY && rig->retry_ms[3] > 0);
    rig_complete(rig, &first, QUIRE_OK);
    put_sum(rig, mate, (quire_rect){0, 2, 0, 2}, 21);
    cr_assert_not(rig_take(rig, &seal));
    cr_assert_eq(rig->outcome[4], QUIRE_OK);
    rig_complete(rig, &last, QUIRE_OK);
    cr_assert(rig_take(rig, &seal) && seal.type == PAGER_SEAL);
    put_sum(rig, again, (quire_rect){2, 2, 0, 2}, 22);
    rig_complete(rig, &seal, QUIRE_OK);
    rig->held = false;
    rig_pump(rig);
    cr_assert_eq(rig->outcome[5], QUIRE_RETRY, "its OK would say that the block is sealed");
    cr_assert_eq(put_sum(rig, again, (quire_rect){2, 2, 0, 2}, 22), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_eq(pager_counters(rig->pager)->puts_repeated, 3);
    cr_assert_eq(pager_counters(rig->pager)->puts_stored, 1);
    cr_assert_eq(pager_counters(rig->pager)->puts_invalid, 0);
    rig_free(rig);
}

/* Who repeats a part has brought it: the block waits for its rest, though the session that brought it first has gone. */
Test(parts, belong_to_who_repeats_them) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint64_t before = another_session(rig), mate = another_session(rig);
    cr_assert_eq(put_sum(rig, before, (quire_rect){0, 1, 0, 2}, 31), QUIRE_OK);
    cr_assert_eq(put_sum(rig, mate, (quire_rect){0, 1, 0, 2}, 31), QUIRE_OK);
    pager_session_close(rig->pager, before, false);
    cr_assert_eq(put_sum(rig, mate, (quire_rect){1, 3, 0, 2}, 32), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* A part over a whole that is under way repeats it. */
Test(parts, refuse_a_part_of_a_whole_under_way) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig->held = true;
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 0, 2}), QUIRE_PENDING);
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){0, 1, 0, 1}), QUIRE_INVALID);
    rig_pump(rig);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* A damaged part is refused alone: sent again it completes the block. */
Test(parts, corrupt_part_may_come_again) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 0, 1});
    rig->fill_status = QUIRE_CORRUPT;
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 1, 1}), QUIRE_CORRUPT);
    rig->fill_status = QUIRE_OK;
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    cr_assert_eq(put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 1, 1}), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* Parts whose companions never come are dropped after their time; nothing of them stays. */
Test(parts, expire) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    put_part(rig, rig->session, 1, 5, quarter[0]);
    cr_assert_eq(pager_next_deadline(rig->pager), rig->now_ns + 30000 * RIG_MS);
    rig_pass(rig, 29999);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    rig_pass(rig, 1);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(pager_counters(rig->pager)->parts_expired, 1);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(pager_next_deadline(rig->pager), UINT64_MAX);
    rig_free(rig);
}

/* What is being copied does not expire under the daemon's hands. */
Test(parts, do_not_expire_while_filling) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill;
    rig->held = true;
    put_part(rig, rig->session, 1, 5, quarter[0]);
    cr_assert(rig_take(rig, &fill));
    rig_pass(rig, 40000);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    rig_complete(rig, &fill, QUIRE_OK);
    rig_pass(rig, 40000);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NEVER_STORED);
    rig_free(rig);
}

/* A rank dies: if it was alone its parts go at once; if others have brought parts these wait for a replacement. */
Test(parts, of_a_dead_session) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint64_t a = another_session(rig), b = another_session(rig);
    put_part(rig, a, 1, 5, quarter[0]);
    put_part(rig, a, 2, 6, quarter[0]);
    put_part(rig, b, 2, 6, quarter[1]);
    pager_session_close(rig->pager, a, false);
    pager_check(rig->pager);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_INCOMPLETE);
    put_part(rig, rig->session, 2, 6, quarter[2]);
    cr_assert_eq(put_part(rig, rig->session, 2, 6, quarter[3]), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* The rank dies while its bytes are being copied: the copy ends first, its outcome is told once, then the room is free. */
Test(parts, session_dies_during_a_fill) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill;
    uint64_t a = another_session(rig);
    rig->held = true;
    put_part(rig, a, 1, 5, quarter[0]); /* cookie 1: under way */
    cr_assert(rig_take(rig, &fill));
    put_part(rig, a, 1, 5, quarter[1]); /* cookie 2: asked for, not yet taken */
    pager_session_close(rig->pager, a, false);
    pager_check(rig->pager);
    rig_pump(rig);
    cr_assert(rig->outcome[2] == QUIRE_CANCELLED && rig->outcome[1] == QUIRE_PENDING);
    cr_assert_gt(rig_stats(rig).used_bytes, 0);
    rig_complete(rig, &fill, QUIRE_OK);
    rig_pump(rig);
    cr_assert(rig->outcomes[1] == 1 && rig->outcomes[2] == 1);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    rig_free(rig);
}

/* Deleting a block gives up what is under construction: a put from before does not bring it back. */
Test(parts, delete_ends_construction) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill;
    rig->held = true;
    put_part(rig, rig->session, 1, 5, (quire_rect){0, 4, 0, 2});
    cr_assert(rig_take(rig, &fill));
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    cr_assert_gt(rig_stats(rig).used_bytes, 0); /* the copy is still under way: its room is not given to others */
    rig_complete(rig, &fill, QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[1], QUIRE_OK); /* it was stored, and then deleted: its owner did not give it up */
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    rig_free(rig);
}

/* ... but who wants it pinned is told that it is not there; and bytes that were not what their sum says are told of all the same. */
Test(parts, delete_tells_of_pins_and_of_corruption) {
    static const struct {
        uint8_t flags;
        enum quire_status landed, outcome;
    } cases[] = {{QUIRE_WIRE_PUT_PIN, QUIRE_OK, QUIRE_MISS}, {0, QUIRE_CORRUPT, QUIRE_CORRUPT}};
    quire_layout layout = rig_layout();
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        struct rig *rig = rig_new(1 << 20, &layout);
        struct pager_event fill;
        struct quire_wire_put item = rig_item(rig, 1, 0);
        item.flags |= cases[i].flags;
        rig->held = true;
        rig_put_item(rig, &item);
        cr_assert(rig_take(rig, &fill));
        cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
        rig_complete(rig, &fill, cases[i].landed);
        rig_pump(rig);
        cr_assert(rig->outcome[1] == cases[i].outcome && rig->outcomes[1] == 1);
        cr_assert_eq(rig_stats(rig).used_bytes, 0);
        rig_free(rig);
    }
}

/* Tickets are believed once: a repeated or invented completion changes nothing. */
Test(parts, completions_count_once) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill;
    rig->held = true;
    put_part(rig, rig->session, 1, 5, quarter[0]);
    pager_complete(rig->pager, rig->now_ns, 4711, QUIRE_OK);
    cr_assert(rig_take(rig, &fill));
    rig_complete(rig, &fill, QUIRE_OK);
    rig_complete(rig, &fill, QUIRE_CORRUPT);
    rig_complete(rig, &fill, QUIRE_OK);
    rig_pump(rig);
    rig_complete(rig, &fill, QUIRE_OK);
    cr_assert(rig->outcome[1] == QUIRE_OK && rig->outcomes[1] == 1);
    rig_free(rig);
}

/* The limit of records under construction is answered with a hint to come again. */
Test(parts, limited_in_number) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig->options.max_parts_pending = 2;
    rig_new_pager(rig, 1 << 20);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, NULL, 0), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    put_part(rig, rig->session, 1, 1, quarter[0]);
    put_part(rig, rig->session, 2, 2, quarter[0]);
    cr_assert_eq(put_part(rig, rig->session, 3, 3, quarter[0]), QUIRE_RETRY);
    cr_assert_gt(rig->retry_ms[rig->cookie], 0);
    cr_assert_eq(put_part(rig, rig->session, 2, 2, quarter[1]), QUIRE_OK);
    rig_free(rig);
}

/* A record is as faithful as the least of its parts; a part that was refused has no say. */
Test(parts, ancestry_is_the_worst_of_those_admitted) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    static const float ancestry[4] = {0.125f, 0.5f, 0.25f, 0};
    struct quire_wire_put item;
    for (uint32_t i = 0; i < 4; i++) {
        item = rig_part(rig, rig_item(rig, 1, 0), 5, quarter[i]);
        item.ancestry_error = ancestry[i];
        cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
        item.ancestry_error = 0.75f;
        cr_assert_eq(rig_put_item(rig, &item), i < 3 ? QUIRE_INVALID : QUIRE_OK); /* in the end it is a duplicate */
    }
    cr_assert_eq(rig_info(rig, 1).records[0].ancestry_error, 0.5f);
    rig_free(rig);
}

/* Who counts on parts that were dropped learns it from the next one, which begins nothing by itself; so the block is not taken for complete. */
Test(parts, say_what_was_taken_before) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put half = rig_part(rig, rig_item(rig, 1, 0), 5, (quire_rect){0, 4, 0, 1});
    struct quire_wire_put rest = rig_part(rig, rig_item(rig, 1, 0), 5, (quire_rect){0, 4, 1, 1});
    rest.taken = 4;
    cr_assert_eq(rig_put_item(rig, &rest), QUIRE_STALE); /* the key is not known at all */
    cr_assert_eq(rig_put_item(rig, &half), QUIRE_OK);
    rest.taken = 5;
    cr_assert_eq(rig_put_item(rig, &rest), QUIRE_STALE);
    rest.taken = 4;
    rig_pass(rig, 30000);
    cr_assert_eq(rig_put_item(rig, &rest), QUIRE_STALE);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(rig_put_item(rig, &half), QUIRE_OK);
    cr_assert_eq(rig_put_item(rig, &rest), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_eq(rig_put_item(rig, &rest), QUIRE_OK); /* a duplicate: nothing is missing */
    rig_free(rig);
}

static enum quire_status cancel(struct rig *rig, uint64_t session, uint32_t key, uint64_t put_id) {
    quire_key k = rig_key(key);
    enum quire_status status = pager_put_cancel(rig->pager, rig->now_ns, session, rig->ns, &k, put_id);
    pager_check(rig->pager);
    rig_pump(rig);
    return status;
}

/* A session gives up what it has begun: nothing of it stays. Only what is its own: another put of the key, and a put to which another session
   has brought something, go on. */
Test(parts, given_up) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint64_t other = another_session(rig);
    cr_assert_eq(cancel(rig, rig->session, 1, 5), QUIRE_NOT_FOUND);
    put_part(rig, rig->session, 1, 5, quarter[0]);
    cr_assert_eq(cancel(rig, rig->session, 1, 6), QUIRE_NOT_FOUND);
    cr_assert_eq(cancel(rig, other, 1, 5), QUIRE_NOT_FOUND);
    cr_assert_eq(cancel(rig, rig->session, 1, 0), QUIRE_NOT_FOUND);
    cr_assert_eq(cancel(rig, rig->session + 99, 1, 5), QUIRE_NOT_FOUND);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    cr_assert_eq(cancel(rig, rig->session, 1, 5), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    put_part(rig, rig->session, 1, 5, quarter[0]);
    put_part(rig, other, 1, 5, quarter[1]);
    cr_assert_eq(cancel(rig, rig->session, 1, 5), QUIRE_NOT_FOUND);
    put_part(rig, rig->session, 1, 5, quarter[2]);
    cr_assert_eq(put_part(rig, rig->session, 1, 5, quarter[3]), QUIRE_OK);
    cr_assert_eq(cancel(rig, rig->session, 1, 5), QUIRE_NOT_FOUND);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* ... also while a part of it is being copied: the copy ends first, and its outcome is told once. */
Test(parts, given_up_during_a_fill) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill;
    rig->held = true;
    put_part(rig, rig->session, 1, 5, quarter[0]);
    cr_assert(rig_take(rig, &fill));
    put_part(rig, rig->session, 1, 5, quarter[1]);
    cr_assert_eq(cancel(rig, rig->session, 1, 5), QUIRE_OK);
    cr_assert(rig->outcome[2] == QUIRE_CANCELLED && rig->outcome[1] == QUIRE_PENDING);
    rig_complete(rig, &fill, QUIRE_OK);
    rig_pump(rig);
    cr_assert(rig->outcome[1] == QUIRE_CANCELLED && rig->outcomes[1] == 1);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    rig_free(rig);
}
