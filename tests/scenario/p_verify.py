"""
An operator doubts a disk: looks into the files without a daemon, finds the one bit that turned, repairs, and starts. That block is a miss, the others are equal to
the last bit, what was deleted stays deleted. Then the same while the daemon runs; and a rehearsal of a bad disk.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

from lib_story import BIN, SLOW, Actor, Daemon, check, until

BLOCKS = 160
DELETED = range(20, 30)
SEED = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1 << 32)
print(f"seed {SEED}", flush=True)
chance = random.Random(SEED)
folder = tempfile.TemporaryDirectory(prefix="quire-story-")
paths = [f"{folder.name}/log{i}" for i in range(2)]


def key(number):
    """The key that an actor gives to a block's number."""
    return (number.to_bytes(4, "little") + b"\xc3" * 28).hex()


def run(*arguments, code=0, text=""):
    """quirectl without --json, nor a daemon unless one is needed."""
    done = subprocess.run([str(BIN / "quirectl"), "--socket", daemon.socket, *arguments], capture_output=True, text=True, timeout=60 * SLOW, check=False)
    check(done.returncode == code, f"quirectl {arguments}: exit {done.returncode} instead of {code}\n{done.stdout}{done.stderr}")
    check(text in done.stdout + done.stderr, f"quirectl {arguments}: no '{text}' in\n{done.stdout}{done.stderr}")
    return done.stdout


def until_written():
    def written():
        disk = daemon.status()["disk"]
        return disk["dirty_records"] == 0 and disk["writing_bytes"] == 0
    until(written, 10, "what was stored is not on disk")


def until_restored():
    until(lambda: daemon.status()["disk"]["state"] != "restoring", 10, "what the disk holds is not found again")


def records():
    """All that the files list, by calls of bounded size: block number → its newest record."""
    found, start, calls = {}, 0, 0
    while start is not None:
        page = json.loads(run("--json", "log", "dump", *paths, "--records", "--limit", "50", "--from", str(start)))
        check(len(page["records"]) <= 50, "more rows than asked for")
        for record in page["records"]:
            number = int.from_bytes(bytes.fromhex(record["key"])[:4], "little")
            if record["kind"] == "record" and record["sequence"] > found.get(number, {"sequence": -1})["sequence"]:
                found[number] = record
        start, calls = page["next"], calls + 1
    check(calls > 1, "everything came in one call")
    return found, page


def overwrite(segment, page, units):
    """A segment's first and last unit; returns what they were."""
    file = next(file for file in page["files"] if file["first_segment"] <= segment < file["first_segment"] + file["segments"])
    begin = (1 << 20) + (segment - file["first_segment"]) * page["segment_bytes"]
    saved = []
    with open(file["path"], "r+b") as to:
        for at, unit in zip((begin, begin + page["segment_bytes"] - page["unit_bytes"]), units):
            to.seek(at)
            saved.append(to.read(len(unit)))
            to.seek(at)
            to.write(unit)
        to.flush()
        os.fsync(to.fileno())
    return saved


def flip(record, page):
    """A bit of a record's payload."""
    file = next(file for file in page["files"] if file["first_segment"] <= record["segment"] < file["first_segment"] + file["segments"])
    at = (1 << 20) + (record["segment"] - file["first_segment"]) * page["segment_bytes"] + record["unit"] * page["unit_bytes"]
    at += chance.randrange(record["size_bytes"] - 4096, record["size_bytes"])
    with open(file["path"], "r+b") as to:
        to.seek(at)
        byte = to.read(1)[0]
        to.seek(at)
        to.write(bytes([byte ^ 1 << chance.randrange(8)]))
        to.flush()
        os.fsync(to.fileno())


def there():
    """The blocks that hit, each compared to the last bit by the actor."""
    hits = set()
    for number in range(BLOCKS):
        if worker.ask(f"lookup 0 {number} 1 each")[0] == "1":
            worker.say("fetch 0 1")
            words = worker.hear()
            check(words[0] == "ok" or words[1] in ("MISS", "CORRUPT"), f"block {number}: {words}")
            if words[0] == "ok":
                hits.add(number)
        worker.ask("release 0")
    return hits


daemon = Daemon(yaml="disk:\n  segment_bytes: 1MiB\n  batch_bytes: 256KiB\n  write_delay_ms: 10ms\n  scrub_bytes_per_s: 0\n", pool="24MiB",
                flags=[word for path in paths for word in ("--disk", f"{path}:16MiB")])
worker = Actor(daemon)
worker.ask(f"store 0 {BLOCKS} unknown")  # none needs another: a chain would lose what follows a block that is gone
until_written()
worker.ask(f"delete {DELETED[0]} {len(DELETED)}")
until_written()
alive = set(range(BLOCKS)) - set(DELETED)

# While it runs: it verifies itself, and is named to those who want its files.
run("verify", text="nothing is damaged")
told = daemon.ctl("verify")[1]
check(told["damaged"] == 0, "something is damaged")
check(told["records"] + told["open_records"] == len(alive), f"{told} tells of other than {len(alive)} records: some were passed over without a word")
check(told["open_records"] > 0, "no segment is being filled")
run("verify", text="not looked at")
run("verify", *paths, code=1, text=f"is in use by process {daemon.process.pid}")
run("verify", "--repair", *paths, code=1, text="stop it first")
run("log", "dump", *paths, text="it changes meanwhile")
run("block", "show", key(7), "--ns", "story", text="segment")
run("ns", "show", "story", text="on disk")
run("fault", "list", text="no rule")
run("fault", "add", "read:delay=1ms", code=5, text="--allow-faults")
worker.quit()

# As after a power cut.
daemon.kill()
run("verify", *paths, text="nothing is damaged")
run("log", "dump", *paths, text="sealed")
run("verify", f"{folder.name}/nothing", code=1)
found, page = records()
check(alive <= set(found), f"{alive - set(found)} are not in the files")
victim = chance.choice(sorted(alive))
states = {segment["segment"]: segment["state"] for segment in json.loads(run("--json", "log", "dump", *paths))["segments"]}
victim_is_open = states[found[victim]["segment"]] == "open"
flip(found[victim], page)
run("verify", *paths, code=1, text=f"record of block {key(victim)[:8]}")
run("verify", "--repair", *paths, text="1 damaged: 1 repaired, 0 left")
run("verify", *paths, text="nothing is damaged")

daemon.start()
until_restored()
worker = Actor(daemon)
hits = there()
check(victim not in hits, f"block {victim} is there although a bit of it turned")
check(not hits & set(DELETED), f"{hits & set(DELETED)} were deleted, and are back")
# In a segment that had no footer what follows the damaged record is in doubt, too.
doubtful = {number for number in alive if victim_is_open and found[number]["segment"] == found[victim]["segment"] and found[number]["unit"] >= found[victim]["unit"]}
check(alive - hits == doubtful | {victim}, f"blocks {sorted(alive - hits)} are gone, not {sorted(doubtful | {victim})}")
worker.quit()

# While it runs, from disk only.
daemon.kill()
daemon.flags.append("--allow-faults")
daemon.start()
until_restored()
victim = chance.choice(sorted(hits))
flip(found[victim], page)
run("verify", code=1, text="1 damaged and 0 unreadable: dropped")
worker = Actor(daemon)
check(there() == hits - {victim}, f"not only block {victim} is gone")
before = sum(file["read_bytes"] for file in daemon.status()["disk"]["files"])
run("verify", text="nothing is damaged")
read = sum(file["read_bytes"] for file in daemon.status()["disk"]["files"]) - before
check(read >= daemon.ctl("verify")[1]["bytes"] > 0, f"of what was verified only {read} bytes count as read")

# What a start finds records by is overwritten, and then put back: every record can be read, and yet it is told.
page = json.loads(run("--json", "log", "dump", *paths))
victim = chance.choice([segment for segment in page["segments"] if segment["state"] == "sealed"])
saved = overwrite(victim["segment"], page, [b"\xee" * page["unit_bytes"]] * 2)
run("verify", code=1, text="1 segment is damaged")
check(daemon.ctl("verify", check_exit=False)[1]["damaged_segments"] == 1, "it is told once, and not again")
overwrite(victim["segment"], page, saved)
run("verify", text="nothing is damaged")

# A drive that fails a read now and then: what was not looked at is not whole.
run("fault", "add", "read:error=EIO,count=1")
run("verify", code=1, text="1 segment was not verified")
run("fault", "clear")
run("verify", text="nothing is damaged")

# A rehearsal.
run("fault", "add", "read:explode", code=2, text="explode")
run("fault", "add", "write:error=EIO,probability=0.000001", text="write:error=EIO")
check(len(daemon.ctl("fault", "list")[1]["faults"]) == 1, "the rule is not at work")
run("status", text="1 rule makes it fail")
run("fault", "clear", "77", code=4, text="no rule 77")
run("fault", "clear", text="no rule makes the disk fail")
# A rule of the configuration that cannot be at work: who reloads it is told which, and why; the one beside it is.
daemon.write_config(daemon.yaml + 'faults:\n  - "read:error=EIO,file=7"\n  - "write:delay=1ms"\n')
run("config", "reload", code=2, text="refused: the rule read:error=EIO,file=7 is not at work: file=7: the set has 2, from 0 on")
run("fault", "list", text="write:delay=1ms")
worker.quit()
daemon.stop()
