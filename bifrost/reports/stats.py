"""What a client is doing and has done so far: the result of `client.stats()`."""

from __future__ import annotations

from typing import Literal

import msgspec

from bifrost.attempt_record import shown
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.reports.columns import in_flight_of, listed, percent, text_table, without_empty


class ConnectionStats(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The connections to a provider."""

    idle: int = 0
    """Open connections in the pool that are not in use."""
    lent: int = 0
    """Connections in use by a call or a stream."""
    opened: int = 0
    """Connections opened since the client started."""
    reused: int = 0
    """Requests that were sent on a connection that had been used before."""

    @property
    def reuse(self) -> float | None:
        """The share of requests that reused a connection; `None` before the first request."""
        requests = self.opened + self.reused
        return self.reused / requests if requests else None


class KeyStats(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """The state of a key, as far as this client knows it."""

    name: str
    """The name of the key."""

    state: Literal["ready", "cooling_down", "dead", "probing"] = "ready"
    """`ready`; `cooling_down` after a rate limit; `dead`, refused by the provider; or `probing`, a refused key that one
    call is trying again.
    """

    wait: float | None = None
    """Seconds until a key may be used or tried again; `None` if it is ready."""
    reason: str | None = None
    """Why the key is not ready: the category of the failure (`throttled`, `credential`, `quota`)."""
    in_flight: int = 0
    """Requests in flight with this key."""


class BreakerStats(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """The state of one circuit breaker: of the provider's address, or of one of its models."""

    model: str = ""
    """The model. Empty for the address, `*` for all models together."""
    address: str | None = None
    """The address that keys name in their settings; `None`: the provider's own."""
    state: Literal["closed", "open", "half_open"] = "closed"
    """`closed` lets calls through, `open` refuses them, `half_open` lets one call through as a probe."""

    wait: float | None = None
    """Seconds until an open breaker lets a probe through; `None` if it is not open."""
    calls: int = 0
    """The outcomes within the window."""
    failures: int = 0
    """The failures among them."""
    openings: int = 0
    """How often it has opened since it was last closed."""


class BudgetStats(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The retry budget of a provider."""

    left: float
    """The tokens left."""

    capacity: float
    """The most tokens that it can hold."""


class ProviderStats(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A provider in use. The counters cover the attempts and calls that have ended since the client opened."""

    provider: str
    """The name of the provider."""

    in_flight: int = 0
    """Requests and open streams that workers are busy with."""
    waiting: int = 0
    """Callers that wait for a worker, a place in the queue, or a place for a stream."""
    concurrency: int
    """The most concurrent requests."""
    limit: int | None = None
    """The current limit of concurrent requests, if it is adaptive. `None`: it is not."""
    queue: int
    """The most callers that wait for one of these places."""
    workers: int = 0
    """The workers that exist at present."""

    worker_restarts: int = 0
    """How often a worker failed in bifrost's own code; anything but 0 is a defect."""
    streams: int = 0
    """Open streams."""
    connections: ConnectionStats = ConnectionStats()
    """The connections to the provider."""

    calls: int = 0
    """Calls that used this provider, as their first candidate or as a fallback."""
    ok: int = 0
    """Attempts that succeeded."""
    failed: int = 0
    """Attempts that failed."""

    cancelled: int = 0
    """Attempts whose caller was cancelled, or that lost the race against a hedge."""
    failures: dict[str, int] = {}
    """Failed attempts by category (`throttled`, `transient`, ...)."""
    retries: int = 0
    """Attempts that retried a failed one."""
    hedges: int = 0
    """Second attempts that were started because the first was slow."""
    hedge_wins: int = 0
    """Second attempts that produced the response."""
    reasks: int = 0
    """Further requests after a response that did not match `output`."""
    fallbacks: int = 0
    """Calls that continued with their next candidate after this provider."""
    keys: list[KeyStats] | None = None
    """The provider's keys. `None`: they are not known yet."""

    breakers: list[BreakerStats] | None = None
    """The breaker of the address, and one per model. `None`: the breakers are switched off."""
    budget: BudgetStats | None = None
    """The retry budget. `None`: it is not known yet."""

    gone: dict[str, float] = {}
    """Models that the provider does not have (404, 410), each with the seconds for which model groups avoid it."""

    @property
    def attempts(self) -> int:
        """Attempts that have ended."""
        return self.ok + self.failed + self.cancelled


class Stats(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What a client is doing and has done so far. It prints as a table and shows one in a notebook."""

    state: Literal["new", "running", "draining", "closed"] = "new"
    """`new`: not opened yet; `running`; `draining`: closing, while open calls finish; or `closed`."""

    calls: int = 0
    """All calls since the client opened, including those that never reached a provider."""
    providers: dict[str, ProviderStats] = {}
    """Statistics by provider. Only providers that a call or `explain` has used are included."""

    @property
    def in_flight(self) -> int:
        """Requests and open streams at all providers."""
        return sum(provider.in_flight for provider in self.providers.values())

    @property
    def waiting(self) -> int:
        """Waiting callers at all providers."""
        return sum(provider.waiting for provider in self.providers.values())

    def __str__(self) -> str:
        if not self.providers:
            return self._head()
        return "\n".join([self._head(), text_table(*self._table()), *map(_failures_of, self._failing())])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        failures = [note(_failures_of(provider)) for provider in self._failing()]
        return block(note(self._head()), *([table(*self._table())] if self.providers else ()), *failures)

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
    """Return how many keys are ready, and the names of the others."""
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
    """Return the breakers that are not closed, or `closed`."""
    if breakers is None:
        return None
    others = [
        f"{_place_of(breaker)} {_in_state(breaker.state, breaker.wait)}"
        for breaker in breakers
        if breaker.state != "closed"
    ]
    return listed(others) or "closed"


def _place_of(breaker: BreakerStats) -> str:
    """Return the model, with its address if keys name it, or the address alone."""
    if breaker.address is None:
        return breaker.model or "address"
    return f"{breaker.model} at {breaker.address}" if breaker.model else f"address {breaker.address}"


def _in_state(state: str, wait: float | None) -> str:
    return state.replace("_", " ") + ("" if wait is None else f" for {wait:.3g} s")


def _failures_of(provider: ProviderStats) -> str:
    counted = sorted(provider.failures.items(), key=lambda pair: -pair[1])
    return shown(
        f"{provider.provider} failed: {', '.join(f'{count:,} {category}' for category, count in counted)}", 500
    )
