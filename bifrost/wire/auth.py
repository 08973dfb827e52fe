"""Secrets, and how one gets onto a request. The only place that reveals a secret."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeAlias
from urllib.parse import quote, quote_plus

import msgspec

from bifrost.errors import InvalidKeyError
from bifrost.html import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SENDABLE = re.compile(r"[\x21-\x7e]{1,8192}")
_VARIABLE = re.compile(r"env\.\w+|\$\w+|\$\{\w+\}|[A-Z][A-Z0-9]*_API_KEY", re.ASCII)
"""How files, shells and the vendors' pages name a variable that holds a key."""

_MASK = "***"


class Secret:
    """A value that shows itself nowhere: not in repr, str, format, copies, pickles, JSON or tracebacks.

    Equality compares the values, so that a changed key can be told from an unchanged one.
    """

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        # The text hides behind a bound method of C: walking __slots__ in a debugger meets no text, and there is no
        # Python frame (as a closure would have) whose locals a traceback could print.
        self._reveal: Callable[[], str] = value.__str__

    def reveal(self) -> str:
        """Give the value. Called in this module, once, and nowhere else."""
        return self._reveal()

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
        raise TypeError("a Secret is not pickled; give the other process its own key")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


class _Credential(str):
    """A header's value that holds a secret. As text it is `***`, whoever prints, joins or serialises it.

    What is sent comes out of `encode` alone, the step that every transport takes to bytes. One that took the text
    instead would send `***` and be refused, which is the better failure.
    """

    __slots__ = ("_prefix", "secret")

    _prefix: str
    secret: Secret

    def __new__(cls, prefix: str, secret: Secret) -> Self:
        value = super().__new__(cls, _MASK)
        value._prefix = prefix
        value.secret = secret
        return value

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return (self._prefix + _text(self.secret)).encode(encoding, errors)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signed request is not pickled; take the request before it is signed")

    def __copy__(self) -> _Credential:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Credential:
        return self


def check_secret(value: str, *, name: str) -> Secret:
    """Make a `Secret` of a key's text, outer white space removed.

    Raises `InvalidKeyError`, which tells the key's name and the problem, if the text could not stand in a header:
    empty, longer than 8,192 characters, or with anything but printable ASCII. Give the value without binding it to a
    local variable, which a traceback with locals would show: `check_secret(os.environ["KEY"], name="KEY")`.
    """
    problem = _problem(value)
    if problem is None:
        return Secret(value.strip())
    del value  # Tracebacks may print the locals of this frame.
    raise InvalidKeyError(f"key {name!r} cannot be used: {problem}; set it anew without surrounding text", key=name)


class HeaderAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Send the secret in one header: `prefix` + secret."""

    header: str
    prefix: str = ""


class NoAuth(msgspec.Struct, frozen=True):
    """Send no credential (local servers)."""


BEARER = HeaderAuth(header="authorization", prefix="Bearer ")

Auth: TypeAlias = HeaderAuth | NoAuth


def basic_auth(secret: Secret) -> bytes:
    """Give the value of a field that names a user and a password in HTTP's basic way."""
    return b"Basic " + b64encode(_text(secret).encode())


def password_of(secret: Secret) -> Secret:
    """Give the password of `user:password`."""
    return Secret(_text(secret).partition(":")[2])


def user_and_password(secret: Secret) -> tuple[bytes, bytes]:
    """Give the two parts of `user:password`."""
    user, _, password = _text(secret).partition(":")
    return user.encode(), password.encode()


def sign(headers: dict[str, str], auth: Auth, secret: Secret | None) -> None:
    """Add the credential to a request's headers, in place. The value shows as `***`; its `encode` gives what is sent.

    Raises `InvalidKeyError` for a secret that did not come through `check_secret` and cannot stand in a header: HTTP
    libraries put such a value into their own error's text.
    """
    if not isinstance(auth, HeaderAuth) or secret is None:
        return
    if not _SENDABLE.fullmatch(_text(secret)):
        raise InvalidKeyError(f"the key's value cannot stand in the {auth.header} header; set it anew")
    headers[auth.header] = _Credential(auth.prefix, secret)


def credentials_of(headers: Mapping[str, str]) -> list[Secret]:
    """Give the secrets that were put on a request's headers."""
    return [value.secret for value in headers.values() if isinstance(value, _Credential)]


def redact(text: str, secret: Secret | None) -> str:
    """Take a secret out of foreign text, since providers echo keys.

    Found are: the secret as it is, escaped for JSON, HTML or a URL, and in base64 (also inside a longer value, such as
    `user:key`); a beginning of it that is at least 8 characters long (the text was cut); and its last characters after
    a provider's own mask (`sk-...WXYZ`). A secret of fewer than 8 characters is taken out only where it stands alone.
    """
    if not secret or not text:
        return text
    plain = _text(secret)
    if len(plain) < _TELLING:
        return re.sub(rf"(?<!\w){re.escape(plain)}(?!\w)", _MASK, text)
    forms = _forms(plain)
    starts = re.compile("|".join(re.escape(form[:_TELLING]) for form in forms))
    pieces: list[str] = []
    done = 0
    while hit := starts.search(text, done):
        pieces += (text[done : hit.start()], _MASK)
        done = hit.start() + max(_agreement(text, hit.start(), form) for form in forms)
    pieces.append(text[done:])
    ends = "|".join(re.escape(plain[-length:]) for length in range(_TELLING, 2, -1))
    return re.sub(rf"(?:\*{{2,}}|\.{{3,}}|…|•{{2,}})(?:{ends})", _MASK, "".join(pieces))


def redact_bytes(data: bytes, secret: Secret | None) -> bytes:
    """Take a secret out of a foreign body, as `redact` does."""
    return redact(data.decode("utf-8", "surrogateescape"), secret).encode("utf-8", "surrogateescape")


_TELLING = 8
"""So many characters of a secret say something about it; fewer may be chance."""


def _problem(value: object) -> str | None:
    if not isinstance(value, str):  # An account is the user's own code and may give anything.
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


def _forms(plain: str) -> set[str]:
    """Give the ways a provider may write the secret."""
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    quoted = {encode(plain, errors="surrogatepass") for encode in (quote, quote_plus)}
    quoted.add(quote(plain, safe="", errors="surrogatepass"))
    lower = {re.sub("%..", lambda code: code[0].lower(), form) for form in quoted}
    forms = {plain, escaped, escaped.replace("/", "\\/"), escape(plain), *quoted, *lower}
    raw = plain.encode("utf-8", "surrogatepass")
    # Base64 writes three bytes as four characters, so it depends on what stands before: 0, 1 or 2 bytes over.
    for over, foreign in ((0, 0), (1, 2), (2, 3)):
        for encode in (b64encode, urlsafe_b64encode):
            forms.add(encode(bytes(over) + raw).decode()[foreign:])
    return forms


def _agreement(text: str, at: int, form: str) -> int:
    """Count the characters of `form` that stand in `text` from `at` on."""
    pairs = zip(text[at : at + len(form)], form, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _text(secret: Secret) -> str:
    return secret.reveal()
