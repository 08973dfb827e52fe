"""Values that a file takes from the environment: `env.NAME`. Keys are converted to secrets here, at once."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from bifrost.account import EnvAccount
from bifrost.errors import InvalidKeyError, MissingKeyError
from bifrost.wire.secrets import Secret, check_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.settings.problems import Problems

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EnvName(msgspec.Struct, frozen=True):
    """A value that is read from an environment variable."""

    env: str
    """The name of the variable."""


class Environment:
    """The environment variables, whose values a traceback does not show. `environ` replaces `os.environ`."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    def get(self, variable: str) -> str:
        """Return the value of a variable without surrounding white space; empty if it is not set."""
        return (os.environ if self._environ is None else self._environ).get(variable, "").strip()

    def account(self) -> EnvAccount:
        """Return the account of a client without an account: the vendors' variables."""
        return EnvAccount(self._environ)

    def text(self, value: str, *, at: str, problems: Problems) -> str | None:
        """Return the text of a setting, from the variable if it names one.

        `None`, with a problem, if that is not set.
        """
        variable = variable_of(value)
        if variable is None:
            return value
        if not _usable(variable, at=at, problems=problems):
            return None
        found = self.get(variable)
        if not found:
            problems.add(at, f"the environment variable {variable} is not set; set it, or write the value here")
        return found or None

    def secret(self, value: str | EnvName, *, at: str, provider: str, key: str, problems: Problems) -> Secret | None:
        """Return a key. `None`, with a problem, if the variable is not set or the text cannot be a key."""
        variable = variable_of(value)
        if variable is not None and not _usable(variable, at=at, problems=problems):
            return None
        if variable is not None and not self.get(variable):
            problems.add(
                at,
                f"the environment variable {variable} is not set, where key {key!r} of {provider} should be; "
                "set it, or remove the key",
                kind=MissingKeyError,
                provider=provider,
                key=key,
            )
            return None
        try:
            return check_secret(
                value if isinstance(value, str) and variable is None else self.get(variable or ""), name=key
            )
        except InvalidKeyError as error:
            complaint = error.message
        where = f" (from the environment variable {variable})" if variable is not None else ""
        problems.add(at, f"{complaint}{where}", kind=InvalidKeyError, provider=provider, key=key)
        return None


def variable_of(value: str | EnvName) -> str | None:
    """Return the variable that a value names; `None` if it names none."""
    if isinstance(value, EnvName):
        return value.env
    return value.removeprefix("env.") if value.startswith("env.") else None


def _usable(variable: str, *, at: str, problems: Problems) -> bool:
    if _VARIABLE.fullmatch(variable):
        return True
    # It is not quoted, because it may be a key that begins like a reference.
    problems.add(at, "the text after env. is not a variable name; write env.NAME, with letters, digits and _ only")
    return False
