/*
 * Little-endian integers and bounded reading and writing over byte strings: what the frame and layout codings are made of. A cursor
 * that would leave its bytes stays put, remembers that it failed and yields zeros, so a parser checks once, at its end.
 * Header-only and free of state.
 */
#ifndef QUIRE_BYTES_H
#define QUIRE_BYTES_H

#include "proto/base/base.h"

static inline void quire_put_le16(uint8_t *out, uint16_t value) {
    out[0] = (uint8_t)value;
    out[1] = (uint8_t)(value >> 8);
}

static inline void quire_put_le32(uint8_t *out, uint32_t value) {
    quire_put_le16(out, (uint16_t)value);
    quire_put_le16(out + 2, (uint16_t)(value >> 16));
}

static inline void quire_put_le64(uint8_t *out, uint64_t value) {
    quire_put_le32(out, (uint32_t)value);
    quire_put_le32(out + 4, (uint32_t)(value >> 32));
}

static inline uint16_t quire_get_le16(const uint8_t *in) { return (uint16_t)(in[0] | in[1] << 8); }
static inline uint32_t quire_get_le32(const uint8_t *in) { return quire_get_le16(in) | (uint32_t)quire_get_le16(in + 2) << 16; }
static inline uint64_t quire_get_le64(const uint8_t *in) { return quire_get_le32(in) | (uint64_t)quire_get_le32(in + 4) << 32; }

struct quire_writer {
    uint8_t *bytes;
    size_t at, capacity;
    bool failed;
};

struct quire_reader {
    const uint8_t *bytes;
    size_t at, size;
    bool failed;
};

static inline void quire_write(struct quire_writer *writer, const void *bytes, size_t size) {
    if (writer->failed || size > writer->capacity - writer->at) {
        writer->failed = true;
        return;
    }
    memcpy(writer->bytes + writer->at, bytes, size);
    writer->at += size;
}

static inline void quire_write_u8(struct quire_writer *writer, uint8_t value) { quire_write(writer, &value, 1); }

static inline void quire_write_le16(struct quire_writer *writer, uint16_t value) {
    uint8_t bytes[2];
    quire_put_le16(bytes, value);
    quire_write(writer, bytes, sizeof(bytes));
}

static inline void quire_write_le32(struct quire_writer *writer, uint32_t value) {
    uint8_t bytes[4];
    quire_put_le32(bytes, value);
    quire_write(writer, bytes, sizeof(bytes));
}

static inline void quire_write_f32(struct quire_writer *writer, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    quire_write_le32(writer, bits);
}

static inline void quire_read(struct quire_reader *reader, void *to, size_t size) {
    if (reader->failed || size > reader->size - reader->at) {
        reader->failed = true;
        memset(to, 0, size);
        return;
    }
    memcpy(to, reader->bytes + reader->at, size);
    reader->at += size;
}

static inline uint8_t quire_read_u8(struct quire_reader *reader) {
    uint8_t value;
    quire_read(reader, &value, 1);
    return value;
}

static inline uint16_t quire_read_le16(struct quire_reader *reader) {
    uint8_t bytes[2];
    quire_read(reader, bytes, sizeof(bytes));
    return quire_get_le16(bytes);
}

static inline uint32_t quire_read_le32(struct quire_reader *reader) {
    uint8_t bytes[4];
    quire_read(reader, bytes, sizeof(bytes));
    return quire_get_le32(bytes);
}

static inline float quire_read_f32(struct quire_reader *reader) {
    uint32_t bits = quire_read_le32(reader);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

#endif
