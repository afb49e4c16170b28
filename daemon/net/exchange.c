#include "daemon/net/exchange.h"

#include "daemon/link.h"

#include <stdlib.h>

struct exchange_msg *exchange_msg_create(struct wire *wire, enum exchange_kind kind, size_t bytes) {
    struct exchange_msg *msg = malloc(sizeof *msg + bytes);
    if (msg != NULL) {
        *msg = (struct exchange_msg){.wire = wire, .kind = kind, .bytes = bytes};
    }
    return msg;
}

void exchange_msg_free(struct exchange_msg *msg) {
    if (!msg->part_of_wire) {
        if (msg->tx != NULL) {
            link_tx_free(msg->tx);
        }
        free(msg);
    }
}

struct wire *wire_create(struct rail *rail, void *conn) {
    struct wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL) {
        return NULL;
    }
    wire->rail = rail;
    wire->conn = conn;
    const struct {
        struct exchange_msg **msg;
        enum exchange_kind kind;
    } parts[] = {{&wire->opened, EXCHANGE_OPENED},
                 {&wire->bulk, EXCHANGE_BULK},
                 {&wire->gone, EXCHANGE_GONE},
                 {&wire->closed, EXCHANGE_CLOSED},
                 {&wire->close, EXCHANGE_CLOSE}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(parts); i++) {
        struct exchange_msg *msg = exchange_msg_create(wire, parts[i].kind, 0);
        if (msg == NULL) {
            wire_free(wire);
            return NULL;
        }
        msg->part_of_wire = true;
        *parts[i].msg = msg;
    }
    return wire;
}

void wire_free(struct wire *wire) {
    free(wire->opened);
    free(wire->bulk);
    free(wire->gone);
    free(wire->closed);
    free(wire->close);
    free(wire);
}

enum quire_status exchange_setup(struct exchange *exchange, struct loop *taker, void (*woken)(struct loop_wakeup *wakeup)) {
    pthread_mutex_init(&exchange->lock, NULL);
    exchange->head = NULL;
    exchange->tail = &exchange->head;
    exchange->closed = false;
    atomic_init(&exchange->quiet, false);
    exchange->wakeup.woken = woken;
    enum quire_status status = loop_wakeup_add(taker, &exchange->wakeup);
    if (status != QUIRE_OK) {
        pthread_mutex_destroy(&exchange->lock);
    }
    return status;
}

void exchange_close(struct exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->closed = true;
    pthread_mutex_unlock(&exchange->lock);
    for (struct exchange_msg *msg = exchange_take(exchange), *next; msg != NULL; msg = next) {
        next = msg->next;
        exchange_msg_free(msg);
    }
}

void exchange_teardown(struct exchange *exchange, struct loop *taker) {
    exchange_close(exchange);
    loop_wakeup_remove(taker, &exchange->wakeup);
    pthread_mutex_destroy(&exchange->lock);
}

void exchange_post(struct exchange *exchange, struct exchange_msg *msg) {
    msg->next = NULL;
    pthread_mutex_lock(&exchange->lock);
    bool closed = exchange->closed, first = exchange->head == NULL;
    if (!closed) {
        *exchange->tail = msg;
        exchange->tail = &msg->next;
    }
    pthread_mutex_unlock(&exchange->lock);
    if (closed) {
        exchange_msg_free(msg);
    } else if (first && !atomic_load(&exchange->quiet)) {
        loop_wake(&exchange->wakeup);
    }
}

void exchange_send_drop(struct exchange *out, struct exchange_msg *msg) {
    if (msg->tx != NULL) {
        msg->kind = EXCHANGE_DROPPED;
        exchange_post(out, msg);
    } else {
        exchange_msg_free(msg);
    }
}

bool exchange_is_empty(struct exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool empty = exchange->head == NULL;
    pthread_mutex_unlock(&exchange->lock);
    return empty;
}

struct exchange_msg *exchange_take(struct exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    struct exchange_msg *all = exchange->head;
    exchange->head = NULL;
    exchange->tail = &exchange->head;
    pthread_mutex_unlock(&exchange->lock);
    return all;
}
