"""The state while a file is read: its problems, notes about ignored fields, and the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from bifrost.settings.problems import Problems

if TYPE_CHECKING:
    from bifrost.settings.environment import Environment


@attrs.frozen(kw_only=True, eq=False)
class Reading:
    """The state that all functions share while a file is read."""

    environment: Environment = attrs.field(repr=False)
    problems: Problems = attrs.field(factory=Problems)
    notes: list[str] = attrs.field(factory=list[str])

    def note(self, at: str, text: str) -> None:
        """Record that the field at this path is ignored."""
        self.notes.append(f"{at}: {text}")
