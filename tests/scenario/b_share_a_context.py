"""
Two processes share blocks: what one stores the other looks up, fetches, views, and both are told the same; a prefix ends where a block is missing.
What a token took the writer is what the reader saves, and nobody had to configure that.
"""
from lib_story import Actor, Daemon, check

daemon = Daemon()
writer, reader = Actor(daemon), Actor(daemon)
check(writer.ask("store 0 20 cost=1500") == ["20"], "20 blocks stored")
check(daemon.counters()["quire_prefill_seconds_saved_total"] == 0, "nobody has reused anything yet")
check(writer.ask("store 0 20") == ["20"], "storing them again succeeds too")

hits, reasons = reader.ask("lookup 0 0 24")
check(hits == "20", f"the prefix is {hits} blocks")
check(reasons == ",".join(["0"] * 20 + ["1"] * 4), f"blocks behind it were never stored: {reasons}")
samples = daemon.counters()
check(samples["quire_prefill_seconds_saved_total"] == 0.48, f"320 tokens of 1.5 ms: {samples['quire_prefill_seconds_saved_total']} s")
check(samples['quire_namespace_prefill_seconds_saved_total{namespace="story",domain="default"}'] == 0.48, "the same in its namespace")
check(samples['quire_namespace_prefill_seconds_per_token{namespace="story",domain="default"}'] == 0.0015, "at the writer's rate")
shown = daemon.ctl("ns", "show", "story")[1]["namespace"]
check((shown["prefill_us_per_token"], shown["prefill_reports"]) == (1500, 1), f"ns show: {shown}")
text = daemon.ctl("ns", "show", "story", parse=False)[1]
check("1.50 ms a token (667 tokens a second), as its workers measured (1 report); what was leased would have taken 480 ms" in text, f"ns show: {text}")
check(reader.ask("fetch 0") == ["20"], "all 20 arrive bit-equal")
check(reader.ask("view 0") == ["20"], "and can be viewed in place")
check(reader.ask("viewcheck 0") == ["20", "OK"], "the bytes stood")
reader.ask("release 0")

# Deleted in the middle: the prefix ends there, what is behind is unreachable, and the reasons say so.
check(writer.ask("delete 10 1") == ["OK"], "deleted")
hits, reasons = reader.ask("lookup 0 0 12")
check(hits == "10", f"the prefix now is {hits}")
check(reasons.split(",")[10:] == ["3", "7"], f"deleted, then orphan: {reasons}")
hits, reasons = reader.ask("lookup 0 0 12 each")
check(hits == "11", f"each for itself: {hits}")

# A part at a time, out of order, from two sessions: invisible until complete.
writer.ask("part 100 77 2 2 0 2")
check(reader.ask("lookup 0 100 1")[0] == "0", "half a block is no block")
reader.ask("part 100 77 0 2 1 1")
writer.ask("part 100 77 0 2 0 1")
check(reader.ask("lookup 0 100 1")[0] == "1", "all parts there")
check(reader.ask("fetch 0") == ["1"], "and the right bytes")
writer.ask("part 101 78 0 3 0 2")
writer.ask("part 101 78 2 2 0 2", fails="INVALID")

# The namespace is strict: one field of the layout differs, and it is named.
words = Actor(daemon, ns=None).ask("ns story 4 2 32 16", fails="MISMATCH")
check(any("dim" in word for word in words), f"the field that differs is not named: {words}")

status = daemon.ctl("ns", "show", "story")[1]
check("story" in str(status), f"ns show: {status}")
daemon.stop()
