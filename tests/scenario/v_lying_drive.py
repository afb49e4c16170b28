"""
Drives that lie: they report writes that they tore, or did wrong, and then the power is cut. Whatever is found afterwards is right, the rest is a miss, and the
daemon starts. (What was deleted is not looked at here: a drive that loses deletions which it said were safe can only be noticed by luck.)
"""
import random

from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check

ROUNDS, BLOCKS = 6, 120
seed = random.randrange(1 << 32)
print("seed", seed, flush=True)
chance = random.Random(seed)
daemon = DiskDaemon()
worker = Actor(daemon)
found = lost = 0

for number in range(ROUNDS):
    kind = ("tear=success", "corrupt=3", "tear=success")[number % 3]
    daemon.rehearse(f"write:{kind},probability=0.3,seed={chance.randrange(1 << 30)}")
    for first in range(1000 * number, 1000 * number + BLOCKS, 10):
        worker.ask(f"store {first} 10 unknown")
        daemon.until_written()  # many writes, not a few large ones
    if number % 2 == 0:
        daemon.forget_memory()
        lost += BLOCKS - len(read(worker, 1000 * number, BLOCKS))
    daemon.restart()
    until_there(worker, 0, 1)
    for old in range(number + 1):
        there = len(read(worker, 1000 * old, BLOCKS))
        found += there
        lost += BLOCKS - there
print(f"{found} blocks found right, {lost} missing", flush=True)
check(found > 0, f"seed {seed}: nothing survived")
check(lost > 0, f"seed {seed}: everything survived: the drive told no lie")
daemon.stop()
