"""Mutants that no test can notice, each with the reason.

One that is gone, or that a test notices after all, is told of. They count as survivors all the same; the figure
without them stands beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EQUIVALENT: Mapping[str, Mapping[tuple[str, str], str]] = {}
"""Module, function and defect as they are told, and why the module does the same with it."""
