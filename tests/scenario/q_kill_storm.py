"""
The daemon is killed with -9 at random moments, again and again, while workers store, fetch and delete: between two turns of the log, while it starts, while it
stops. Whatever is found afterwards has the right bytes (the actors compare); what is not found is a miss; a block whose deletion was answered never
comes back.

    q_kill_storm.py [ROUNDS [SEED]]     8 rounds in CI; `tests/soak kill-storm` runs 300
"""
import random
import signal
import sys
import time

from lib_disk import DiskDaemon, until_there
from lib_story import Actor, check

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
CHAIN = 40
CHAINS_FROM = 1000000
ROUNDS_OF_HAMMERS = 10
print(f"{ROUNDS} rounds, seed {SEED}", flush=True)
chance = random.Random(SEED)
# Memory for a part of what is written, and files that are full after some rounds: blocks are demoted, segments emptied.
daemon = DiskDaemon(size="40MiB", pool="16MiB")
deleted = set()
found = lost = hits = misses = failures = 0


def answers(actor, line):
    """Tries again while the daemon is away; the words of the answer, or None when it stays away."""
    for _ in range(100):
        actor.say(line)
        words = actor.hear()
        if words[0] == "ok" or words[1] not in ("DISCONNECTED", "TIMEOUT"):
            return words
        time.sleep(0.05)
    return None


def delete_some(actor, first):
    """An answer counts: OK, but also MISS. No answer, or that it is not durable, does not."""
    for block in chance.sample(range(first, first + CHAIN), chance.randrange(CHAIN // 2)):
        actor.say(f"delete {block} 1")
        words = actor.hear()
        if words[0] == "ok" and words[1] in ("OK", "MISS"):
            deleted.add(block)


def judge(actor, first):
    """How many blocks of a chain are there, by themselves: each of them right, or `read` would end everything."""
    words = answers(actor, f"read {first} {CHAIN}")
    check(words is not None and words[0] == "ok", f"seed {SEED}: no answer after the restart: {words}")
    statuses = words[1].split(",")
    odd = set(statuses) - {"OK", "MISS", "TIMEOUT"}
    check(not odd, f"seed {SEED}: reading blocks from {first} on ended with {odd}")
    back = [first + i for i, status in enumerate(statuses) if status == "OK" and first + i in deleted]
    check(not back, f"seed {SEED}: blocks {back} were deleted, answered, and are back")
    return statuses.count("OK")


def die():
    """Most often in the middle of everything; sometimes while it stops, or while it starts."""
    way = chance.random()
    if way < 0.15:
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(chance.uniform(0, 0.1))
    daemon.kill()
    while way > 0.85:
        daemon.start(wait=False)
        time.sleep(chance.uniform(0, 0.08))
        daemon.kill()
        way = chance.random()
    daemon.yaml = daemon.base.replace("disk:\n", f"disk:\n  io_backend: {chance.choice(('auto', 'threads'))}\n")
    daemon.start()


hammers = []
worker = Actor(daemon, name="worker")
for number in range(ROUNDS):
    if number % ROUNDS_OF_HAMMERS == 0:
        hammers = [Actor(daemon, name=f"hammer{i}") for i in range(2)]
        for i, hammer in enumerate(hammers):
            hammer.say(f"hammer {min(ROUNDS - number, ROUNDS_OF_HAMMERS) * 700} {1000 * i} 400")
            check(hammer.hear() == ["started"], "hammering")
    chain = CHAINS_FROM + number * CHAIN
    check(answers(worker, f"store {chain} {CHAIN}") is not None, f"seed {SEED}: nothing can be stored")
    time.sleep(chance.uniform(0, 0.15))
    delete_some(worker, chain)
    if number > 0:
        delete_some(worker, chain - CHAIN)
    time.sleep(chance.uniform(0, 0.15))
    die()
    daemon.until_restored(20)
    until_there(worker, chain, 1)
    for old in {number, number - 1, chance.randrange(number + 1)} - {-1}:
        there = judge(worker, CHAINS_FROM + old * CHAIN)
        found += there
        lost += CHAIN - there
    if number % ROUNDS_OF_HAMMERS == ROUNDS_OF_HAMMERS - 1 or number == ROUNDS - 1:
        for hammer in hammers:
            words = [int(word) for word in hammer.hear()[1:]]
            hits, misses, failures = hits + words[0], misses + words[1], failures + words[2]
            hammer.quit()
        print(f"round {number + 1}: {found} blocks found right, {lost} missing, {len(deleted)} deleted and gone; hammers: {hits} hits, {misses} misses, "
              f"{failures} failures", flush=True)
check(found > ROUNDS and hits > 0, "nothing survived: then nothing was tried")
daemon.stop()
