"""
Two hosts share a context: on one the daemon, on the other a worker with a real model, and nothing but a cable between them. What a first worker stores
over TLS a second one fetches: KV bit-equal, tokens equal to those of a run without Quire that splits the prompt at the same place. Over UCX likewise.
"""
import re

from lib_model import kv, worker
from lib_story import check
from lib_wire import LISTEN, Cable, Host

cable = Cable()
host = Host(address=f"{cable.addresses[0]}:0", listen=LISTEN + '  ucx: "ADDRESS"\n  trusted_fabric: true\n', pool="512MiB", preexec=cable.enter(0))
ucx = "ucx://" + re.search(r"ucx: listening on (\S+)", host.log())[1]


def over(wire, *extra):
    return worker(host, *extra, wire=wire, environment=host.environment(), preexec=cable.enter(1))


first = over(host.wire, "--ns", "story", "--dump-kv", f"{host.folder}/kv-first")
check(first["reused_tokens"] == 0 and first["stored_blocks"] > 3, f"the first stores: {first}")
alone = None
for name, wire in (("tls", host.wire), ("ucx", ucx)):
    second = over(wire, "--ns", "story", "--dump-kv", f"{host.folder}/kv-{name}")
    reused = second["reused_tokens"]
    check(reused >= second["prompt_tokens"] - 65, f"{name}: only {reused} of {second['prompt_tokens']} tokens were reused")
    check(second["ancestry_error"] == 0, "lossless bytes have no error")
    check(kv(host, "kv-first") == kv(host, f"kv-{name}"), f"{name}: KV of the reused blocks differs")
    alone = alone or over(wire, "--ns", "story", "--no-quire", "--split", str(reused))
    check(alone["tokens"] == second["tokens"], f"{name}: other tokens than without Quire:\n{alone['text']}\n{second['text']}")
other = over(ucx, "--ns", "story-ucx")
check(other["reused_tokens"] == 0 and other["stored_blocks"] == first["stored_blocks"], f"what is stored over UCX: {other}")
again = over(host.wire, "--ns", "story-ucx")
check(again["reused_tokens"] == reused and again["tokens"] == second["tokens"], "is the same for who comes over TLS")
host.stop()
