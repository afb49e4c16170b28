"""Room runs out: old blocks give way, pinned and leased ones never do, and a put that cannot have room is told so with a hint."""
from lib_story import Actor, Daemon, check, until



def hint(words):
    """When the daemon says that trying again may help, in milliseconds."""
    return int(words[2].removeprefix("retry="))


# A block of this layout takes 32 KiB and a little; 8 MiB hold at most 255 of them.
daemon = Daemon(pool="8MiB")
actor = Actor(daemon)
actor.ask("store 0 400 unknown")
hits = int(actor.ask("lookup 0 0 400 each probe")[0])
check(200 < hits < 256, f"{hits} of 400 blocks fit an 8 MiB pool")
check(actor.ask("lookup 1 399 1 each")[0] == "1", "the newest is there")
hits, reasons = actor.ask("lookup 1 1 100 each")
check(reasons == ",".join(["2"] * 100), f"the oldest were evicted, and the misses say so: {reasons}")
actor.ask("release 1")

# One chain longer than the pool: its beginning is what is worth keeping, so it fills the pool and the rest is refused, not the prefix evicted.
actor.say("store 1000 400")
words = actor.hear()
check(words[:2] == ["err", "FULL"] and hint(words) > 0, f"a chain longer than the pool: {words}")
hits = int(actor.ask("lookup 0 1000 400 probe")[0])
check(200 < hits < 256, f"a prefix of {hits} blocks is there")
# Another context makes that chain give way from its leaf, so that a shorter prefix of it remains usable.
actor.ask("store 1500 100")
check(actor.ask("lookup 0 1500 100 probe")[0] == "100", "the other context is there")
shorter = int(actor.ask("lookup 0 1000 400 probe")[0])
check(hits - 115 < shorter < hits - 85, f"of {hits} blocks {shorter} remain")

# Pinned until full: the next put waits its deadline and is told FULL; nothing pinned was lost; unpinned, it works again.
pinned = 0
while pinned < 400:
    actor.say(f"store {2000 + pinned} 1 pin unknown")
    words = actor.hear()
    if words[0] != "ok":
        check(words[1] == "FULL" and hint(words) > 0, f"a full pool answers {words}")
        break
    pinned += 1
check(200 < pinned < 256, f"{pinned} blocks could be pinned")
check(actor.ask(f"lookup 0 2000 {pinned} each probe")[0] == str(pinned), "a pinned block is gone")
for first in range(2000, 2000 + pinned, 20):
    count = min(20, 2000 + pinned - first)
    check(actor.ask(f"lookup 0 {first} {count} each")[0] == str(count), "a pinned block is gone")
    check(actor.ask("fetch 0")[0] == str(count), "pinned bytes are right")
actor.ask("release 0")
actor.ask(f"unpin 2000 {pinned}")
actor.ask("store 3000 50 unknown")
check(actor.ask("lookup 0 3000 50 each probe")[0] == "50", "there is room again")

# One session cannot lease everything: its quota cuts the lookup short and says so.
actor.ask("store 4000 220 unknown")
hits, reasons = actor.ask("lookup 0 4000 220 each")
check("10" in reasons.split(","), f"no miss by quota: {reasons}")
other = Actor(daemon)
other.ask("store 5000 40 unknown")
check(other.ask("lookup 0 5000 40 each")[0] == "40", "others still store and fetch")
tier = daemon.status()["tiers"][0]
check(tier["used_bytes"] <= tier["capacity_bytes"], "used more than there is")
daemon.stop()
