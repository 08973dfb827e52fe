"""The record of one attempt, the list of a call's attempts, and how they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.frozen import Value
from bifrost.html import table

if TYPE_CHECKING:
    from collections.abc import Iterable


def shown(text: str, limit: int) -> str:
    """Make foreign text safe for a log line or a terminal.

    The text is cut to `limit` characters (with an ellipsis). Characters that are not printable are written as escapes:
    line breaks, ANSI sequences, marks that change the direction of writing, lone surrogates.
    """
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Window(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rate limit of a provider: a number of requests or tokens until it refills.

    `None` means that the provider did not report it.
    """

    limit: int | None = None
    """The size of the allowance."""

    remaining: int | None = None
    """What is left of it."""

    reset_after: float | None = None
    """Seconds until the allowance is full again. This is not how long to wait, since it may refill gradually."""


class RateLimit(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rate limits that a provider's response reported. `None` means that the limit was not reported."""

    requests: Window | None = None
    """Requests."""

    tokens: Window | None = None
    """Tokens, input and output together."""

    input_tokens: Window | None = None
    """Input tokens."""

    output_tokens: Window | None = None
    """Output tokens."""


class AttemptRecord(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One attempt: a request to one candidate with one key.

    All durations are in seconds; `None` means that the attempt did not get so far.
    """

    provider: str
    """The name of the provider."""

    model: str
    """The name of the model at the provider."""

    key: str | None = None
    """The key's *name*. Its value is never recorded."""
    status: int | None = None
    """The HTTP status, if the head of a response arrived."""
    category: str | None = None
    """The category of the failure (`throttled`, `transient`, ...); `None` for a success."""
    error: str | None = None
    """The error message, shortened and without secrets; `None` for a success."""
    request_id: str | None = None
    """The provider's identifier of the request."""
    wait: float = 0.0
    """How long the call waited before this attempt: the backoff, or the time that the provider asked for."""
    queue: float | None = None
    """From submitting the attempt to its start by a worker."""
    connect: float | None = None
    """TCP and TLS set-up; `None` when a pooled connection was reused."""
    first_byte: float | None = None
    """From sending the request to the head of the response."""
    total: float | None = None
    """From submitting the attempt to its outcome; for a stream, to its end."""
    note: str | None = None
    """What the attempt changed for the provider or its key, if anything: "key main cooling down for 20.0 s"."""

    @property
    def ok(self) -> bool:
        """Whether this attempt produced the response."""
        return self.category is None

    def __str__(self) -> str:
        outcome = "ok" if self.ok else f"{self.category}{f' {self.status}' if self.status else ''}"
        spent = "" if self.total is None else f" in {self.total * 1000:.1f} ms"
        waited = f" after waiting {self.wait:.2f} s" if self.wait else ""
        noted = f" ({self.note})" if self.note else ""
        return shown(f"{self.provider}/{self.model} [{self.key or 'no key'}] {outcome}{spent}{waited}{noted}", 500)


class AttemptRecords(list[AttemptRecord]):
    """A call's attempts in order: a list that prints one line per attempt and shows a table in a notebook."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return attempts_html(self)


def attempts_html(attempts: Iterable[AttemptRecord]) -> str:
    """Return the attempts as an HTML table. Durations are in milliseconds."""
    return table(_COLUMNS, map(_cells, attempts))


_COLUMNS = ("asked", "key", "outcome", "waited", "queued", "connect", "first byte", "total", "error", "note")


def _cells(attempt: AttemptRecord) -> tuple[str | None, ...]:
    outcome = f"{attempt.status or ''} {attempt.category or 'ok'}".strip()
    spent = (attempt.wait or None, attempt.queue, attempt.connect, attempt.first_byte, attempt.total)
    return (
        f"{attempt.provider}/{attempt.model}",
        attempt.key,
        outcome,
        *map(_milliseconds, spent),
        attempt.error,
        attempt.note,
    )


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.1f} ms"
