"""
The folder of the disk tier: removed while the daemon runs, not writable at the start, on a file system that is read-only, or not mounted. The daemon goes on
with what it has, or refuses and says why and what to do.
"""
import os
import shutil
import subprocess

from lib_disk import DiskDaemon, read
from lib_story import LIBC, Actor, check, leave_out, until

BLOCKS = 100

# Removed while it runs: what is open stays open. Metadata cannot be written any more, which is told once; a new namespace lives in memory alone.
daemon = DiskDaemon(pool="12MiB")
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS}")
daemon.until_written()
shutil.rmtree(f"{daemon.folder}/disk")
daemon.forget_memory()
check(len(read(worker, 0, BLOCKS)) == BLOCKS, "what is on disk cannot be read any more")
worker.ask(f"store {BLOCKS} {BLOCKS}")
newcomer = Actor(daemon, ns="newcomer 4 2 64 16")
for i in range(5):
    newcomer.ask(f"store {1000 * i} 200")  # together more than memory holds
check(len(read(newcomer, 4000, 200)) == 200, "what was just stored is not there")
worker.ask(f"store {2 * BLOCKS} {BLOCKS}")
daemon.until_written()
daemon.forget_memory()
check(len(read(worker, 0, 3 * BLOCKS)) == 3 * BLOCKS, "a namespace that has nothing to do with it has lost blocks")
daemon.until_told("log0.meta: cannot be replaced (No such file or directory)")
check(daemon.log().count("cannot be replaced") == 1, "the same is told again and again")
newcomer.quit()
os.mkdir(f"{daemon.folder}/disk")
daemon.until_told("log0.meta: can be replaced again")
check(daemon.meta().exists(), "the metadata is not there again")
daemon.stop()

# A folder that cannot be written to: refused, with the remedy.
def nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


daemon = DiskDaemon(wait=False, prepare=lambda folder: (os.mkdir(f"{folder}/disk", 0o555), os.getuid() == 0 and os.chown(folder, 65534, 65534)),
                    preexec=nobody if os.getuid() == 0 else None)
check(daemon.process.wait(20) == 1, "it starts though nothing can be written")
check("log0: cannot be made (Permission denied): its folder must be one that user" in daemon.log(), daemon.log())
daemon.stop()

# A file system that is read-only, as many become when their drive fails: the other file goes on; with none it is refused.
NEW_MOUNTS, PRIVATE, BIND, READ_ONLY, REMOUNT = 0x20000, 1 << 18 | 1 << 14, 1 << 12, 1, 1 << 5
if subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
    leave_out("a read-only file system: no namespaces of mounts here")
    raise SystemExit(0)


def read_only(*paths):
    """For preexec: these files are on a read-only file system, for the daemon alone."""
    def mount():
        done = LIBC.unshare(NEW_MOUNTS) | LIBC.mount(b"none", b"/", None, PRIVATE, None)
        for path in paths:
            name = str(path).encode()
            done |= LIBC.mount(name, name, None, BIND, None) | LIBC.mount(None, name, None, BIND | REMOUNT | READ_ONLY, None)
        if done != 0:
            os._exit(99)
    return mount


daemon = DiskDaemon()
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS} unknown")
daemon.until_written()
daemon.kill()
daemon.preexec = read_only(daemon.path(0), daemon.path(1))
daemon.refuses("cannot be opened for reading and writing (Read-only file system)", "No other file of a set can be used", "repair its file system")
daemon.preexec = read_only(daemon.path(1))
daemon.start()
daemon.until_restored()
check(not daemon.file(1)["in_use"] and "Read-only file system" in daemon.file(1)["why"], f"the status does not tell: {daemon.file(1)}")
there = read(Actor(daemon), 0, BLOCKS)
check(0 < len(there) < BLOCKS, f"{len(there)} of {BLOCKS} blocks are there with one of two files")
daemon.stop()

# The drive of the whole set is not mounted at a start: the system's table of mount points names it, for this daemon alone. Nothing is made below the mount
# point; mounted, everything is there.
if not os.path.exists("/etc/fstab"):
    leave_out("a drive that is not mounted: no /etc/fstab here")
    raise SystemExit(0)
daemon = DiskDaemon()
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS} unknown")
daemon.until_written()
daemon.kill()
folder, table = f"{daemon.folder}/disk", f"{daemon.folder}/fstab"
os.rename(folder, f"{daemon.folder}/drive")
os.mkdir(folder)
with open(table, "w", encoding="utf-8") as file:
    file.write(f"UUID=1 / ext4 defaults 0 1\nUUID=2 {folder} ext4 defaults,nofail 0 2\n")


def system(mounted):
    """For preexec: a table of mount points that names the folder, and perhaps its drive mounted there."""
    def mount():
        done = LIBC.unshare(NEW_MOUNTS) | LIBC.mount(b"none", b"/", None, PRIVATE, None) | LIBC.mount(table.encode(), b"/etc/fstab", None, BIND, None)
        if mounted:
            done |= LIBC.mount(f"{daemon.folder}/drive".encode(), folder.encode(), None, BIND, None)
        if done != 0:
            os._exit(99)
    return mount


daemon.preexec = system(mounted=False)
daemon.refuses(f"log0: is missing, and {folder}, which /etc/fstab names, is not mounted: mount it, or give another path")
check(not os.listdir(folder), "something was made below the mount point")
daemon.preexec = system(mounted=True)
daemon.start()
daemon.until_restored()
check(len(read(Actor(daemon), 0, BLOCKS)) == BLOCKS, "with its drive the set is not what it was")
daemon.stop()
