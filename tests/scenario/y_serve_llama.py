"""
Two servers on one cache, as ordinary OpenAI clients see them: what one has prefilled the other reuses, a streamed answer is the plain one,
nonsense is refused, and a server ends at once when it is told to, also in the middle of a long prompt; a client that goes away holds nobody up.
"""
import http.client
import json
import os
import re
import signal
import subprocess
import sys

from lib_model import BOOK, ENVIRONMENT, MODEL
from lib_story import BIN, CHILDREN, SLOW, Daemon, check, die_with_parent, until

daemon = Daemon(pool="256MiB")


class Server:
    def __init__(self, name):
        self.log_path = f"{daemon.folder}/{name}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([str(BIN / "quire-llama"), "serve", "--model", MODEL, "--port", "0", "--socket", daemon.socket],
                                            stderr=log, env={**os.environ, **ENVIRONMENT}, preexec_fn=die_with_parent)
        CHILDREN.append(self.process)
        self.port = 0

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def listens(self):
        check(self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log()}")
        found = re.search(r"http://127\.0\.0\.1:(\d+),", self.log())
        self.port = int(found[1]) if found else 0
        return self.port != 0

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120 * SLOW)

    def ask(self, path, body=None, raw=None):
        connection = self.connect()
        connection.request("GET" if body is None and raw is None else "POST", path, raw if raw is not None else body and json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def complete(self, **more):
        code, text = self.ask("/v1/completions", {"prompt": BOOK[:1200], "max_tokens": 8, **more})
        check(code == 200, f"{code} {text}\n{self.log()}")
        return text

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10 * SLOW)  # a long prompt takes far longer
        except subprocess.TimeoutExpired:
            sys.exit(f"FAILED: a server did not stop:\n{self.log()}")
        check(code == 0, f"a server ended with {code}:\n{self.log()}")
        check("ERROR: AddressSanitizer" not in self.log() and "runtime error:" not in self.log(), f"a sanitizer spoke:\n{self.log()}")


first, second = Server("first"), Server("second")
until(first.listens, 120, "the first server does not listen")
until(second.listens, 120, "the second server does not listen")

# What one has computed the other reuses, and answers the same.
plain = json.loads(first.complete())
check(plain["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, f"nothing was stored yet: {plain}")
check(plain["usage"]["prompt_tokens"] > 200 and plain["usage"]["completion_tokens"] == 8, f"{plain['usage']}")
check(plain["choices"][0]["finish_reason"] == "length" and plain["choices"][0]["text"], f"{plain}")
shared = json.loads(second.complete())
check(shared["usage"]["prompt_tokens_details"]["cached_tokens"] >= 192, f"the second server reused too little: {shared['usage']}\n{second.log()}")
check(shared["choices"][0]["text"] == plain["choices"][0]["text"], f"other words:\n{plain}\n{shared}")

# What a token took the first to compute is what each that the second got saved.
shown = daemon.ctl("ns", "list")[1]["namespaces"][0]
check(shown["prefill_reports"] > 0 and shown["prefill_us_per_token"] > 0 and shown["prefill_seconds_saved"] > 0, f"{shown}")
check(daemon.counters()["quire_prefill_seconds_saved_total"] > 0, "no second was saved")

# Streamed, it is the same answer in pieces.
events = [line.removeprefix("data: ") for line in second.complete(stream=True, stream_options={"include_usage": True}).split("\n\n") if line]
check(events[-1] == "[DONE]" and len(events) > 3, f"{events}")
pieces = [json.loads(event) for event in events[:-1]]
check("".join(piece["choices"][0]["text"] for piece in pieces if piece["choices"]) == plain["choices"][0]["text"], f"{events}")
check([piece["choices"][0]["finish_reason"] for piece in pieces if piece["choices"]][-1] == "length", f"{events}")
check(pieces[-1]["usage"]["completion_tokens"] == 8, f"{events[-2]}")

# The rest of what clients ask, and what is refused.
code, text = first.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2})
check(code == 200 and json.loads(text)["choices"][0]["message"]["role"] == "assistant", f"{code} {text}")
code, text = first.ask("/v1/models")
check(code == 200 and len(json.loads(text)["data"]) == 1, f"{code} {text}")
check(first.ask("/health")[0] == 200, "the server is not well")
for path, body, expected in (("/v1/completions", b"{", 400), ("/v1/completions", b"", 400), ("/v1/completions", b'{"prompt":7}', 400),
                             ("/v1/completions", b'{"prompt":"a","max_tokens":-1}', 400), ("/v1/completions", b'{"prompt":"a","max_tokens":9000}', 400),
                             ("/v1/chat/completions", b'{"prompt":"a"}', 400), ("/v1/nothing", b"{}", 404)):
    code, text = first.ask(path, raw=body)
    check(code == expected and json.loads(text)["error"]["message"], f"{path} {body}: {code} {text}")
check(first.ask("/v1/completions")[0] == 405, "a completion is asked with POST")


def begin(server, prompt):
    """Asks, and comes back once the server is in the middle of it: it has stored what a batch made, and the prompt has many more."""
    before = daemon.counters()["quire_blocks"]
    connection = server.connect()
    connection.request("POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 8}))
    until(lambda: daemon.counters()["quire_blocks"] > before or server.process.poll() is not None, 60, f"nothing is computed:\n{server.log()}")
    return connection


# A client that goes away in the middle of a long prompt holds nobody up: its computation is given up, and the next is answered.
begin(first, BOOK[2000:26000]).close()
until(lambda: "the client hung up" in first.log(), 10, f"a hung-up client is still served:\n{first.log()}")
check(json.loads(first.complete())["choices"][0]["text"] == plain["choices"][0]["text"], "other words after a request that was given up")

# Told to end, a server says so to whoever waits, and ends: in the middle of a long prompt, with another in the queue, ...
waiting = [begin(first, BOOK[4000:28000]), first.connect()]
waiting[1].request("POST", "/v1/completions", json.dumps({"prompt": BOOK[:300], "max_tokens": 8}))
check(first.ask("/health")[0] == 200, "the server is not well")  # connected later: those before have been accepted
first.stop()
for connection in waiting:
    answer = connection.getresponse()
    text = answer.read().decode()
    check(answer.status == 503 and json.loads(text)["error"]["type"] == "server_error", f"{answer.status} {text}")

# ... and in the middle of a stream, which does not pretend to be complete.
connection = second.connect()
connection.request("POST", "/v1/completions", json.dumps({"prompt": BOOK[:1200], "max_tokens": 4000, "stream": True}))
answer = connection.getresponse()
check(answer.status == 200 and answer.readline().startswith(b"data: {"), "the stream does not begin")
second.stop()
rest = answer.read().decode()
check("[DONE]" not in rest and '"error"' in rest, f"the stream ended as if it were complete: {rest[-500:]}")
daemon.stop()
