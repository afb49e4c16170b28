"""
A file system without room, mounted read-only, or a kernel without memory: that says nothing about what the disk tier's file holds. It stays in use and is
read, an operator is told what to do, deletions are refused, stores go on in memory, and when there is room again everything is written by itself.
"""
import ctypes
import errno
import os
import subprocess
import sys
import time

from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check, leave_out, until

BLOCKS = 100
CLONE_NEWNS = 0x20000


def told(daemon, number, why):
    until(lambda: daemon.file(number)["refuses"], 20, f"status does not tell that file {number} takes no writes: {why}")
    check(daemon.file(number)["in_use"], f"{why}: the file was given up")
    check(f"file {number} of the disk tier takes no writes: {why}" in daemon.log(), f"'{why}' is not in the log:\n{daemon.log()}")
    check(why in daemon.ctl("status", parse=False)[1], "quirectl status does not say why")
    check(daemon.counters()[f'quire_disk_file_refuses{{path="{daemon.path(number)}"}}'] == 1, "the metrics do not show it")
    code, doctor = daemon.ctl("doctor", check_exit=False)
    findings = str([entry for entry in doctor["checks"] if entry["check"] == "disk"])
    check(code != 0 and why in findings and "make room" in findings, f"doctor does not say what to do: {findings}")


def over(daemon, number):
    until(lambda: not daemon.file(number)["refuses"], 20, "it is not tried again")
    daemon.until_told(f"file {number} of the disk tier takes writes again")
    daemon.until_written(20)


def refused(worker, block):
    """Deleting it is, at once or when the daemon has waited a few seconds for the drive: until then nobody says that it is deleted."""
    words = []

    def is_refused():
        nonlocal words
        worker.say(f"delete {block} 1")
        words = worker.hear()
        check(words[-1] not in ("OK", "MISS"), "a deletion was acknowledged that nothing keeps")
        return words == ["ok", "SYSTEM"]

    until(is_refused, 20, f"deleting is not refused: {words}")


def all_there(worker, first, count, what):
    found = read(worker, first, count)
    check(found == set(range(first, first + count)), f"{what}: {sorted(set(range(first, first + count)) - found)} are gone")


# One file, by rule. What is on disk is read while nothing can be written; and afterwards all of it is there, after a power cut, too.
for error, why in (("ENOSPC", "No space left on device"), ("EROFS", "Read-only file system"), ("ENOMEM", "Cannot allocate memory")):
    daemon = DiskDaemon(files=1)
    worker = Actor(daemon)
    worker.ask(f"store 0 {BLOCKS}")
    daemon.forget_memory()
    daemon.rehearse(f"write:error={error}")
    worker.ask(f"store {BLOCKS} {BLOCKS} unknown")
    told(daemon, 0, why)
    all_there(worker, 0, BLOCKS, f"{error}: what is on disk")
    check(daemon.disk()["dirty_records"] > 0, "where did it go?")
    check("wait to be written to disk" in daemon.ctl("evict", "--bytes", "1GiB", parse=False)[1], "evict does not say why so little gives way")
    check(daemon.disk()["clean_segments"] >= 26, f"trying uses up the log: {daemon.disk()['clean_segments']} of 32 segments are clean")
    refused(worker, BLOCKS - 1)
    daemon.rehearse()
    over(daemon, 0)
    check(daemon.log().count("takes no writes") == 1, "it was told more than once")
    daemon.restart()
    until_there(worker, 0, 1)
    check(not read(worker, BLOCKS - 1, 1), "what was deleted is back")
    all_there(worker, 0, BLOCKS - 1, f"{error}: after it was over")
    all_there(worker, BLOCKS, BLOCKS, f"{error}: after it was over")
    daemon.stop()

# Writes are taken, syncs are not, as over a quota. The next sync is tried without one more segment: what was stored long ago is not given up for that. A write
# that ends well meanwhile does not say that it is over.
daemon = DiskDaemon(files=1)
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS}")
daemon.forget_memory()
clean = daemon.disk()["clean_segments"]
daemon.rehearse("sync:error=ENOSPC")
stored = BLOCKS
for turn in range(8):
    worker.ask(f"store {stored} 20 unknown")
    stored += 20
    if turn % 3 == 0:
        refused(worker, BLOCKS - 1 - turn // 3)
    time.sleep(1)
told(daemon, 0, "No space left on device")
check(daemon.disk()["clean_segments"] >= clean - 4, f"refused syncs use up the log: {daemon.disk()['clean_segments']} of {clean} segments are clean")
check("takes writes again" not in daemon.log() and daemon.log().count("takes no writes") == 1, f"it was told more than once:\n{daemon.log()}")
daemon.rehearse()
over(daemon, 0)
daemon.restart()
until_there(worker, 0, 1)
all_there(worker, 0, BLOCKS - 3, "after syncs were taken again")
all_there(worker, BLOCKS, stored - BLOCKS, "after syncs were taken again")
check(not read(worker, BLOCKS - 3, 3), "what was deleted is back")
daemon.stop()

# One of two: the other takes all of it, and nothing waits.
daemon = DiskDaemon()
worker = Actor(daemon)
daemon.rehearse("write:error=ENOSPC,file=1")
worker.ask(f"store 0 {BLOCKS} unknown")
daemon.until_written(20)
told(daemon, 1, "No space left on device")
daemon.rehearse()


def taken_again():
    """It is tried by what there is to write: nothing shows while nothing comes, or while the other one takes it."""
    global stored
    worker.ask(f"store {stored} 10 unknown")
    stored += 10
    time.sleep(0.2)
    return not daemon.file(1)["refuses"]


stored = BLOCKS
until(taken_again, 60, "it is not tried again")
over(daemon, 1)
daemon.stop()

# A stop does not wait for room.
daemon = DiskDaemon(files=1)
worker = Actor(daemon)
daemon.rehearse("write:error=ENOSPC")
worker.ask(f"store 0 {BLOCKS} unknown")
told(daemon, 0, "No space left on device")
daemon.stop()


def mount(folder):
    """A file system of 48 MiB for this story's processes alone."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    os.mkdir(f"{folder}/disk")
    return (ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0 and subprocess.run(["mount", "--make-rprivate", "/"], **quiet).returncode == 0 and
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", f"{folder}/disk"], **quiet).returncode == 0)


# A file system that is really full, below a file whose space it does not hold ready, as those give it that cannot reserve any.
allowed = []
daemon = DiskDaemon(files=1, prepare=lambda folder: allowed.append(mount(folder)))
if not allowed[0]:
    daemon.stop()
    leave_out("a full file system: none may be mounted here")
    sys.exit(0)
worker = Actor(daemon)
worker.ask("store 0 20")
daemon.until_written()
subprocess.run(["fallocate", "--punch-hole", "--offset", "4MiB", "--length", "28MiB", daemon.path(0)], check=True)
filler = daemon.path(0).with_name("filler")
with open(filler, "wb", buffering=0) as file:
    try:
        while file.write(bytes(65536)) == 65536:
            pass
    except OSError as error:
        check(error.errno == errno.ENOSPC, f"the file system is not full: {error}")
worker.ask(f"store 20 {2 * BLOCKS} unknown")
told(daemon, 0, "No space left on device")
all_there(worker, 0, 20 + 2 * BLOCKS, "while the file system is full")
filler.unlink()
over(daemon, 0)
daemon.restart()
until_there(worker, 0, 1)
all_there(worker, 0, 20 + 2 * BLOCKS, "after there was room")
subprocess.run(["umount", "--lazy", daemon.path(0).parent], check=True)
daemon.stop()
