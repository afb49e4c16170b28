#include "tests/sim/sim_pins.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_server.h"

#include "proto/layout.h"

#define FOREIGN_SERIAL 1u
#define FOREIGN_PINS 3u

/* ---- a domain that is no more --------------------------------------------------------------------------------------------- */
void sim_pins_foreign(struct sim *sim, struct quire_meta_item *item, struct quire_meta_pin *pin) {
    static uint8_t layout[QUIRE_LAYOUT_WIRE_MAX];
    size_t size;
    SIM_REQUIRE(sim, quire_layout_encode(&sim->model.spaces[0].layout, layout, sizeof(layout), &size) == QUIRE_OK);
    *item = (struct quire_meta_item){.serial = FOREIGN_SERIAL, .name = "space0", .domain = "gone", .layout = layout, .name_bytes = 6};
    item->domain_bytes = 4;
    item->layout_bytes = (uint32_t)size;
    *pin = (struct quire_meta_pin){.key = sim->model.spaces[0].keys[0].key, .serial = FOREIGN_SERIAL, .pins = FOREIGN_PINS};
}

bool sim_pins_is_foreign(const struct quire_meta_item *item) { return item->serial == FOREIGN_SERIAL; }

static void require_foreign(struct sim *sim, const struct quire_meta_head *head) {
    struct quire_meta_item item, expected;
    struct quire_meta_pin pin, expected_pin;
    uint32_t n = 0, n_pins = 0;
    size_t at = 0;
    sim_pins_foreign(sim, &expected, &expected_pin);
    while (quire_meta_next(sim->disk.meta, &at, &item)) {
        bool same = item.serial == expected.serial && item.name_bytes == expected.name_bytes &&
                    item.layout_bytes == expected.layout_bytes && memcmp(item.name, expected.name, item.name_bytes) == 0 &&
                    memcmp(item.domain, expected.domain, item.domain_bytes) == 0 &&
                    memcmp(item.layout, expected.layout, item.layout_bytes) == 0;
        n += same;
        SIM_REQUIRE(sim, same == sim_pins_is_foreign(&item));
    }
    for (uint32_t i = 0; i < head->n_pins; i++) {
        quire_meta_pin_at(sim->disk.meta, i, &pin);
        n_pins += memcmp(&pin, &expected_pin, sizeof(pin)) == 0;
    }
    SIM_REQUIRE(sim, n == 1 && n_pins == 1);
}

/* ---- from one life to the next -------------------------------------------------------------------------------------------- */
static bool is_promised(const struct sim_key *key) { return key->pin_lasts > 0 && key->pin_lasts > key->unpin_asked; }

void sim_pins_died(struct sim *sim) {
    struct pager_disk_stats stats;
    pager_disk_stats(sim->pager, &stats);
    for (uint32_t s = 0; s < sim->config.n_spaces && !stats.restoring; s++) {
        uint16_t ns = sim_server_space(sim, s);
        for (uint32_t i = 0; i < sim->config.n_keys; i++) {
            struct sim_key *key = &sim->model.spaces[s].keys[i];
            struct pager_block_info info;
            bool pinned = pager_block_info(sim->pager, sim->now_ns, ns, &key->key, &info) == QUIRE_OK && info.pins > 0;
            key->pin_lasts = pinned ? key->pin_lasts : 0;
        }
    }
}

static void found(struct sim *sim, uint32_t space, uint32_t key, uint32_t times) {
    struct sim_key *k = &sim->model.spaces[space].keys[key];
    k->pins_waiting = times;
    sim->counts->pins_found++;
    if (k->unpin_lasts > k->pin_asked) {
        sim_say(sim, "space %u, key %u: unpinned at %llu, pinned at %llu", space, key, (unsigned long long)k->unpin_lasts,
                (unsigned long long)k->pin_asked);
        SIM_REQUIRE(sim, !"what was unpinned for good is pinned again");
    }
}

/* The spaces' serials, by the metadata; 0: it does not know the space. */
static void serials_of(const struct sim *sim, uint32_t serials[SIM_MAX_SPACES]) {
    struct quire_meta_item item;
    size_t at = 0;
    while (sim->disk.meta && quire_meta_next(sim->disk.meta, &at, &item)) {
        for (uint32_t s = 0; s < sim->config.n_spaces && !sim_pins_is_foreign(&item); s++) {
            const char *name = sim->model.spaces[s].name;
            serials[s] = strlen(name) == item.name_bytes && memcmp(name, item.name, item.name_bytes) == 0 ? item.serial : serials[s];
        }
    }
}

void sim_pins_found(struct sim *sim, const struct quire_meta_head *head) {
    uint32_t serials[SIM_MAX_SPACES] = {0};
    if (!sim->disk.meta) {
        return;
    }
    require_foreign(sim, head);
    serials_of(sim, serials);
    for (uint32_t s = 0; s < sim->config.n_spaces; s++) {
        for (uint32_t i = 0; i < sim->config.n_keys; i++) {
            sim->model.spaces[s].keys[i].pins_waiting = 0;
        }
    }
    for (uint32_t i = 0; i < head->n_pins; i++) {
        struct quire_meta_pin pin;
        uint32_t number, space;
        quire_meta_pin_at(sim->disk.meta, i, &pin);
        memcpy(&number, pin.key.b + 1, sizeof(number));
        space = pin.key.b[0] - 1u;
        if (space < sim->config.n_spaces && number < sim->config.n_keys && pin.serial == serials[space]) {
            found(sim, space, number, pin.pins);
        }
    }
    for (uint32_t s = 0; s < sim->config.n_spaces; s++) {
        for (uint32_t i = 0; i < sim->config.n_keys; i++) {
            const struct sim_key *key = &sim->model.spaces[s].keys[i];
            if (is_promised(key) && key->pins_waiting == 0) {
                sim_say(sim, "space %u, key %u: pinned for good at %llu", s, i, (unsigned long long)key->pin_lasts);
                SIM_REQUIRE(sim, !"a pin that was acknowledged is lost");
            }
        }
    }
}

void sim_pins_space_gone(struct sim *sim, uint32_t space) {
    for (uint32_t i = 0; i < sim->config.n_keys; i++) {
        struct sim_key *key = &sim->model.spaces[space].keys[i];
        key->pins_waiting = 0;
        key->pin_asked = key->pin_lasts = 0; /* also what is acknowledged only now */
        key->unpin_asked = key->unpin_lasts = 0;
    }
}

/* ---- while it lives ------------------------------------------------------------------------------------------------------- */
static void while_restoring(struct sim *sim, struct sim_key *key, enum quire_wire_keys_verb verb, enum quire_status status) {
    sim->counts->pins_waited++;
    SIM_REQUIRE(sim, status == (verb == QUIRE_WIRE_DELETE ? QUIRE_IN_USE : QUIRE_OK));
    key->pins_waiting += verb == QUIRE_WIRE_PIN;
    key->pins_waiting -= verb == QUIRE_WIRE_UNPIN;
}

void sim_pins_pinned(struct sim *sim, struct sim_key *key) {
    key->pin_asked = sim->model.moment;
    key->pin_lasts = 0; /* the block that it was for may be lost: this is a new promise */
}

void sim_pins_answered(struct sim *sim, uint32_t space, uint32_t number, enum quire_wire_keys_verb verb, enum quire_status status) {
    struct sim_key *key = &sim->model.spaces[space].keys[number];
    struct pager_disk_stats stats;
    pager_disk_stats(sim->pager, &stats);
    if (stats.restoring && key->pins_waiting > 0 && verb != QUIRE_WIRE_TOUCH) {
        while_restoring(sim, key, verb, status);
    }
    if (verb == QUIRE_WIRE_PIN && status == QUIRE_OK) {
        sim_pins_pinned(sim, key);
    }
    key->unpin_asked = verb == QUIRE_WIRE_UNPIN && status == QUIRE_OK ? sim->model.moment : key->unpin_asked;
}

/* Of several requests under way the last one asked for counts: another one may have come between. */
void sim_pins_lasting(struct sim *sim, const struct sim_barrier *barrier) {
    for (uint32_t i = 0; i < barrier->n; i++) {
        struct sim_key *key = &sim->model.spaces[barrier->keys[i].space].keys[barrier->keys[i].key];
        if (barrier->pins && key->pin_asked == barrier->moment) {
            key->pin_lasts = barrier->moment;
        }
        if (barrier->keys[i].unpinned && key->unpin_asked == barrier->moment) {
            key->unpin_lasts = barrier->moment;
        }
    }
}

int sim_pins_waiting(const struct sim *sim, uint32_t space, uint32_t n) {
    for (uint32_t i = 0; i < sim->config.n_keys; i++) {
        uint32_t key = (n + i) % sim->config.n_keys;
        if (sim->model.spaces[space].keys[key].pins_waiting > 0) {
            return (int)key;
        }
    }
    return -1;
}
