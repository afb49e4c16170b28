"""As ze_cut_cable, over UCX and with blocks of 2 MiB, which wait at the sender until they have a place (rendezvous): the cable is pulled in the middle of fetches and
stores. UCX holds on to what it was given for longer than anybody waits; the calls end by their deadlines all the same, the daemon ends the sessions and
gives back what they held, who is local is undisturbed, and when the cable is back everything is found again, bit-equal."""
import json
import subprocess
import time

from lib_story import Actor, check, until
from lib_wire import FABRIC, Cable, Guest, Host, Witness, held, holds_no_more_than, nothing_under_way

LARGE = "story-large 16 8 64 64"
cable = Cable()
cable.slow("400mbit")
host = Host(address=f"{cable.addresses[0]}:0", scheme="ucx", listen=FABRIC, pool="256MiB", preexec=cable.enter(0))
listens = subprocess.run(["nsenter", "-t", str(cable.hosts[0].pid), "-n", "ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
ports = [line.split()[3] for line in listens.splitlines()]
check(any(port.startswith(cable.addresses[0]) for port in ports) and sum(port.startswith("127.0.0.1") for port in ports) <= 1,
      f"UCX's own ports are open to the cable alone; the other one is of /metrics: {ports}")
near = Witness(Actor(host), 5000, 20)
before = held(host)
fetcher, another, putter, idler, asker = [Guest(host, ns=LARGE, preexec=cable.enter(1)) for _ in range(5)]
fetcher.ask("store 0 16")
check(fetcher.ask("lookup 0 0 16")[0] == "16", "large blocks are found")
check(fetcher.ask("fetch 0") == ["16"], "and come bit-equal")
idler.ask("lookup 1 0 4")


def carried():
    return [json.loads(cable.ip(side, "-j", "-s", "link", "show", "cable"))[0]["stats64"]["tx"]["bytes"] for side in (0, 1)]


came = carried()
check(another.ask("lookup 0 0 16")[0] == "16", "by others, too")
for guest in fetcher, another:  # two, so that each has a part of a reply with UCX, and waits with the rest
    guest.say("flood 0 6")
    check(guest.hear() == ["started"], "so many fetches are under way")
putter.say("store 1000 2000")
until(lambda: all(now > then + (8 << 20) for now, then in zip(carried(), came)), 10, "blocks go both ways")
# First the daemon's way out alone: what it answers stays on its way, which TCP takes for no reason to probe, and repeats for a quarter of an hour.
cable.ip(0, "route", "add", "blackhole", cable.addresses[1])
asker.say("lookup 0 0 4")
time.sleep(0.5)
check(host.status()["daemon"]["remote_read_bytes"] > 0, "blocks are with UCX")
cable.plug("down")
cable.ip(0, "route", "delete", "blackhole", cable.addresses[1])
check(fetcher.hear()[:2] == another.hear()[:2] == ["err", "DISCONNECTED"], "the fetches end")
for guest in putter, asker:
    words = guest.hear()
    check(words[:2] in (["err", "TIMEOUT"], ["err", "DISCONNECTED"]), f"the store, and the question, end: {words}")
near.goes_on("while the cable is out")
holds_no_more_than(host, {"sessions": before["sessions"], "lent": before["lent"], "leased": 1 << 20, "descriptors": before["descriptors"]}, 40)
nothing_under_way(host)  # of a reply a part was with UCX when the session was ended, and the rest was not
near.goes_on("when the lost sessions were ended")
cable.plug("up")


def finds(guest, slot, first, count):
    guest.say(f"lookup {slot} {first} {count}")
    return guest.hear()[:2] == ["ok", str(count)]


until(lambda: finds(fetcher, 0, 0, 16), 30, "who fetched finds its blocks again")
check(fetcher.ask("fetch 0") == ["16"], "with right bytes")
putter.ask("store 9000 4")
until(lambda: finds(idler, 1, 9000, 4), 30, "who waited finds what was stored meanwhile")
check(idler.ask("fetch 1") == ["4"], "with right bytes, too")
cable.spoil()
dropped = cable.drops()
check(idler.ask("fetch 1") == ["4"], "over a spoilt cable the same bytes, later")
check(cable.drops() > dropped, "packets were lost on it")
near.end()
host.stop()
