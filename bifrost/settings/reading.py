"""One reading of a file: what is wrong with it, what is left out of it, and the environment it leans on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from bifrost.settings.problems import Problems

if TYPE_CHECKING:
    from bifrost.settings.environment import Environment


@attrs.frozen(kw_only=True, eq=False)
class Reading:
    """What all who read a part of the file share."""

    environment: Environment = attrs.field(repr=False)
    problems: Problems = attrs.field(factory=Problems)
    notes: list[str] = attrs.field(factory=list[str])

    def note(self, at: str, text: str) -> None:
        """Note what the file says at this path and is left out."""
        self.notes.append(f"{at}: {text}")
