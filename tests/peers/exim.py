"""A private Exim, unpacked beside the system's mail server: Debian installs only one of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness import eventually, free_port
from tests.peers.terms import Terms, open_folder

ROOT = Path(os.environ.get("TRACEPOST_EXIM", "/var/cache/tracepost/exim"))
"""Where the packages are unpacked; not in a home, which Exim's user may not enter."""
BINARY = ROOT / "usr/sbin/exim4"
USER = "Debian-exim"
CONFIG = """\
primary_hostname = exim.test
exim_path = {binary}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
pid_file_path = {folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port} : {tls_port}
daemon_startup_retries = 0
keep_environment = ^LD_LIBRARY_PATH$
host_lookup =
recipient_unqualified_hosts =
deliver_drop_privilege = true
acl_smtp_rcpt = rcpt
tls_advertise_hosts = *
tls_certificate = {terms.certificate}
tls_privatekey = {terms.certificate}
tls_on_connect_ports = {tls_port}
begin acl
rcpt:
{refusals}  accept hosts = 127.0.0.1
begin routers
{routers}onwards:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = onwards
begin transports
onwards:
  driver = smtp
  port = {relay_port}
  allow_localhost
  hosts_avoid_tls = *
begin retry
* * F,1h,1m
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{terms.user}}}}}{{eq{{$auth3}}{{{terms.password}}}}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{terms.user}}}}}{{eq{{$auth2}}{{{terms.password}}}}}}}}}
  server_set_id = $auth1
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""
REFUSAL = """\
  {verb} recipients = {address}
    message = {reply}
"""


def missing() -> str | None:
    """Why no Exim can be run here."""
    if not BINARY.exists():
        return f"there is no Exim in {ROOT}"
    return None if os.geteuid() == 0 else "exim wants to be started by root"


@dataclass(frozen=True)
class Exim:
    """A running instance: ``port`` with STARTTLS where it has a certificate, ``tls_port`` with TLS throughout."""

    folder: Path
    port: int
    tls_port: int

    @property
    def log(self) -> str:
        file = self.folder / "log/main"
        return file.read_text() if file.exists() else ""


@contextlib.contextmanager
def exim(relay_port: int, terms: Terms, routers: str = "") -> Iterator[Exim]:
    """An Exim that hands everything on to this port of loopback, but for what ``routers`` before that say; stopped at
    the end."""
    with open_folder("exim") as folder:
        instance = Exim(folder, free_port(), free_port())
        for name in ("spool", "log"):
            (folder / name).mkdir()
            shutil.chown(folder / name, USER, USER)
        config = folder / "config"
        config.write_text(
            CONFIG.format(
                binary=BINARY,
                folder=folder,
                port=instance.port,
                tls_port=instance.tls_port,
                relay_port=relay_port,
                terms=terms,
                routers=routers,
                refusals="".join(refusal(address, reply) for address, reply in terms.refuse.items()),
            )
        )
        libraries = ":".join(str(path) for path in (ROOT / "usr/lib").glob("*-linux-gnu*"))
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [BINARY, "-C", config, "-bdf"],
                stdout=output,
                stderr=output,
                env={**os.environ, "LD_LIBRARY_PATH": libraries},
                start_new_session=True,
            )
        try:
            await_daemon(instance, process)
            yield instance
        finally:
            process.terminate()
            process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its sessions outlive it, and would make their log anew


def refusal(address: str, reply: str) -> str:
    verb = "deny" if reply.startswith("5") else "defer"
    return REFUSAL.format(verb=verb, address=address, reply=reply)


def await_daemon(instance: Exim, process: subprocess.Popen[bytes]) -> None:
    def up() -> bool:
        assert process.poll() is None, (instance.folder / "output").read_text()
        return (instance.folder / "pid").exists()

    eventually(up)
