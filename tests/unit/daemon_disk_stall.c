/* A drive that neither does what it is asked for nor fails: the others have their share of the backend, it is told, and given up. */
#include <criterion/criterion.h>

#include "daemon/disk/stall.h"
#include "tests/unit/daemon_disk_double.h"

#define N 20u
#define S QUIRE_NS_PER_S

static struct disk_op ops[N];
static struct iovec iovs[N];
static uint32_t ended[N];

static void done(struct disk_op *op) { ended[op - ops]++; }

static void ask(struct double_tier *tier, uint32_t i, uint32_t device) {
    iovs[i] = (struct iovec){.iov_base = tier->pool + (size_t)i * DOUBLE_UNIT, .iov_len = DOUBLE_UNIT};
    disk_env_io(&tier->env, &ops[i], DISK_READ, device, QUIRE_LOG_FIRST_SEGMENT, &iovs[i], 1, done);
}

static uint32_t so_many_ended(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_leq(ended[i], 1);
        n += ended[i];
    }
    return n;
}

/* File 1 of two answers nothing, and nineteen reads of it are wanted. One of file 0, asked for last, finds a place with the backend at once. */
Test(daemon_disk_stall, each_file_has_its_share) {
    struct double_tier *tier = double_tier_open();
    tier->io.io.depth = 8;
    tier->io.hold = true;
    for (uint32_t i = 0; i + 1 < N; i++) {
        ask(tier, i, 1);
    }
    ask(tier, N - 1, 0);
    disk_env_flush(&tier->env);
    cr_assert_eq(tier->env.devices[1].under_way, 4);
    cr_assert_eq(tier->env.devices[0].under_way, 1);
    cr_assert_eq(tier->io.in_flight, 5);
    tier->io.hold = false;
    double_release(&tier->io);
    double_turn(tier);
    cr_assert_eq(so_many_ended(), N);
    double_tier_close(tier);
}

/* It is given up: what waited for it fails; what the backend has stays the backend's, until it ends after all. */
Test(daemon_disk_stall, what_the_system_has_ends_when_it_ends) {
    struct double_tier *tier = double_tier_open();
    tier->io.io.depth = 8;
    tier->io.hold = true;
    for (uint32_t i = 0; i < N - 1; i++) {
        ask(tier, i, 1);
    }
    disk_env_flush(&tier->env);
    disk_env_give_up(&tier->env, 1);
    cr_assert_eq(so_many_ended(), 0, "nobody is called back from within");
    cr_assert(disk_env_turn(&tier->env));
    cr_assert_eq(so_many_ended(), N - 1 - 4);
    cr_assert(ops[N - 2].status == QUIRE_TIMEOUT && ops[N - 2].error == ETIMEDOUT);
    ask(tier, N - 1, 1); /* too late */
    disk_env_turn(&tier->env);
    cr_assert_eq(ended[N - 1], 1);
    double_release(&tier->io);
    tier->io.hold = false;
    double_turn(tier);
    cr_assert_eq(so_many_ended(), N);
    double_tier_close(tier);
}

/* Told after one time, given up after another; a drive that answers in between is well again. */
Test(daemon_disk_stall, told_then_given_up) {
    uint64_t away_ns;
    struct double_tier *tier = double_tier_open();
    struct stalls stalls = {0};
    stalls_set(&stalls, 5000, 30000);
    tier->io.hold = true;
    cr_assert_eq(stalls_deadline(&stalls, &tier->env), UINT64_MAX);
    for (uint32_t round = 1; round <= 2; round++) {
        ask(tier, round, 1);
        disk_env_flush(&tier->env);
        uint64_t begun_ns = ops[round].begun_ns;
        cr_assert_eq(stalls_deadline(&stalls, &tier->env), begun_ns + 5 * S);
        for (uint64_t t = 0; t < 29; t++) {
            cr_assert_eq(stalls_check(&stalls, &tier->env, begun_ns + t * S, &away_ns), 0);
            cr_assert_eq(stalls.devices[1].now, t >= 5);
            cr_assert_eq(stalls_now(&stalls, &tier->env), t >= 5 ? 2 : 0);
        }
        cr_assert(!stalls.devices[0].now && stalls.devices[1].times == round);
        cr_assert_eq(stalls_deadline(&stalls, &tier->env), begun_ns + 30 * S);
        if (round == 2) {
            cr_assert_eq(stalls_check(&stalls, &tier->env, begun_ns + 30 * S, &away_ns), 2);
            break;
        }
        double_release(&tier->io);
        double_reap(&tier->io.io, UINT32_MAX);
        cr_assert_eq(stalls_check(&stalls, &tier->env, begun_ns + 30 * S, &away_ns), 0);
        cr_assert(!stalls.devices[1].now);
        stalls.looked_ns = 0;
    }
    double_release(&tier->io);
    double_turn(tier);
    double_tier_close(tier);
}

/* The daemon itself stood still, as when its machine is moved: no drive is to blame for that time. */
Test(daemon_disk_stall, the_daemon_stood_still) {
    uint64_t away_ns;
    struct double_tier *tier = double_tier_open();
    struct stalls stalls = {0};
    stalls_set(&stalls, 5000, 30000);
    tier->io.hold = true;
    ask(tier, 0, 1);
    disk_env_flush(&tier->env);
    uint64_t now_ns = ops[0].begun_ns;
    cr_assert_eq(stalls_check(&stalls, &tier->env, now_ns, &away_ns), 0);
    cr_assert_eq(away_ns, 0);
    cr_assert_eq(stalls_check(&stalls, &tier->env, now_ns + 100 * S, &away_ns), 0);
    cr_assert_eq(away_ns, 100 * S);
    cr_assert(!stalls.devices[1].now);
    double_release(&tier->io);
    double_turn(tier);
    double_tier_close(tier);
}
