"""What the tests of opt-outs have in common: mails that one can opt out of, their opt-out links, who is on the list."""

from __future__ import annotations

import smtplib
from itertools import count
from uuid import UUID

from tests.e2e.harness import Tracepost, eventually
from tracker.tokens import Keyring, OptOut, parse_key

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
ANN, BOB, CAT, SENDER = "ann@example.net", "bob@example.net", "cat@example.net", "news@example.com"
TURNS = count()
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
HEAD = "From: News <news@example.com>\r\nMessage-ID: <{id}@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
UNSUBSCRIBE = "List-Unsubscribe: <mailto:leave@example.com>\r\n"
BODY = 'Content-Type: text/html\r\n\r\n<html><body><a href="https://example.org/">x</a></body></html>\r\n'


def newsletter(id: str) -> bytes:
    return (HEAD.format(id=id) + UNSUBSCRIBE + BODY).encode()


def receipt(id: str) -> bytes:
    return (HEAD.format(id=id) + BODY).encode()


def send(service: Tracepost, mail: bytes, *to: str) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        return client.sendmail(SENDER, to or (ANN,), mail)


def row(service: Tracepost, id: str, **expected: int) -> dict:
    """The API's row of a mail, once it says what is expected."""

    def found() -> dict | None:
        rows = service.web.get("/api/v1/messages", params={"message_id": f"{id}@example.com"}).json()["items"]
        return rows[0] if rows and all(rows[0][name] == value for name, value in expected.items()) else None

    return eventually(found)


def link(service: Tracepost, id: str, address: str = ANN, recipient: int | None = 1) -> str:
    """The opt-out link in that mail of one recipient."""
    key = parse_key((service.folder / "data" / "signing.key").read_text())
    return f"/u/{Keyring([key]).seal(OptOut(UUID(row(service, id)['id']), recipient, SENDER, address))}"


def listed(service: Tracepost) -> list[tuple[str, str | None, str]]:
    rows = service.web.get("/api/v1/suppressions").json()["items"]
    return [(each["address"], each["sender"], each["kind"]) for each in rows]


def suppressed_soon(service: Tracepost, address: str, stem: str) -> None:
    """Wait until the relay has heard: a newsletter to the address is suppressed."""

    def heard() -> bool:
        id = f"{stem}-{next(TURNS)}"
        send(service, newsletter(id), address)
        return row(service, id, pending=0)["suppressed"] == 1

    eventually(heard)
