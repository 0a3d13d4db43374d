"""Configurations as files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from relay.config import Config, load_config
from tracker.errors import ConfigError

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text; a smarthost is added where the text has no relay."""

    def load(text: str = "", environ: Mapping[str, str] | None = None, only: str | None = None) -> Config:
        text = textwrap.dedent(text)
        if "relay:" not in text:
            text += "\nrelay: {smarthost: {host: sandbox}}\n"
        file = tmp_path / "config.yaml"
        file.write_text(text, "utf-8")
        return load_config(file, environ or {}, only)

    return load


@pytest.fixture
def problems(load: Load, tmp_path: Path) -> Problems:
    """The problems of a text, without the folder of its file."""

    def problems(text: str = "", environ: Mapping[str, str] | None = None, only: str | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ, only)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return problems
