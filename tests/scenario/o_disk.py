"""A working set larger than memory: what leaves it comes back from disk, byte for byte, and what was deleted never does."""
import os
import shutil
import tempfile

from lib_story import FOLDER, Actor, Daemon, check, key, until

ROOT = os.getuid() == 0
BLOCKS, STEP = 500, 100  # 32 KiB each: twice what the pool holds; a session may lease half the pool at once
disk = tempfile.mkdtemp(prefix=FOLDER)
guests = ", guests: [65534]" if ROOT else ""
daemon = Daemon(yaml=f"""socket_mode: 0666
domains:
  - {{name: default, pool_bytes: 8MiB, members: [{os.getuid()}]{guests}}}
tiers:
  file:
    - {{path: {disk}/log0, size: 48MiB}}
    - {{path: {disk}/log1, size: 48MiB}}
disk: {{segment_bytes: 1MiB, batch_bytes: 256KiB, write_delay_ms: 20}}
""")
os.chmod(daemon.folder, 0o755)
actor = Actor(daemon)


def written():
    info = daemon.status()["disk"]
    return info["state"] == "serving" and info["dirty_records"] == 0 and info["writing_bytes"] == 0


def fetch_back(who, first, how="", count=STEP):
    """Looks the blocks up and fetches them; how long the daemon thought that the disk takes."""
    hits, reasons, fetch_us = who.ask(f"lookup 0 {first} {count} each fetch_us")
    check(int(hits) == count, f"{hits} of {count} hit from {first}: {reasons}")
    check(who.ask(f"fetch 0 {how}") == [hits], "all that hit is fetched")
    who.ask("release 0")
    return int(fetch_us)


actor.ask(f"store 0 {BLOCKS} unknown")
until(written, 20, "not all is on disk")
estimates = [fetch_back(actor, first) for first in range(0, BLOCKS, STEP)]
check(all(us > 0 for us in estimates[:2]), f"the oldest blocks are on disk, and their estimates say so: {estimates}")
check(daemon.counters()["quire_disk_reads_total"] >= BLOCKS / 2, "they were read from there")
check(fetch_back(actor, 0) > 0 and fetch_back(actor, 0) == 0, "what was just fetched is in memory")

# An operator sees the estimates, too: of blocks that were fetched last, and so are in memory, there is none to tell.
words = [word for number in range(200, 210) for word in ("--key", key(number))]
daemon.ctl("evict", "--bytes", "8MiB")
told = daemon.ctl("lookup", "--ns", "story", *words)[1]
times = [entry["fetch_us"] for entry in told["keys"]]
check(times == sorted(times) and times[0] > 0 and told["fetch_us"] == times[-1], f"lookup tells no time for what is on disk: {told}")
check("from disk in" in daemon.ctl("lookup", "--ns", "story", *words, parse=False)[1].lower(), "nor does it tell people")
fetch_back(actor, 200)
told = daemon.ctl("lookup", "--ns", "story", *words)[1]
check(told["fetch_us"] == 0 and all(entry["fetch_us"] == 0 for entry in told["keys"]), f"lookup tells a time for what is in memory: {told}")

# Chosen layers and heads are read by themselves; views and guests wait for the disk, too.
fetch_back(actor, 200, "lanes=2,1,0,2")
fetch_back(actor, 300, "lanes=1,2,1,1")
check(daemon.counters()["quire_disk_partial_reads_total"] > 0, "only what was asked for was read")
check(daemon.counters()["quire_disk_header_misses_total"] > 0, "with headers and directories, which is counted")
check(actor.ask(f"lookup 0 0 {STEP} each fetch_us")[0] == str(STEP), "the lookup hits")
check(actor.ask("view 0") == [str(STEP)], "views of what was on disk")
check(actor.ask("viewcheck 0") == [str(STEP), "OK"], "and they stood")
actor.ask("release 0")
if ROOT:
    guest = Actor(daemon, preexec=lambda: (os.setgroups([]), os.setgid(65534), os.setuid(65534)))
    fetch_back(guest, 400)
    fetch_back(guest, 100, "lanes=0,1,0,1")

# An acknowledged deletion outlasts the daemon's sudden death; so does all that was not deleted.
check(actor.ask("delete 100 50") == [",".join(["OK"] * 50)], "acknowledged")
check(actor.ask("pin 0 1") == ["OK"], "a pin, too")
until(written, 20, "not all is on disk")
daemon.kill()
daemon.start()
until(written, 20, "the disk's contents are not found")
actor = Actor(daemon)
hits, reasons = actor.ask("lookup 0 100 50 each probe")
check(hits == "0", f"deleted blocks are back: {reasons}")
for first, count in [(0, 100), (150, 50), (200, 100), (300, 100), (400, 100)]:
    check(fetch_back(actor, first, count=count) > 0, "what was not deleted is on disk after a start")
check(actor.ask("delete 0 1") == ["IN_USE"], "the pin is there")
daemon.stop()
shutil.rmtree(disk, ignore_errors=True)
