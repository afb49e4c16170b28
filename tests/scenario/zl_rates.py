"""Rates of tenants: who has used up a token's rate is not read for a while, in fetches and in stores; nothing is lost by that, all sessions of the
token share it, and those of another notice nothing. A reload changes the rate for those who are there."""
import time

from lib_story import check, until
from lib_wire import TOKENS, Guest, Host, settled, write_private

MIB = 1 << 20
BLOCKS = 100  # of 32 KiB: more than three MiB, of which one passes at once


def limit(host, rate):
    write_private(f"{host.folder}/tokens", TOKENS.replace(" read,write story*", f" read,write story* {rate}"))
    host.ctl("config", "reload")


def session(host, name):
    listed = [session for session in host.ctl("session", "list")[1]["sessions"] if session["client"] == name]
    check(len(listed) == 1, listed)
    return listed[0]


def comes(host, name, token="worker"):
    guest = Guest(host, token, ns=None)
    guest.ask(f"open {host.wire} {name}")
    guest.ask("ns story 4 2 64 16")
    return guest


def bytes_a_second(host, limited, fellow, reader):
    """Lower bounds only, so a slow machine does not matter: more than was let in cannot have come."""
    limit(host, f"bytes_per_s={MIB}")
    check(session(host, "limited")["bytes_per_s"] == MIB and session(host, "reader")["bytes_per_s"] == 0, "the limit is the worker's")
    began = time.monotonic()
    limited.ask(f"store 0 {BLOCKS}")
    took_s = time.monotonic() - began
    check(took_s > 0.9 * (BLOCKS * 32 * 1024 - MIB) / MIB, f"3 MiB were stored in {took_s} s at one a second")
    check(session(host, "limited")["held"] > 0 and session(host, "limited")["held_ms"] > 0, session(host, "limited"))
    check(host.counters()["quire_rate_held_total"] > 0, "counted")

    # Fetching, beside a fellow of the same token that shares the rate, and a reader that does not.
    check(limited.ask(f"lookup 0 0 {BLOCKS}")[0] == str(BLOCKS) and fellow.ask(f"lookup 0 0 {BLOCKS}")[0] == str(BLOCKS), "found")
    began = time.monotonic()
    limited.say("fetch 0")
    fellow.say("fetch 0")
    for i in range(20):
        check(reader.ask(f"lookup {i} 0 {BLOCKS}")[0] == str(BLOCKS), "found")
        check(reader.ask(f"fetch {i}") == [str(BLOCKS)], "with right bytes")
        reader.ask(f"release {i}")
    check(session(host, "reader")["held"] == 0, "whose token has no limit waits for nobody")
    check(limited.hear() == fellow.hear() == ["ok", str(BLOCKS)], "what was held comes, with right bytes")
    took_s = time.monotonic() - began
    check(took_s > 0.9 * (2 * BLOCKS * 32 * 1024 - MIB) / MIB, f"6 MiB were fetched in {took_s} s at one a second, together")
    check(session(host, "fellow")["held"] > 0, session(host, "fellow"))


def requests_a_second(host, limited):
    """A rate that is changed while somebody waits for it holds at once, and nobody is sent away."""
    limit(host, "requests_per_s=1")
    for i in range(1, 3):
        limited.say(f"lookup {i} 0 5")
        limited.hear()
    held = session(host, "limited")["held"]
    limited.say("lookup 3 0 5")
    until(lambda: session(host, "limited")["requests_per_s"] == 1 and session(host, "limited")["held"] > held, 10, "held")
    limit(host, "requests_per_s=100000")
    check(limited.hear()[:2] == ["ok", "5"], "and let go")


def gone_in_line(host, limited, fellow):
    """Nothing is left of who was in line, and the line goes on."""
    limit(host, "requests_per_s=1")
    for i in range(4):
        fellow.say(f"lookup {10 + i} 0 5")
        limited.say(f"lookup {10 + i} 0 5")

    def in_line(name):
        """Nothing comes of what it asks, for longer than anything else would take."""
        before = session(host, name)["requests"]
        time.sleep(0.3)
        return session(host, name)["requests"] == before

    until(lambda: in_line("limited") and in_line("fellow"), 10, "both wait")
    limited.kill()
    until(lambda: not any(other["client"] == "limited" for other in host.ctl("session", "list")[1]["sessions"]), 20, "its session ended")
    answers = [fellow.hear()[0] for i in range(4)]
    check("ok" in answers[2:], f"who is left in line is served: {answers}")


for scheme in ("tls", "ucx"):
    host = Host(scheme=scheme)
    limited, fellow = comes(host, "limited"), comes(host, "fellow")
    reader = comes(host, "reader", "reader")
    bytes_a_second(host, limited, fellow, reader)
    if scheme == "tls":
        requests_a_second(host, limited)
        gone_in_line(host, limited, fellow)
    else:
        limited.quit()
    limit(host, "")
    check(fellow.ask("lookup 20 0 5")[0] == "5", "without a limit again")
    fellow.quit()
    reader.quit()
    settled(host)
    host.stop()
