/* Out of a caller's memory into the payload of a put: lanes in rectangle order, packed, each summed as it is written. */
#include "codec/checksum_kernel.h"
#include "codec/combine.h"
#include "codec/lane_walk.h"
#include "codec/stage.h"

enum quire_status quire_record_gather(const struct quire_record_shape *shape, const struct quire_scatter *from, uint8_t *payload,
                                      uint64_t *check) {
    struct quire_lane_walk walk;
    struct quire_combine combine;
    QUIRE_FORWARD(quire_lane_walk_begin(&walk, shape, from));
    bool stream = quire_stream_wanted(payload, quire_rect_payload_bytes(&from->rect, shape));
    quire_combine_begin(&combine);
    while (quire_lane_walk_next(&walk)) {
        uint64_t sum = walk.contiguous ? quire_sum_copy(payload, walk.rows.base, walk.lane_bytes, stream)
                                       : quire_stage_in(&walk.rows, payload, walk.lane_bytes);
        quire_combine_add(&combine, sum);
        payload += walk.lane_bytes;
    }
    if (stream) {
        quire_stream_end();
    }
    *check = quire_combine_end(&combine);
    return QUIRE_OK;
}
