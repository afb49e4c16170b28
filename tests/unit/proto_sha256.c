/* SHA-256 is our own so that libquire needs no library: OpenSSL is the judge, for both kernels. */
#include "proto/sha256.h"
#include "tests/unit/hex.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>
#include <openssl/sha.h>

/* The examples that the standard was published with. */
Test(sha256, standard_examples) {
    uint8_t digest[32];
    quire_sha256("abc", 3, digest);
    cr_assert_hex(digest, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    quire_sha256("", 0, digest);
    cr_assert_hex(digest, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    quire_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, digest);
    cr_assert_hex(digest, 32, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* Every length around the padding's edges, one-shot. */
Test(sha256, every_short_length_equals_openssl) {
    uint8_t data[400], ours[32], theirs[32];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t size = 0; size <= sizeof(data); size++) {
        quire_sha256(data, size, ours);
        SHA256(data, size, theirs);
        cr_assert_arr_eq(ours, theirs, 32, "%zu bytes", size);
    }
}

/* However a message is cut into updates, the digest is the same. */
Test(sha256, cuts_do_not_matter) {
    struct dice dice = dice_printed("sha256");
    uint8_t data[5000], ours[32], theirs[32];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)dice_next(&dice);
    }
    for (int round = 0; round < 300; round++) {
        size_t size = dice_below(&dice, sizeof(data) + 1);
        struct quire_sha256 sha;
        quire_sha256_init(&sha);
        for (size_t at = 0; at < size;) {
            size_t piece = dice_below(&dice, round % 2 == 0 ? 100 : 700);
            piece = piece < size - at ? piece : size - at;
            quire_sha256_update(&sha, data + at, piece);
            at += piece;
        }
        quire_sha256_final(&sha, ours);
        SHA256(data, size, theirs);
        cr_assert_arr_eq(ours, theirs, 32, "%zu bytes in round %d", size, round);
    }
}

/* The kernel that this processor got computes what the plain C does, from any state and address. */
Test(sha256, kernels_agree) {
    struct dice dice = dice_printed("sha256 kernels");
    uint8_t data[64 * 9 + 1];
    for (int round = 0; round < 200; round++) {
        uint32_t plain[8], best[8];
        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = (uint8_t)dice_next(&dice);
        }
        for (size_t i = 0; i < 8; i++) {
            plain[i] = best[i] = (uint32_t)dice_next(&dice);
        }
        quire_sha256_blocks_c(plain, data + round % 2, (size_t)round % 10);
        quire_sha256_blocks_best()(best, data + round % 2, (size_t)round % 10);
        cr_assert_arr_eq(plain, best, sizeof(plain));
    }
}
