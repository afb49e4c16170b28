"""What a cable can do to a connection, one after the other, through a proxy: it delays, stalls, is cut, reset, half-closed, spoils bytes, and repeats what
it carried before. Each time: the call ends with a status and no wrong byte, the daemon says so in its log and a counter, nothing is left held, the same
client goes on when the cable is good again, and a witness beside it was never disturbed."""
import os
import random
import socket

from lib_story import Actor, check, until
from lib_wire import Guest, Host, Proxy, Witness, held, holds_no_more_than

SEED = int(os.environ.get("QUIRE_SEED", random.randrange(1 << 30)))
print("seed", SEED)
random.seed(SEED)
BIG = "story-big 32 8 128 32"  # blocks of 4 MiB: more than the buffers on the way hold

host = Host(pool="128MiB")
witness = Witness(Guest(host), 0, 20)
local = Actor(host, ns=BIG)
proxy = Proxy(host)
local.ask("store 1000 3")
before = held(host)


def guest(ns=BIG):
    return Guest(host, ns=ns, wire=proxy.wire)


def count(name):
    return host.counters()[f"quire_{name}_total"]


def try_once(one, line):
    one.say(line)
    return one.hear()


def works_again(one, first=1000, blocks=3):
    """The same client, and what it fetches is right."""
    until(lambda: try_once(one, f"lookup 0 {first} {blocks}")[:2] == ["ok", str(blocks)], 30, "the client finds its blocks again")
    check(one.ask("fetch 0") == [str(blocks)], "with right bytes")
    one.ask("release 0")


def fails(one, line, statuses="DISCONNECTED|STALE|TIMEOUT"):
    words = try_once(one, line)
    check(words[0] == "err" and words[1] in statuses.split("|"), f"{line}: {words}")
    return " ".join(words[2:])


def is_told(counter, was, event):
    until(lambda: count(counter) > was and event in host.log(), 30, f"counted as {counter}, and logged as {event}")


def chapter(title, *guests):
    for one in guests:
        one.ask("close")
    holds_no_more_than(host, before)
    witness.goes_on(title)
    print(title, flush=True)


# Whose last word comes with the end of the connection is not lost.
lost, closed = count("sessions_lost"), count("sessions_closed")
many = Guest(host, ns=None)
check(many.ask(f"crowd {host.wire} 30") == ["30", "OK"], "so many come and go")
until(lambda: count("sessions_closed") >= closed + 30 and count("sessions_lost") == lost, 20, "each in good order")
chapter("a crowd", many)

# Slow, and far away: all as ever.
one = guest()
proxy.ask("delay 20")
one.ask("store 2000 2")
proxy.ask("pace down 65536 4")
works_again(one, 2000, 2)
proxy.ask("delay 0")
proxy.ask("go")
chapter("a slow cable", one)

# Nothing comes any more, in the middle of a block: the call ends at its deadline. When the cable is good again, so are both the client that waited and one that comes.
one = guest()
one.ask("lookup 0 1000 3")
proxy.after("down", 300_000, "stall both")
fails(one, "fetch 0")
check(proxy.happened(), "it was in the middle")
witness.goes_on("a cable that stalls")
proxy.ask("go")
two = guest()
works_again(two)
works_again(one)
chapter("a stall in the middle of a fetch", one, two)

# For good, while the clients die behind it: nobody tells the daemon, who notices that its replies are not taken and that a request is not completed.
other = Proxy(host)
reader, writer = guest(), Guest(host, ns=BIG, wire=other.wire)
reader.ask("lookup 0 1000 3")
check(held(host)["leased"] > before["leased"], "it has a lease")
ended, broken = count("sessions_kicked") + count("sessions_lost"), count("remote_broken")
proxy.after("down", 300_000, "stall both")
reader.say("fetch 0")
until(proxy.happened, 30, "it stalls in the middle of the fetch")
other.after("up", 300_000, "stall both")
writer.say("store 2100 1")
until(other.happened, 30, "and in the middle of a store")
reader.kill()
writer.kill()
until(lambda: count("sessions_kicked") + count("sessions_lost") >= ended + 2, 40, "the daemon ends both")
check("session_lost" in host.log() or "does not take its replies" in host.log(), "says what became of the reader")
check(count("remote_broken") == broken + 1 and "not completed in time" in host.log(), "and of the writer")
for cable in (proxy, other):
    cable.ask("cut")
    cable.ask("go")
chapter("a half-open connection")

# Half-closed. The daemon sees an end and ends the session; or the client does, and makes another connection.
for direction in ("up", "down"):
    one = guest()
    lost = count("sessions_lost")
    one.ask("lookup 0 1000 3")
    proxy.after("down", 300_000, f"finish {direction}")
    words = try_once(one, "fetch 0")
    check(proxy.happened() and (words[0] == "ok" or words[1] in ("DISCONNECTED", "STALE", "TIMEOUT")), f"half-closed {direction}: {words}")
    until(lambda: count("sessions_lost") > lost, 30, "the daemon notices the end")
    is_told("sessions_lost", lost, "session_lost")
    works_again(one)
    chapter(f"half-closed {direction}", one)

# Reset in the middle of a fetch.
one = guest()
lost = count("sessions_lost")
one.ask("lookup 0 1000 3")
proxy.after("down", 300_000, "reset")
fails(one, "fetch 0", "DISCONNECTED|STALE")
is_told("sessions_lost", lost, "session_lost")
works_again(one)
chapter("reset in the middle of a fetch", one)


def blocks():
    return sum(ns["blocks"] for ns in host.ctl("ns", "list")[1]["namespaces"])


# In the middle of a store, and between the store and its answer: it is said once more, and stored once.
for action, number in (("up", 2200), ("down", 2201)):
    one = guest()
    one.ask(f"store {number + 10} 1")  # it has a window from then on
    had = blocks()
    if action == "up":
        proxy.after("up", 300_000, "reset")
    else:
        proxy.ask("stall down")
    one.say(f"store {number} 1")
    if action == "down":
        until(lambda: local.ask(f"lookup 1 {number} 1")[0] == "1", 30, "it is stored")
        local.ask("release 1")
        proxy.ask("reset")
        proxy.ask("go")
    words = one.hear()
    check(words[0] == "ok" or words[1] == "DISCONNECTED", f"{words}")
    until(lambda: try_once(one, f"store {number} 1")[0] == "ok", 30, "said once more it is stored")
    check(blocks() == had + 1, "once")
    works_again(one, number, 1)
    chapter(f"reset in a store ({action})", one)

# Cut after so many bytes, wherever that is in handshake, greeting or request.
one = Guest(host, ns=None)
for direction in ("up", "down"):
    for size in sorted(random.choices(range(1, 4000), k=8)):
        proxy.after(direction, size, random.choice(("cut", "reset")))
        words = try_once(one, f"open {proxy.wire}")
        check(words[0] == "ok" or words[1] == "DISCONNECTED", f"cut after {size} bytes {direction}: {words}")
        if words[0] == "ok":
            one.ask("close")
        proxy.ask("go")
chapter("cut in handshakes")

# Spoiled bytes are noticed by whom they reach: never a wrong byte, an end that says why, and the daemon counts it: as broken what reached itself, as broken or
# lost where the client hung up. A length that was spoiled waits for more bytes first, so there are more; a store that finds the end is said again by libquire.
one = guest()
for number, direction in enumerate(("up", "down") * 3):
    broken, ended = count("remote_broken"), count("sessions_lost") + count("remote_broken")
    proxy.ask(f"flip {direction} {random.randrange(200)} {random.choice((1, 1, 5, 200))} {random.randrange(1 << 30)}")
    failed = []
    for line in ("lookup 0 1000 3", "fetch 0" if direction == "down" else f"store {2300 + number} 1", "fetch 0", "fetch 0"):
        words = try_once(one, line)
        failed += words[1:2] if words[0] == "err" else []
        if failed and failed[-1] != "TIMEOUT":
            break
    check(failed and set(failed) <= {"DISCONNECTED", "STALE", "TIMEOUT"}, f"spoiled {direction}: {failed}")
    until(lambda: count("sessions_lost") + count("remote_broken") > ended, 30, "the daemon counts it")
    if direction == "up":
        is_told("remote_broken", broken, "remote_broken")
    works_again(one)
chapter("spoiled bytes", one)

# What was overheard, said again: it is of no use.
proxy.ask(f"record up {host.folder}/overheard")
one = guest()
works_again(one)
proxy.ask("record up -")
refused = count("remote_refused")
with open(f"{host.folder}/overheard", "rb") as file, socket.create_connection(("127.0.0.1", int(host.wires[0].split(":")[1]))) as stranger:
    stranger.sendall(file.read())
    stranger.settimeout(100)
    try:
        while stranger.recv(4096):
            pass
    except ConnectionResetError:
        pass
is_told("remote_refused", refused, "remote_refused")
check(len([peer for peer in host.ctl("session", "list")[1]["sessions"] if peer.get("token")]) == 2, "it became no session")
chapter("what was overheard", one)

# One byte now and then: a handshake has its bound, however busy it looks.
refused = count("remote_refused")
proxy.ask("pace up 1 200")
one = Guest(host, ns=None)
fails(one, f"open {proxy.wire}", "DISCONNECTED|TIMEOUT")
is_told("remote_refused", refused, "no handshake in time")
proxy.ask("go")
chapter("one byte at a time")

witness.end()
host.stop()
