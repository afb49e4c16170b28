"""A worker forks: the child opens a session of its own and reads the right bytes; the parent's leases and views are untouched."""
from lib_story import Actor, Daemon, check

daemon = Daemon()
actor = Actor(daemon)
actor.ask("store 0 12")
actor.ask("lookup 0 0 12")
actor.ask("view 0")
actor.ask("fork 0 12")
actor.ask("fork 3 4")
check(actor.ask("viewcheck 0") == ["12", "OK"], "the parent's view was disturbed by its child")
check(actor.ask("fetch 0") == ["12"], "the parent's lease was disturbed by its child")
actor.quit()
daemon.stop()
