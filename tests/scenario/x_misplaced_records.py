"""
A drive that misdirects writes: while the daemon is stopped, the records that two namespaces of one layout have under the same keys change places. Each of
them is whole, and of its key and layout; the log still tells which one is whose. Nobody is served the other namespace's: all are misses, found damaged,
whether the start reads the log or the snapshot that the stop left. (One in 65,536 may pass: so many bits of a record's sum fit beside its place here.)
"""
from lib_disk import DiskDaemon, read, until_there
from lib_story import Actor, check

BLOCKS = 40
SEGMENTS_AT = 1 << 20  # codec/LOG.md


def records(daemon):
    """Key, place in the file and size of each."""
    page = daemon.ctl("log", "dump", str(daemon.path(0)), "--records", "--limit", "2000")[1]
    for record in page["records"]:
        if record["kind"] == "record":
            at = SEGMENTS_AT + record["segment"] * page["segment_bytes"] + record["unit"] * page["unit_bytes"]
            yield record["key"], at, record["size_bytes"]


def misdirect(daemon):
    """How many pairs changed places."""
    places = {}
    for key, at, size in records(daemon):
        places.setdefault(key, []).append((at, size))
    pairs = [spots for spots in places.values() if len(spots) == 2]
    with open(daemon.path(0), "r+b") as file:
        for spots in pairs:
            found = []
            for at, size in spots:
                file.seek(at)
                found.append(file.read(size))
            for (at, _), other in zip(spots, reversed(found)):
                file.seek(at)
                file.write(other)
    return len(pairs)


for snapshot in (False, True):
    daemon = DiskDaemon(files=1)
    actors = [Actor(daemon, ns=f"{name} 4 2 64 16", name=name) for name in ("one", "two")]
    for actor in actors:
        actor.ask(f"store 0 {BLOCKS} unknown")
        daemon.until_written()
    daemon.end()
    if not snapshot:
        daemon.path(0).with_name("log0.snapshot").unlink()
    check(misdirect(daemon) == BLOCKS, "not all blocks are there in both namespaces")
    daemon.start()
    daemon.until_restored()
    daemon.until_told("from a snapshot" if snapshot else "from the log")
    for actor in actors:
        until_there(actor, 0, 1)
        served = read(actor, 0, BLOCKS)
        check(len(served) <= 1, f"snapshot: {snapshot}: {len(served)} blocks of another namespace were served")
    corrupt = daemon.file(0)["corrupt"]
    check(corrupt >= 2 * BLOCKS - 2, f"{corrupt} records were found damaged, of {2 * BLOCKS}")
    daemon.stop()
