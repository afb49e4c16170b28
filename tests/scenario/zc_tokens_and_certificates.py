"""Who may listen and who may come: a start without tokens or a certificate is refused with what to do; tokens and certificates are changed while the
daemon runs, and who lost a token is sent away; clients may have to show a certificate, too."""
import os
import socket
import ssl
import subprocess
import time

from lib_story import BIN, check, until
from lib_wire import LISTEN, LISTEN_UCX, SECRETS, TOKENS, Guest, Host, make_certificate, openssl, prepare, write_private

host = Host()


def refused(listen, words):
    path = f"{host.folder}/refused.yaml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"socket_path: {host.folder}/refused.sock\nmetrics_port: 0\ndomains:\n  - name: default\n    pool_bytes: 16MiB\n"
                   + listen.replace("ADDRESS", "127.0.0.1:0").replace("FOLDER", host.folder))
    for how in (["--check-config"], []):
        done = subprocess.run([str(BIN / "quired"), "--config", path, *how], capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        check(done.returncode != 0 and all(word in said for word in words), f"{listen} {how}: {done.returncode} {said}")


refused(LISTEN.replace("  token_file: FOLDER/tokens\n", ""), ["listen.token_file"])
refused(LISTEN.replace("  tls_certificate: FOLDER/daemon.pem\n", ""), ["listen.tls_certificate"])
refused(LISTEN.replace("daemon.key", "ca.key"), ["does not belong to the certificate"])
refused(LISTEN.replace("daemon.pem", "tokens"), ["is no certificate"])
refused(LISTEN.replace("ADDRESS", "nonsense"), ["not host:port"])
refused(LISTEN.replace("ADDRESS", "127.0.0.1:99999"), ["65535"])
refused(LISTEN_UCX.replace("ADDRESS", "0.0.0.0:0"), ["listen.trusted_fabric"])
refused(LISTEN.replace("/tokens", "/nowhere"), ["nowhere: No such file"])
os.chmod(f"{host.folder}/daemon.key", 0o644)
refused(LISTEN, ["daemon.key", "chmod 600"])
os.chmod(f"{host.folder}/daemon.key", 0o640)
refused(LISTEN + "  domain: elsewhere\n", ["listen.domain", "elsewhere"])
for text, words in (("# nobody\n", ["names no token"]), ("worker short read *\n", ["tokens:1", "16 to 128"]), ("# a comment\nworker\n", ["tokens:2", "name secret rights namespaces"]),
                    (f"worker {SECRETS['worker']} sing *\n", ["read, write, admin and rma"])):
    write_private(f"{host.folder}/tokens", text)
    refused(LISTEN, words)
write_private(f"{host.folder}/tokens", TOKENS)
os.chmod(f"{host.folder}/tokens", 0o644)
refused(LISTEN, ["chmod 600"])
os.chmod(f"{host.folder}/tokens", 0o600)

# A secret is changed: for a while both are good, then the old one ends, and who came with it is sent away.
old, reader = Guest(host), Guest(host, "reader")
old.ask("store 0 5")
both = TOKENS + f"worker {'n' * 40} read,write story*\n"
write_private(f"{host.folder}/tokens", both)
host.ctl("config", "reload")
write_private(f"{host.folder}/token.new", f"worker {'n' * 40}\n")
new = Guest(host, "new")
check(old.ask("lookup 0 0 5")[0] == "5" and new.ask("lookup 0 0 5")[0] == "5", "both secrets are good")
write_private(f"{host.folder}/tokens", both.replace(SECRETS["worker"], "z" * 40))
host.ctl("config", "reload")
old.ask("lookup 1 0 5", fails="DISCONNECTED|DENIED")
check(new.ask("lookup 1 0 5")[0] == "5" and reader.ask("lookup 0 0 5")[0] == "5", "the others stay")
Guest(host, ns=None).ask(f"open {host.wire}", fails="DENIED")

# A file that is wrong changes nothing, and is told.
write_private(f"{host.folder}/tokens", "worker\n")
code, said = host.ctl("config", "reload", check_exit=False)
check("those in force stay" in str(said), f"{code} {said}")
check(new.ask("lookup 2 0 5")[0] == "5", "the tokens in force stay")
write_private(f"{host.folder}/tokens", TOKENS)

# The certificate is renewed without a word to those who are there; one that has expired is refused by clients.
make_certificate(host.folder, "daemon", days="0")
time.sleep(1.5)
host.ctl("config", "reload")
words = " ".join(Guest(host, ns=None).ask(f"open {host.wire}", fails="DENIED"))
check("expired" in words, words)
check("certificate_expired" in host.log(), "the log tells it, too")
told = {finding["check"]: finding["level"] for finding in host.ctl("doctor", check_exit=False)[1]["checks"]}
check(told["certificate"] == "fail", f"{told}")
make_certificate(host.folder, "daemon")
host.ctl("config", "reload")
kept = Guest(host)
kept.ask("lookup 0 0 5")

# Good tokens beside a certificate that is none: nothing of either is taken, as is said.
write_private(f"{host.folder}/tokens", TOKENS.replace(SECRETS["worker"], "y" * 40))
write_private(f"{host.folder}/daemon.pem", "no certificate\n")
code, said = host.ctl("config", "reload", check_exit=False)
check(code != 0, f"{code} {said}")
check(kept.ask("lookup 1 0 5")[0] == "5", "who came with a token that is in force stays")
Guest(host).ask("lookup 0 0 5")
host.stop()

# Clients, too, must show a certificate.
host = Host(listen=LISTEN + "  tls_authorities: FOLDER/ca.pem\n")
make_certificate(host.folder, "client")
shown = {"QUIRE_TLS_CERTIFICATE": f"{host.folder}/client.pem", "QUIRE_TLS_KEY": f"{host.folder}/client.key"}
Guest(host, environment={**host.environment(), **shown}).ask("store 0 5")
words = " ".join(Guest(host, ns=None).ask(f"open {host.wire}", fails="DENIED"))
check("certificate" in words, words)
until(lambda: host.counters()["quire_remote_denied_total"] >= 1, 20, "counted")

# An address that goes on without one is not even heard after a while; others are.
context = ssl.create_default_context(cafile=f"{host.folder}/ca.pem")
context.set_alpn_protocols(["quire/1"])


def knock_in_vain():
    try:
        where = host.wires[0].split(":")
        with socket.create_connection((where[0], int(where[1])), source_address=("127.0.0.9", 0)) as stranger:
            context.wrap_socket(stranger, server_hostname="localhost").recv(1)
    except OSError:
        pass
    return host.counters()["quire_remote_guarded_total"] >= 1


until(knock_in_vain, 60, "an address whose certificates are not accepted has to wait")
check("remote_guarded" in host.log(), "logged")
Guest(host, environment={**host.environment(), **shown}).ask("store 0 5")
host.stop()
