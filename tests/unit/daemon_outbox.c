/* The order in which a rail sends: by rank within a wire, by turns between wires. */
#include "daemon/link.h"
#include "daemon/net/outbox.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct exchange_msg *message(enum outbox_rank rank, uint64_t number) {
    struct exchange_msg *msg = exchange_msg_create(NULL, EXCHANGE_SEND, 0);
    msg->bytes = number;
    if (rank != OUTBOX_REPLY) {
        msg->tx = link_tx_create(40, 1);
        msg->tx->prefetch = rank == OUTBOX_PREFETCH;
    }
    return msg;
}

/* Takes the next one from it: its number, 0: there is none. */
static uint64_t take(struct outbox *outbox) {
    struct exchange_msg *msg = outbox_first(outbox);
    uint64_t number = msg != NULL ? msg->bytes : 0;
    outbox_done(outbox);
    if (msg != NULL) {
        exchange_msg_free(msg);
    }
    return number;
}

/* Replies go ahead of fetches, those ahead of prefetches, each in their order; but nothing is sent into the middle of a message. */
Test(outbox, ranks) {
    struct outbox outbox;
    outbox_setup(&outbox);
    cr_assert(outbox_is_empty(&outbox) && outbox_first(&outbox) == NULL && !outbox_replies(&outbox));
    outbox_put(&outbox, message(OUTBOX_PREFETCH, 1));
    cr_assert_eq(outbox_first(&outbox)->bytes, 1);
    outbox_put(&outbox, message(OUTBOX_PREFETCH, 2));
    outbox_put(&outbox, message(OUTBOX_FETCH, 3));
    outbox_put(&outbox, message(OUTBOX_REPLY, 4));
    outbox_put(&outbox, message(OUTBOX_REPLY, 5));
    outbox_put(&outbox, message(OUTBOX_FETCH, 6));
    cr_assert_not(outbox_replies(&outbox), "there is a message that was begun");
    static const uint64_t expected[] = {1, 4, 5, 3, 6, 2};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(expected); i++) {
        cr_assert_eq(take(&outbox), expected[i]);
        cr_assert_eq(outbox_replies(&outbox), i == 0 || i == 1);
    }
    cr_assert(outbox_is_empty(&outbox) && take(&outbox) == 0);
}

/* Everybody in turn, however much each has; who has nothing but prefetches waits for the others, but not for ever. */
Test(outbox, turns) {
    enum { N = 5, TURNS = 480 };
    struct outbox_line line;
    struct outbox boxes[N];
    uint32_t turns[N] = {0};
    outbox_line_setup(&line);
    cr_assert(outbox_line_is_empty(&line) && outbox_next(&line) == NULL);
    for (uint32_t i = 0; i < N; i++) {
        outbox_setup(&boxes[i]);
        outbox_put(&boxes[i], message(i < 3 ? OUTBOX_FETCH : OUTBOX_PREFETCH, i));
        outbox_join(&line, &boxes[i]);
        outbox_join(&line, &boxes[i]);
    }
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        struct outbox *next = outbox_next(&line);
        turns[next - boxes]++;
        outbox_join(&line, next);
    }
    for (uint32_t i = 0; i < N; i++) {
        uint32_t share = i < 3 ? TURNS / OUTBOX_PATIENCE * (OUTBOX_PATIENCE - 1) / 3 : TURNS / OUTBOX_PATIENCE / 2;
        cr_assert_eq(turns[i], share, "outbox %u had %u turns of %u", i, turns[i], (unsigned)TURNS);
    }
    for (uint32_t i = 0; i < 3; i++) {
        outbox_leave(&boxes[i]);
        take(&boxes[i]);
    }
    cr_assert_eq(outbox_next(&line), &boxes[3], "nobody else is there: they do not wait");
    cr_assert_eq(outbox_next(&line), &boxes[4]);
    cr_assert(outbox_line_is_empty(&line));
    outbox_leave(&boxes[4]);
    take(&boxes[3]);
    take(&boxes[4]);
}

/* A wire that was prefetching is asked for something that is needed: it stands with the others from now, though the prefetch goes to its end first. */
Test(outbox, what_is_needed_lifts_what_is_before_it) {
    struct outbox_line line;
    struct outbox busy, other;
    outbox_line_setup(&line);
    outbox_setup(&busy);
    outbox_setup(&other);
    outbox_put(&busy, message(OUTBOX_FETCH, 1));
    outbox_put(&other, message(OUTBOX_PREFETCH, 2));
    cr_assert_not_null(outbox_first(&other));
    outbox_join(&line, &other);
    outbox_join(&line, &busy);
    cr_assert_eq(outbox_next(&line), &busy);
    outbox_join(&line, &busy);
    outbox_put(&other, message(OUTBOX_FETCH, 3));
    outbox_join(&line, &other);
    cr_assert_eq(outbox_next(&line), &busy);
    outbox_join(&line, &busy);
    cr_assert_eq(outbox_next(&line), &other);
    cr_assert_eq(take(&other), 2);
    cr_assert_eq(take(&other), 3);
    cr_assert_eq(take(&busy), 1);
}
