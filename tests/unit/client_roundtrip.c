#include "client/admin.h"
#include "client/internal.h"
#include "tests/unit/client_quired.h"

/* A worker stores four blocks from memory whose K and V have different orders and gaps; another place gets them back element by element,
   and the gaps of the destination are not touched. */
Test(client_roundtrip, odd_strides, .init = worker_start, .fini = worker_stop) {
    quire_key keys[4];
    quire_lookup_result found;
    toy_keys(ns, 1, keys, 4);
    cr_assert_eq(toy_store(ns, keys, 4), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, keys, 4, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 4);
    cr_assert(quire_lease_valid(found.lease));
    for (uint32_t i = 0; i < 4; i++) {
        struct toy want, got;
        toy_fill(&want, i);
        toy_clear(&got);
        quire_dest dest = toy_dest(&got, i);
        cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK, "%s", quire_last_error());
        cr_assert_eq(dest.n_tokens, TOY_BLOCK);
        cr_assert_eq(dest.fidelity.error, 0.0f);
        cr_assert_eq(dest.bytes_copied, TOY_LAYERS * TOY_HEADS * TOY_BLOCK * (TOY_K + TOY_V) * 2u);
        cr_assert_eq(memcmp(want.k, got.k, sizeof(got.k)), 0);
        cr_assert_eq(memcmp(want.v, got.v, sizeof(got.v)), 0);
    }
    quire_release(&found.lease);
    cr_assert_null(found.lease);
}

/* A reader that wants one layer and one head gets them alone, counted from its rectangle's first. */
Test(client_roundtrip, rectangle, .init = worker_start, .fini = worker_stop) {
    quire_key keys[1];
    quire_lookup_result found;
    uint16_t k[TOY_BLOCK][TOY_K], v[TOY_BLOCK][TOY_V];
    void *k_base[1] = {k}, *v_base[1] = {v};
    toy_keys(ns, 2, keys, 1);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    quire_dest dest = {.rect = {.first_layer = 2, .n_layers = 1, .first_head = 1, .n_heads = 1}, .k_base = k_base, .v_base = v_base};
    dest.k_token_stride = TOY_K * 2;
    dest.v_token_stride = TOY_V * 2;
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK, "%s", quire_last_error());
    for (uint32_t token = 0; token < TOY_BLOCK; token++) {
        cr_assert_eq(k[token][TOY_K - 1], toy_element(0, 2, 0, 1, token, TOY_K - 1));
        cr_assert_eq(v[token][0], toy_element(0, 2, 1, 1, token, 0));
    }
    quire_release(&found.lease);
}

/* Strides that would leave the region, overflow, or name a layer that is not there are refused before a byte is written. */
Test(client_roundtrip, bounds, .init = worker_start, .fini = worker_stop) {
    quire_key keys[1];
    quire_lookup_result found;
    struct toy got;
    toy_keys(ns, 3, keys, 1);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    toy_clear(&got);
    struct toy untouched = got;
    quire_dest bad[7];
    for (int i = 0; i < 7; i++) {
        bad[i] = toy_dest(&got, 0);
    }
    bad[0].region_bytes = sizeof(got.k);              /* V is outside */
    bad[1].v_token_stride = INT64_MAX;                /* overflows */
    bad[2].k_head_stride = -2 * (int64_t)sizeof(got); /* below */
    bad[3].rect = (quire_rect){.first_layer = 1, .n_layers = TOY_LAYERS, .n_heads = 1};
    bad[4].key_index = 1;
    bad[5].group = 1;
    bad[6].v_base = NULL;
    for (int i = 0; i < 7; i++) {
        cr_assert_eq(quire_fetch(found.lease, &bad[i], 1, NULL, 0), QUIRE_INVALID, "case %d", i);
        cr_assert_eq(bad[i].status, QUIRE_INVALID);
        cr_assert_neq(quire_last_error()[0], '\0');
    }
    cr_assert_eq(memcmp(&got, &untouched, sizeof(got)), 0);
    quire_release(&found.lease);
}

/* Zero-copy: the lane seen through a view is the lane that was stored; it stays mapped until release, and says that it stood. */
Test(client_roundtrip, view, .init = worker_start, .fini = worker_stop) {
    quire_key keys[2];
    quire_lookup_result found;
    quire_view view;
    uint64_t size = 0;
    toy_keys(ns, 4, keys, 2);
    cr_assert_eq(toy_store(ns, keys, 2), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 2, &found), QUIRE_OK);
    cr_assert_eq(quire_view_begin(found.lease, 1, 0, &view), QUIRE_OK, "%s", quire_last_error());
    const uint16_t *lane = quire_view_lane(&view, quire_ns_layout(ns), 0, 1, 1, 0, &size);
    cr_assert_not_null(lane);
    cr_assert_eq((uintptr_t)lane % 64, 0);
    cr_assert_eq(size, TOY_BLOCK * TOY_V * 2);
    cr_assert_eq(lane[5 * TOY_V + 7], toy_element(1, 1, 1, 0, 5, 7));
    cr_assert_null(quire_view_lane(&view, quire_ns_layout(ns), 0, TOY_LAYERS, 0, 0, &size));
    cr_assert_null(quire_view_lane(&view, quire_ns_layout(ns), 1, 0, 0, 0, &size));
    cr_assert_eq(quire_delete(ns, keys, 2, NULL, 0), QUIRE_OK); /* gone for new readers, leased bytes stay */
    cr_assert_eq(lane[5 * TOY_V + 7], toy_element(1, 1, 1, 0, 5, 7));
    cr_assert_eq(quire_view_end(found.lease, &view), QUIRE_OK);
    cr_assert_eq(quire_view_end(found.lease, &view), QUIRE_INVALID);
    cr_assert_eq(quire_view_begin(found.lease, 2, 0, &view), QUIRE_INVALID);
    quire_release(&found.lease);
    cr_assert_eq(toy_lookup(ns, keys, 2, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 0);
    cr_assert_null(found.lease);
}

/* The prefix ends where the first block is missing, and each key says why it missed. A probe takes no lease. */
Test(client_roundtrip, prefix_and_reasons, .init = worker_start, .fini = worker_stop) {
    quire_key keys[4];
    uint8_t misses[4];
    quire_lookup_result found;
    toy_keys(ns, 5, keys, 4);
    cr_assert_eq(toy_store(ns, keys, 4), QUIRE_OK);
    cr_assert_eq(quire_delete(ns, &keys[2], 1, NULL, 0), QUIRE_OK);
    quire_lookup_args args = {.keys = keys, .n_keys = 4, .flags = QUIRE_LOOKUP_PROBE};
    cr_assert_eq(quire_lookup(ns, &args, misses, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 2);
    cr_assert_null(found.lease);
    cr_assert_eq(misses[0], QUIRE_MISS_NONE);
    cr_assert_eq(misses[2], QUIRE_MISS_DELETED);
    cr_assert_eq(misses[3], QUIRE_MISS_ORPHAN);
    args.flags = QUIRE_LOOKUP_EACH;
    cr_assert_eq(quire_lookup(ns, &args, misses, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 3);
    struct toy got;
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 2);
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_MISS);
    quire_release(&found.lease);
}

/* Two ranks put the halves of a block under one put_id; it is there when both have. */
Test(client_roundtrip, parts, .init = worker_start, .fini = worker_stop) {
    quire_key keys[1];
    quire_lookup_result found;
    struct toy toy, got;
    toy_keys(ns, 6, keys, 1);
    toy_fill(&toy, 0);
    quire_source part = toy_source(&toy, keys[0], NULL, TOY_BLOCK);
    part.put_id = 77;
    part.rect = (quire_rect){.n_layers = TOY_LAYERS, .first_head = 1, .n_heads = 1};
    void *k_base[TOY_LAYERS], *v_base[TOY_LAYERS];
    for (int layer = 0; layer < TOY_LAYERS; layer++) {
        k_base[layer] = toy.k[layer][0][1];
        v_base[layer] = toy.v[layer][1];
    }
    part.k_base = (const void *const *)k_base;
    part.v_base = (const void *const *)v_base;
    cr_assert_eq(quire_store(ns, &part, 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 0);
    part = toy_source(&toy, keys[0], NULL, TOY_BLOCK);
    part.put_id = 77;
    part.rect = (quire_rect){.n_layers = TOY_LAYERS, .n_heads = 1};
    cr_assert_eq(quire_store(ns, &part, 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 1);
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 0);
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK);
    cr_assert_eq(memcmp(&toy.k, &got.k, sizeof(got.k)), 0);
    cr_assert_eq(memcmp(&toy.v, &got.v, sizeof(got.v)), 0);
    quire_release(&found.lease);
    part.put_id = 0; /* a part that could combine with nothing */
    cr_assert_eq(quire_store(ns, &part, 1, NULL, 0, NULL), QUIRE_INVALID);
}

/* A namespace of another shape is refused by the field's name; without a layout the stored one is learned. */
Test(client_roundtrip, namespaces, .init = worker_start, .fini = worker_stop) {
    quire_layout other = toy_layout();
    quire_ns *second = NULL;
    other.group[0].v_dim = 48;
    cr_assert_eq(quire_ns_open(client, "toy", &other, &second), QUIRE_MISMATCH);
    cr_assert_not_null(strstr(quire_last_error(), "v_dim"), "%s", quire_last_error());
    cr_assert_eq(quire_ns_open(client, "nowhere", NULL, &second), QUIRE_NOT_FOUND);
    cr_assert_eq(quire_ns_open(client, "no/such", &other, &second), QUIRE_INVALID);
    cr_assert_eq(quire_ns_open(client, "toy", NULL, &second), QUIRE_OK);
    cr_assert_eq(quire_ns_layout(second)->group[0].v_dim, TOY_V);
    quire_key a = quire_ns_root(ns), b = quire_ns_root(second);
    cr_assert_eq(memcmp(&a, &b, sizeof(a)), 0);
    quire_ns_close(&second);
}

/* Opaque blocks of any length come back as they were; a destination that is too small says how much it would take. */
Test(client_roundtrip, opaque, .init = worker_start, .fini = worker_stop) {
    quire_layout layout = opaque_layout();
    quire_ns *plain = NULL;
    cr_assert_eq(quire_ns_open(client, "plain", &layout, &plain), QUIRE_OK, "%s", quire_last_error());
    static const size_t sizes[] = {1, 63, 65536, 65537, 3000001};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *bytes = malloc(sizes[i]), *back = calloc(1, sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++) {
            bytes[at] = (uint8_t)(at * 131 + i);
        }
        quire_key key;
        toy_keys(plain, (uint32_t)i, &key, 1);
        quire_source source = {.key = key, .n_tokens = TOY_BLOCK, .opaque = bytes, .opaque_bytes = sizes[i]};
        cr_assert_eq(quire_store(plain, &source, 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
        quire_lookup_result found;
        cr_assert_eq(toy_lookup(plain, &key, 1, &found), QUIRE_OK);
        cr_assert_eq(found.hits, 1);
        quire_dest dest = {.opaque = back, .opaque_bytes = sizes[i]};
        cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK, "%s", quire_last_error());
        cr_assert_eq(dest.bytes_copied, sizes[i]);
        cr_assert_eq(memcmp(bytes, back, sizes[i]), 0);
        dest.opaque_bytes = sizes[i] - 1;
        cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_TOO_LARGE);
        quire_release(&found.lease);
        free(bytes);
        free(back);
    }
    quire_ns_close(&plain);
}

/* The verbs by key: touch and pin say which keys are there; what is pinned can be unpinned once. */
Test(client_roundtrip, verbs, .init = worker_start, .fini = worker_stop) {
    quire_key keys[2];
    uint8_t statuses[2] = {99, 99};
    toy_keys(ns, 8, keys, 2);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    cr_assert_neq(quire_touch(ns, keys, 2, statuses, 0), QUIRE_OK);
    cr_assert_eq(statuses[0], QUIRE_OK);
    cr_assert_neq(statuses[1], QUIRE_OK);
    cr_assert_eq(quire_pin(ns, keys, 1, statuses, 0), QUIRE_OK);
    cr_assert_eq(quire_unpin(ns, keys, 1, statuses, 0), QUIRE_OK);
    cr_assert_eq(quire_touch(ns, keys, QUIRE_MAX_BATCH + 1, NULL, 0), QUIRE_TOO_LARGE);
    cr_assert_eq(quire_touch(ns, keys, 0, NULL, 0), QUIRE_INVALID);
}

/* What a sequence computed on a lossy prefix stores says so, to every reader and to what they compute on it. */
Test(client_roundtrip, ancestry, .init = worker_start, .fini = worker_stop) {
    quire_key keys[1];
    quire_lookup_result found;
    quire_seq *writer = NULL, *reader = NULL;
    struct toy toy;
    cr_assert_eq(quire_seq_create(ns, &writer), QUIRE_OK);
    cr_assert_eq(quire_seq_create(ns, &reader), QUIRE_OK);
    seq_learn(writer, &(quire_fidelity){.error = 0.25f});
    toy_keys(ns, 9, keys, 1);
    toy_fill(&toy, 0);
    quire_source source = toy_source(&toy, keys[0], NULL, TOY_BLOCK);
    cr_assert_eq(quire_store(ns, &source, 1, writer, 0, NULL), QUIRE_OK);
    quire_lookup_args args = {.keys = keys, .n_keys = 1};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 1);
    quire_dest dest = toy_dest(&toy, 0);
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, reader, 0), QUIRE_OK);
    cr_assert_eq(dest.fidelity.error, 0.0f);
    cr_assert_eq(dest.fidelity.ancestry_error, 0.25f);
    cr_assert_eq(quire_seq_ancestry(reader).ancestry_error, 0.25f);
    quire_release(&found.lease);
    quire_seq_destroy(&writer);
    quire_seq_destroy(&reader);
    cr_assert_null(reader);
}

/* The namespace as an operator sees it; to be freed. */
static Quire__Wire__AdminReply *shown(void) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    request.verb = QUIRE_ADMIN_NS_LIST;
    request.ns = (char *)"toy";
    cr_assert_eq(quire_admin_call(client, &request, &reply, 0), QUIRE_OK);
    cr_assert_eq(reply->n_namespaces, 1);
    return reply;
}

/*
 * The writer tells what a token took it, in one of its stores, the first that sends anything; from then on every token that a reader
 * leases counts as so much saved.
 */
Test(client_roundtrip, cost, .init = worker_start, .fini = worker_stop) {
    quire_key keys[2];
    quire_lookup_result found;
    quire_seq *writer = NULL;
    struct toy toy;
    cr_assert_eq(quire_seq_create(ns, &writer), QUIRE_OK);
    cr_assert_eq(quire_seq_set_cost(writer, 1500), QUIRE_OK);
    toy_keys(ns, 10, keys, 2);
    toy_fill(&toy, 0);
    quire_source wrong = toy_source(&toy, keys[0], NULL, TOY_BLOCK + 1);
    cr_assert_eq(quire_store(ns, &wrong, 1, writer, 0, NULL), QUIRE_INVALID, "more tokens than a block has: refused here, nothing is sent");
    for (uint32_t i = 0; i < 2; i++) {
        toy_fill(&toy, i);
        quire_source source = toy_source(&toy, keys[i], i > 0 ? &keys[0] : NULL, TOY_BLOCK);
        cr_assert_eq(quire_store(ns, &source, 1, writer, 0, NULL), QUIRE_OK);
    }
    quire_seq_destroy(&writer);
    quire_lookup_args probe = {.keys = keys, .n_keys = 2, .flags = QUIRE_LOOKUP_PROBE};
    cr_assert_eq(quire_lookup(ns, &probe, NULL, &found), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 2, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 2);
    quire_release(&found.lease);
    Quire__Wire__AdminReply *reply = shown();
    cr_assert_eq(reply->namespaces[0]->prefill_reports, 1, "one measurement is one report, however many stores");
    cr_assert_eq(reply->namespaces[0]->prefill_us_per_token, 1500);
    cr_assert_float_eq(reply->namespaces[0]->prefill_seconds_saved, 2 * TOY_BLOCK * 1500e-6, 1e-9, "a probe reuses nothing");
    quire__wire__admin_reply__free_unpacked(reply, NULL);
}
