"""The daemon is stopped in its tracks: calls end at their deadline as misses, nothing hangs; when it goes on, so do they, and the late are counted."""
import signal
import time

from lib_story import SLOW, Actor, Daemon, check, until

daemon = Daemon()
actor = Actor(daemon)
actor.ask("store 0 5")
daemon.process.send_signal(signal.SIGSTOP)
begin = time.monotonic()
actor.ask("lookup 0 0 5", fails="TIMEOUT")
actor.ask("store 10 1", fails="TIMEOUT")
check(time.monotonic() - begin < 20 * SLOW, "calls with deadlines of two seconds did not end at them")
daemon.process.send_signal(signal.SIGCONT)
check(actor.ask("lookup 0 0 5")[0] == "5", "after the pause everything is there")
check(actor.ask("fetch 0") == ["5"], "and bit-equal")
actor.ask("release 0")
actor.ask("lookup 0 0 5 probe")  # the next request tells what came too late
until(lambda: any("misses" in name and "timeout" in name and value >= 5 for name, value in daemon.counters().items()), 5,
      "the keys whose answer came too late are not counted")
until(lambda: sum(tier["leased_bytes"] for tier in daemon.status()["tiers"]) == 0, 5, "the late answer's lease was not given back")
daemon.stop()
