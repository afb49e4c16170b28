#include "daemon/net/share.h"

#include "daemon/net/outbox.h"

void shares_setup(struct shares *shares) {
    *shares = (struct shares){0};
    ring_setup(&shares->line);
}

static uint32_t counts(const struct share *share, enum share_kind kind) { return !share->stuck && share->bytes[kind] > 0; }

static void recount(struct shares *shares, const struct share *share, int by) {
    for (uint32_t kind = 0; kind < SHARE_KINDS; kind++) {
        shares->n[kind] += (uint32_t)by * counts(share, (enum share_kind)kind);
    }
}

static uint32_t others(const struct shares *shares, const struct share *share, enum share_kind kind) {
    return shares->n[kind] - counts(share, kind);
}

static uint64_t limit(const struct shares *shares, const struct share *share, enum share_kind kind) {
    bool shared = others(shares, share, SHARE_FETCH) > 0 || (kind == SHARE_PREFETCH && others(shares, share, SHARE_PREFETCH) > 0);
    return shared ? OUTBOX_TURN_BYTES : kind == SHARE_PREFETCH ? SHARE_PREFETCH_BYTES : SHARE_ALONE_BYTES;
}

/* ---- the line ------------------------------------------------------------------------------------------------------------------- */
static bool has_turn(const struct shares *shares, const struct share *share) {
    return others(shares, share, SHARE_FETCH) == 0 || shares->passed_bytes >= (uint64_t)OUTBOX_PATIENCE * OUTBOX_TURN_BYTES;
}

void share_leave(struct share *share) { ring_remove(&share->place); }

struct share *share_next(struct shares *shares) {
    struct share *first = LOOP_CONTAINER(shares->line.next, struct share, place);
    if (ring_is_empty(&shares->line) || !has_turn(shares, first)) {
        return NULL;
    }
    share_leave(first);
    return first;
}

/* ---- what is under way ---------------------------------------------------------------------------------------------------------- */
uint64_t share_room(struct shares *shares, struct share *share, enum share_kind kind) {
    uint64_t most = limit(shares, share, kind), bytes = share->bytes[SHARE_FETCH] + share->bytes[SHARE_PREFETCH];
    if (bytes >= most) {
        return 0;
    }
    if (kind == SHARE_PREFETCH && !has_turn(shares, share)) {
        ring_add(&shares->line, &share->place);
        return 0;
    }
    return most;
}

static void add(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes, bool stuck) {
    recount(shares, share, -1);
    share->bytes[kind] += bytes;
    share->stuck = stuck;
    recount(shares, share, 1);
}

void share_begin(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes, uint64_t now_ns) {
    bool first = share->bytes[SHARE_FETCH] + share->bytes[SHARE_PREFETCH] == 0;
    share->moved_ns = first ? now_ns : share->moved_ns;
    if (kind == SHARE_PREFETCH && bytes > 0 && others(shares, share, SHARE_FETCH) > 0) {
        shares->passed_bytes = 0;
    }
    add(shares, share, kind, bytes, share->stuck && !first);
}

void share_undo(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes) {
    add(shares, share, kind, -bytes, share->stuck);
}

void share_end(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes, uint64_t now_ns) {
    shares->passed_bytes += kind == SHARE_FETCH ? bytes : 0;
    share->moved_ns = now_ns;
    add(shares, share, kind, -bytes, false);
}

void share_look(struct shares *shares, struct share *share, uint64_t now_ns) {
    recount(shares, share, -1);
    share->stuck = share->bytes[SHARE_FETCH] + share->bytes[SHARE_PREFETCH] > 0 && now_ns > share->moved_ns + SHARE_STUCK_NS;
    recount(shares, share, 1);
}
