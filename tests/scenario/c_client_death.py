"""Clients die with -9 at every stage; what they held is free within moments, and nobody else notices."""
import signal
import time

from lib_story import SLOW, Actor, Daemon, check, until

daemon = Daemon(pool="64MiB")
witness = Actor(daemon, name="witness")
witness.ask("store 0 50")


def held():
    sessions = daemon.ctl("session", "list")[1]
    sessions = sessions["sessions"] if isinstance(sessions, dict) else sessions
    return [s for s in sessions if s["client"] == "victim"]


def leased():
    return sum(tier["leased_bytes"] for tier in daemon.status()["tiers"])


def lent():
    return daemon.status()["daemon"]["ingest_lent_bytes"]


# Holding leases and views.
victim = Actor(daemon, name="victim")
victim.ask("lookup 0 0 50")
victim.ask("view 0")
check(leased() > 0, "the story needs a lease")
victim.kill()
until(lambda: not held() and leased() == 0, 5, "a dead client's leases are still held")

# In the middle of storing and fetching, at random moments.
for delay_ms in range(2, 62, 4):
    victim = Actor(daemon, name="victim")
    victim.say("hammer 20000 1000 400")
    check(victim.hear() == ["started"], "hammering")
    time.sleep(delay_ms / 1000)
    victim.kill()
until(lambda: not held() and leased() == 0, 5, "dead clients' leases are still held")
until(lambda: lent() == 0 or not held(), 5, "dead clients' ingest windows are still lent")

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
until(lambda: not held(), 5, "the kicked session is still listed")
check(sum(t["quarantined_bytes"] for t in daemon.status()["tiers"]) > 0, "nothing is in quarantine")
check(victim.ask("viewcheck 0")[0] == "10", "the view's bytes stood")
victim.kill()
until(lambda: sum(t["quarantined_bytes"] for t in daemon.status()["tiers"]) == 0, 5 * SLOW, "quarantine outlived the process")
witness.quit()
daemon.stop()
