"""
A worker prefills a long text; the daemon is killed with -9 and started again; the next worker reuses what the disk has kept, the KV is bit-equal, and
its tokens equal those of a run without Quire that splits the prompt at the same place.
"""
from lib_model import kv, worker
from lib_story import Daemon, check, until

daemon = Daemon(pool="256MiB", flags=["--disk", "FOLDER/log0:512MiB"])
first = worker(daemon, "--dump-kv", f"{daemon.folder}/kv1")
check(first["reused_tokens"] == 0 and first["stored_blocks"] > 3, f"stored {first['stored_blocks']} blocks")
until(lambda: daemon.status()["disk"]["dirty_records"] == 0 and daemon.status()["disk"]["writing_bytes"] == 0, 20, "not everything is on disk")
daemon.kill()
daemon.start()
second = worker(daemon, "--dump-kv", f"{daemon.folder}/kv2")
reused = second["reused_tokens"]
check(reused >= second["prompt_tokens"] - 65, f"only {reused} of {second['prompt_tokens']} tokens were reused after the crash")
check(kv(daemon, "kv1") == kv(daemon, "kv2"), "KV of the reused blocks differs")
alone = worker(daemon, "--no-quire", "--split", str(reused))
check(alone["tokens"] == second["tokens"], f"other tokens than without Quire:\n{alone['text']}\n{second['text']}")
daemon.stop()
