"""Configuration files: `load` reads one, in TOML or JSON, into `Settings`."""

from __future__ import annotations

from bifrost.settings.load import load
from bifrost.settings.result import Settings

__all__ = ["Settings", "load"]
