#include "tests/sim/sim.h"
#include "tests/sim/sim_content.h"
#include "tests/sim/sim_pins.h"

#include "codec/checksum.h"
#include "proto/layout.h"

#include <stdlib.h>

/* ---- the world ------------------------------------------------------------------------------------------------------------ */
static void shape_space(struct sim *sim, struct sim_space *space) {
    static const uint16_t dims[] = {16, 24, 64};
    quire_layout *layout = &space->layout;
    uint16_t layers = (uint16_t)(2 * sim_between(sim, 1, 2));
    *layout = (quire_layout){.n_layers = layers, .n_groups = (uint16_t)sim_between(sim, 1, 2), .block_tokens = 4, .weights_digest = {7}};
    for (uint16_t l = 0; l < layers; l++) {
        layout->kv_src[l] = l;
        layout->group_of[l] = layout->n_groups == 2 ? l >= layers / 2 : 0;
    }
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        uint16_t heads = (uint16_t)sim_between(sim, 1, 2);
        layout->group[g] = (quire_group){.n_kv_heads = heads, .k_dim = dims[sim_roll(sim, 3)], .elem = QUIRE_F16};
        layout->group[g].v_dim = sim_chance(sim, 20) ? 0 : layout->group[g].k_dim;
    }
    if (layout->n_groups == 2 && sim_chance(sim, 70)) {
        layout->group[1].window_tokens = sim_between(sim, 1, 20);
    }
}

static void make_keys(struct sim *sim, uint32_t number) {
    struct sim_space *space = &sim->model.spaces[number];
    uint32_t n = sim->config.n_keys;
    space->keys = calloc(n, sizeof(*space->keys));
    SIM_REQUIRE(sim, space->keys != NULL);
    for (uint32_t i = 0; i < n; i++) {
        struct sim_key *key = &space->keys[i];
        key->key.b[0] = (uint8_t)(number + 1);
        memcpy(key->key.b + 1, &i, sizeof(i));
        key->n_tokens = i > 0 && i % 9 == 8 ? 2 : 4; /* a short tail; its successor is the fuller block */
        key->length = 16 + sim_roll(sim, sim_chance(sim, 20) ? sim->config.opaque_most : 3000);
        key->shorter = i > 0 && i % 9 == 0 ? (int)i - 1 : -1;
        key->parent = i == 0 || sim_chance(sim, 8) ? -1 : sim_chance(sim, 3) ? -2 : (int)(i - 1 - sim_roll(sim, i < 4 ? i : 4));
        if (key->shorter >= 0) {
            key->parent = space->keys[i - 1].parent;
        }
    }
}

void sim_model_create(struct sim *sim) {
    uint8_t digest[32];
    for (uint32_t i = 0; i < sim->config.n_spaces; i++) {
        struct sim_space *space = &sim->model.spaces[i];
        snprintf(space->name, sizeof(space->name), "space%u", i);
        space->domain = i % sim->config.n_domains;
        if (sim_chance(sim, 35)) {
            space->layout = (quire_layout){.opaque = true, .block_tokens = 4, .engine = "e", .engine_format = "1"};
        } else {
            shape_space(sim, space);
        }
        SIM_REQUIRE(sim, quire_layout_digest(&space->layout, digest) == QUIRE_OK);
        space->tag = quire_record_layout_tag(digest);
        space->n_groups = quire_layout_groups(&space->layout);
        make_keys(sim, i);
    }
}

static void forget_all(struct sim_model *model) {
    for (uint32_t i = 0; i < model->n_loads; i++) {
        free(model->loads[i].items);
    }
    for (uint32_t i = 0; i < model->n_barriers; i++) {
        free(model->barriers[i].keys);
    }
    for (uint32_t i = 0; i < model->n_holds; i++) {
        free(model->holds[i].grants);
    }
    model->n_puts = model->n_loads = model->n_barriers = model->n_holds = 0;
    model->open_puts = model->open_loads = model->open_barriers = 0;
}

void sim_model_destroy(struct sim *sim) {
    struct sim_model *model = &sim->model;
    forget_all(model);
    for (uint32_t i = 0; i < SIM_MAX_SPACES; i++) {
        free(model->spaces[i].keys);
    }
    free(model->versions);
    free(model->puts);
    free(model->loads);
    free(model->barriers);
    free(model->holds);
    *model = (struct sim_model){0};
}

void sim_model_crash(struct sim *sim) {
    forget_all(&sim->model);
    for (uint32_t s = 0; s < sim->config.n_spaces; s++) {
        struct sim_space *space = &sim->model.spaces[s];
        space->deleted = space->safe_deleted;
        for (uint32_t i = 0; i < sim->config.n_keys; i++) {
            space->keys[i].deleted = space->keys[i].safe_deleted;
        }
    }
}

/* One more element of an array that grows, zeroed. */
static void *one_more(struct sim *sim, void *array, uint32_t *n, uint32_t *capacity, size_t size) {
    char **elements = array;
    if (*n == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 64;
        *elements = realloc(*elements, *capacity * size);
        SIM_REQUIRE(sim, *elements != NULL);
    }
    char *element = *elements + (*n)++ * size;
    memset(element, 0, size);
    return element;
}

uint64_t sim_model_version(struct sim *sim, uint32_t space, uint32_t key, uint32_t group, float ancestry, bool corrupt) {
    struct sim_model *model = &sim->model;
    struct sim_version *version = one_more(sim, &model->versions, &model->n_versions, &model->versions_capacity, sizeof(*version));
    *version = (struct sim_version){.space = space, .key = key, .group = group, .ancestry = ancestry, .corrupt = corrupt};
    return model->n_versions;
}

void sim_model_shape(const struct sim *sim, uint32_t space, uint32_t key, uint32_t group, struct quire_record_shape *shape) {
    const struct sim_space *s = &sim->model.spaces[space];
    const struct sim_key *k = &s->keys[key];
    enum quire_status status = quire_record_shape(&s->layout, group, k->n_tokens, s->layout.opaque ? k->length : 0, shape);
    assert(status == QUIRE_OK);
    (void)status;
}

uint64_t sim_model_deleted(const struct sim *sim, uint32_t space, uint32_t key) {
    const struct sim_space *s = &sim->model.spaces[space];
    return quire_max_u64(s->deleted, s->keys[key].deleted);
}

void sim_model_found(struct sim *sim, uint32_t space, uint32_t key, uint32_t groups) {
    const struct sim_key *k = &sim->model.spaces[space].keys[key];
    for (uint32_t g = 0; !sim->model.blind && g < 2; g++) {
        if ((groups >> g & 1) && k->offered[g] <= sim_model_deleted(sim, space, key)) {
            sim_say(sim, "space %u, key %u, group %u: offered at %llu, deleted at %llu", space, key, g, (unsigned long long)k->offered[g],
                    (unsigned long long)sim_model_deleted(sim, space, key));
            SIM_REQUIRE(sim, !"what was deleted is found");
        }
    }
}

/* ---- what is held --------------------------------------------------------------------------------------------------------- */
struct sim_hold *sim_model_hold(struct sim *sim, uint64_t lease) {
    for (uint32_t i = 0; i < sim->model.n_holds; i++) {
        if (sim->model.holds[i].lease == lease) {
            return &sim->model.holds[i];
        }
    }
    return NULL;
}

static bool is_wanted(const struct sim_grant *grant, const struct quire_record_shape *shape, uint32_t lane) {
    if (!grant->partial || shape->opaque) {
        return true;
    }
    uint32_t per_layer = (shape->v_lane_bytes > 0 ? 2 : 1) * shape->n_heads;
    uint32_t layer = lane / per_layer, head = lane % shape->n_heads;
    return layer >= grant->rect.first_layer && layer < (uint32_t)grant->rect.first_layer + grant->rect.n_layers &&
           head >= grant->rect.first_head && head < (uint32_t)grant->rect.first_head + grant->rect.n_heads;
}

/* The bytes are one version's, which may be there; their sum. */
static uint64_t examine(struct sim *sim, const struct sim_hold *hold, struct sim_grant *grant) {
    const struct sim_space *space = &sim->model.spaces[hold->space];
    const uint8_t *bytes = sim->domains[space->domain].pool + grant->grant.offset;
    struct quire_record record;
    SIM_REQUIRE(sim, quire_record_open_tagged(bytes, grant->grant.size, &space->layout, space->tag, &space->keys[grant->key].key,
                                              &record) == QUIRE_OK);
    SIM_REQUIRE(sim, record.header.group == grant->grant.group);
    SIM_REQUIRE(sim, hold->floor < 0 || (record.header.error <= hold->floor && record.header.ancestry_error <= hold->floor));
    uint64_t version = 0, sum = quire_checksum(bytes, record.shape.payload_offset);
    for (uint32_t lane = 0; lane < record.shape.n_lanes; lane++) {
        uint32_t offset = quire_record_lane_offset(&record.shape, lane), size = quire_record_lane_bytes(&record.shape, lane);
        if (!is_wanted(grant, &record.shape, lane)) {
            continue;
        }
        version = version ? version : sim_content_version(bytes + offset);
        SIM_REQUIRE(sim, sim_content_is(version, grant->grant.group, lane, bytes + offset, size)); /* else wrong bytes */
        sum ^= quire_checksum(bytes + offset, size) + lane;
        sim->counts->bytes_verified += size;
    }
    SIM_REQUIRE(sim, version > 0 && version <= sim->model.n_versions);
    grant->version = version;
    return sum;
}

static void believe(struct sim *sim, const struct sim_hold *hold, const struct sim_grant *grant) {
    const struct sim_version *version = &sim->model.versions[grant->version - 1];
    SIM_REQUIRE(sim, version->space == hold->space && version->key == grant->key && version->group == grant->grant.group);
    SIM_REQUIRE(sim, !version->corrupt);
    SIM_REQUIRE(sim, sim->model.blind || version->offered > grant->deleted); /* else what was deleted is read */
}

void sim_model_look(struct sim *sim, struct sim_hold *hold, struct sim_grant *grant) {
    sim->counts->looks++;
    const struct sim_space *space = &sim->model.spaces[hold->space];
    if (grant->grant.offset == QUIRE_WIRE_AWAY) {
        return;
    }
    SIM_REQUIRE(sim, atomic_load(&sim->domains[space->domain].generations[grant->grant.slot]) == grant->grant.generation);
    uint64_t sum = grant->sum, version = grant->version;
    grant->sum = examine(sim, hold, grant);
    SIM_REQUIRE(sim, version == 0 || (sum == grant->sum && version == grant->version)); /* else leased bytes changed */
    if (version == 0) {
        believe(sim, hold, grant);
    }
}

static void hold_end(struct sim *sim, uint32_t i) {
    struct sim_hold *hold = &sim->model.holds[i];
    for (uint32_t g = 0; g < hold->n; g++) {
        sim_model_look(sim, hold, &hold->grants[g]);
    }
    free(hold->grants);
    *hold = sim->model.holds[--sim->model.n_holds];
}

void sim_model_release(struct sim *sim, uint64_t lease) {
    struct sim_hold *hold = sim_model_hold(sim, lease);
    if (hold) {
        hold_end(sim, (uint32_t)(hold - sim->model.holds));
    }
}

void sim_model_session_gone(struct sim *sim, uint64_t session) {
    for (uint32_t i = sim->model.n_holds; i-- > 0;) {
        if (sim->model.holds[i].session == session) {
            hold_end(sim, i);
        }
    }
}

void sim_model_watch(struct sim *sim) {
    struct sim_model *model = &sim->model;
    for (uint32_t i = 0; i < model->n_holds; i++) {
        struct sim_hold *hold = &model->holds[i];
        for (uint32_t g = 0; g < hold->n; g++) {
            sim_model_look(sim, hold, &hold->grants[g]);
        }
    }
}

void sim_model_untouched(struct sim *sim, uint32_t domain, uint64_t offset, uint64_t size) {
    sim_wire_untouched(sim, domain, offset, size);
    for (uint32_t i = 0; i < sim->model.n_holds; i++) {
        const struct sim_hold *hold = &sim->model.holds[i];
        for (uint32_t g = 0; sim->model.spaces[hold->space].domain == domain && g < hold->n; g++) {
            const struct quire_wire_grant *grant = &hold->grants[g].grant;
            SIM_REQUIRE(sim, grant->offset == QUIRE_WIRE_AWAY || offset + size <= grant->offset || grant->offset + grant->size <= offset);
        }
    }
}

/* ---- what is under way ---------------------------------------------------------------------------------------------------- */
uint64_t sim_model_put(struct sim *sim, uint64_t version, const quire_rect *rect) {
    struct sim_model *model = &sim->model;
    struct sim_put *put = one_more(sim, &model->puts, &model->n_puts, &model->puts_capacity, sizeof(*put));
    *put = (struct sim_put){.version = version, .rect = *rect};
    return model->n_puts;
}

uint64_t sim_model_load(struct sim *sim, uint64_t lease, const struct pager_load_item *items, uint32_t n) {
    struct sim_model *model = &sim->model;
    struct sim_load *load = one_more(sim, &model->loads, &model->n_loads, &model->loads_capacity, sizeof(*load));
    *load = (struct sim_load){.lease = lease, .n = n, .items = malloc(n * sizeof(*items))};
    SIM_REQUIRE(sim, load->items != NULL);
    memcpy(load->items, items, n * sizeof(*items));
    return model->n_loads;
}

uint64_t sim_model_barrier(struct sim *sim, const struct sim_barrier *as) {
    struct sim_model *model = &sim->model;
    struct sim_barrier *barrier = one_more(sim, &model->barriers, &model->n_barriers, &model->barriers_capacity, sizeof(*barrier));
    *barrier = *as;
    return model->n_barriers;
}

void sim_model_lasting(struct sim *sim, const struct sim_barrier *barrier) {
    struct sim_model *model = &sim->model;
    sim->counts->acknowledged++;
    if (barrier->pins) {
        sim_pins_lasting(sim, barrier);
        return;
    }
    for (uint32_t i = 0; i < barrier->n; i++) {
        struct sim_key *key = &model->spaces[barrier->keys[i].space].keys[barrier->keys[i].key];
        key->safe_deleted = quire_max_u64(key->safe_deleted, barrier->moment);
    }
    if (barrier->space >= 0) {
        struct sim_space *space = &model->spaces[barrier->space];
        space->safe_deleted = quire_max_u64(space->safe_deleted, barrier->moment);
    }
}
