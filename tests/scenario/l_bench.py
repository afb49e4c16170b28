"""quire-bench on a small scale: each case gives one line of JSON with the promised fields. What it measures is not looked at here."""
import json
import math
import os
import subprocess
import tempfile

from lib_story import BIN, SLOW, check

FIELDS = {"subject": str, "case": str, "value": (int, float), "unit": str, "ceiling": (int, float), "ratio": (int, float)}


def bench(*arguments, code=0):
    # A sanitizer's dlopen does not know the run path of whoever calls it.
    done = subprocess.run([str(BIN / "quire-bench"), *arguments], capture_output=True, text=True, timeout=60 * SLOW, check=False,
                          env={**os.environ, "LD_LIBRARY_PATH": os.environ["QUIRE_LIB"]})
    check(done.returncode == code, f"quire-bench {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def look(subject, lines, cases, once=()):
    check([line["case"] for line in lines] == cases, f"{cases}: {lines}")
    for line in lines:
        case = line["case"]
        check(set(line) == set(FIELDS), f"{case}: the fields are {sorted(line)}")
        check(all(isinstance(line[name], kind) for name, kind in FIELDS.items()), f"{case}: {line}")
        check(line["subject"] == subject, f"{case}: {line}")
        check(all(math.isfinite(line[name]) and (line[name] > 0 or line["unit"] == "%") for name in ("value", "ceiling", "ratio")), f"{case}: {line}")
        measured = line["value"] / line["ceiling"]  # of one round: the ratio of medians is the median of ratios, but for what is per cent
        check(case not in once or line["unit"] == "%" or 0.98 < line["ratio"] / measured < 1.02, f"{case}: {line}")


def lines_of(*arguments):
    return [json.loads(line) for line in bench(*arguments, "--json", "--bin", str(BIN)).splitlines()]


def measure(case, *arguments, subject="local", also=()):
    look(subject, lines_of(subject, "--case", case, *arguments), [case, *also])


def write_trace(path):
    """Chats of three blocks, each asked for twice soon after one another."""
    with open(path, "w", encoding="utf-8") as file:
        for i in range(4000):
            chat = i // 2 * 3
            file.write(json.dumps({"timestamp": 50 * i, "hash_ids": [chat, chat + 1, chat + 2]}) + "\n")


measure("rss_100_sessions")
measure("fetch_64KiB_p50")
# All that other hosts see, in one go as people run it.
BULK = ["polled", "unhashed", "stream"]
NET = {"fetch_2MiB_tcp": BULK, "store_2MiB_tcp": BULK, "fetch_64KiB_tcp_p50": ["polled", "looked_up"], "lookup_1250_tcp": [],
       "fetch_64_sessions_tcp": ["slowest"], "fetch_64_sessions_tls": ["slowest"], "fetch_2MiB_tls": [], "store_2MiB_tls": [],
       "idle_100_sessions": [], "idle_100_sessions_ucx": []}
names = [name for case, more in NET.items() for name in [case, *(f"{case}_{what}" for what in more)]]
look("net", lines_of("net", "--tiny"), names, once=set(names) - {"lookup_1250_tcp"})  # which has its rounds in any case
check("rss_100_sessions" in bench("--help"), "the cases are not listed")
bench("local", "--case", "no-such-case", code=2)
bench("no-such-subject", code=2)
with tempfile.TemporaryDirectory() as empty:
    bench("local", "--case", "rss_100_sessions", "--bin", empty, code=1)
    bench("disk", "--case", "store_stream", "--dir", f"{empty}/none", code=1)
    bench("disk", "--case", "write_amplification_chat20", "--trace", f"{empty}/none", code=1)
    write_trace(f"{empty}/trace")
    measure("write_amplification_chat20", "--trace", f"{empty}/trace", subject="disk", also=["hits_chat20"])
