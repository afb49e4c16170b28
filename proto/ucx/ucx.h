/*
 * UCX as both ends of a wire speak it: active messages that carry, in order, the byte stream of frames (proto/frame.h) and, apart from it, the bulk
 * bytes behind them. Bulk bytes go from the sender's memory to the receiver's without a buffer of ours: short ones come with their message, longer
 * ones are fetched by the receiver when it knows their place.
 *
 * A port is a UCX worker with its descriptor; wires are its endpoints, and it may listen. A port and its wires belong to one thread at a time; things
 * move in quire_ucx_progress only. UCX bounds nothing that comes, so each end tells the other what it has taken, and whoever sends more than
 * QUIRE_UCX_WINDOW_BYTES beyond that is hung up on.
 *
 * UCX protects nothing: no encryption, no authentication, and a peer that lies to it may have it write where it should not. Only for
 * networks that are trusted. Its own target, because libquire loads it on demand only.
 */
#ifndef QUIRE_UCX_H
#define QUIRE_UCX_H

#include "proto/quire_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define QUIRE_UCX_WINDOW_BYTES (1u << 20)
/* Longer bulk bytes wait at the sender until they have a place: three more ways over the wire, each with a wake-up, pay only for these. */
#define QUIRE_UCX_EAGER_BYTES (256u << 10)
#define QUIRE_UCX_FRAMES_BYTES (64u << 10) /* of frames in one message, at most */
#define QUIRE_UCX_HEAD_BYTES 2048          /* of frames in front of bulk bytes in the same message, at most */
#define QUIRE_UCX_BULK_BYTES (4u << 20)    /* of bulk bytes in one message, at most: longer ones go in several */
#define QUIRE_UCX_MAX_PLACES 192
#define QUIRE_UCX_MAX_LISTENERS 16
#define QUIRE_UCX_PEER_BYTES 80
#define QUIRE_UCX_WHY_BYTES 256

/* Where UCX's own messages go instead of standard output, from any of its threads: a stranger can cause many. Which there are says UCX_LOG_LEVEL.
   Before the first port is created. */
typedef void quire_ucx_line(const char *text);
void quire_ucx_log_to(quire_ucx_line *line);

/* ---- port ---------------------------------------------------------------------------------------------------------------------- */
struct quire_ucx_port;
/* Whom nobody else can reach. */
bool quire_ucx_is_loopback(const struct sockaddr *at);
#define QUIRE_UCX_LOOPBACK 1u /* it uses no interface that other hosts could reach */
#define QUIRE_UCX_RMA 2u      /* its wires may read remote memory, or have theirs read */
/* `devices`: it uses and listens on no others, as UCX names them, unless UCX_NET_DEVICES names some; NULL: all. What this leaves open UCX
   reads from the environment (deploy/ucx.env). SYSTEM with `why`. */
enum quire_status quire_ucx_port_create(uint32_t flags, const char *devices, struct quire_ucx_port **port, char why[QUIRE_UCX_WHY_BYTES]);
/* Another one, for another thread, to which what asks at the first can be handed. Keys of the first's memory are good for its wires, too. */
enum quire_status quire_ucx_port_create_beside(struct quire_ucx_port *beside, struct quire_ucx_port **port, char why[QUIRE_UCX_WHY_BYTES]);
/* Closes what is left of its wires, and frees them. */
void quire_ucx_port_destroy(struct quire_ucx_port **port);
/* In a forked child: forgets it without touching what the parent goes on using. */
void quire_ucx_port_forget(struct quire_ucx_port **port);
/* Readable when there is something to progress; only after quire_ucx_arm said true. */
int quire_ucx_fd(const struct quire_ucx_port *port);
/* Moves what can move now, and no more than a turn's share. True: something did. */
bool quire_ucx_progress(struct quire_ucx_port *port);
/* True: the descriptor will tell. False: something came meanwhile, progress first. */
bool quire_ucx_arm(struct quire_ucx_port *port);

/* ---- those who want to connect --------------------------------------------------------------------------------------------------- */
struct quire_ucx_ask {
    void *request, *listener;
    struct sockaddr_storage from;
    char peer[QUIRE_UCX_PEER_BYTES]; /* "10.0.0.7:40112" */
};
/* `told`: with the port that was chosen, where it was 0. */
enum quire_status quire_ucx_listen(struct quire_ucx_port *port, const struct sockaddr *at, socklen_t at_bytes,
                                   char told[QUIRE_UCX_PEER_BYTES], char why[QUIRE_UCX_WHY_BYTES]);
/* How many were refused since this was asked last, because too many waited; `peer`: the last of them. */
uint32_t quire_ucx_refused(struct quire_ucx_port *port, char peer[QUIRE_UCX_PEER_BYTES]);
/* The next one that waits, to be accepted or refused; too many that wait are refused before. */
bool quire_ucx_asked(struct quire_ucx_port *port, struct quire_ucx_ask *ask);
struct quire_ucx_wire;
/* May be a port beside the one that was asked, on that port's thread, as long as the one that was asked listens. A failure refuses it. */
enum quire_status quire_ucx_accept(struct quire_ucx_port *port, const struct quire_ucx_ask *ask, void *user, struct quire_ucx_wire **wire);
/* On that port's thread, or one beside it, as above: UCX blocks the events of the one that listens meanwhile, for either. */
void quire_ucx_refuse(const struct quire_ucx_ask *ask);
enum quire_status quire_ucx_connect(struct quire_ucx_port *port, const struct sockaddr *to, socklen_t to_bytes, void *user,
                                    struct quire_ucx_wire **wire, char why[QUIRE_UCX_WHY_BYTES]);

/* ---- wires ----------------------------------------------------------------------------------------------------------------------- */
/* The next wire on which something came or went, or that failed, or is closed; each once after a progress. NULL: none. */
struct quire_ucx_wire *quire_ucx_ready(struct quire_ucx_port *port);
void *quire_ucx_user(const struct quire_ucx_wire *wire);
/* OK, or what went wrong: DISCONNECTED, CORRUPT (what came is not of this protocol), TOO_LARGE (more than was allowed for), SYSTEM. What came before it
   can still be taken. */
enum quire_status quire_ucx_status(const struct quire_ucx_wire *wire, const char **why);

/* Whether the other end's host is still there, and has not closed the connection: the system asks it for itself, by TCP, and knows within
   QUIRE_UCX_DEAD_MS, whatever UCX does and whatever the other end's program is busy with. True as well where nobody can tell: at the end that
   connected, or when the two found each other otherwise (by RDMA's own way). */
#define QUIRE_UCX_DEAD_MS 11000
bool quire_ucx_lives(const struct quire_ucx_wire *wire);

enum quire_ucx_kind { QUIRE_UCX_NOTHING, QUIRE_UCX_FRAMES, QUIRE_UCX_BULK };
/* What came next: FRAMES: size bytes at *bytes. BULK: size bytes that are to be received or dropped. */
enum quire_ucx_kind quire_ucx_peek(const struct quire_ucx_wire *wire, const uint8_t **bytes, size_t *size);
/* So many of the FRAMES' bytes are done with. */
void quire_ucx_take(struct quire_ucx_wire *wire, size_t size);
/* Receives BULK into n places that hold it exactly; they are UCX's until this, or quire_ucx_received, says OK or another status than PENDING, or
   the wire is closed. */
enum quire_status quire_ucx_receive(struct quire_ucx_wire *wire, const struct iovec *places, size_t n);
bool quire_ucx_receiving(const struct quire_ucx_wire *wire);
enum quire_status quire_ucx_received(struct quire_ucx_wire *wire);
/* BULK is not wanted. */
void quire_ucx_drop(struct quire_ucx_wire *wire);

/* Bytes that are sent stay as they are until `done`. */
typedef void quire_ucx_done(void *arg);
/* OK: `done` is called once, in this call, in a progress, or in the wire's closing. PENDING: not before the other end has taken some: the wire will
   be ready. Else `done` will not be called. */
enum quire_status quire_ucx_send(struct quire_ucx_wire *wire, enum quire_ucx_kind kind, const void *bytes, size_t size,
                                 quire_ucx_done *done, void *arg);
/* How many frames' bytes may go in front of bulk bytes: QUIRE_UCX_HEAD_BYTES, or less where lanes are narrow (a datagram's, for example). */
size_t quire_ucx_front_bytes(const struct quire_ucx_wire *wire);
/* FRAMES and BULK in one message: `head`, of at most quire_ucx_front_bytes, is copied. */
enum quire_status quire_ucx_send_with(struct quire_ucx_wire *wire, const void *head, size_t head_bytes, const void *bulk, size_t size,
                                      quire_ucx_done *done, void *arg);
/* Messages whose bytes are not free yet. */
uint32_t quire_ucx_sending(const struct quire_ucx_wire *wire);

/* ---- memory that is read from afar ------------------------------------------------------------------------------------------------- */
/* Where the network's cards do it (RDMA) no processor of the other end has a part in it, and none can refuse. UCX asks cards for reading only, and
   some register memory for writing, too: whoever is given a key is trusted with what it opens. Ports with QUIRE_UCX_RMA. */
#define QUIRE_UCX_KEY_BYTES 1024
struct quire_ucx_memory;
enum quire_status quire_ucx_expose(struct quire_ucx_port *port, void *base, size_t bytes, struct quire_ucx_memory **memory,
                                   char why[QUIRE_UCX_WHY_BYTES]);
/* Before the port is destroyed. */
void quire_ucx_conceal(struct quire_ucx_memory **memory);
/* What the other end needs to reach it, beside its address: at most QUIRE_UCX_KEY_BYTES. */
const void *quire_ucx_key(const struct quire_ucx_memory *memory, size_t *bytes);

struct quire_ucx_remote {
    struct quire_ucx_wire *wire;
    uint64_t address, bytes;
    void *key;
};
/* `key` comes from an end that is trusted: UCX takes it as it is. UNSUPPORTED: not over this wire. INVALID: no key has that size. */
enum quire_status quire_ucx_reach(struct quire_ucx_wire *wire, const void *key, size_t key_bytes, uint64_t address, uint64_t bytes,
                                  struct quire_ucx_remote *remote);
/* Before its wire is closed. */
void quire_ucx_leave(struct quire_ucx_remote *remote);
typedef void quire_ucx_got(void *arg, enum quire_status status);
/* Reads. OK: `got` is called once, in this call, in a progress, or in the wire's closing; until then `to` is UCX's. INVALID: outside. */
enum quire_status quire_ucx_get(const struct quire_ucx_remote *remote, uint64_t offset, void *to, size_t size, quire_ucx_got *got,
                                void *arg);
/* Cards do it, not processors. */
bool quire_ucx_has_rdma(const struct quire_ucx_wire *wire);

/* How much it may send that was not taken: QUIRE_UCX_WINDOW_BYTES, or less for one that has not proven who it is. */
void quire_ucx_allow(struct quire_ucx_wire *wire, uint64_t bytes);

/* Nothing comes or goes any more. It is closed, and to be freed, when quire_ucx_closed says so. */
void quire_ucx_close(struct quire_ucx_wire *wire);
bool quire_ucx_closed(const struct quire_ucx_wire *wire);
void quire_ucx_free(struct quire_ucx_wire **wire);

#endif
