/*
 * The inlet of a wire: what its rail gathers before it is the core's. Frames are cut out of the byte stream, bulk bytes get the place that the core
 * says, and no more is taken than the core has room for. The same for every transport; on the rail's thread.
 *
 * A stranger costs little: until its HELLO was accepted a client may send frames of INLET_FRESH_BODY_BYTES and no bulk bytes.
 */
#ifndef DAEMON_NET_INLET_H
#define DAEMON_NET_INLET_H

#include "daemon/net/rail.h"

#define INLET_FRESH_BODY_BYTES 4096

struct inlet {
    struct rail *rail;
    struct wire *wire;
    struct quire_decoder decoder;
    bool known;               /* it has proven who it is: no stranger any more */
    uint64_t gathering_bytes; /* the decoder's buffer, in the rail's books */
    uint64_t frame_ns;        /* since when a frame is unfinished, or its bulk bytes have not moved; 0: none is */
    bool awaits_place;        /* the core has not said where the bulk bytes of the last frame go */
    uint8_t *place;           /* where the next of them goes; NULL: nowhere */
    uint64_t bulk_left;
    uint64_t bulk_until_ns; /* when the last of them must be there, however they trickle */
    uint32_t held_frames;   /* with the core */
    uint64_t held_bytes;
    enum quire_status failed; /* what ends the wire, and why, for people */
    const char *why;
};

void inlet_init(struct inlet *inlet, struct rail *rail, struct wire *wire);
/* The stream ends; frames and bulk bytes that the core was told of stay so. */
void inlet_drop(struct inlet *inlet);
/* May more be taken? Not while bulk bytes have no place, nor while the core has enough. */
bool inlet_takes(const struct inlet *inlet);
/* Takes bytes of frames, and bulk bytes that come in the same stream, as long as it may; how many. Look at `failed` afterwards. */
size_t inlet_take(struct inlet *inlet, const uint8_t *bytes, size_t size);
/* So many bulk bytes were received at `place`, or given up. */
void inlet_bulk_came(struct inlet *inlet, uint64_t bytes);
/* KNOWN, TAKEN or PLACE: done with, and freed. */
void inlet_message(struct inlet *inlet, struct exchange_msg *msg);
/* Something was begun and not gone on with in time. */
bool inlet_is_late(const struct inlet *inlet, uint64_t now_ns);

#endif
