"""quirectl top on a terminal: it draws what the daemon holds, pauses, follows the terminal's size, waits for a daemon that is gone, and q ends it."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from lib_story import BIN, CHILDREN, SLOW, Actor, Daemon, check, die_with_parent, until

daemon = Daemon()
actor = Actor(daemon, name="painter")
actor.ask("store 0 10")
screen = b""  # everything that was drawn, escape sequences and all


def resize(lines, columns):
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    if top is not None:
        top.send_signal(signal.SIGWINCH)


def shows(text, keys=b""):
    """Reads until the text was drawn after the keys were pressed."""
    global screen
    screen = b""
    os.write(ours, keys)
    end = time.monotonic() + 10 * SLOW
    while text not in screen:
        check(time.monotonic() < end, f"top does not show {text}: {screen[-2000:]}")
        check(top.poll() is None, f"top ended with {top.poll()}: {screen[-2000:]}")
        if select.select([ours], [], [], 0.1)[0]:
            screen += os.read(ours, 65536)


top = None
ours, theirs = pty.openpty()
resize(40, 160)
top = subprocess.Popen([str(BIN / "quirectl"), "--socket", daemon.socket, "top", "--interval", "100ms"], stdin=theirs, stdout=theirs, stderr=theirs,
                       env={**os.environ, "TERM": "xterm"}, preexec_fn=die_with_parent)
CHILDREN.append(top)
shows(b"default")
shows(b"go on", keys=b" ")
shows(b"pause", keys=b" ")
resize(30, 100)  # draws everything anew
shows(b"painter")

# The daemon goes and comes back.
daemon.kill()
shows(b"Connection refused")
daemon.start()
until(lambda: actor.say("store 20 3") or actor.hear()[0] == "ok", 10, "the actor does not come back")
resize(40, 160)
shows(b"painter")
os.write(ours, b"q")
end = time.monotonic() + 10 * SLOW
while top.poll() is None:
    check(time.monotonic() < end, "q does not end top")
    if select.select([ours], [], [], 0.05)[0]:
        screen += os.read(ours, 65536)
check(top.returncode == 0, f"top ended with {top.returncode}: {screen[-2000:]}")
check(b"\x1b[?1049l" in screen, "the terminal was not given back as it was")
daemon.stop()
