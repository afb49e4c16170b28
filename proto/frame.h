/*
 * Frames: what both ends put on a byte stream. A fixed 40-byte header, a protobuf body, and for guests raw bulk bytes.
 *
 *   0 u32 magic "QUIR"   4 u8 major   5 u8 minor   6 u16 type        8 u32 flags      12 u32 body_bytes
 *  16 u64 bulk_bytes    24 u64 request_id         32 u32 body_check 36 u32 header_check
 *
 * Little-endian. header_check is the low half of XXH3-64 over bytes 0..35; body_check likewise over the body. The decoder does no
 * I/O: it is fed whatever arrived, byte by byte if need be, and says when a frame is there. It never reads past what
 * it was given and never holds more than QUIRE_BODY_MAX. An unknown flag or message type is for the
 * receiver to ignore or answer; another major version is refused by name. Not thread-safe: one decoder a connection.
 */
#ifndef QUIRE_FRAME_H
#define QUIRE_FRAME_H

#include "proto/quire_types.h"

#define QUIRE_FRAME_MAGIC 0x52495551u /* "QUIR" */
#define QUIRE_PROTO_MAJOR 1
#define QUIRE_PROTO_MINOR 0
#define QUIRE_FRAME_BYTES 40
#define QUIRE_BODY_MAX (2u << 20)
#define QUIRE_BULK_MAX (1ull << 32)

/* Bits of HELLO's and HELLO_ACK's `features`. */
#define QUIRE_FEATURE_LOAD 1u /* understands grants that are AWAY, and LOAD; to a client without it what is only on disk is a miss */
/* Of a daemon: a READ may ask for several ranges of a record. Of a client: of what was loaded in part it asks for no more than that. */
#define QUIRE_FEATURE_RANGES 2u
#define QUIRE_FEATURE_PING 4u /* of a daemon: answers PING. Of a client: takes a PONG that it did not ask for as a sign of life */

/*
 * Over a wire, who waits for an answer does not wait for a peer that is gone: a client that has heard nothing for HEARTBEAT_AFTER sends PING, and when
 * nothing at all has come for HEARTBEAT_BOUND the connection is given up. To a session whose requests it does not read just now the daemon says
 * PONG unasked, every HEARTBEAT_AFTER. Who waits for nothing is asked nothing: its program may be busy elsewhere for as long as it likes.
 */
#define QUIRE_HEARTBEAT_AFTER_MS 1000
#define QUIRE_HEARTBEAT_BOUND_MS 4000

/* X(name, value): requests odd-numbered comments tell the reply. Values are the wire's: append only. */
#define QUIRE_MSG_TABLE(X)                                                                                                                 \
    X(ERROR, 1)          /* daemon → client: Error; the request of that id failed as a whole */                                          \
    X(HELLO, 2)          /* client → daemon, first frame: Hello */                                                                       \
    X(HELLO_ACK, 3)      /* + descriptors [pool, generations] for members of the trust domain */                                           \
    X(NS_OPEN, 4)        /* NsOpen → NS_ACK */                                                                                           \
    X(NS_ACK, 5)         /* */                                                                                                             \
    X(LEASE, 6)          /* Lease → GRANTS: lookup, fetch and view */                                                                    \
    X(GRANTS, 7)         /* */                                                                                                             \
    X(RELEASE, 8)        /* Release, one-way */                                                                                            \
    X(READ, 9)           /* Read → BULK: guests' copies of leased records */                                                             \
    X(BULK, 10)          /* Bulk + bulk bytes */                                                                                           \
    X(PUT, 11)           /* Put → ACKS */                                                                                                \
    X(ACKS, 12)          /* a status a key */                                                                                              \
    X(INGEST_GET, 13)    /* IngestGet → INGEST_ACK */                                                                                    \
    X(INGEST_ACK, 14)    /* + descriptor of the ingest window */                                                                           \
    X(INGEST_RETURN, 15) /* one-way: the client has unmapped it */                                                                         \
    X(INGEST_RECALL, 16) /* daemon → client notice: give it back when idle */                                                            \
    X(KEYS, 17)          /* Keys (touch, delete, pin, unpin) → ACKS */                                                                   \
    X(ADMIN, 18)         /* AdminRequest → ADMIN_REPLY */                                                                                \
    X(ADMIN_REPLY, 19)   /* */                                                                                                             \
    X(CANCEL, 20)        /* one-way: the request of that id is of no interest any more */                                                  \
    X(GOODBYE, 21)       /* either way: the sender closes in good order */                                                                 \
    X(LOAD, 22)          /* Load → GRANTS: leased records that are only on disk come into memory */                                      \
    X(CHALLENGE, 23)     /* daemon → client, first frame on a wire: Challenge, which HELLO answers with a proof */                       \
    X(PING, 24)          /* → PONG, at once */                                                                                           \
    X(PONG, 25)          /* no body; also unasked, with request 0 */

enum quire_msg {
#define X(name, value) QUIRE_MSG_##name = value,
    QUIRE_MSG_TABLE(X)
#undef X
};

struct quire_frame {
    uint8_t major, minor;
    uint16_t type; /* enum quire_msg, or one we do not know */
    uint32_t flags;
    uint32_t body_bytes;
    uint64_t bulk_bytes;
    uint64_t request_id;
    uint32_t body_check;
};

/* Writes the 40 bytes, header_check included; body_check is computed from `body`. A frame whose major is 0 gets this build's version. */
void quire_frame_encode(const struct quire_frame *frame, const void *body, uint8_t out[QUIRE_FRAME_BYTES]);
/* Parses and checks one header: OK, CORRUPT (magic, check), VERSION (other major), TOO_LARGE (body or bulk over its limit). */
enum quire_status quire_frame_decode(const uint8_t in[QUIRE_FRAME_BYTES], struct quire_frame *frame);

/* Accumulates a byte stream into frames. Zero-initialise; quire_decoder_free releases. */
struct quire_decoder {
    uint8_t *buffer; /* header and body of the frame being gathered; grows to QUIRE_FRAME_BYTES + QUIRE_BODY_MAX at most */
    size_t have_bytes, capacity_bytes;
    struct quire_frame frame;
    bool have_frame;          /* the header has been parsed */
    enum quire_status failed; /* sticky: after an error the stream is unusable */
};

/*
 * Feeds bytes; *used is how many were taken (it stops after one frame). OK: a frame is complete in decoder->frame with its body at
 * quire_decoder_body; call quire_decoder_next before feeding again; bulk bytes follow in the stream and are not the decoder's.
 * PENDING: all bytes taken, more needed. Else the error of the stream (CORRUPT also for a body_check that differs), sticky.
 */
enum quire_status quire_decoder_feed(struct quire_decoder *decoder, const uint8_t *bytes, size_t size, size_t *used);
const uint8_t *quire_decoder_body(const struct quire_decoder *decoder);
/* Forgets the complete frame; shrinks an oversized buffer, so that an idle connection holds little. */
void quire_decoder_next(struct quire_decoder *decoder);
void quire_decoder_free(struct quire_decoder *decoder);

#endif
