"""
A drive that cannot read, reads wrong bits, or takes its time. What cannot be read is a miss, never a wrong byte; a file that fails too often is taken out of use;
whoever reads from memory notices nothing.
"""
import time

from lib_disk import DiskDaemon, read, until_there
from lib_story import SLOW, Actor, check, until

BLOCKS = 100
EVERY = set(range(BLOCKS))
FAILURES = 16  # within a minute; one more, and the file is out of use

daemon = DiskDaemon()
worker = Actor(daemon)


def begin_anew():
    """All blocks are on disk, half of them in either file, and none is in memory."""
    daemon.rehearse()
    worker.ask(f"delete 0 {BLOCKS}")
    for first in range(0, BLOCKS, 10):
        worker.ask(f"store {first} 10 unknown")
        daemon.until_written()
    daemon.forget_memory()


# A drive that is well.
begin_anew()
check(read(worker, 0, BLOCKS) == EVERY, "not everything comes back from the disk")
check(all(file["reads"] >= 20 for file in daemon.disk()["files"]), f"the files are not used evenly: {daemon.disk()['files']}")

# Wrong bits: found by checksums, counted, and a miss.
begin_anew()
daemon.rehearse("read:corrupt=1,file=1,count=7")
there = read(worker, 0, BLOCKS)
check(len(there) == BLOCKS - 7, f"7 reads were wrong, {len(there)} of {BLOCKS} blocks were there")
check(daemon.file(1)["corrupt"] == 7 and daemon.file(0)["corrupt"] == 0, f"7 wrong reads were counted as {daemon.disk()['files']}")
check(daemon.counters()["quire_disk_corrupt_total"] == 7, "the metrics do not count wrong reads")
check(daemon.file(1)["in_use"], "a file is out of use for wrong bits")
check(read(worker, 0, BLOCKS) == there, "a block that was damaged is there again")

# A few reads fail: misses, counted.
begin_anew()
daemon.rehearse("read:error=EIO,file=1,count=5")
there = read(worker, 0, BLOCKS)
check(len(there) == BLOCKS - 5, f"5 reads failed, {len(there)} of {BLOCKS} blocks were there")
check(daemon.file(1)["in_use"] and daemon.file(1)["read_errors"] == 5, f"5 reads failed: {daemon.file(1)}")

# It does not end: the file is taken out of use. What is only there is a miss; the other file, and memory, go on.
begin_anew()
daemon.rehearse("read:error=EIO,file=1")
there = read(worker, 0, BLOCKS)
check(not daemon.file(1)["in_use"] and daemon.file(0)["in_use"], "the file that fails is in use still")
check(daemon.file(1)["read_errors"] == FAILURES + 1, f"{daemon.file(1)['read_errors']} reads failed until it was taken out of use")
check(daemon.log().count("file 1 of the disk tier is out of use: too many reads failed: Input/output error") == 1, "it is not told once")
check("out of use" in daemon.ctl("status", parse=False)[1], "quirectl status does not show it")
check(20 <= len(there) <= BLOCKS - FAILURES, f"{len(there)} of {BLOCKS} blocks were there with one of two files")
worker.ask(f"store {BLOCKS} {BLOCKS} unknown")
daemon.forget_memory()
check(len(read(worker, BLOCKS, BLOCKS)) == BLOCKS, "what was stored afterwards is not on the other file")

# Formatted anew at the next start, so that nothing returns from it.
daemon.rehearse()
daemon.restart()
until_there(worker, 0, 1)
daemon.until_told("log1: made anew: it was out of use, or is an old copy: what it held may have been deleted since")
check(read(worker, 0, BLOCKS) == there, "other blocks are there than before the restart")
check(daemon.file(1)["in_use"], "the file is not in use again")

# A slow drive: who waits for it ends at the deadline, or gets right bytes later; who reads from memory waits for nobody.
begin_anew()
other = Actor(daemon, name="other", ns="other 4 2 64 16")
other.ask("store 5000 50")
daemon.rehearse("read:delay=600ms")
worker.say("read 0 8")
begin = time.monotonic()
for _ in range(5):
    check(len(read(other, 5000, 50)) == 50, "memory does not serve while the disk is slow")
check(time.monotonic() - begin < 4 * SLOW, "250 blocks in memory were read no faster than a few on disk")
check(worker.hear()[1] == ",".join(["OK"] * 8), "a slow drive is no reason for a miss")
check(time.monotonic() - begin > 0.6, "the disk was not slow: then nothing was tried")
daemon.rehearse("read:delay=1min")
begin = time.monotonic()
check(worker.ask("read 20 1")[0] in ("TIMEOUT", "MISS"), "a block was read from a drive that does not answer")
check(1.5 < time.monotonic() - begin < 20 * SLOW, f"a fetch with a deadline of 2 s took {time.monotonic() - begin} s")
check(len(read(other, 5000, 50)) == 50, "memory does not serve while the disk does not answer")
daemon.rehearse()
check(len(read(worker, 30, 10)) == 10, "the disk does not serve though it answers again")
daemon.stop()
