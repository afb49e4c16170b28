"""
Two hosts share a context: on one the daemon, on the other a worker with a real model, and nothing but a cable between them. What a first worker stores
over TLS a second one fetches: KV bit-equal, tokens equal to those of a run without Quire that splits the prompt at the same place. Over UCX likewise.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

from lib_story import BIN, SLOW, check
from lib_wire import LISTEN, Cable, Host

source = pathlib.Path(os.environ.get("QUIRE_SOURCE", "."))
model = os.environ.get("QUIRE_MODEL") or subprocess.run([str(source / "deploy/deps"), "path", "model"], capture_output=True, text=True, check=False).stdout.strip()
if not os.path.exists(model):
    sys.exit(f"the model is not there ({model!r}); `deploy/deps model` fetches it")
cable = Cable()
host = Host(address=f"{cable.addresses[0]}:0", listen=LISTEN + '  ucx: "ADDRESS"\n  trusted_fabric: true\n', pool="512MiB", preexec=cable.enter(0))
ucx = "ucx://" + re.search(r"ucx: listening on (\S+)", host.log())[1]
with open("/usr/share/common-licenses/GPL-3", encoding="utf-8") as file:
    words = file.read()
with open(f"{host.folder}/text", "w", encoding="utf-8") as file:
    file.write(words[:6000])


def worker(wire, *extra):
    done = subprocess.run([str(BIN / "quire-llama"), "run", "--model", model, "--prompt-file", f"{host.folder}/text", "-n", "24", "--json",
                           "--ns", "story", "--socket", wire, *extra], capture_output=True, text=True, timeout=250 * SLOW, check=False,
                          env={**os.environ, **host.environment()}, preexec_fn=cable.enter(1))
    check(done.returncode == 0, f"quire-llama {' '.join(extra)}: {done.returncode} {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def kv(name):
    with open(f"{host.folder}/{name}", "rb") as file:
        return file.read()


first = worker(host.wire, "--dump-kv", f"{host.folder}/kv-first")
check(first["reused_tokens"] == 0 and first["stored_blocks"] > 10, f"the first stores: {first}")
alone = None
for name, wire in (("tls", host.wire), ("ucx", ucx)):
    second = worker(wire, "--dump-kv", f"{host.folder}/kv-{name}")
    reused = second["reused_tokens"]
    check(reused >= second["prompt_tokens"] - 65, f"{name}: only {reused} of {second['prompt_tokens']} tokens were reused")
    check(second["ancestry_error"] == 0, "lossless bytes have no error")
    check(len(kv("kv-first")) > 1 << 20 and kv("kv-first") == kv(f"kv-{name}"), f"{name}: KV of the reused blocks differs")
    alone = alone or worker(wire, "--no-quire", "--split", str(reused))
    check(alone["tokens"] == second["tokens"], f"{name}: other tokens than without Quire:\n{alone['text']}\n{second['text']}")
other = worker(ucx, "--ns", "story-ucx")
check(other["reused_tokens"] == 0 and other["stored_blocks"] == first["stored_blocks"], f"what is stored over UCX: {other}")
again = worker(host.wire, "--ns", "story-ucx")
check(again["reused_tokens"] == reused and again["tokens"] == second["tokens"], "is the same for who comes over TLS")
host.stop()
