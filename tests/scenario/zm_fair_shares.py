"""Workers on other hosts ask for hundreds of megabytes at once: one of them reads slowly, one prefetches. Another's fetches of 64 KiB, one after the
other, are as prompt as if it were alone, since nobody waits for what somebody else does not take; and each gets all that it asked for."""
import os
import signal
import threading
import time

from lib_story import SLOW, Actor, check, until
from lib_wire import Guest, Host

WIDE, BLOCKS, TIMES = "story-wide 32 8 128 16", 16, 6  # blocks of 2 MiB


def slowly(pid, over):
    """It reads for a moment now and then: often enough not to be taken for one that takes nothing."""
    while not over.is_set():
        os.kill(pid, signal.SIGSTOP)
        over.wait(0.5)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.04 * SLOW)


def share(scheme):
    host = Host(scheme=scheme, pool="256MiB", yaml="max_remote_read_bytes: 2MiB\n")
    local = Actor(host, ns=WIDE)
    local.ask(f"store 0 {BLOCKS}")
    small = Guest(host, ns="story 8 2 64 16")
    small.ask("store 0 100")
    greedy = [Guest(host, ns=WIDE) for _ in range(4)]
    for index, one in enumerate(greedy):
        check(one.ask(f"lookup 0 0 {BLOCKS}{' prefetch' if index == 1 else ''}")[0] == str(BLOCKS), "all is there")
    for one in greedy:
        one.say(f"flood 0 {TIMES}")
        check(one.hear() == ["started"], "they ask")

    over = threading.Event()
    slow = threading.Thread(target=slowly, args=[greedy[0].pid(), over])
    slow.start()
    try:
        began = time.monotonic()
        for turn in range(3):
            statuses = small.ask("read 0 100")[0].split(",")
            check(set(statuses) == {"OK"}, f"64 KiB are fetched beside them: {statuses}")
        took = time.monotonic() - began
        check(took < 30 * SLOW, f"300 fetches of 64 KiB took {took:.1f} s beside those who ask for much")
    finally:
        over.set()
        slow.join()
    for one in greedy:
        words = one.hear()
        check(words == ["ok", str(BLOCKS * TIMES)], f"each gets all of it: {words}")
    counters = host.counters()
    check(counters["quire_reads_waited_all_total"] > 0, "they were held up: the story tests something")
    for one in [*greedy, small]:
        one.quit()
    until(lambda: sum(tier["leased_bytes"] for tier in host.status()["tiers"]) == 0, 20, "nothing is held any more")
    host.stop()


share("tls")
share("ucx")
