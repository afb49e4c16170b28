"""
A worker prefills a long text; the daemon is killed with -9 and started again; the next worker reuses what the disk has kept, the KV is bit-equal, and
its tokens equal those of a run without Quire that splits the prompt at the same place.
"""
import json
import os
import pathlib
import subprocess
import sys

from lib_story import BIN, SLOW, Daemon, check, until

source = pathlib.Path(os.environ.get("QUIRE_SOURCE", "."))
model = os.environ.get("QUIRE_MODEL") or subprocess.run([str(source / "deploy/deps"), "path", "model"], capture_output=True, text=True, check=False).stdout.strip()
if not os.path.exists(model):
    sys.exit(f"the model is not there ({model!r}); `deploy/deps model` fetches it")
daemon = Daemon(pool="256MiB", flags=["--disk", "FOLDER/log0:512MiB"])
text = f"{daemon.folder}/text"
with open("/usr/share/common-licenses/GPL-3", encoding="utf-8") as file:
    words = file.read()
with open(text, "w", encoding="utf-8") as file:
    file.write(words[:6000])


def worker(*extra):
    done = subprocess.run([str(BIN / "quire-llama"), "run", "--model", model, "--prompt-file", text, "-n", "24", "--json", "--ns", "crash",
                           "--socket", daemon.socket, *extra], capture_output=True, text=True, timeout=250 * SLOW, check=False)
    check(done.returncode == 0, f"quire-llama {' '.join(extra)}: {done.returncode} {done.stderr[-2000:]}")
    return json.loads(done.stdout)


first = worker("--dump-kv", f"{daemon.folder}/kv1")
check(first["reused_tokens"] == 0 and first["stored_blocks"] > 10, f"stored {first['stored_blocks']} blocks")
until(lambda: daemon.status()["disk"]["dirty_records"] == 0 and daemon.status()["disk"]["writing_bytes"] == 0, 20, "not everything is on disk")
daemon.kill()
daemon.start()
second = worker("--dump-kv", f"{daemon.folder}/kv2")
reused = second["reused_tokens"]
check(reused >= second["prompt_tokens"] - 65, f"only {reused} of {second['prompt_tokens']} tokens were reused after the crash")
with open(f"{daemon.folder}/kv1", "rb") as a, open(f"{daemon.folder}/kv2", "rb") as b:
    dump1, dump2 = a.read(), b.read()
check(len(dump1) > 1 << 20 and dump1 == dump2, "KV of the reused blocks differs")
alone = worker("--no-quire", "--split", str(reused))
check(alone["tokens"] == second["tokens"], f"other tokens than without Quire:\n{alone['text']}\n{second['text']}")
daemon.stop()
