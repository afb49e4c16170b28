"""What the stories share: a real quired of their own, actors (real clients that do as told), quirectl, metrics, and checks that say what they saw."""
import atexit
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(os.environ.get("QUIRE_BIN", "build/bin"))
TESTS = pathlib.Path(os.environ.get("QUIRE_TESTS", BIN.parent / "tests"))
SLOW = 5 if os.environ.get("QUIRE_SANITIZE") else 1  # sanitizers: everything takes longer


LIBC = ctypes.CDLL(None)
CHILDREN = []
ACTORS = []
DAEMONS = []
FOLDER = "quire-story-"  # what a story puts into the folder for temporary files begins so
KEPT_SECONDS = 24 * 3600
LOG_LINES = 100  # room for a sanitizer's report


def die_with_parent():
    """A story that fails, or is killed by its time limit, leaves no process behind."""
    LIBC.prctl(1, int(signal.SIGKILL), 0, 0, 0)


@atexit.register
def end_children():
    """A daemon that was not stopped belongs to a story that failed: the end of its log is shown, and its folder kept for a day."""
    for child in CHILDREN:
        if child.poll() is None:
            child.kill()
    for daemon in DAEMONS:
        if os.path.exists(f"{daemon.folder}/log"):
            print(f"--- the end of {daemon.folder}/log", *daemon.log().splitlines()[-LOG_LINES:], sep="\n", file=sys.stderr)


def forget_old_folders():
    """Those of stories that failed, or were killed by their time limit."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        try:
            about = folder.lstat()
        except FileNotFoundError:
            continue  # another story was faster
        if about.st_uid == os.getuid() and time.time() - about.st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


forget_old_folders()


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def skip(why):
    """What this machine does not allow at all. tests/run tells at its end what was not tested, and why: it looks for these words."""
    print(f"skipped: {why}", flush=True)
    raise SystemExit(77)


def leave_out(why):
    """Likewise, of a part of a story: the rest of it was told."""
    print(f"left out: {why}", flush=True)


def until(condition, seconds, message):
    """Polls until condition() is true; the bound is a liveness bound, not a measurement. Who looks slowly looks once more when it is over."""
    end = time.monotonic() + seconds * SLOW
    in_time = True
    while in_time:
        in_time = time.monotonic() < end
        if condition():
            return
        time.sleep(0.02)
    sys.exit(f"FAILED: {message} (waited {seconds * SLOW} s)")


def key(number):
    """The key that an actor gives to a block's number."""
    return (number.to_bytes(4, "little") + b"\xc3" * 28).hex()


class Daemon:
    """quired with its socket in a folder of its own, which configuration and flags call FOLDER."""

    def __init__(self, yaml="", flags=(), pool="64MiB", env=None, preexec=None, prepare=None, wait=True):
        self.folder = tempfile.mkdtemp(prefix=FOLDER)
        if prepare is not None:
            prepare(self.folder)
        self.socket = f"{self.folder}/quired.sock"
        self.address = f"unix://{self.socket}"
        self.yaml, self.pool, self.env, self.preexec = yaml.replace("FOLDER", self.folder), pool, env or {}, preexec
        self.flags = [flag.replace("FOLDER", self.folder) for flag in flags]
        self.process = None
        DAEMONS.append(self)
        self.start(wait)

    def write_config(self, yaml=None):
        if yaml is not None:
            self.yaml = yaml
        pool = "" if "domains:" in self.yaml else f"domains:\n  - name: default\n    pool_bytes: {self.pool}\n"
        with open(f"{self.folder}/quired.yaml", "w", encoding="utf-8") as file:
            file.write(f"socket_path: {self.socket}\nmetrics_port: 0\n{pool}{self.yaml}")

    def start(self, wait=True):
        self.write_config()
        self.log_file = open(f"{self.folder}/log", "ab")
        self.process = subprocess.Popen(
            [str(BIN / "quired"), "--config", f"{self.folder}/quired.yaml", *self.flags],
            stdout=self.log_file, stderr=self.log_file, env={**os.environ, **self.env},
            preexec_fn=lambda: (die_with_parent(), self.preexec and self.preexec()))
        CHILDREN.append(self.process)
        if wait:
            until(lambda: self.process.poll() is not None or self.ctl("status", check_exit=False)[0] == 0, 10, "quired is not ready")
            check(self.process.poll() is None, f"quired ended at once with {self.process.returncode}")

    def log(self):
        with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def ctl(self, *arguments, check_exit=True, parse=True):
        """quirectl --json; (exit code, parsed output)."""
        done = subprocess.run([str(BIN / "quirectl"), "--socket", self.socket, *(["--json"] if parse else []), *arguments],
                              capture_output=True, text=True, timeout=30 * SLOW, check=False)
        if check_exit:
            check(done.returncode == 0, f"quirectl {' '.join(arguments)}: {done.returncode} {done.stdout} {done.stderr}")
        try:
            return done.returncode, json.loads(done.stdout) if parse and done.stdout else done.stdout + done.stderr
        except json.JSONDecodeError:
            return done.returncode, done.stdout + done.stderr

    def status(self):
        return self.ctl("status")[1]

    def counters(self):
        """Every sample of /metrics, by name with labels."""
        address = self.status()["daemon"]["metrics_address"]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in self.http(address, "/metrics")[1].splitlines()
                if line and not line.startswith("#")}

    @staticmethod
    def http(address, path):
        address = address.removeprefix("http://").split("/")[0]
        connection = http.client.HTTPConnection(address, timeout=10 * SLOW)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        """In good order, and its folder stays: exit status 0 within the drain bound."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20 * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            sys.exit("FAILED: quired did not stop")
        check(code == 0, f"quired ended with {code}")

    def stop(self):
        """An orderly stop: the actors that still live end in order, too; exit status 0 within the drain bound, and nothing said by a sanitizer."""
        for actor in ACTORS:
            if actor.process.poll() is None:
                actor.quit()
        if self.process.poll() is None:
            self.end()
        check("ERROR: AddressSanitizer" not in self.log() and "runtime error:" not in self.log() and "WARNING: ThreadSanitizer" not in self.log(),
              "a sanitizer spoke")
        shutil.rmtree(self.folder, ignore_errors=True)


class Actor:
    """A client process. ask() gives the words after "ok"; with fails=STATUS it must fail so."""

    def __init__(self, daemon=None, ns="story 4 2 64 16", name="actor", preexec=None):
        self.process = subprocess.Popen([str(TESTS / "actor")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        preexec_fn=lambda: (die_with_parent(), preexec and preexec()))
        CHILDREN.append(self.process)
        ACTORS.append(self)
        if daemon is not None:
            self.ask(f"open {daemon.address} {name}")
            if ns:
                self.ask(f"ns {ns}")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        check(line, f"the actor ended with {self.process.poll()}")
        check(not line.startswith("WRONG"), line)
        return line.split()

    def ask(self, line, fails=None):
        self.say(line)
        words = self.hear()
        if fails is None:
            check(words[0] == "ok", f"{line}: {' '.join(words)}")
            return words[1:]
        check(words[0] == "err" and words[1] in fails.split("|"), f"{line}: expected {fails}, got {' '.join(words)}")
        return words[2:]

    def pid(self):
        return self.process.pid

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def quit(self):
        """An orderly end; a sanitizer's verdict on the actor (a leak, too) is its exit status."""
        self.say("quit")
        try:
            self.process.wait(20 * SLOW)
        except subprocess.TimeoutExpired:
            sys.exit("FAILED: an actor did not end")
        check(self.process.returncode == 0, f"the actor ended with {self.process.returncode}")
