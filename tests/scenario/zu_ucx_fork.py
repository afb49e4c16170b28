"""A worker that came over UCX forks. UCX cannot be used in the child: its thread and what it waits by stay with the parent. The child is told so instead of waiting for
its deadline, and goes by another address where it has one; the parent goes on undisturbed."""
import re

from lib_story import check
from lib_wire import LISTEN, Guest, Host

host = Host(scheme="ucx", listen=LISTEN + '  ucx: "ADDRESS"\n')
tls = re.search(r"tls: listening on (\S+)", host.log())[1]
alone = Guest(host)
both = Guest(host, wire=f"{host.wire},tls://{tls}")
for guest, first in ((alone, 0), (both, 100)):
    guest.ask(f"store {first} 12")
    guest.ask(f"lookup 0 {first} 12")
check("forked" in alone.ask("fork 0 12", fails="DISCONNECTED"), "the child is told why")
both.ask("fork 100 12")
for guest in (alone, both):
    check(guest.ask("fetch 0") == ["12"], "the parent's lease and connection were disturbed by its child")
    check(guest.ask("info")[4] == "0", "the parent had to connect again")
host.stop()
