"""
What was answered holds after a power cut at once: a namespace that was deleted is empty when its name is used again, what is pinned is pinned, what was unpinned is
not. And what nobody asked to delete is there.
"""
import random

from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check

seed = random.randrange(1 << 32)
print("seed", seed, flush=True)
chance = random.Random(seed)
LAYOUT = "4 2 64 16"
daemon = DiskDaemon()
keeper = Actor(daemon, ns=f"kept {LAYOUT}", name="keeper")
keeper.ask("store 0 40 unknown")
pinned = set()

for number in range(4):
    # A namespace that lives for one round, under the same name each time, with the same keys.
    worker = Actor(daemon, ns=f"passing {LAYOUT}", name="worker")
    check(read(worker, 0, 60) == set(), f"seed {seed}: a deleted namespace has blocks again")
    worker.ask(f"store 0 {20 + 10 * number} unknown")
    if number % 2 == 0:
        daemon.until_written()
    worker.quit()
    daemon.ctl("ns", "delete", "passing", "--yes")
    if number % 2 == 1:  # else it is the last thing that was promised
        for block in chance.sample(range(40), 10):
            answer = keeper.ask(f"{'unpin' if block in pinned else 'pin'} {block} 1")
            check(answer == ["OK"], f"seed {seed}: block {block}: {answer}")
            pinned ^= {block}
    daemon.kill()
    daemon.start()
    daemon.until_restored()
    until_there(keeper, 0, 1)
    check(all(space["name"] != "passing" for space in daemon.ctl("ns", "list")[1]["namespaces"]), f"seed {seed}: a deleted namespace is listed")
    there = read(keeper, 0, 40)
    check(number == 0 or there == set(range(40)), f"seed {seed}: blocks {set(range(40)) - there} are gone")
    if number == 0:
        keeper.ask("store 0 40 unknown")  # the first time they may not have been written yet
        daemon.until_written()
        pinned &= there
    states = [keeper.ask(f"unpin {block} 1")[0] for block in range(40)]
    check({block for block, state in enumerate(states) if state == "OK"} == pinned, f"seed {seed}: pinned are not {pinned}: {states}")
    for block in sorted(pinned):
        check(keeper.ask(f"pin {block} 1") == ["OK"], "a block cannot be pinned again")
    if pinned:
        check(keeper.ask(f"delete {min(pinned)} 1") == ["IN_USE"], "a pinned block was deleted")
daemon.stop()
