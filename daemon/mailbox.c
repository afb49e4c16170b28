#include "daemon/mailbox.h"

#include <errno.h>
#include <time.h>

/* The oldest call that waits, or NULL. Under the lock. */
static struct mailbox_slot *mailbox_oldest(struct mailbox *mailbox) {
    struct mailbox_slot *oldest = NULL;
    for (uint32_t i = 0; i < MAILBOX_SLOTS; i++) {
        struct mailbox_slot *slot = &mailbox->slots[i];
        if (slot->state == MAILBOX_QUEUED && (oldest == NULL || slot->order < oldest->order)) {
            oldest = slot;
        }
    }
    return oldest;
}

static void mailbox_settle(struct mailbox *mailbox, struct mailbox_slot *slot, enum mailbox_state state) {
    slot->state = slot->abandoned ? MAILBOX_FREE : state;
    pthread_cond_broadcast(&mailbox->answered);
}

static void mailbox_woken(struct loop_wakeup *wakeup) {
    struct mailbox *mailbox = LOOP_CONTAINER(wakeup, struct mailbox, wakeup);
    struct mailbox_slot *slot;
    pthread_mutex_lock(&mailbox->lock);
    while ((slot = mailbox_oldest(mailbox)) != NULL) {
        slot->state = MAILBOX_RUNNING;
        pthread_mutex_unlock(&mailbox->lock);
        slot->fn(mailbox->core, slot->arg);
        pthread_mutex_lock(&mailbox->lock);
        mailbox_settle(mailbox, slot, MAILBOX_DONE);
    }
    pthread_mutex_unlock(&mailbox->lock);
}

enum quire_status mailbox_setup(struct mailbox *mailbox, struct loop *loop, struct core *core) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&mailbox->lock, NULL);
    pthread_cond_init(&mailbox->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    mailbox->core = core;
    mailbox->wakeup.woken = mailbox_woken;
    return loop_wakeup_add(loop, &mailbox->wakeup);
}

void mailbox_teardown(struct mailbox *mailbox, struct loop *loop) {
    if (mailbox->core == NULL) {
        return;
    }
    loop_wakeup_remove(loop, &mailbox->wakeup);
    pthread_cond_destroy(&mailbox->answered);
    pthread_mutex_destroy(&mailbox->lock);
    mailbox->core = NULL;
}

void mailbox_attach(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->thread = pthread_self();
    mailbox->has_thread = true;
    pthread_mutex_unlock(&mailbox->lock);
}

void mailbox_close(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->closed = true;
    mailbox->has_thread = false;
    for (struct mailbox_slot *slot; (slot = mailbox_oldest(mailbox)) != NULL;) {
        mailbox_settle(mailbox, slot, MAILBOX_CANCELLED);
    }
    pthread_mutex_unlock(&mailbox->lock);
}

static struct mailbox_slot *mailbox_enqueue(struct mailbox *mailbox, void (*fn)(struct core *core, void *arg), void *arg) {
    for (uint32_t i = 0; i < MAILBOX_SLOTS; i++) {
        struct mailbox_slot *slot = &mailbox->slots[i];
        if (slot->state == MAILBOX_FREE) {
            *slot = (struct mailbox_slot){.state = MAILBOX_QUEUED, .order = mailbox->next_order++, .fn = fn, .arg = arg};
            return slot;
        }
    }
    return NULL;
}

/* Waits for the slot to settle; under the lock. */
static enum quire_status mailbox_wait(struct mailbox *mailbox, struct mailbox_slot *slot, uint32_t timeout_ms) {
    uint64_t until_ns = loop_now_ns() + timeout_ms * QUIRE_NS_PER_MS;
    struct timespec until = {.tv_sec = (time_t)(until_ns / QUIRE_NS_PER_S), .tv_nsec = (long)(until_ns % QUIRE_NS_PER_S)};
    int rc = 0;
    while (slot->state == MAILBOX_QUEUED || slot->state == MAILBOX_RUNNING) {
        if (rc == ETIMEDOUT) {
            slot->abandoned = true;
            return QUIRE_TIMEOUT;
        }
        rc = pthread_cond_timedwait(&mailbox->answered, &mailbox->lock, &until);
    }
    enum quire_status status = slot->state == MAILBOX_DONE ? QUIRE_OK : QUIRE_CANCELLED;
    slot->state = MAILBOX_FREE;
    return status;
}

enum quire_status mailbox_call(struct mailbox *mailbox, void (*fn)(struct core *core, void *arg), void *arg, uint32_t timeout_ms) {
    pthread_mutex_lock(&mailbox->lock);
    if (mailbox->has_thread && pthread_equal(mailbox->thread, pthread_self())) {
        pthread_mutex_unlock(&mailbox->lock);
        fn(mailbox->core, arg);
        return QUIRE_OK;
    }
    enum quire_status status = QUIRE_CANCELLED;
    if (!mailbox->closed) {
        struct mailbox_slot *slot = mailbox_enqueue(mailbox, fn, arg);
        if (slot != NULL) {
            loop_wake(&mailbox->wakeup);
        }
        status = slot != NULL ? mailbox_wait(mailbox, slot, timeout_ms) : QUIRE_RETRY;
    }
    pthread_mutex_unlock(&mailbox->lock);
    return status;
}
