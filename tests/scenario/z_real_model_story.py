"""
The main job, with a real model on both ends: one worker prefills a long text, another process fetches it and starts at once. The KV of the reused
blocks is bit-equal to what the first computed, and the tokens equal those of a run without Quire that splits the prompt at the same place.
"""
import json
import os
import pathlib
import subprocess
import sys

from lib_story import BIN, SLOW, Daemon, check

source = pathlib.Path(os.environ.get("QUIRE_SOURCE", "."))
model = os.environ.get("QUIRE_MODEL") or subprocess.run([str(source / "deploy/deps"), "path", "model"], capture_output=True, text=True, check=False).stdout.strip()
if not os.path.exists(model):
    sys.exit(f"the model is not there ({model!r}); `deploy/deps model` fetches it")
daemon = Daemon(pool="512MiB")
text = f"{daemon.folder}/text"
with open("/usr/share/common-licenses/GPL-3", encoding="utf-8") as file:
    words = file.read()
with open(text, "w", encoding="utf-8") as file:
    file.write(words[:6000])


def worker(*extra, prompt=text):
    done = subprocess.run([str(BIN / "quire-llama"), "run", "--model", model, "--prompt-file", prompt, "-n", "24", "--json",
                           "--socket", daemon.socket, *extra], capture_output=True, text=True, timeout=250 * SLOW, check=False)
    check(done.returncode == 0, f"quire-llama {' '.join(extra)}: {done.returncode} {done.stderr[-2000:]}")
    return json.loads(done.stdout)


for attention in ("on", "off"):
    ns = ["--ns", f"story-{attention}", "--flash-attn", attention]
    first = worker(*ns, "--dump-kv", f"{daemon.folder}/kv1")
    check(first["reused_tokens"] == 0, f"flash attention {attention}: nothing was stored yet, but {first['reused_tokens']} tokens were reused")
    check(first["stored_blocks"] > 10, f"only {first['stored_blocks']} blocks were stored")
    second = worker(*ns, "--dump-kv", f"{daemon.folder}/kv2")
    reused = second["reused_tokens"]
    check(reused >= second["prompt_tokens"] - 65, f"only {reused} of {second['prompt_tokens']} tokens were reused")
    check(second["ancestry_error"] == 0, "lossless bytes have no error")
    shown = daemon.ctl("ns", "show", ns[1])[1]["namespace"]
    took, told = 1e3 * first["prefill_ms"] / first["prompt_tokens"], shown["prefill_us_per_token"]
    check(took / 50 < told < took * 50, f"a token took the first worker {took} us, and quired was told {told}")
    check(shown["prefill_reports"] > 0 and shown["prefill_seconds_saved"] > 0, f"{reused} tokens of {told} us saved nothing: {shown}")
    with open(f"{daemon.folder}/kv1", "rb") as a, open(f"{daemon.folder}/kv2", "rb") as b:
        dump1, dump2 = a.read(), b.read()
    check(len(dump1) > 1 << 20, "the dump holds the blocks' KV")
    check(dump1 == dump2, f"flash attention {attention}: KV of the reused blocks differs")
    alone = worker(*ns, "--no-quire", "--split", str(reused))
    check(alone["tokens"] == second["tokens"], f"flash attention {attention}: other tokens than without Quire:\n{alone['text']}\n{second['text']}")

# Flash attention on and off are one layout: what one stores the other reuses.
mixed = worker("--ns", "story-on", "--flash-attn", "off")
check(mixed["reused_tokens"] >= mixed["prompt_tokens"] - 65, "blocks stored with flash attention are not reusable without")

# A prompt that shares only its beginning reuses just that.
with open(f"{daemon.folder}/other", "w", encoding="utf-8") as file:
    file.write(words[:3000] + " Something else entirely. " + words[8000:9000])
other = worker("--ns", "story-on", prompt=f"{daemon.folder}/other")
check(0 < other["reused_tokens"] < other["prompt_tokens"] - 100, f"reused {other['reused_tokens']} of {other['prompt_tokens']}")

# Without a daemon a worker goes on without.
daemon.kill()
alone = worker("--ns", "story-on", "--split", str(reused))
check(alone["reused_tokens"] == 0 and len(alone["tokens"]) == 24, "a worker without a daemon does not work")
daemon.stop()
