#include "daemon/net/crowd.h"

#include "daemon/loop.h"

#include <string.h>

#define SHARES 4

static struct crowd_member *member_of(struct ring *place) { return LOOP_CONTAINER(place, struct crowd_member, place); }

void crowd_setup(struct crowd *crowd, uint32_t most) {
    *crowd = (struct crowd){
        .most = most, .most_of_one = (uint32_t)quire_max_u64(most / SHARES, 1), .grace_ns = CROWD_GRACE_MS * QUIRE_NS_PER_MS};
    ring_setup(&crowd->members);
}

static bool had_its_time(const struct crowd *crowd, const struct crowd_member *member, uint64_t now_ns) {
    return now_ns >= member->since_ns + crowd->grace_ns;
}

bool crowd_has_room(const struct crowd *crowd, uint64_t now_ns) {
    return crowd->n < crowd->most || had_its_time(crowd, member_of(crowd->members.next), now_ns);
}

bool crowd_admits(const struct crowd *crowd, const char *peer, uint64_t now_ns, struct crowd_member **leaves) {
    char address[GUARD_ADDRESS_BYTES];
    struct crowd_member *first = NULL;
    uint32_t n_same = 0;
    guard_address(peer, address);
    for (struct ring *at = crowd->members.next; at != &crowd->members; at = at->next) {
        struct crowd_member *member = member_of(at);
        bool same = strcmp(member->address, address) == 0;
        n_same += same;
        first = same && first == NULL ? member : first;
    }
    *leaves = NULL;
    if (n_same >= crowd->most_of_one) {
        *leaves = first;
    } else if (crowd->n >= crowd->most) {
        *leaves = member_of(crowd->members.next);
    }
    return *leaves == NULL || had_its_time(crowd, *leaves, now_ns);
}

void crowd_join(struct crowd *crowd, struct crowd_member *member, const char *peer, uint64_t now_ns) {
    guard_address(peer, member->address);
    member->since_ns = now_ns;
    ring_add(&crowd->members, &member->place);
    crowd->n++;
}

void crowd_leave(struct crowd *crowd, struct crowd_member *member) {
    crowd->n -= ring_holds(&member->place);
    ring_remove(&member->place);
}
