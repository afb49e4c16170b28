/* Any bytes as the body of every message: refused, or a message that can be packed again and then reads the same. */
#include "proto/quire.pb-c.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every message of quire.proto. X(name) */
#define MESSAGES(X)                                                                                                                        \
    X(error)                                                                                                                               \
    X(hello)                                                                                                                               \
    X(hello_ack)                                                                                                                           \
    X(ns_open)                                                                                                                             \
    X(ns_ack)                                                                                                                              \
    X(lease)                                                                                                                               \
    X(grants)                                                                                                                              \
    X(release)                                                                                                                             \
    X(read)                                                                                                                                \
    X(bulk)                                                                                                                                \
    X(put)                                                                                                                                 \
    X(acks)                                                                                                                                \
    X(ingest_get)                                                                                                                          \
    X(ingest_ack)                                                                                                                          \
    X(ingest_return)                                                                                                                       \
    X(keys)                                                                                                                                \
    X(cancel)                                                                                                                              \
    X(admin_request)                                                                                                                       \
    X(admin_reply)                                                                                                                         \
    X(daemon_info)                                                                                                                         \
    X(tier_info)                                                                                                                           \
    X(namespace_info)                                                                                                                      \
    X(session_info)                                                                                                                        \
    X(block_info)                                                                                                                          \
    X(record_info)                                                                                                                         \
    X(counter)

static const ProtobufCMessageDescriptor *const messages[] = {
#define X(name) &quire__wire__##name##__descriptor,
    MESSAGES(X)
#undef X
};

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/*
 * Packing is canonical: what was packed once packs to the same bytes for ever. (protobuf-c keeps an unknown field even when its number
 * is 0, which no reader accepts: such a message cannot be read again.)
 */
static void pack_twice(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *message) {
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *first = malloc(size + 1), *second = malloc(size + 1);
    require(first != NULL && second != NULL);
    require(protobuf_c_message_pack(message, first) == size);
    ProtobufCMessage *again = protobuf_c_message_unpack(type, NULL, size, first);
    if (again != NULL) {
        require(protobuf_c_message_get_packed_size(again) == size);
        require(protobuf_c_message_pack(again, second) == size && memcmp(first, second, size) == 0);
        protobuf_c_message_free_unpacked(again, NULL);
    }
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        ProtobufCMessage *message = protobuf_c_message_unpack(messages[i], NULL, size, data);
        if (message != NULL) {
            pack_twice(messages[i], message);
            protobuf_c_message_free_unpacked(message, NULL);
        }
    }
    return 0;
}
