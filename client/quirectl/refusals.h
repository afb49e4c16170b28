/* Why stores are refused: one counter a reason, as doctor and top tell them. Reasons may overlap, so they have no sum. */
#ifndef QUIRECTL_REFUSALS_H
#define QUIRECTL_REFUSALS_H

struct refusal {
    const char *counter;
    const char *text;   /* what was refused: "18 …" */
    const char *advice; /* what to do */
};
extern const struct refusal refusals[];
extern const unsigned n_refusals;

#endif
