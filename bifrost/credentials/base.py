"""`Token`, and the protocol of the sources that fetch one. Pure: `engine/providers/tokens.py` calls the sources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from bifrost.errors import ConfigError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys
from bifrost.wire.secrets import Secret, check_secret


@attrs.frozen(init=False, eq=False, repr=False)
class Token(Frozen):
    """A credential that expires. Its value is never shown.

        Token(response["access_token"], expires_at=time.time() + response["expires_in"])

    Raises `InvalidKeyError` for a value that cannot be sent in a header, and `ConfigError` for an invalid time.
    """

    value: Secret
    """The token. A `str` is converted to a `Secret`."""

    expires_at: float | None
    """When it expires, in seconds since the epoch. `None` (default): never."""

    @hides_keys
    def __init__(self, value: str | Secret, *, expires_at: float | None = None) -> None:
        try:
            secret = value if isinstance(value, Secret) else check_secret(value, name="token")
        finally:
            del value  # A traceback may print the local variables of this frame.
        if expires_at is not None and not _is_time(expires_at):
            raise ConfigError("Token.expires_at must be a number of seconds since the epoch, or None")
        self.__attrs_init__(  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue] - attrs makes it
            value=secret, expires_at=expires_at
        )


@runtime_checkable
class TokenSource(Protocol):
    """Fetches the tokens of a key, `Key(credentials=...)`.

    A client calls it when it has no token, some minutes before one expires, and after the provider has refused one. All
    calls that wait share one result. Tokens are kept per source: equal sources share theirs.
    """

    def fetch(self) -> Token | Awaitable[Token]:
        """Return a token, if possible a new one: the provider may have refused the last.

        A plain method runs in a thread and may block; an `async` one runs on the event loop. Raise any exception if no
        token can be fetched. Only its type is shown to callers, except for bifrost's own errors, which are raised as
        they are.
        """
        ...


TokenFunction: TypeAlias = Callable[[], "Token | str | Secret | Awaitable[Token | str | Secret]"]
"""A function that fetches a token, plain or async. Text is a token with an unknown expiry, such as the functions return
that the official SDKs accept (`azure_ad_token_provider`): it is fetched anew after a minute.
"""

Credentials: TypeAlias = TokenSource | TokenFunction
"""The source of a key's tokens: an object with `fetch`, or a function."""


def name_of(source: object) -> str:
    """Return the name of a source, for messages: that of its class or function."""
    name = getattr(source, "__qualname__", None)
    name = name if isinstance(name, str) else type(source).__qualname__
    return name.rpartition("<locals>.")[2]


def identity_of(source: object) -> object:
    """Return what identifies a source as a key of a dictionary: the source, or for one without a hash, the object."""
    try:
        hash(source)
    except TypeError:
        return _Identity(source)
    return source


def check_credentials(source: object, *, where: str) -> None:
    """Raise `ConfigError` unless a source has a `fetch` method or is a function. `where` says whose it is."""
    if isinstance(source, type) or not (callable(source) or callable(getattr(source, "fetch", None))):
        raise ConfigError(
            f"{where}: credentials is {_kind(source)}; it must be a function that returns a Token, or an object with "
            "a `fetch` method"
        )


class _Identity:
    """An object that cannot be hashed, compared by its identity. Keeps it alive, so that its address stays its own."""

    __slots__ = ("_thing",)

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


def _is_time(value: object) -> bool:
    # A bool is an int, and NaN is not comparable.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST


_LATEST = 1e15
"""Later times are mistakes, such as milliseconds of the year 33000, and do not fit into dates."""


def _kind(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"
