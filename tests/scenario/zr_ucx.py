"""The same over UCX: two processes that share nothing but a wire. It listens only where no stranger can come from, unless the operator says that there is
none, and asks for a token in any case."""
import os
import pathlib
import socket
import struct

from lib_story import Daemon, check, until
from lib_wire import SECRETS, Guest, Host, held, holds_no_more_than, leased_bytes, nothing_under_way, prepare, share

host = Host(scheme="ucx")
writer, reader, _ = share(host)
reader.ask("store 1000 1", fails="DENIED")
check(writer.ask("delete 0 1") == ["OK"], "who may write may delete")
listed = {one["token"]: one for one in host.ctl("session", "list")[1]["sessions"] if one.get("token")}
check({"worker", "reader"} <= set(listed) and listed["worker"]["peer"].startswith("127.0.0.1:"), f"{listed}")

# Blocks of megabytes, which are fetched from where they lie and received where they belong.
large = Guest(host, ns=None)
large.ask(f"open {host.wire} large")
large.ask("ns story-large 16 8 64 64")
large.ask("store 0 8")
check(large.ask("lookup 0 0 8")[0] == "8" and large.ask("fetch 0") == ["8"], "large blocks come over the wire bit-equal")

# A wrong secret, and one that goes away without a word.
stranger = Guest(host, ns=None)
with open(f"{host.folder}/token.worker", "w", encoding="utf-8") as file:
    file.write(f"worker {SECRETS['worker'][:-1]}x\n")
stranger.ask(f"open {host.wire} stranger", fails="DENIED")
check(host.counters()["quire_tokens_refused_total"] == 1, "a wrong secret is counted")
writer.process.kill()
writer.process.wait()
check(reader.ask("lookup 2 1 299")[0] == "299", "and the others go on")

# What only looks like a connection of UCX's is refused, and nothing is left of it.
def hung_up(connection):
    try:
        while connection.recv(64):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


before = held(host)
for count in range(1, 11):
    with socket.create_connection(host.wires[0].split(":"), timeout=20) as nonsense:
        nonsense.sendall(struct.pack("<QQ", 24, 0) + bytes(24))
        check(hung_up(nonsense), "who talks nonsense is hung up on")
    until(lambda: host.counters()["quire_remote_refused_total"] >= count, 10, "it is counted")  # UCX 1.13 survives no two of them at once
check("ucx_says: " in host.log() and " UCX  ERROR " not in host.log(), "what UCX says of it is said by the daemon, which says it seldom enough")
holds_no_more_than(host, before)

# Killed in the middle of a reply, beside others who are served: what was being sent to them is free again.
def flooder():
    one = Guest(host, "reader", ns=None)
    one.ask(f"open {host.wire} large")
    one.ask("ns story-large 16 8 64 64")
    one.ask("lookup 0 0 8")
    one.say("flood 0 50")
    check(one.hear() == ["started"], "fetches are under way")
    return one


def under_way():
    return host.counters()["quire_remote_read_bytes"] > 0


large.process.kill()
large.process.wait()
until(lambda: len(host.ctl("session", "list")[1]["sessions"]) <= 3, 10, "the large one is gone")
calm = leased_bytes(host)
for _ in range(4):
    flooders = [flooder() for _ in range(3)]
    until(under_way, 10, "blocks are on their way")
    for one in flooders:
        one.process.kill()
        one.process.wait()
until(lambda: leased_bytes(host) <= calm, 15, "nothing is leased to those who are gone")
nothing_under_way(host)
host.stop()


def refused(listen, *words):
    daemon = Daemon(yaml=f"listen:\n{listen}", prepare=prepare, wait=False)
    code = daemon.process.wait(timeout=60)
    check(code == 1, f"{listen!r} starts: {code}\n{daemon.log()}")
    check(all(word in daemon.log() for word in words), f"what to do is told: {daemon.log()}")


refused("  ucx: \"0.0.0.0:0\"\n  token_file: FOLDER/tokens\n", "listen.ucx", "trusted_fabric: true", "listen.tls")
refused("  ucx: \"127.0.0.1:0\"\n", "token_file")
refused("  tls: \"127.0.0.1:0\"\n  token_file: FOLDER/tokens\n", "tls_certificate")

# Several threads carry what one address takes.
wide = Host(scheme="ucx", listen="listen:\n  ucx: \"127.0.0.1:0\"\n  ucx_loops: 3\n  token_file: FOLDER/tokens\n")
threads = [pathlib.Path(f"/proc/{wide.process.pid}/task/{task}/comm").read_text(encoding="utf-8").strip()
           for task in os.listdir(f"/proc/{wide.process.pid}/task")]
check(threads.count("quired-rail") == 3, f"{threads}")
guests = [Guest(wide) for _ in range(7)]
guests[0].ask("store 0 50")
for one in guests:
    check(one.ask("lookup 0 0 50")[0] == "50" and one.ask("fetch 0") == ["50"], "each of them is served")
wide.stop()

trusting = Host(scheme="ucx", listen="listen:\n  ucx: \"0.0.0.0:0\"\n  trusted_fabric: true\n  token_file: FOLDER/tokens\n")
trusting.wire = trusting.wire.replace("0.0.0.0", "127.0.0.1")
friend = Guest(trusting)
friend.ask("store 0 10")
check(friend.ask("lookup 0 0 10")[0] == "10" and friend.ask("fetch 0") == ["10"], "a trusted fabric is listened on")
trusting.stop()
