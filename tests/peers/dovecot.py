"""As much of Dovecot's authentication service as Postfix asks for, so that it can check passwords without Dovecot.

Source: Dovecot's "Authentication Protocol", version 1.
"""

from __future__ import annotations

import base64
import contextlib
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

_GREETING = (
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\n"
    "SPID\t1\nCUID\t1\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n"
)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    users: dict[str, str]


class _Dialogue(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self._say(_GREETING)
        begun: dict[str, tuple[str, list[str]]] = {}
        for raw in self.rfile:
            verb, *words = raw.decode().rstrip("\n").split("\t")
            if verb == "AUTH":
                number, mechanism, *parameters = words
                given = [word.removeprefix("resp=") for word in parameters if word.startswith("resp=")]
                begun[number] = (mechanism, list(map(_decoded, given)))
                self._go_on(number, *begun[number])
            elif verb == "CONT":
                begun[words[0]][1].append(_decoded(words[1]))
                self._go_on(words[0], *begun[words[0]])

    def _go_on(self, number: str, mechanism: str, answers: list[str]) -> None:
        """Ask for what is still wanted, else judge."""
        wanted = [""] if mechanism == "PLAIN" else ["Username:", "Password:"]
        if len(answers) < len(wanted):
            question = base64.b64encode(wanted[len(answers)].encode()).decode()
            self._say(f"CONT\t{number}\t{question}\n")
        else:
            self._judge(number, *(answers[0].split("\0")[1:] if mechanism == "PLAIN" else answers))

    def _judge(self, number: str, user: str, password: str) -> None:
        known = self.server.users.get(user) == password
        self._say(f"OK\t{number}\tuser={user}\n" if known else f"FAIL\t{number}\tuser={user}\n")

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode())


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


@contextlib.contextmanager
def authentication(path: Path, users: dict[str, str]) -> Iterator[None]:
    """Judge PLAIN and LOGIN by ``users`` at this socket."""
    server = _Server(str(path), _Dialogue)
    server.users = users
    path.chmod(0o666)
    thread = threading.Thread(target=server.serve_forever, name="authentication")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
