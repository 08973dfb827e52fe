"""What is wrong with a file: all of it told together, each with the path of its field, and never a field's text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_NAME = re.compile(r"[\w$-]+")

_TOLD = 12
"""So many problems stand in the error's text; its `errors` has them all."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where, and what to write instead."""

    at: str
    text: str
    kind: type[ConfigError] = ConfigError
    provider: str | None = None
    key: str | None = None

    def error(self) -> ConfigError:
        """Give this problem as an error of its own."""
        return self.kind(str(self), provider=self.provider, key=self.key)

    def __str__(self) -> str:
        return f"{self.at}: {self.text}" if self.at else self.text


class Problems:
    """Collects what is wrong. Reading goes on after a problem, so that the next one is found too.

    Nothing is raised while a file is read: a traceback would show the locals of its frames, and they hold secrets.
    """

    def __init__(self) -> None:
        self._all: list[Problem] = []

    def add(
        self,
        at: str,
        text: str,
        *,
        kind: type[ConfigError] = ConfigError,
        provider: str | None = None,
        key: str | None = None,
    ) -> None:
        """Note a problem of the field at this path."""
        self._all.append(Problem(at=at, text=text, kind=kind, provider=provider, key=key))

    def __len__(self) -> int:
        return len(self._all)

    def failure(self, file: str) -> ConfigError:
        """Make the error to raise: of the problems' own class if they share one, with each of them in `errors`."""
        first, *others = self._all
        if not others:
            error = first.error()
            error.message = f"{file}: {first}"
            return error
        kinds = {problem.kind for problem in self._all}
        told = "; ".join(f"({number}) {problem}" for number, problem in enumerate(self._all[:_TOLD], start=1))
        more = f"; and {len(self._all) - _TOLD} more, see .errors" if len(self._all) > _TOLD else ""
        error = (kinds.pop() if len(kinds) == 1 else ConfigError)(f"{file} has {len(self._all)} problems: {told}{more}")
        error.errors = [problem.error() for problem in self._all]
        return error


def below(at: str, name: str) -> str:
    """Give the path of a field: `providers.openai`, `providers."my host"`."""
    step = name if _PLAIN_NAME.fullmatch(name) else f'"{shown(name, 60)}"'
    return f"{at}.{step}" if at else step


def element(at: str, index: int) -> str:
    """Give the path of a list's element: `keys[0]`."""
    return f"{at}[{index}]"


def told(name: str) -> str:
    """Give a name that nobody expected, as a message may show it: not if it looks like a secret in a name's place."""
    if len(name) <= 12 or (len(name) <= 48 and not any(c.isdigit() for c in name)):
        return name
    return f"<a name of {len(name)} characters>"


def listed(names: Sequence[str]) -> str:
    """Give names as text for a message."""
    return ", ".join(names) if names else "none"
