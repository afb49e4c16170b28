#include "tests/sim/sim_content.h"

#include "codec/checksum.h"
#include "tests/unit/pager_random.h"

void sim_content_lane(uint64_t version, uint32_t group, uint32_t lane, uint8_t *out, uint32_t bytes) {
    struct dice dice = {version * 0x9e3779b97f4a7c15ull ^ (uint64_t)group << 56 ^ lane};
    for (uint32_t at = 0; at < bytes; at += 8) {
        uint64_t word = at == 0 ? version : at == 8 ? (uint64_t)group << 32 | lane : dice_next(&dice);
        memcpy(out + at, &word, bytes - at < 8 ? bytes - at : 8);
    }
}

uint64_t sim_content_version(const uint8_t *lane) {
    uint64_t version;
    memcpy(&version, lane, sizeof(version));
    return version;
}

bool sim_content_is(uint64_t version, uint32_t group, uint32_t lane, const uint8_t *bytes, uint32_t size) {
    struct dice dice = {version * 0x9e3779b97f4a7c15ull ^ (uint64_t)group << 56 ^ lane};
    for (uint32_t at = 0; at < size; at += 8) {
        uint64_t word = at == 0 ? version : at == 8 ? (uint64_t)group << 32 | lane : dice_next(&dice);
        if (memcmp(bytes + at, &word, size - at < 8 ? size - at : 8) != 0) {
            return false;
        }
    }
    return true;
}

uint8_t *sim_content_payload(uint64_t version, uint32_t group, const struct quire_record_shape *shape, const quire_rect *rect,
                             uint32_t length, uint64_t *check) {
    uint8_t *payload = malloc(length + 8u);
    uint64_t *sums = malloc((shape->n_lanes + 1u) * sizeof(*sums));
    uint32_t n = 0, at = 0, kinds = shape->v_lane_bytes > 0 ? 2 : 1;
    uint32_t layers = shape->opaque ? shape->n_lanes : rect->n_layers, heads = shape->opaque ? 1 : rect->n_heads;
    for (uint32_t layer = 0; layer < layers; layer++) {
        for (uint32_t kv = 0; kv < (shape->opaque ? 1 : kinds); kv++) {
            for (uint32_t head = 0; head < heads; head++) {
                uint32_t lane = shape->opaque ? layer : quire_record_lane(shape, rect->first_layer + layer, kv, rect->first_head + head);
                uint32_t bytes = quire_record_lane_bytes(shape, lane);
                sim_content_lane(version, group, lane, payload + at, bytes);
                sums[n++] = quire_checksum(payload + at, bytes);
                at += bytes;
            }
        }
    }
    assert(at == length);
    *check = quire_record_combine(sums, n);
    free(sums);
    return payload;
}
