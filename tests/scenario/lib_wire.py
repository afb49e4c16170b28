"""What the stories of other hosts share: certificates and tokens made on the spot, a daemon that listens, actors that come over the wire."""
import json
import os
import re
import subprocess
import threading

from lib_story import CHILDREN, LIBC, TESTS, Actor, Daemon, check, die_with_parent, skip, until

SECRETS = {"worker": "w" * 40, "reader": "r" * 40, "operator": "o" * 40, "elsewhere": "e" * 40}
TOKENS = f"""# name secret rights namespaces
worker {SECRETS['worker']} read,write story*
reader {SECRETS['reader']} read story*
operator {SECRETS['operator']} admin,read *
elsewhere {SECRETS['elsewhere']} read,write other
"""


def openssl(*words, folder):
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"openssl {' '.join(words)}: {done.stderr}")


def make_authority(folder, name="ca"):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN=story {name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", folder=folder)


def make_certificate(folder, name, authority="ca", names="DNS:localhost,IP:127.0.0.1,IP:10.99.0.1", days="2"):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
            "-out", f"{name}.csr", folder=folder)
    with open(f"{folder}/{name}.ext", "w", encoding="utf-8") as file:
        file.write(f"subjectAltName={names}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", days,
            "-extfile", f"{name}.ext", "-out", f"{name}.pem", folder=folder)


def write_private(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def prepare(folder):
    make_authority(folder)
    make_certificate(folder, "daemon")
    write_private(f"{folder}/tokens", TOKENS)
    for name, secret in SECRETS.items():
        write_private(f"{folder}/token.{name}", f"{name} {secret}\n")


CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
MS_REC_PRIVATE = 0x4000 | 0x40000


class Cable:
    """Two hosts, as the network sees them: namespaces of their own, joined by a cable that can be pulled."""

    def __init__(self):
        if os.getuid() != 0:
            skip("needs root to make network namespaces")
        self.hosts = [subprocess.Popen(["unshare", "-n", "sleep", "infinity"], preexec_fn=die_with_parent) for _ in range(2)]
        CHILDREN.extend(self.hosts)
        here = os.stat("/proc/self/ns/net").st_ino
        until(lambda: all(os.stat(f"/proc/{host.pid}/ns/net").st_ino != here for host in self.hosts), 10, "the namespaces are there")
        pids = [str(host.pid) for host in self.hosts]
        self.ip(None, "link", "add", "cable", "netns", pids[0], "type", "veth", "peer", "name", "cable", "netns", pids[1])
        self.addresses = ["10.99.0.1", "10.99.0.2"]
        for side, address in enumerate(self.addresses):
            self.ip(side, "link", "set", "lo", "up")
            self.ip(side, "address", "add", f"{address}/24", "dev", "cable")
        self.plug("up")
        until(lambda: all("state UP" in self.ip(side, "link", "show", "cable") for side in (0, 1)), 10, "the cable carries")  # UCX leaves out what does not

    def ip(self, side, *words):
        where = [] if side is None else ["nsenter", "-t", str(self.hosts[side].pid), "-n"]
        done = subprocess.run([*where, "ip", *words], capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}")
        return done.stdout

    def plug(self, state):
        for side in (0, 1):
            self.ip(side, "link", "set", "cable", state)

    def shape(self, *words):
        """What leaves either end goes through this queue from now on; what `tc` says otherwise."""
        said = ""
        for side in (0, 1):
            done = subprocess.run(["nsenter", "-t", str(self.hosts[side].pid), "-n", "tc", "qdisc", "replace", "dev", "cable", "root", *words],
                                  capture_output=True, text=True, check=False)
            said += done.stderr if done.returncode != 0 else ""
        return said

    def slow(self, rate):
        """What takes a while can be cut in two."""
        said = self.shape("tbf", "rate", rate, "burst", "256kb", "latency", "300ms")
        check(said == "", f"tc: {said}")

    def spoil(self):
        """Packets come late, twice, out of order or not at all, where the kernel has netem; elsewhere they are dropped by a queue that is too short."""
        said = self.shape("netem", "delay", "5ms", "3ms", "loss", "0.5%", "duplicate", "1%", "reorder", "5%")
        if said != "":
            check("unknown" in said, f"tc: {said}")
            print("this kernel has no netem: the spoilt cable only drops packets")
            said = self.shape("tbf", "rate", "50mbit", "burst", "16kb", "limit", "20kb")
            check(said == "", f"tc: {said}")

    def drops(self):
        """Packets that the queues let fall."""
        queues = [json.loads(subprocess.run(["nsenter", "-t", str(host.pid), "-n", "tc", "-j", "-s", "qdisc", "show", "dev", "cable"],
                                            capture_output=True, text=True, check=True).stdout) for host in self.hosts]
        return sum(queue["drops"] for side in queues for queue in side)

    def enter(self, side):
        """For a child before it runs its program. It sees its own host's interfaces in /sys, too: UCX looks for them there."""
        def go():
            with open(f"/proc/{self.hosts[side].pid}/ns/net", "rb") as file:
                if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
                    os._exit(99)
            if (LIBC.unshare(CLONE_NEWNS) != 0 or LIBC.mount(b"none", b"/sys", None, MS_REC_PRIVATE, None) != 0
                    or LIBC.mount(b"sysfs", b"/sys", b"sysfs", 0, None) != 0):
                os._exit(98)
        return go


class Proxy:
    """A cable that does to the bytes what it is told (`proxy --help`), between clients that come to `address` and a daemon."""

    def __init__(self, host):
        self.process = subprocess.Popen([str(TESTS / "proxy"), host.wires[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        preexec_fn=die_with_parent)
        CHILDREN.append(self.process)
        self.address = self.process.stdout.readline().split()[1]
        self.wire = f"{host.scheme}://{self.address}"
        self.fired = 0

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        words = self.process.stdout.readline().split()
        check(words and words[0] == "ok", f"proxy: {line}: {words}")
        return words[1:]

    def after(self, direction, size, action):
        """The action, when so many more bytes have passed."""
        self.fired = int(self.ask("stat")[4])
        self.ask(f"after {direction} {size} {action}")

    def happened(self):
        return int(self.ask("stat")[4]) > self.fired

    def passed(self):
        return [int(word) for word in self.ask("stat")[2:4]]


class Witness(threading.Thread):
    """A client that nobody harms: looks up and fetches the same blocks through it all and compares every byte."""

    def __init__(self, guest, first, count):
        super().__init__(daemon=True)
        self.guest, self.first, self.count = guest, first, count
        self.rounds, self.failure, self.ends = 0, None, False
        guest.ask(f"store {first} {count}")
        self.start()

    def run(self):
        try:
            while not self.ends:
                check(self.guest.ask(f"lookup 0 {self.first} {self.count}")[0] == str(self.count), "a block is not found")
                check(self.guest.ask("fetch 0") == [str(self.count)], "a block is not fetched")
                self.guest.ask("release 0")
                self.rounds += 1
        except SystemExit as failure:
            self.failure = failure

    def goes_on(self, while_what):
        """Since now: whole rounds with right bytes."""
        before = self.rounds
        until(lambda: self.failure is not None or self.rounds >= before + 2, 20, f"another session goes on ({while_what})")
        check(self.failure is None, f"another session was disturbed ({while_what}): {self.failure}")

    def end(self):
        self.goes_on("at the end")
        self.ends = True
        self.join()


LISTEN = """listen:
  tls: "ADDRESS"
  tls_certificate: FOLDER/daemon.pem
  tls_key: FOLDER/daemon.key
  token_file: FOLDER/tokens
"""


LISTEN_UCX = """listen:
  ucx: "ADDRESS"
  token_file: FOLDER/tokens
"""


FABRIC = LISTEN_UCX.replace("  token_file", "  trusted_fabric: true\n  token_file")


class Host(Daemon):
    """A daemon that other hosts reach at `wire`."""

    def __init__(self, yaml="", address="127.0.0.1:0", listen=LISTEN, scheme="tls", **options):
        listen = LISTEN_UCX if scheme == "ucx" and listen is LISTEN else listen
        super().__init__(yaml=yaml + listen.replace("ADDRESS", address), prepare=prepare, **options)
        ports = re.findall(rf"{scheme}: listening on (\S+)", self.log())
        check(ports, "the log tells where other hosts connect")
        self.scheme = scheme
        self.wires = ports
        self.wire = f"{scheme}://{ports[0]}"

    def environment(self, token="worker"):
        # A sanitizer's dlopen does not know the run path of whoever calls it.
        return {"QUIRE_TOKEN_FILE": f"{self.folder}/token.{token}", "QUIRE_TLS_AUTHORITIES": f"{self.folder}/ca.pem",
                "LD_LIBRARY_PATH": os.environ["QUIRE_LIB"]}


class Guest(Actor):
    """An actor that comes over the wire."""

    def __init__(self, host, token="worker", ns="story 4 2 64 16", wire=None, environment=None, preexec=None):
        super().__init__(preexec=lambda: (os.environ.update(environment or host.environment(token)), preexec and preexec()))
        if ns is not None:
            self.ask(f"open {wire or host.wire} guest")
            self.ask(f"ns {ns}")


def leased_bytes(host):
    return sum(tier["leased_bytes"] + tier["quarantined_bytes"] for tier in host.status()["tiers"])


def held(host):
    """A recount of what sessions hold: those there are, memory lent to them, bytes that they leased, and the daemon's descriptors."""
    status = host.status()
    return {"sessions": len(host.ctl("session", "list")[1]["sessions"]), "lent": status["daemon"]["ingest_lent_bytes"], "leased": leased_bytes(host),
            "descriptors": len(os.listdir(f"/proc/{host.process.pid}/fd"))}


def holds_no_more_than(host, before, seconds=20):
    """Nothing is left of those who came since."""
    def no_more():
        now = held(host)
        return all(now[name] <= before[name] for name in before)
    until(no_more, seconds, f"what sessions held is given back: {before}")


def nothing_under_way(host, seconds=20):
    """Nothing is being sent to anybody, and no record is held for that: whoever fetched has what was asked for, or is gone."""
    until(lambda: [host.status()["daemon"][name] for name in ("pieces_held", "remote_read_bytes")] == [0, 0], seconds,
          "what was being sent is let go of")


def settled(host):
    """Nothing is left of those who went: no session, no lease, no memory lent, nothing that is being sent to them."""
    def nothing_left():
        counters = host.counters()
        return (counters["quire_sessions"] <= 1 and counters["quire_ingest_lent_bytes"] == 0 and counters["quire_pieces_held"] == 0
                and counters["quire_remote_read_bytes"] == 0)
    until(nothing_left, 20, "what sessions held is given back")


def share(host):
    """A writer and a reader over the wire, and a local one: what each stores the others find and fetch, bit-equal."""
    writer, reader, local = Guest(host), Guest(host, "reader"), Actor(host)
    check(writer.ask("info")[2] == "0", "there is no zero-copy over a wire")
    writer.ask("store 0 300")
    check(reader.ask("lookup 0 0 300")[0] == "300", "another one sees them")
    check(reader.ask("fetch 0") == ["300"], "and fetches them, bit-equal")
    check(local.ask("lookup 0 0 300")[0] == "300", "so does a local one")
    check(local.ask("fetch 0") == ["300"], "from the same pool")
    local.ask("store 300 50")
    check(writer.ask("lookup 1 300 50")[0] == "50", "and what that one stores is there for them")
    check(writer.ask("fetch 1 lanes=1,2,0,1") == ["50"], "also a part of each block")
    return writer, reader, local
