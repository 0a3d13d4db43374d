"""What is in force now: replaced as a whole when the configuration is read again (SIGHUP)."""

from __future__ import annotations

from dataclasses import dataclass

from relay.config import Config
from relay.keys import kept_signing_key
from tracker.tokens import Keyring, parse_key


@dataclass(slots=True)
class Settings:
    """The configuration and the keys that hold for what comes next. ``hostname`` stays for the life of a process."""

    config: Config
    keyring: Keyring
    hostname: str

    def replace(self, config: Config) -> None:
        """Go on with another configuration. Raises KeyFileError where its key cannot be had."""
        self.keyring.replace(keys_of(config))
        self.config = config


def keys_of(config: Config) -> list[bytes]:
    """The configured signing keys, else the one kept in ``data_dir``. Raises KeyFileError for a damaged one."""
    keys = [parse_key(key.get_secret_value()) for key in config.signing_keys]
    return keys or [kept_signing_key(config.data_dir)]
