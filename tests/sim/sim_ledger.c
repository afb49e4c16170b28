#include "tests/sim/sim_ledger.h"
#include "tests/sim/sim.h"

#include "codec/checksum.h"

#include <stdlib.h>

static uint64_t sum_of(uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry) {
    struct dice place = {epoch << 24 ^ segment};
    return (quire_checksum(entry, sizeof(*entry)) ^ dice_next(&place)) | 1;
}

/* Where it is, or would be. */
static uint64_t *find(const struct sim_ledger *ledger, uint64_t sum) {
    uint32_t at = (uint32_t)(sum >> 8) & (ledger->capacity - 1);
    while (ledger->sums[at] != 0 && ledger->sums[at] != sum) {
        at = (at + 1) & (ledger->capacity - 1);
    }
    return &ledger->sums[at];
}

static void put(struct sim_ledger *ledger, uint64_t sum) {
    uint64_t *place = find(ledger, sum);
    ledger->n += *place == 0;
    *place = sum;
}

static void grow(struct sim *sim) {
    struct sim_ledger old = sim->ledger, *ledger = &sim->ledger;
    *ledger = (struct sim_ledger){.capacity = old.capacity ? 2 * old.capacity : 4096};
    ledger->sums = calloc(ledger->capacity, sizeof(*ledger->sums));
    SIM_REQUIRE(sim, ledger->sums != NULL);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.sums[i] != 0) {
            put(ledger, old.sums[i]);
        }
    }
    free(old.sums);
}

void sim_ledger_wrote(struct sim *sim, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entries, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (2 * sim->ledger.n >= sim->ledger.capacity) {
            grow(sim);
        }
        put(&sim->ledger, sum_of(segment, epoch, &entries[i]));
    }
}

void sim_ledger_believe(struct sim *sim, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entries, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        SIM_REQUIRE(sim, sim->ledger.capacity > 0 && *find(&sim->ledger, sum_of(segment, epoch, &entries[i])) != 0);
    }
    sim->counts->believed += n;
}

void sim_ledger_free(struct sim_ledger *ledger) {
    free(ledger->sums);
    *ledger = (struct sim_ledger){0};
}
