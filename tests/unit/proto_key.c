/* Keys are the names under which blocks are found again by other processes, hosts and versions: they are pinned here, byte by byte. */
#include "proto/key.h"
#include "tests/unit/hex.h"

#include <criterion/criterion.h>
#include <openssl/sha.h>

static quire_key sample_root(void) {
    uint8_t digest[32];
    for (int i = 0; i < 32; i++) {
        digest[i] = (uint8_t)i;
    }
    return quire_key_root(digest, "salt", 4);
}

/* Computed once by another program from the definition in key.h. */
Test(key, golden_chain) {
    const uint32_t tokens[] = {1, 2, 70000, 5, 6};
    quire_key root = sample_root(), keys[2];
    cr_assert_hex(root.b, 32, "3923c2eba875807214e05f1f735e16cdd9172fc10714895c5a623302647d91c2");
    cr_assert_eq(quire_key_chain(&root, tokens, 5, 3, true, keys, 2), 2);
    cr_assert_hex(keys[0].b, 32, "51918ecbf7e1ce2ba57e7dc4a054bb9c0b5065095a378334f0fc3d6089db4e04");
    cr_assert_hex(keys[1].b, 32, "2a980c009c307326ce4e1f9bc12e92316246038f3bee52ba68a0eb72aa8f4467");
    quire_key adapted = quire_key_child(&root, tokens, 3, "adapter", 7);
    cr_assert_hex(adapted.b, 32, "a0121b4184ea10d830831d3922f766febdb3f8f414b9bdf21870fef37635e2b6");
}

/* A root without salt differs from every salted one. */
Test(key, salt_matters) {
    uint8_t digest[32];
    for (int i = 0; i < 32; i++) {
        digest[i] = (uint8_t)i;
    }
    quire_key unsalted = quire_key_root(digest, NULL, 0);
    cr_assert_hex(unsalted.b, 32, "04a8ecdac597a2f4a3b7314e1e2dd1b1d628571186018028d4ab0b2911a95824");
}

/* The same definition written down with OpenSSL, for a block of 16 tokens. */
Test(key, child_equals_openssl) {
    quire_key root = sample_root();
    uint8_t message[12 + 32 + 4 + 64 + 4] = "quire-key-1", expected[32];
    uint32_t tokens[16], n_tokens = 16;
    for (uint32_t i = 0; i < 16; i++) {
        tokens[i] = i * 40503u;
    }
    memcpy(message + 12, root.b, 32);
    memcpy(message + 44, &n_tokens, 4);
    memcpy(message + 48, tokens, 64);
    SHA256(message, sizeof(message), expected);
    quire_key key = quire_key_child(&root, tokens, 16, NULL, 0);
    cr_assert_arr_eq(key.b, expected, 32);
}

/* A key names its whole prefix: other tokens before it, other cuts, another tail give another key. */
Test(key, names_the_whole_prefix) {
    uint32_t tokens[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    quire_key root = sample_root(), keys[4], other[4], tail[4];
    cr_assert_eq(quire_key_chain(&root, tokens, 12, 4, false, keys, 4), 3);
    cr_assert_eq(quire_key_chain(&root, tokens, 11, 4, true, tail, 4), 3);
    cr_assert_arr_eq(keys, tail, 2 * sizeof(*keys));
    cr_assert(memcmp(&keys[2], &tail[2], sizeof(*keys)) != 0);
    tokens[0] = 99;
    quire_key_chain(&root, tokens, 12, 4, false, other, 4);
    for (int i = 0; i < 3; i++) {
        cr_assert(memcmp(&keys[i], &other[i], sizeof(*keys)) != 0);
    }
}

/* How many keys: full blocks, the tail only if asked for, never more than there is room for. */
Test(key, chain_lengths) {
    const uint32_t tokens[10] = {0};
    quire_key root = sample_root(), keys[5];
    cr_assert_eq(quire_key_chain(&root, tokens, 10, 4, false, keys, 5), 2);
    cr_assert_eq(quire_key_chain(&root, tokens, 10, 4, true, keys, 5), 3);
    cr_assert_eq(quire_key_chain(&root, tokens, 8, 4, true, keys, 5), 2);
    cr_assert_eq(quire_key_chain(&root, tokens, 3, 4, false, keys, 5), 0);
    cr_assert_eq(quire_key_chain(&root, tokens, 0, 4, true, keys, 5), 0);
    cr_assert_eq(quire_key_chain(&root, tokens, 10, 0, true, keys, 5), 0);
    cr_assert_eq(quire_key_chain(&root, tokens, 10, 1, true, keys, 5), 5);
    cr_assert_eq(quire_key_chain(&root, tokens, 10, 4, true, NULL, 0), 0);
}

/* People type keys: both cases are read, lower case is written, anything else is refused and leaves the key alone. */
Test(key, text_round_trip) {
    quire_key key, parsed = {{0}};
    char text[65], upper[65];
    for (int i = 0; i < 32; i++) {
        key.b[i] = (uint8_t)(i * 8 + 7);
    }
    quire_key_format(&key, text);
    cr_assert_eq(strlen(text), 64);
    cr_assert_eq(strncmp(text, "070f171f", 8), 0);
    cr_assert_eq(quire_key_parse(text, &parsed), QUIRE_OK);
    cr_assert_arr_eq(parsed.b, key.b, 32);
    for (int i = 0; i < 65; i++) {
        upper[i] = text[i] >= 'a' ? (char)(text[i] - 32) : text[i];
    }
    cr_assert_eq(quire_key_parse(upper, &parsed), QUIRE_OK);
    cr_assert_arr_eq(parsed.b, key.b, 32);
}

Test(key, text_of_wrong_length_or_digits_is_refused) {
    static const char *const wrong[] = {
        "",
        "0",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeef",   /* 63 */
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0", /* 65 */
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg",
        "00112233445566778899aabbccddeeff 0112233445566778899aabbccddeeff",
        "0x112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    };
    quire_key key = {{42}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_assert_eq(quire_key_parse(wrong[i], &key), QUIRE_INVALID, "%s", wrong[i]);
        cr_assert_eq(key.b[0], 42);
    }
}
