"""The opt-out page: asks, opts out where it is told to, says what happened, takes it back. Bare ASGI; all that it needs
is in the token, so it works while the store is away.

A GET, which every scanner makes, changes nothing; mail programs' one-click unsubscribe (RFC 8058) is a POST.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tracker.errors import BadToken
from tracker.forms import Gone, TooLarge, fields_of, read_body
from tracker.hits.languages import Catalogue, Language
from tracker.hits.public import Headers, answer, not_found
from tracker.hits.recorder import Recorder
from tracker.hits.witness import Receive, Scope, Send, Witness
from tracker.model import OPT_OUT_PAGE, Clock, LinkType, OptedIn, OptedOut, SuppressionKind, new_id
from tracker.tokens import Keyring, OptOut

Onward = Callable[[str], str | None]
"""Where people are sent after an opt-out from a sender, None: to our own page."""

_TEMPLATES = Path(__file__).parent / "templates"
_LONGEST, _LARGEST_FORM = 4096, 16 * 1024
_TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8")]
MAIL, TRACKING = SuppressionKind.MAIL, SuppressionKind.TRACKING


class Choice(NamedTuple):
    """A button: what it does, to which kind of suppression."""

    action: str
    kind: SuppressionKind

    @property
    def name(self) -> str:
        """The name of its phrases."""
        return "undo" if self.action == "undo" else self.kind.value


OUT, UNTRACKED = Choice("opt_out", MAIL), Choice("opt_out", TRACKING)
CHOICES: Mapping[str, tuple[Choice, ...]] = {
    "ask": (OUT, UNTRACKED),
    "mail_done": (Choice("undo", MAIL),),
    "tracking_done": (Choice("undo", TRACKING), OUT),
    "mail_undone": (OUT, UNTRACKED),
    "tracking_undone": (OUT, UNTRACKED),
}
"""What is offered, by what has happened."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a POST wants."""

    choice: Choice
    one_click: bool


class OptOutPage:
    """``/u/TOKEN``; an ASGI application for paths that begin so."""

    prefix = "/u/"

    def __init__(self, keyring: Keyring, recorder: Recorder, clock: Clock, witness: Witness, onward: Onward) -> None:
        self._keyring = keyring
        self._recorder = recorder
        self._clock = clock
        self._witness = witness
        self._onward = onward
        self._catalogue = Catalogue()
        loader = FileSystemLoader(_TEMPLATES)
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        style = (_TEMPLATES / "optout.css").read_text("utf-8")
        environment.globals["style"] = Markup(style)  # noqa: S704 - our own file
        self._template = environment.get_template("optout.html")
        self._style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            await answer(send, method, 405, [(b"allow", b"GET, HEAD, POST")], b"")
            return
        claim = self._claim(scope["path"])
        if claim is None:
            await not_found(send, method)
        elif method == "POST":
            await self._post(scope, receive, send, claim)
        else:
            about = (claim.message, claim.recipient, "click", OPT_OUT_PAGE, None, LinkType.OPT_OUT)
            await self._recorder.hit(self._witness.hit(scope, *about))
            await self._page(scope, send, claim, "ask")

    def _claim(self, path: str) -> OptOut | None:
        if len(path) > _LONGEST or not path.isascii():
            return None
        try:
            return self._keyring.open(OptOut, path.removeprefix(self.prefix))
        except BadToken:
            return None

    async def _post(self, scope: Scope, receive: Receive, send: Send, claim: OptOut) -> None:
        try:
            body = await read_body(receive, _LARGEST_FORM)
        except Gone:
            return
        except TooLarge:
            await answer(send, "POST", 413, _TEXT, b"this form is too large\n")
            return
        wish = wish_of(fields_of(_header(scope, b"content-type"), body))
        if wish is None:
            await answer(send, "POST", 400, _TEXT, b"this form is not from the opt-out page\n")
            return
        await self._take(claim, wish)
        onward = self._onward(claim.sender)
        if wish.one_click:
            await answer(send, "POST", 200, _TEXT, b"You are unsubscribed.\n")
        elif onward is not None and wish.choice.action == "opt_out":
            await answer(send, "POST", 303, [(b"location", onward.encode("ascii"))], b"")
        else:
            done = "undone" if wish.choice.action == "undo" else "done"
            await self._page(scope, send, claim, f"{wish.choice.kind.value}_{done}")

    async def _take(self, claim: OptOut, wish: Wish) -> None:
        at = self._clock()
        fact = OptedIn if wish.choice.action == "undo" else OptedOut
        reason = "one-click unsubscribe" if wish.one_click else "opt-out page"
        about = (claim.message, claim.recipient, claim.sender, claim.address)
        await self._recorder.keep(fact(new_id(at), at, *about, wish.choice.kind, reason))

    async def _page(self, scope: Scope, send: Send, claim: OptOut, state: str) -> None:
        language = self._catalogue.choose(_header(scope, b"accept-language"))
        html = self._render(language, claim, state)
        headers: Headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-language", language.tag.encode()),
            (b"vary", b"Accept-Language"),
            (b"content-security-policy", self._policy(claim.sender).encode()),
            (b"x-frame-options", b"DENY"),
        ]
        await answer(send, scope["method"], 200, headers, html.encode("utf-8", "replace"))

    def _policy(self, sender: str) -> str:
        # Browsers hold redirects after a form to form-action too, and where the sender's page leads on is not known.
        targets = "'self'" if self._onward(sender) is None else "'self' https: http:"
        return (
            f"default-src 'none'; style-src 'sha256-{self._style_hash}'; form-action {targets}; base-uri 'none';"
            " frame-ancestors 'none'"
        )

    def _render(self, language: Language, claim: OptOut, state: str) -> str:
        phrases = language.phrases
        names = {"sender": _strong(claim.sender), "address": _strong(claim.address)}
        choices = [
            {
                "action": choice.action,
                "kind": choice.kind.value,
                "button": phrases[f"{choice.name}_button"],
                "note": phrases.get(f"{choice.name}_note"),
                "first": choice is OUT and state == "ask",
            }
            for choice in CHOICES[state]
        ]
        return self._template.render(
            language=language,
            domain=claim.sender.rpartition("@")[2] or claim.sender,
            heading=phrases[state],
            text=escape(phrases[f"{state}_text"]).format(**names),
            done=state != "ask",
            choices=choices,
        )


def wish_of(fields: Mapping[str, str]) -> Wish | None:
    """What a form's fields ask for: to opt out, unless they say otherwise; None where they say what there is not."""
    if fields.get("List-Unsubscribe", "").strip().lower() == "one-click":
        return Wish(OUT, True)
    action, kind = fields.get("action", "opt_out"), fields.get("kind", "mail")
    if action not in ("opt_out", "undo") or kind not in list(SuppressionKind):
        return None
    return Wish(Choice(action, SuppressionKind(kind)), False)


def _strong(text: str) -> Markup:
    return Markup("<b><bdi>{}</bdi></b>").format(text)


def _header(scope: Scope, name: bytes) -> str:
    value: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return value.decode("latin-1")
