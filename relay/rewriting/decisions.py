"""What becomes of one link: its type, why, and what goes in its place. Pure.

The first that speaks decides the type: an attribute, a placeholder URL, a saved type, the sender's rules (contract,
section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from relay.rewriting import links, parameters, placeholders
from relay.rewriting.marks import Marked
from relay.rewriting.rules import Types
from tracker.model import LinkType

MAX_URL = 2000
"""Characters of a tracked URL; some clients cut longer ones."""

LONGEST_ADDRESS = 320
"""Characters of a recipient's address where no more is known (RFC 3696 section 3)."""
_ENVELOPE = 1 + 16 + 16
"""Octets of a token beside what it holds of ours: version, tag, message id."""
_CLICK = _ENVELOPE + 12
_MIRROR = _ENVELOPE + 5
_OPT_OUT = _ENVELOPE + 5 + 2
_ID = 36


class Way(Enum):
    """What goes in place of a link's URL."""

    CLICK = "click"
    """A tracked URL, which redirects to the target."""
    OPT_OUT = "opt_out"
    """The recipient's own opt-out page."""
    MIRROR = "mirror"
    """The recipient's own web copy."""
    PLAIN = "plain"
    """The target itself, with what was open in it filled in."""
    REMOVE = "remove"
    """Nothing: the span is a mark that must not leave."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted. ``tracking_url`` is the base of all tracked URLs; ``measure`` gives the greatest length of the
    tracked URL for a target, and is asked where an upper bound of it is over the limit. ``shared``: one copy goes to
    all recipients, so that links which are one recipient's own stay untouched. ``signed``: mail that its app signed
    (DKIM) is worked on too; ``keep``: the HTML is wanted for a mirror page even where no link asks for one.
    ``text_tracking``: links in text/plain
    parts; ``skip_visible``: leave links alone whose text is a URL; ``types``: what the sender says of URLs;
    ``parameters`` go into the query of tracked links; ``values`` are those placeholders that all recipients share;
    ``sender`` and ``longest_address`` (percent-encoded) bound the length of what is one recipient's own."""

    tracking_url: str
    open_tracking: bool
    click_tracking: bool
    measure: Callable[[str], int] | None = None
    shared: bool = False
    signed: bool = False
    keep: bool = False
    text_tracking: bool = False
    skip_visible: bool = False
    types: Types = field(default_factory=Types)
    parameters: tuple[parameters.Pair, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    sender: str = ""
    longest_address: int = LONGEST_ADDRESS

    @property
    def surely_fits(self) -> int:
        """Characters of a target that make no tracked URL too long."""
        return (MAX_URL - len(self.tracking_url) - 3) // 4 * 3 - _CLICK

    def length(self, target: str) -> int:
        """The greatest length of the tracked URL for a target, in characters."""
        bound = len(self.tracking_url) + 3 + _sealed(_CLICK + self.filled_length(target))
        if bound <= MAX_URL or self.measure is None or placeholders.names(target):
            return bound
        return self.measure(target)

    def filled_length(self, target: str) -> int:
        """The greatest length of a target once it is filled in."""
        if not placeholders.names(target):
            return len(target)
        lengths = {
            "recipient.email": self.longest_address,
            "message.id": _ID,
            placeholders.OPT_OUT: 3 * self.own_length(Way.OPT_OUT),
            placeholders.MIRROR: 3 * self.own_length(Way.MIRROR),
        }
        return len(placeholders.filled(target, lambda name: "x" * lengths[name]))

    def own_length(self, way: Way) -> int:
        """The greatest length of the URL of a recipient's own opt-out page or web copy."""
        inside = _MIRROR if way is Way.MIRROR else _OPT_OUT + len(self.sender.encode()) + self.longest_address
        return len(self.tracking_url) + 3 + _sealed(inside)


def _sealed(octets: int) -> int:
    """Characters of so many octets in base64url."""
    return (octets + 2) // 3 * 4


class Decision(NamedTuple):
    """A link's type and why it has it, or why it stays untouched (``way`` is None then); ``target`` is its URL in
    ASCII with its placeholders open."""

    type: LinkType
    reason: str
    way: Way | None
    target: str

    @property
    def tracked(self) -> bool:
        """Whether a URL of ours goes in its place."""
        return self.way is not None and self.way is not Way.PLAIN and self.way is not Way.REMOVE


class Sight(NamedTuple):
    """A link as it was found. ``url`` as it reads; ``encoding`` is that of queries in its document; ``clicks``: whether
    links of its part are tracked; ``visible``: its own text is a URL; ``doubt``: why it is not sure what it says."""

    url: str
    encoding: str
    marked: Marked | None
    clicks: bool
    visible: bool = False
    doubt: str | None = None


class Decider:
    """Decides link by link. ``is_ours`` says that a URL is a valid tracking URL of ours."""

    def __init__(self, options: Options, is_ours: Callable[[str], bool]) -> None:
        self._options = options
        self._is_ours = is_ours
        wished = bool(options.types or options.parameters or options.skip_visible) or not options.click_tracking
        self._longest = 0 if wished else options.surely_fits

    def usual(self, url: str) -> Decision | None:
        """What becomes of a URL that ``links.usual`` gave and its link says nothing of; None where ``decide`` is to be
        asked."""
        if len(url) > self._longest or self._is_ours(url):
            return None
        return Decision(LinkType.TRACKED, "default", Way.CLICK, url)

    def decide(self, sight: Sight) -> Decision | None:
        """What becomes of a link, None for what is none."""
        url = sight.url
        if not placeholders.is_open(url):
            return self._of_the_app(sight, url, _NONE) if links.is_http(url) else None
        name = placeholders.whole(url)
        if name is not None:
            return self._of_ours(sight, name)
        if not links.is_http(url):
            return None
        opened = placeholders.opened(url, self._options.values)
        return self._of_the_app(sight, opened, placeholders.names(opened or url))

    def _of_ours(self, sight: Sight, name: str) -> Decision:
        """A URL that is a placeholder as a whole."""
        type, reason = self._type(sight, name)
        target = f"{{{{{name}}}}}"
        if type is LinkType.NEVER:
            return Decision(type, reason, None, target)
        if self._options.shared:
            return Decision(type, "shared_copy", None, target)
        return Decision(type, reason, Way.OPT_OUT if name == placeholders.OPT_OUT else Way.MIRROR, target)

    def _of_the_app(self, sight: Sight, opened: str | None, names: frozenset[str]) -> Decision:
        """A URL of the app's own; ``opened`` is None where it holds placeholders that are not ours, ``names`` are those
        that a copy fills in."""
        url = sight.url if opened is None else opened
        name = next((each for each in placeholders.TYPES if each in names), "") if names else ""
        type, reason = self._type(sight, name)
        no_track = links.says_no_track(url)
        target = links.target_of(links.without_no_track(url) if no_track else url, sight.encoding)
        plain = Way.PLAIN if names or opened != sight.url else None
        if sight.doubt is not None:
            return Decision(type, sight.doubt, None, target)
        if no_track:
            return Decision(LinkType.NEVER, "scheme +notrack", Way.REMOVE, target)
        if opened is None:
            return Decision(type, "placeholder", None, target)
        if self._is_ours(sight.url):
            return Decision(type, "already_tracked", None, target)
        if type is LinkType.NEVER:
            return Decision(type, reason, None, target)
        if self._options.shared and (type in _OWN_PAGES or names & placeholders.OF_ONE_RECIPIENT):
            return Decision(type, "shared_copy", None, target)
        if name:
            # never inside a click: whoever follows it must get there with nothing in between
            return Decision(type, reason, plain, target)
        return self._clicked(sight, type, reason, target, plain)

    def _clicked(self, sight: Sight, type: LinkType, reason: str, target: str, plain: Way | None) -> Decision:
        """A URL that is tracked if nothing speaks against it; ``plain`` is what becomes of it then."""
        if not sight.clicks and type not in _OWN_PAGES:
            return Decision(type, "click_tracking_off", plain, target)
        if sight.visible and self._options.skip_visible and reason == "default":
            return Decision(type, "visible_url", plain, target)
        final = parameters.add(target, self._options.parameters) if type is LinkType.TRACKED else target
        if self._options.shared and placeholders.names(final) & placeholders.OF_ONE_RECIPIENT:
            return Decision(type, "shared_copy", None, target)
        if self._options.length(final) > MAX_URL:
            return Decision(type, "url_too_long", plain, target)
        return Decision(type, reason, Way.CLICK, final)

    def _type(self, sight: Sight, name: str) -> tuple[LinkType, str]:
        """The type and who said so; ``name`` is the link of ours that the URL stands for or holds, if any."""
        marked = sight.marked
        if marked is not None and not (name and marked.switch):
            return marked.type, marked.reason
        if name:
            return placeholders.TYPES[name], "placeholder"
        return self._options.types.of(sight.url) or (LinkType.TRACKED, "default")


_NONE: frozenset[str] = frozenset()
_OWN_PAGES = (LinkType.OPT_OUT, LinkType.MIRROR)
