"""An operator's day with quirectl: looks, asks why something missed, pins, evicts, kicks, deletes; every command as text and as JSON, every exit code."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from lib_story import BIN, SLOW, Actor, Daemon, check, key, until


def run(*arguments, code=0, text="", stdin=""):
    done = subprocess.run([str(BIN / "quirectl"), *arguments], capture_output=True, text=True, timeout=30 * SLOW, check=False, input=stdin,
                          env={**os.environ, "QUIRE_SOCKET": daemon.socket})
    check(done.returncode == code, f"quirectl {arguments}: exit {done.returncode} instead of {code}\n{done.stdout}{done.stderr}")
    check(text in done.stdout + done.stderr, f"quirectl {arguments}: no '{text}' in\n{done.stdout}{done.stderr}")
    return done.stdout


def ask(*arguments, code=0):
    return json.loads(run("--json", *arguments, code=code))


daemon = Daemon(flags=["--set", "pager.lease_ms=45s"])
run("ns", "list", text="no namespace yet")

worker = Actor(daemon, name="worker")
worker.ask("store 0 10")
worker.ask("store 19 6")
worker.ask("delete 19 1")  # the chain of blocks 20 to 24 has lost its first block

# Looking.
run("status", text="serving")
run("ns", "list", text="story")
check(ask("ns", "list")["namespaces"][0]["blocks"] >= 15, "blocks are not counted")
run("ns", "show", "story", text="4 layers store KV, 2 heads, K 64 and V 64 of f16")
check(ask("ns", "show", "story")["namespace"]["layout"]["block_tokens"] == 16, "the layout is not shown")
run("ns", "show", "story", text="no worker told what a token takes")
run("ns", "show", "nothing", code=4, text="no namespace 'nothing'")
run("session", "list", text="worker")
run("counters", "put", text="puts_stored")
check(ask("counters")["counters"]["puts_stored"] == 16, "stored records are not counted")
check("max_blocks" in run("config"), "config is not the configuration")
run("config", text="lease_ms: 45s")
run("top", "--once", "--interval", "100ms", text="TIERS")
check(ask("top", "--interval=100ms")["per_second"]["lookups"] >= 0, "top has no rates")
run("doctor", text="quired answers at")
check({"socket", "memfd", "io_uring"} <= {entry["check"] for entry in ask("doctor")["checks"]}, "doctor leaves something out")

# Blocks.
run("block", "show", key(0), "--ns", "story", text="resident")
check(ask("block", "show", key(3), "--ns", "story")["blocks"][0]["parent"] == key(2), "the parent is not shown")
run("block", "show", key(99), "--ns", "story", code=4, text="never stored")
run("block", "show", "zz", "--ns", "story", code=2, text="64 hexadecimal digits")
run("block", "show", key(0), code=2, text="--ns NAME is missing")
run("lookup", "--ns", "story", "--key", key(0), "--key", key(9), text="2 of 2 keys hit")
answer = ask("lookup", "--ns", "story", "--key", key(0), "--key", key(77), code=4)
check([entry["hit"] for entry in answer["keys"]] == [True, False], f"lookup: {answer}")
check(answer["keys"][1]["miss"] == "never_stored", f"lookup: {answer}")

# Why did it miss? Block 22 is there, but its chain broke at 19; block 5's chain is whole.
run("why-miss", "--ns", "story", key(5), text="nothing misses")
answer = ask("why-miss", "--ns", "story", key(22))
check(answer["misses"] and answer["block"]["key"] == key(19) and answer["steps_before_key"] == 3, f"why-miss: {answer}")
check(answer["block"]["miss"] == "deleted", f"why-miss: {answer}")
run("why-miss", "--ns", "story", "--tokens", "-", stdin=" ".join(map(str, range(40))), text="block 0 misses")
answer = json.loads(run("why-miss", "--json", "--ns", "story", "--tokens", "-", stdin=" ".join(map(str, range(40)))))
check(answer["hits_before"] == 0 and answer["blocks_behind"] == 1 and answer["block"]["advice"], f"why-miss by tokens: {answer}")
run("lookup", "--ns", "story", "--tokens", "-", stdin="1 2 3", code=2, text="make no full block")

# What is pinned stays when everything else is evicted.
run("pin", "--ns", "story", key(0), text="pinned")
run("pin", "--ns", "story", key(88), code=4)
until(lambda: ask("evict", "--bytes", "1GiB")["freed_bytes"] == 0, 10, "evict does not come to an end")
run("lookup", "--ns", "story", "--key", key(0), text="1 of 1 key hit")
check(ask("lookup", "--ns", "story", "--key", key(9), code=4)["keys"][0]["miss"] == "evicted", "the reason is not 'evicted'")
run("unpin", "--ns", "story", key(0), text="unpinned")
run("unpin", "--ns", "story", key(0), code=4, text="not pinned")
run("evict", code=2, text="--bytes SIZE is missing")
run("evict", "--bytes", "much", code=2, text="512MiB")
run("evict", "--bytes", "1MiB", "--ns", "nothing", code=4)

# A configured rate stands in where no worker measured; what a worker measured wins, from the next hit on.
daemon.write_config("prefill_tokens_per_s: 1000\n")
run("config", "reload", text="changed: prefill_tokens_per_s")
worker.ask("store 30 1")
worker.ask("lookup 0 30 1")
run("ns", "show", "story", text="1.00 ms a token (1,000 tokens a second), as configured; what was leased would have taken 16 ms")
worker.ask("store 31 1 cost=2.5e6")
worker.ask("lookup 0 31 1 each")
run("ns", "show", "story", text="2.50 s a token (0.4 tokens a second), as its workers measured (1 report); what was leased would have taken 40.0 s")
check(ask("counters", "prefill_seconds_saved")["counters"]["prefill_seconds_saved"] == 40.016, "the sum is not what the hits saved")

# A session is ended; the worker's next call works again, over a new connection.
session = [s for s in ask("session", "list")["sessions"] if s["client"] == "worker"][0]["id"]
run("session", "kick", str(session), text="ended: worker")
run("session", "kick", str(session), code=4, text="no session")
run("session", "kick", "x", code=2)

# A namespace is deleted only by who says so.
run("ns", "delete", "story", code=2, text="--yes")
run("ns", "delete", "story", "--yes", text="deleted")
run("ns", "show", "story", code=4)
check(ask("counters")["counters"]["prefill_seconds_saved"] == 40.016, "what a namespace saved went with it")

# Reloading tells what changed and what cannot.
daemon.write_config("log_level: debug\nwork_threads: 3\n")
answer = run("config", "reload")
check("changed: log_level" in answer and "needs a restart: work_threads" in answer, f"reload: {answer}")
daemon.write_config("log_level: warn\nwork_threads: 3\nrecord_slots: 5000\npager:\n  lease_ms: 7s\n")
answer = ask("config", "reload")
check(answer == {"changed": ["log_level"], "needs_restart": ["work_threads", "record_slots"]}, f"reload as JSON: {answer}")
daemon.write_config("log_level: debug\nwork_threads: 3\n")
check(ask("config", "reload")["changed"] == ["log_level"], "reload as JSON")
check("log_level: debug" in run("config"), "the running configuration is not the reloaded one")
daemon.write_config("log_levle: debug\n")
run("config", "reload", code=2, text="did you mean 'log_level'?")

# Mistakes of the command line, and no daemon at all.
run("statsu", code=2, text="did you mean 'status'?")
run(code=2, text="Commands:")
run("status", "--sokcet", code=2)
run("help", "why-miss", text="Examples:")
run("--version", text="quirectl ")
check(set(ask("--version")) == {"version"}, "the version is no JSON object")
check(ask("help", "status")["name"] == ask("status", "--help")["name"] == "status", "help of a command is no JSON object")
check({"top", "ns list"} <= {command["name"] for command in ask("help")["commands"]}, "help is no JSON object")
run("--socket", f"{tempfile.gettempdir()}/no-quired-here", "status", code=3, text="no-quired-here")
run("--socket", f"{tempfile.gettempdir()}/no-quired-here", "doctor", code=1, text="fail")

# Completion knows commands, options and namespaces.
Actor(daemon, ns="other 4 2 64 16")
complete = f"""
. {pathlib.Path(os.environ.get("QUIRE_SOURCE", "."), "client/quirectl/quirectl.bash")}
complete_words() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _quirectl; echo "${{COMPREPLY[*]}}"; }}
complete_words quirectl st
complete_words quirectl ns ''
complete_words quirectl lookup --to
complete_words quirectl lookup --ns ot
complete_words quirectl ns show oth
complete_words quirectl --socket {daemon.socket} session ki
"""
done = subprocess.run(["bash", "-c", complete], capture_output=True, text=True, timeout=60 * SLOW, check=False,
                      env={**os.environ, "QUIRE_SOCKET": daemon.socket, "PATH": f"{BIN}:{os.environ['PATH']}"})
lines = done.stdout.splitlines()
check([sorted(line.split()) for line in lines] == [["status"], ["delete", "list", "show"], ["--tokens"], ["other"], ["other"], ["kick"]],
      f"completion: {lines} {done.stderr}")
daemon.stop()
sys.exit(0)
