"""The first thing anybody does: quired starts, says it is ready, answers, refuses a twin on its socket by name, and stops when told."""
import os
import signal
import socket
import subprocess
import tempfile

from lib_story import BIN, FOLDER, SLOW, Daemon, check, until

# Readiness is told the systemd way.
scratch = tempfile.TemporaryDirectory(prefix=FOLDER)
folder = scratch.name
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(f"{folder}/notify")
notify.settimeout(10 * SLOW)
daemon = Daemon(env={"NOTIFY_SOCKET": f"{folder}/notify"})
check(b"READY=1" in notify.recv(4096), "no READY=1 reached the notify socket")

status = daemon.status()
check(status["daemon"]["pid"] == daemon.process.pid, "status names another process")
check(status["daemon"]["state"] == "serving", f"state is {status['daemon']['state']}")

# A second daemon on the same socket is refused, and told who holds it; the first goes on.
twin = subprocess.run([str(BIN / "quired"), "--config", f"{daemon.folder}/quired.yaml"], capture_output=True, text=True, timeout=20 * SLOW, check=False)
check(twin.returncode != 0, "a twin started on the same socket")
check(str(daemon.process.pid) in twin.stderr, f"the refusal does not say who holds the socket: {twin.stderr}")
check(daemon.status()["daemon"]["pid"] == daemon.process.pid, "the first daemon was disturbed")

# Killed without a chance to clean up, its successor takes the socket over.
daemon.kill()
check(os.path.exists(daemon.socket), "the story needs the stale socket file")
daemon.start()

# SIGHUP: what can change does, what cannot is named.
daemon.write_config("log_level: debug\nmax_sessions: 7\nwork_threads: 3\n")
daemon.process.send_signal(signal.SIGHUP)
until(lambda: "changed: log_level" in daemon.log(), 10, "nothing was logged about the reload")
reloaded = [line for line in daemon.log().splitlines() if "changed: log_level" in line][0]
check("changed: log_level, max_sessions;" in reloaded, f"what changed is not named: {reloaded}")
check(reloaded.endswith("needs a restart: work_threads"), f"what cannot change is not named: {reloaded}")

# SIGTERM ends it with 0 and says goodbye to systemd.
daemon.process.send_signal(signal.SIGTERM)
check(daemon.process.wait(15 * SLOW) == 0, f"exit status {daemon.process.returncode}:\n{daemon.log()}")
check(not os.path.exists(daemon.socket), "the socket file was left behind")
said = b""
try:
    notify.settimeout(1)
    while True:
        said += notify.recv(4096)
except TimeoutError:
    pass
check(b"STOPPING=1" in said, "no STOPPING=1 at the end")
daemon.stop()
