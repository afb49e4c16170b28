/*
 * A session: one client, from its connection to its end. Frames come in and replies go out by a link (daemon/link.h), whichever it is.
 *
 * A turn handles at most SESSION_TURN_FRAMES frames; what is left waits for the next turn, so that no client can keep the loop for itself. A
 * session is held up (not read any further) while its replies pile up, or while a request of its waits for a share of something
 * bounded. A client that takes no reply for SESSION_STALL_MS is kicked.
 * Everything here is for who has the core (core_borrow). A session may end inside any call that sends; whoever goes on using it holds a reference.
 */
#ifndef DAEMON_SESSION_H
#define DAEMON_SESSION_H

#include "daemon/flow.h"
#include "daemon/link.h"
#include "proto/frame.h"

#include <protobuf-c/protobuf-c.h>
#include <sys/types.h>

#define SESSION_MAGIC 0x53455353u
#define SESSION_TURN_BYTES (64u << 10)
#define SESSION_TURN_FRAMES 16
#define SESSION_TX_HIGH_BYTES (256u << 10)          /* replies waiting to be taken, beyond which no request is read */
#define SESSION_TX_HIGH_FDS 2                       /* likewise descriptors in them */
#define SESSION_MAX_NS 64                           /* namespaces open at once */
#define SESSION_MAX_PUT_ITEMS (QUIRE_MAX_BATCH / 2) /* under way, of several requests; a request by itself may have more */
#define SESSION_HELLO_MS 5000
#define SESSION_STALL_MS 10000
#define SESSION_FRAME_MS 10000               /* to complete a frame that was begun */
#define SESSION_UNFINISHED_BYTES (64u << 20) /* unfinished frames of all sessions together */
#define SESSION_OPERATOR "quirectl"          /* the name of clients that may have a place in reserve */
#define SESSION_NO_NS UINT16_MAX

struct core;
struct ingest_window;
struct remote;

enum session_state { SESSION_NEW, SESSION_OPEN, SESSION_ENDED };
enum session_end { SESSION_END_GOODBYE, SESSION_END_LOST, SESSION_END_KICKED, SESSION_END_REFUSED, SESSION_END_SHUTDOWN };

struct session {
    uint32_t magic;
    enum session_state state;
    uint32_t refs;
    struct core *core;
    struct session *prev, *next; /* all that have not ended */
    struct session *run_next;    /* those with input left over from their last turn */
    bool runnable;
    bool held;    /* the decoder has a complete frame that is to be handled again */
    bool leaving; /* said goodbye: ends when its replies are out */
    struct link *link;

    pid_t pid;
    uid_t uid;
    uint32_t domain;
    int pidfd; /* of a member's process; −1 where the kernel cannot tell */
    bool member, admin;
    bool reserve; /* on a place kept free for operating */
    char client[QUIRE_MAX_NAME + 1];
    uint64_t id;           /* the pager's; 0 before HELLO */
    struct remote *remote; /* of one that came over a wire (daemon/net/net.h), with its token; NULL: a local one */
    uint16_t ns[SESSION_MAX_NS];
    uint8_t ns_rights[SESSION_MAX_NS]; /* enum token_right: what it may do there */
    uint32_t n_ns;
    uint32_t put_items;  /* outstanding */
    uint32_t load_items; /* likewise */
    uint32_t durable_waits;
    bool loads;           /* knows LOAD */
    bool ranges;          /* asks for no more of what was loaded in part */
    bool pings;           /* takes a PONG that it did not ask for as a sign of life */
    uint64_t sign_ns;     /* when it was given one last */
    struct flow_own flow; /* records on their way to it */
    uint64_t opened_ns, active_ns;
    uint64_t requests;
};

/* What a handler says: the frame is done with, or it must wait for room and be handled again. */
enum session_verdict { SESSION_DONE, SESSION_HOLD };

/* Takes over the link. The new session has one reference, which session_end gives up. */
enum quire_status session_create(struct core *core, struct link *link, struct session **session);
void session_ref(struct session *session);
void session_unref(struct session *session);
/* Ends it: closes the link, frees what it held. Harmless when it has ended. */
void session_end(struct session *session, enum session_end how);
#define SESSION_WHO_BYTES 320
/* For the log: who it is, and whence it came. */
void session_who(const struct session *session, char who[SESSION_WHO_BYTES]);
/* Tells the client why, then ends it. */
void session_kick(struct session *session, enum quire_status status, const char *why);

/* One turn; also called for what is left over. */
void session_turn(struct session *session);
/* Something that it was held for may be there now. */
void session_release_hold(struct session *session);
/* Asks the link for what the session can use now; ends it when it is leaving and all is said. */
void session_want(struct session *session);

/* ---- for links ------------------------------------------------------------------------------------------------------------ */
/* Replies that were not taken are more than may wait: no frame is to be handed over. */
bool session_stalled(const struct session *session);
/* A complete frame. False: it is not done with; it is to be handed over again in a later turn, or the session has ended. */
bool session_frame(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns);
/* Where the bulk bytes behind a frame go, before the frame is handled; *place NULL: nowhere, they are to be thrown away. The window is in use until
   ingest_unuse. Not OK: there may be none behind such a frame. */
enum quire_status session_bulk_place(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint8_t **place,
                                     struct ingest_window **window);
/* What came is no frame; `major`: of the protocol that the client speaks, where that is what is wrong. */
void session_broken(struct session *session, enum quire_status status, uint32_t major);

#define SESSION_BULK_HEAD_BYTES QUIRE_FRAME_BYTES /* Bulk{status: OK} is empty */

/* ---- replies -------------------------------------------------------------------------------------------------------------- */
/* Packs and sends a frame with a body, and passes descriptors (at most two) along. */
void session_send(struct session *session, enum quire_msg type, uint64_t request, const ProtobufCMessage *body, const int *fds,
                  uint32_t n_fds);
/* Sends a BULK frame, whose segments are its bulk bytes, and takes it over; of link_tx_create with a head of SESSION_BULK_HEAD_BYTES. */
void session_send_bulk(struct session *session, uint64_t request, struct link_tx *tx);
/* An ERROR frame; a request that fails as a whole. */
void session_fail(struct session *session, uint64_t request, enum quire_status status, uint32_t retry_after_ms, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* May the session do this (enum token_right) in a namespace that it has open? */
bool session_may(const struct session *session, uint32_t ns_handle, uint32_t right);
/* Checks the session's clocks: hello, unfinished frame, stalled, idle, a sign of life. */
void session_check_time(struct session *session, uint64_t now_ns);

#endif
