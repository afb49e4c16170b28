#include "proto/key.h"

#include "proto/base/bytes.h"
#include "proto/sha256.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tokens are hashed as they lie in memory");

static void update_le32(struct quire_sha256 *sha, uint64_t value) {
    uint8_t bytes[4];
    assert(value <= UINT32_MAX);
    quire_put_le32(bytes, (uint32_t)value);
    quire_sha256_update(sha, bytes, sizeof(bytes));
}

quire_key quire_key_root(const uint8_t layout_digest[32], const void *salt, size_t salt_bytes) {
    static const char purpose[] = "quire-root-1"; /* its NUL is hashed too */
    struct quire_sha256 sha;
    quire_key root;
    quire_sha256_init(&sha);
    quire_sha256_update(&sha, purpose, sizeof(purpose));
    quire_sha256_update(&sha, layout_digest, 32);
    update_le32(&sha, salt_bytes);
    quire_sha256_update(&sha, salt, salt_bytes);
    quire_sha256_final(&sha, root.b);
    return root;
}

quire_key quire_key_child(const quire_key *parent, const uint32_t *tokens, uint32_t n_tokens, const void *extra, size_t extra_bytes) {
    static const char purpose[] = "quire-key-1";
    struct quire_sha256 sha;
    quire_key key;
    quire_sha256_init(&sha);
    quire_sha256_update(&sha, purpose, sizeof(purpose));
    quire_sha256_update(&sha, parent->b, QUIRE_KEY_BYTES);
    update_le32(&sha, n_tokens);
    quire_sha256_update(&sha, tokens, (size_t)n_tokens * sizeof(*tokens));
    update_le32(&sha, extra_bytes);
    quire_sha256_update(&sha, extra, extra_bytes);
    quire_sha256_final(&sha, key.b);
    return key;
}

size_t quire_key_chain(const quire_key *root, const uint32_t *tokens, size_t n_tokens, uint32_t block_tokens, bool tail, quire_key *keys,
                       size_t capacity) {
    const quire_key *parent = root;
    size_t n_keys = 0;
    while (block_tokens > 0 && n_tokens > 0 && n_keys < capacity && (n_tokens >= block_tokens || tail)) {
        uint32_t in_block = (uint32_t)quire_min_u64(n_tokens, block_tokens);
        keys[n_keys] = quire_key_child(parent, tokens, in_block, NULL, 0);
        parent = &keys[n_keys++];
        tokens += in_block;
        n_tokens -= in_block;
    }
    return n_keys;
}

void quire_key_format(const quire_key *key, char text[65]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < QUIRE_KEY_BYTES; i++) {
        text[2 * i] = digits[key->b[i] >> 4];
        text[2 * i + 1] = digits[key->b[i] & 15];
    }
    text[64] = '\0';
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum quire_status quire_key_parse(const char *text, quire_key *key) {
    quire_key parsed;
    for (size_t i = 0; i < QUIRE_KEY_BYTES; i++) {
        int high = digit_value(text[2 * i]);
        int low = high < 0 ? -1 : digit_value(text[2 * i + 1]); /* a short text ends here, at its NUL */
        if (low < 0) {
            return QUIRE_INVALID;
        }
        parsed.b[i] = (uint8_t)(high << 4 | low);
    }
    if (text[2 * QUIRE_KEY_BYTES] != '\0') {
        return QUIRE_INVALID;
    }
    *key = parsed;
    return QUIRE_OK;
}
