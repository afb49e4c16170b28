/*
 * A daemon's double: a thread that listens on a socket, speaks frames, and answers as the test's script says, truthfully, wrongly or never.
 */
#ifndef CLIENT_DOUBLE_H
#define CLIENT_DOUBLE_H

#include "client/quire.h"
#include "proto/frame.h"
#include "proto/layout.h"
#include "proto/quire.pb-c.h"
#include "proto/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DOUBLE_POOL_BYTES (1u << 20)
#define DOUBLE_SLOTS 64u
#define DOUBLE_EPOCH 4711u

struct twin; /* the double of a daemon */
typedef void twin_script(struct twin *twin, int fd, const struct quire_frame *frame, const uint8_t *body);

struct twin {
    char path[108];
    int listener;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint connections, frames, releases, release_frames, cancels; /* releases: leases */
    twin_script *script;                                                /* sees every frame but HELLO and NS_OPEN; NULL: silence */
    _Atomic uint64_t dropped;                                           /* put_id that a CANCEL named last */
    bool mute;                                                          /* does not even answer HELLO */
    bool guest;                                                         /* the client hears that it is no member */
    bool afar;                                                          /* ... and where the pool is, to be read from afar */
    bool wire;               /* it is reached over one (client_wire.h): a challenge comes first, a PUT has its bytes behind it */
    uint64_t ingest_bytes;   /* what a window may have; 0: 1 MiB */
    uint64_t features;       /* of HELLO_ACK */
    atomic_uint pings, puts; /* frames of that kind */
    bool hasty;              /* the script sees a frame before the bytes behind it came */
    atomic_bool paused;      /* it does not read */
    struct quire_frame held; /* its bytes are coming */
    uint8_t *held_body;
    void (*bulk)(struct twin *twin, const uint8_t *bytes, size_t size); /* sees those bytes; may be NULL */
    _Atomic uint64_t bulk_bytes;                                        /* that came behind frames */
    bool unsealed;                                                      /* its pool could shrink under the client */
    bool small;                                                         /* its pool is smaller than it says */
    uint32_t hello_major;
    uint32_t ns_status;   /* what NS_OPEN is refused with; 0: it is not */
    bool ns_error;        /* ... as an ERROR */
    uint32_t deadline_ms; /* by default, of a client of twin_open; 0: long enough for a machine that is busy with other things */
    int arg;              /* the test's */
    void (*fill)(int fd); /* writes what lies in the pool; NULL: zeroes */
};

static inline int twin_memory(size_t bytes, bool sealed) {
    int fd = memfd_create("double", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    if (ftruncate(fd, (off_t)bytes) != 0 || (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)) {
        abort();
    }
    return fd;
}

static inline void twin_send(int fd, enum quire_msg type, uint64_t request, const ProtobufCMessage *body, uint64_t bulk_bytes,
                             const int *fds, int n_fds) {
    size_t size = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
    uint8_t *bytes = calloc(1, QUIRE_FRAME_BYTES + size);
    if (body != NULL) {
        protobuf_c_message_pack(body, bytes + QUIRE_FRAME_BYTES);
    }
    struct quire_frame frame = {
        .major = QUIRE_PROTO_MAJOR, .type = (uint16_t)type, .body_bytes = (uint32_t)size, .request_id = request, .bulk_bytes = bulk_bytes};
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    struct iovec vector = {.iov_base = bytes, .iov_len = QUIRE_FRAME_BYTES + size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (n_fds > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
        memcpy(CMSG_DATA(head), fds, (size_t)n_fds * sizeof(int));
    }
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    (void)sent; /* the client may have hung up: that is the test's matter */
    free(bytes);
}

static inline void twin_hello(struct twin *twin, int fd) {
    Quire__Wire__HelloAck ack = QUIRE__WIRE__HELLO_ACK__INIT;
    ack.major = twin->hello_major == 0 ? QUIRE_PROTO_MAJOR : twin->hello_major;
    ack.epoch = DOUBLE_EPOCH;
    ack.session = 1;
    ack.member = !twin->guest;
    ack.pool_bytes = DOUBLE_POOL_BYTES;
    ack.generation_slots = DOUBLE_SLOTS;
    ack.lease_ms = 30000;
    ack.ingest_max_bytes = twin->ingest_bytes != 0 ? twin->ingest_bytes : 1u << 20;
    ack.features = twin->features;
    Quire__Wire__Afar afar = QUIRE__WIRE__AFAR__INIT;
    ack.afar = twin->afar ? &afar : NULL;
    int fds[2] = {twin_memory(twin->small ? 4096 : DOUBLE_POOL_BYTES, !twin->unsealed), twin_memory(DOUBLE_SLOTS * 4, true)};
    if (twin->fill != NULL) {
        twin->fill(fds[0]);
    }
    twin_send(fd, QUIRE_MSG_HELLO_ACK, 0, &ack.base, 0, fds, twin->guest ? 0 : 2);
    close(fds[0]);
    close(fds[1]);
}

static inline void twin_ns(const struct twin *twin, int fd, const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__NsOpen *open = quire__wire__ns_open__unpack(NULL, frame->body_bytes, body);
    Quire__Wire__NsAck ack = QUIRE__WIRE__NS_ACK__INIT;
    uint8_t root[32] = {9};
    ack.ns = 1;
    ack.root.data = root;
    ack.root.len = sizeof(root);
    ack.layout = open->layout;
    ack.status = twin->ns_status;
    ack.text = (char *)(ack.status == QUIRE_OK ? "" : "the table of namespaces is full");
    Quire__Wire__Error error = QUIRE__WIRE__ERROR__INIT;
    error.status = ack.status;
    error.text = ack.text;
    bool refused = twin->ns_error && ack.status != QUIRE_OK;
    twin_send(fd, refused ? QUIRE_MSG_ERROR : QUIRE_MSG_NS_ACK, frame->request_id, refused ? &error.base : &ack.base, 0, NULL, 0);
    quire__wire__ns_open__free_unpacked(open, NULL);
}

static inline void twin_frame(struct twin *twin, int fd, const struct quire_frame *frame, const uint8_t *body) {
    atomic_fetch_add(&twin->frames, 1);
    atomic_fetch_add(&twin->pings, frame->type == QUIRE_MSG_PING);
    atomic_fetch_add(&twin->puts, frame->type == QUIRE_MSG_PUT);
    if (twin->mute) {
        return;
    }
    if (frame->type == QUIRE_MSG_HELLO) {
        twin_hello(twin, fd);
    } else if (frame->type == QUIRE_MSG_NS_OPEN) {
        twin_ns(twin, fd, frame, body);
    } else if (frame->type == QUIRE_MSG_RELEASE) {
        Quire__Wire__Release *release = quire__wire__release__unpack(NULL, frame->body_bytes, body);
        atomic_fetch_add(&twin->releases, (unsigned)release->n_lease);
        atomic_fetch_add(&twin->release_frames, 1);
        quire__wire__release__free_unpacked(release, NULL);
    } else if (frame->type == QUIRE_MSG_CANCEL) {
        Quire__Wire__Cancel *cancel = quire__wire__cancel__unpack(NULL, frame->body_bytes, body);
        if (cancel->n_put_ids > 0) {
            atomic_store(&twin->dropped, cancel->put_ids[0]);
        } else {
            atomic_fetch_add(&twin->cancels, 1);
        }
        quire__wire__cancel__free_unpacked(cancel, NULL);
    } else if (twin->script != NULL) {
        twin->script(twin, fd, frame, body);
    }
}

static inline void twin_challenge(int fd) {
    Quire__Wire__Challenge challenge = QUIRE__WIRE__CHALLENGE__INIT;
    uint8_t nonce[32] = {1};
    challenge.major = QUIRE_PROTO_MAJOR;
    challenge.nonce.data = nonce;
    challenge.nonce.len = sizeof(nonce);
    twin_send(fd, QUIRE_MSG_CHALLENGE, 0, &challenge.base, 0, NULL, 0);
}

static inline void twin_take_bulk(struct twin *twin, int fd, uint64_t *bulk_left, const uint8_t *bytes, size_t size) {
    *bulk_left -= size;
    atomic_fetch_add(&twin->bulk_bytes, size);
    if (twin->bulk != NULL) {
        twin->bulk(twin, bytes, size);
    }
    if (*bulk_left == 0 && !twin->hasty) {
        twin_frame(twin, fd, &twin->held, twin->held_body);
    }
}

/* A frame, or bytes behind one; how many were taken. */
static inline size_t twin_take(struct twin *twin, int fd, struct quire_decoder *decoder, uint64_t *bulk_left, const uint8_t *bytes,
                               size_t size) {
    size_t used = 0;
    if (*bulk_left > 0) {
        used = size < *bulk_left ? size : (size_t)*bulk_left;
        twin_take_bulk(twin, fd, bulk_left, bytes, used);
    } else if (quire_decoder_feed(decoder, bytes, size, &used) == QUIRE_OK) {
        *bulk_left = decoder->frame.bulk_bytes;
        if (*bulk_left == 0 || twin->hasty) {
            twin_frame(twin, fd, &decoder->frame, quire_decoder_body(decoder));
        } else {
            twin->held = decoder->frame;
            twin->held_body = realloc(twin->held_body, decoder->frame.body_bytes + 1);
            memcpy(twin->held_body, quire_decoder_body(decoder), decoder->frame.body_bytes);
        }
        quire_decoder_next(decoder);
    }
    return used;
}

static inline void twin_serve(struct twin *twin, int fd) {
    struct quire_decoder decoder = {0};
    uint64_t bulk_left = 0;
    uint8_t bytes[65536];
    if (twin->wire) {
        twin_challenge(fd);
    }
    while (!atomic_load(&twin->stop)) {
        struct pollfd ready = {.fd = atomic_load(&twin->paused) ? -1 : fd, .events = POLLIN};
        if (poll(&ready, 1, 20) <= 0) {
            continue;
        }
        ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
        if (got <= 0) {
            break;
        }
        for (size_t at = 0; at < (size_t)got;) {
            at += twin_take(twin, fd, &decoder, &bulk_left, bytes + at, (size_t)got - at);
        }
    }
    quire_decoder_free(&decoder);
    close(fd);
}

static inline void *twin_main(void *arg) {
    struct twin *twin = arg;
    while (!atomic_load(&twin->stop)) {
        struct pollfd ready = {.fd = twin->listener, .events = POLLIN};
        if (poll(&ready, 1, 20) > 0) {
            int fd = accept4(twin->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                atomic_fetch_add(&twin->connections, 1);
                twin_serve(twin, fd);
            }
        }
    }
    return NULL;
}

static inline void twin_start(struct twin *twin) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(twin->path, sizeof(twin->path), "/tmp/quire-double-%d.sock", getpid());
    strcpy(address.sun_path, twin->path);
    unlink(twin->path);
    twin->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(twin->listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(twin->listener, 8) != 0 ||
        pthread_create(&twin->thread, NULL, twin_main, twin) != 0) {
        abort();
    }
}

static inline void twin_stop(struct twin *twin) {
    atomic_store(&twin->stop, true);
    pthread_join(twin->thread, NULL);
    close(twin->listener);
    unlink(twin->path);
    free(twin->held_body);
}

/* A client of the double with a namespace of two layers. */
static inline enum quire_status twin_open(struct twin *twin, quire_client **client, quire_ns **ns) {
    uint32_t deadline_ms = twin->deadline_ms != 0 ? twin->deadline_ms : 3000;
    quire_options options = {.address = twin->path, .connect_timeout_ms = 10000, .default_deadline_ms = deadline_ms, .max_jobs = 8};
    quire_layout layout = {.n_layers = 2, .n_groups = 1, .block_tokens = 16, .kv_src = {0, 1}};
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = 8, .v_dim = 8, .elem = QUIRE_F16};
    *client = NULL;
    *ns = NULL;
    enum quire_status status = quire_open(&options, client);
    return status == QUIRE_OK ? quire_ns_open(*client, "double", &layout, ns) : status;
}

#endif
