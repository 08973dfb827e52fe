"""What happened, and how it may be shown: the record of one attempt, and all of a call's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.frozen import Value
from bifrost.html import table

if TYPE_CHECKING:
    from collections.abc import Iterable


def shown(text: str, limit: int) -> str:
    """Make text of foreign origin fit for a log line or a terminal.

    Cut to `limit` characters (with an ellipsis), and every character that is not printable written as an escape: line
    ends, ANSI sequences, marks that turn the direction of writing, lone surrogates.
    """
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Window(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One allowance of a provider: so many requests or tokens until it refills. `None` means "not told"."""

    limit: int | None = None
    remaining: int | None = None
    reset_after: float | None = None
    """Seconds until the allowance is full again: not how long to wait, since it may refill bit by bit."""


class RateLimit(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider's answer told of its allowances."""

    requests: Window | None = None
    tokens: Window | None = None
    input_tokens: Window | None = None
    output_tokens: Window | None = None


class AttemptRecord(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One try of one candidate with one key. All durations are in seconds; `None` means "did not get so far"."""

    provider: str
    model: str
    key: str | None = None
    """The key's *name*; its value is never recorded."""
    status: int | None = None
    """The HTTP status, if an answer's head arrived."""
    category: str | None = None
    """The class of the failure (`throttled`, `transient`, ...), `None` for a success."""
    error: str | None = None
    """The error in words, shortened and without secrets; `None` for a success."""
    request_id: str | None = None
    """The provider's own identifier of the request."""
    wait: float = 0.0
    """How long the call waited before this attempt (backoff or the provider's own hint)."""
    queue: float | None = None
    """From submitting the job to a worker taking it."""
    connect: float | None = None
    """TCP and TLS set-up; `None` when a warm connection was reused."""
    first_byte: float | None = None
    """From sending to the head of the answer."""
    total: float | None = None
    """From submitting the job to its outcome; for a stream, to its end."""
    note: str | None = None
    """What followed for the provider or its key, if anything did: "key main parked for 20.0 s"."""

    @property
    def ok(self) -> bool:
        """Say whether this attempt gave the answer."""
        return self.category is None

    def __str__(self) -> str:
        outcome = "ok" if self.ok else f"{self.category}{f' {self.status}' if self.status else ''}"
        spent = "" if self.total is None else f" in {self.total * 1000:.1f} ms"
        waited = f" after waiting {self.wait:.2f} s" if self.wait else ""
        noted = f" ({self.note})" if self.note else ""
        return shown(f"{self.provider}/{self.model} [{self.key or 'no key'}] {outcome}{spent}{waited}{noted}", 500)


class AttemptRecords(list[AttemptRecord]):
    """A call's attempts in order: a list, which prints as a line for each and is a table in a notebook."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return attempts_html(self)


def attempts_html(attempts: Iterable[AttemptRecord]) -> str:
    """Give attempts as an HTML table; durations are in milliseconds."""
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
