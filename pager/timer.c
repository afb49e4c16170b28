#include "pager/timer.h"

#include <stdlib.h>

void pager_timers_free(struct pager_timers *timers) {
    free(timers->heap);
    *timers = (struct pager_timers){0};
}

enum quire_status pager_timers_promise(struct pager_timers *timers) {
    if (timers->promised < timers->capacity) {
        timers->promised++;
        return QUIRE_OK;
    }
    uint32_t capacity = timers->capacity ? timers->capacity * 2 : 256;
    struct pager_timer **heap = realloc(timers->heap, capacity * sizeof(*heap));
    if (!heap) {
        return QUIRE_NO_MEMORY;
    }
    timers->heap = heap;
    timers->capacity = capacity;
    timers->promised++;
    return QUIRE_OK;
}

void pager_timers_forget(struct pager_timers *timers, struct pager_timer *timer) {
    pager_timer_disarm(timers, timer);
    timers->promised--;
}

static void put_at(struct pager_timers *timers, uint32_t i, struct pager_timer *timer) {
    timers->heap[i] = timer;
    timer->place = i + 1;
}

static void sift_up(struct pager_timers *timers, uint32_t i) {
    struct pager_timer *timer = timers->heap[i];
    while (i > 0) {
        uint32_t parent = (i - 1) / 2;
        if (timers->heap[parent]->when_ns <= timer->when_ns) {
            break;
        }
        put_at(timers, i, timers->heap[parent]);
        i = parent;
    }
    put_at(timers, i, timer);
}

static void sift_down(struct pager_timers *timers, uint32_t i) {
    struct pager_timer *timer = timers->heap[i];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= timers->n) {
            break;
        }
        if (child + 1 < timers->n && timers->heap[child + 1]->when_ns < timers->heap[child]->when_ns) {
            child++;
        }
        if (timer->when_ns <= timers->heap[child]->when_ns) {
            break;
        }
        put_at(timers, i, timers->heap[child]);
        i = child;
    }
    put_at(timers, i, timer);
}

void pager_timer_arm(struct pager_timers *timers, struct pager_timer *timer, uint64_t when_ns) {
    pager_timer_disarm(timers, timer);
    assert(timers->n < timers->capacity);
    timer->when_ns = when_ns;
    timers->heap[timers->n++] = timer;
    sift_up(timers, timers->n - 1);
}

void pager_timer_disarm(struct pager_timers *timers, struct pager_timer *timer) {
    if (timer->place == 0) {
        return;
    }
    uint32_t i = timer->place - 1;
    assert(i < timers->n && timers->heap[i] == timer);
    timer->place = 0;
    struct pager_timer *last = timers->heap[--timers->n];
    if (last == timer) {
        return;
    }
    put_at(timers, i, last);
    sift_up(timers, i);
    sift_down(timers, last->place - 1);
}

void pager_timers_check(const struct pager_timers *timers) {
    assert(timers->n <= timers->promised && timers->promised <= timers->capacity);
    for (uint32_t i = 0; i < timers->n; i++) {
        assert(timers->heap[i]->place == i + 1);
        assert(i == 0 || timers->heap[(i - 1) / 2]->when_ns <= timers->heap[i]->when_ns);
    }
}
