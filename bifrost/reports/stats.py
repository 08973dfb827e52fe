"""What a client is doing and has done, at one moment: `client.stats()`."""

from __future__ import annotations

from typing import Literal

import msgspec

from bifrost.attempt_record import shown
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.reports.columns import in_flight_of, listed, percent, text_table, without_empty


class ConnectionStats(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A provider's connections."""

    idle: int = 0
    """Open, and waiting to be used again."""
    lent: int = 0
    """In the hands of a call or a stream."""
    opened: int = 0
    """All that were ever made."""
    reused: int = 0
    """Requests that went out on a connection which had served before."""

    @property
    def reuse(self) -> float | None:
        """The share of requests that needed no new connection; `None` before the first."""
        requests = self.opened + self.reused
        return self.reused / requests if requests else None


class KeyStats(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A key's state, as far as this client has learned it."""

    name: str
    state: Literal["ready", "parked", "dead", "probing"] = "ready"
    wait: float | None = None
    """Seconds until a parked key may be used again, or a dead one is tried."""
    reason: str | None = None
    """Why it is not ready: the class of the failure (`throttled`, `credential`, `quota`)."""
    in_flight: int = 0
    """Exchanges that are under way with it."""


class BreakerStats(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """What a breaker says of the way to a provider's address, or of the health of one of its models."""

    model: str = ""
    """The model that it is about; empty: the address; `*`: all models together."""
    state: Literal["closed", "open", "half_open"] = "closed"
    wait: float | None = None
    """Seconds until an open breaker lets a probe through."""
    calls: int = 0
    """The answers that it goes by."""
    failures: int = 0
    """The failures among them."""
    openings: int = 0
    """How often it has opened since it was last closed."""


class BudgetStats(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What is left for retries at a provider."""

    left: float
    capacity: float


class ProviderStats(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A provider in use. Counts are of attempts and calls that have ended, since the client opened."""

    provider: str
    in_flight: int = 0
    """Exchanges and open streams that a worker is busy with."""
    waiting: int = 0
    """Callers that wait for a worker, a place in the queue, or a place for a stream."""
    concurrency: int
    """The most exchanges at once."""
    limit: int | None = None
    """The most for now, where that is `adaptive`."""
    queue: int
    """The most callers waiting for one of them."""
    workers: int = 0
    worker_restarts: int = 0
    """How often a worker's own machinery failed; anything but 0 is a defect."""
    streams: int = 0
    """Open streams."""
    connections: ConnectionStats = ConnectionStats()
    calls: int = 0
    """Calls that asked this provider, as their first candidate or as a fallback."""
    ok: int = 0
    """Attempts that were answered."""
    failed: int = 0
    cancelled: int = 0
    """Attempts whose caller left, or whose call was answered by a hedge or before it."""
    failures: dict[str, int] = {}
    """The failed attempts by the class of their failure (`throttled`, `transient`, ...)."""
    retries: int = 0
    """Further attempts after a failure."""
    hedges: int = 0
    """Second attempts beside a slow one."""
    hedge_wins: int = 0
    """Those among them that gave the answer."""
    reasks: int = 0
    """Further questions after an answer that did not fit `output`."""
    fallbacks: int = 0
    """Calls that went on from here to their next candidate."""
    keys: list[KeyStats] | None = None
    breakers: list[BreakerStats] | None = None
    """That of the address, and one for each model."""
    budget: BudgetStats | None = None
    gone: dict[str, float] = {}
    """Models that the provider does not have (404, 410), and for how many seconds model groups pass over them."""

    @property
    def attempts(self) -> int:
        """Attempts that have ended."""
        return self.ok + self.failed + self.cancelled


class Stats(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What a client is doing and has done. Prints as a table, and is one in a notebook."""

    state: Literal["new", "running", "draining", "closed"] = "new"
    calls: int = 0
    """All calls since the client opened, those too that never came to a provider."""
    providers: dict[str, ProviderStats] = {}
    """The providers by name; one that neither a call nor `explain` has come to yet is not here."""

    @property
    def in_flight(self) -> int:
        """Exchanges and open streams at all providers."""
        return sum(provider.in_flight for provider in self.providers.values())

    @property
    def waiting(self) -> int:
        """Callers that wait, at all providers."""
        return sum(provider.waiting for provider in self.providers.values())

    def __str__(self) -> str:
        if not self.providers:
            return self._head()
        return "\n".join([self._head(), text_table(*self._table()), *map(_failures_of, self._failing())])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        shown = [note(_failures_of(provider)) for provider in self._failing()]
        return block(note(self._head()), *([table(*self._table())] if self.providers else ()), *shown)

    def _head(self) -> str:
        doing = f"{self.calls:,} calls, {self.in_flight:,} in flight, {self.waiting:,} waiting"
        return f"client {self.state}: {doing if self.calls else 'no calls yet'}"

    def _failing(self) -> list[ProviderStats]:
        return [provider for provider in self.providers.values() if provider.failures]

    def _table(self) -> tuple[list[str], list[list[object]]]:
        return without_empty(_COLUMNS, [_cells(provider) for provider in self.providers.values()])


_COLUMNS = (
    "provider",
    "in flight",
    "waiting",
    "workers",
    "restarts",
    "streams",
    "connections",
    "opened",
    "reused",
    "calls",
    "ok",
    "failed",
    "cancelled",
    "retries",
    "hedges",
    "re-asks",
    "fallbacks",
    "keys",
    "breaker",
    "gone",
    "budget",
)


def _cells(provider: ProviderStats) -> list[object]:
    connections = provider.connections
    return [
        provider.provider,
        in_flight_of(provider.in_flight, provider.concurrency, provider.limit),
        provider.waiting,
        provider.workers,
        provider.worker_restarts or None,
        provider.streams,
        f"{connections.lent} lent, {connections.idle} idle",
        connections.opened,
        percent(connections.reuse),
        provider.calls,
        provider.ok,
        provider.failed,
        provider.cancelled,
        provider.retries,
        f"{provider.hedges}, {provider.hedge_wins} won" if provider.hedges else None,
        provider.reasks or None,
        provider.fallbacks,
        _keys(provider.keys),
        _breakers(provider.breakers),
        listed([f"{model} for {wait:.3g} s" for model, wait in provider.gone.items()]) or None,
        None if provider.budget is None else f"{provider.budget.left:g}/{provider.budget.capacity:g}",
    ]


def _keys(keys: list[KeyStats] | None) -> str | None:
    """Count the keys that are ready, and name those that are not."""
    if keys is None:
        return None
    ready = sum(key.state == "ready" for key in keys)
    others = [
        f"{key.name} {_in_state(key.state, key.wait)}{f' ({key.reason})' if key.reason else ''}"
        for key in keys
        if key.state != "ready"
    ]
    return listed([f"{ready} ready", *others])


def _breakers(breakers: list[BreakerStats] | None) -> str | None:
    """Tell of those that are not closed."""
    if breakers is None:
        return None
    others = [
        f"{breaker.model or 'address'} {_in_state(breaker.state, breaker.wait)}"
        for breaker in breakers
        if breaker.state != "closed"
    ]
    return listed(others) or "closed"


def _in_state(state: str, wait: float | None) -> str:
    return state.replace("_", " ") + ("" if wait is None else f" for {wait:.3g} s")


def _failures_of(provider: ProviderStats) -> str:
    counted = sorted(provider.failures.items(), key=lambda pair: -pair[1])
    return shown(
        f"{provider.provider} failed: {', '.join(f'{count:,} {category}' for category, count in counted)}", 500
    )
