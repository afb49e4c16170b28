"""Several addresses: each interface has a thread of its own that carries it, on the processors that the operator gives; sessions by different
threads share what is stored, `session list` tells which came by which, and a reload renews the certificate of all."""
import glob
import os

from lib_story import check
from lib_wire import LISTEN, LISTEN_UCX, Guest, Host, make_certificate, settled

CPU = str(min(os.sched_getaffinity(0)))


def rails(host):
    """Processors of each rail's thread."""
    found = []
    for task in glob.glob(f"/proc/{host.process.pid}/task/*"):
        with open(f"{task}/status", encoding="utf-8") as file:
            facts = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        if facts["Name"] == "quired-rail":
            found.append(facts["Cpus_allowed_list"])
    return found


# 127.0.0.2 is no interface's own address, so it is carried by another thread than 127.0.0.1; all run where they were told to.
host = Host(address="127.0.0.1:0,127.0.0.2:0", listen=LISTEN + f'  pin: "{CPU}"\n')
check(rails(host) == [CPU, CPU], f"two rails on processor {CPU}: {rails(host)}")
check(len(host.wires) == 2, host.wires)

# The second address is not in the certificate; renewing it must reach every rail.
second = f"tls://{host.wires[1]}"
Guest(host, ns=None).ask(f"open {second}", fails="DENIED")
make_certificate(host.folder, "daemon", names="IP:127.0.0.1,IP:127.0.0.2")
host.ctl("config", "reload")
one, other = Guest(host), Guest(host, wire=second)
one.ask("store 0 5")
check(other.ask("lookup 0 0 5")[0] == "5", "what came by one rail is found by the other")
listed = sorted(session["rail"].split(",")[0] for session in host.ctl("session", "list")[1]["sessions"] if session["client"] == "guest")
check(listed == ["tls: any interface", "tls: lo"], listed)

# Those of one rail end; the other's do not notice.
other.quit()
check(one.ask("lookup 0 0 5")[0] == "5", "one rail's sessions ended, not the other's")
host.stop()

# One thread for all, when that is asked for; and one for each address, though they are of one interface.
host = Host(address="127.0.0.1:0,127.0.0.2:0", listen=LISTEN + "  rails: one\n")
check(len(rails(host)) == 1, rails(host))
Guest(host).ask("store 0 5")
host.stop()
host = Host(address="127.0.0.1:0,127.0.0.1:0,127.0.0.1:0", listen=LISTEN + "  rails: each\n  pin: none\n")
check(len(rails(host)) == 3, rails(host))
guests = [Guest(host, wire=f"tls://{wire}") for wire in host.wires]
guests[0].ask("store 0 5")
for guest in guests:
    check(guest.ask("lookup 0 0 5")[0] == "5", "found by every rail")
for guest in guests:
    guest.quit()
settled(host)
host.stop()

# UCX has rails by the same rules, and a client that knows several addresses passes over one where nobody is.
host = Host(scheme="ucx", address="127.0.0.1:0,127.0.0.1:0", listen=LISTEN_UCX + "  rails: each\n")
check(len(rails(host)) == 2, rails(host))
guests = [Guest(host, wire=f"ucx://127.0.0.1:1,{wire}") for wire in host.wires]
guests[0].ask("store 0 5")
check(guests[1].ask("lookup 0 0 5")[0] == "5" and guests[1].ask("fetch 0") == ["5"], "found by the other rail")
for guest in guests:
    guest.quit()
settled(host)
host.stop()
