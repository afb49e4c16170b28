/* The proof of a token: OpenSSL is the judge of the HMAC; what goes into a proof is shown by what changes it. */
#include "proto/proof.h"
#include "tests/unit/hex.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

/* RFC 4231, cases 1, 2 and 6: a short key, a text key, one longer than a block. */
Test(proof, published_examples) {
    uint8_t mac[32], key[131];
    memset(key, 0x0b, sizeof key);
    quire_hmac_sha256(key, 20, "Hi There", 8, mac);
    cr_assert_hex(mac, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    quire_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
    cr_assert_hex(mac, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    quire_hmac_sha256(key, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 54, mac);
    cr_assert_hex(mac, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* Keys and data of any length, around the block's edges and beyond. */
Test(proof, equals_openssl) {
    struct dice dice = dice_printed("hmac");
    uint8_t key[200], data[300], ours[32], theirs[32];
    for (int round = 0; round < 500; round++) {
        size_t key_bytes = dice_below(&dice, sizeof key + 1), size = dice_below(&dice, sizeof data + 1);
        for (size_t i = 0; i < sizeof data; i++) {
            data[i] = (uint8_t)dice_next(&dice);
            key[i % sizeof key] = (uint8_t)dice_next(&dice);
        }
        quire_hmac_sha256(key, key_bytes, data, size, ours);
        cr_assert_not_null(HMAC(EVP_sha256(), key, (int)key_bytes, data, size, theirs, NULL));
        cr_assert_arr_eq(ours, theirs, 32, "key of %zu bytes, %zu bytes", key_bytes, size);
    }
}

/* Another secret, another challenge, another name: another proof. */
Test(proof, depends_on_all_of_it) {
    uint8_t nonce[QUIRE_NONCE_BYTES] = {1}, other[QUIRE_NONCE_BYTES] = {2}, proof[32], again[32];
    quire_proof("a secret", 8, nonce, "worker", proof);
    quire_proof("a secret", 8, nonce, "worker", again);
    cr_assert(quire_equal_secret(proof, again, 32));
    quire_proof("b secret", 8, nonce, "worker", again);
    cr_assert_not(quire_equal_secret(proof, again, 32));
    quire_proof("a secret", 8, other, "worker", again);
    cr_assert_not(quire_equal_secret(proof, again, 32));
    quire_proof("a secret", 8, nonce, "worke", again);
    cr_assert_not(quire_equal_secret(proof, again, 32));
}

/* One bit anywhere counts. */
Test(proof, every_bit_is_compared) {
    uint8_t a[32] = {0}, b[32] = {0};
    for (int bit = 0; bit < 256; bit++) {
        b[bit / 8] = (uint8_t)(1u << bit % 8);
        cr_assert_not(quire_equal_secret(a, b, 32), "bit %d", bit);
        b[bit / 8] = 0;
    }
    cr_assert(quire_equal_secret(a, b, 32));
}
