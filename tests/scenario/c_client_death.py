"""Clients die with -9 at every stage; what they held is free within moments, and nobody else notices."""
import signal
import time

from lib_story import Actor, Daemon, check, until

daemon = Daemon(pool="64MiB")
witness = Actor(daemon, name="witness")
witness.ask("store 0 50 pin")


def sessions(name):
    return [session for session in daemon.ctl("session", "list")[1]["sessions"] if session["client"] == name]


def held():
    return sessions("victim")


def leased():
    return sum(tier["leased_bytes"] for tier in daemon.status()["tiers"])


def used():
    return sum(tier["used_bytes"] for tier in daemon.status()["tiers"])


def lent():
    """Ingest bytes that are lent to others than the witness."""
    status = daemon.status()
    return status["daemon"]["ingest_lent_bytes"] - sum(session["ingest_bytes"] for session in sessions("witness"))


def all_is_free(stage):
    until(lambda: not held() and leased() == 0 and lent() == 0, 10,
          f"{stage}: {len(held())} sessions, {leased()} leased bytes and {lent()} ingest bytes of the dead are still held")
    check(witness.ask("lookup 0 0 50")[0] == "50", f"{stage}: the witness's blocks are gone")
    check(witness.ask("fetch 0") == ["50"], f"{stage}: the witness is disturbed")
    witness.ask("release 0")


# Right after it connected, with and without a namespace.
for i in range(6):
    victim = Actor(daemon, name="victim", ns="story 4 2 64 16" if i % 2 else None)
    victim.kill()
    all_is_free("connected")

# Holding leases and views.
for _ in range(4):
    victim = Actor(daemon, name="victim")
    victim.ask("lookup 0 0 50")
    victim.ask("view 0")
    check(leased() > 0, "the story needs a lease")
    victim.kill()
    all_is_free("with a lease")

# While it fetches: everything it asks for is there.
for delay_ms in range(2, 42, 4):
    victim = Actor(daemon, name="victim")
    victim.say("hammer 20000 0 50")
    check(victim.hear() == ["started"], "hammering")
    time.sleep(delay_ms / 1000)
    victim.kill()
    all_is_free("while fetching")

# With half of a block, whose other half nobody will ever bring.
before = used()
victim = Actor(daemon, name="victim")
victim.ask("part 5000 7 0 2 0 2")
check(used() > before, "half a block takes room")
victim.kill()
until(lambda: used() == before, 10, "half a block of the dead still takes room")
all_is_free("with half of a block")

# While it stores: nothing that it asks for is there, so that it holds a window, and a put is under way at most moments.
windows = 0
for round_, delay_ms in enumerate(range(2, 62, 4)):
    victim = Actor(daemon, name="victim", ns="big 16 4 128 16")
    victim.say(f"hammer 20000 {10000 * (round_ + 1)} 10000")
    check(victim.hear() == ["started"], "hammering")
    time.sleep(delay_ms / 1000)
    windows += lent() > 0
    victim.kill()
    all_is_free("while storing")
check(windows > 0, "no victim ever held an ingest window: the story has shown nothing")

# Stopped (not dead) clients keep what they hold, and disturb nobody.
victim = Actor(daemon, name="victim")
victim.ask("lookup 0 0 10")
victim.process.send_signal(signal.SIGSTOP)
witness.ask("store 2000 50")
check(witness.ask("lookup 1 0 50")[0] == "50", "the witness goes on")
check(witness.ask("fetch 1") == ["50"], "with the right bytes")
check(leased() > 0, "a stopped client still holds its lease")
victim.process.send_signal(signal.SIGCONT)
check(victim.ask("fetch 0") == ["10"], "and finds its bytes as they were")

# A kicked member's bytes stay in quarantine until its process is gone.
victim.ask("view 0")
session = held()[0]["id"]
daemon.ctl("session", "kick", str(session))
until(lambda: not held(), 10, "the kicked session is still listed")
check(sum(t["quarantined_bytes"] for t in daemon.status()["tiers"]) > 0, "nothing is in quarantine")
check(victim.ask("viewcheck 0")[0] == "10", "the view's bytes stood")
victim.kill()
until(lambda: sum(t["quarantined_bytes"] for t in daemon.status()["tiers"]) == 0, 10, "quarantine outlived the process")
witness.quit()
daemon.stop()
