/*
 * Faults on demand: a layer with the same operations as a backend, over any backend, that delays, fails, tears, corrupts or fills by rule,
 * so that an operator can rehearse what a bad disk does. Without rules it hands everything through. Loop thread only, like what lies
 * beneath.
 *
 * A rule is one line, the same in the configuration and for `quirectl fault`:
 *
 *     OPERATION:ACTION[,WHERE|WHEN]...        read:error=EIO,probability=0.01,file=0
 *
 *     OPERATION  read, write, sync
 *     ACTION     delay=TIME          it reaches the device that much later ("20ms", up to 10min)
 *                error=NAME          fails with EIO, ENOSPC, EROFS, EDQUOT, ENODEV, ETIMEDOUT, ENOMEM, ENOBUFS, EAGAIN or EINTR; the device
 *                                    sees nothing of it
 *                tear=failure        write: only a first part of it, of whole blocks (perhaps none), is written, and it fails with EIO
 *                tear=success        write: the same, and it is reported as written: what a drive does that lies
 *                corrupt=BITS        read, write: so many bits are flipped in what is read, or in what is written (in a copy, not in
 *                                    the caller's memory)
 *                fill=SIZE           write: after so many bytes that matched the device has no room (ENOSPC)
 *     WHERE      file=N              the set's Nth file, from 0, as `quirectl status` lists them: also past one that is out of use,
 *                                    where a rule hits nothing; without it any
 *                offset=FROM-TO      what touches these bytes of the file: "1MiB-2MiB", "1MiB-"; not for sync
 *     WHEN       probability=P       of what matches, so much is hit: 0.000001 to 1; without it all
 *                seed=N              of that chance and of where it tears and corrupts: the same operations in the same order
 *                                    meet the same fate
 *                count=N             after so many hits the rule rests; without it never
 *
 * Delays of several rules add up; of the other actions the first rule that hits decides.
 */
#ifndef DAEMON_DISK_FAULTS_H
#define DAEMON_DISK_FAULTS_H

#include "daemon/disk/io.h"

/* ---- rules ---- */
enum disk_fault_action { DISK_FAULT_DELAY, DISK_FAULT_ERROR, DISK_FAULT_TEAR, DISK_FAULT_CORRUPT, DISK_FAULT_FILL };

#define DISK_FAULT_ANY_FILE UINT32_MAX
#define DISK_FAULT_ALWAYS_PPM 1000000u
#define DISK_FAULT_MAX_DELAY_MS 600000u
#define DISK_FAULT_MAX_BITS 65536u
#define DISK_FAULT_TEXT_BYTES 256u /* of every rule's text, the final zero included */

struct disk_fault_rule {
    enum disk_op_type op;
    enum disk_fault_action action;
    uint64_t amount;          /* DELAY: milliseconds; CORRUPT: bits; FILL: bytes */
    int error;                /* ERROR: errno */
    bool succeeds;            /* TEAR: reported as written */
    uint32_t file;            /* or DISK_FAULT_ANY_FILE */
    uint64_t begin, end;      /* bytes [begin, end); everything: 0, UINT64_MAX */
    uint32_t probability_ppm; /* 1 to DISK_FAULT_ALWAYS_PPM */
    uint64_t seed;
    uint64_t count; /* hits; 0: no end */
};

/* INVALID: `why` says which part is wrong and what would be right. Pure, total: any text. */
enum quire_status disk_fault_parse(const char *text, struct disk_fault_rule *rule, char *why, size_t why_bytes);
/* The text that parses to exactly this rule. */
void disk_fault_print(const struct disk_fault_rule *rule, char text[DISK_FAULT_TEXT_BYTES]);

/* ---- the layer ---- */
#define DISK_FAULTS_MAX 64u

struct disk_fault { /* a rule at work, as listed */
    uint32_t id;    /* never given twice */
    struct disk_fault_rule rule;
    uint64_t hits;
};

/* Lays itself over `inner` and owns it from now on (destroy destroys both); on failure `inner` stays the caller's. */
enum quire_status faults_create(struct disk_io *inner, struct disk_io **io);
/* What lies beneath: its ops->name is the backend's. */
const struct disk_io *faults_inner(const struct disk_io *io);
/*
 * By which number rules name a file that was added; without it the backend's. A file that is out of use is not the backend's, and shifts
 * its numbers.
 */
void faults_number_file(struct disk_io *io, uint32_t file, uint32_t number);
/* For what is submitted from now on. TOO_LARGE: there are DISK_FAULTS_MAX. */
enum quire_status faults_add(struct disk_io *io, const struct disk_fault_rule *rule, uint32_t *id);
/* Up to max of them, oldest first; returns how many. */
uint32_t faults_list(const struct disk_io *io, struct disk_fault *list, uint32_t max);
/* What is being delayed goes on at its time. */
enum quire_status faults_remove(struct disk_io *io, uint32_t id); /* NOT_FOUND */
void faults_clear(struct disk_io *io);

#endif
