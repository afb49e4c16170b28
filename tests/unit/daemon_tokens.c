/* Who may come over a wire: the file of tokens, what it grants, and how often an address may fail. */
#include "daemon/net/crowd.h"
#include "daemon/net/tokens.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];
static char why[512];

static void write_tokens(const char *text, mode_t mode) {
    snprintf(path, sizeof path, "/tmp/quire-tokens-%d", (int)getpid());
    unlink(path);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
    cr_assert_eq(chmod(path, mode), 0);
}

static enum quire_status load(const char *text, struct tokens **tokens) {
    write_tokens(text, 0600);
    why[0] = '\0';
    enum quire_status status = tokens_load(path, tokens, why, sizeof why);
    unlink(path);
    return status;
}

#define SECRET "0123456789abcdef"
#define OTHER "fedcba9876543210"

/* Comments, blanks and tabs; every right; several namespaces. */
Test(tokens, a_file_is_read) {
    struct tokens *tokens;
    cr_assert_eq(load("# who\n\n  worker\t" SECRET " read,write llama-*,smol\nboss " OTHER " admin *\n", &tokens), QUIRE_OK, "%s", why);
    cr_assert_eq(tokens->n, 2);
    const struct token *worker = &tokens->tokens[0], *boss = &tokens->tokens[1];
    cr_assert_eq(token_rights(worker, "llama-8b"), TOKEN_READ | TOKEN_WRITE);
    cr_assert_eq(token_rights(worker, "smol"), TOKEN_READ | TOKEN_WRITE);
    cr_assert_eq(token_rights(worker, "smoll"), 0);
    cr_assert_eq(token_rights(worker, "other"), 0);
    cr_assert_eq(boss->rights, TOKEN_ADMIN);
    cr_assert_eq(token_rights(boss, "smol"), 0, "who may operate does not read by that");
    cr_assert(token_administers(boss, "smol") && token_administers(boss, NULL) && !token_administers(worker, "smol"));
    struct token some = *worker;
    some.rights |= TOKEN_ADMIN;
    cr_assert(token_administers(&some, "smol") && !token_administers(&some, "other"));
    cr_assert_not(token_administers(&some, NULL), "some namespaces are not all");
    tokens_free(&tokens);
    cr_assert_null(tokens);
}

/* Limits are of a name; a token with others is the same token. */
Test(tokens, limits) {
    struct tokens *tokens;
    cr_assert_eq(
        load("worker " SECRET " read * requests_per_s=100 bytes_per_s=200MiB\nboss " OTHER " admin *\tbytes_per_s=64KiB\n", &tokens),
        QUIRE_OK, "%s", why);
    cr_assert_eq(tokens->tokens[0].limits.requests_per_s, 100);
    cr_assert_eq(tokens->tokens[0].limits.bytes_per_s, 200u << 20);
    cr_assert_eq(tokens->tokens[1].limits.requests_per_s, 0);
    cr_assert_eq(tokens->tokens[1].limits.bytes_per_s, 64u << 10);
    cr_assert(tokens->tokens[0].limits.namespaces == 0 && tokens->tokens[0].limits.sessions == 0);
    struct token other = tokens->tokens[0];
    other.limits.bytes_per_s = 1u << 20;
    cr_assert(tokens_have(tokens, &other));
    tokens_free(&tokens);
    static const char *const wrong[] = {"requests_per_s=0", "requests_per_s=-1", "requests_per_s=",
                                        "bytes_per_s=1KiB", "bytes_per_s=0",     "bytes_per_s=17TiB",
                                        "bytes=1MiB",       "requests_per_s=1x", "more",
                                        "namespaces=0",     "sessions=x",        "requests_per_s=99999999999999999999"};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(wrong); i++) {
        char line[128];
        snprintf(line, sizeof line, "worker " SECRET " read * %s\n", wrong[i]);
        cr_assert_eq(load(line, &tokens), QUIRE_INVALID, "%s", wrong[i]);
        cr_assert(strstr(why, "_per_s") != NULL || strstr(why, "whole number") != NULL, "%s", why);
    }
    cr_assert_eq(load("worker " SECRET " read * namespaces=20 sessions=4\n", &tokens), QUIRE_OK, "%s", why);
    cr_assert(tokens->tokens[0].limits.namespaces == 20 && tokens->tokens[0].limits.sessions == 4);
    tokens_free(&tokens);
}

/* What is wrong is told with its line. */
Test(tokens, wrong_lines_are_refused) {
    static const struct {
        const char *text, *word;
    } cases[] = {{"worker\n", ":1:"},
                 {"\nworker " SECRET " read\n", ":2:"},
                 {"worker " SECRET " read * more\n", ":1:"},
                 {"worker short read *\n", "16 to 128"},
                 {"worker " SECRET " read,dance *\n", "read, write, admin and rma"},
                 {"worker " SECRET " , *\n", "read, write, admin and rma"}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        struct tokens *tokens;
        cr_assert_eq(load(cases[i].text, &tokens), QUIRE_INVALID, "%s", cases[i].text);
        cr_assert_null(tokens);
        cr_assert_not_null(strstr(why, cases[i].word), "%s: %s", cases[i].text, why);
    }
    char *many = calloc(TOKENS_MAX + 2, 64);
    for (int i = 0; i <= TOKENS_MAX; i++) {
        strcat(many, "worker " SECRET " read *\n");
    }
    struct tokens *tokens;
    cr_assert_eq(load(many, &tokens), QUIRE_INVALID);
    free(many);
}

/* A secret that others can read is none. */
Test(tokens, others_must_not_read_them) {
    struct tokens *tokens;
    static const mode_t modes[] = {0640, 0604, 0660, 0602};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(modes); i++) {
        write_tokens("worker " SECRET " read *\n", modes[i]);
        cr_assert_eq(tokens_load(path, &tokens, why, sizeof why), QUIRE_DENIED, "mode %o", (unsigned)modes[i]);
        cr_assert_not_null(strstr(why, "chmod 600"), "%s", why);
        unlink(path);
    }
    cr_assert_eq(tokens_load("/tmp", &tokens, why, sizeof why), QUIRE_SYSTEM);
    cr_assert_eq(tokens_load("/nonexistent/tokens", &tokens, why, sizeof why), QUIRE_SYSTEM);
}

/* Whoever knows the secret, and only with this challenge; while a secret is being changed both are good. */
Test(tokens, a_proof_is_of_one_challenge) {
    struct tokens *tokens;
    uint8_t nonce[QUIRE_NONCE_BYTES] = {7}, other[QUIRE_NONCE_BYTES] = {8}, proof[QUIRE_PROOF_BYTES];
    cr_assert_eq(load("worker " SECRET " read *\nworker " OTHER " read *\n", &tokens), QUIRE_OK, "%s", why);
    quire_proof(SECRET, strlen(SECRET), nonce, "worker", proof);
    cr_assert_eq(tokens_prove(tokens, "worker", nonce, proof, sizeof proof), &tokens->tokens[0]);
    cr_assert_null(tokens_prove(tokens, "worker", other, proof, sizeof proof), "a replayed proof");
    cr_assert_null(tokens_prove(tokens, "nobody", nonce, proof, sizeof proof));
    cr_assert_null(tokens_prove(tokens, "worker", nonce, proof, sizeof proof - 1), "a part of it");
    cr_assert_null(tokens_prove(tokens, "worker", nonce, NULL, 0), "none");
    quire_proof(OTHER, strlen(OTHER), nonce, "worker", proof);
    cr_assert_eq(tokens_prove(tokens, "worker", nonce, proof, sizeof proof), &tokens->tokens[1]);
    struct token gone = tokens->tokens[1], less = tokens->tokens[1];
    cr_assert(tokens_have(tokens, &gone));
    strcpy(gone.secret, "another secret, gone");
    cr_assert_not(tokens_have(tokens, &gone));
    less.rights = TOKEN_ADMIN;
    cr_assert_not(tokens_have(tokens, &less), "other rights are another token");
    tokens_free(&tokens);
}

/* Some failures are forgiven, then the address waits, however often it fails not for ever; its port does not matter, and others do not wait. */
Test(guard, an_address_that_fails_waits) {
    static struct guard guard;
    uint32_t wait_ms;
    uint64_t now_ns = 1000 * QUIRE_NS_PER_S;
    for (int i = 0; i < GUARD_BURST; i++) {
        cr_assert(guard_admits(&guard, "10.0.0.1:1000", now_ns, &wait_ms), "failure %d", i);
        guard_failed(&guard, "10.0.0.1:1000", now_ns);
    }
    guard_failed(&guard, "10.0.0.1:77", now_ns);
    cr_assert_not(guard_admits(&guard, "10.0.0.1:2000", now_ns, &wait_ms));
    cr_assert(wait_ms > 0 && wait_ms <= GUARD_EVERY_MS + 1, "%u", wait_ms);
    cr_assert(guard_admits(&guard, "10.0.0.2:1000", now_ns, &wait_ms), "another address");
    cr_assert(guard_admits(&guard, "[fe80::1]:1000", now_ns, &wait_ms), "another family");
    cr_assert(guard_admits(&guard, "10.0.0.1:1", now_ns + (GUARD_EVERY_MS + 1) * QUIRE_NS_PER_MS, &wait_ms), "later");
    for (int i = 0; i < 1000; i++) {
        guard_failed(&guard, "10.0.0.1:1", now_ns);
    }
    cr_assert_not(guard_admits(&guard, "10.0.0.1:1", now_ns, &wait_ms));
    cr_assert(wait_ms <= GUARD_BURST * GUARD_EVERY_MS + 1, "never for ever: %u", wait_ms);
}

/* Very many addresses fill the table; who was silent longest makes way, and nobody honest is kept out. */
Test(guard, many_addresses_are_bounded) {
    static struct guard guard;
    uint32_t wait_ms;
    char peer[32];
    for (int i = 0; i < 10 * GUARD_ADDRESSES; i++) {
        snprintf(peer, sizeof peer, "10.%d.%d.%d:9", i >> 16, i >> 8 & 255, i & 255);
        for (int k = 0; k < 2 * GUARD_BURST; k++) {
            guard_failed(&guard, peer, 1000 + (uint64_t)i);
        }
        cr_assert_not(guard_admits(&guard, peer, 1000 + (uint64_t)i, &wait_ms));
    }
    cr_assert(guard_admits(&guard, "192.168.0.1:9", 5000, &wait_ms));
}

/* Whoever has an address of IPv6 has as many as it likes: its network counts. A link's own addresses, and IPv4's written as IPv6's, are one each. */
Test(guard, a_network_is_one_address) {
    static const struct {
        const char *one, *other;
        bool same;
    } cases[] = {{"[2001:db8::1]:5", "[2001:db8::ffff:1]:6", true},
                 {"[2001:db8::1]:5", "[2001:db8:0:1::1]:5", false},
                 {"[fe80::1]:5", "[fe80::2]:5", false},
                 {"[fe80::1%eth0]:5", "[fe80::2%eth0]:5", false},
                 {"[::ffff:10.0.0.1]:5", "[::ffff:10.0.0.2]:5", false},
                 {"10.0.0.1:5", "10.0.0.1:6 (a name)", true},
                 {"", ":5", true}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        char one[GUARD_ADDRESS_BYTES], other[GUARD_ADDRESS_BYTES];
        guard_address(cases[i].one, one);
        guard_address(cases[i].other, other);
        cr_assert_eq(strcmp(one, other) == 0, cases[i].same, "%s: %s, %s: %s", cases[i].one, one, cases[i].other, other);
        cr_assert(one[0] != '\0' && other[0] != '\0');
    }
}

/* ---- crowd ---------------------------------------------------------------------------------------------------------------------- */
#define COME_NS (1000 * QUIRE_NS_PER_S)
#define LATER_NS (COME_NS + CROWD_GRACE_MS * QUIRE_NS_PER_MS)

/* One address has a quarter, however often it comes: then one of its own goes for it, not before it had its time. The others do not notice. */
Test(crowd, an_address_has_a_share) {
    static struct crowd crowd;
    static struct crowd_member members[5];
    struct crowd_member *leaves;
    crowd_setup(&crowd, 16);
    for (int i = 0; i < 4; i++) {
        cr_assert(crowd_admits(&crowd, "10.0.0.1:1", COME_NS, &leaves) && leaves == NULL);
        crowd_join(&crowd, &members[i], "10.0.0.1:1", COME_NS);
    }
    cr_assert_not(crowd_admits(&crowd, "10.0.0.1:2", LATER_NS - 1, &leaves), "it has its share");
    cr_assert(crowd_admits(&crowd, "10.0.0.2:1", COME_NS, &leaves) && leaves == NULL, "another has its own");
    crowd_join(&crowd, &members[4], "10.0.0.2:1", COME_NS - 1);
    cr_assert(crowd_admits(&crowd, "10.0.0.1:2", LATER_NS, &leaves));
    cr_assert_eq(leaves, &members[0], "the oldest of its own, though another is older");
    crowd_leave(&crowd, leaves);
    crowd_leave(&crowd, leaves);
    cr_assert_eq(crowd.n, 4, "it went once");
    cr_assert(crowd_admits(&crowd, "10.0.0.1:2", COME_NS, &leaves) && leaves == NULL);
}

/* Many addresses fill it: whoever comes has the place of the one that is here longest, so that one who proves at once gets in. */
Test(crowd, the_oldest_makes_way) {
    static struct crowd crowd;
    static struct crowd_member members[40];
    struct crowd_member *leaves;
    char peer[32];
    crowd_setup(&crowd, 16);
    for (uint32_t i = 0; i < 40; i++) {
        uint64_t now_ns = LATER_NS + i;
        snprintf(peer, sizeof peer, "10.0.0.%u:1", i);
        cr_assert(crowd_has_room(&crowd, now_ns) && crowd_admits(&crowd, peer, now_ns, &leaves));
        cr_assert_eq(leaves, i < 16 ? NULL : &members[i - 16]);
        if (leaves != NULL) {
            crowd_leave(&crowd, leaves);
        }
        crowd_join(&crowd, &members[i], peer, COME_NS + i);
        cr_assert(crowd.n <= 16);
    }
    cr_assert_not(crowd_has_room(&crowd, COME_NS));
    cr_assert_not(crowd_admits(&crowd, "192.168.0.1:1", COME_NS, &leaves), "each has its time");
    for (int i = 39; i >= 0; i--) {
        crowd_leave(&crowd, &members[i]);
    }
    cr_assert(crowd.n == 0 && crowd_has_room(&crowd, COME_NS) && crowd_admits(&crowd, "10.0.0.1:1", COME_NS, &leaves));
}
