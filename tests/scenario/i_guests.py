"""Trust domains: a user outside may be let in as a guest, gets right bytes as copies and no view; one who is not named is refused."""
import os

from lib_story import Actor, Daemon, check

if os.getuid() != 0:
    print("needs root to become other users; the same rules are unit-tested with injected credentials")
    raise SystemExit(77)  # skipped
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
