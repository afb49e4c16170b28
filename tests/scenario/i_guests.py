"""Trust domains: a user outside may be let in as a guest, gets right bytes as copies and no view; one who is not named is refused."""
import os

from lib_story import Actor, Daemon, check, skip

if os.getuid() != 0:
    skip("needs root to become other users; the same rules are unit-tested with injected credentials")
daemon = Daemon(yaml="socket_mode: 0666\ndomains:\n  - name: default\n    pool_bytes: 64MiB\n    members: [0]\n    guests: [65534]\n")
os.chmod(daemon.folder, 0o755)
member = Actor(daemon)
member.ask("store 0 20")
check(member.ask("info")[2] == "1", "a member has zero-copy")


def become(uid):
    return lambda: (os.setgroups([]), os.setgid(uid), os.setuid(uid))


guest = Actor(daemon, preexec=become(65534))
check(guest.ask("info")[2] == "0", "a guest has no zero-copy")
check(guest.ask("lookup 0 0 20")[0] == "20", "a guest looks up")
check(guest.ask("fetch 0") == ["20"], "a guest gets copies, bit-equal")
guest.ask("view 0", fails="DENIED")

stranger = Actor(preexec=become(12345))
stranger.ask(f"open {daemon.address}", fails="DENIED|DISCONNECTED")
daemon.stop()

# Two trust domains: the same name, layout and keys in the other domain are another namespace in another pool; nothing is seen across.
daemon = Daemon(yaml="socket_mode: 0666\ndomains:\n  - name: left\n    pool_bytes: 32MiB\n    members: [0]\n"
                     "  - name: right\n    pool_bytes: 32MiB\n    members: [65534]\n")
os.chmod(daemon.folder, 0o755)
left = Actor(daemon)
left.ask("store 100 7")  # so that the same place of the two pools holds different blocks
left.ask("store 0 10")
right = Actor(daemon, preexec=become(65534))
check(right.ask("info")[2] == "1", "a member of its own domain has zero-copy")
hits, reasons = right.ask("lookup 0 0 10")
check(hits == "0" and reasons == ",".join(["1"] * 10), f"the other domain's blocks are visible: {hits} {reasons}")
right.ask("view 0")
right.ask("store 0 3")
check(right.ask("lookup 0 0 10")[0] == "3", "its own blocks are there")
check(right.ask("view 0") == ["3"], "and can be viewed")
check(left.ask("lookup 0 0 10")[0] == "10", "the first domain is untouched")
check(left.ask("delete 0 10") == [",".join(["OK"] * 10)], "deleting here")
check(right.ask("fetch 0") == ["3"], "deletes nothing there")
tiers = {tier["domain"]: tier["records"] for tier in daemon.status()["tiers"]}
check(tiers == {"left": 7, "right": 3}, f"each pool holds its own: {tiers}")
daemon.stop()
