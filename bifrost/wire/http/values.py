"""HTTP as values: what a codec builds and what it reads. No sockets here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


class Headers:
    """The header fields of an answer: ordered, looked up without regard to case, values decoded as Latin-1."""

    __slots__ = ("_fields", "_table")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._fields = fields
        self._table: dict[str, list[str]] | None = None

    @classmethod
    def of(cls, *fields: tuple[str, str]) -> Headers:
        """Make headers from text, for tests and for providers that answer in process."""
        return cls([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])

    def get(self, name: str) -> str | None:
        """Give the first value of a field, or `None`."""
        values = (self._table or self._sorted()).get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Give every value of a field in order."""
        return list((self._table or self._sorted()).get(name.lower(), ()))

    def names(self) -> Collection[str]:
        """Give the fields' names, in lower case."""
        return (self._table or self._sorted()).keys()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([(field.decode("latin-1").lower(), value.decode("latin-1")) for field, value in self._fields])

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # Not their names: a peer may write into a name, too, what it was sent.
        return f"Headers({len(self._fields)} fields)"

    def _sorted(self) -> dict[str, list[str]]:
        """Sort the fields by lower-case name, at the first look: an answer is asked for several."""
        table: dict[str, list[str]] = {}
        for field, value in self:
            table.setdefault(field, []).append(value)
        self._table = table
        return table


class HttpRequest(msgspec.Struct, kw_only=True, eq=False):
    """A request as a codec builds it. `path` is joined to the provider's address; its repr shows no header value.

    `source` is the unified request that this was built from, `provider` the name of the provider that it is for: what
    mocks and recorders show their users.
    """

    method: str
    path: str
    headers: dict[str, str] = {}
    body: bytes = b""
    source: object = None
    provider: str | None = None

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.path!r}, headers={list(self.headers)}, {len(self.body)} bytes)"


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A complete answer: status, headers, and the decoded body."""

    status: int
    headers: Headers
    body: bytes

    def __repr__(self) -> str:
        return f"HttpResponse({self.status}, {self.headers!r}, {len(self.body)} bytes)"
