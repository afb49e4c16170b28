"""
Two files on two drives, and the drive of the first dies while the daemon runs: deletions, pins and new namespaces go on to last, and what the other drive holds is
served after a restart without it. When the dead drive comes back, as it was, what was deleted meanwhile does not come back with it.
"""
import os
import shutil

from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check, until

BLOCKS = 100
GONE = set(range(0, BLOCKS, 4))
FAILS = ("write:file=0,error=EIO", "sync:file=0,error=EIO", "read:file=0,error=EIO")


def begin():
    daemon = DiskDaemon(files=2, folders=["one", "two"])
    worker = Actor(daemon)
    for first in range(0, BLOCKS, 10):
        worker.ask(f"store {first} 10 unknown")
        daemon.until_written()
    check(all(os.path.exists(f"{daemon.folder}/{place}") for place in ("one/log0.meta", "two/log1.meta")), "not every file has metadata beside it")
    return daemon, worker


def answer(worker, command):
    worker.say(command)
    return worker.hear()[-1]


def goes_on(daemon, worker):
    """With one drive: each deletion is acknowledged, a pin lasts, a new namespace is written."""
    for number in sorted(GONE):
        check(answer(worker, f"delete {number} 1") in ("OK", "MISS"), f"block {number} cannot be deleted")
    check(answer(worker, "pin 50 1") != "SYSTEM", "nothing can be pinned")
    newcomer = Actor(daemon, ns="newcomer 4 2 64 16")
    newcomer.ask("store 0 5 unknown")
    daemon.until_written()
    return newcomer


def after_restart(daemon, worker, newcomer):
    daemon.until_restored()
    until_there(worker, 1, 1)
    there = read(worker, 0, BLOCKS)
    check(not there & GONE, f"deleted blocks are back: {there & GONE}")
    until_there(newcomer, 0, 1)
    check(read(newcomer, 0, 5) == set(range(5)), "the new namespace is not there")
    return there


# The drive fails and its folder goes. Then it is back as it was before it died.
daemon, worker = begin()
shutil.copytree(f"{daemon.folder}/one", f"{daemon.folder}/kept")
daemon.rehearse(*FAILS)
shutil.rmtree(f"{daemon.folder}/one")
worker.ask("store 200 30 unknown")
until(lambda: not daemon.file(0)["in_use"], 10, "the file is still in use")
newcomer = goes_on(daemon, worker)
check(daemon.disk()["meta_fails"] == 0, "the metadata cannot be written")
daemon.rehearse()
daemon.kill()
daemon.start()
there = after_restart(daemon, worker, newcomer)
check(len(there) > 20, f"only {len(there)} blocks are there: what the second drive holds is lost")
daemon.kill()
os.rename(f"{daemon.folder}/kept", f"{daemon.folder}/one")
daemon.start()
check(after_restart(daemon, worker, newcomer) == there, "the drive came back with what had been deleted, or took away what was there")
daemon.until_told("log0: made anew")
daemon.stop()

# Its folder alone is gone, under files that can still be written: nothing can be saved beside them, so it is given up.
daemon, worker = begin()
shutil.rmtree(f"{daemon.folder}/one")
newcomer = goes_on(daemon, worker)
check(not daemon.file(0)["in_use"], "the file is still in use")
daemon.kill()
daemon.start()
check(len(after_restart(daemon, worker, newcomer)) > 20, "what the second drive holds is lost")
daemon.stop()
