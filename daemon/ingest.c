#include "daemon/ingest.h"

#include "daemon/pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct ingest_waiter {
    void *owner;
    uint64_t request, bytes, deadline_ns;
};

struct ingest {
    struct ingest_limits limits;
    struct ingest_ops ops;
    struct ingest_counters counters;
    uint64_t lent_bytes;
    uint32_t next_number;
    struct ingest_window *windows;
    uint32_t n_waiting; /* first come, first served */
    struct ingest_waiter waiting[INGEST_MAX_WAITING];
};

enum quire_status ingest_create(const struct ingest_limits *limits, const struct ingest_ops *ops, struct ingest **out) {
    struct ingest *ingest = calloc(1, sizeof *ingest);
    if (ingest == NULL) {
        return QUIRE_NO_MEMORY;
    }
    ingest->limits = *limits;
    ingest->ops = *ops;
    ingest->next_number = 1;
    *out = ingest;
    return QUIRE_OK;
}

static void ingest_free(struct ingest *ingest, struct ingest_window *window) {
    struct ingest_window **link = &ingest->windows;
    while (*link != window) {
        link = &(*link)->next;
    }
    *link = window->next;
    ingest->lent_bytes -= window->bytes;
    munmap((void *)window->base, window->bytes);
    /* Whoever still maps it keeps the mapping, but the pages that the daemon paid for go now. */
    fallocate(window->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)window->bytes);
    close(window->fd);
    free(window);
}

void ingest_destroy(struct ingest **out) {
    struct ingest *ingest = *out;
    if (ingest == NULL) {
        return;
    }
    while (ingest->windows != NULL) {
        ingest_free(ingest, ingest->windows);
    }
    free(ingest);
    *out = NULL;
}

void ingest_set_limits(struct ingest *ingest, const struct ingest_limits *limits) { ingest->limits = *limits; }

static enum quire_status ingest_open(struct ingest *ingest, void *owner, uint64_t bytes, uint64_t now_ns, struct ingest_window **out) {
    struct ingest_window *window = calloc(1, sizeof *window);
    if (window == NULL) {
        return QUIRE_NO_MEMORY;
    }
    window->fd = pool_memfd("quire-ingest", bytes, 0);
    if (window->fd < 0) {
        free(window);
        return QUIRE_SYSTEM;
    }
    void *base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, window->fd, 0);
    if (base == MAP_FAILED) {
        close(window->fd);
        free(window);
        return QUIRE_SYSTEM;
    }
    fcntl(window->fd, F_ADD_SEALS, F_SEAL_SEAL);
    window->base = base;
    window->bytes = bytes;
    window->number = ingest->next_number++;
    window->owner = owner;
    window->opened_ns = window->used_ns = now_ns;
    window->next = ingest->windows;
    ingest->windows = window;
    ingest->lent_bytes += bytes;
    *out = window;
    return QUIRE_OK;
}

static uint32_t ingest_owner_windows(const struct ingest *ingest, const void *owner) {
    uint32_t count = 0;
    for (const struct ingest_window *window = ingest->windows; window != NULL; window = window->next) {
        count += window->owner == owner;
    }
    return count;
}

uint64_t ingest_owner_bytes(const struct ingest *ingest, const void *owner) {
    uint64_t bytes = 0;
    for (const struct ingest_window *window = ingest->windows; window != NULL; window = window->next) {
        bytes += window->owner == owner ? window->bytes : 0;
    }
    return bytes;
}

/* What the owner may get now, in whole pages; 0: its share is used up. */
static uint64_t ingest_share(const struct ingest *ingest, const void *owner, uint64_t bytes) {
    uint64_t most = quire_min_u64(ingest->limits.window_bytes, ingest->limits.budget_bytes);
    uint64_t held = ingest_owner_bytes(ingest, owner);
    if (held >= most || ingest_owner_windows(ingest, owner) >= INGEST_MAX_WINDOWS_PER_OWNER) {
        return 0;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t room = (most - held) / page * page;
    return bytes == 0 || bytes > room ? room : quire_align_up(bytes, page);
}

static bool ingest_fits(const struct ingest *ingest, uint64_t bytes) {
    return ingest->lent_bytes <= ingest->limits.budget_bytes && bytes <= ingest->limits.budget_bytes - ingest->lent_bytes;
}

static void ingest_drop_waiter(struct ingest *ingest, uint32_t at) {
    ingest->n_waiting--;
    memmove(&ingest->waiting[at], &ingest->waiting[at + 1], (ingest->n_waiting - at) * sizeof ingest->waiting[0]);
}

/* The head of the queue can be answered. */
static bool ingest_servable(const struct ingest *ingest) {
    if (ingest->n_waiting == 0) {
        return false;
    }
    uint64_t bytes = ingest_share(ingest, ingest->waiting[0].owner, ingest->waiting[0].bytes);
    return bytes == 0 || ingest_fits(ingest, bytes);
}

/* Serves the queue from its head for as long as the budget suffices. An answer may end sessions, which changes queue and windows. */
static void ingest_serve(struct ingest *ingest, uint64_t now_ns) {
    while (ingest_servable(ingest)) {
        struct ingest_waiter waiter = ingest->waiting[0];
        uint64_t bytes = ingest_share(ingest, waiter.owner, waiter.bytes);
        struct ingest_window *window = NULL;
        enum quire_status status = bytes == 0 ? QUIRE_TOO_LARGE : ingest_open(ingest, waiter.owner, bytes, now_ns, &window);
        ingest_drop_waiter(ingest, 0);
        ingest->ops.answer(waiter.owner, waiter.request, status, window);
    }
}

static uint32_t ingest_owner_waits(const struct ingest *ingest, const void *owner) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < ingest->n_waiting; i++) {
        count += ingest->waiting[i].owner == owner;
    }
    return count;
}

enum quire_status ingest_get(struct ingest *ingest, void *owner, uint64_t request, uint64_t bytes, uint64_t now_ns, uint64_t deadline_ns,
                             struct ingest_window **window) {
    uint64_t share = ingest_share(ingest, owner, bytes);
    if (share == 0) {
        return QUIRE_TOO_LARGE;
    }
    if (ingest->n_waiting == 0 && ingest_fits(ingest, share)) {
        return ingest_open(ingest, owner, share, now_ns, window);
    }
    if (ingest->n_waiting == INGEST_MAX_WAITING || ingest_owner_waits(ingest, owner) >= INGEST_MAX_WAITING_PER_OWNER ||
        deadline_ns <= now_ns) {
        ingest->counters.refused++;
        return QUIRE_RETRY;
    }
    ingest->counters.waits++;
    ingest->waiting[ingest->n_waiting++] = (struct ingest_waiter){owner, request, bytes, deadline_ns};
    return QUIRE_PENDING;
}

enum quire_status ingest_cancel(struct ingest *ingest, const void *owner, uint64_t request) {
    for (uint32_t i = 0; i < ingest->n_waiting; i++) {
        if (ingest->waiting[i].owner == owner && ingest->waiting[i].request == request) {
            ingest_drop_waiter(ingest, i);
            return QUIRE_OK;
        }
    }
    return QUIRE_NOT_FOUND;
}

struct ingest_window *ingest_find(const struct ingest *ingest, const void *owner, uint32_t number) {
    for (struct ingest_window *window = ingest->windows; window != NULL; window = window->next) {
        if (window->number == number && window->owner == owner) {
            return window;
        }
    }
    return NULL;
}

uint8_t *ingest_writable(struct ingest_window *window) {
    uint8_t *base = (uint8_t *)(uintptr_t)window->base; /* mapped for reading until somebody asks */
    return mprotect(base, window->bytes, PROT_READ | PROT_WRITE) == 0 ? base : NULL;
}

void ingest_use(struct ingest *ingest, struct ingest_window *window, uint64_t now_ns) {
    window->users++;
    window->used_ns = now_ns;
    if (ingest->n_waiting == 0) {
        window->recalled = false; /* nobody wants it: its holder may go on */
    }
}

static void ingest_abandon(struct ingest *ingest, struct ingest_window *window) {
    window->owner = NULL;
    if (window->users == 0) {
        ingest_free(ingest, window);
    }
}

void ingest_unuse(struct ingest *ingest, struct ingest_window *window, uint64_t now_ns) {
    assert(window->users > 0);
    window->users--;
    window->used_ns = now_ns;
    if (window->owner == NULL) {
        ingest_abandon(ingest, window);
    }
}

enum quire_status ingest_return(struct ingest *ingest, const void *owner, uint32_t number) {
    struct ingest_window *window = ingest_find(ingest, owner, number);
    if (window == NULL) {
        return QUIRE_NOT_FOUND;
    }
    ingest_abandon(ingest, window);
    return QUIRE_OK;
}

void ingest_owner_gone(struct ingest *ingest, const void *owner) {
    for (uint32_t i = ingest->n_waiting; i-- > 0;) {
        if (ingest->waiting[i].owner == owner) {
            ingest_drop_waiter(ingest, i);
        }
    }
    for (struct ingest_window *window = ingest->windows, *next; window != NULL; window = next) {
        next = window->next;
        if (window->owner == owner) {
            ingest_abandon(ingest, window);
        }
    }
}

static void ingest_expire(struct ingest *ingest, uint64_t now_ns) {
    for (uint32_t i = 0; i < ingest->n_waiting;) {
        struct ingest_waiter waiter = ingest->waiting[i];
        if (waiter.deadline_ns > now_ns) {
            i++;
            continue;
        }
        ingest_drop_waiter(ingest, i);
        ingest->counters.refused++;
        ingest->ops.answer(waiter.owner, waiter.request, QUIRE_TIMEOUT, NULL);
        i = 0; /* the answer may have ended a session, and its waiters with it */
    }
}

/* What is free, or will be as soon as what was asked back has come, does for the head of the queue. */
static bool ingest_enough_asked(const struct ingest *ingest) {
    uint64_t coming = quire_max_u64(ingest->limits.budget_bytes, ingest->lent_bytes) - ingest->lent_bytes;
    for (const struct ingest_window *window = ingest->windows; window != NULL; window = window->next) {
        coming += window->owner == NULL || window->recalled ? window->bytes : 0;
    }
    return ingest_share(ingest, ingest->waiting[0].owner, ingest->waiting[0].bytes) <= coming;
}

/* When the window is to be asked back, or taken once it has been asked back; UINT64_MAX: not for now. */
static uint64_t ingest_event_ns(const struct ingest *ingest, const struct ingest_window *window, bool wanted) {
    if (window->owner == NULL) {
        return UINT64_MAX;
    }
    if (ingest->n_waiting == 0) {
        return window->users > 0  ? UINT64_MAX
               : window->recalled ? quire_max_u64(window->recalled_ns, window->used_ns) + ingest->limits.grace_ns
                                  : window->used_ns + ingest->limits.idle_ns;
    }
    if (window->recalled) {
        return window->recalled_ns + ingest->limits.wanted_ns;
    }
    if (window->users > 0) {
        return wanted ? window->opened_ns + ingest->limits.wanted_ns : UINT64_MAX;
    }
    return window->used_ns;
}

/* The window whose time comes first, and that time. Recalling and taking may change the list, so each step starts anew. */
static struct ingest_window *ingest_next(const struct ingest *ingest, uint64_t *event_ns) {
    bool wanted = ingest->n_waiting > 0 && !ingest_enough_asked(ingest);
    struct ingest_window *first = NULL;
    *event_ns = UINT64_MAX;
    for (struct ingest_window *window = ingest->windows; window != NULL; window = window->next) {
        uint64_t window_ns = ingest_event_ns(ingest, window, wanted);
        if (window_ns < *event_ns) {
            *event_ns = window_ns;
            first = window;
        }
    }
    return first;
}

void ingest_tick(struct ingest *ingest, uint64_t now_ns) {
    struct ingest_window *window;
    uint64_t event_ns;
    ingest_expire(ingest, now_ns);
    ingest_serve(ingest, now_ns);
    while ((window = ingest_next(ingest, &event_ns)) != NULL && event_ns <= now_ns) {
        if (!window->recalled) {
            window->recalled = true;
            window->recalled_ns = now_ns;
            ingest->counters.recalled++;
            ingest->ops.recall(window->owner, window);
        } else {
            ingest->counters.taken++;
            ingest_abandon(ingest, window);
        }
    }
    ingest_serve(ingest, now_ns);
}

uint64_t ingest_deadline(const struct ingest *ingest) {
    uint64_t deadline_ns;
    if (ingest_servable(ingest)) {
        return 0;
    }
    ingest_next(ingest, &deadline_ns);
    for (uint32_t i = 0; i < ingest->n_waiting; i++) {
        deadline_ns = quire_min_u64(deadline_ns, ingest->waiting[i].deadline_ns);
    }
    return deadline_ns;
}

uint64_t ingest_lent_bytes(const struct ingest *ingest) { return ingest->lent_bytes; }
const struct ingest_counters *ingest_counters(const struct ingest *ingest) { return &ingest->counters; }
