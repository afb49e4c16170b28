/* Faults on demand: each kind strikes what its rule names, as often as it says, and nothing else; and a rule's text is read as it was meant. */
#include "daemon/disk/faults.h"
#include "tests/unit/daemon_disk_rig.h"

enum { BLOCKS = 16, FILE_BYTES = BLOCKS * RIG_BLOCK };
static uint8_t *memory, *before, *after;

static void add(struct rig *rig, const char *text) {
    struct disk_fault_rule rule;
    uint32_t id;
    char why[256] = "";
    cr_assert_eq(disk_fault_parse(text, &rule, why, sizeof why), QUIRE_OK, "%s: %s", text, why);
    cr_assert_eq(faults_add(rig->io, &rule, &id), QUIRE_OK);
}

static uint64_t hits(const struct rig *rig, uint32_t at) {
    struct disk_fault list[DISK_FAULTS_MAX];
    cr_assert_lt(at, faults_list(rig->io, list, DISK_FAULTS_MAX));
    return list[at].hits;
}

static const enum disk_io_choice choices[] = {DISK_IO_AUTO, DISK_IO_THREADS};

/* Once over each backend; the file holds 0xF1, memory 0x11 in its first block, 0x12 in its second, ... */
#define EACH_RIG(rig) for (unsigned each = 0; each < QUIRE_ARRAY_LEN(choices) && open_rig(rig, choices[each]); each++, close_rig(rig))

static bool open_rig(struct rig *rig, enum disk_io_choice choice) {
    struct disk_io *inner;
    *rig = (struct rig){0};
    cr_assert_eq(disk_io_create(choice, 8, &inner, rig->why, sizeof rig->why), QUIRE_OK, "%s", rig->why);
    cr_assert_eq(faults_create(inner, &rig->io), QUIRE_OK);
    cr_assert_eq(faults_inner(rig->io), inner);
    rig->name = inner->ops->name;
    rig->fd = rig_file(rig, FILE_BYTES);
    cr_assert_eq(rig->io->ops->add_file(rig->io, rig->fd, &rig->file), QUIRE_OK);
    if (memory == NULL) {
        memory = rig_memory(FILE_BYTES);
        before = rig_memory(FILE_BYTES);
        after = rig_memory(FILE_BYTES);
    }
    memset(before, 0xF1, FILE_BYTES);
    cr_assert_eq(pwrite(rig->fd, before, FILE_BYTES, 0), FILE_BYTES);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        memset(memory + i * RIG_BLOCK, (int)(0x11 + i), RIG_BLOCK);
    }
    return true;
}

static void close_rig(struct rig *rig) {
    rig->io->ops->destroy(&rig->io);
    close(rig->fd);
}

static void look(const struct rig *rig) { cr_assert_eq(pread(rig->fd, after, FILE_BYTES, 0), FILE_BYTES); }

static uint32_t flipped_bits(const uint8_t *a, const uint8_t *b, uint64_t bytes) {
    uint32_t bits = 0;
    for (uint64_t i = 0; i < bytes; i++) {
        bits += (uint32_t)__builtin_popcount(a[i] ^ b[i]);
    }
    return bits;
}

/* ---- each kind ---------------------------------------------------------------------------------------------------------------- */
/* Errors by name, for reads, writes and syncs; the device sees nothing of what failed. */
Test(daemon_disk_faults, an_error_is_reported_and_nothing_is_done) {
    static const struct {
        const char *rule;
        enum disk_op_type type;
        enum quire_status status;
        int error;
    } cases[] = {
        {"read:error=EIO", DISK_READ, QUIRE_SYSTEM, EIO},
        {"write:error=EIO", DISK_WRITE, QUIRE_SYSTEM, EIO},
        {"write:error=EROFS", DISK_WRITE, QUIRE_FULL, EROFS},
        {"write:error=ENOSPC", DISK_WRITE, QUIRE_FULL, ENOSPC},
        {"write:error=EDQUOT", DISK_WRITE, QUIRE_FULL, EDQUOT},
        {"sync:error=EIO", DISK_SYNC, QUIRE_SYSTEM, EIO},
        {"read:error=ETIMEDOUT", DISK_READ, QUIRE_SYSTEM, ETIMEDOUT},
        {"sync:error=ENODEV", DISK_SYNC, QUIRE_SYSTEM, ENODEV},
        {"read:error=ENOMEM", DISK_READ, QUIRE_NO_MEMORY, ENOMEM},
        {"write:error=ENOBUFS", DISK_WRITE, QUIRE_NO_MEMORY, ENOBUFS},
        {"write:error=EAGAIN", DISK_WRITE, QUIRE_NO_MEMORY, EAGAIN},
        {"read:error=EINTR", DISK_READ, QUIRE_NO_MEMORY, EINTR},
    };
    struct rig rig;
    struct rig_op op;
    EACH_RIG(&rig) {
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
            faults_clear(rig.io);
            add(&rig, cases[i].rule);
            memset(after, 0x77, FILE_BYTES);
            cr_assert_eq(rig_do(&rig, &op, cases[i].type, 0, cases[i].type == DISK_READ ? after : memory, RIG_BLOCK), cases[i].status, "%s",
                         cases[i].rule);
            cr_assert_eq(op.op.error, cases[i].error);
            cr_assert_eq(hits(&rig, 0), 1);
            cr_assert(after[0] == 0x77, "%s: it was read", cases[i].rule);
            look(&rig);
            cr_assert_eq(memcmp(after, before, FILE_BYTES), 0, "%s: it was written", cases[i].rule);
        }
    }
}

/* Torn writes of four blocks in three buffers: what arrived is a first part of whole blocks, less than all, and over many tries each length occurs. */
Test(daemon_disk_faults, a_torn_write_leaves_a_first_part) {
    enum { TRIES = 400 };
    struct rig rig;
    struct rig_op op;
    EACH_RIG(&rig) {
        for (int success = 0; success <= 1; success++) {
            uint32_t seen[5] = {0};
            faults_clear(rig.io);
            add(&rig, success ? "write:tear=success,seed=3" : "write:tear=failure,seed=3");
            for (uint32_t i = 0; i < TRIES; i++) {
                cr_assert_eq(pwrite(rig.fd, before, FILE_BYTES, 0), FILE_BYTES);
                rig_op(&op, DISK_WRITE, rig.file, 0, memory, RIG_BLOCK);
                op.iov[1] = (struct iovec){memory + RIG_BLOCK, 2 * RIG_BLOCK};
                op.iov[2] = (struct iovec){memory + 3 * RIG_BLOCK, RIG_BLOCK};
                op.op.n_iov = 3;
                op.op.bytes = 4 * RIG_BLOCK;
                rig.io->ops->submit(rig.io, &op.op);
                rig_drain(&rig);
                cr_assert_eq(op.op.status, success ? QUIRE_OK : QUIRE_SYSTEM);
                cr_assert_eq(op.op.error, success ? 0 : EIO);
                cr_assert_eq(op.iov[2].iov_len, RIG_BLOCK, "the caller's buffers are its own");
                look(&rig);
                uint32_t written = 0;
                while (written < 4 * RIG_BLOCK && after[written] == memory[written]) {
                    written++;
                }
                cr_assert_eq(written % 512, 0, "%s: torn inside a block, at %u", rig.name, written);
                cr_assert_lt(written, 4 * RIG_BLOCK, "%s: written as a whole", rig.name);
                cr_assert_eq(memcmp(after + written, before + written, FILE_BYTES - written), 0, "%s: more than a first part", rig.name);
                seen[written / RIG_BLOCK]++;
            }
            cr_assert(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
            cr_assert_eq(hits(&rig, 0), TRIES);
        }
    }
}

/* A corrupted write: as many bits differ in the file as the rule says, none in the caller's memory. */
Test(daemon_disk_faults, a_corrupted_write_leaves_memory_alone) {
    struct rig rig;
    struct rig_op op;
    uint8_t *whole = rig_memory(FILE_BYTES);
    EACH_RIG(&rig) {
        add(&rig, "write:corrupt=3,seed=5");
        memcpy(whole, memory, FILE_BYTES);
        rig_op(&op, DISK_WRITE, rig.file, 0, memory, RIG_BLOCK);
        op.iov[1] = (struct iovec){memory + RIG_BLOCK, 3 * RIG_BLOCK};
        op.op.n_iov = 2;
        op.op.bytes = 4 * RIG_BLOCK;
        rig.io->ops->submit(rig.io, &op.op);
        rig_drain(&rig);
        cr_assert_eq(op.op.status, QUIRE_OK);
        look(&rig);
        cr_assert_eq(flipped_bits(after, memory, 4 * RIG_BLOCK), 3, "%s", rig.name);
        cr_assert_eq(memcmp(after + 4 * RIG_BLOCK, before, FILE_BYTES - 4 * RIG_BLOCK), 0);
        cr_assert_eq(memcmp(memory, whole, FILE_BYTES), 0, "%s: the caller's memory was changed", rig.name);
    }
}

/* A corrupted read: the file is right, what is read is not, by as many bits. */
Test(daemon_disk_faults, a_corrupted_read_flips_bits) {
    struct rig rig;
    struct rig_op op;
    EACH_RIG(&rig) {
        add(&rig, "read:corrupt=1,count=1");
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, after, FILE_BYTES), QUIRE_OK);
        cr_assert_eq(flipped_bits(after, before, FILE_BYTES), 1, "%s", rig.name);
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, after, FILE_BYTES), QUIRE_OK);
        cr_assert_eq(memcmp(after, before, FILE_BYTES), 0, "%s: the file itself is right", rig.name);
    }
}

/* Three blocks fit, the fourth and all that follow do not; what was written before stays, and reads go on. */
Test(daemon_disk_faults, a_full_disk_takes_no_more) {
    struct rig rig;
    struct rig_op op;
    EACH_RIG(&rig) {
        add(&rig, "write:fill=12KiB");
        for (uint32_t i = 0; i < 6; i++) {
            enum quire_status status = rig_do(&rig, &op, DISK_WRITE, i * RIG_BLOCK, memory + i * RIG_BLOCK, RIG_BLOCK);
            cr_assert_eq(status, i < 3 ? QUIRE_OK : QUIRE_FULL, "block %u", i);
            cr_assert_eq(op.op.error, i < 3 ? 0 : ENOSPC);
        }
        cr_assert_eq(hits(&rig, 0), 3);
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, after, FILE_BYTES), QUIRE_OK);
        cr_assert_eq(memcmp(after, memory, 3 * RIG_BLOCK), 0);
        cr_assert_eq(memcmp(after + 3 * RIG_BLOCK, before, FILE_BYTES - 3 * RIG_BLOCK), 0);
    }
}

/* Delayed by two rules, 30 ms and 20 ms, it ends no earlier than after both; what is not delayed overtakes it, and the delayed are not lost from the count. */
Test(daemon_disk_faults, a_delay_lets_others_overtake) {
    struct rig rig;
    struct rig_op slow[3], quick;
    EACH_RIG(&rig) {
        add(&rig, "read:delay=30ms");
        add(&rig, "read:delay=20ms");
        for (uint32_t i = 0; i < 3; i++) {
            rig_op(&slow[i], DISK_READ, rig.file, i * RIG_BLOCK, after + i * RIG_BLOCK, RIG_BLOCK)->next = i < 2 ? &slow[i + 1].op : NULL;
        }
        rig.io->ops->submit(rig.io, &slow[0].op);
        rig.io->ops->submit(rig.io, rig_op(&quick, DISK_WRITE, rig.file, 8 * RIG_BLOCK, memory, RIG_BLOCK));
        cr_assert_eq(rig.io->ops->in_flight(rig.io), 4);
        rig_drain(&rig);
        cr_assert(quick.ended == 1 && quick.op.status == QUIRE_OK);
        for (uint32_t i = 0; i < 3; i++) {
            cr_assert(slow[i].ended == 1 && slow[i].op.status == QUIRE_OK, "%s: %u", rig.name, i);
            cr_assert_geq(slow[i].op.done_ns - slow[i].op.submitted_ns, 50 * QUIRE_NS_PER_MS, "%s: %u", rig.name, i);
            cr_assert_leq(quick.op.submitted_ns, slow[i].op.done_ns);
        }
        cr_assert_eq(memcmp(after, before, 3 * RIG_BLOCK), 0);
        cr_assert(hits(&rig, 0) == 3 && hits(&rig, 1) == 3);
    }
}

/* Whoever waits longer does not hold up whoever waits less, in whichever order they came. */
Test(daemon_disk_faults, delays_end_in_the_order_of_time) {
    struct rig rig;
    struct rig_op slow, quick[2];
    EACH_RIG(&rig) {
        add(&rig, "read:delay=10ms");
        add(&rig, "read:delay=10min,offset=0-4KiB");
        rig.io->ops->submit(rig.io, rig_op(&quick[0], DISK_READ, rig.file, RIG_BLOCK, after, RIG_BLOCK));
        rig.io->ops->submit(rig.io, rig_op(&slow, DISK_READ, rig.file, 0, after, RIG_BLOCK));
        rig.io->ops->submit(rig.io, rig_op(&quick[1], DISK_READ, rig.file, RIG_BLOCK, after, RIG_BLOCK));
        while (rig.io->ops->in_flight(rig.io) > 1) {
            rig_turn(&rig, UINT32_MAX);
        }
        cr_assert(quick[0].ended == 1 && quick[1].ended == 1 && slow.ended == 0);
    }
}

/* A delay that comes before an error: late, and failed. */
Test(daemon_disk_faults, delays_join_with_the_first_other_action) {
    struct rig rig;
    struct rig_op op;
    EACH_RIG(&rig) {
        add(&rig, "sync:delay=10ms");
        add(&rig, "sync:error=EIO");
        add(&rig, "sync:error=EROFS");
        cr_assert_eq(rig_do(&rig, &op, DISK_SYNC, 0, NULL, 0), QUIRE_SYSTEM);
        cr_assert_eq(op.op.error, EIO, "the first rule that hits decides");
        cr_assert_geq(op.op.done_ns - op.op.submitted_ns, 9 * QUIRE_NS_PER_MS, "the delay began a moment before the operation was noted");
        cr_assert(hits(&rig, 0) == 1 && hits(&rig, 1) == 1 && hits(&rig, 2) == 0);
    }
}

/* ---- whom it strikes ---------------------------------------------------------------------------------------------------------- */
/* Only the file, the bytes and the operation that the rule names, only as often as it says. */
Test(daemon_disk_faults, a_rule_strikes_what_it_names) {
    struct rig rig;
    struct rig_op op;
    uint32_t other;
    EACH_RIG(&rig) {
        cr_assert_eq(rig.io->ops->add_file(rig.io, rig.fd, &other), QUIRE_OK);
        add(&rig, "read:error=EIO,file=1,offset=8KiB-16KiB,count=3");
        static const struct {
            uint32_t file, block, blocks;
            bool struck;
        } reads[] = {{0, 2, 1, false}, {1, 0, 2, false}, {1, 4, 2, false}, {1, 2, 1, true},
                     {1, 3, 4, true},  {1, 0, 3, true},  {1, 2, 1, false}};
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(reads); i++) {
            rig.io->ops->submit(rig.io, rig_op(&op, DISK_READ, reads[i].file == 0 ? rig.file : other, reads[i].block * RIG_BLOCK, after,
                                               reads[i].blocks * RIG_BLOCK));
            rig_drain(&rig);
            cr_assert_eq(op.op.status, reads[i].struck ? QUIRE_SYSTEM : QUIRE_OK, "read %u", i);
        }
        cr_assert_eq(rig_do(&rig, &op, DISK_WRITE, 2 * RIG_BLOCK, memory, RIG_BLOCK), QUIRE_OK);
        cr_assert_eq(rig_do(&rig, &op, DISK_SYNC, 0, NULL, 0), QUIRE_OK);
        cr_assert_eq(hits(&rig, 0), 3);
    }
}

static void fates(struct rig *rig, const char *rule, bool *struck, uint32_t n) {
    struct rig_op op;
    faults_clear(rig->io);
    add(rig, rule);
    for (uint32_t i = 0; i < n; i++) {
        struck[i] = rig_do(rig, &op, DISK_READ, 0, after, RIG_BLOCK) != QUIRE_OK;
    }
}

/* A quarter of the reads, give or take; the same ones for the same seed, others for another. */
Test(daemon_disk_faults, chance_comes_from_the_seed) {
    enum { READS = 2000 };
    static bool first[READS], again[READS], other[READS];
    struct rig rig;
    EACH_RIG(&rig) {
        uint32_t count = 0;
        fates(&rig, "read:error=EIO,probability=0.25,seed=42", first, READS);
        fates(&rig, "read:error=EIO,probability=0.25,seed=42", again, READS);
        fates(&rig, "read:error=EIO,probability=0.25,seed=43", other, READS);
        for (uint32_t i = 0; i < READS; i++) {
            count += first[i];
        }
        cr_assert(count > READS / 5 && count < READS * 3 / 10, "%u of %u", count, READS);
        cr_assert_eq(memcmp(first, again, sizeof first), 0);
        cr_assert_neq(memcmp(first, other, sizeof first), 0);
    }
}

/* There are 64 at most; each has a number of its own for ever; they can be listed, removed and cleared. */
Test(daemon_disk_faults, rules_are_bounded_listed_and_removed) {
    struct rig rig;
    struct rig_op op;
    struct disk_fault list[DISK_FAULTS_MAX];
    struct disk_fault_rule rule;
    uint32_t id = 0, last = 0;
    char why[256];
    EACH_RIG(&rig) {
        last = 0;
        for (uint32_t i = 0; i < DISK_FAULTS_MAX; i++) {
            cr_assert_eq(disk_fault_parse(i == 5 ? "read:error=EIO" : "read:error=EIO,file=7", &rule, why, sizeof why), QUIRE_OK);
            cr_assert_eq(faults_add(rig.io, &rule, &id), QUIRE_OK);
            cr_assert_gt(id, last);
            last = id;
        }
        cr_assert_eq(faults_add(rig.io, &rule, &id), QUIRE_TOO_LARGE);
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, after, RIG_BLOCK), QUIRE_SYSTEM);
        cr_assert_eq(faults_list(rig.io, list, 3), 3);
        cr_assert_eq(faults_list(rig.io, list, DISK_FAULTS_MAX), DISK_FAULTS_MAX);
        cr_assert_eq(list[5].hits, 1);
        cr_assert_eq(faults_remove(rig.io, list[5].id), QUIRE_OK);
        cr_assert_eq(faults_remove(rig.io, list[5].id), QUIRE_NOT_FOUND);
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, after, RIG_BLOCK), QUIRE_OK);
        cr_assert_eq(faults_list(rig.io, list, DISK_FAULTS_MAX), DISK_FAULTS_MAX - 1);
        cr_assert_eq(faults_add(rig.io, &rule, &id), QUIRE_OK);
        cr_assert_eq(id, last + 1);
        faults_clear(rig.io);
        cr_assert_eq(faults_list(rig.io, list, DISK_FAULTS_MAX), 0);
    }
}

/* Delayed, failed and running operations at once: destroying calls nobody and keeps nothing (the address sanitizer looks). */
Test(daemon_disk_faults, destroying_forgets_what_is_held) {
    struct rig rig;
    static struct rig_op ops[30];
    EACH_RIG(&rig) {
        add(&rig, "read:delay=10min,probability=0.3");
        add(&rig, "read:error=EIO,probability=0.3");
        add(&rig, "write:corrupt=1,probability=0.5");
        add(&rig, "write:tear=success");
        rig_ended = 0;
        for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(ops); i++) {
            rig.io->ops->submit(rig.io,
                                rig_op(&ops[i], i % 2 == 0 ? DISK_READ : DISK_WRITE, rig.file, 0, i % 2 == 0 ? after : memory, FILE_BYTES));
        }
        cr_assert_eq(rig.io->ops->in_flight(rig.io), QUIRE_ARRAY_LEN(ops));
        cr_assert_eq(rig_ended, 0);
    }
}

/* Every kind of rule at once over thousands of random operations: each ends once, and nothing is left under way. */
Test(daemon_disk_faults, every_operation_ends_once_under_a_storm) {
    enum { MANY = 3000 };
    static struct rig_op ops[MANY];
    static const char *const rules[] = {"read:delay=1ms,probability=0.2",
                                        "write:delay=2ms,probability=0.1",
                                        "read:error=EIO,probability=0.1",
                                        "write:tear=failure,probability=0.1",
                                        "write:corrupt=4,probability=0.1",
                                        "read:corrupt=9,probability=0.1",
                                        "write:fill=8MiB",
                                        "sync:error=EROFS,probability=0.5"};
    struct rig rig;
    uint64_t seed = rig_seed();
    EACH_RIG(&rig) {
        uint64_t state = seed;
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(rules); i++) {
            add(&rig, rules[i]);
        }
        rig_ended = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            enum disk_op_type type = (enum disk_op_type)(rig_random(&state) % 3);
            uint64_t block = rig_random(&state) % BLOCKS, blocks = 1 + rig_random(&state) % (BLOCKS - block);
            rig.io->ops->submit(rig.io, rig_op(&ops[i], type, rig.file, block * RIG_BLOCK,
                                               (type == DISK_READ ? after : memory) + block * RIG_BLOCK, blocks * RIG_BLOCK));
            if (i % 16 == 0) {
                rig.io->ops->reap(rig.io, 5);
            }
        }
        rig_drain(&rig);
        cr_assert_eq(rig_ended, MANY);
        for (uint32_t i = 0; i < MANY; i++) {
            cr_assert_eq(ops[i].ended, 1, "%s: operation %u ended %u times", rig.name, i, ops[i].ended);
            cr_assert_neq(ops[i].op.status, QUIRE_PENDING);
        }
        for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(rules); i++) {
            cr_assert_gt(hits(&rig, i), 0, "%s never hit", rules[i]);
        }
    }
}

/* ---- text --------------------------------------------------------------------------------------------------------------------- */
/* What is accepted, and how it reads when it is printed. */
Test(daemon_disk_faults, rules_are_read_and_printed) {
    static const struct {
        const char *text, *printed;
    } cases[] = {
        {"read:error=EIO,probability=0.01,file=0", "read:error=EIO,file=0,probability=0.01"},
        {"write:file=3,delay=1500ms", "write:delay=1500ms,file=3"},
        {"sync:delay=10min,count=1", "sync:delay=10min,count=1"},
        {"write:tear=success,seed=18446744073709551615", "write:tear=success,seed=18446744073709551615"},
        {"read:corrupt=65536,offset=0-4096", "read:corrupt=65536,offset=0-4KiB"},
        {"write:fill=1GiB,offset=1MiB-", "write:fill=1GiB,offset=1MiB-"},
        {"write:fill=0,probability=1.0", "write:fill=0"},
        {"read:error=ENODEV,probability=0.000001", "read:error=ENODEV,probability=0.000001"},
        {"read:error=EDQUOT,probability=0.5", "read:error=EDQUOT,probability=0.5"},
    };
    struct disk_fault_rule rule, again;
    char why[256] = "", text[DISK_FAULT_TEXT_BYTES];
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        cr_assert_eq(disk_fault_parse(cases[i].text, &rule, why, sizeof why), QUIRE_OK, "%s: %s", cases[i].text, why);
        disk_fault_print(&rule, text);
        cr_assert_str_eq(text, cases[i].printed);
        cr_assert_eq(disk_fault_parse(text, &again, why, sizeof why), QUIRE_OK);
        cr_assert(rule.op == again.op && rule.action == again.action && rule.amount == again.amount && rule.error == again.error);
        cr_assert(rule.begin == again.begin && rule.end == again.end && rule.probability_ppm == again.probability_ppm);
    }
    cr_assert_eq(disk_fault_parse("read:error=EIO,probability=0.01,file=0", &rule, why, sizeof why), QUIRE_OK);
    cr_assert(rule.op == DISK_READ && rule.action == DISK_FAULT_ERROR && rule.error == EIO && rule.probability_ppm == 10000 &&
              rule.file == 0);
    cr_assert(rule.begin == 0 && rule.end == UINT64_MAX && rule.count == 0 && rule.seed == 0);
}

/* What is refused, and which word of the reason points at the mistake. */
Test(daemon_disk_faults, mistakes_are_named) {
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "'' is no rule"},
        {"read", "'read' is no rule"},
        {"reed:error=EIO", "'reed'"},
        {":error=EIO", "no operation ''"},
        {"read:", "empty part"},
        {"read:error", "'error': `key=value`"},
        {"read:error=EIO,", "empty part"},
        {"read:eror=EIO", "did you mean 'error'"},
        {"read:colour=blue", "no 'colour'"},
        {"read:error=EPERM", "error=EPERM"},
        {"read:error=eio", "error=eio"},
        {"read:file=0", "what shall happen"},
        {"read:error=EIO,delay=1ms", "'delay' beside 'error'"},
        {"read:error=EIO,error=EIO", "'error' stands there twice"},
        {"read:tear=success", "'tear' is not for read"},
        {"read:fill=1GiB", "'fill' is not for read"},
        {"sync:corrupt=1", "'corrupt' is not for sync"},
        {"sync:error=EIO,offset=0-4096", "'offset' is not for sync"},
        {"write:tear=perhaps", "tear=perhaps"},
        {"write:delay=0", "delay=0"},
        {"write:delay=11min", "delay=11min"},
        {"write:corrupt=0", "corrupt=0"},
        {"write:corrupt=65537", "corrupt=65537"},
        {"write:fill=lots", "fill=lots"},
        {"read:error=EIO,file=-1", "file=-1"},
        {"read:error=EIO,file=4294967295", "file=4294967295"},
        {"read:error=EIO,offset=4096", "offset=4096"},
        {"read:error=EIO,offset=8192-4096", "nothing between"},
        {"read:error=EIO,offset=-4096", "offset=-4096"},
        {"read:error=EIO,probability=0", "probability=0"},
        {"read:error=EIO,probability=1.000001", "probability=1.000001"},
        {"read:error=EIO,probability=2", "probability=2"},
        {"read:error=EIO,probability=0.0000001", "probability=0.0000001"},
        {"read:error=EIO,probability=0.0100001", "probability=0.0100001"},
        {"read:error=EIO,probability=.5", "probability=.5"},
        {"read:error=EIO,probability=0.", "probability=0."},
        {"read:error=EIO,probability=0.5x", "probability=0.5x"},
        {"read:error=EIO,seed=x", "seed=x"},
        {"read:error=EIO,count=0", "count=0"},
    };
    struct disk_fault_rule rule;
    char why[256], large[2 * DISK_FAULT_TEXT_BYTES];
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        why[0] = '\0';
        cr_assert_eq(disk_fault_parse(cases[i].text, &rule, why, sizeof why), QUIRE_INVALID, "%s is accepted", cases[i].text);
        cr_assert_not_null(strstr(why, cases[i].word), "%s: %s", cases[i].text, why);
    }
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    cr_assert_eq(disk_fault_parse(large, &rule, why, sizeof why), QUIRE_INVALID);
    cr_assert_not_null(strstr(why, "255 characters"));
}
