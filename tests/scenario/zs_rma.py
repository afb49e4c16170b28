"""Reading from afar (RMA): who has the right reads records out of the pool without the daemon's doing anything; over shared memory here, as a card would over RDMA. Who
has not gets the same bytes by message. What somebody had leased who is gone without a goodbye waits before it is used again."""
from lib_story import check, until
from lib_wire import Guest, Host, write_private

LANES = {"UCX_TLS": "posix,cma,self,tcp", "UCX_MM_ERROR_HANDLING": "y"}
DOMAIN = "domains:\n  - name: default\n    pool_bytes: 64MiB\n    rma: true\n"
RDMA = "m" * 40

host = Host(scheme="ucx", yaml=DOMAIN, env=LANES)
with open(f"{host.folder}/tokens", "a", encoding="utf-8") as file:
    file.write(f"near {RDMA} read,write,rma story*\n")
write_private(f"{host.folder}/token.near", f"near {RDMA}\n")
check(host.ctl("config", "reload")[0] == 0, "the token is taken")


def guest(token, path):
    return Guest(host, token, environment={**host.environment(token), **LANES, "QUIRE_FETCH_PATH": path})


def reads():
    return host.counters().get('quire_frames_in_total', 0)


near, far = guest("near", "rma"), guest("worker", "am")
near.ask("store 0 300")
check(near.ask("lookup 0 0 300")[0] == "300" and far.ask("lookup 0 0 300")[0] == "300", "both find them")
before = reads()
check(near.ask("fetch 0") == ["300"], "who has the right reads them from afar, bit-equal")
check(reads() - before < 30, f"without asking the daemon for each: {reads() - before} frames")
before = reads()
check(far.ask("fetch 0") == ["300"], "who has not gets them by message")
check(reads() - before > 100, "for each of which the daemon is asked")

stranger = Guest(host, "worker", ns=None, environment={**host.environment("worker"), **LANES, "QUIRE_FETCH_PATH": "rma"})
stranger.ask(f"open {host.wire} stranger", fails="UNSUPPORTED")

# Gone without a goodbye, with leases: what it may still be reading is nobody else's for a while.
near.ask("lookup 1 0 300")
near.process.kill()
near.process.wait()
until(lambda: any("quarantined_bytes" in name and value > 0 for name, value in host.counters().items()), 10, "what it had leased waits")
check(far.ask("lookup 1 0 300")[0] == "300" and far.ask("fetch 1") == ["300"], "and others go on")
host.stop()
