/* Who hands how much to UCX: wires of one rail, of which some fetch, some prefetch, and some take nothing of what they asked for. */
#include "daemon/net/outbox.h"
#include "daemon/net/share.h"

#include <criterion/criterion.h>

enum { WIRES = 4, TURN = OUTBOX_TURN_BYTES };

static struct shares shares;
static struct share wire[WIRES];
static uint64_t now_ns;

static void setup(void) {
    now_ns = 1;
    shares_setup(&shares);
    memset(wire, 0, sizeof wire);
}

/* Hands over what it may; how much that is. */
static uint64_t hand_over(int i, enum share_kind kind) {
    uint64_t room = share_room(&shares, &wire[i], kind), bytes = room > 0 ? room - wire[i].bytes[kind] : 0;
    if (bytes > 0) {
        share_begin(&shares, &wire[i], kind, bytes, now_ns);
    }
    return bytes;
}

static void goes(int i, enum share_kind kind, uint64_t bytes) { share_end(&shares, &wire[i], kind, bytes, now_ns); }

/* One alone has much under way, several have a turn each. */
Test(share, turns, .init = setup) {
    cr_assert_eq(hand_over(0, SHARE_FETCH), SHARE_ALONE_BYTES);
    cr_assert_eq(hand_over(0, SHARE_FETCH), 0);
    cr_assert_eq(hand_over(1, SHARE_FETCH), TURN);
    goes(0, SHARE_FETCH, TURN);
    cr_assert_eq(hand_over(0, SHARE_FETCH), 0, "it has more than its turn's still");
    goes(1, SHARE_FETCH, TURN);
    cr_assert_gt(hand_over(0, SHARE_FETCH), 0);
}

/* What is prefetched takes nothing from who fetches, and does not begin while somebody does. */
Test(share, a_prefetch_waits_for_fetches_of_others, .init = setup) {
    cr_assert_eq(hand_over(0, SHARE_PREFETCH), SHARE_PREFETCH_BYTES);
    cr_assert_eq(hand_over(1, SHARE_FETCH), SHARE_ALONE_BYTES, "who prefetches has no share in what is for fetches");
    goes(0, SHARE_PREFETCH, SHARE_PREFETCH_BYTES);
    cr_assert_eq(hand_over(0, SHARE_PREFETCH), 0);
    cr_assert_null(share_next(&shares));
    cr_assert_gt(hand_over(0, SHARE_FETCH), 0, "a fetch of its own does not wait");
    goes(0, SHARE_FETCH, TURN);
    cr_assert_null(share_next(&shares));
    goes(1, SHARE_FETCH, SHARE_ALONE_BYTES - 2 * TURN);
    cr_assert_eq(hand_over(1, SHARE_FETCH), SHARE_ALONE_BYTES - 2 * TURN);
    goes(1, SHARE_FETCH, SHARE_ALONE_BYTES);
    cr_assert_eq(share_next(&shares), &wire[0], "nobody fetches any more: whoever waits is told");
    cr_assert_eq(hand_over(0, SHARE_PREFETCH), SHARE_PREFETCH_BYTES);
    cr_assert_null(share_next(&shares));
}

/* Two fetch all the time, two want to prefetch: those are late and do not starve, and have the same. */
Test(share, prefetches_do_not_starve, .init = setup) {
    uint64_t moved[WIRES] = {0};
    for (uint32_t turn = 0; turn < 40 * OUTBOX_PATIENCE; turn++) {
        for (int i = 0; i < WIRES; i++) {
            enum share_kind kind = i < 2 ? SHARE_FETCH : SHARE_PREFETCH;
            uint64_t bytes = wire[i].bytes[kind];
            if (bytes > 0) {
                goes(i, kind, bytes);
            }
            moved[i] += !ring_holds(&wire[i].place) ? hand_over(i, kind) : 0;
        }
        struct share *next = share_next(&shares);
        if (next != NULL) {
            moved[next - wire] += hand_over((int)(next - wire), SHARE_PREFETCH);
        }
    }
    uint64_t fetched = moved[0] + moved[1], prefetched = moved[2] + moved[3];
    cr_assert_geq(prefetched, fetched / OUTBOX_PATIENCE / 2, "%llu of %llu", (unsigned long long)prefetched, (unsigned long long)fetched);
    cr_assert_leq(prefetched, fetched / OUTBOX_PATIENCE + 4 * TURN);
    cr_assert_leq(moved[2], moved[3] + 2 * TURN);
    cr_assert_leq(moved[3], moved[2] + 2 * TURN);
}

/* A client that takes nothing of what it fetches leaves the others all there is, and what they prefetch goes. When it takes something it counts. */
Test(share, who_is_stuck_has_no_share, .init = setup) {
    hand_over(0, SHARE_FETCH);
    cr_assert_eq(hand_over(1, SHARE_FETCH), TURN);
    cr_assert_eq(hand_over(2, SHARE_PREFETCH), 0);
    now_ns += SHARE_STUCK_NS;
    goes(1, SHARE_FETCH, TURN / 2);
    for (int i = 0; i < WIRES; i++) {
        share_look(&shares, &wire[i], now_ns);
    }
    cr_assert_eq(hand_over(1, SHARE_FETCH), TURN / 2, "just before");
    now_ns += SHARE_STUCK_NS / 2;
    for (int i = 0; i < WIRES; i++) {
        share_look(&shares, &wire[i], now_ns);
    }
    cr_assert_eq(hand_over(1, SHARE_FETCH), SHARE_ALONE_BYTES - TURN);
    goes(1, SHARE_FETCH, SHARE_ALONE_BYTES);
    cr_assert_eq(share_next(&shares), &wire[2]);
    cr_assert_eq(hand_over(2, SHARE_PREFETCH), SHARE_PREFETCH_BYTES);
    share_begin(&shares, &wire[0], SHARE_FETCH, 1, now_ns);
    cr_assert_eq(hand_over(3, SHARE_FETCH), SHARE_ALONE_BYTES, "more was given to it, nothing went");
    goes(3, SHARE_FETCH, SHARE_ALONE_BYTES);
    goes(0, SHARE_FETCH, 1);
    cr_assert_eq(hand_over(3, SHARE_FETCH), TURN);
}

/* What UCX does not take was not under way, and who goes leaves the line. */
Test(share, undone_and_gone, .init = setup) {
    hand_over(0, SHARE_FETCH);
    share_begin(&shares, &wire[1], SHARE_FETCH, TURN, now_ns);
    share_undo(&shares, &wire[1], SHARE_FETCH, TURN);
    cr_assert_eq(hand_over(2, SHARE_PREFETCH), 0);
    cr_assert_eq(hand_over(3, SHARE_PREFETCH), 0);
    share_leave(&wire[2]);
    goes(0, SHARE_FETCH, SHARE_ALONE_BYTES);
    cr_assert_eq(share_next(&shares), &wire[3]);
    cr_assert_null(share_next(&shares));
}
