"""What the stories of the disk tier share: a daemon with small segments whose disk fails by rule, and questions to it."""
import os
import pathlib
import time

from lib_story import SLOW, Daemon, check, until

SUPERBLOCK_BYTES = 4096
SUPERBLOCK_AT = (0, 524288)  # codec/LOG.md
CHECK_AT = 120


class DiskDaemon(Daemon):
    """FOLDER/disk/log0, log1 … with segments of 1 MiB; what is stored goes to disk soon. `folders`: one a file, where they are not all in the same one."""

    def __init__(self, files=2, size="32MiB", pool="24MiB", yaml="", folders=None, **more):
        flags = [word for i in range(files) for word in ("--disk", f"FOLDER/{folders[i] if folders else 'disk'}/log{i}:{size}")]
        self.rules = ()
        self.base = f"allow_faults: true\n{yaml}disk:\n  segment_bytes: 1MiB\n  batch_bytes: 256KiB\n  write_delay_ms: 10ms\n  scrub_bytes_per_s: 0\n"
        super().__init__(yaml=self.base, flags=flags, pool=pool, **more)

    def path(self, number):
        return pathlib.Path(self.folder, f"disk/log{number}")

    def meta(self):
        return pathlib.Path(self.folder, "disk/log0.meta")

    def rehearse(self, *rules):
        """The disk fails by these rules from now on, and by no others."""
        self.write_config(self.base + ("faults:\n" + "".join(f"  - \"{rule}\"\n" for rule in rules) if rules else ""))
        self.ctl("config", "reload")
        check(self.disk()["faults"] == len(rules), f"not all of {rules} are at work")

    def disk(self):
        return self.status()["disk"]

    def file(self, number):
        return self.disk()["files"][number]

    def until_written(self, seconds=10):
        def written():
            disk = self.disk()
            return disk["dirty_records"] == 0 and disk["writing_bytes"] == 0
        until(written, seconds, "what was stored is not on disk")

    def until_restored(self, seconds=10):
        until(lambda: self.disk()["state"] != "restoring", seconds, "what the disk holds is not found again")

    def until_told(self, text, seconds=10):
        until(lambda: text in self.log(), seconds, f"the log does not say '{text}'")

    def forget_memory(self):
        """Everything goes to disk, and out of memory as far as nobody holds it."""
        self.until_written()
        until(lambda: self.ctl("evict", "--bytes", "1GiB")[1]["freed_bytes"] == 0, 10, "evict does not come to an end")

    def restart(self):
        """As after a power cut."""
        self.kill()
        self.start()
        self.until_restored()

    def refuses(self, *texts):
        """A start that must fail; each text is in what the log says of it."""
        before = len(self.log())
        self.start(wait=False)
        try:
            code = self.process.wait(20 * SLOW)
        finally:
            said = self.log()[before:]
        check(code == 1, f"quired ended with {code} instead of refusing:\n{said}")
        for text in texts:
            check(text in said, f"the refusal does not say '{text}':\n{said}")


def read(actor, first, count, also=()):
    """Reads each block by itself. The numbers of those that are there, each of them right; the others are misses, or fail as `also` names."""
    words = actor.ask(f"read {first} {count}")[0].split(",")
    odd = {word for word in words} - {"OK", "MISS", *also}
    check(not odd, f"reading blocks {first} to {first + count - 1} ended with {odd}")
    return {first + i for i, word in enumerate(words) if word == "OK"}


def until_there(actor, first, count, seconds=10):
    """The client comes back by itself after a restart of the daemon."""
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        actor.say(f"read {first} {count}")
        words = actor.hear()
        if words[0] == "ok":
            return
        time.sleep(0.05)
    check(False, f"the client does not come back: {words}")


def patch(actor, path, copy, offset, value):
    """Changes bytes of a copy of the superblock, and its checksum with them: somebody has written it so."""
    with open(path, "r+b") as file:
        file.seek(SUPERBLOCK_AT[copy] + offset)
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
        total = actor.ask(f"sum {path} {SUPERBLOCK_AT[copy]} {CHECK_AT}")[0]
        file.seek(SUPERBLOCK_AT[copy] + CHECK_AT)
        file.write(int(total, 16).to_bytes(8, "little"))


def superblock(path, copy):
    with open(path, "rb") as file:
        file.seek(SUPERBLOCK_AT[copy])
        return file.read(SUPERBLOCK_BYTES)


def is_whole(actor, path, copy):
    stored = int.from_bytes(superblock(path, copy)[CHECK_AT:CHECK_AT + 8], "little")
    return int(actor.ask(f"sum {path} {SUPERBLOCK_AT[copy]} {CHECK_AT}")[0], 16) == stored


def overwrite(path, at, value):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(value)
