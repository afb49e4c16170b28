"""Two hosts with two cables between them: a worker that knows both addresses of a daemon comes by the first; that cable is pulled, and the same client
goes on by the second, with what was stored before. A worker that starts now, and is told the dead address first, gets there as well."""
from lib_story import check, until
from lib_wire import Cable, Guest, Host, make_certificate

cable = Cable()
pids = [str(host.pid) for host in cable.hosts]
cable.ip(None, "link", "add", "spare", "netns", pids[0], "type", "veth", "peer", "name", "spare", "netns", pids[1])
for side, address in enumerate(("10.98.0.1", "10.98.0.2")):
    cable.ip(side, "address", "add", f"{address}/24", "dev", "spare")
    cable.ip(side, "link", "set", "spare", "up")

host = Host(address="10.99.0.1:0,10.98.0.1:0", preexec=cable.enter(0))
make_certificate(host.folder, "daemon", names="IP:10.99.0.1,IP:10.98.0.1")
host.ctl("config", "reload")
both = f"tls://{host.wires[0]},{host.wires[1]}"


def came_by(name="guest"):
    """Address and rail of each session of this name."""
    return sorted((session["peer"].split(":")[0], session["rail"].split(",")[0]) for session in host.ctl("session", "list")[1]["sessions"]
                  if session["client"] == name)


guest = Guest(host, wire=both, preexec=cable.enter(1))
guest.ask("store 0 50")
check(came_by() == [("10.99.0.2", "tls: cable")], f"by the first of two that are as near: {came_by()}")

cable.plug("down")
slot = 0


def found():
    global slot
    slot += 1
    guest.say(f"lookup {slot} 0 50")
    return guest.hear()[:2] == ["ok", "50"]


until(found, 40, "the client finds its blocks by the other cable")
check(guest.ask(f"fetch {slot}") == ["50"], "with right bytes")
check(("10.98.0.2", "tls: spare") in came_by(), came_by())

# Whoever starts now does not wait for the dead one until it gives up altogether; scheme and blanks may be repeated.
late = Guest(host, ns=None, preexec=cable.enter(1))
late.ask(f"open tls://{host.wires[0]},tls://{host.wires[1]} late")
check(came_by("late") == [("10.98.0.2", "tls: spare")], came_by("late"))
late.quit()

# An address that is no address, or nobody's: refused with which.
words = " ".join(Guest(host, ns=None, preexec=cable.enter(1)).ask(f"open tls://{host.wires[1]},nonsense x", fails="INVALID"))
check("nonsense" in words, words)
guest.quit()
host.stop()
