"""A thousand sessions come and go, then descriptors run out: the daemon neither leaks nor dies, and says what happened."""
import os
import resource
import socket

from lib_story import Actor, Daemon, check, until

daemon = Daemon(yaml="max_sessions: 64\n")


def descriptors():
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


witness = Actor(daemon)
witness.ask("store 0 10")
before = descriptors()


def sample(name):
    return sum(value for key, value in daemon.counters().items() if name in key)


# Real sessions, one after the other: half of them say goodbye, half are lost with their process.
opened = sample("sessions_opened")
crowd = Actor()
crowd.ask(f"sessions {daemon.address} 1000")
check(sample("sessions_opened") >= opened + 1000, "not every session was counted")
until(lambda: descriptors() <= before + 3, 10, "descriptors leaked by sessions")
check(sample("sessions_lost") >= 500, "lost sessions are not counted")
clients = [session["client"] for session in daemon.ctl("session", "list")[1]["sessions"]]
check("passer-by" not in clients, f"sessions are still listed: {clients}")

# Connections that never say a word.
for _ in range(1000):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(daemon.socket)
    s.close()
until(lambda: descriptors() <= before + 3, 10, "descriptors leaked by connections without a word")

# More than it may hold: refused with a reason, and the rest go on; who leaves makes room.
for _ in range(3):
    held, status = crowd.ask(f"crowd {daemon.address} 100")
    check(55 <= int(held) <= 63 and status != "OK", f"{held} of 100 sessions were let in beside the witness, the last with {status}")
    check(witness.ask("lookup 0 0 10")[0] == "10", "the witness is disturbed by a crowd")
    until(lambda: descriptors() <= before + 3, 10, "descriptors leaked by a crowd")
many = []
for _ in range(100):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(5)
    s.connect(daemon.socket)
    many.append(s)
check(witness.ask("lookup 0 0 10")[0] == "10", "the witness is disturbed at the limit")
for s in many:
    s.close()
until(lambda: descriptors() <= before + 3, 10, "descriptors leaked at the limit")
check(any("sessions_refused" in name and value > 0 for name, value in daemon.counters().items()), "refusals are not counted")
daemon.stop()

# Descriptor exhaustion: accepting stops for a while, existing sessions go on, and it recovers.
daemon = Daemon(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
witness = Actor(daemon)
witness.ask("store 0 10")
many = []
for _ in range(120):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.setblocking(False)
    try:
        s.connect(daemon.socket)
    except BlockingIOError:
        pass
    many.append(s)
check(witness.ask("lookup 0 0 10")[0] == "10", "the witness is disturbed by exhaustion")
check(witness.ask("fetch 0") == ["10"], "wrong bytes under exhaustion")
for s in many:
    s.close()
until(lambda: daemon.ctl("status", check_exit=False)[0] == 0, 10, "it does not recover from exhaustion")
late = Actor(daemon)
check(late.ask("lookup 0 0 10")[0] == "10", "a late session works")
daemon.stop()
