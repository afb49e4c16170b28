#include "daemon/net/inlet.h"

void inlet_init(struct inlet *inlet, struct rail *rail, struct wire *wire) { *inlet = (struct inlet){.rail = rail, .wire = wire}; }

/* The rail's books of what is being gathered. */
static void note_gathering(struct inlet *inlet, uint64_t bytes) {
    inlet->rail->gathering_bytes += bytes - inlet->gathering_bytes;
    inlet->gathering_bytes = bytes;
}

void inlet_drop(struct inlet *inlet) {
    note_gathering(inlet, 0);
    quire_decoder_free(&inlet->decoder);
}

bool inlet_takes(const struct inlet *inlet) {
    bool credit = inlet->held_frames < WIRE_CREDIT_FRAMES && inlet->held_bytes < WIRE_CREDIT_BYTES;
    return inlet->failed == QUIRE_OK && !inlet->awaits_place && (credit || inlet->bulk_left > 0);
}

static void fail(struct inlet *inlet, enum quire_status status, const char *why) {
    inlet->failed = status;
    inlet->why = why;
}

static void hand_over(struct inlet *inlet) {
    const struct quire_frame *frame = &inlet->decoder.frame;
    if (!inlet->known && (frame->body_bytes > INLET_FRESH_BODY_BYTES || frame->bulk_bytes > 0)) {
        fail(inlet, QUIRE_TOO_LARGE, "a first frame larger than a greeting");
        return;
    }
    struct exchange_msg *msg = exchange_msg_create(inlet->wire, EXCHANGE_FRAME, frame->body_bytes);
    if (msg == NULL) {
        fail(inlet, QUIRE_NO_MEMORY, "no memory for a request");
        return;
    }
    msg->frame = *frame;
    if (frame->body_bytes > 0) {
        memcpy(msg->body, quire_decoder_body(&inlet->decoder), frame->body_bytes);
    }
    inlet->held_frames++;
    inlet->held_bytes += frame->body_bytes;
    inlet->bulk_left = frame->bulk_bytes;
    inlet->awaits_place = frame->bulk_bytes > 0;
    inlet->frame_ns = inlet->awaits_place ? inlet->rail->now_ns : 0;
    quire_decoder_next(&inlet->decoder);
    exchange_post(&inlet->rail->out, msg);
}

void inlet_bulk_came(struct inlet *inlet, uint64_t bytes) {
    inlet->place = inlet->place != NULL ? inlet->place + bytes : NULL;
    inlet->bulk_left -= bytes;
    inlet->frame_ns = inlet->rail->now_ns;
    if (inlet->bulk_left == 0) {
        inlet->place = NULL;
        inlet->frame_ns = 0;
        exchange_post(&inlet->rail->out, inlet->wire->bulk);
    }
}

/* Keeps the books of the frame that is being gathered. Too much in all: this one goes; an honest one takes no time. */
static void note_frame(struct inlet *inlet) {
    bool unfinished = inlet->decoder.have_bytes > 0;
    note_gathering(inlet, unfinished ? inlet->decoder.capacity_bytes : 0);
    if (inlet->bulk_left == 0) {
        inlet->frame_ns = !unfinished ? 0 : inlet->frame_ns != 0 ? inlet->frame_ns : inlet->rail->now_ns;
    }
    if (!inlet->known && inlet->decoder.have_frame && inlet->decoder.frame.body_bytes > INLET_FRESH_BODY_BYTES) {
        fail(inlet, QUIRE_TOO_LARGE, "a first frame larger than a greeting");
    } else if (inlet->rail->gathering_bytes > inlet->rail->limits.unfinished_bytes) {
        fail(inlet, QUIRE_RETRY, "too many unfinished requests");
    }
}

size_t inlet_take(struct inlet *inlet, const uint8_t *bytes, size_t size) {
    size_t used = 0;
    while (used < size && inlet_takes(inlet)) {
        size_t n = 0;
        if (inlet->bulk_left > 0) {
            n = (size_t)quire_min_u64(size - used, inlet->bulk_left);
            if (inlet->place != NULL) {
                memcpy(inlet->place, bytes + used, n);
            }
            used += n;
            inlet_bulk_came(inlet, n);
            continue;
        }
        enum quire_status status = quire_decoder_feed(&inlet->decoder, bytes + used, size - used, &n);
        used += n;
        if (status == QUIRE_OK) {
            hand_over(inlet);
        } else if (status != QUIRE_PENDING) {
            fail(inlet, status, status == QUIRE_VERSION ? "another version of the protocol" : "what came is no frame");
        }
    }
    if (inlet->failed == QUIRE_OK) {
        note_frame(inlet);
    }
    return used;
}

void inlet_message(struct inlet *inlet, struct exchange_msg *msg) {
    if (msg->kind == EXCHANGE_KNOWN) {
        inlet->known = true;
    } else if (msg->kind == EXCHANGE_TAKEN) {
        inlet->held_frames -= msg->frames;
        inlet->held_bytes -= msg->bytes;
    } else {
        inlet->place = msg->place;
        inlet->awaits_place = false;
        inlet->frame_ns = inlet->rail->now_ns; /* so far it was not read */
        inlet->bulk_until_ns = inlet->frame_ns + inlet->rail->limits.frame_ns + inlet->bulk_left * QUIRE_NS_PER_S / RAIL_BULK_BYTES_PER_S;
    }
    exchange_msg_free(msg);
}

bool inlet_is_late(const struct inlet *inlet, uint64_t now_ns) {
    bool stands_still = now_ns > inlet->frame_ns + inlet->rail->limits.frame_ns;
    bool trickles = inlet->bulk_left > 0 && now_ns > inlet->bulk_until_ns;
    return inlet->frame_ns != 0 && inlet_takes(inlet) && (stands_still || trickles);
}
