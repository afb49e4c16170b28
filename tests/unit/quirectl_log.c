/* quirectl log dump and verify over the files of a disk tier: what is damaged is found, and repaired so that nothing else changes. */
#include "tests/unit/quirectl_log_rig.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static struct rig rig;

/* A drive that does not give some bytes of its files, at once or after so many reads of them: stands in for the system's. */
static struct { uint64_t from, to, after; } unreadable;
ssize_t pread(int fd, void *to, size_t size, off_t offset) {
    const bool touches = (uint64_t)offset < unreadable.to && (uint64_t)offset + size > unreadable.from;
    if (touches && unreadable.after > 0) {
        unreadable.after--;
    } else if (touches) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, to, size, offset);
}

/* ---- running a command ---------------------------------------------------------------------------------------------------- */

static char *out_text, *err_text;

static enum cli_exit run(bool json, enum cli_exit (*command)(struct cli *cli, int argc, char **argv), int argc, char **argv) {
    size_t out_bytes, err_bytes;
    free(out_text);
    free(err_text);
    struct cli cli = {.json = json, .deadline_ms = 1000};
    cli.out = open_memstream(&out_text, &out_bytes);
    cli.err = open_memstream(&err_text, &err_bytes);
    enum cli_exit result = command(&cli, argc, argv);
    fclose(cli.out);
    fclose(cli.err);
    return result;
}

/* Over both files, in the wrong order; with up to two more words. */
static enum cli_exit run_files(bool json, enum cli_exit (*command)(struct cli *cli, int argc, char **argv), const char *first,
                               const char *second, const char *third) {
    char *argv[] = {rig.path[1], rig.path[0], (char *)(uintptr_t)first, (char *)(uintptr_t)second, (char *)(uintptr_t)third, NULL};
    return run(json, command, 2 + (first != NULL) + (second != NULL) + (third != NULL), argv);
}
static enum cli_exit verify(void) { return run_files(false, cmd_verify, NULL, NULL, NULL); }
static enum cli_exit repair(void) { return run_files(false, cmd_verify, "--repair", NULL, NULL); }

static void told(const char *expected) {
    cr_expect_not_null(strstr(out_text, expected), "'%s' is not in:\n%s%s", expected, out_text, err_text);
}

static void flip(uint32_t file, size_t at, uint8_t bits) {
    uint8_t byte;
    int fd = open(rig.path[file], O_RDWR);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte ^= bits;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}
static size_t place(uint32_t segment, uint32_t unit) {
    return QUIRE_LOG_FIRST_SEGMENT + (segment % RIG_FILE_SEGMENTS) * RIG_SEGMENT_BYTES + (size_t)unit * 512;
}
static void flip_segment(uint32_t segment, uint32_t unit, size_t byte) {
    flip(segment / RIG_FILE_SEGMENTS, place(segment, unit) + byte, 0x10);
}

static void look(struct rig_found *found) {
    uint8_t *files[RIG_FILES];
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        files[i] = malloc(RIG_FILE_BYTES);
        rig_read_back(&rig, i, files[i]);
    }
    rig_look(files, found);
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        free(files[i]);
    }
}

static void set_up(void) { rig_make(&rig); }
static void tear_down(void) {
    rig_end(&rig);
    free(out_text);
    free(err_text);
    out_text = err_text = NULL;
}
TestSuite(quirectl_log, .init = set_up, .fini = tear_down);

/* ---- a good set ----------------------------------------------------------------------------------------------------------- */

/* Nothing is damaged: not the emptied segment, and not what an earlier epoch left behind the open one. Nothing is written. */
Test(quirectl_log, a_good_set_is_clean) {
    uint8_t *now = malloc(RIG_FILE_BYTES);
    cr_expect_eq(verify(), CLI_OK, "%s%s", out_text, err_text);
    told("8 segments: 3 sealed, 1 open, 4 empty");
    told("nothing is damaged");
    cr_expect_eq(repair(), CLI_OK);
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        rig_read_back(&rig, i, now);
        cr_expect_arr_eq(now, rig.image[i], RIG_FILE_BYTES);
    }
    free(now);
}

/* ---- damage --------------------------------------------------------------------------------------------------------------- */

/* By the story: a repair may find a deletion that a restart would have missed. */
static bool was_deleted(uint32_t key) { return key == 2 || key == 3 || key == 4 || key == 30; }

/* What a daemon would serve before and after a repair is the same: nothing comes back, nothing else goes, and then all is clean. */
static void repairs(const char *what) {
    static struct rig_found before, after;
    look(&before);
    cr_assert_eq(verify(), CLI_FAILED, "%s is not found:\n%s%s", what, out_text, err_text);
    cr_assert_eq(repair(), CLI_OK, "%s is not repaired:\n%s%s", what, out_text, err_text);
    cr_assert_eq(verify(), CLI_OK, "%s is found after the repair:\n%s%s", what, out_text, err_text);
    look(&after);
    for (uint32_t key = 0; key < RIG_KEYS; key++) {
        cr_assert(before.sequence[key] == after.sequence[key] || (was_deleted(key) && after.sequence[key] == 0),
                  "%s: key %u was served with sequence %llu, after the repair with %llu", what, key,
                  (unsigned long long)before.sequence[key], (unsigned long long)after.sequence[key]);
    }
}

static bool served(uint32_t key) {
    static struct rig_found found;
    look(&found);
    return found.sequence[key] != 0;
}

/* A record of a sealed segment: it is named, and a miss from then on; the others are as they were. */
Test(quirectl_log, a_damaged_record) {
    flip_segment(1, 2, 700);
    cr_expect_eq(verify(), CLI_FAILED);
    told("log0: segment 1, unit 2: record of block 01000000…c3c3, group 0, 1280 bytes, is not whole; 1 record is not used\n");
    told("1 damaged; --repair lets readers pass over them");
    repairs("a record");
    cr_expect(!served(1) && served(6) && served(10));
}

/* The damaged record had taken an older one's place: that one does not come back. */
Test(quirectl_log, an_older_record_stays_buried) {
    cr_expect(served(5) && served(9));
    flip_segment(5, 2, 900); /* 5, again */
    flip_segment(4, 2, 900); /* 9, again */
    repairs("two records that had taken older ones' places");
    cr_expect(!served(5) && !served(9));
    cr_expect(served(10) && served(13) && served(6));
}

/* A write that was cut off: what it held is gone, what came before is not, and the segment has a footer from now on. */
Test(quirectl_log, a_torn_batch) {
    uint32_t unit = rig.at_units - 2; /* of the last record */
    for (uint32_t i = 0; i < 2; i++) {
        flip_segment(2, unit + i, 3);
    }
    cr_expect_eq(verify(), CLI_FAILED);
    told("segment 2, unit");
    repairs("a torn batch");
    cr_expect(served(15) && served(16) && served(17) && !served(18) && !served(4));
    told("8 segments: 4 sealed, 0 open");
}

/* Heads of a sealed segment are written again from its footer: then the footer may go, too. */
Test(quirectl_log, heads_come_from_the_footer) {
    flip_segment(4, 1, 100);
    flip_segment(4, 8, 9); /* the batch of deletions, behind a batch of 7 units */
    cr_expect_eq(verify(), CLI_FAILED);
    told("the footer still tells of its");
    repairs("two heads in a row");
    cr_expect(!served(2) && served(11));
    flip_segment(4, RIG_UNITS - 2, 20);
    repairs("the footer, once the heads were written again");
    cr_expect(!served(2) && served(11) && served(10));
}

/* A trailer or a footer is made from the heads. */
Test(quirectl_log, a_footer_comes_from_the_heads) {
    flip_segment(5, RIG_UNITS - 1, 33);
    cr_expect_eq(verify(), CLI_FAILED);
    told("trailer is damaged");
    repairs("a trailer");
    flip_segment(1, RIG_UNITS - 2, 300);
    cr_expect_eq(verify(), CLI_FAILED);
    told("footer is damaged");
    repairs("a footer");
    cr_expect(!served(3) && served(14) && served(8));
}

/* Without its header a segment's deletions count, its records do not, and that stays so when it gets a header again, even when the footer goes afterwards. */
Test(quirectl_log, a_header_brings_no_record_back) {
    flip_segment(4, 0, 10);
    cr_expect_eq(verify(), CLI_FAILED);
    told("header is damaged; what the segment holds counts only where it deletes; 4 records are not used");
    repairs("a header");
    cr_expect(!served(2) && !served(10) && !served(11));
    cr_expect(served(9), "the older record of 9 is what a restart finds now");
    flip_segment(4, RIG_UNITS - 1, 0);
    repairs("the trailer of a segment whose header was lost");
    cr_expect(!served(2) && !served(10) && !served(11));
}

/* The header of the open segment: its deletions are found by its heads. */
Test(quirectl_log, an_open_segment_without_header) {
    flip_segment(2, 0, 10);
    cr_expect_eq(verify(), CLI_FAILED);
    cr_expect_eq(repair(), CLI_OK, "%s%s", out_text, err_text);
    cr_expect_eq(verify(), CLI_OK, "%s", out_text);
    cr_expect(!served(4) && !served(15) && !served(18) && served(1));
}

/* The same of a segment that was used again, where the trailer of its life before still lies: the deletions of this one are those that count. */
Test(quirectl_log, an_open_segment_without_header_and_an_old_trailer) {
    rig.epoch = 1;
    rig.n_entries = 2;
    rig_seal(&rig);
    rig_write(&rig);
    cr_assert_eq(verify(), CLI_OK, "%s", out_text);
    flip_segment(2, 0, 10);
    cr_expect_eq(repair(), CLI_OK, "%s%s", out_text, err_text);
    cr_expect_eq(verify(), CLI_OK, "%s", out_text);
    cr_expect(!served(4) && !served(15) && !served(18) && served(1));
}

/*
 * A record, and in a later segment its deletion; both segments were emptied, and the second was used again, which only its own header told. That one is damaged. The
 * trailer that is left of its former life tells as much, and a repair, which writes over that, writes down what it told: the record does not come back.
 */
Test(quirectl_log, a_repair_tells_what_an_old_trailer_told) {
    rig_open_segment(&rig, 6, 6, 0);
    BATCH(&rig, 60);
    rig_seal(&rig);
    rig_open_segment(&rig, 7, 7, 0);
    BATCH(&rig, -60);
    rig_seal(&rig);
    rig_open_segment(&rig, 7, 9, 8);
    BATCH(&rig, 61, -62);
    rig_write(&rig);
    cr_assert(!served(60) && served(61));
    flip_segment(7, 0, 10);
    cr_expect_eq(verify(), CLI_FAILED);
    cr_expect(!served(60));
    cr_expect_eq(repair(), CLI_OK, "%s%s", out_text, err_text);
    cr_expect_eq(verify(), CLI_OK, "%s", out_text);
    cr_expect(!served(60) && !served(61));
}

/* One copy of a superblock is made from the other; without either there is nothing to be done, and a word of advice. */
Test(quirectl_log, superblocks) {
    flip(0, 40, 1);
    cr_expect_eq(verify(), CLI_FAILED);
    told("copy 0 of the superblock is damaged, the other one counts");
    repairs("a copy of the superblock");
    flip(1, QUIRE_LOG_SUPERBLOCK_STRIDE + 40, 1);
    repairs("the newer copy of a superblock");
    flip(0, 40, 1);
    flip(0, QUIRE_LOG_SUPERBLOCK_STRIDE + 40, 1);
    cr_expect_eq(verify(), CLI_FAILED);
    cr_expect_not_null(strstr(err_text, "neither copy of the superblock is whole"), "%s", err_text);
    cr_expect_eq(repair(), CLI_FAILED);
}

static void other_version(void) { /* its sum lies elsewhere; twice: this one again */
    flip(0, QUIRE_LOG_SUPERBLOCK_STRIDE + offsetof(struct quire_log_superblock, version), 8);
    flip(0, QUIRE_LOG_SUPERBLOCK_STRIDE + offsetof(struct quire_log_superblock, check), 8);
}
/* Of another version's files nothing is said but that they are, and nothing is written: not even one copy of a superblock from the other. */
Test(quirectl_log, another_version) {
    other_version();
    cr_expect_eq(repair(), CLI_FAILED);
    cr_expect_not_null(strstr(err_text, "written by another version of Quire (format 9, this one reads 1)"), "%s", err_text);
    cr_expect_eq(run_files(false, cmd_log_dump, NULL, NULL, NULL), CLI_FAILED);
    other_version();
    cr_expect_eq(verify(), CLI_OK, "%s", out_text);
}

/* The metadata cannot be made up, a set in two halves cannot be repaired in one. */
Test(quirectl_log, what_cannot_be_repaired) {
    int fd = open(rig.meta, O_RDWR);
    cr_assert_eq(pwrite(fd, "x", 1, 70), 1);
    close(fd);
    cr_expect_eq(verify(), CLI_FAILED);
    told("log0.meta: is damaged or cannot be read: put the right one back");
    told("1 damaged; --repair can do nothing about that");
    cr_expect_eq(repair(), CLI_FAILED);
    told("1 damaged: 0 repaired, 1 left");
}

/*
 * A copy of the metadata lies beside each file. Whoever looks at the second one alone reads its names there. But where the first file's copy is damaged or gone a start refuses the
 * set, whatever the other says: that is told. One that is older beside the second file hurts nobody.
 */
Test(quirectl_log, a_copy_beside_each_file) {
    char command[2 * PATH_MAX + 20], *second[] = {rig.path[1], NULL};
    cr_expect_eq(run(false, cmd_log_dump, 1, second), CLI_OK);
    told("metadata: lies beside files that were not given\n");
    snprintf(command, sizeof command, "cp '%s' '%s.meta'", rig.meta, rig.path[1]);
    cr_assert_eq(system(command), 0);
    cr_expect_eq(verify(), CLI_OK, "%s", out_text);
    cr_expect_eq(run(false, cmd_log_dump, 1, second), CLI_OK);
    told("metadata of generation 4: ");
    cr_assert_eq(unlink(rig.meta), 0);
    cr_expect_eq(verify(), CLI_FAILED);
    told("log0.meta: is not there: put the right one back");
    snprintf(command, sizeof command, "mv '%s.meta' '%s'", rig.path[1], rig.meta);
    cr_assert_eq(system(command), 0);
    snprintf(command, sizeof command, "echo rot > '%s.meta'", rig.path[1]);
    cr_assert_eq(system(command), 0);
    cr_expect_eq(verify(), CLI_OK, "%s", out_text);
}

/*
 * Whoever cuts a file short takes deletions with its end, and its length is all that tells a start of it: nothing makes it longer. Not even a repair of the
 * segment that was cut through, whose torn batch is told nowhere. The other file is repaired as ever.
 */
Test(quirectl_log, a_file_cut_short) {
    struct stat facts;
    const off_t cut = (off_t)place(5, 8); /* in the record of 13 */
    cr_assert_eq(truncate(rig.path[1], cut), 0);
    flip_segment(1, 2, 700);
    cr_expect_eq(verify(), CLI_FAILED);
    told("log1: is cut short: 3 of its 4 segments are not there in full");
    told("quired makes it anew at its next start, without what it held\n");
    told("4 more in files that do not count");
    told("2 damaged; --repair lets readers pass over 1 of them");
    cr_expect_eq(repair(), CLI_FAILED, "%s%s", out_text, err_text);
    told("without what it held; cannot be repaired\n");
    told("2 damaged: 1 repaired, 1 left");
    cr_assert_eq(stat(rig.path[1], &facts), 0);
    cr_expect_eq(facts.st_size, cut, "the file has %lld bytes", (long long)facts.st_size);
    cr_expect_eq(verify(), CLI_FAILED);
    told("1 damaged;");
}

/* As long as its metadata is missing, too, both is told: quired refuses the set without it, whatever the file's length. */
Test(quirectl_log, a_file_cut_short_without_metadata) {
    cr_assert_eq(truncate(rig.path[0], (off_t)place(1, 40)), 0);
    cr_assert_eq(unlink(rig.meta), 0);
    cr_expect_eq(verify(), CLI_FAILED);
    told("log0.meta: is not there: put the right one back");
    told("log0: is cut short: 3 of its 4 segments");
}

/* A unit that the drive does not give: told, and nothing is written over it, for the drive may give it later. */
Test(quirectl_log, a_unit_that_cannot_be_read) {
    uint8_t *now = malloc(RIG_FILE_BYTES);
    unreadable.from = place(1, 3), unreadable.to = unreadable.from + 512; /* in both files, the second has its segment 5 there */
    cr_expect_eq(verify(), CLI_FAILED, "%s%s", out_text, err_text);
    told("log0: segment 1, unit 0: 1 of its units cannot be read");
    told("log1: segment 5, unit 0: 1 of its units cannot be read");
    cr_expect_eq(repair(), CLI_FAILED);
    told("2 damaged: 0 repaired, 2 left");
    unreadable.from = unreadable.to = 0;
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        rig_read_back(&rig, i, now);
        cr_expect_arr_eq(now, rig.image[i], RIG_FILE_BYTES);
    }
    free(now);
}

/* A unit that the drive gave to the first look only, and deletions in it that nothing else tells: a footer made without it would forget them. */
Test(quirectl_log, a_unit_that_cannot_be_read_any_more) {
    flip_segment(4, RIG_UNITS - 1, 33);
    unreadable.from = place(4, 8), unreadable.to = unreadable.from + 512; /* the batch of deletions */
    unreadable.after = 2;                                                 /* one each by the first look at segments 0 and 4 */
    cr_expect_eq(repair(), CLI_FAILED, "%s%s", out_text, err_text);
    told("log1: segment 4, unit 0: 1 of its units cannot be read");
    unreadable.from = unreadable.to = 0;
    cr_expect(!served(2));
    cr_expect_eq(repair(), CLI_OK, "%s%s", out_text, err_text);
    cr_expect(!served(2) && served(10) && served(11));
}

/* While one segment cannot be read, nobody knows what it holds: a damaged record elsewhere is buried as if an older one were there. */
Test(quirectl_log, what_cannot_be_read_may_hold_an_older_record) {
    unreadable.from = place(1, 0), unreadable.to = place(2, 0); /* 5 and 9 have their older records in segment 1 */
    flip_segment(4, 2, 900);                                    /* 9, again */
    cr_expect_eq(repair(), CLI_FAILED, "%s%s", out_text, err_text);
    told("3 damaged: 1 repaired, 2 left");
    unreadable.from = unreadable.to = 0;
    cr_expect(!served(9) && served(8));
}

/* The snapshot that was written when the set was closed does not know of the repair: nobody reads it any more. */
Test(quirectl_log, a_snapshot_is_forgotten) {
    struct quire_log_superblock superblock;
    uint8_t *now = malloc(RIG_FILE_BYTES);
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        rig_superblock(&rig, i, 0, 5, QUIRE_LOG_CLEAN);
        cr_assert_eq(quire_log_superblock_decode(rig.image[i], &superblock), QUIRE_OK);
        superblock.snapshot = 77;
        quire_log_superblock_encode(&superblock, rig.image[i]);
    }
    rig_write(&rig);
    flip_segment(1, 2, 700);
    repairs("a record of a set that was closed in good order");
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        rig_read_back(&rig, i, now);
        for (uint32_t copy = 0; copy < QUIRE_LOG_SUPERBLOCK_COPIES; copy++) {
            cr_assert_eq(quire_log_superblock_decode(now + (size_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE, &superblock), QUIRE_OK);
            cr_expect_eq(superblock.generation, 5);
            cr_expect_eq(superblock.snapshot, 0);
            cr_expect_eq(superblock.flags, QUIRE_LOG_CLEAN, "or the metadata, which is of the generation before, would be too old");
        }
    }
    free(now);
}

/* Metadata from before the last start: it is told, and a repair leaves it. What a crash or a stop leaves is as new as can be. */
Test(quirectl_log, old_metadata_is_told) {
    rig_superblock(&rig, 0, 0, 5, 0); /* the metadata is of generation 4 */
    rig_write(&rig);
    verify();
    cr_expect_null(strstr(out_text, "log0.meta"), "a start that a crash kept from the metadata: %s", out_text);
    rig_superblock(&rig, 0, 1, 5, QUIRE_LOG_CLEAN);
    rig_write(&rig);
    verify();
    cr_expect_null(strstr(out_text, "log0.meta"), "a stop in good order: %s", out_text);
    rig_superblock(&rig, 0, 1, 5, 0);
    rig_write(&rig);
    cr_expect_eq(verify(), CLI_FAILED);
    told("is older than the files");
    told("put the right one back");
}

/*
 * A backup of one file, made when the set was closed, and a start too old by now: the set goes on without it, since what was deleted meanwhile stands there.
 * Somebody repairs it by itself, where no metadata tells its age: put back, it counts as little as before.
 */
Test(quirectl_log, a_backup_repaired_alone_stays_too_old) {
    char *alone[] = {rig.path[1], (char *)(uintptr_t) "--repair", NULL};
    rig_superblock(&rig, 1, 0, 2, QUIRE_LOG_CLEAN); /* the metadata is of generation 4 */
    rig_superblock(&rig, 1, 1, 1, 0);
    rig_write(&rig);
    flip_segment(4, 2, 700);
    verify();
    told("4 more in files that do not count");
    cr_expect_eq(run(false, cmd_verify, 2, alone), CLI_FAILED, "%s%s", out_text, err_text);
    told("1 of the set's 2 files was not looked at");
    told("1 damaged: 1 repaired");
    verify();
    told("4 more in files that do not count");
}

/* ---- everywhere ----------------------------------------------------------------------------------------------------------- */

/* Every byte that a sum covers: heads, records, footers, trailers, headers of segments that count. What lies between may be anything. */
static uint32_t covered_units(uint32_t segment) { return segment == 2 ? rig.at_units : RIG_UNITS; }

static bool is_covered(const struct rig_row *row, uint32_t segment, size_t byte) {
    const uint8_t *bytes = rig_segment(&rig, segment);
    size_t unit = byte / 512, in_unit = byte % 512;
    uint32_t magic;
    memcpy(&magic, bytes + unit * 512, sizeof magic);
    for (uint32_t i = 0; i < row->n; i++) {
        size_t from = (size_t)row->entries[i].at_units * 512;
        if (row->entries[i].kind == QUIRE_LOG_RECORD && byte >= from && byte < from + row->entries[i].size_bytes) {
            size_t in_record = byte - from;
            return in_record < 224 || in_record >= 256; /* between directory and payloads */
        }
    }
    if (magic == QUIRE_LOG_MAGIC_BATCH) {
        struct quire_log_batch batch;
        memcpy(&batch, bytes + unit * 512, sizeof batch);
        return in_unit < sizeof batch + batch.n_entries * sizeof(struct quire_log_entry);
    }
    return (magic == QUIRE_LOG_MAGIC_SEGMENT || magic == QUIRE_LOG_MAGIC_TRAILER) && in_unit < 64;
}

/* A bit anywhere: it is found, repaired, and nothing else changes. */
Test(quirectl_log, every_bit_is_found, .timeout = 100) {
    static const uint32_t segments[] = {1, 4, 5, 2};
    static struct rig_row row;
    struct dice dice = dice_printed("quirectl_log");
    uint64_t tail = 0;
    for (unsigned done = 0; done < 150;) {
        uint32_t segment = segments[dice_below(&dice, 4)];
        size_t byte = dice_below(&dice, covered_units(segment) * 512ull);
        char what[64];
        rig_read_segment(rig_segment(&rig, segment), segment, &row, &tail);
        if (!is_covered(&row, segment, byte) || (segment == 2 && byte < 512)) {
            continue;
        }
        done++;
        rig_write(&rig);
        snprintf(what, sizeof what, "segment %u, unit %zu, byte %zu", segment, byte / 512, byte % 512);
        flip(segment / RIG_FILE_SEGMENTS, place(segment, 0) + byte, (uint8_t)(1u << dice_below(&dice, 8)));
        repairs(what);
    }
}

/* Several at once, also where one would have vouched for the other: nothing that was deleted comes back by the repair, nothing else changes. */
Test(quirectl_log, many_bits_are_found, .timeout = 100) {
    static const uint32_t segments[] = {1, 4, 5, 2};
    static struct rig_found before, after;
    struct dice dice = dice_printed("quirectl_log");
    for (unsigned i = 0; i < 60; i++) {
        rig_write(&rig);
        for (uint64_t n = 1 + dice_below(&dice, 12); n > 0; n--) {
            uint32_t segment = segments[dice_below(&dice, 4)];
            flip(segment / RIG_FILE_SEGMENTS, place(segment, 0) + dice_below(&dice, covered_units(segment) * 512ull), 1);
        }
        look(&before);
        enum cli_exit found = verify();
        enum cli_exit repaired = repair(), again = verify();
        look(&after);
        cr_assert(found == CLI_OK || found == CLI_FAILED);
        cr_assert_eq(repaired, again, "%s", out_text);
        for (uint32_t key = 0; key < RIG_KEYS; key++) { /* a deletion that a restart would not have found may be remembered */
            cr_assert(after.sequence[key] == before.sequence[key] || after.sequence[key] == 0, "round %u, key %u: %llu became %llu", i, key,
                      (unsigned long long)before.sequence[key], (unsigned long long)after.sequence[key]);
        }
    }
}

/* ---- who may, and how it is shown ----------------------------------------------------------------------------------------- */

/* A daemon has the files: it is named, nothing is read or written; a look is allowed, and told. */
Test(quirectl_log, files_in_use) {
    int fd = open(rig.path[0], O_RDWR);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    char who[64];
    snprintf(who, sizeof who, "is in use by process %d", (int)getpid());
    cr_expect_eq(verify(), CLI_FAILED);
    cr_expect_not_null(strstr(err_text, who), "%s", err_text);
    cr_expect_eq(repair(), CLI_FAILED);
    cr_expect_not_null(strstr(err_text, "without paths asks a running daemon"), "%s", err_text);
    cr_expect_eq(run_files(false, cmd_log_dump, NULL, NULL, NULL), CLI_OK);
    told("it changes meanwhile");
    close(fd);
    fd = open(rig.path[0], O_RDWR);
    cr_assert_eq(flock(fd, LOCK_SH), 0);
    cr_expect_eq(verify(), CLI_OK, "two may verify at once");
    cr_expect_eq(repair(), CLI_FAILED);
    close(fd);
}

/* Files, segments, and records with everything that identifies them; a bounded number of rows at once. */
Test(quirectl_log, dump) {
    cr_expect_eq(run_files(false, cmd_log_dump, NULL, NULL, NULL), CLI_OK);
    told("2 files, segments of 48 KiB, units of 512 B");
    told("sealed");
    told("emptied");
    told("3 segments are clean");
    cr_expect_eq(run_files(false, cmd_log_dump, "--segment=4", "--records", NULL), CLI_OK);
    char text[65];
    quire_key key = rig_key(11);
    quire_key_to_text(&key, text);
    told(text);
    told("default/story");
    told("1.25 KiB");
    told("deletion");
    cr_expect_eq(run_files(false, cmd_log_dump, "--records", "--limit=5", NULL), CLI_OK);
    told("--from 5 goes on there");
    cr_expect_eq(run_files(true, cmd_log_dump, "--records", NULL, NULL), CLI_OK);
    cJSON *all = cJSON_Parse(out_text), *rows = cJSON_GetObjectItem(all, "records");
    cr_assert(cJSON_GetArraySize(rows) > 10 && cJSON_IsNull(cJSON_GetObjectItem(all, "next")), "%s", out_text);
    cr_expect_eq(run_files(true, cmd_log_dump, "--records", "--limit=5", "--from=5"), CLI_OK);
    cJSON *some = cJSON_Parse(out_text), *five = cJSON_GetObjectItem(some, "records");
    cr_assert(cJSON_GetArraySize(five) == 5 && cJSON_GetObjectItem(some, "next")->valueint == 10, "%s", out_text);
    for (int i = 0; i < 5; i++) {
        cr_expect(cJSON_Compare(cJSON_GetArrayItem(five, i), cJSON_GetArrayItem(rows, 5 + i), true), "row %d", 5 + i);
    }
    cJSON_Delete(all);
    cJSON_Delete(some);
    cr_expect_eq(run_files(false, cmd_log_dump, "--segment=99", NULL, NULL), CLI_NOT_FOUND);
    cr_expect_eq(run_files(false, cmd_log_dump, "--segment=x", NULL, NULL), CLI_USAGE);
    cr_expect_eq(run(false, cmd_log_dump, 0, NULL), CLI_USAGE);
}

/* Machines read the same as people. */
Test(quirectl_log, verify_as_json) {
    flip_segment(1, 2, 700);
    cr_expect_eq(run_files(true, cmd_verify, NULL, NULL, NULL), CLI_FAILED);
    cJSON *root = cJSON_Parse(out_text), *findings = cJSON_GetObjectItem(root, "findings"), *first = cJSON_GetArrayItem(findings, 0);
    cr_assert_eq(cJSON_GetArraySize(findings), 1, "%s", out_text);
    cr_expect_str_eq(cJSON_GetObjectItem(first, "part")->valuestring, "record");
    cr_expect_eq(cJSON_GetObjectItem(first, "segment")->valueint, 1);
    cr_expect_str_eq(cJSON_GetObjectItem(first, "outcome")->valuestring, "found");
    cr_expect_eq(cJSON_GetObjectItem(root, "damaged")->valueint, 1);
    cJSON_Delete(root);
}

/* What is no set of files is refused with a word. */
Test(quirectl_log, other_files) {
    char *missing[] = {(char *)"/nowhere/log0", NULL}, *twice[] = {rig.path[0], rig.path[0], NULL}, *folder[] = {rig.folder, NULL},
         *half[] = {rig.path[1], NULL};
    cr_expect_eq(run(false, cmd_verify, 1, missing), CLI_FAILED);
    cr_expect_not_null(strstr(err_text, "No such file"), "%s", err_text);
    cr_expect_eq(run(false, cmd_verify, 2, twice), CLI_FAILED);
    cr_expect_not_null(strstr(err_text, "same part of the set"), "%s", err_text);
    cr_expect_eq(run(false, cmd_verify, 1, folder), CLI_FAILED);
    cr_expect_eq(run(false, cmd_verify, 1, half), CLI_FAILED, "%s%s", out_text, err_text);
}

/* One of two files: what is wrong with the other nobody knows. That it was not looked at is told in words and by the exit status, and a repair tells it, too. */
Test(quirectl_log, a_part_of_the_set) {
    char *half[] = {rig.path[0], (char *)"--repair", NULL};
    for (int words = 1; words <= 2; words++) {
        cr_expect_eq(run(false, cmd_verify, words, half), CLI_FAILED, "%s%s", out_text, err_text);
        told("1 of the set's 2 files was not looked at: give the paths of all\nnothing is damaged in what was looked at\n");
    }
    cr_expect_eq(run(true, cmd_verify, 1, half), CLI_FAILED);
    cJSON *root = cJSON_Parse(out_text);
    cr_expect(cJSON_IsFalse(cJSON_GetObjectItem(root, "complete")));
    cr_expect_eq(cJSON_GetObjectItem(root, "absent_files")->valueint, 1);
    cJSON_Delete(root);
    cr_expect_eq(run_files(true, cmd_verify, NULL, NULL, NULL), CLI_OK);
    root = cJSON_Parse(out_text);
    cr_expect(cJSON_IsTrue(cJSON_GetObjectItem(root, "complete")));
    cJSON_Delete(root);
}

/* Whoever dumps files whose metadata went reads which file that is. */
Test(quirectl_log, a_dump_without_metadata) {
    cr_assert_eq(unlink(rig.meta), 0);
    cr_expect_eq(run_files(false, cmd_log_dump, NULL, NULL, NULL), CLI_OK);
    told("log0.meta is not there\n");
}
