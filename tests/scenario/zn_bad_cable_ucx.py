"""What a bad cable and passers-by can do to UCX, which protects nothing: who scans its ports, holds connections open or says a little that is no wire-up
disturbs nobody, and a connection that is cut or stalls while it is made ends with a status, after which another one works. (What whoever reaches these ports
can do beyond that: README, "What UCX does not protect".)"""
import os
import re
import socket
import struct
import subprocess

from lib_story import check, until
from lib_wire import Guest, Host, Proxy, Witness, held, holds_no_more_than

host = Host(scheme="ucx")
witness = Witness(Guest(host), 0, 20)
proxy = Proxy(host)
before = held(host)

# The listener, and the ports that UCX opens beside it, which the daemon does not even know.
listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
ports = [int(re.search(r":(\d+)\s", line).group(1)) for line in listening if f"pid={host.process.pid}," in line]
check(int(host.wires[0].split(":")[1]) in ports and len(ports) >= 3, f"the daemon's ports are found: {ports}")
for port in ports:
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    for index, one in enumerate(crowd):
        if index % 3 == 0:
            one.sendall(os.urandom(7))  # less than what says how much comes
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", index % 2, 0))
    witness.goes_on(f"sixty that say nothing at port {port}")
    for one in crowd:
        one.close()
    witness.goes_on(f"and leave port {port}")
holds_no_more_than(host, before)

# While it is made, a connection is cut at any byte, or stalls: the open ends, and the next one works.
one = Guest(host, ns=None)
for direction, size in (("up", 1), ("up", 17), ("up", 60), ("down", 1), ("down", 30)):
    for action in ("cut", "reset", "stall both"):
        proxy.after(direction, size, action)
        one.say(f"open {proxy.wire}")
        words = one.hear()
        check(proxy.happened(), f"it was made through the proxy ({words})")
        check(words[0] == "err" and words[1] in ("DISCONNECTED", "TIMEOUT"), f"{action} after {size} bytes {direction}: {words}")
        proxy.ask("cut")
        proxy.ask("go")
        witness.goes_on(f"{action} after {size} bytes {direction}")
until(lambda: (one.say(f"open {proxy.wire}"), one.hear())[1][0] == "ok", 30, "the next one works")
one.ask("ns story 4 2 64 16")
check(one.ask("lookup 0 0 20")[0] == "20" and one.ask("fetch 0") == ["20"], "with right bytes")
one.ask("close")
holds_no_more_than(host, before)
witness.end()
host.stop()
