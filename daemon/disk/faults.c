#include "daemon/disk/faults.h"

#include "daemon/disk/op.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FAULTS_MAGIC 0x6466656cu
#define FAULTS_BLOCK_BYTES 4096u

struct rule_at_work {
    struct disk_fault fault;
    uint64_t random; /* where its generator stands */
    uint64_t filled; /* FILL: bytes let through */
};

/* What befalls one operation: `shadow` goes to the device in its place. */
struct victim {
    struct faults_io *owner;
    struct victim *next, *previous; /* of all */
    struct disk_op shadow;
    struct disk_op *op;
    struct victim *later; /* delayed: by time */
    uint64_t due_ns;
    bool struck;                 /* by more than a delay: */
    struct disk_fault_rule rule; /* by this one */
    uint64_t random;
    void *copy;         /* CORRUPT: what is written instead; TEAR: the cut list of buffers */
    struct iovec piece; /* the copy's */
};

struct faults_io {
    struct disk_io io;
    uint32_t magic;
    struct disk_io *inner;
    int event, timer, all; /* own ends; delays; an epoll over both and the backend's */
    struct victim *victims, *delayed;
    struct disk_queue ended;
    uint32_t n_delayed, n_ended;
    uint32_t n_files;
    uint32_t block_bytes[DISK_IO_MAX_FILES];
    uint32_t number[DISK_IO_MAX_FILES]; /* by which rules name them */
    uint32_t n_rules, last_id;
    struct rule_at_work rules[DISK_FAULTS_MAX];
};

static struct faults_io *faults_of(const struct disk_io *io) {
    struct faults_io *faults = (struct faults_io *)(uintptr_t)io;
    QUIRE_MAGIC_CHECK(faults, FAULTS_MAGIC);
    return faults;
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- who is hit --------------------------------------------------------------------------------------------------------------- */
static bool rule_matches(const struct disk_fault *fault, const struct disk_op *op, uint32_t number) {
    const struct disk_fault_rule *rule = &fault->rule;
    if (rule->op != op->type || (rule->file != DISK_FAULT_ANY_FILE && rule->file != number)) {
        return false;
    }
    if (rule->count != 0 && fault->hits >= rule->count) {
        return false;
    }
    return op->type == DISK_SYNC || (op->offset < rule->end && op->offset + op->bytes > rule->begin);
}

static bool rule_hits(struct rule_at_work *rule, const struct disk_op *op, uint32_t number) {
    const struct disk_fault_rule *what = &rule->fault.rule;
    if (!rule_matches(&rule->fault, op, number)) {
        return false;
    }
    if (what->action == DISK_FAULT_FILL && quire_in_range(rule->filled, op->bytes, what->amount)) {
        rule->filled += op->bytes;
        return false;
    }
    if (what->probability_ppm < DISK_FAULT_ALWAYS_PPM && next_random(&rule->random) % DISK_FAULT_ALWAYS_PPM >= what->probability_ppm) {
        return false;
    }
    rule->fault.hits++;
    return true;
}

/* Asks the rules in their order: sums up delays, and stops at the first that does more. */
static bool strike(struct faults_io *faults, const struct disk_op *op, struct victim *victim) {
    uint64_t delay_ms = 0;
    for (uint32_t i = 0; i < faults->n_rules && !victim->struck; i++) {
        struct rule_at_work *rule = &faults->rules[i];
        if (!rule_hits(rule, op, faults->number[op->file])) {
            continue;
        }
        if (rule->fault.rule.action == DISK_FAULT_DELAY) {
            delay_ms += rule->fault.rule.amount;
        } else {
            victim->struck = true;
            victim->rule = rule->fault.rule;
            victim->random = next_random(&rule->random);
        }
    }
    victim->due_ns = delay_ms == 0 ? 0 : disk_now_ns() + delay_ms * QUIRE_NS_PER_MS;
    return delay_ms != 0 || victim->struck;
}

/* ---- what befalls it ---------------------------------------------------------------------------------------------------------- */
static void victim_free(struct faults_io *faults, struct victim *victim) {
    if (victim->previous != NULL) {
        victim->previous->next = victim->next;
    } else {
        faults->victims = victim->next;
    }
    if (victim->next != NULL) {
        victim->next->previous = victim->previous;
    }
    free(victim->copy);
    free(victim);
}

/* Ends here, without the device; told by reap. */
static void end_here(struct faults_io *faults, struct disk_op *op, int error) {
    disk_op_end(op, error);
    disk_queue_add(&faults->ended, op);
    faults->n_ended++;
    disk_event_set(faults->event);
}

static void flip_bit(const struct disk_op *op, uint64_t bit) {
    uint64_t byte = bit / 8;
    for (uint32_t i = 0; i < op->n_iov; i++) {
        if (byte < op->iov[i].iov_len) {
            ((uint8_t *)op->iov[i].iov_base)[byte] ^= (uint8_t)(1u << bit % 8);
            return;
        }
        byte -= op->iov[i].iov_len;
    }
}

static void corrupt(struct victim *victim, const struct disk_op *op) {
    for (uint64_t i = 0; i < victim->rule.amount; i++) {
        flip_bit(op, next_random(&victim->random) % (op->bytes * 8));
    }
}

static int torn_error(const struct victim *victim) { return victim->rule.succeeds ? 0 : EIO; }

/* The device has done what it was told; called from the backend's reap. */
static void victim_done(struct disk_op *shadow) {
    struct victim *victim = (struct victim *)(void *)((char *)shadow - offsetof(struct victim, shadow));
    struct disk_op *op = victim->op;
    int error = shadow->error;
    if (error == 0 && victim->struck && victim->rule.action == DISK_FAULT_TEAR) {
        error = torn_error(victim);
    } else if (error == 0 && victim->struck && op->type == DISK_READ) {
        corrupt(victim, op);
    }
    disk_op_end(op, error);
    op->done_ns = shadow->done_ns;
    victim_free(victim->owner, victim);
    op->done(op);
}

/* Keeps a random number of whole blocks, fewer than there are. Returns how many bytes that is. */
static uint64_t tear(struct victim *victim, uint32_t block_bytes) {
    uint64_t keep = next_random(&victim->random) % ((victim->op->bytes + block_bytes - 1) / block_bytes) * block_bytes;
    struct iovec *iov = victim->copy;
    memcpy(iov, victim->op->iov, victim->op->n_iov * sizeof *iov);
    victim->shadow.iov = iov;
    victim->shadow.bytes = keep;
    victim->shadow.n_iov = 0;
    for (uint64_t left = keep; left > 0; left -= iov++->iov_len) {
        iov->iov_len = quire_min_u64(iov->iov_len, left);
        victim->shadow.n_iov++;
    }
    return keep;
}

/* What is written instead: a copy in one piece, with bits flipped. */
static void corrupt_copy(struct victim *victim) {
    uint8_t *to = victim->copy;
    for (uint32_t i = 0; i < victim->op->n_iov; i++) {
        memcpy(to, victim->op->iov[i].iov_base, victim->op->iov[i].iov_len);
        to += victim->op->iov[i].iov_len;
    }
    victim->piece = (struct iovec){victim->copy, victim->op->bytes};
    victim->shadow.iov = &victim->piece;
    victim->shadow.n_iov = 1;
    corrupt(victim, &victim->shadow);
}

/* The memory that a victim's fate needs; false: there is none. */
static bool get_copy(struct victim *victim) {
    if (victim->rule.action == DISK_FAULT_TEAR) {
        victim->copy = malloc(victim->op->n_iov * sizeof(struct iovec));
        return victim->copy != NULL;
    }
    return posix_memalign(&victim->copy, FAULTS_BLOCK_BYTES, victim->op->bytes) == 0;
}

static int prepare_write(struct faults_io *faults, struct victim *victim, bool *goes_on) {
    if (!get_copy(victim)) {
        *goes_on = false;
        return ENOMEM;
    }
    if (victim->rule.action == DISK_FAULT_CORRUPT) {
        corrupt_copy(victim);
        return 0;
    }
    *goes_on = tear(victim, faults->block_bytes[victim->op->file]) != 0;
    return torn_error(victim);
}

/* Its time has come: ends it here, or adds its shadow to the list for the device. */
static void meet_fate(struct faults_io *faults, struct victim *victim, struct disk_queue *list) {
    bool goes_on = true;
    int error = 0;
    victim->shadow = *victim->op;
    victim->shadow.done = victim_done;
    if (victim->struck && victim->rule.action == DISK_FAULT_ERROR) {
        goes_on = false;
        error = victim->rule.error;
    } else if (victim->struck && victim->rule.action == DISK_FAULT_FILL) {
        goes_on = false;
        error = ENOSPC;
    } else if (victim->struck && victim->op->type == DISK_WRITE) {
        error = prepare_write(faults, victim, &goes_on);
    }
    if (goes_on) {
        disk_queue_add(list, &victim->shadow);
    } else {
        end_here(faults, victim->op, error);
        victim_free(faults, victim);
    }
}

/* ---- delays ------------------------------------------------------------------------------------------------------------------- */
/* Setting the timer also clears what it told. */
static void arm(const struct faults_io *faults) {
    uint64_t due_ns = faults->delayed != NULL ? faults->delayed->due_ns : 0;
    struct itimerspec when = {.it_value = {(time_t)(due_ns / QUIRE_NS_PER_S), (long)(due_ns % QUIRE_NS_PER_S)}};
    timerfd_settime(faults->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void delay(struct faults_io *faults, struct victim *victim) {
    struct victim **at = &faults->delayed;
    while (*at != NULL && (*at)->due_ns <= victim->due_ns) {
        at = &(*at)->later;
    }
    victim->later = *at;
    *at = victim;
    faults->n_delayed++;
    if (faults->delayed == victim) {
        arm(faults);
    }
}

static void end_delays(struct faults_io *faults) {
    struct disk_queue list = {0};
    uint64_t now_ns = disk_now_ns();
    if (faults->delayed == NULL || faults->delayed->due_ns > now_ns) {
        return;
    }
    while (faults->delayed != NULL && faults->delayed->due_ns <= now_ns) {
        struct victim *victim = faults->delayed;
        faults->delayed = victim->later;
        faults->n_delayed--;
        meet_fate(faults, victim, &list);
    }
    arm(faults);
    if (list.head != NULL) {
        faults->inner->ops->submit(faults->inner, list.head);
    }
}

/* ---- the operations of a backend ---------------------------------------------------------------------------------------------- */
static void faults_submit_one(struct faults_io *faults, struct disk_op *op, struct disk_queue *list) {
    struct victim drawn = {.op = op, .owner = faults};
    if (!disk_op_valid(op, faults->n_files) || !strike(faults, op, &drawn)) {
        disk_queue_add(list, op);
        return;
    }
    struct victim *victim = malloc(sizeof *victim);
    op->submitted_ns = disk_now_ns();
    if (victim == NULL) {
        end_here(faults, op, ENOMEM);
        return;
    }
    *victim = drawn;
    victim->next = faults->victims;
    if (victim->next != NULL) {
        victim->next->previous = victim;
    }
    faults->victims = victim;
    if (victim->due_ns != 0) {
        delay(faults, victim);
    } else {
        meet_fate(faults, victim, list);
    }
}

static void faults_submit(struct disk_io *io, struct disk_op *ops) {
    struct faults_io *faults = faults_of(io);
    struct disk_queue list = {0};
    while (ops != NULL) {
        struct disk_op *op = ops;
        ops = op->next;
        faults_submit_one(faults, op, &list);
    }
    if (list.head != NULL) {
        faults->inner->ops->submit(faults->inner, list.head);
    }
}

static uint32_t faults_reap(struct disk_io *io, uint32_t max) {
    struct faults_io *faults = faults_of(io);
    disk_event_clear(faults->event);
    end_delays(faults);
    uint32_t count = disk_op_hand_out(&faults->ended, max, &faults->n_ended);
    if (count < max) {
        count += faults->inner->ops->reap(faults->inner, max - count);
    }
    if (faults->ended.head != NULL) {
        disk_event_set(faults->event);
    }
    return count;
}

static void faults_destroy(struct disk_io **out) {
    if (*out == NULL) {
        return;
    }
    struct faults_io *faults = faults_of(*out);
    if (faults->inner != NULL) {
        faults->inner->ops->destroy(&faults->inner);
    }
    while (faults->victims != NULL) {
        victim_free(faults, faults->victims);
    }
    const int descriptors[] = {faults->event, faults->timer, faults->all};
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(descriptors); i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    free(faults);
    *out = NULL;
}

static enum quire_status faults_add_file(struct disk_io *io, int fd, uint32_t *file) {
    struct faults_io *faults = faults_of(io);
    uint32_t offset_bytes, memory_bytes;
    QUIRE_FORWARD(faults->inner->ops->add_file(faults->inner, fd, file));
    assert(*file < DISK_IO_MAX_FILES);
    bool known = disk_io_alignment(fd, &offset_bytes, &memory_bytes) == QUIRE_OK;
    faults->block_bytes[*file] = known ? (uint32_t)quire_max_u64(offset_bytes, memory_bytes) : FAULTS_BLOCK_BYTES;
    faults->number[*file] = *file;
    faults->n_files = *file + 1;
    return QUIRE_OK;
}

static enum quire_status faults_add_memory(struct disk_io *io, void *base, uint64_t bytes, bool *registered) {
    struct faults_io *faults = faults_of(io);
    return faults->inner->ops->add_memory(faults->inner, base, bytes, registered);
}

static int faults_event_fd(const struct disk_io *io) { return faults_of(io)->all; }

static uint32_t faults_in_flight(const struct disk_io *io) {
    const struct faults_io *faults = faults_of(io);
    return faults->inner->ops->in_flight(faults->inner) + faults->n_delayed + faults->n_ended;
}

static const struct disk_io_ops faults_ops = {
    .name = "faults",
    .destroy = faults_destroy,
    .add_file = faults_add_file,
    .add_memory = faults_add_memory,
    .submit = faults_submit,
    .reap = faults_reap,
    .event_fd = faults_event_fd,
    .in_flight = faults_in_flight,
};

/* ---- setting up --------------------------------------------------------------------------------------------------------------- */
static bool faults_listen(const struct faults_io *faults, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return fd >= 0 && epoll_ctl(faults->all, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum quire_status faults_create(struct disk_io *inner, struct disk_io **io) {
    struct faults_io *faults = calloc(1, sizeof *faults);
    if (faults == NULL) {
        return QUIRE_NO_MEMORY;
    }
    faults->io.ops = &faults_ops;
    faults->magic = FAULTS_MAGIC;
    faults->event = disk_event_create();
    faults->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    faults->all = epoll_create1(EPOLL_CLOEXEC);
    *io = &faults->io;
    if (faults->all < 0 || !faults_listen(faults, faults->event) || !faults_listen(faults, faults->timer) ||
        !faults_listen(faults, inner->ops->event_fd(inner))) {
        faults_destroy(io);
        return QUIRE_SYSTEM;
    }
    faults->inner = inner;
    faults->io.depth = inner->depth;
    return QUIRE_OK;
}

const struct disk_io *faults_inner(const struct disk_io *io) { return faults_of(io)->inner; }

void faults_number_file(struct disk_io *io, uint32_t file, uint32_t number) {
    struct faults_io *faults = faults_of(io);
    assert(file < faults->n_files);
    faults->number[file] = number;
}

/* ---- rules -------------------------------------------------------------------------------------------------------------------- */
enum quire_status faults_add(struct disk_io *io, const struct disk_fault_rule *rule, uint32_t *id) {
    struct faults_io *faults = faults_of(io);
    if (faults->n_rules == DISK_FAULTS_MAX) {
        return QUIRE_TOO_LARGE;
    }
    *id = ++faults->last_id;
    faults->rules[faults->n_rules++] = (struct rule_at_work){.fault = {.id = *id, .rule = *rule}, .random = rule->seed};
    return QUIRE_OK;
}

uint32_t faults_list(const struct disk_io *io, struct disk_fault *list, uint32_t max) {
    const struct faults_io *faults = faults_of(io);
    uint32_t count = (uint32_t)quire_min_u64(faults->n_rules, max);
    for (uint32_t i = 0; i < count; i++) {
        list[i] = faults->rules[i].fault;
    }
    return count;
}

enum quire_status faults_remove(struct disk_io *io, uint32_t id) {
    struct faults_io *faults = faults_of(io);
    uint32_t at = 0;
    while (at < faults->n_rules && faults->rules[at].fault.id != id) {
        at++;
    }
    if (at == faults->n_rules) {
        return QUIRE_NOT_FOUND;
    }
    faults->n_rules--;
    memmove(&faults->rules[at], &faults->rules[at + 1], (faults->n_rules - at) * sizeof faults->rules[0]);
    return QUIRE_OK;
}

void faults_clear(struct disk_io *io) { faults_of(io)->n_rules = 0; }
