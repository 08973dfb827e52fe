"""Configuration files as text, read."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.errors import ConfigError
from bifrost.settings import Settings, load
from bifrost.testing import fake_key

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRON = {
    "K1": fake_key("K1"),
    "K2": fake_key("K2"),
    "ADDRESS": "https://models.example/v1",
    "PROXY": "http://proxy.example:8080",
    "PROXY_AUTH": "user:s3cret-canary",
}


def read(text: str | bytes, *, suffix: str = ".toml", environ: Mapping[str, str] = ENVIRON) -> Settings:
    """Load a file with this text."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"bifrost{suffix}"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(file, environ=environ)


def read_json(document: Any, *, environ: Mapping[str, str] = ENVIRON) -> Settings:
    """Load a JSON file with this document."""
    return read(json.dumps(document), suffix=".json", environ=environ)


def refused(text: str | bytes, *, suffix: str = ".toml", environ: Mapping[str, str] = ENVIRON) -> ConfigError:
    """Load a file that must be refused, and give the error."""
    with pytest.raises(ConfigError) as caught:
        read(text, suffix=suffix, environ=environ)
    return caught.value


def problems(text: str | bytes, *, suffix: str = ".toml", environ: Mapping[str, str] = ENVIRON) -> list[str]:
    """Load a file that must be refused, and give its problems, without the file's name."""
    error = refused(text, suffix=suffix, environ=environ)
    if error.errors:
        return [each.message for each in error.errors]
    return [error.message.partition(f"bifrost{suffix}: ")[2]]


def problems_json(document: Any, *, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    """Load a JSON file that must be refused, and give its problems."""
    return problems(json.dumps(document), suffix=".json", environ=environ)
