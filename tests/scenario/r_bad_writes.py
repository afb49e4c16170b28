"""
A drive that cannot write any more, or says that it did and did not: its file is taken out of use and an operator sees it, what memory still has goes to the
other file, and without any file the daemon goes on from memory. What is read afterwards is right, or a miss.
"""
from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check, until

BLOCKS = 150


def lost_file(daemon, number, why):
    """Told once in the log, in the status, in the metrics, and by doctor."""
    until(lambda: not daemon.file(number)["in_use"], 10, f"file {number} is still in use")
    path = str(daemon.path(number))
    check(f"file {number} of the disk tier is out of use: {why}" in daemon.log(), f"'{why}' is not told:\n{daemon.log()}")
    check(daemon.log().count(f"file {number} of the disk tier is out of use") == 1, "it was told more than once")
    check("out of use" in daemon.ctl("status", parse=False)[1], "quirectl status does not show it")
    check(daemon.counters()[f'quire_disk_file_in_use{{path="{path}"}}'] == 0, "the metrics do not show it")
    code, doctor = daemon.ctl("doctor", check_exit=False)
    findings = [entry for entry in doctor["checks"] if entry["check"] == "disk"]
    check(code != 0 and path in str(findings), f"doctor says nothing: {findings}")


for rule, why, error in (("write:error=EIO,file=1", "a write failed", "Input/output error"), ("sync:error=EIO,file=1", "a sync failed", "Input/output error")):
    daemon = DiskDaemon()
    worker = Actor(daemon)
    worker.ask("store 0 50")
    daemon.until_written()
    daemon.rehearse(rule)
    worker.ask(f"store 50 {BLOCKS - 50} unknown")
    until(lambda: worker.ask("delete 49 1") and not daemon.file(1)["in_use"], 10, f"{rule}: the file is still in use")
    lost_file(daemon, 1, f"{why}: {error}")
    daemon.until_written()
    check(daemon.file(1)["writes"] < daemon.file(0)["writes"], "the other file has not taken more")
    check(read(worker, 0, BLOCKS) == set(range(BLOCKS)) - {49}, f"{rule}: blocks in memory are gone")
    # What memory had is on the other file now: it is there after a power cut.
    daemon.restart()
    until_there(worker, 0, 1)
    check(read(worker, 0, BLOCKS) == set(range(BLOCKS)) - {49}, f"{rule}: not everything that memory had went to the other file")
    daemon.stop()

# Every file lost: memory goes on, also when it is full; nothing more is promised.
daemon = DiskDaemon(pool="8MiB")
worker = Actor(daemon)
worker.ask("store 0 50")
daemon.until_written()
daemon.rehearse("write:error=EIO", "sync:error=EIO")
worker.ask("store 50 50")
for number in (0, 1):
    until(lambda: not daemon.file(number)["in_use"], 10, f"file {number} is still in use")
for i in range(10):
    worker.ask(f"store {1000 + 100 * i} 100 unknown")
check(len(read(worker, 1900, 100)) == 100, "memory does not work without the disk")
worker.ask("delete 1900 1")
check(1900 not in read(worker, 1900, 1), "what was deleted is there")
check(daemon.disk()["dirty_records"] == 0, "blocks wait to be written to nowhere")
daemon.stop()
