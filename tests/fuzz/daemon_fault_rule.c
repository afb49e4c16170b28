/* Any text as a rule for a fault: refused with a reason, or taken; and what was taken is printed as a text that means the same. */
#include "daemon/disk/faults.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static bool same(const struct disk_fault_rule *a, const struct disk_fault_rule *b) {
    return a->op == b->op && a->action == b->action && a->amount == b->amount && a->error == b->error && a->succeeds == b->succeeds &&
           a->file == b->file && a->begin == b->begin && a->end == b->end && a->probability_ppm == b->probability_ppm &&
           a->seed == b->seed && a->count == b->count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct disk_fault_rule rule, again;
    char why[128] = "", printed[DISK_FAULT_TEXT_BYTES];
    char *text = malloc(size + 1); /* its own piece of memory: a read beyond it is seen */
    require(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (disk_fault_parse(text, &rule, why, sizeof why) != QUIRE_OK) {
        require(why[0] != '\0');
    } else {
        require(rule.begin < rule.end && rule.probability_ppm > 0 && rule.probability_ppm <= DISK_FAULT_ALWAYS_PPM);
        disk_fault_print(&rule, printed);
        if (disk_fault_parse(printed, &again, why, sizeof why) != QUIRE_OK || !same(&rule, &again)) {
            fprintf(stderr, "%s: %s\n", printed, why);
            abort();
        }
    }
    free(text);
    return 0;
}
