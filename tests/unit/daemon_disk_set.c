/*
 * The files of the disk tier: made once, found again, by one daemon at a time, and refused with a reason when they are not what the
 * configuration names.
 */
#include "codec/checksum.h"
#include "tests/unit/daemon_disk_set_rig.h"

#include <sys/wait.h>

TestSuite(daemon_disk_set, .init = set_up, .fini = tear_down);

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

/* The first start makes folders, files with all of their space, superblocks and metadata, for this user alone; the next one finds them. */
Test(daemon_disk_set, made_and_found) {
    struct stat facts;
    struct quire_log_superblock superblock;
    uint8_t id[16], file_id[16];
    opens();
    cr_expect(set->fresh && set->generation == 1 && set->n_segments == 2 * SEGMENTS && !set->clean);
    cr_expect_eq((uint64_t)set->geometry.unit_bytes * set->geometry.segment_units, SEGMENT_BYTES);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(stat(path_of(i), &facts), 0);
        cr_expect_eq((uint64_t)facts.st_size, FILE_BYTES);
        cr_expect_geq((uint64_t)facts.st_blocks * 512, FILE_BYTES, "the space is there");
        cr_expect_eq(facts.st_mode & 0777, 0600);
        cr_expect(set->files[i].in_use && set->files[i].fresh && set->files[i].first_number == i * SEGMENTS);
        cr_expect(set->files[i].direct || set->files[i].why[0] != '\0');
        cr_assert_eq(read_superblock(i, 0, &superblock), QUIRE_OK);
        cr_expect(superblock.generation == 1 && superblock.file_index == i && superblock.n_files == 2 && superblock.flags == 0);
    }
    char made[200];
    snprintf(made, sizeof made, "%s/d1", folder);
    cr_assert_eq(stat(made, &facts), 0);
    cr_expect_eq(facts.st_mode & 0777, 0700);
    memcpy(id, set->set_id, sizeof id);
    memcpy(file_id, set->files[1].file_id, sizeof file_id);
    reopens();
    cr_expect(!set->fresh && set->generation == 2 && !set->clean && !set->files[0].fresh);
    cr_expect_arr_eq(id, set->set_id, 16);
    cr_expect_arr_eq(file_id, set->files[1].file_id, 16);
    cr_expect_not_null(set->meta);
    for (uint32_t copy = 0; copy < 2; copy++) {
        cr_assert_eq(read_superblock(0, copy, &superblock), QUIRE_OK);
        cr_expect_eq(superblock.generation, 2);
    }
}

/* A clean stop is seen by the next start, and only by that. */
Test(daemon_disk_set, clean_stop) {
    opens();
    disk_set_close(&set, true, 77);
    opens();
    cr_expect(set->clean && set->snapshot == 77 && set->generation == 3);
    reopens();
    cr_expect(!set->clean && set->generation == 4, "after a crash there is no snapshot to trust");
    for (uint32_t i = 0; i < 2; i++) { /* one of the files was not closed: the other's word is not enough */
        struct quire_log_superblock superblock;
        disk_set_close(&set, true, 78);
        for (uint32_t copy = 0; copy < 2; copy++) {
            cr_assert_eq(read_superblock(i, copy, &superblock), QUIRE_OK);
            superblock.flags = 0;
            write_superblock(i, copy, &superblock);
        }
        opens();
        cr_expect_not(set->clean);
    }
}

/* What the pager knows is saved with the members, and is there at the next start. */
Test(daemon_disk_set, metadata_travels) {
    static const uint8_t layout[8] = {1};
    struct quire_meta_item item = {
        .serial = 4, .name = "a", .name_bytes = 1, .domain = "d", .domain_bytes = 1, .layout = layout, .layout_bytes = 8};
    struct quire_meta_pin pin = {.serial = 4, .pins = 3};
    uint8_t *bytes;
    size_t size;
    opens();
    cr_assert_eq(disk_set_encode_meta(set, 5, 1234, &item, 1, &pin, 1, &bytes, &size), QUIRE_OK);
    cr_assert_eq(disk_meta_save(set->meta_path, bytes, size, why, sizeof why), QUIRE_OK, "%s", why);
    free(bytes);
    for (unsigned i = 0; i < 3; i++) { /* each start saves it again */
        reopens();
        const struct quire_meta_head *head = quire_meta_head_of(set->meta);
        cr_assert(head->next_serial == 5 && head->sequence == 1234 && head->n_namespaces == 1 && head->n_pins == 1 && head->n_files == 2);
        struct quire_meta_item found;
        size_t at = 0;
        cr_assert(quire_meta_next(set->meta, &at, &found));
        cr_expect(found.serial == 4 && found.layout_bytes == 8 && memcmp(found.layout, layout, 8) == 0);
    }
}

/* Who writes the configuration need not remember the order. */
Test(daemon_disk_set, any_order) {
    uint8_t first[16];
    name_files(3);
    opens();
    memcpy(first, set->files[0].file_id, sizeof first);
    struct config_file file = config.files[0];
    config.files[0] = config.files[2], config.files[2] = file;
    reopens();
    cr_expect_arr_eq(set->files[0].file_id, first, 16);
    cr_expect_not_null(strstr(set->files[0].path, "log0"));
    cr_expect_not_null(strstr(set->meta_path, "log0.meta"));
    cr_expect_not(set->fresh);
}

/* ---- who else uses it ----------------------------------------------------------------------------------------------------- */

/* A second daemon is refused, and told who holds the file; under whatever name. */
Test(daemon_disk_set, second_opener) {
    int ready[2], end[2];
    char byte, expected[64];
    cr_assert(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        byte = disk_set_open(&config, &set, why, sizeof why) == QUIRE_OK;
        if (write(ready[1], &byte, 1) == 1 && read(end[0], &byte, 1) >= 0) { /* until the other end is closed */
            _exit(0);
        }
        _exit(1);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(byte, 1);
    snprintf(expected, sizeof expected, "is in use by process %ld already", (long)child);
    refuses(QUIRE_IN_USE, expected, "stop that one, or give this one files of its own");
    char other[CONFIG_FILE_PATH_MAX];
    snprintf(other, sizeof other, "%s/other-name", folder);
    cr_assert_eq(link(path_of(0), other), 0);
    memcpy(config.files[0].path, other, sizeof other);
    refuses(QUIRE_IN_USE, expected, "");
    close(end[1]);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    config.files[0].path[0] = '\0';
    name_files(2);
    opens();
}

/* Two names of one file in one configuration. */
Test(daemon_disk_set, one_file_twice) {
    opens();
    disk_set_close(&set, false, 0);
    cr_assert_eq(unlink(path_of(1)), 0);
    cr_assert_eq(symlink(path_of(0), path_of(1)), 0);
    refuses(QUIRE_IN_USE, "log1: is in use by this quired under another path", "");
}

/* ---- superblocks ---------------------------------------------------------------------------------------------------------- */

/* One damaged copy, whichever: the other counts, nothing is lost, and the damaged one is good again. */
Test(daemon_disk_set, one_good_copy) {
    struct quire_log_superblock superblock;
    uint8_t id[16];
    opens();
    memcpy(id, set->files[0].file_id, sizeof id);
    mark(0, 3);
    for (unsigned round = 0; round < 6; round++) {
        uint64_t before = set->generation;
        disk_set_close(&set, round % 3 == 2, 5);
        damage(0, round % 2);
        opens();
        cr_expect_arr_eq(set->files[0].file_id, id, 16);
        cr_expect(set->files[0].in_use && !set->files[0].fresh && is_marked(0, 3));
        cr_expect_gt(set->generation, before, "no generation comes twice, or sequence numbers would");
        cr_expect_eq(read_superblock(0, round % 2, &superblock), QUIRE_OK, "round %u", round);
    }
}

/* One bit of one copy turned, and it says another version: that is damage, which costs nothing, and nobody is told to start a version that there never was. */
Test(daemon_disk_set, a_rotten_version) {
    struct quire_log_superblock superblock;
    opens();
    mark(0, 3);
    for (unsigned round = 0; round < 4; round++) {
        const uint32_t version = QUIRE_LOG_VERSION ^ 1u << 8 * round;
        disk_set_close(&set, round % 2 == 1, 5);
        overwrite(0, copy_at(round % 2) + offsetof(struct quire_log_superblock, version), &version, sizeof version);
        opens();
        cr_expect(set->files[0].in_use && !set->files[0].fresh && is_marked(0, 3), "round %u", round);
        cr_expect_eq(read_superblock(0, round % 2, &superblock), QUIRE_OK, "round %u", round);
    }
}

/* The copy that was written last goes bad before each of several starts: the other is never so old that the file would count as one that was out of use. */
Test(daemon_disk_set, the_newest_copy_again_and_again) {
    opens();
    mark(0, 3);
    for (unsigned round = 0; round < 4; round++) {
        damage(0, 1 - set->files[0].next_copy);
        reopens();
        cr_expect(set->files[0].in_use && !set->files[0].fresh && is_marked(0, 3), "round %u", round);
    }
}

/* Both damaged: refused, and not formatted. */
Test(daemon_disk_set, no_good_copy) {
    opens();
    disk_set_close(&set, false, 0);
    mark(0, 0);
    damage(0, 0);
    damage(0, 1);
    refuses(QUIRE_CORRUPT, "log0: has content, but no superblock of Quire that is whole", "move it away");
    cr_expect(is_marked(0, 0));
}

/* Power fails while a superblock is written: whatever sectors of it are on disk, one copy is whole. */
Test(daemon_disk_set, torn_superblocks) {
    uint8_t before[QUIRE_LOG_SUPERBLOCK_BYTES], after[QUIRE_LOG_SUPERBLOCK_BYTES], torn[QUIRE_LOG_SUPERBLOCK_BYTES], id[16];
    name_files(1);
    for (unsigned border = 0; border <= QUIRE_LOG_SUPERBLOCK_BYTES / 512; border++) {
        for (unsigned side = 0; side < 3; side++) { /* the new sectors before the border, or behind it; or rubbish before it */
            opens();
            memcpy(id, set->files[0].file_id, sizeof id);
            uint32_t copy = set->files[0].next_copy;
            uint64_t generation = set->generation;
            disk_set_close(&set, false, 0);
            read_at(0, copy_at(copy), before, sizeof before);
            opens();
            disk_set_close(&set, false, 0);
            read_at(0, copy_at(copy), after, sizeof after);
            memcpy(torn, side == 0 ? before : after, sizeof torn);
            memcpy(torn, side == 0 ? after : before, border * 512u);
            if (side == 2) {
                memset(torn, 0xa5, border * 512u);
            }
            overwrite(0, copy_at(copy), torn, sizeof torn);
            opens();
            cr_expect_geq(set->generation, generation + 1);
            cr_expect_arr_eq(set->files[0].file_id, id, 16);
            cr_expect(!set->files[0].fresh && !set->fresh);
            disk_set_close(&set, false, 0);
        }
    }
}

/* Another version of the format is named, also when only one copy bears it: an upgrade may have stopped there. */
Test(daemon_disk_set, another_version) {
    struct quire_log_superblock superblock;
    opens();
    disk_set_close(&set, false, 0);
    read_at(1, copy_at(1), &superblock, sizeof superblock);
    superblock.version = 9;
    superblock.check = quire_checksum(&superblock, offsetof(struct quire_log_superblock, check));
    overwrite(1, copy_at(1), &superblock, sizeof superblock);
    refuses(QUIRE_VERSION, "log1: written by another version of Quire (format 9, this one reads 1)",
            "start that version, or move the files");
}

/* A superblock, whole, of a generation that leaves no higher one for this start and the stop after it: refused, with a remedy, before anything is written. One that
   does is counted on from. */
Test(daemon_disk_set, no_higher_generation) {
    struct quire_log_superblock superblock, before;
    opens();
    disk_set_close(&set, false, 0);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(read_superblock(i, 0, &superblock), QUIRE_OK);
        superblock.generation = QUIRE_LOG_GENERATIONS - 2;
        write_superblock(i, 0, &superblock);
    }
    refuses(QUIRE_CORRUPT, "log0: its set says that it was opened 8388606 times", "to begin anew");
    cr_assert_eq(read_superblock(1, 1, &before), QUIRE_OK);
    cr_expect_eq(before.generation, 1, "nothing was written");
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(read_superblock(i, 1, &superblock), QUIRE_OK);
        superblock.generation = QUIRE_LOG_GENERATIONS - 3;
        write_superblock(i, 0, &superblock);
    }
    opens();
    cr_expect_eq(set->generation, QUIRE_LOG_GENERATIONS - 2);
    disk_set_close(&set, true, 7);
    cr_assert_eq(read_superblock(0, 0, &superblock), QUIRE_OK);
    cr_expect_eq(superblock.generation, QUIRE_LOG_GENERATIONS - 1, "the stop's can be read, too");
}

/* ---- configurations that contradict the files ------------------------------------------------------------------------------ */

Test(daemon_disk_set, changed_sizes) {
    opens();
    config.disk.segment_bytes = 2 * SEGMENT_BYTES;
    refuses(QUIRE_MISMATCH, "log0: was made with segments of 1MiB, disk.segment_bytes is 2MiB now", "to begin anew, move the files");
    config.disk.segment_bytes = SEGMENT_BYTES;
    config.files[1].size_bytes *= 2;
    refuses(QUIRE_MISMATCH, "log1: was made with a size of 8MiB, the configuration says 16MiB: set it back to 8MiB", "to begin anew");
    name_files(3);
    refuses(QUIRE_MISMATCH, "log0: its set was made of 2 files, the configuration names 3", "name all of them");
    name_files(1);
    refuses(QUIRE_MISMATCH, "log0: its set was made of 2 files, the configuration names 1", "");
    name_files(2);
    cr_assert_eq(unlink(path_of(0)), 0);
    config.files[0].size_bytes *= 2;
    refuses(QUIRE_MISMATCH, "log1: begins at segment 8 of its set, by the configuration at 16", "set the sizes back");
}

/* A file of another set, and a copy of one of this. */
Test(daemon_disk_set, mixed_sets) {
    char command[1000], kept[200];
    opens();
    disk_set_close(&set, false, 0);
    snprintf(kept, sizeof kept, "%s/kept", folder);
    snprintf(command, sizeof command, "mv '%s/d1' '%s' && rm -rf '%s/d0'", folder, kept, folder);
    cr_assert_eq(system(command), 0);
    opens();
    disk_set_close(&set, false, 0);
    snprintf(config.files[1].path, sizeof config.files[1].path, "%s/log1", kept);
    refuses(QUIRE_MISMATCH, "kept/log1: belongs to another set of files than ", "/d0/log0: name the files of one set");
    name_files(2);
    snprintf(command, sizeof command, "cp '%s' '%s'", path_of(0), path_of(1));
    cr_assert_eq(system(command), 0);
    refuses(QUIRE_MISMATCH, "log1: is a copy of ", "(both say that they are file 0 of the set): move one of them away");
}

/* ---- metadata -------------------------------------------------------------------------------------------------------------- */

/* Without the metadata, or with another's, the set is refused as it is. */
Test(daemon_disk_set, metadata_gone) {
    char meta[CONFIG_FILE_PATH_MAX + 8], kept[200];
    opens();
    mark(0, 0);
    snprintf(meta, sizeof meta, "%s", set->meta_path);
    snprintf(kept, sizeof kept, "%s/kept", folder);
    disk_set_close(&set, false, 0);
    cr_assert_eq(rename(meta, kept), 0);
    refuses(QUIRE_NOT_FOUND, "log0.meta: No such file or directory. It tells which namespaces there are", "put it back; to begin anew");
    put_file(meta, "rubbish", 7, 200);
    refuses(QUIRE_CORRUPT, "log0.meta: damaged", "put it back");
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/other/log0", folder);
    opens();
    char other[CONFIG_FILE_PATH_MAX + 8];
    snprintf(other, sizeof other, "%s", set->meta_path);
    disk_set_close(&set, false, 0);
    cr_assert_eq(rename(other, meta), 0);
    name_files(2);
    refuses(QUIRE_MISMATCH, "log0.meta: belongs to another set of files", "");
    cr_assert_eq(rename(kept, meta), 0);
    opens();
    cr_expect(is_marked(0, 0) && !set->files[0].fresh);
}
