"""What the stories with the real model share: the model, a text, and quire-llama over it."""
import json
import os
import pathlib
import subprocess
import sys

from lib_story import BIN, SLOW, check

TOKENS = 16  # that each run generates
with open("/usr/share/common-licenses/GPL-3", encoding="utf-8") as text_file:
    BOOK = text_file.read()
TEXT = BOOK[:1500]  # five blocks of 64 tokens and a bit, in one batch
LONG_TEXT = BOOK[:2800]  # nine and a bit, in two

DEPS = pathlib.Path(os.environ.get("QUIRE_SOURCE", ".")) / "deploy/deps"
MODEL = os.environ.get("QUIRE_MODEL") or subprocess.run([str(DEPS), "path", "model"], capture_output=True, text=True, check=False).stdout.strip()
if not os.path.exists(MODEL):
    sys.exit(f"the model is not there ({MODEL!r}); `deploy/deps model` fetches it")

# The engine's threads spin while they wait for each other: with one, a story runs beside others.
ENVIRONMENT = {"QUIRE_LLAMA_THREADS": "1"}


def worker(daemon, *extra, text=TEXT, wire=None, environment=None, preexec=None):
    """A worker's whole life: what `quire-llama run --json` says of it."""
    path = f"{daemon.folder}/text"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    done = subprocess.run([str(BIN / "quire-llama"), "run", "--model", MODEL, "--prompt-file", path, "-n", str(TOKENS), "--json",
                           "--socket", wire or daemon.socket, *extra], capture_output=True, text=True, timeout=250 * SLOW, check=False,
                          env={**os.environ, **ENVIRONMENT, **(environment or {})}, preexec_fn=preexec)
    check(done.returncode == 0, f"quire-llama {' '.join(extra)}: {done.returncode} {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def kv(daemon, name):
    """What a worker dumped of the KV of its blocks."""
    with open(f"{daemon.folder}/{name}", "rb") as file:
        dump = file.read()
    check(len(dump) > 1 << 20, "the dump holds the blocks' KV")
    return dump
