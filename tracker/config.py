"""The tracker's section of the configuration, and the base and types that every section is made of.

Defaults stand here as they are written in the file (``400d``), and are validated like anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StrictStr,
    ValidationInfo,
    model_validator,
)

from tracker.units import (
    Address,
    Network,
    parse_address,
    parse_duration,
    parse_endpoint,
    parse_network,
    parse_size,
    parse_url,
    parse_zone,
)
from tracker.webhooks.formats import FORMATS
from tracker.webhooks.names import SYNONYMS, parse_name


class Problem(NamedTuple):
    """Something wrong: the keys and list indices that lead to it, and a sentence that goes on after the key's name."""

    path: tuple[str | int, ...]
    sentence: str


class Section(BaseModel):
    """A mapping of the configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)

    def problems(self) -> Iterator[Problem]:
        """What is wrong between the keys of this section, each of which is right by itself; paths begin here."""
        yield from ()


class SecretMark:
    """Marks a key as secret that is not of type SecretStr: it too can be given as ``<key>_file``."""


def default(value: Any) -> Any:
    """A default, as it would be written in the file."""
    return Field(default=value, validate_default=True)


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ValueError("must be a path")
    folder: Path = (info.context or {}).get("folder", Path())
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:
        raise ValueError("must not begin with the home of a user who does not exist") from None


def _text(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError("must be text on one line" if value else "must not be empty")
    return value


def _secret(value: object) -> object:
    if not isinstance(value, (str, SecretStr)):
        raise ValueError("must be text; put it in quotes")
    if not value:
        raise ValueError("must not be empty")
    return value


Text = Annotated[StrictStr, AfterValidator(_text)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Switch = StrictBool
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Workers = Annotated[int, Field(strict=True, ge=0, le=1024)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Listen = Annotated[Address, BeforeValidator(parse_address)]
IpNetwork = Annotated[Network, BeforeValidator(parse_network)]
Url = Annotated[str, BeforeValidator(parse_url)]
UrlWithQuery = Annotated[str, BeforeValidator(partial(parse_url, query=True))]
EndpointUrl = Annotated[str, BeforeValidator(parse_endpoint)]
EventName = Annotated[Text, AfterValidator(parse_name)]
FilePath = Annotated[Path, BeforeValidator(_path)]
TimeZone = Annotated[str, BeforeValidator(parse_zone)]


class ApiKey(Section):
    """A key to the API and the dashboard; written as ``{key, access}`` or as the key alone, which may write."""

    key: Annotated[Text, SecretMark()] = Field(repr=False)
    access: Literal["read", "write"] = "write"

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        if not isinstance(value, (str, dict, cls)):
            raise ValueError("must be a key in quotes, or {key, access}")
        return {"key": value} if isinstance(value, str) else value

    def problems(self) -> Iterator[Problem]:
        if not self.key.isascii() or " " in self.key:
            yield Problem(("key",), "must be ASCII without spaces, since it goes into a header")


class Retention(Section):
    """How long what is kept is kept, in seconds; ``recipients``: address, subject, metadata. Counts stay."""

    events: Duration = default("400d")
    recipients: Duration = default("400d")
    mirror_pages: Duration = default("90d")


class Privacy(Section):
    """What is kept of who made a hit."""

    ip: Literal["full", "truncated", "none"] = "truncated"
    user_agent: Literal["full", "family", "none"] = "family"


class Webhook(Section):
    """Where events are sent to, and which; none named means all."""

    # It can hold a user name and password, or a token.
    url: Annotated[EndpointUrl, SecretMark()] = Field(repr=False)
    format: Literal["standard", "mailgun", "postmark", "sendgrid"] = "standard"
    secret: Secret | None = None
    events: tuple[EventName, ...] = ()
    machine: Switch = False
    allow_private: Switch = False

    def problems(self) -> Iterator[Problem]:
        try:
            FORMATS[self.format].check(None if self.secret is None else self.secret.get_secret_value())
        except ValueError as error:
            yield Problem(("secret",), str(error))
        for index, name in enumerate(self.events):
            same = {name, SYNONYMS.get(name), *(each for each in SYNONYMS if SYNONYMS[each] == name)}
            twin = next((each for each in self.events[:index] if each in same), None)
            if twin is not None:
                yield Problem(("events", index), "is given twice" if twin == name else f"is the same event as {twin}")


def _store(value: object) -> str:
    if value == "sqlite" or (isinstance(value, str) and value.startswith(("postgresql://", "postgres://"))):
        return str(value)
    raise ValueError("must be sqlite or postgresql://user@host/db")


class TrackerConfig(Section):
    """The key ``tracker``."""

    listen: Listen = default("127.0.0.1:8025")
    public_url: Url = default("http://127.0.0.1:8025")
    admin_listen: Listen | None = None
    workers: Workers = 1
    # A store's URL can hold a password.
    store: Annotated[str, BeforeValidator(_store), SecretMark()] = Field(default="sqlite", repr=False)
    timezone: TimeZone = "UTC"
    api_keys: Annotated[tuple[ApiKey, ...], SecretMark()] = ()
    trusted_proxies: tuple[IpNetwork, ...] = ()
    well_known: FilePath | None = None
    retention: Retention = Field(default_factory=Retention)
    privacy: Privacy = Field(default_factory=Privacy)
    webhooks: tuple[Webhook, ...] = ()

    def problems(self) -> Iterator[Problem]:
        if self.admin_listen == self.listen and self.listen.port:
            yield Problem(("admin_listen",), "must not be the same as tracker.listen")
        if self.well_known is not None and not self.well_known.is_dir():
            yield Problem(("well_known",), f"{self.well_known}: no such folder")
        seen: set[str] = set()
        for index, key in enumerate(self.api_keys):
            if key.key in seen:
                yield Problem(("api_keys", index), "is given twice")
            seen.add(key.key)
        for index, webhook in enumerate(self.webhooks):
            if any((each.url, each.format) == (webhook.url, webhook.format) for each in self.webhooks[:index]):
                yield Problem(("webhooks", index, "url"), "is given twice with this format")
