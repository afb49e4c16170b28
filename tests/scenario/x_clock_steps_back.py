"""
The time of day jumps: back by a day, forward by years, back beyond the day on which the files were made. Nothing that is decided depends on it: delays and leases
end as they should, what is newer counts as newer, and what was deleted stays deleted.
"""
import re
import struct
import subprocess
import time

from lib_disk import DiskDaemon, read, until_there
from lib_story import BIN, SLOW, TESTS, Actor, check, until

DAY = 24 * 3600
BLOCKS = 60


def jump(seconds):
    with open(f"{daemon.folder}/clock", "r+b") as file:
        file.write(struct.pack("<q", seconds))


def begin_clock(folder):
    with open(f"{folder}/clock", "wb") as file:
        file.write(struct.pack("<q", 0))


def preloaded():
    """A sanitizer's libraries want to come first, and then find the clock behind them."""
    libraries = subprocess.run(["ldd", str(BIN / "quired")], capture_output=True, text=True, check=True).stdout.split()
    return ":".join([path for path in libraries if re.search(r"/lib[a-z]+san\.so", path)] + [str((TESTS / "wall_clock.so").resolve())])


class JumpingDaemon(DiskDaemon):
    def start(self, wait=True):
        self.env = {"LD_PRELOAD": preloaded(), "STORY_WALL_CLOCK": f"{self.folder}/clock"}
        super().start(wait)


def said_at():
    """The day of the last line in the log: that the clock has jumped at all."""
    daemon.ctl("config", "reload")
    return daemon.log().splitlines()[-1][:10]


daemon = JumpingDaemon(prepare=begin_clock, yaml="pager:\n  lease_ms: 3s\n")
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS} unknown")
daemon.until_written()
today = said_at()
days = {today}
for number, offset in enumerate((-DAY, 900 * DAY, -20000 * DAY, 5)):
    jump(offset)
    days.add(said_at())
    # Stored and deleted under this time; then, with the next, stored anew. What waits for its time is written.
    first = 1000 * number
    worker.ask(f"store {1000 + first} {BLOCKS} unknown")
    check(worker.ask(f"delete {first} 20") == [",".join(["OK"] * 20)], "blocks cannot be deleted")
    daemon.until_written()
    # A lease that was given before the jump ends when its time is over, not sooner, not never.
    check(worker.ask(f"lookup 0 {1000 + first} 10")[0] == "10", "what was just stored is not there")
    jump(offset + DAY)
    check(worker.ask("fetch 0") == ["10"], "a lease ended with the time of day")
    jump(offset)
    until(lambda: daemon.counters()["quire_leases_expired_total"] == 1, 30, "a lease did not end when its time was over")
    worker.ask("fetch 0", fails="STALE")
    worker.ask("release 0")
    # A delay of the disk is as long as it is told, and a fetch waits no longer than its deadline.
    daemon.forget_memory()
    daemon.rehearse("read:delay=200ms")
    begin = time.monotonic()
    check(len(read(worker, 1000 + first, 2)) == 2 and 0.4 <= time.monotonic() - begin < 4 * SLOW, "the disk's delay depends on the time of day")
    daemon.rehearse()
    daemon.restart()
    until_there(worker, first, 1)
    there = read(worker, first, BLOCKS)
    check(there == set(range(first + 20, first + BLOCKS)), f"offset {offset}: of blocks {first} to {first + BLOCKS - 1} there are {sorted(there)}")
    worker.ask(f"store {first} 20 unknown")
    daemon.until_written()
    daemon.restart()
    until_there(worker, first, 1)
    check(len(read(worker, first, BLOCKS)) == BLOCKS, f"offset {offset}: blocks that were stored after they had been deleted are gone")
check(len(days) >= 4, f"the log was written on {days}: the clock did not jump")
daemon.stop()
