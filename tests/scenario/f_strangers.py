"""Frames from strangers: garbage, truncation, lies about length, another version, silence. Each is refused and counted; nobody else notices."""
import random
import socket
import struct
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
for major in (0, 2, 255):
    s = connect()
    s.sendall(struct.pack("<IBBHIIQQII", 0x52495551, major, 0, 2, 0, 0, 0, 1, 0, 0))
    check(closed(s), f"major version {major} was accepted")
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
