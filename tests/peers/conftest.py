"""Real mail servers, each with the fake sink behind it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.fakes.smarthost import FakeSmarthost
from tests.peers import exim, postfix
from tests.peers.exim import Exim
from tests.peers.postfix import Postfix
from tests.peers.sink import sink
from tests.peers.terms import Terms, open_folder

REFUSE = {"bob@example.net": "550 5.1.1 There is no Bob here", "cat@example.net": "450 4.2.1 Cat is asleep"}


@dataclass(frozen=True)
class Certificate:
    """PEM files: the authority, and a certificate for 127.0.0.1 with its key."""

    authority: Path
    own: Path


@pytest.fixture(scope="session")
def certificate() -> Iterator[Certificate]:
    with open_folder("certificate") as folder:
        made = Certificate(folder / "authority.pem", folder / "own.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(made.authority))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(made.own))
        yield made


@pytest.fixture(scope="session")
def terms(certificate: Certificate) -> Terms:
    return Terms(certificate.own, "tracepost", "correct horse battery", REFUSE)


@dataclass(frozen=True)
class Peer:
    """A mail server that takes mail on these terms, and where it hands it on to."""

    server: Postfix | Exim
    terms: Terms
    sink: FakeSmarthost


@pytest.fixture(scope="module", params=["postfix", "exim"])
def server(request: pytest.FixtureRequest, terms: Terms) -> Iterator[Peer]:
    """Postfix, then Exim."""
    module = {"postfix": postfix, "exim": exim}[request.param]
    skip_where(module.missing())
    start = {"postfix": postfix.postfix, "exim": exim.exim}[request.param]
    with sink() as host, start(host.port, terms) as running:
        yield Peer(running, terms, host)


@pytest.fixture
def peer(server: Peer) -> Iterator[Peer]:
    """The same with an empty sink; its own log stands beside a failure."""
    server.sink.messages.clear()
    yield server
    print(server.server.log[-4000:])


def skip_where(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)


def command(name: str) -> str:
    """The path of a program; where it is not installed the test is skipped."""
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
