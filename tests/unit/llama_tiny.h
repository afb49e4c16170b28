/*
 * Tiny models with random weights, written as GGUF in milliseconds: what a worker meets in other architectures (one KV head, sliding
 * windows, several positions a token) without downloading any. Header-only, for unit tests.
 */
#ifndef QUIRE_TESTS_LLAMA_TINY_H
#define QUIRE_TESTS_LLAMA_TINY_H

#include <ggml.h>
#include <gguf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tiny {
    const char *arch;
    int layers, heads, kv_heads, head_dim, window;
    float rope_base;
    bool post_norms, k_norms, mrope; /* mrope: also biases; only qwen2vl reads the sections */
    bool factors;                    /* each pair of RoPE slowed down by a factor of its own */
    float yarn;                      /* RoPE stretched by this much, 0: not */
    bool reads;                      /* has a vocabulary: one token a byte */
    bool recurrent;                  /* a state-space model: no KV at all */
    bool latent;                     /* multi-head latent attention: one K of latents and rotated dims, V derived from it */
};

enum { TINY_LATENTS = 48, TINY_Q_RANK = 32, TINY_ROTATED = 16, TINY_PLAIN = 16, TINY_V = 16 }; /* of latent attention */
enum { TINY_EMBD = 64, TINY_FF = 64, TINY_VOCAB = 256, TINY_TRAIN = 4096 };

static inline void tiny_u32(struct gguf_context *gguf, const char *arch, const char *key, uint32_t value) {
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", arch, key);
    gguf_set_val_u32(gguf, name, value);
}

static inline void tiny_f32(struct gguf_context *gguf, const char *arch, const char *key, float value) {
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", arch, key);
    gguf_set_val_f32(gguf, name, value);
}

/* ne1 = 0: a vector, ne2 = 0: a matrix. Around one (a norm) when `norm`, else around zero. */
static inline void tiny_tensor_3d(struct gguf_context *gguf, struct ggml_context *ctx, uint64_t *seed, bool norm, int64_t ne0, int64_t ne1,
                                  int64_t ne2, const char *name) {
    struct ggml_tensor *tensor = ne2 > 0   ? ggml_new_tensor_3d(ctx, GGML_TYPE_F32, ne0, ne1, ne2)
                                 : ne1 > 0 ? ggml_new_tensor_2d(ctx, GGML_TYPE_F32, ne0, ne1)
                                           : ggml_new_tensor_1d(ctx, GGML_TYPE_F32, ne0);
    float *data = tensor->data;
    ggml_set_name(tensor, name);
    for (int64_t i = 0; i < ggml_nelements(tensor); i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        const float unit = (float)(int32_t)(*seed >> 33) / 1073741824.0f - 1.0f;
        data[i] = norm ? 1.0f + 0.1f * unit : 0.2f * unit;
    }
    gguf_add_tensor(gguf, tensor);
}

static inline void tiny_tensor(struct gguf_context *gguf, struct ggml_context *ctx, uint64_t *seed, bool norm, int64_t ne0, int64_t ne1,
                               const char *name) {
    tiny_tensor_3d(gguf, ctx, seed, norm, ne0, ne1, 0, name);
}

static inline void tiny_latent_attention(const struct tiny *tiny, struct gguf_context *gguf, struct ggml_context *ctx, uint64_t *seed,
                                         int layer) {
    char name[64];
#define TINY_ADD(norm, ne0, ne1, ne2, suffix)                                                                                              \
    (snprintf(name, sizeof(name), "blk.%d.%s", layer, suffix), tiny_tensor_3d(gguf, ctx, seed, norm, ne0, ne1, ne2, name))
    TINY_ADD(true, TINY_Q_RANK, 0, 0, "attn_q_a_norm.weight");
    TINY_ADD(true, TINY_LATENTS, 0, 0, "attn_kv_a_norm.weight");
    TINY_ADD(false, TINY_EMBD, TINY_Q_RANK, 0, "attn_q_a.weight");
    TINY_ADD(false, TINY_Q_RANK, tiny->heads * (TINY_PLAIN + TINY_ROTATED), 0, "attn_q_b.weight");
    TINY_ADD(false, TINY_EMBD, TINY_LATENTS + TINY_ROTATED, 0, "attn_kv_a_mqa.weight");
    TINY_ADD(false, TINY_PLAIN, TINY_LATENTS, tiny->heads, "attn_k_b.weight");
    TINY_ADD(false, TINY_LATENTS, TINY_V, tiny->heads, "attn_v_b.weight");
    TINY_ADD(false, tiny->heads * TINY_V, TINY_EMBD, 0, "attn_output.weight");
#undef TINY_ADD
}

enum { TINY_INNER = 2 * TINY_EMBD, TINY_STATE = 8, TINY_STEP = 4, TINY_CONV = 4 }; /* of a state-space model */

static inline void tiny_recurrent_layer(struct gguf_context *gguf, struct ggml_context *ctx, uint64_t *seed, int layer) {
    static const struct {
        const char *suffix;
        int ne0, ne1;
    } tensors[] = {{"attn_norm.weight", TINY_EMBD, 0},
                   {"ssm_in.weight", TINY_EMBD, 2 * TINY_INNER},
                   {"ssm_conv1d.weight", TINY_CONV, TINY_INNER},
                   {"ssm_conv1d.bias", TINY_INNER, 0},
                   {"ssm_x.weight", TINY_INNER, TINY_STEP + 2 * TINY_STATE},
                   {"ssm_dt.weight", TINY_STEP, TINY_INNER},
                   {"ssm_dt.bias", TINY_INNER, 0},
                   {"ssm_a", TINY_STATE, TINY_INNER},
                   {"ssm_d", TINY_INNER, 0},
                   {"ssm_out.weight", TINY_INNER, TINY_EMBD}};
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%d.%s", layer, tensors[i].suffix);
        tiny_tensor(gguf, ctx, seed, i == 0, tensors[i].ne0, tensors[i].ne1, name);
    }
}

static inline void tiny_layer(const struct tiny *tiny, struct gguf_context *gguf, struct ggml_context *ctx, uint64_t *seed, int layer) {
    const int q = tiny->heads * tiny->head_dim, kv = tiny->kv_heads * tiny->head_dim;
    char name[64];
#define TINY_ADD(norm, ne0, ne1, suffix)                                                                                                   \
    (snprintf(name, sizeof(name), "blk.%d.%s", layer, suffix), tiny_tensor(gguf, ctx, seed, norm, ne0, ne1, name))
    TINY_ADD(true, TINY_EMBD, 0, "attn_norm.weight");
    if (tiny->latent) {
        tiny_latent_attention(tiny, gguf, ctx, seed, layer);
    } else {
        TINY_ADD(false, TINY_EMBD, q, "attn_q.weight");
        TINY_ADD(false, TINY_EMBD, kv, "attn_k.weight");
        TINY_ADD(false, TINY_EMBD, kv, "attn_v.weight");
        TINY_ADD(false, q, TINY_EMBD, "attn_output.weight");
    }
    TINY_ADD(true, TINY_EMBD, 0, "ffn_norm.weight");
    TINY_ADD(false, TINY_EMBD, TINY_FF, "ffn_gate.weight");
    TINY_ADD(false, TINY_EMBD, TINY_FF, "ffn_up.weight");
    TINY_ADD(false, TINY_FF, TINY_EMBD, "ffn_down.weight");
    if (tiny->mrope) {
        TINY_ADD(false, q, 0, "attn_q.bias");
        TINY_ADD(false, kv, 0, "attn_k.bias");
        TINY_ADD(false, kv, 0, "attn_v.bias");
    }
    if (tiny->post_norms) {
        TINY_ADD(true, TINY_EMBD, 0, "post_attention_norm.weight");
        TINY_ADD(true, TINY_EMBD, 0, "post_ffw_norm.weight");
    }
    if (tiny->k_norms) {
        TINY_ADD(true, tiny->head_dim, 0, "attn_k_norm.weight");
        TINY_ADD(true, tiny->head_dim, 0, "attn_q_norm.weight");
    }
#undef TINY_ADD
}

static inline void tiny_vocabulary(struct gguf_context *gguf) {
    static char text[TINY_VOCAB][8];
    const char *tokens[TINY_VOCAB];
    float scores[TINY_VOCAB] = {0};
    int32_t types[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++) {
        snprintf(text[i], sizeof(text[i]), "<0x%02X>", (unsigned)i & 0xff);
        tokens[i] = text[i];
        types[i] = 6; /* a byte */
    }
    gguf_set_val_str(gguf, "tokenizer.ggml.model", "llama");
    gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", tokens, TINY_VOCAB);
    gguf_set_arr_data(gguf, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores, TINY_VOCAB);
    gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types, TINY_VOCAB);
}

static inline void tiny_metadata(const struct tiny *tiny, struct gguf_context *gguf) {
    const int32_t sections[4] = {tiny->head_dim / 8, tiny->head_dim / 8, tiny->head_dim / 4, 0};
    char name[128];
    gguf_set_val_str(gguf, "general.architecture", tiny->arch);
    gguf_set_val_str(gguf, "general.name", "tiny");
    if (tiny->reads) {
        tiny_vocabulary(gguf);
    } else {
        gguf_set_val_str(gguf, "tokenizer.ggml.model", "no_vocab");
    }
    tiny_u32(gguf, tiny->arch, "vocab_size", TINY_VOCAB);
    tiny_u32(gguf, tiny->arch, "context_length", TINY_TRAIN);
    tiny_u32(gguf, tiny->arch, "embedding_length", TINY_EMBD);
    tiny_u32(gguf, tiny->arch, "block_count", (uint32_t)tiny->layers);
    tiny_u32(gguf, tiny->arch, "feed_forward_length", TINY_FF);
    tiny_u32(gguf, tiny->arch, "attention.head_count", (uint32_t)tiny->heads);
    tiny_u32(gguf, tiny->arch, "attention.head_count_kv", (uint32_t)tiny->kv_heads);
    tiny_u32(gguf, tiny->arch, "attention.key_length", tiny->latent ? TINY_LATENTS + TINY_ROTATED : (uint32_t)tiny->head_dim);
    tiny_u32(gguf, tiny->arch, "attention.value_length", tiny->latent ? TINY_LATENTS : (uint32_t)tiny->head_dim);
    tiny_u32(gguf, tiny->arch, "rope.dimension_count", tiny->latent ? TINY_ROTATED : (uint32_t)tiny->head_dim);
    if (tiny->latent) {
        tiny_u32(gguf, tiny->arch, "attention.key_length_mla", TINY_PLAIN + TINY_ROTATED);
        tiny_u32(gguf, tiny->arch, "attention.value_length_mla", TINY_V);
        tiny_u32(gguf, tiny->arch, "attention.q_lora_rank", TINY_Q_RANK);
        tiny_u32(gguf, tiny->arch, "attention.kv_lora_rank", TINY_LATENTS);
        tiny_u32(gguf, tiny->arch, "leading_dense_block_count", (uint32_t)tiny->layers);
        tiny_u32(gguf, tiny->arch, "expert_feed_forward_length", TINY_FF);
        tiny_u32(gguf, tiny->arch, "expert_shared_count", 0);
    }
    tiny_f32(gguf, tiny->arch, "attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_f32(gguf, tiny->arch, "rope.freq_base", tiny->rope_base);
    if (tiny->window > 0) {
        tiny_u32(gguf, tiny->arch, "attention.sliding_window", (uint32_t)tiny->window);
    }
    if (tiny->recurrent) {
        tiny_u32(gguf, tiny->arch, "ssm.conv_kernel", TINY_CONV);
        tiny_u32(gguf, tiny->arch, "ssm.inner_size", TINY_INNER);
        tiny_u32(gguf, tiny->arch, "ssm.state_size", TINY_STATE);
        tiny_u32(gguf, tiny->arch, "ssm.time_step_rank", TINY_STEP);
    }
    if (tiny->yarn > 0) {
        snprintf(name, sizeof(name), "%s.rope.scaling.type", tiny->arch);
        gguf_set_val_str(gguf, name, "yarn");
        tiny_f32(gguf, tiny->arch, "rope.scaling.factor", tiny->yarn);
        tiny_u32(gguf, tiny->arch, "rope.scaling.original_context_length", 1024);
    }
    if (tiny->mrope) {
        snprintf(name, sizeof(name), "%s.rope.dimension_sections", tiny->arch);
        gguf_set_arr_data(gguf, name, GGUF_TYPE_INT32, sections, 4);
    }
}

/* Writes the model into a new file under /tmp and returns its path; unlink and free it. */
static inline char *tiny_write(const struct tiny *tiny) {
    char *path = strdup("/tmp/quire-tiny-XXXXXX.gguf");
    const int fd = mkstemps(path, 5);
    if (fd < 0) {
        abort();
    }
    close(fd);
    uint64_t seed = 20251122;
    struct gguf_context *gguf = gguf_init_empty();
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 64u << 20});
    tiny_metadata(tiny, gguf);
    tiny_tensor(gguf, ctx, &seed, false, TINY_EMBD, TINY_VOCAB, "token_embd.weight");
    tiny_tensor(gguf, ctx, &seed, true, TINY_EMBD, 0, "output_norm.weight");
    if (tiny->factors) { /* around one, so each pair has its own */
        tiny_tensor(gguf, ctx, &seed, true, tiny->head_dim / 2, 0, "rope_freqs.weight");
    }
    for (int l = 0; l < tiny->layers; l++) {
        if (tiny->recurrent) {
            tiny_recurrent_layer(gguf, ctx, &seed, l);
        } else {
            tiny_layer(tiny, gguf, ctx, &seed, l);
        }
    }
    if (!gguf_write_to_file(gguf, path, false)) {
        abort();
    }
    gguf_free(gguf);
    ggml_free(ctx);
    return path;
}

#endif
