"""
Blocks are deleted, and the power is cut. The header of the segment that was being filled, where the deletions stand, is damaged: first as it is used for the first time,
then when it was used before and the footer of that life still lies there. What was deleted does not come back; what the other segments hold does.
"""
import os

from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check


def damage_open():
    """A bit of the header of each segment that has no footer; how many these are."""
    page = daemon.ctl("log", "dump", str(daemon.path(0)))[1]
    torn = [segment["segment"] for segment in page["segments"] if segment["state"] == "open"]
    with open(daemon.path(0), "r+b") as file:
        for segment in torn:
            at = (1 << 20) + segment * page["segment_bytes"] + 9
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
        file.flush()
        os.fsync(file.fileno())
    return len(torn)


def cut(first, count, gone):
    """Deletes, cuts the power, damages, starts: nothing of `gone` is back."""
    for block in sorted(gone):
        status = worker.ask(f"delete {block} 1")[0]
        check(status == "OK", f"deleting block {block} ended with {status}")
    daemon.kill()
    check(damage_open() == 1, "not one segment was being filled")
    daemon.start()
    daemon.until_restored()
    until_there(worker, 0, 1)
    there = read(worker, first, count)
    check(not there & gone, f"{there & gone} were deleted, and are back")
    check(there, "nothing is there")


daemon = DiskDaemon(files=1, size="16MiB")
worker = Actor(daemon)
for first in range(0, 100, 10):
    worker.ask(f"store {first} 10 unknown")
    daemon.until_written()
cut(0, 100, set(range(0, 40, 3)))

# More than the file holds, so that its segments are used again.
for first in range(1000, 2000, 10):
    worker.ask(f"store {first} 10 unknown")
    daemon.until_written()
there = sorted(read(worker, 1000, 1000))
cut(1000, 1000, set(there[:len(there) // 2:3]))
worker.quit()
daemon.stop()
