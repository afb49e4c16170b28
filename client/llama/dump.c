#include "client/llama/dump.h"

#include "client/llama/lanes.h"
#include "proto/base/base.h"
#include "proto/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct dump {
    struct engine *engine;
    FILE *file;
    struct engine_buffer state;
    struct kvblob *rows;
    uint8_t *lane;
};

static bool write_lanes(struct dump *dump, uint32_t group, uint32_t first, uint32_t n_tokens) {
    const struct model_layout *model = &dump->engine->layout;
    const quire_group *shape = &model->layout.group[group];
    const uint32_t kinds = shape->v_dim > 0 ? 2 : 1, n_lanes = kinds * model->n_layers[group];
    for (uint32_t i = 0; i < n_lanes; i++) {
        for (uint32_t head = 0; head < shape->n_kv_heads; head++) {
            const uint64_t size =
                lanes_copy_out(model, group, i / kinds, i % kinds == 1, head, dump->rows, dump->state.bytes, first, n_tokens, dump->lane);
            if (fwrite(dump->lane, 1, size, dump->file) != size) {
                return false;
            }
        }
    }
    return true;
}

static bool write_block(struct dump *dump, uint32_t block, uint32_t n_blocks) {
    const struct model_layout *model = &dump->engine->layout;
    const uint32_t n_tokens = dump->engine->block_tokens, first = block * n_tokens;
    for (uint32_t g = 0; g < model->layout.n_groups; g++) {
        const uint32_t window = quire_layout_window_blocks(&model->layout, g);
        if ((window < n_blocks && block < n_blocks - window) || !lanes_present(model, g, dump->rows, first, first + n_tokens)) {
            continue;
        }
        const uint32_t head[7] = {block,
                                  g,
                                  n_tokens,
                                  model->n_layers[g],
                                  model->layout.group[g].n_kv_heads,
                                  (uint32_t)quire_layout_lane_bytes(&model->layout, g, 0, n_tokens),
                                  (uint32_t)quire_layout_lane_bytes(&model->layout, g, 1, n_tokens)};
        if (fwrite(head, sizeof(head), 1, dump->file) != 1 || !write_lanes(dump, g, first, n_tokens)) {
            return false;
        }
    }
    return true;
}

static enum quire_status write_blocks(struct dump *dump, uint32_t n_blocks) {
    for (uint32_t block = 0; block < n_blocks; block++) {
        const uint32_t first = block * dump->engine->block_tokens;
        QUIRE_FORWARD(engine_export(dump->engine, first, first + dump->engine->block_tokens, &dump->state, dump->rows));
        if (!write_block(dump, block, n_blocks)) {
            return QUIRE_SYSTEM;
        }
    }
    return QUIRE_OK;
}

enum quire_status dump_lanes(struct engine *engine, uint32_t n_tokens, const char *path, char *why, size_t why_bytes) {
    if (engine->mode != ENGINE_LANES) {
        snprintf(why, why_bytes, "no lanes to dump: %s", engine->why);
        return QUIRE_UNSUPPORTED;
    }
    struct dump dump = {.engine = engine, .file = fopen(path, "wbe")};
    if (dump.file == NULL) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    dump.rows = malloc(sizeof(*dump.rows));
    dump.lane = malloc((size_t)QUIRE_MAX_DIM * 4 * engine->block_tokens);
    enum quire_status status =
        dump.rows != NULL && dump.lane != NULL ? write_blocks(&dump, n_tokens / engine->block_tokens) : QUIRE_NO_MEMORY;
    if (fclose(dump.file) != 0 && status == QUIRE_OK) {
        status = QUIRE_SYSTEM;
    }
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: the dump was not written", path);
    }
    free(dump.lane);
    free(dump.rows);
    engine_buffer_free(&dump.state);
    return status;
}
