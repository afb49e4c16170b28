"""Sessions of another host break while it stores: what was under way goes again, and everything is stored once. Then the daemon dies and is there again before
anybody could miss it: its epoch tells, and no lease of before is good for anything."""
import socket
import time

from lib_story import Actor, check, until
from lib_wire import Guest, Host, settled

N = 60
BIG = "story-big 16 8 128 16"  # blocks of 1 MiB


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


host = Host(pool="256MiB", address=f"127.0.0.1:{free_port()}")
guest = Guest(host, ns=BIG)
local = Actor(host, ns=BIG)


def session_of_guest():
    found = [s["id"] for s in host.ctl("session", "list")[1]["sessions"] if s["token"] == "worker"]
    return found[0] if found else None


def answer(line):
    guest.say(line)
    return guest.hear()


def space():
    return next(ns for ns in host.ctl("ns", "list")[1]["namespaces"] if ns["name"] == "story-big")


kicks, least = 0, 0
guest.say(f"store 0 {N}")
until_s = time.monotonic() + 5
while kicks < 8 and space()["blocks"] < N and time.monotonic() < until_s:
    session, blocks = session_of_guest(), space()["blocks"]
    if session is not None and blocks > least:  # each break is another store's: one may break three connections, and no more
        least = blocks
        kicks += host.ctl("session", "kick", str(session), check_exit=False)[0] == 0
words = guest.hear()
if words[0] == "err":  # a call that began during the back-off fails at once
    check(words[1] == "DISCONNECTED" and "under way" not in " ".join(words), f"what was under way goes again: {words}")
    until(lambda: answer(f"store 0 {N}") == ["ok", str(N)], 20, "it is stored when it is asked for again")
check(kicks > 0, "nobody was sent away")
print(f"{kicks} sessions were ended", flush=True)
check(local.ask(f"lookup 0 0 {N}")[0] == str(N), "all of it is there")
check(local.ask("fetch 0") == [str(N)], "with right bytes")
local.ask("release 0")
check(space()["blocks"] == N and space()["stores"] == N, f"each block is stored and counted once: {space()}")
check(space()["pinned_blocks"] == 0, "nothing is pinned")

# Ranks store parts of one block. One loses its connection and stores its part again, as it was: it is one block, and it comes out whole.
check(local.ask("part 900 99 0 16 4 2") == [] and guest.ask("part 900 99 0 16 0 4") == [], "two ranks of three")
host.ctl("session", "kick", str(session_of_guest()))
until(lambda: answer("part 900 99 0 16 0 4")[0] == "ok", 20, "what it had brought is there once")
check(local.ask("lookup 0 900 1 each")[0] == "0", "nothing is seen of it yet")
check(local.ask("part 900 99 0 16 6 2") == [], "the third")
check(local.ask("lookup 0 900 1 each")[0] == "1" and local.ask("fetch 0") == ["1"], "with right bytes")
local.ask("release 0")
check(host.counters()["quire_puts_repeated_total"] > 0, "it was repeated")

# Dead, and there again at once.
until(lambda: answer(f"lookup 1 0 {N}")[:2] == ["ok", str(N)], 20, "a lease; whose session was ended last finds out by its next call")
before = guest.ask("info")[0]
check(str(host.status()["daemon"]["epoch"]) == before, "status tells the epoch")
check(f"epoch {int(before):016x}" in host.ctl("status", parse=False)[1], "to people, too")
host.kill()
begin = time.monotonic()
host.start(wait=False)
guest.ask("fetch 1", fails="STALE|MISS|DISCONNECTED")

until(lambda: answer("lookup 2 0 1")[:2] == ["ok", "0"], 20, "it finds a daemon that has forgotten everything")
print(f"after {time.monotonic() - begin:.2f} s", flush=True)
after = guest.ask("info")
check(after[0] != before, "another epoch")
guest.ask("fetch 1", fails="STALE|MISS")
guest.ask("release 1")
guest.ask(f"store 0 {N}")
check(guest.ask(f"lookup 3 0 {N}")[0] == str(N) and guest.ask("fetch 3") == [str(N)], "and goes on there")
for actor in (guest, local):
    actor.quit()
settled(host)
host.stop()
