/*
 * Which bytes a block has: every offer of a record is a version with bytes of its own, lane by lane, so that whoever reads a lane can tell whose it is.
 */
#ifndef SIM_CONTENT_H
#define SIM_CONTENT_H

#include "codec/record.h"
#include "proto/base/base.h"

/* One lane's bytes; at least 16. */
void sim_content_lane(uint64_t version, uint32_t group, uint32_t lane, uint8_t *out, uint32_t bytes);
/* The version that a lane claims. */
uint64_t sim_content_version(const uint8_t *lane);
bool sim_content_is(uint64_t version, uint32_t group, uint32_t lane, const uint8_t *bytes, uint32_t size);
/* A rectangle's payload as a client sends it (opaque shapes: all chunks), and its combined sum. By malloc. */
uint8_t *sim_content_payload(uint64_t version, uint32_t group, const struct quire_record_shape *shape, const quire_rect *rect,
                             uint32_t length, uint64_t *check);

#endif
