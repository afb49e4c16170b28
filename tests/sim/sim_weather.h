/*
 * A stop in good order, but in bad weather: drives take nothing any more, and what was deleted last was perhaps not written. Whoever deleted it does so again
 * in the next life, and a crash may follow: then it is to be gone for good.
 */
#ifndef SIM_WEATHER_H
#define SIM_WEATHER_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_REGRETS 8u

struct sim;
struct sim_weather { /* keys that were deleted while the drives took nothing, to be deleted again */
    uint32_t space, n, keys[SIM_REGRETS];
};

/* Before a stop: drives are full, and some of what lies there is deleted; or nothing. True: they are. */
bool sim_weather_gathers(struct sim *sim);
/* What a client in that domain wants again: nothing, or to delete what may have been refused. True: it asked for that. */
bool sim_weather_again(struct sim *sim, uint32_t client);

#endif
