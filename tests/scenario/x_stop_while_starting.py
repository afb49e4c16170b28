"""
A start that cannot go on, because the system has no memory to read a drive, waits for it: the file is not given up, which would cost what it holds. The log tells so
again and again, and so does the service manager's status, which is all that there is before quired serves. It still stops when it is told to; and what was on the
drive is there the next time.
"""
import socket

from lib_disk import DiskDaemon, until_there
from lib_story import SLOW, Actor, check, until

daemon = DiskDaemon(files=1)
worker = Actor(daemon)
worker.ask("store 0 60 unknown")
daemon.until_written()
daemon.kill()
daemon.yaml = daemon.base + 'faults:\n  - "read:error=ENOMEM"\n'
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(f"{daemon.folder}/manager")
manager.settimeout(10 * SLOW)
daemon.env = {"NOTIFY_SOCKET": f"{daemon.folder}/manager"}
before = len(daemon.log())
daemon.start(wait=False)
until(lambda: "cannot be read now: Cannot allocate memory; it is tried again" in daemon.log()[before:], 10, "it says nothing about its start")
status = manager.recv(4096).decode()
check(status.startswith("STATUS=starting;") and f"{daemon.path(0)}: Cannot allocate memory" in status, f"the service manager is told '{status}'")
until(lambda: "cannot be read now and for " in daemon.log()[before:], 10, "it is not told that it lasts")
daemon.end()
check("before it served" in daemon.log(), "the log does not say how it ended")

daemon.yaml, daemon.env = daemon.base, {}
daemon.start()
daemon.until_restored()
until_there(worker, 0, 60)
worker.quit()
daemon.stop()
print("a start that waits can be stopped")
