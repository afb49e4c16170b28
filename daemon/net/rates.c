#include "daemon/net/rates.h"

#include "proto/base/base.h"

#include <string.h>

#define BURST_NS (RATE_BURST_MS * QUIRE_NS_PER_MS)

void rates_init(struct rates *rates) {
    memset(rates, 0, sizeof *rates);
    rates->next_ns = UINT64_MAX;
}

/* ---- tenants -------------------------------------------------------------------------------------------------------------------- */
struct tenant *rates_find(struct rates *rates, const char *name) {
    for (uint32_t i = 0; i < TOKENS_MAX && name[0] != '\0'; i++) {
        if (strcmp(rates->tenants[i].name, name) == 0) {
            return &rates->tenants[i];
        }
    }
    return NULL;
}

static const struct token *last_of(const struct tokens *tokens, const char *name) {
    const struct token *last = NULL;
    for (uint32_t i = 0; i < tokens->n; i++) {
        last = strcmp(tokens->tokens[i].name, name) == 0 ? &tokens->tokens[i] : last;
    }
    return last;
}

static struct tenant *find_or_add(struct rates *rates, const char *name) {
    struct tenant *tenant = rates_find(rates, name);
    for (uint32_t i = 0; tenant == NULL; i++) { /* there are as many as tokens */
        if (rates->tenants[i].name[0] == '\0') {
            tenant = &rates->tenants[i];
            strcpy(tenant->name, name);
        }
    }
    return tenant;
}

void rates_renew(struct rates *rates, const struct tokens *tokens) {
    for (uint32_t i = 0; i < TOKENS_MAX; i++) {
        struct tenant *tenant = &rates->tenants[i];
        if (tenant->name[0] != '\0' && last_of(tokens, tenant->name) == NULL) {
            assert(tenant->head == NULL);
            *tenant = (struct tenant){0};
        }
    }
    for (uint32_t i = 0; i < tokens->n; i++) {
        struct tenant *tenant = find_or_add(rates, tokens->tokens[i].name);
        const struct token *last = last_of(tokens, tenant->name);
        if (tenant->limits.requests_per_s != last->limits.requests_per_s || tenant->limits.bytes_per_s != last->limits.bytes_per_s) {
            tenant->requests_ns = tenant->bytes_ns = 0;
        }
        tenant->limits = last->limits;
    }
    rates->next_ns = 0; /* those who wait may do so under other limits */
}

/* ---- taking --------------------------------------------------------------------------------------------------------------------- */
/* When something is left. */
static uint64_t ready_ns(const struct tenant *tenant) {
    uint64_t whole_ns = quire_max_u64(tenant->requests_ns, tenant->bytes_ns);
    return whole_ns > BURST_NS ? whole_ns - BURST_NS : 0;
}

static void take(uint64_t *whole_ns, uint64_t amount, uint64_t per_s, uint64_t now_ns) {
    if (per_s != 0) {
        *whole_ns = quire_max_u64(*whole_ns, now_ns) + (uint64_t)((unsigned __int128)amount * QUIRE_NS_PER_S / per_s);
    }
}

void rates_charge(struct tenant *tenant, uint64_t bytes, uint64_t now_ns) {
    take(&tenant->bytes_ns, bytes, tenant->limits.bytes_per_s, now_ns);
}

static void unlink_waiter(struct tenant *tenant, struct rate_waiter *waiter) {
    *(waiter->prev != NULL ? &waiter->prev->next : &tenant->head) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->prev : &tenant->tail) = waiter->prev;
    waiter->prev = waiter->next = NULL;
    waiter->waits = false;
}

static void line_up(struct rates *rates, struct tenant *tenant, struct rate_waiter *waiter, uint64_t now_ns) {
    waiter->waits = true;
    waiter->since_ns = now_ns;
    waiter->held++;
    waiter->prev = tenant->tail;
    *(tenant->tail != NULL ? &tenant->tail->next : &tenant->head) = waiter;
    tenant->tail = waiter;
    rates->next_ns = quire_min_u64(rates->next_ns, ready_ns(tenant));
}

bool rates_admit(struct rates *rates, struct tenant *tenant, struct rate_waiter *waiter, uint64_t bytes, uint64_t now_ns) {
    if (waiter->waits) {
        return false;
    }
    if (!waiter->turn && (tenant->head != NULL || ready_ns(tenant) > now_ns)) {
        line_up(rates, tenant, waiter, now_ns);
        return false;
    }
    waiter->turn = false;
    take(&tenant->requests_ns, 1, tenant->limits.requests_per_s, now_ns);
    rates_charge(tenant, bytes, now_ns);
    return true;
}

void rates_tick(struct rates *rates, uint64_t now_ns, void (*turn)(struct rate_waiter *waiter)) {
    if (now_ns < rates->next_ns) {
        return;
    }
    rates->next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < TOKENS_MAX; i++) {
        struct tenant *tenant = &rates->tenants[i];
        struct rate_waiter *waiter = tenant->head;
        bool ready = waiter != NULL && ready_ns(tenant) <= now_ns;
        if (ready) {
            unlink_waiter(tenant, waiter);
            waiter->turn = true;
            waiter->held_ns += now_ns - waiter->since_ns;
            turn(waiter);
        }
        if (tenant->head != NULL) {
            rates->next_ns = ready ? 0 : quire_min_u64(rates->next_ns, ready_ns(tenant));
        }
    }
}

void rates_leave(struct tenant *tenant, struct rate_waiter *waiter) {
    if (waiter->waits) {
        unlink_waiter(tenant, waiter);
    }
    waiter->turn = false;
}
