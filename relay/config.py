"""The root of the configuration, the relay's own section and the senders; what is wrong between keys."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, PrivateAttr, SecretStr, StrictStr, model_validator

from relay.bounces.address import LONGEST_LOCAL_PART, LONGEST_TOKEN, PLACE
from relay.certificates import CertificateError, tls_context
from relay.dkim import DkimKeyError, read_key
from relay.passwords import is_hash
from relay.personal import PERSONAL, unknown
from relay.unbuilt import not_built
from tracker.config import (
    Count,
    Duration,
    FilePath,
    IpNetwork,
    Listen,
    Problem,
    Secret,
    Section,
    Size,
    Switch,
    Text,
    TrackerConfig,
    Url,
    UrlWithQuery,
    Workers,
    default,
)
from tracker.errors import ConfigError
from tracker.loading import Places, load
from tracker.model import LinkType
from tracker.tokens import parse_key
from tracker.tree import show
from tracker.units import is_host


def _host(value: str) -> str:
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not (is_host(bare) or set(bare.lower()) <= set("0123456789abcdef:.")):
        raise ValueError("must be a host name or an IP address; the port has its own key")
    return bare


def _signing_key(value: Any) -> Any:
    parse_key(value.get_secret_value())
    return value


Host = Annotated[Text, AfterValidator(_host)]
SigningKey = Annotated[Secret, AfterValidator(_signing_key)]
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""A local part that needs no quotes (RFC 5322 section 3.2.3)."""
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]


class SmarthostConfig(Section):
    """Where mail goes. ``host`` has no default: it is empty only where no relay will run; ``sandbox`` keeps mail in
    ``data_dir``."""

    host: Host = Field(default="", validate_default=False)
    port: Port = 587
    tls: Literal["starttls", "implicit", "opportunistic", "none"] = "starttls"
    ca_file: FilePath | None = None
    username: Text | None = None
    password: Secret | None = None
    max_connections: Count = 20
    timeout: Duration = default("60s")

    def problems(self) -> Iterator[Problem]:
        if self.password is not None and self.username is None:
            yield Problem(("username",), "is required where there is a password")
        if self.username is not None and self.password is None:
            yield Problem(("password",), "is required where there is a username")
        if self.password is not None and self.tls in ("none", "opportunistic") and self.host != "sandbox":
            yield Problem(("tls",), "must be starttls or implicit: a password is never sent in clear")
        yield from _missing_file("ca_file", self.ca_file)


def _password_hash(value: SecretStr) -> SecretStr:
    if not is_hash(value.get_secret_value()):
        raise ValueError("must be the hash of a password; `tracepost hash-password` makes one")
    return value


class User(Section):
    """Who may authenticate; written as ``{hash, senders}`` or as the hash alone. ``senders``: globs of the addresses
    that this user may send from; none: any."""

    hash: Annotated[Secret, AfterValidator(_password_hash)]
    senders: tuple[Text, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return {"hash": value} if isinstance(value, str) else value


class Auth(Section):
    """AUTH at the door."""

    users: dict[Text, User] = Field(default_factory=dict)
    passthrough: Switch = False

    def problems(self) -> Iterator[Problem]:
        if self.users and self.passthrough:
            yield Problem(("passthrough",), "goes not with relay.auth.users: either they decide or the smarthost does")


class Tls(Section):
    """TLS at the door."""

    certificate: FilePath | None = None
    key: FilePath | None = None
    mode: Literal["starttls", "implicit"] = "starttls"

    def problems(self) -> Iterator[Problem]:
        if self.certificate is not None and self.key is None:
            yield Problem(("key",), "is required where there is a certificate")
        if self.key is not None and self.certificate is None:
            yield Problem(("certificate",), "is required where there is a key")
        if self.mode == "implicit" and self.certificate is None and self.key is None:
            yield Problem(("mode",), "implicit needs a certificate and a key")
        missing = [*_missing_file("certificate", self.certificate), *_missing_file("key", self.key)]
        yield from missing
        if self.certificate is not None and self.key is not None and not missing:
            try:
                tls_context(self.certificate, self.key)
            except CertificateError as error:
                yield Problem((error.key,), str(error))


class Retry(Section):
    """When a mail is tried again, in seconds."""

    first: Duration = default("1m")
    longest: Duration = default("4h")
    give_up_after: Duration = default("5d")

    def problems(self) -> Iterator[Problem]:
        if self.first > self.longest:
            yield Problem(("first",), "must not be longer than relay.retry.longest")
        if self.longest > self.give_up_after:
            yield Problem(("longest",), "must not be longer than relay.retry.give_up_after")


class Limits(Section):
    """What one service takes on: counts, seconds, bytes."""

    connections: Count = 1000
    connections_per_address: Count = 100
    commands: Count = 1000
    idle: Duration = default("5m")
    transaction: Duration = default("30m")
    memory: Size = default("512MB")
    spool: Size = default("100GB")


class RelayConfig(Section):
    """The key ``relay``."""

    listen: Annotated[tuple[Listen, ...], Field(min_length=1)] = default(["127.0.0.1:2525"])
    hostname: Host | None = None
    workers: Workers = 1
    max_message_size: Size = default("25MB")
    max_recipients: Count = 1000
    allow_networks: tuple[IpNetwork, ...] = default(["127.0.0.0/8", "::1/128"])
    bare_newlines: Literal["normalize", "reject"] = "normalize"
    auth: Auth = Field(default_factory=Auth)
    tls: Tls = Field(default_factory=Tls)
    delivery: Literal["queue", "proxy"] = "queue"
    smarthost: SmarthostConfig = Field(default_factory=SmarthostConfig)
    retry: Retry = Field(default_factory=Retry)
    limits: Limits = Field(default_factory=Limits)

    def problems(self) -> Iterator[Problem]:
        for index, address in enumerate(self.listen):
            if address.port and address in self.listen[:index]:
                yield Problem(("listen", index), "is given twice")
        if self.auth.passthrough and self.delivery != "proxy":
            yield Problem(("auth", "passthrough"), "needs relay.delivery: proxy")
        if self.max_message_size > self.limits.memory:
            yield Problem(("max_message_size",), "must not be more than relay.limits.memory")


class UserMatch(Section):
    """A sender known by the name it authenticated with."""

    user: Text


def _match(value: object) -> str | UserMatch:
    if isinstance(value, str) and value and value.isprintable():
        return value
    if isinstance(value, dict) and list(value) == ["user"] and isinstance(value["user"], str) and value["user"]:
        return UserMatch(user=value["user"])
    if isinstance(value, UserMatch):
        return value
    raise ValueError('must be a glob such as "*@example.com", or {user: NAME}')


class LinkRule(Section):
    """The type of links whose URL matches a glob."""

    match: Text
    type: LinkType


class Dkim(Section):
    """Signing of what leaves; ``key_file`` is a private key in PEM."""

    domain: Host
    selector: Host
    key_file: FilePath

    def problems(self) -> Iterator[Problem]:
        try:
            read_key(self.key_file)
        except DkimKeyError as error:
            yield Problem(("key_file",), str(error))


def _bounce_address(value: str) -> str:
    local, at, domain = value.rpartition("@")
    own = local.replace(PLACE, "")
    if not at or not is_host(domain) or not _DOT_ATOM.fullmatch(local.replace(PLACE, "x")):
        raise ValueError('must be an address such as "bounces+{token}@track.example.com"')
    if local.count(PLACE) != 1:
        raise ValueError('must hold {token} once before the @, as in "bounces+{token}@track.example.com"')
    room = LONGEST_LOCAL_PART - LONGEST_TOKEN
    if len(own) > room:
        raise ValueError(f"is too long: {{token}} leaves room for {room} characters before the @, here are {len(own)}")
    return value


class Bounces(Section):
    """A reverse-path of our own."""

    address: Annotated[Text, AfterValidator(_bounce_address)]


class SenderConfig(Section):
    """One entry of ``senders``; ``match`` is a glob or a UserMatch."""

    match: Annotated[str | UserMatch, PlainValidator(_match)]
    open_tracking: Switch = True
    click_tracking: Switch = True
    text_tracking: Switch = False
    category: Literal["auto", "marketing", "transactional"] = "auto"
    attribution: Literal["recipient", "none"] = "recipient"
    tracking_url: Url | None = None
    link_rules: tuple[LinkRule, ...] = ()
    visible_urls: Literal["track", "skip"] = "track"
    url_params: dict[StrictStr, Text] = Field(default_factory=dict)
    list_unsubscribe: Switch = False
    mirror_page: Switch = False
    opt_out_url: UrlWithQuery | None = None
    signed_mail: Literal["skip", "resign", "break"] = "skip"
    dkim: Dkim | None = None
    smarthost: SmarthostConfig | None = None
    bounces: Bounces | None = None
    honor_vendor_headers: Switch = True

    @property
    def route(self) -> str:
        """The match as text, by which a message remembers the entry that was chosen for it."""
        return self.match if isinstance(self.match, str) else f"user:{self.match.user}"

    def matches(self, address: str, user: str | None) -> bool:
        """Whether this entry holds for an address (globs take no heed of case), or for the name of the AUTH user
        (which is taken exactly)."""
        if isinstance(self.match, UserMatch):
            return self.match.user == user
        return fnmatchcase(address.lower(), self.match.lower())

    def problems(self) -> Iterator[Problem]:
        if self.smarthost is not None and not self.smarthost.host:
            yield Problem(("smarthost", "host"), "is required")
        for name, value in self.url_params.items():
            found = unknown(value)
            if found is not None:
                yield Problem(("url_params", name), f"nothing is known for {found}; {', '.join(PERSONAL)} are")
        if self.signed_mail == "resign" and self.dkim is None:
            yield Problem(("signed_mail",), "resign needs dkim")


class Config(Section):
    """The whole configuration. Paths are absolute or relative to the working directory, durations are seconds, sizes
    bytes; ``repr`` shows no secret."""

    data_dir: FilePath = default("./data")
    signing_keys: tuple[SigningKey, ...] = ()
    relay: RelayConfig = Field(default_factory=RelayConfig)
    tracker: TrackerConfig = Field(default_factory=TrackerConfig)
    senders: tuple[SenderConfig, ...] = ()
    _places: Places = PrivateAttr(default_factory=dict)

    @property
    def places(self) -> Places:
        """Where each key was given: file and line, or the variable; what is not here has its default."""
        return self._places


def load_config(
    path: Path,
    environ: Mapping[str, str],
    only: str | None = None,
    doubts: Callable[[Config], Iterable[Problem]] = lambda _: (),
    warn: Callable[[str], None] = lambda _: None,
) -> Config:
    """Read the configuration; ``only`` names the one wing that will run, None means both; ``warn`` is told, with its
    place, of what ``doubts`` finds in one that has no error.

    Raises ConfigError with every problem at once, OSError where the file cannot be read.
    """

    def checks(config: Config) -> Iterator[Problem]:
        yield from _wings(config, only)
        if only != "tracker":
            yield from _too_few_connections(config)
        if only != "tracker" and not config.relay.smarthost.host:
            yield Problem(("relay", "smarthost", "host"), "is required; `sandbox` keeps mail in data_dir/sandbox")
        yield from not_built(config)

    config, places = load(path, Config, environ, checks, doubts, warn)
    config._places = places
    return config


def route_to(config: Config, route: str | None) -> SmarthostConfig:
    """The smarthost for mail of that route: the entry's own, else ``relay.smarthost``, as for a route that is None or
    gone from the configuration since."""
    entry = next((each for each in config.senders if each.route == route), None)
    return config.relay.smarthost if entry is None or entry.smarthost is None else entry.smarthost


def route_at_mail(config: Config, reverse_path: str, user: str | None) -> str | None:
    """The route that is chosen at MAIL, before there is a From address: that of the first entry for the AUTH user or
    the reverse-path, None where there is none."""
    return next((each.route for each in config.senders if each.matches(reverse_path, user)), None)


def bounce_addresses(config: Config) -> tuple[str, ...]:
    """The forms of the reverse-paths that are ours."""
    return tuple(each.bounces.address for each in config.senders if each.bounces is not None)


def bounce_route(config: Config, form: str, sender: str) -> str | None:
    """The route of a bounce that came to an address of this form, about a sender's mail: that of the first entry with
    this form for the sender's address, else of the first with this form, since an entry for an AUTH user is not found
    by an address. None where that entry has no smarthost of its own."""
    entries = [each for each in config.senders if each.bounces is not None and each.bounces.address == form]
    entry = next((each for each in entries if each.matches(sender, None)), next(iter(entries), None))
    return entry.route if entry is not None and entry.smarthost is not None else None


def opt_out_url(config: Config, sender: str) -> str | None:
    """Where people go after an opt-out from a sender: what the first entry for its address says. An entry for an AUTH
    user is not found so, since an address does not tell who sent."""
    return next((each.opt_out_url for each in config.senders if each.matches(sender, None)), None)


def _too_few_connections(config: Config) -> Iterator[Problem]:
    """The relay processes share a smarthost's connections, and none can do without one."""
    workers = config.relay.workers or os.cpu_count() or 1
    smarthosts: list[tuple[tuple[str | int, ...], SmarthostConfig | None]] = [
        (("relay", "smarthost"), config.relay.smarthost),
        *((("senders", index, "smarthost"), entry.smarthost) for index, entry in enumerate(config.senders)),
    ]
    for path, smarthost in smarthosts:
        if smarthost is not None and smarthost.max_connections < workers and smarthost.host != "sandbox":
            yield Problem((*path, "max_connections"), f"must be at least relay.workers ({workers})")


def check_wings(config: Config, only: str | None) -> None:
    """Raise ConfigError where keys would be made that another process could not know."""
    problems = [f"{show(path)}: {sentence}" for path, sentence in _wings(config, only)]
    if problems:
        raise ConfigError(problems)


def _wings(config: Config, only: str | None) -> Iterator[Problem]:
    if only is None and config.tracker.store == "sqlite":
        return
    why = f"must be given with --only {only}" if only else "must be given with a PostgreSQL store"
    if not config.signing_keys:
        yield Problem(("signing_keys",), f"{why}; `tracepost key` makes one")
    if not config.tracker.api_keys and only != "relay":
        yield Problem(("tracker", "api_keys"), why)


def _missing_file(key: str, path: Path | None) -> Iterator[Problem]:
    if path is not None and not path.is_file():
        yield Problem((key,), f"{path}: no such file")
