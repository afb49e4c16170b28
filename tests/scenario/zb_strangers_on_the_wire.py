"""Strangers at the port for other hosts: scans, noise, another protocol, half a handshake, half a request, wrong certificates and tokens. Each is
told or hung up on, logged, counted, and leaves nothing behind, while a client that may be there goes on undisturbed."""
import os
import socket
import ssl
import struct
import threading

from lib_story import Actor, check, until
from lib_wire import Guest, Host, held, holds_no_more_than, make_authority, write_private

host = Host(address="127.0.0.1:0,127.0.0.2:0")
ADDRESS = (host.wires[0].split(":")[0], int(host.wires[0].split(":")[1]))
before = held(host)
guest = Guest(host)
guest.ask("store 0 20")


def undisturbed():
    check(guest.ask("lookup 0 0 20")[0] == "20" and guest.ask("fetch 0") == ["20"], "a client that may be there is undisturbed")
    guest.ask("release 0")


def count(name):
    return host.counters()[f"quire_{name}_total"]


def hung_up(connection):
    connection.settimeout(20 * 5)
    try:
        while connection.recv(4096):
            pass
    except (ConnectionResetError, ssl.SSLError):
        pass
    return True


def tls(alpn="quire/1", **how):
    context = ssl.create_default_context(cafile=f"{host.folder}/ca.pem")
    context.set_alpn_protocols([alpn])
    for name, value in how.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(ADDRESS), server_hostname="localhost")


# A scan: connects and goes. Noise, and another protocol.
for _ in range(30):
    socket.create_connection(ADDRESS).close()
for noise in (os.urandom(3000), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x40\x00" + os.urandom(200)):
    with socket.create_connection(ADDRESS) as stranger:
        stranger.sendall(noise)
        check(hung_up(stranger), "noise is hung up on")
until(lambda: count("remote_refused") >= 33, 20, "each was counted")
undisturbed()

# TLS of another kind: 1.2, another protocol inside, and one that will come.
for how in ({"maximum_version": ssl.TLSVersion.TLSv1_2}, {"alpn": "h2"}, {"alpn": "quire/2"}):
    try:
        tls(**how).close()
        check(False, f"{how} was let in")
    except (ssl.SSLError, ConnectionResetError):
        pass
check("it is of another version" in host.log(), "another version is named")


def later_daemon(listener):
    """Refuses our protocol's version, as a daemon of another one does: by TLS' own alert."""
    with listener.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x78")
        connection.recv(4096)


with socket.create_server(("127.0.0.1", 0)) as listener:
    thread = threading.Thread(target=later_daemon, args=[listener], daemon=True)
    thread.start()
    words = " ".join(Guest(host, ns=None).ask(f"open tls://127.0.0.1:{listener.getsockname()[1]}", fails="VERSION"))
    check("another version" in words, words)
    thread.join()

# A great scan: many at once, half of which are reset. From an address of its own, which may have to wait then.
refused = count("remote_refused")
many = [socket.create_connection(ADDRESS, source_address=("127.0.0.9", 0)) for _ in range(200)]
for index, one in enumerate(many):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", index % 2, 0))
    one.close()
until(lambda: count("remote_refused") >= refused + 200, 30, "each was counted")
undisturbed()

# Slow ones: nothing at all; a handshake and nothing; half a frame. All are gone after a bounded time.
slow = [socket.create_connection(ADDRESS), tls(), tls()]
slow[2].sendall(b"QUIR" + b"\0" * 20)
names = ["{}:{}".format(*one.getsockname()) for one in slow]
check(all(hung_up(one) for one in slow), "who does not go on is hung up on")
check(f"tls {names[0]}: no handshake in time" in host.log() and f"from {names[1]} that has proven no token: no HELLO in time" in host.log(),
      "the log tells whom")
undisturbed()

# Noise inside TLS, and a frame that is no greeting.
for noise in (os.urandom(200), b"\0" * 40):
    stranger = tls()
    stranger.sendall(noise)
    check(hung_up(stranger), "noise inside is hung up on")
until(lambda: count("remote_broken") >= 2, 20, "counted")

# Certificates: an authority that nobody trusts, on either side; one that has expired; another host's.
make_authority(host.folder, "other")
bad = Guest(host, ns=None, environment={**host.environment(), "QUIRE_TLS_AUTHORITIES": f"{host.folder}/other.pem"})
words = " ".join(bad.ask(f"open {host.wire}", fails="DENIED"))
check("certificate" in words, words)
words = " ".join(Guest(host, ns=None).ask(f"open tls://{host.wires[1]}", fails="DENIED"))
check("mismatch" in words, f"an address that the certificate does not name: {words}")
until(lambda: count("remote_denied") >= 2, 20, "counted")

# Tokens: a wrong secret is refused; after some more the address has to wait, whatever it shows; then it may again.
write_private(f"{host.folder}/token.wrong", "worker " + "x" * 40 + "\n")
write_private(f"{host.folder}/token.nobody", "nobody " + "x" * 40 + "\n")
for token in ("wrong", "nobody"):
    stranger = Guest(host, token, ns=None)
    words = " ".join(stranger.ask(f"open {host.wire}", fails="DENIED"))
    check("token" in words, words)
many = [Guest(host, "wrong", ns=None) for _ in range(20)]  # at once: each failure is forgotten after a while
for one in many:
    one.say(f"open {host.wire}")
heard = [one.hear() for one in many]
check(all(words[0] != "ok" for words in heard), f"a wrong secret was let in: {heard}")
check(any("too often" in " ".join(words) for words in heard), f"those beyond a few are not even looked at: {heard}")
late = Guest(host, ns=None)
undisturbed()


def may_again():
    late.say(f"open {host.wire}")
    return late.hear()[0] == "ok"


until(may_again, 30, "an address that failed too often may try again later")
check(count("tokens_refused") >= 3, "and it was counted")
check(all(event in host.log() for event in ("token_refused", "remote_refused", "remote_denied", "remote_guarded")), "and logged")
check(count("remote_guarded") >= 1, "each as what it is")
guest.ask("close")
late.ask("close")
holds_no_more_than(host, before)
host.stop()

# Those who connect and never say who they are take nobody's place, and are sent away.
small = Host(yaml="max_sessions: 4\n")
context = ssl.create_default_context(cafile=f"{small.folder}/ca.pem")
context.set_alpn_protocols(["quire/1"])
address = small.wires[0].rsplit(":", 1)
silent = [context.wrap_socket(socket.create_connection((address[0], int(address[1])), timeout=20), server_hostname="localhost") for _ in range(12)]
until(lambda: small.counters()["quire_remote_accepted_total"] >= 12, 10, "they are connected")
near, far = Actor(small), Guest(small)
check(near.ask("lookup 0 0 1")[0] == "0" and far.ask("lookup 0 0 1")[0] == "0", "those who are known are served beside them")
until(lambda: "no HELLO in time" in small.log(), 20, "they are sent away")
near.ask("close")
far.ask("close")
small.stop()
