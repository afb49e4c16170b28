"""
One of two drives hangs: it does not fail, it does not answer. The other one goes on, the operator is told, and after its time the drive is given up: whoever waits
for it is told, deletions go through, and the daemon stops and starts in time.
"""
import ctypes
import os
import subprocess
import sys
import time

from lib_disk import DiskDaemon, read, until_there
from lib_story import SLOW, Actor, check, leave_out, until

BLOCKS = 20
LIMIT_SECONDS = 8  # longer than a drive that is well takes on a busy machine
CLONE_NEWNS = 0x20000
HANGS = ("read:delay=10min,file=1", "write:delay=10min,file=1", "sync:delay=10min,file=1")

daemon = DiskDaemon()
without = daemon.base


def give_up_after(limit, *rules):
    daemon.base = without + f"  stall_warn_ms: 2s\n  stall_limit_ms: {limit}\n"
    daemon.rehearse(*rules)


give_up_after("1h")
worker = Actor(daemon)
reader = Actor(daemon)
deleter = Actor(daemon)


def lies_where():
    """The file from which each block is read."""
    where = []
    daemon.forget_memory()
    for block in range(BLOCKS):
        before = daemon.file(1)["reads"]
        check(read(worker, block, 1) == {block}, f"block {block} is not there")
        where.append(int(daemon.file(1)["reads"] > before))
    daemon.forget_memory()
    return where


for first in range(0, BLOCKS, 2):
    worker.ask(f"store {first} 2 unknown")
    daemon.until_written()
where = lies_where()
near = [block for block in range(BLOCKS) if where[block] == 0]
far = [block for block in range(BLOCKS) if where[block] == 1]
check(len(near) >= 4 and len(far) >= 4, f"the files are not used evenly: {where}")

# It hangs. Somebody waits for what is there; what lies on the other drive is read, and what is stored goes there.
daemon.rehearse(*HANGS)
began = time.monotonic()
check(reader.ask(f"read {far[0]} 1") == ["TIMEOUT"], "a drive that hangs answers")
for block in near[:-1]:
    check(read(worker, block, 1) == {block}, f"block {block} of the drive that works is not there")
for first in range(100, 200, 10):
    worker.ask(f"store {first} 10 unknown")
until(lambda: daemon.disk()["dirty_records"] == 0, 10, "what is stored does not reach the drive that works")
check(daemon.file(1)["in_use"], "others waited until the drive was given up")

# The operator sees it.
daemon.until_told("file 1 of the disk tier has not answered for")
check("stalled" in daemon.ctl("status", parse=False)[1], "quirectl status does not show it")
check(daemon.file(1)["stalled"] and daemon.file(1)["stalls"] >= 1, f"what stalls: {daemon.disk()['files']}")
code, said = daemon.ctl("doctor", check_exit=False, parse=False)
check("is stalled: the drive does not answer" in said, f"quirectl doctor does not tell:\n{said}")

# It has hung longer than anybody will wait from now on, and is given up: everybody who waits is told.
time.sleep(max(0, began + LIMIT_SECONDS + 3 - time.monotonic()))
reader.say(f"read {far[1]} 1")
deleter.say(f"delete {far[2]} 1")
until(lambda: daemon.disk()["reading_bytes"] > 0, 10, "nothing is read")
give_up_after(f"{LIMIT_SECONDS}s", *HANGS)
until(lambda: not daemon.file(1)["in_use"], 10, "the drive is not given up")
said = reader.hear()
check(said == ["ok", "MISS"], f"whoever waited for the drive does not have a miss, but {said}")
said = deleter.hear()
check(said[0] == "ok", f"the deletion is not acknowledged: {said}")
check(daemon.log().count("file 1 of the disk tier is out of use: it does not answer") == 1, "it is not told once")
check(read(worker, near[-1], 1) == {near[-1]}, "the other file's blocks are gone")
worker.ask("store 300 20 unknown")
daemon.until_written()
check(len(read(worker, 300, 20)) == 20, "nothing is stored any more")

# A stop with all that still hanging.
def stop():
    daemon.process.terminate()
    check(daemon.process.wait(20 * SLOW) == 0, "the daemon did not stop in good order")


stop()
check("stop_overdue" not in daemon.log(), "the stop had to be cut short")

# Made anew at the next start, both are in use.
daemon.rules = ()
daemon.write_config(daemon.base)
daemon.start()
daemon.until_restored()
daemon.until_told("log1: made anew")
until_there(worker, 0, 1)
for first in range(400, 440, 2):
    worker.ask(f"store {first} 2 unknown")
    daemon.until_written()
stop()

# It hangs at the start: the daemon comes up with the other one.
daemon.write_config(daemon.base + "faults:\n  - \"read:delay=10min,file=1\"\n")
daemon.start()
daemon.until_restored()
check(not daemon.file(1)["in_use"] and daemon.file(0)["in_use"], f"what is in use after the start: {daemon.disk()['files']}")
until_there(worker, 0, 1)
there = read(worker, 400, 40)
check(10 <= len(there) <= 30, f"{len(there)} of 40 blocks are there, half of them lie on the drive that works")
daemon.stop()


def mount(folder):
    """A file system on an image, for this story's processes alone, which can be frozen."""
    image = f"{folder}/image"
    os.mkdir(f"{folder}/disk")
    os.mkdir(f"{folder}/frozen")
    with open(image, "wb") as file:
        file.truncate(160 << 20)
    try:
        return ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0 and all(
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
            for words in (["mount", "--make-rprivate", "/"], ["mkfs.ext4", "-q", "-F", image], ["mount", "-o", "loop", image, f"{folder}/frozen"]))
    except FileNotFoundError:
        return False


def thaw(freeze="-u"):
    return subprocess.run(["fsfreeze", freeze, f"{daemon.folder}/frozen"], stderr=subprocess.DEVNULL, check=False).returncode == 0


# No rule this time, which holds operations back before the system has them: the system itself hangs, with all that it uses up meanwhile. Its file takes nothing
# and is given up; the other one takes everything, at every moment.
allowed = []
daemon = DiskDaemon(folders=("disk", "frozen"), prepare=lambda folder: allowed.append(mount(folder)))
daemon.write_config(daemon.base + f"  stall_warn_ms: 2s\n  stall_limit_ms: {LIMIT_SECONDS}s\n")
daemon.ctl("config", "reload")
worker = Actor(daemon)
worker.ask("store 0 20")
daemon.until_written()
if not allowed[0] or not thaw("-f"):
    daemon.stop()
    leave_out("a frozen file system: none may be mounted and frozen here")
    sys.exit(0)
try:
    for first in range(100, 300, 20):  # more than the frozen one is given at once
        worker.ask(f"store {first} 20 unknown")
    daemon.until_told("file 1 of the disk tier has not answered for")
    until(lambda: not daemon.file(1)["in_use"], LIMIT_SECONDS + 10, "the frozen drive is not given up")
    for first in range(300, 500, 20):
        worker.ask(f"store {first} 20 unknown")
    daemon.until_written()
    check(daemon.file(0)["in_use"] and daemon.file(0)["stalls"] == 0, f"the drive that works was held up: {daemon.disk()['files'][0]}")
    check("file 0 of the disk tier has not answered for" not in daemon.log(), "it is told that a drive stalls which works")
    daemon.forget_memory()
    check(len(read(worker, 300, 200)) == 200, "what was stored while the other one hung is gone")
finally:
    thaw()
stop()
subprocess.run(["umount", "--lazy", f"{daemon.folder}/frozen"], check=True)
