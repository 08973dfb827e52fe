"""The problems of a file: all are reported together, each with the path of its field, and without the field's value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_NAME = re.compile(r"[\w$-]+")

_MAX_PROBLEMS = 12
"""The most problems in the message of an error; its `errors` has them all."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem: where it is, and what to write instead."""

    at: str
    """The path of the field; empty for the whole file."""

    text: str
    """The description."""

    kind: type[ConfigError] = ConfigError
    """The class of its error."""

    provider: str | None = None
    """The provider concerned; `None` if there is none."""

    key: str | None = None
    """The name of the key concerned; `None` if there is none."""

    def error(self) -> ConfigError:
        """Return an error for this problem only."""
        return self.kind(str(self), provider=self.provider, key=self.key)

    def __str__(self) -> str:
        return f"{self.at}: {self.text}" if self.at else self.text


class Problems:
    """Collects problems. Reading continues after a problem, so that the following ones are found as well.

    Nothing is raised while a file is read, because a traceback would show local variables that contain secrets.
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
        """Add a problem of the field at this path."""
        self._all.append(Problem(at=at, text=text, kind=kind, provider=provider, key=key))

    def __len__(self) -> int:
        return len(self._all)

    def failure(self, file: str) -> ConfigError:
        """Return the error to raise.

        It has the class of the problems if they share one, and each of them in `errors`.
        """
        first, *others = self._all
        if not others:
            error = first.error()
            error.message = f"{file}: {first}"
            return error
        kinds = {problem.kind for problem in self._all}
        listing = "; ".join(
            f"({number}) {problem}" for number, problem in enumerate(self._all[:_MAX_PROBLEMS], start=1)
        )
        more = f"; and {len(self._all) - _MAX_PROBLEMS} more, see .errors" if len(self._all) > _MAX_PROBLEMS else ""
        error = (kinds.pop() if len(kinds) == 1 else ConfigError)(
            f"{file} has {len(self._all)} problems: {listing}{more}"
        )
        error.errors = [problem.error() for problem in self._all]
        return error


def below(at: str, name: str) -> str:
    """Return the path of a field: `providers.openai`, `providers."my host"`."""
    step = name if _PLAIN_NAME.fullmatch(name) else f'"{shown(name, 60)}"'
    return f"{at}.{step}" if at else step


def element(at: str, index: int) -> str:
    """Return the path of an element of a list: `keys[0]`."""
    return f"{at}[{index}]"


def quoted_name(name: str) -> str:
    """Return an unexpected name for a message, or only its length if it looks like a secret."""
    if len(name) <= 12 or (len(name) <= 48 and not any(c.isdigit() for c in name)):
        return name
    return f"<a name of {len(name)} characters>"


def listed(names: Sequence[str]) -> str:
    """Return names as text for a message."""
    return ", ".join(names) if names else "none"
