"""
A file of the disk tier is gone for a while: unmounted at a start, or out of use because it failed. What was deleted meanwhile does not come back with it: it is made
anew. The rest goes on.
"""
import os

from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check, until

BLOCKS = 100
GONE = set(range(0, BLOCKS, 3))


def delete(worker, numbers, answers=("OK", "MISS")):
    for number in numbers:
        status = worker.ask(f"delete {number} 1")[0]
        check(status in answers, f"deleting block {number} ended with {status}")


def begin():
    daemon = DiskDaemon()
    worker = Actor(daemon)
    for first in range(0, BLOCKS, 10):
        worker.ask(f"store {first} 10 unknown")
        daemon.until_written()
    return daemon, worker


# Unmounted at the start.
daemon, worker = begin()
daemon.kill()
away = daemon.path(1).rename(f"{daemon.folder}/away")
daemon.start()
daemon.until_restored()
until_there(worker, 0, 1)
daemon.until_told("log1: out of use, what is only there is a miss: it is missing")
check("out of use" in daemon.ctl("status", parse=False)[1], "quirectl status does not show it")
there = read(worker, 0, BLOCKS)
check(20 < len(there) < BLOCKS - 20, f"{len(there)} of {BLOCKS} blocks are there with one of two files")
delete(worker, GONE)
daemon.kill()
away.rename(daemon.path(1))
daemon.start()
daemon.until_restored()
until_there(worker, 0, 1)
daemon.until_told("log1: made anew: it was out of use")
check(read(worker, 0, BLOCKS) == there - GONE, "with the file blocks returned that were deleted, or others than were there")
check(daemon.file(1)["in_use"] and daemon.disk()["lost_segments"] == 0, "the file is not in use again")
worker.ask(f"store {BLOCKS} {BLOCKS} unknown")
daemon.until_written()
check(daemon.file(1)["writes"] > 0, "nothing is written to it")
daemon.restart()
until_there(worker, 0, 1)
check(read(worker, 0, 2 * BLOCKS) == there - GONE | set(range(BLOCKS, 2 * BLOCKS)), "after one more start something else is there")

# Both, but their metadata is there: no new set is made in their place.
daemon.kill()
for number in (0, 1):
    daemon.path(number).rename(f"{daemon.folder}/away{number}")
daemon.refuses("log0: is missing, and so is every other file of its set, but its metadata", "put the files back, or mount what they lie on")
check({path.name for path in daemon.meta().parent.iterdir()} == {"log0.meta", "log1.meta"}, "something was made")
for number in (0, 1):
    os.rename(f"{daemon.folder}/away{number}", daemon.path(number))

# The first with its metadata: nobody knows what was deleted.
away = daemon.path(0).rename(f"{daemon.folder}/away"), daemon.meta().rename(f"{daemon.folder}/away.meta")
daemon.refuses("log0.meta: No such file", "mount what it and the file beside it lie on, or put it back")
away[0].rename(daemon.path(0)), away[1].rename(daemon.meta())
daemon.start()
daemon.until_restored()
until_there(worker, 0, 1)
check(len(read(worker, 0, 2 * BLOCKS)) >= len(there - GONE) + BLOCKS, "put back, the set is not what it was")
daemon.stop()

# It fails while it is in use; killed at once after the last answer.
daemon, worker = begin()
daemon.rehearse("write:error=EIO,file=1", "sync:error=EIO,file=1")
delete(worker, GONE, ("OK", "MISS", "SYSTEM"))  # the first find out
until(lambda: not daemon.file(1)["in_use"], 10, "the file is still in use")
delete(worker, GONE)
daemon.rehearse()
daemon.restart()
until_there(worker, 0, 1)
daemon.until_told("log1: made anew: it was out of use")
check(read(worker, 0, BLOCKS) == set(range(BLOCKS)) - GONE, "blocks that memory had are gone, or deleted ones are back")
daemon.stop()

# All fail: then a deletion cannot be promised, and who asks is told so.
daemon, worker = begin()
daemon.rehearse("write:error=EIO", "sync:error=EIO")
answers = [worker.ask(f"delete {number} 1")[0] for number in sorted(GONE)]
check(not read(worker, 0, BLOCKS) & GONE, "what was deleted is there")
promised = {number for number, answer in zip(sorted(GONE), answers) if answer in ("OK", "MISS")}
daemon.rehearse()
daemon.restart()
until_there(worker, 0, 1)
check(not read(worker, 0, BLOCKS) & promised, "a deletion that was promised was not kept")
check(len(promised) < len(GONE), "deletions were promised though nothing could be written")
daemon.stop()
