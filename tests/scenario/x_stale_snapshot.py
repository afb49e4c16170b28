"""
After a stop in good order the index comes from a snapshot. One that is damaged, or from another day, is not believed: the log is read, what was deleted since stays deleted, and
nothing is lost.
"""
import signal

from lib_disk import DiskDaemon, overwrite, read, until_there
from lib_story import Actor, check

BLOCKS = 100
daemon = DiskDaemon()
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS} unknown")
snapshot = daemon.path(0).with_name("log0.snapshot")
expected = set(range(BLOCKS))


def stop_in_good_order():
    daemon.process.send_signal(signal.SIGTERM)
    check(daemon.process.wait(20) == 0 and snapshot.exists(), "no stop in good order, or no snapshot")


def start(from_snapshot, why, told="quired was not stopped in good order"):
    before = len(daemon.log())
    daemon.start()
    daemon.until_restored()
    said = daemon.log()[before:]
    check(("from a snapshot" in said) == from_snapshot, f"{why}: the index came from somewhere else:\n{said}")
    disk = daemon.disk()
    check(disk["restored_from"] == ("snapshot" if from_snapshot else "log") and disk["restored_us"] > 0, f"{why}: status says another thing: {disk}")
    check(told in disk["restored_why"] if not from_snapshot else disk["restored_why"] == "", f"{why}: status says why: {disk['restored_why']}")
    until_there(worker, 0, 1)
    there = read(worker, 0, 2 * BLOCKS)
    check(there == expected, f"{why}: blocks {expected - there} are missing, {there - expected} too many")


stop_in_good_order()
first = snapshot.read_bytes()
start(True, "in good order")

# Deleted since, and stored; then the power is cut, and somebody puts the old snapshot back.
for number in range(0, BLOCKS, 3):
    check(worker.ask(f"delete {number} 1") == ["OK"], "a block cannot be deleted")
    expected.discard(number)
worker.ask(f"store {BLOCKS} 40 unknown")
expected |= set(range(BLOCKS, BLOCKS + 40))
daemon.until_written()
daemon.kill()
snapshot.write_bytes(first)
start(False, "an old snapshot after a power cut")

# The same after a stop in good order.
stop_in_good_order()
second = snapshot.read_bytes()
snapshot.write_bytes(first)
start(False, "an old snapshot after a stop in good order", "log0.snapshot: is not used (")

# Damaged, in its head, its middle and its end; cut short; gone.
for at in (8, len(second) // 2, len(second) - 1):
    stop_in_good_order()
    content = snapshot.read_bytes()
    place = min(at, len(content) - 1)
    overwrite(snapshot, place, bytes([content[place] ^ 4]))
    start(False, f"a snapshot with a wrong bit at {place}", "snapshot")
stop_in_good_order()
snapshot.write_bytes(snapshot.read_bytes()[:-9])
start(False, "a snapshot that was cut short", "log0.snapshot: is not used (")
stop_in_good_order()
snapshot.unlink()
start(False, "no snapshot", "log0.snapshot: No such file")
stop_in_good_order()
start(True, "in good order again")
daemon.stop()
