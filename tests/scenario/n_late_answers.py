"""The daemon is stopped in its tracks: calls end at their deadline as misses, nothing hangs; when it goes on, so do they, and the late are counted."""
import signal

from lib_story import Actor, Daemon, check, until

daemon = Daemon()
actor = Actor(daemon)
actor.ask("store 0 5")
daemon.process.send_signal(signal.SIGSTOP)
actor.ask("lookup 0 0 5", fails="TIMEOUT")
actor.ask("store 10 1", fails="TIMEOUT")
daemon.process.send_signal(signal.SIGCONT)
check(actor.ask("lookup 0 0 5")[0] == "5", "after the pause everything is there")
check(actor.ask("fetch 0") == ["5"], "and bit-equal")
actor.ask("release 0")
actor.ask("lookup 0 0 5")
until(lambda: any("misses" in name and "timeout" in name and value >= 5 for name, value in daemon.counters().items()), 5,
      "the keys whose answer came too late are not counted")
check(sum(tier["leased_bytes"] for tier in daemon.status()["tiers"]) < 6 * 33 * 1024, "the late answer's lease was not given back")
daemon.stop()
