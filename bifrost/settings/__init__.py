"""Configuration files in TOML or JSON: `load` reads one and returns `Settings`."""

from __future__ import annotations

from bifrost.settings.load import load
from bifrost.settings.result import Settings

__all__ = ["Settings", "load"]
