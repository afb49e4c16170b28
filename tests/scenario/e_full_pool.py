"""Room runs out: old blocks give way, pinned and leased ones never do, and a put that cannot have room is told so with a hint."""
from lib_story import Actor, Daemon, check, until

# A block of this layout takes 64 KiB and a little; 8 MiB hold at most 127 of them.
daemon = Daemon(pool="8MiB")
actor = Actor(daemon)
actor.ask("store 0 400 unknown")
hits = int(actor.ask("lookup 0 0 400 each")[0])
check(60 < hits < 128, f"{hits} of 400 blocks fit an 8 MiB pool")
check(actor.ask("lookup 1 399 1 each")[0] == "1", "the newest is there")
hits, reasons = actor.ask("lookup 1 0 1 each")
check(reasons == "2", f"the oldest was evicted, and the miss says so: {reasons}")
actor.ask("release 0")
actor.ask("release 1")

# A chain gives way from its leaves, so a shorter prefix remains usable.
actor.ask("store 1000 200")
hits = int(actor.ask("lookup 0 1000 200")[0])
check(0 < hits < 200, f"a prefix of {hits} blocks remains")
actor.ask("release 0")

# Pinned until full: the next put waits its deadline and is told FULL; nothing pinned was lost; unpinned, it works again.
pinned = 0
while pinned < 400:
    actor.say(f"store {2000 + pinned} 1 pin unknown")
    words = actor.hear()
    if words[0] != "ok":
        check(words[1] in ("FULL", "RETRY", "TIMEOUT"), f"a full pool answers {words}")
        break
    pinned += 1
check(60 < pinned < 128, f"{pinned} blocks could be pinned")
check(actor.ask(f"lookup 0 2000 {pinned} each")[0] == str(pinned), "a pinned block is gone")
check(actor.ask("fetch 0")[0] == str(pinned), "pinned bytes are right")
actor.ask("release 0")
actor.ask(f"unpin 2000 {pinned}")
actor.ask("store 3000 50 unknown")
check(actor.ask("lookup 0 3000 50 each")[0] == "50", "there is room again")
actor.ask("release 0")

# One session cannot lease everything: its quota cuts the lookup short and says so.
actor.ask("store 4000 120 unknown")
hits, reasons = actor.ask("lookup 0 4000 120 each")
check("10" in reasons.split(","), f"no miss by quota: {reasons}")
other = Actor(daemon)
other.ask("store 5000 40 unknown")
check(other.ask("lookup 0 5000 40 each")[0] == "40", "others still store and fetch")
tier = daemon.status()["tiers"][0]
check(tier["used_bytes"] <= tier["capacity_bytes"], "used more than there is")
daemon.stop()
