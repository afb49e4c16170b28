"""
Somebody lays hands on the files of the disk tier: another daemon, another version, a bad sector, a truncation, no metadata. What cannot be used is
refused with a remedy and left as it was; what can be used is, and told.
"""
import os
import struct
import subprocess

from lib_disk import DiskDaemon, SUPERBLOCK_AT, SUPERBLOCK_BYTES, is_whole, overwrite, patch, read, superblock, until_there
from lib_story import BIN, SLOW, Actor, check

BLOCKS = 100
daemon = DiskDaemon()
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS}")
daemon.until_written()

# Two daemons on one directory.
other = subprocess.run([str(BIN / "quired"), "--defaults", "--no-metrics", "--socket", f"{daemon.folder}/other.sock", "--set", "disk.segment_bytes=1MiB",
                        "--set", "disk.batch_bytes=256KiB", "--pool-size", "16MiB", *daemon.flags], capture_output=True, text=True, timeout=20 * SLOW, check=False)
check(other.returncode == 3, f"the second daemon ended with {other.returncode}: {other.stderr}")
check(f"{daemon.path(0)}: is in use by process {daemon.process.pid} already" in other.stderr, f"who holds the file is not told: {other.stderr}")
check("stop that one, or give this one files of its own" in other.stderr, f"what to do is not told: {other.stderr}")
check(daemon.process.poll() is None and len(read(worker, 0, BLOCKS)) == BLOCKS, "the first daemon has noticed the second")


def all_there(least=BLOCKS):
    daemon.until_restored()
    until_there(worker, 0, 1)
    there = read(worker, 0, BLOCKS)
    check(len(there) >= least, f"{len(there)} of {BLOCKS} blocks are there, {least} at least should be")
    return there


daemon.restart()
all_there()

# Another version: refused, and nothing is touched.
daemon.kill()
before = daemon.path(1).read_bytes()
patch(worker, daemon.path(1), 0, 4, struct.pack("<I", 7))
patch(worker, daemon.path(1), 1, 4, struct.pack("<I", 7))
changed = daemon.path(1).read_bytes()
daemon.refuses("log1: written by another version of Quire (format 7, this one reads 1)", "move the files of the set away to begin anew")
check(daemon.path(1).read_bytes() == changed, "a file of another version was written to")
daemon.path(1).write_bytes(before)
daemon.start()
all_there()

# A bad copy of the superblock, whichever of the two: the other one counts, and the bad one is written again.
for copy in (0, 1):
    daemon.kill()
    overwrite(daemon.path(0), SUPERBLOCK_AT[copy], bytes(SUPERBLOCK_BYTES))
    daemon.start()
    daemon.until_told(f"log0: one copy of its superblock was damaged, it is written again")
    check(is_whole(worker, daemon.path(0), copy), "the damaged copy is damaged still")
    all_there()
check(daemon.log().count("one copy of its superblock was damaged") == 2, "damage was told that was not there")

# Both: refused; put back, everything is there.
daemon.kill()
good = [superblock(daemon.path(0), copy) for copy in (0, 1)]
for copy in (0, 1):
    overwrite(daemon.path(0), SUPERBLOCK_AT[copy] + 50, b"rust")
daemon.refuses("log0: has content, but no superblock of Quire that is whole", "give another path, or move it away")
for copy in (0, 1):
    overwrite(daemon.path(0), SUPERBLOCK_AT[copy], good[copy])
daemon.start()
all_there()

# Without its metadata, or with a damaged one, nobody knows what was deleted: refused.
daemon.kill()
meta = daemon.meta().read_bytes()
daemon.meta().unlink()
daemon.refuses("log0.meta: No such file", "without it the files cannot be used: put it back")
for bad in (meta[:20] + bytes([meta[20] ^ 1]) + meta[21:], meta[:-9], b""):
    daemon.meta().write_bytes(bad)
    daemon.refuses("log0.meta: ", "put it back")
    check(daemon.meta().read_bytes() == bad, "damaged metadata was written over")
daemon.meta().write_bytes(meta)
daemon.start()
all_there()

# Cut short: it is made anew, because deletions that were told in the lost part would be forgotten; the other file is as good as it was. A repair leaves it as it is:
# with its length again it would be believed.
daemon.kill()
size = daemon.path(0).stat().st_size
with open(daemon.path(0), "r+b") as file:
    file.truncate((1 << 20) + (1 << 20) + (512 << 10))  # superblocks, one segment and a half
code, found = daemon.ctl("verify", "--repair", str(daemon.path(0)), str(daemon.path(1)), check_exit=False)
check(code == 1 and [finding["outcome"] for finding in found["findings"] if finding["part"] == "file"] == ["left"], f"verify --repair: {code} {found}")
daemon.start()
daemon.until_told("log0: made anew: it had been cut short")
check(daemon.path(0).stat().st_size == size, "the file has not its size again")
there = all_there(least=1)
check(len(there) < BLOCKS, "blocks of which the disk has lost the bytes are there")
worker.ask(f"store {BLOCKS} 50")
check(len(read(worker, BLOCKS, 50)) == 50, "nothing can be stored any more")

# The files of a set are told apart by what they say, not by their names.
daemon.until_written()
daemon.kill()
a, b, c = daemon.path(0), daemon.path(1), daemon.path(2)
a.rename(c), b.rename(a), c.rename(b)
daemon.meta().rename(f"{b}.meta")
daemon.start()
daemon.until_restored()
until_there(worker, 0, 1)
check(read(worker, 0, BLOCKS) == there and len(read(worker, BLOCKS, 50)) == 50, "files in another order are not what they were")

# Cut short under a running daemon, and long again later: it is out of use at once, and made anew by the next start. What was deleted does not come back.
worker.ask("store 200 50")
daemon.until_written()
check(set(worker.ask("delete 200 25")[0].split(",")) == {"OK"}, "not all was deleted")
size = daemon.path(1).stat().st_size
os.truncate(daemon.path(1), 1 << 20)  # superblocks alone
daemon.until_told("is out of use: it was cut short while in use")
check([file["in_use"] for file in daemon.disk()["files"]].count(False) == 1, "not exactly the one file is out of use")
worker.ask("store 300 50")
daemon.until_written()
os.truncate(daemon.path(1), size)
daemon.restart()
until_there(worker, 0, 1)
check("log1: made anew: it was out of use" in daemon.log(), "a file that was cut short and grew again is believed")
check(not read(worker, 200, 25), "what was deleted is there")
check(len(read(worker, 300, 50)) == 50, "what was stored on the other file is lost")
daemon.stop()
