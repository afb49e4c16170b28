"""The daemon dies with -9 under load: clients see misses, never wrong bytes; views stay readable; everybody reconnects; the epoch differs."""
import time

from lib_story import Actor, Daemon, check, until

daemon = Daemon(pool="96MiB")
viewer = Actor(daemon, name="viewer")
viewer.ask("store 0 30")
viewer.ask("lookup 0 0 30")
viewer.ask("view 0")
epoch = viewer.ask("info")[0]

hammers = [Actor(daemon, name=f"hammer{i}") for i in range(3)]
for hammer in hammers:
    hammer.say("hammer 6000 1000 300")
    check(hammer.hear() == ["started"], "hammering")
time.sleep(1)
daemon.kill()
right, status = viewer.ask("viewcheck 0")
check(right == "30", f"only {right} of 30 views are readable after the daemon's death")
daemon.start()
for hammer in hammers:
    hits, misses, failures = (int(word) for word in hammer.hear()[1:])
    check(hits > 0 and misses > 0, f"hits {hits}, misses {misses}, failures {failures}")
    check(int(hammer.ask("info")[4]) >= 1, "no reconnect was counted")


def reconnected():
    viewer.say("lookup 1 0 1")
    return viewer.hear()[0] == "ok"


until(reconnected, 10, "the viewer does not reconnect")
check(viewer.ask("info")[0] != epoch, "the epoch did not change")
viewer.ask("fetch 0 30", fails="STALE|MISS|DISCONNECTED")
viewer.ask("release 0")
viewer.ask("store 0 30")
check(viewer.ask("lookup 0 0 30")[0] == "30", "storing works again")
check(viewer.ask("fetch 0") == ["30"], "fetching too")
for hammer in hammers:
    hammer.quit()
viewer.quit()
daemon.stop()
