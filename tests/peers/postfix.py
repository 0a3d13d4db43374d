"""A private Postfix: configuration, queue and data of its own; the system's is never touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness import eventually, free_port
from tests.peers.dovecot import authentication
from tests.peers.terms import Terms, open_folder

DAEMONS = Path("/usr/lib/postfix/sbin")
SETTINGS = {
    "compatibility_level": "3.6",
    "command_directory": "/usr/sbin",
    "daemon_directory": str(DAEMONS),
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "myhostname": "postfix.test",
    "mydestination": "",
    "local_recipient_maps": "",
    "alias_maps": "",
    "mynetworks": "127.0.0.0/8",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "disable_dns_lookups": "yes",
    "smtp_host_lookup": "native",
    "maillog_file_prefixes": "/tmp, /var, /dev",
    "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
    "smtpd_client_connection_count_limit": "0",
    "smtp_send_xforward_command": "no",
}
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str | None:
    """Why no Postfix can be run here."""
    if not (DAEMONS / "master").exists():
        return "postfix is not installed"
    return None if os.geteuid() == 0 else "postfix wants to be started by root"


@dataclass(frozen=True)
class Postfix:
    """A running instance: ``port`` with STARTTLS where it has a certificate, ``tls_port`` with TLS throughout."""

    folder: Path
    port: int
    tls_port: int

    @property
    def pid(self) -> int:
        """The process above all others of the instance."""
        return int((self.folder / "queue/pid/master.pid").read_text())

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def queue(self) -> list[str]:
        """What waits, one line of JSON a mail."""
        command = ["postqueue", "-c", str(self.folder), "-j"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    def flush(self) -> None:
        """Try again now whatever waits."""
        subprocess.run(["postqueue", "-c", str(self.folder), "-f"], check=True)


@contextlib.contextmanager
def postfix(
    relay_port: int, terms: Terms | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Postfix]:
    """A Postfix that hands everything on to this port of loopback, stopped at the end; ``settings`` as in main.cf."""
    with open_folder("postfix") as folder, contextlib.ExitStack() as stack:
        instance = Postfix(folder, free_port(), free_port())
        for name in ("queue", "data"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        if terms is not None:
            stack.enter_context(authentication(folder / "auth", {terms.user: terms.password}))
        lines = {
            **SETTINGS,
            "queue_directory": f"{folder}/queue",
            "data_directory": f"{folder}/data",
            "maillog_file": f"{folder}/log",
            "relayhost": f"[127.0.0.1]:{relay_port}",
            **(settings_of(terms, folder) if terms is not None else {}),
            **(settings or {}),
        }
        (folder / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
        (folder / "master.cf").write_text(MASTER.format(port=instance.port, tls_port=instance.tls_port))
        started = subprocess.run(["postfix", "-c", str(folder), "start"], capture_output=True, text=True)
        assert started.returncode == 0, started.stderr
        pid = instance.pid
        try:
            yield instance
        finally:
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not Path(f"/proc/{pid}").exists())


def settings_of(terms: Terms, folder: Path) -> dict[str, str]:
    refuse = ", ".join(f"{{{address} = {reply}}}" for address, reply in terms.refuse.items())
    return {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(terms.certificate),
        "smtpd_tls_auth_only": "yes",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": f"{folder}/auth",
        "smtpd_recipient_restrictions": f"check_recipient_access inline:{{{refuse}}}" if refuse else "",
    }
