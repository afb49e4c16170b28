/*
 * Runs a fuzz target without a fuzzer: over every file of its corpus, then over seeded random mutations of those files, so
 * that each build and each sanitizer sees the inputs that once mattered and some that nobody chose.
 *
 *   fuzz_<decoder> CORPUS-FOLDER [MUTATIONS-A-FILE] [SEED]
 *
 * A failure is found again with the seed that is printed first. An empty or missing corpus is a failure: a target that
 * was given nothing has shown nothing.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INPUT_BYTES_MAX (1u << 20)
#define MUTATIONS_DEFAULT 2000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static uint64_t random_state;

static uint64_t random_next(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t random_below(size_t limit) { return limit == 0 ? 0 : (size_t)(random_next() % limit); }

/* Each run gets a heap copy of exactly the input's size, so that an address sanitizer sees a read one byte past it. */
static void run_once(const uint8_t *data, size_t size_bytes) {
    uint8_t *copy = malloc(size_bytes == 0 ? 1 : size_bytes);
    if (copy == NULL) {
        abort();
    }
    if (size_bytes > 0) {
        memcpy(copy, data, size_bytes);
    }
    LLVMFuzzerTestOneInput(copy, size_bytes);
    free(copy);
}

static size_t mutate_once(uint8_t *data, size_t size_bytes, size_t capacity_bytes) {
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    switch (random_below(6)) {
    case 0: /* flip one bit */
        if (size_bytes > 0) {
            data[random_below(size_bytes)] ^= (uint8_t)(1u << random_below(8));
        }
        return size_bytes;
    case 1: /* a byte that sits at the edge of a range */
        if (size_bytes > 0) {
            data[random_below(size_bytes)] = edges[random_below(sizeof(edges))];
        }
        return size_bytes;
    case 2: /* truncate */
        return random_below(size_bytes + 1);
    case 3: /* repeat a piece at the end */
        if (size_bytes > 0 && size_bytes < capacity_bytes) {
            size_t from = random_below(size_bytes);
            size_t length = random_below(size_bytes - from) + 1;
            length = length < capacity_bytes - size_bytes ? length : capacity_bytes - size_bytes;
            memmove(data + size_bytes, data + from, length);
            return size_bytes + length;
        }
        return size_bytes;
    case 4: /* remove a piece */
        if (size_bytes > 1) {
            size_t from = random_below(size_bytes);
            size_t length = random_below(size_bytes - from) + 1;
            memmove(data + from, data + from + length, size_bytes - from - length);
            return size_bytes - length;
        }
        return size_bytes;
    default: /* random bytes over a short run */
        for (size_t at = random_below(size_bytes), left = random_below(8) + 1; at < size_bytes && left > 0; at++, left--) {
            data[at] = (uint8_t)random_next();
        }
        return size_bytes;
    }
}

static void run_mutations(const uint8_t *data, size_t size_bytes, unsigned count, uint8_t *scratch) {
    for (unsigned i = 0; i < count; i++) {
        size_t mutated_bytes = size_bytes;
        memcpy(scratch, data, size_bytes);
        for (size_t steps = random_below(4) + 1; steps > 0; steps--) {
            mutated_bytes = mutate_once(scratch, mutated_bytes, INPUT_BYTES_MAX);
        }
        run_once(scratch, mutated_bytes);
    }
}

static int run_file(const char *folder, const char *name, unsigned mutations, uint8_t *input, uint8_t *scratch) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    size_t size_bytes = fread(input, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    run_once(input, size_bytes);
    run_mutations(input, size_bytes, mutations, scratch);
    return 0;
}

static int is_input(const struct dirent *entry) { return entry->d_name[0] != '.'; }

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER [MUTATIONS-A-FILE] [SEED]\n", argv[0]);
        return 2;
    }
    unsigned mutations = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : MUTATIONS_DEFAULT;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    random_state = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    printf("seed %" PRIu64 "\n", random_state);
    fflush(stdout);

    struct dirent **names = NULL;
    int count = scandir(argv[1], &names, is_input, alphasort);
    uint8_t *input = malloc(INPUT_BYTES_MAX);
    uint8_t *scratch = malloc(INPUT_BYTES_MAX);
    int failed = count <= 0 || input == NULL || scratch == NULL;
    for (int i = 0; i < count && !failed; i++) {
        failed = run_file(argv[1], names[i]->d_name, mutations, input, scratch) != 0;
    }
    printf("%d inputs, %u mutations of each%s\n", count < 0 ? 0 : count, mutations, failed ? ": failed" : "");
    for (int i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    free(input);
    free(scratch);
    return failed;
}
