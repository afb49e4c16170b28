"""The cable is pulled in the middle of fetches and stores: every call ends with a status by its deadline, the daemon notices within its bound and gives
back what the lost session held, and when the cable is back the same client goes on, with right bytes."""
from lib_story import Actor, check, until
from lib_wire import Cable, Guest, Host

cable = Cable()
host = Host(address=f"{cable.addresses[0]}:0", preexec=cable.enter(0))
local = Actor(host)
guests = [Guest(host, preexec=cable.enter(1)) for _ in range(3)]
for index, guest in enumerate(guests):
    guest.ask(f"store {1000 * index} 100")
    guest.ask(f"lookup 0 {1000 * index} 100")
guests[2].ask("fetch 0")


def sessions():
    return len(host.ctl("session", "list")[1]["sessions"])


before = sessions()
for guest in guests[:2]:
    guest.say("hammer 20000 0 200")
    check(guest.hear() == ["started"], "hammering")
cable.plug("down")
local.ask("store 5000 10")
check(local.ask("lookup 0 5000 10")[0] == "10", "who is local is undisturbed")
local.ask("release 0")
until(lambda: sessions() <= before - 3, 30, "the daemon notices that they are gone")
guests[2].ask("fetch 0", fails="DISCONNECTED|TIMEOUT")
leased = sum(tier["leased_bytes"] for tier in host.status()["tiers"])
check(leased == 0, f"{leased} bytes are still leased to nobody")
cable.plug("up")
for guest in guests[:2]:
    words = guest.hear()
    check(words[0] == "ok" and words[1] != "0", f"a hammer that lost its cable ends, with failures and right bytes: {words}")


def back():
    guests[2].say("lookup 1 2000 100")
    return guests[2].hear()[:2] == ["ok", "100"]


until(back, 30, "the client that waited finds its blocks again")
check(guests[2].ask("fetch 1") == ["100"], "with right bytes")
cable.spoil()
dropped = cable.drops()
guests[2].ask("fetch 1")
guests[2].ask("store 7000 20")
guests[0].ask("lookup 2 7000 20")
check(guests[0].ask("fetch 2") == ["20"], "over a spoilt cable the same bytes, later")
check(cable.drops() > dropped, "packets were lost on it")
host.stop()
