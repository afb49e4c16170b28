"""quired's command line and configuration with the real program: what is printed loads back, what is wrong is refused before anything is touched."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from lib_story import BIN, FOLDER, SLOW, Daemon, check, until

SOURCE = pathlib.Path(os.environ.get("QUIRE_SOURCE", "."))
scratch = tempfile.TemporaryDirectory(prefix=FOLDER)
folder = scratch.name


def quired(*arguments, code=0, text="", env=None):
    done = subprocess.run([str(BIN / "quired"), *arguments], capture_output=True, text=True, timeout=30 * SLOW, check=False, env={**os.environ, **(env or {})})
    check(done.returncode == code, f"quired {arguments}: exit {done.returncode} instead of {code}\n{done.stdout}{done.stderr}")
    check(text in done.stdout + done.stderr, f"quired {arguments}: no '{text}' in\n{done.stdout}{done.stderr}")
    return done.stdout


# The printed configuration is the installed example, and loads back to itself, also after flags changed it.
printed = quired("--defaults", "--print-config")
check(printed == (SOURCE / "deploy/quired.yaml").read_text(encoding="utf-8"), "deploy/quired.yaml is not `quired --defaults --print-config`")
changed = quired("--defaults", "--pool-size", "3GiB", "--set", "pager.lease_ms=1500ms", "--log-json", "--print-config")
check("pool_bytes: 3GiB" in changed and "lease_ms: 1500ms" in changed and "log_json: true" in changed, changed)
pathlib.Path(folder, "a.yaml").write_text(changed, encoding="utf-8")
check(quired("--config", f"{folder}/a.yaml", "--print-config") == changed, "what was printed loads back differently")
quired("--config", f"{folder}/a.yaml", "--check-config", text="default: 3 GiB")

# The usual places: the first that is there.
pathlib.Path(folder, "quired.yaml").write_text("drain_ms: 7s\n", encoding="utf-8")
check("drain_ms: 7s" in quired("--print-config", env={"CONFIGURATION_DIRECTORY": folder}), "$CONFIGURATION_DIRECTORY/quired.yaml is not read")
check("drain_ms: 5s" in quired("--print-config", "--defaults", env={"CONFIGURATION_DIRECTORY": folder}), "--defaults reads a file")

# Mistakes end with 2 and a sentence.
pathlib.Path(folder, "bad.yaml").write_text("log_level: info\nmetrics_prot: 1\n", encoding="utf-8")
quired("--config", f"{folder}/bad.yaml", code=2, text="bad.yaml:2: no option 'metrics_prot', did you mean 'metrics_port'?")
quired("--config", f"{folder}/none.yaml", code=2, text="No such file")
quired("--pool-sise", "1GiB", code=2, text="did you mean '--pool-size'?")
quired("--defaults", "--set", "pager.reclaim_low_pct=9", "--check-config", code=2, text="must not be below")
quired("--help", text="--print-config")
quired("--version", text="quired ")

# What cannot be written is no success.
quired("--defaults", "--check-config", text="1 member, 0 guests")
# A check touches no drive, and does not pretend that it had: only a start can tell.
# A rehearsal of a file that the set has not would do nothing: told before the start, and by it.
with open(f"{folder}/rehearsal.yaml", "w", encoding="utf-8") as file:
    file.write('faults: ["read:delay=1ms,file=0", "read:error=EIO,file=1"]\ntiers: {file: [{path: /dev/null, size: 1GiB}]}\n')
for action in (["--check-config"], []):
    quired("--config", f"{folder}/rehearsal.yaml", *action, code=2, text="faults: rule 2, 'read:error=EIO,file=1': file=1: the set has 1, from 0 on")
quired("--defaults", "--disk", "/dev/null:1GiB", "--check-config", text="/dev/null: 1 GiB (what is there was not looked at)")
for action in ("--print-config", "--check-config", "--help", "--version"):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(BIN / "quired"), "--defaults", action], stdout=full, stderr=subprocess.PIPE, timeout=30 * SLOW, check=False)
    check(done.returncode == 1 and b"could not be written" in done.stderr, f"quired {action} > /dev/full: exit {done.returncode}, {done.stderr}")
for command in ("quirectl --json --version", "quirectl help", "quire-bench --help", "sim --seed 1 --steps 10"):
    program, *arguments = command.split()
    if not (BIN / program).exists():
        continue  # the simulator is not made for the thread sanitizer, which has nothing to see in it
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(BIN / program), *arguments], stdout=full, stderr=subprocess.PIPE, timeout=30 * SLOW, check=False)
    check(done.returncode == 1 and b"could not be written" in done.stderr, f"{command} > /dev/full: exit {done.returncode}, {done.stderr}")

# JSON lines; the metrics' port is told in log and status.
daemon = Daemon("log_json: true\n")
check('"event":"serving"' in daemon.log(), daemon.log())
check(daemon.http(daemon.status()["daemon"]["metrics_address"], "/healthz")[0] == 200, "not healthy")
check(daemon.counters()["quire_serving"] == 1, "quire_serving is not 1")

# A stopped loop is ill: /healthz says so once the heart has not beaten for long, and recovers. (SIGSTOP stops every thread, so only the recovery shows.)
daemon.process.send_signal(signal.SIGSTOP)
daemon.process.send_signal(signal.SIGCONT)
until(lambda: daemon.http(daemon.status()["daemon"]["metrics_address"], "/healthz")[0] == 200, 10, "it does not recover")
daemon.stop()

# A socket's folder that others may write to is refused.
os.mkdir(f"{folder}/open")
os.chmod(f"{folder}/open", 0o777)
quired("--defaults", "--socket", f"{folder}/open/q.sock", "--no-metrics", "--pool-size", "16MiB", code=1, text="can be written by others")
sys.exit(0)
