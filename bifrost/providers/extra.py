"""Merges a caller's provider-specific options into a body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Target


def merge_extra(body: dict[str, Any], extra: Mapping[str, Mapping[str, Any]] | None, target: Target) -> None:
    """Merge the caller's `extra` for this provider into the body, object by object.

    The caller's values take precedence.
    """
    if extra is not None and target.provider in extra:
        _merge(body, extra[target.provider])


def _merge(body: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for name, value in extra.items():
        there = body.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            # Copied, because the object in the body may be the caller's own schema.
            merged = dict(cast("dict[str, Any]", there))
            _merge(merged, cast("dict[str, Any]", value))
            body[name] = merged
        else:
            body[name] = value
