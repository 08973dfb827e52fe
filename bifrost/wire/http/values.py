"""HTTP requests and responses as values. There are no sockets here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


class Headers:
    """The header fields of a response: ordered, with case-insensitive lookup, and values decoded as Latin-1."""

    __slots__ = ("_fields", "_table")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._fields = fields
        self._table: dict[str, list[str]] | None = None

    @classmethod
    def of(cls, *fields: tuple[str, str]) -> Headers:
        """Return headers made from text, for tests and for providers that respond in the same process."""
        return cls([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])

    def get(self, name: str) -> str | None:
        """Return the first value of a field, or `None`."""
        values = (self._table or self._index()).get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return all values of a field in order."""
        return list((self._table or self._index()).get(name.lower(), ()))

    def names(self) -> Collection[str]:
        """Return the names of the fields, in lower case."""
        return (self._table or self._index()).keys()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([(field.decode("latin-1").lower(), value.decode("latin-1")) for field, value in self._fields])

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # The names are not shown, because a peer may also copy what it received into a name.
        return f"Headers({len(self._fields)} fields)"

    def _index(self) -> dict[str, list[str]]:
        """Index the fields by lower-case name on the first access."""
        table: dict[str, list[str]] = {}
        for field, value in self:
            table.setdefault(field, []).append(value)
        self._table = table
        return table


class HttpRequest(msgspec.Struct, kw_only=True, eq=False):
    """A request as a codec builds it. Its `repr` shows no header value."""

    method: str
    """The HTTP method."""

    path: str
    """The path and query, relative to the provider's base URL."""

    headers: dict[str, str] = {}
    """The header fields, without the credential until the request is signed."""

    secret_query: dict[str, str] = {}
    """Parameters of the query that contain a key. A transport adds them to the path when it makes the bytes of the
    request (`wire.http.request.target_of`), since their values show themselves only as bytes. Empty for nearly every
    provider."""

    body: bytes = b""
    """The body."""

    source: object = None
    """The unified request that this was built from, for mocks and recorders; `None` if unknown."""

    provider: str | None = None
    """The name of the provider that it is for; `None` if unknown."""

    @property
    def shown_path(self) -> str:
        """The path and query with `***` in place of a key."""
        path = self.path
        for name in self.secret_query:
            path += f"{'&' if '?' in path else '?'}{name}=***"
        return path

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.shown_path!r}, headers={list(self.headers)}, {len(self.body)} bytes)"


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A complete response."""

    status: int
    """The HTTP status."""

    headers: Headers
    """The header fields."""

    body: bytes
    """The body, decompressed."""

    def __repr__(self) -> str:
        return f"HttpResponse({self.status}, {self.headers!r}, {len(self.body)} bytes)"
