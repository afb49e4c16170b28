"""
A start that cannot go on, because the system has no memory to read a drive, still stops when it is told to; and what was on the drive is there the next time.
"""
from lib_disk import DiskDaemon, until_there
from lib_story import Actor, check, until

daemon = DiskDaemon(files=1)
worker = Actor(daemon)
worker.ask("store 0 60 unknown")
daemon.until_written()
daemon.kill()
daemon.yaml = daemon.base + 'faults:\n  - "read:error=ENOMEM"\n'
before = len(daemon.log())
daemon.start(wait=False)
until(lambda: "read" in daemon.log()[before:], 10, "it says nothing about its start")
daemon.end()
check("before it served" in daemon.log(), "the log does not say how it ended")

daemon.yaml = daemon.base
daemon.start()
daemon.until_restored()
until_there(worker, 0, 60)
worker.quit()
daemon.stop()
print("a start that waits can be stopped")
