#include "tests/sim/sim.h"

#include <stdlib.h>

void *sim_task_new(struct sim *sim, size_t size, bool mortal, void (*run)(struct sim *sim, struct sim_task *task)) {
    struct sim_task *task = calloc(1, size);
    SIM_REQUIRE(sim, task != NULL);
    task->life = mortal ? sim->life : 0;
    task->run = run;
    return task;
}

void sim_task_free(void *task) {
    free(((struct sim_task *)task)->memory);
    free(task);
}

static bool before(const struct sim_task *a, const struct sim_task *b) {
    return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->order < b->order;
}

static void sift_down(struct sim_agenda *agenda, uint32_t at) {
    for (uint32_t child; (child = 2 * at + 1) < agenda->n; at = child) {
        child += child + 1 < agenda->n && before(agenda->heap[child + 1], agenda->heap[child]);
        if (!before(agenda->heap[child], agenda->heap[at])) {
            return;
        }
        struct sim_task *task = agenda->heap[at];
        agenda->heap[at] = agenda->heap[child];
        agenda->heap[child] = task;
    }
}

void sim_after(struct sim *sim, uint64_t delay_ns, void *what) {
    struct sim_agenda *agenda = &sim->agenda;
    struct sim_task *task = what;
    task->when_ns = sim->now_ns + delay_ns;
    task->order = ++agenda->order;
    if (agenda->n == agenda->capacity) {
        agenda->capacity = agenda->capacity ? 2 * agenda->capacity : 256;
        agenda->heap = realloc(agenda->heap, agenda->capacity * sizeof(struct sim_task *));
        SIM_REQUIRE(sim, agenda->heap != NULL);
    }
    uint32_t at = agenda->n++;
    for (; at > 0 && before(task, agenda->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        agenda->heap[at] = agenda->heap[(at - 1) / 2];
    }
    agenda->heap[at] = task;
}

uint64_t sim_agenda_next(const struct sim_agenda *agenda) { return agenda->n > 0 ? agenda->heap[0]->when_ns : UINT64_MAX; }

void sim_agenda_run(struct sim *sim) {
    struct sim_agenda *agenda = &sim->agenda;
    struct sim_task *task = agenda->heap[0];
    agenda->heap[0] = agenda->heap[--agenda->n];
    sift_down(agenda, 0);
    task->run(sim, task);
    sim_task_free(task);
}

void sim_agenda_reap(struct sim *sim) {
    struct sim_agenda *agenda = &sim->agenda;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < agenda->n; i++) {
        if (agenda->heap[i]->life != 0) {
            sim_task_free(agenda->heap[i]);
        } else {
            agenda->heap[kept++] = agenda->heap[i];
        }
    }
    agenda->n = kept;
    for (uint32_t i = kept / 2 + 1; i-- > 0;) {
        sift_down(agenda, i);
    }
}

void sim_agenda_free(struct sim_agenda *agenda) {
    for (uint32_t i = 0; i < agenda->n; i++) {
        sim_task_free(agenda->heap[i]);
    }
    free(agenda->heap);
    *agenda = (struct sim_agenda){0};
}
