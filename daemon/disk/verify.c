#include "daemon/disk/verify.h"

#include "proto/base/base.h"

static enum quire_status verify_rect(const struct quire_record *record, const quire_rect *rect) {
    uint32_t kinds = record->shape.v_lane_bytes > 0 ? 2 : 1;
    for (uint32_t layer = rect->first_layer; layer < (uint32_t)rect->first_layer + rect->n_layers; layer++) {
        for (uint32_t kv = 0; kv < kinds; kv++) {
            for (uint32_t head = rect->first_head; head < (uint32_t)rect->first_head + rect->n_heads; head++) {
                if (layer >= record->shape.n_layers || head >= record->shape.n_heads ||
                    quire_record_verify_lane(record, quire_record_lane(&record->shape, layer, kv, head)) != QUIRE_OK) {
                    return QUIRE_CORRUPT;
                }
            }
        }
    }
    return QUIRE_OK;
}

enum quire_status verify_record(const uint8_t *bytes, uint32_t size, const struct verify_wanted *wanted) {
    struct quire_record record;
    uint64_t check;
    if (quire_record_open_tagged(bytes, size, wanted->layout, wanted->layout_tag, wanted->key, &record) != QUIRE_OK ||
        size - record.header.size_bytes >= QUIRE_LOG_UNIT_MAX || record.header.group != wanted->group) {
        return QUIRE_CORRUPT;
    }
    if (wanted->check_mask != 0 && (quire_log_record_check(bytes, record.header.size_bytes, &check) != QUIRE_OK ||
                                    ((check ^ wanted->check) & wanted->check_mask) != 0)) {
        return QUIRE_CORRUPT;
    }
    enum quire_status status = wanted->rect == NULL ? quire_record_verify(&record) : verify_rect(&record, wanted->rect);
    return status == QUIRE_OK ? QUIRE_OK : QUIRE_CORRUPT;
}
