"""
The main job, with a real model on both ends: one worker prefills a long text, another process fetches it and starts at once. The KV of the reused
blocks is bit-equal to what the first computed, and the tokens equal those of a run without Quire that splits the prompt at the same place.
"""
from lib_model import BOOK, LONG_TEXT, TEXT, TOKENS, kv, worker
from lib_story import Daemon, check

daemon = Daemon(pool="512MiB")

for attention, text, blocks in (("on", LONG_TEXT, 8), ("off", TEXT, 4)):
    ns = ["--ns", f"story-{attention}", "--flash-attn", attention]
    first = worker(daemon, *ns, "--dump-kv", f"{daemon.folder}/kv1", text=text)
    check(first["reused_tokens"] == 0, f"flash attention {attention}: nothing was stored yet, but {first['reused_tokens']} tokens were reused")
    check(first["stored_blocks"] >= blocks, f"only {first['stored_blocks']} blocks were stored")
    second = worker(daemon, *ns, "--dump-kv", f"{daemon.folder}/kv2", text=text)
    reused = second["reused_tokens"]
    check(reused >= second["prompt_tokens"] - 65, f"only {reused} of {second['prompt_tokens']} tokens were reused")
    check(second["ancestry_error"] == 0, "lossless bytes have no error")
    shown = daemon.ctl("ns", "show", ns[1])[1]["namespace"]
    took, told = 1e3 * first["prefill_ms"] / first["prompt_tokens"], shown["prefill_us_per_token"]
    check(took / 50 < told < took * 50, f"a token took the first worker {took} us, and quired was told {told}")
    check(shown["prefill_reports"] > 0 and shown["prefill_seconds_saved"] > 0, f"{reused} tokens of {told} us saved nothing: {shown}")
    check(kv(daemon, "kv1") == kv(daemon, "kv2"), f"flash attention {attention}: KV of the reused blocks differs")
    alone = worker(daemon, *ns, "--no-quire", "--split", str(reused), text=text)
    check(alone["tokens"] == second["tokens"], f"flash attention {attention}: other tokens than without Quire:\n{alone['text']}\n{second['text']}")

# Flash attention on and off are one layout: what one stores the other reuses.
mixed = worker(daemon, "--ns", "story-on", "--flash-attn", "off", text=LONG_TEXT)
check(mixed["reused_tokens"] >= mixed["prompt_tokens"] - 65, "blocks stored with flash attention are not reusable without")

# A prompt that shares only its beginning reuses just that.
other = worker(daemon, "--ns", "story-on", text=BOOK[:1000] + " Something else entirely. " + BOOK[8000:9000])
check(0 < other["reused_tokens"] < other["prompt_tokens"] - 100, f"reused {other['reused_tokens']} of {other['prompt_tokens']}")

# Without a daemon a worker goes on without.
daemon.kill()
alone = worker(daemon, "--ns", "story-on", text=BOOK[:300])
check(alone["reused_tokens"] == 0 and len(alone["tokens"]) == TOKENS, "a worker without a daemon does not work")
daemon.stop()
