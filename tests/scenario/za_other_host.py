"""Two processes that share nothing but a wire: what one stores over TLS the other fetches, bit by bit, and a local one sees it, too; each with
the rights of its token."""
import os
import subprocess

from lib_story import BIN, check
from lib_wire import Guest, Host, share

host = Host()
writer, reader, local = share(host)

reader.ask("store 1000 1", fails="DENIED")
check(reader.ask("delete 0 1") == ["DENIED"], "who may only read deletes nothing")
check(writer.ask("delete 0 1") == ["OK"], "who may write may delete")
check(local.ask("lookup 1 0 1")[0] == "0", "for all")

blind = Guest(host, "elsewhere", ns=None)
blind.ask(f"open {host.wire} blind")
blind.ask("ns story 4 2 64 16", fails="DENIED")
blind.ask("ns other 4 2 64 16")
check(blind.ask("lookup 0 0 10")[0] == "0", "another namespace is empty")

# An operator sees where they come from, and may operate from there with a token that says so; each action leaves a line.
listed = {one["token"]: one for one in host.ctl("session", "list")[1]["sessions"] if one.get("token")}
check({"worker", "reader", "elsewhere"} <= set(listed) and listed["worker"]["peer"].startswith("127.0.0.1:"), f"{listed}")


def operate(token, *words):
    return subprocess.run([str(BIN / "quirectl"), "--socket", host.wire, *words], capture_output=True, text=True, check=False,
                          timeout=60, env={**os.environ, **host.environment(token)})


done = operate("reader", "config", "reload")
check(done.returncode == 5, f"who may only read does not operate: {done.returncode} {done.stdout}{done.stderr}")
done = operate("operator", "config", "reload")
check(done.returncode == 0, f"{done.stdout}{done.stderr}")
lines = [line for line in host.log().splitlines() if "admin_action" in line or "admin_denied" in line]
check(len(lines) == 2 and "admin_denied: reload by" in lines[0] and "token reader" in lines[0] and "admin_action: reload by" in lines[1]
      and "token operator" in lines[1], f"{lines}")
done = operate("reader", "status")
check(done.returncode == 0 and "serving" in done.stdout and "process" not in done.stdout and "socket" not in done.stdout, f"{done.stdout}{done.stderr}")
host.stop()
