"""Secrets: values that are never shown, and their removal from foreign text. Only this module reveals them."""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from bifrost.errors import InvalidKeyError
from bifrost.wire.redaction import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SENDABLE = re.compile(r"[\x21-\x7e]{1,8192}")
_VARIABLE = re.compile(r"env\.\w+|\$\w+|\$\{\w+\}|[A-Z][A-Z0-9]*_API_KEY", re.ASCII)
"""How files, shells and the vendors' documentation name a variable that contains a key."""

_MASK = "***"

T = TypeVar("T")


class Secret:
    """A value that is never shown: not in repr, str, format, copies, pickles, JSON or tracebacks.

    Equality compares the values, so that a changed key can be distinguished from an unchanged one.
    """

    __slots__ = ("_reveal", "search")

    def __init__(self, value: str) -> None:
        # The text is hidden behind a bound method of C: a debugger that reads __slots__ finds no text, and there is no
        # Python frame (as a closure would have) whose local variables a traceback could print.
        self._reveal: Callable[[], str] = value.__str__
        self.search: Pieces | None = None
        """The search for pieces of it; `None` until it is first used."""

    def reveal(self) -> str:
        """Return the value. It is called once, in this module."""
        return self._reveal()

    def pieces(self) -> Pieces:
        """Return the search for pieces of it in foreign text, which is made on first use."""
        if self.search is None:
            self.search = Pieces((self._reveal(),))
        return self.search

    def __bool__(self) -> bool:
        return bool(self._reveal())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._reveal() == other._reveal()

    def __hash__(self) -> int:
        return hash((Secret, self._reveal()))

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return _MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; configure the key in the other process")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


class Credential(str):
    """A part of a request that contains a secret. As text it is `***`, whether it is printed, joined or serialised.

    Only `encode` returns what is sent, in the step in which every transport converts it to bytes. A transport that uses
    the text instead sends `***` and is refused, which is the safer failure.
    """

    __slots__ = ("_prefix", "_suffix", "secret")

    _prefix: str
    _suffix: str
    secret: Secret

    def __new__(cls, prefix: str, secret: Secret, suffix: str = "") -> Self:
        """Return the mask for a text around a secret."""
        value = super().__new__(cls, _MASK)
        value._prefix = prefix
        value._suffix = suffix
        value.secret = secret
        return value

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return what is sent."""
        return (self._prefix + _text(self.secret) + self._suffix).encode(encoding, errors)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signed request cannot be pickled; use the request before it is signed")

    def __copy__(self) -> Credential:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credential:
        return self


def check_secret(value: str, *, name: str) -> Secret:
    """Return a `Secret` of a key's text without surrounding white space.

    Raises `InvalidKeyError`, which names the key and the problem, if the text cannot be sent in a header: it is empty,
    longer than 8,192 characters, or not printable ASCII. Do not bind the value to a local variable, which a traceback
    might show: `check_secret(os.environ["KEY"], name="KEY")`.
    """
    problem = _problem(value)
    if problem is None:
        return Secret(value.strip())
    del value  # Tracebacks may print the local variables of this frame.
    raise InvalidKeyError(f"key {name!r} cannot be used: {problem}; set it anew without surrounding text", key=name)


def basic_auth(secret: Secret) -> bytes:
    """Return the value of a header field for HTTP's basic authentication."""
    return b"Basic " + b64encode(_text(secret).encode())


def password_of(secret: Secret) -> Secret:
    """Return the password of `user:password`."""
    return Secret(_text(secret).partition(":")[2])


def user_and_password(secret: Secret) -> tuple[bytes, bytes]:
    """Return the two parts of `user:password`."""
    user, _, password = _text(secret).partition(":")
    return user.encode(), password.encode()


def parts_of(secret: Secret) -> list[Secret]:
    """Return the parts of a secret that are separated by colons."""
    return [Secret(part) for part in _text(secret).split(":")]


def applied(function: Callable[[str], T], secret: Secret) -> T:
    """Return what a function makes of the text of a secret, for a vendor's SDK that takes plain text."""
    return function(_text(secret))


def keyed_hash(secret: Secret, message: bytes, *, prefix: str = "") -> bytes:
    """Return the HMAC-SHA-256 of a message, with the secret after a prefix as the key."""
    return hmac.digest((prefix + _text(secret)).encode(), message, "sha256")


def is_sendable(secret: Secret) -> bool:
    """Return whether a secret consists of printable ASCII without spaces, and is not too long."""
    return _SENDABLE.fullmatch(_text(secret)) is not None


def credentials_of(*fields: Mapping[str, str]) -> list[Secret]:
    """Return the secrets among the values of a request's header fields or query."""
    return [value.secret for each in fields for value in each.values() if isinstance(value, Credential)]


def redact(text: str, secret: Secret | None, *, known: Sequence[str] = ()) -> str:
    """Return foreign text without a secret, because providers may repeat keys.

    `bifrost.wire.redaction` says what is found. `known` are words that are not redacted although they are part of the
    secret: the names of the provider, the model and the key.
    """
    if secret is None or not text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    clean = (secret.search or secret.pieces()).redact(data, known=known)
    return text if clean is data else clean.decode("utf-8", "surrogatepass")


def redact_bytes(data: bytes, secret: Secret | None, *, known: Sequence[str] = ()) -> bytes:
    """Return a foreign body without a secret, like `redact`."""
    return data if secret is None else secret.pieces().redact(data, known=known)


def pieces_of(secrets: Iterable[Secret]) -> Pieces:
    """Return one search for several secrets."""
    return Pieces(map(_text, secrets))


def _problem(value: object) -> str | None:
    if not isinstance(value, str):  # An account is the user's own code and may return anything.
        return "it is not text"
    text = value.strip()
    if _VARIABLE.fullmatch(text):
        return "it is a variable's name and not what stands there (in code os.environ[...], in a file env.NAME)"
    if _SENDABLE.fullmatch(text):
        return None
    if not text:
        return "it is empty"
    if len(text) > 8192:
        return "it is longer than 8,192 characters"
    if not text.isascii():
        return "it holds a character outside ASCII (was it copied from a formatted page?)"
    return "it holds a blank, line break or control character"


def _text(secret: Secret) -> str:
    return secret.reveal()
