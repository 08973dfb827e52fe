"""Structured output of a chat. This module implements the `StructuredOutput` protocol for the operation."""

from __future__ import annotations

from typing import Final

from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.structured.chunk_lifting import chunk_lift
from bifrost.operations.chat.structured.fitting import fitted, is_correctable, shortfalls
from bifrost.operations.chat.structured.lifting import lift, tool_names
from bifrost.operations.chat.structured.lowering import choose_mode, lower
from bifrost.operations.chat.structured.output_retries import merged, reask, reask_refused, refused, was_cut
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES

__all__ = [
    "choose_mode",
    "chunk_lift",
    "default_mode",
    "default_rules",
    "fitted",
    "is_correctable",
    "lift",
    "lower",
    "merged",
    "reask",
    "reask_refused",
    "refused",
    "shortfalls",
    "tool_names",
    "was_cut",
]

default_mode: Final[StructuredMode] = "prompt"
default_rules: Final = COMMON_RULES
