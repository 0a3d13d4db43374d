"""What is in force now: replaced as a whole when the configuration is read again (SIGHUP)."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.config import Config
from relay.keys import kept_signing_key
from relay.signing import Signers, signers_of
from tracker.tokens import Keyring, parse_key


@dataclass(slots=True)
class Settings:
    """The configuration and the keys that hold for what comes next. ``hostname`` stays for the life of a process.
    ``signs``: mail leaves this process; others have no business with the keys that sign it, and ``signers`` is empty
    there. Raises DkimKeyError where such a key cannot be had."""

    config: Config
    keyring: Keyring
    hostname: str
    signs: bool = False
    signers: Signers = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.signers = signers_of(self.config) if self.signs else {}

    def replace(self, config: Config) -> None:
        """Go on with another configuration. Raises KeyFileError or DkimKeyError where a key cannot be had, and changes
        nothing then."""
        keys, signers = keys_of(config), signers_of(config) if self.signs else {}
        self.keyring.replace(keys)
        self.config, self.signers = config, signers


def keys_of(config: Config) -> list[bytes]:
    """The configured signing keys, else the one kept in ``data_dir``. Raises KeyFileError for a damaged one."""
    keys = [parse_key(key.get_secret_value()) for key in config.signing_keys]
    return keys or [kept_signing_key(config.data_dir)]
