"""
A drive takes no writes, and a deletion is refused. The daemon is stopped in good order and started again: the block may be there, as the answer said. It is deleted
again, the drive takes that, and then it is gone for good, whatever happens to the daemon.
"""
from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check

daemon = DiskDaemon(files=1)
worker = Actor(daemon)
worker.ask("store 0 40 unknown")
daemon.until_written()
daemon.rehearse("write:error=ENOSPC")
for block in range(5, 9):  # the first is refused when the drive is known to take nothing, the others at once
    worker.say(f"delete {block} 1")
    answer = worker.hear()
    check(answer[-1] not in ("OK", "MISS"), f"block {block} is said to be deleted: {answer}")
worker.quit()
daemon.end()
check("disk_unsettled" in daemon.log(), "the log does not say that deletions were not written")
daemon.yaml = daemon.base

daemon.start()
daemon.until_restored()
worker = Actor(daemon)
until_there(worker, 0, 1)
for block in range(5, 9):
    worker.say(f"delete {block} 1")
    answer = worker.hear()
    check(answer[-1] in ("OK", "MISS"), f"block {block}: {answer}")

daemon.kill()
daemon.start()
daemon.until_restored()
until_there(worker, 0, 1)
back = read(worker, 0, 40) & set(range(5, 9))
check(not back, f"deleted, and back: {back}")
worker.quit()
daemon.stop()
print("a deletion that was refused lasts when it is taken")
