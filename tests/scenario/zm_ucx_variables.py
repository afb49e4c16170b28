"""An operator who tunes UCX by its variables, and mistypes one: doctor reads the environment of the quired that runs, and says so. With deploy/ucx.env
it has nothing to say, and neither of a quired that does not listen by UCX."""
import os
import pathlib

from lib_story import Daemon, check
from lib_wire import TOKENS, write_private

LISTEN = 'listen:\n  ucx: "127.0.0.1:0"\n  token_file: FOLDER/tokens\n'


def sample():
    with open(pathlib.Path(os.environ["QUIRE_SOURCE"], "deploy/ucx.env"), encoding="utf-8") as file:
        return dict(line.strip().split("=", 1) for line in file if line.startswith("UCX_"))


def finding(yaml, env):
    for name in [name for name in os.environ if name.startswith("UCX_")]:
        del os.environ[name]
    daemon = Daemon(yaml=yaml, env=env, prepare=lambda folder: write_private(f"{folder}/tokens", TOKENS))
    checks = daemon.ctl("doctor", check_exit=False)[1]["checks"]
    daemon.stop()
    return next(check for check in checks if check["check"] == "ucx")


said = finding(LISTEN, sample())
check(said["level"] == "ok" and "127.0.0.1:0" in said["text"], said)
said = finding(LISTEN, {**sample(), "UCX_TCP_PORTRANGE": "1-2", "UCX_MEM_EVENTS": "y"})
check(said["level"] == "warn" and "UCX_TCP_PORTRANGE is no variable of UCX's: UCX_TCP_PORT_RANGE?" in said["text"], said)
check("UCX_MEM_EVENTS is not n" in said["text"] and "ucx.env" in said["advice"], said)
said = finding("", {"UCX_TCP_PORTRANGE": "1-2"})
check(said["level"] == "ok" and "does not listen" in said["text"], said)
