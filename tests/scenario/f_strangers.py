"""Strangers: garbage, truncation, connections left at once, silence (frames that lie are in tests/unit/daemon_hostile.c). Each is refused and counted; nobody else notices."""
import random
import socket
import time

from lib_story import Actor, Daemon, check, until

daemon = Daemon()
witness = Actor(daemon)
witness.ask("store 0 10")
seed = random.randrange(1 << 32)
print("seed", seed)
rng = random.Random(seed)


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(daemon.socket)
    s.settimeout(10)
    return s


def closed(s):
    try:
        while s.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


for size in (1, 39, 40, 41, 1000, 70000):
    s = connect()
    try:
        s.sendall(rng.randbytes(size))
        s.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass
    check(closed(s), f"{size} random bytes: the connection stays open")
for _ in range(20):  # opened and left at once
    connect().close()
silent = [connect() for _ in range(30)]
check(witness.ask("lookup 0 0 10")[0] == "10", "the witness is disturbed")
check(witness.ask("fetch 0") == ["10"], "the witness gets wrong bytes")
for s in silent:
    s.close()
bad = daemon.counters()
check(any("frames_bad" in name and value > 0 for name, value in bad.items()), "bad frames are not counted")
until(lambda: len(daemon.ctl("session", "list")[1]["sessions"]) <= 2, 10, "strangers' sessions are still there")
daemon.stop()
