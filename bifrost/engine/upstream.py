"""A provider in use: its row and settings, its address made ready, its keys, its pool. One per provider and client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import attrs
import msgspec

from bifrost.config import check_base_url
from bifrost.engine.connections import Connections
from bifrost.engine.pool import Pool
from bifrost.errors import ConfigError, ShuttingDownError, UnsupportedError
from bifrost.reports.stats import BreakerStats, BudgetStats, ConnectionStats, KeyStats, ProviderStats
from bifrost.routing.adaptive import AdaptiveLimit
from bifrost.routing.health import Health
from bifrost.transport import Origin, PerProvider
from bifrost.wire.auth import sign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.account import Key
    from bifrost.config import CallOptions, ProviderConfig
    from bifrost.context import CallContext
    from bifrost.engine.clock import Clock
    from bifrost.engine.counters import Counters
    from bifrost.engine.host import Host
    from bifrost.operations.base import OperationName
    from bifrost.providers.base import Codec, Provider
    from bifrost.routing.balance import Load
    from bifrost.routing.breaker import BreakerSnapshot
    from bifrost.routing.key_health import KeySnapshot
    from bifrost.routing.keys import KeyRing
    from bifrost.transport import Transport
    from bifrost.wire.http import HttpRequest


_CHANGEABLE = (
    "adaptive",
    "breaker",
    "retry_budget",
    "cache_lifetime",
    "concurrency",
    "hedge",
    "idempotency_header",
    "key_pool",
    "size_limits",
    "on_full",
    "queue",
    "queue_timeout",
    "retry",
    "stream_share",
    "timeouts",
    "worker_idle",
)
"""The settings that are looked at anew for each attempt; any other goes with connections that are open."""


class OpenStream(Protocol):
    """An open answer, as far as a drain must know of it."""

    def in_use(self, now: float, unread_limit: float) -> bool:
        """Say whether somebody is reading, or was within the last `unread_limit` seconds."""
        ...

    async def gone(self) -> None:
        """Wait for its end."""
        ...


class Upstream:
    """Everything about one provider that outlives a call. Addresses and static headers are prepared here, once."""

    def __init__(
        self,
        row: Provider,
        config: ProviderConfig,
        *,
        counters: Counters,
        host: Host,
        transport: Transport,
        clock: Clock,
        user_agent: str,
    ) -> None:
        self.row = row
        self.config = config
        self.name = row.name
        self.now = host.now
        given = config.base_url or row.base_url
        if not given:
            variable = f"set {row.base_url_variable}, or " if row.base_url_variable else ""
            raise ConfigError(
                f"{row.name} has no address of its own; {variable}give ProviderConfig(base_url=...)", provider=row.name
            )
        address = check_base_url(
            given,
            where=f"provider {row.name}",
            allow_insecure_http=config.allow_insecure_http,
        )
        self.base_url = address
        self.origin = Origin.of(address)
        self._path = urlsplit(address).path
        self._headers: Mapping[str, str] = {
            "accept-encoding": "identity",
            "user-agent": " ".join(filter(None, (config.network.user_agent, user_agent))),
            **row.headers,
            **{name.lower(): value for name, value in config.extra_headers.items()},
        }
        if isinstance(transport, PerProvider):
            transport = transport.for_provider(config, host.run)
        self.connections = Connections(transport, config.connections, clock.random)
        self.leases: set[OpenStream] = set()
        """The open streams."""
        self.ending: set[OpenStream] = set()
        """Streams that were given back, and whose connections are being kept or closed."""
        self.counters = counters
        self.health = Health(row.name, config, now=host.now(), random=clock.random)
        self.pool = Pool(row.name, config, host, self.connections)
        self.adaptive: AdaptiveLimit | None = None
        """What says how many exchanges there may be at once for now; `None`: `concurrency` does."""
        self._take_on(config)

    def load(self, context: CallContext, model: str, ring: KeyRing | None) -> Load:
        """Return what there is to do here, and whether a call for a model can be served at all.

        `ring` has the call's keys, if there is reason to look at them.
        """
        load = self.pool.load(is_stream=context.is_stream)
        now, health = self.now(), self.health
        wait: float
        wait, reason = health.left_alone_for(model, now, fallback=True), "it is left alone"
        if health.gone and not wait:
            wait, reason = health.gone_for(context.endpoint, model, context.tenant, now), "the model is gone"
        if ring is not None and not wait:
            wait, reason = ring.usable_in(model, pin=context.options.key, now=now), "its keys rest or are refused"
        if not wait:
            return load
        return msgspec.structs.replace(load, usable=False, ready_in=wait, reason=reason)

    def can_adopt(self, row: Provider, config: ProviderConfig) -> bool:
        """Say whether other settings are of those that can change under running calls."""
        kept = {name: getattr(self.config, name) for name in _CHANGEABLE}
        return row is self.row and attrs.evolve(config, **kept) == self.config

    def adopt(self, config: ProviderConfig) -> None:
        """Go on with other settings."""
        self._take_on(config)
        self.health.change(config, now=self.now())

    def follow(self, before: Upstream) -> None:
        """Take another's place, and what is known of the provider's health with it.

        At another address, over another road or with other headers, which may name the account, nothing is known yet.
        """
        if self._place == before._place:
            self.health = before.health
            self.health.change(self.config, now=self.now())

    @property
    def _place(self) -> object:
        return self.base_url, self._headers, self.row.auth, self.config.network

    def _take_on(self, config: ProviderConfig) -> None:
        self.config = config
        if config.adaptive is None:
            self.adaptive = None
        elif self.adaptive is None:
            self.adaptive = AdaptiveLimit(config.adaptive, config.concurrency, on_change=self._apply_limit)
        else:
            self.adaptive.change(config.adaptive, config.concurrency)
        self._apply_limit()

    def _apply_limit(self) -> None:
        # Of whichever limit holds now: what has moved may be one that was switched off since.
        limit = self.config.concurrency if self.adaptive is None else self.adaptive.limit
        self.pool.resize(self.config, limit=limit)

    async def warm_up(self, count: int) -> None:
        """Have so many connections stand ready, or as many as there can be exchanges.

        Raises `ShuttingDownError` where nobody would close them again.
        """
        if not self.pool.is_open:
            raise ShuttingDownError("the client was closed, or the provider changed, while it was warmed up")
        count = min(count, self.config.concurrency)
        await self.connections.warm_up(self.origin, count, seconds=self.config.timeouts.connect)

    def codec(self, endpoint: OperationName) -> Codec[Any, Any]:
        """Give the codec of an endpoint. Raises `UnsupportedError` if the provider has none."""
        codec = self.row.codecs.get(endpoint)
        if codec is None:
            raise UnsupportedError(
                f"{self.name} has no {endpoint} endpoint here; it has: {', '.join(self.row.codecs)}", provider=self.name
            )
        return codec

    def headers_of(self, options: CallOptions, call: str) -> Mapping[str, str]:
        """Give the headers that a call wants, and the one by which its attempts are known to be of the same call."""
        name = self.config.idempotency_header or self.row.idempotency_header
        return options.extra_headers if name is None else {**options.extra_headers, name: call}

    def complete(self, request: HttpRequest, key: Key | None, extra_headers: Mapping[str, str]) -> None:
        """Make a codec's request ready to send, in place: full path, our headers, the caller's, the credential."""
        if not request.path.startswith("/"):
            raise ConfigError(
                f"{self.name}: a codec built the path {request.path[:100]!r}, which does not start with /"
            )
        request.path = self._path + request.path
        headers = {**self._headers, **request.headers}
        for name, value in extra_headers.items():
            headers[name.lower()] = value
        sign(headers, self.row.auth, None if key is None else key.value)
        request.headers = headers

    def stats(self, retired: Sequence[Upstream] = (), *, keys: KeyRing | None = None) -> ProviderStats:
        """Tell what goes on here, and what has. From any thread. `retired`: whose place it took, not at their end."""
        counters, both = self.counters, (self, *retired)
        pools = [upstream.pool for upstream in both]
        connections = [upstream.connections for upstream in both]
        return ProviderStats(
            provider=self.name,
            in_flight=sum(pool.in_flight for pool in pools),
            waiting=sum(pool.waiting for pool in pools),
            concurrency=self.config.concurrency,
            limit=None if self.adaptive is None else self.adaptive.limit,
            queue=self.config.queue,
            workers=sum(pool.workers for pool in pools),
            worker_restarts=counters.restarts + sum(pool.worker_restarts for pool in pools),
            streams=sum(len(upstream.leases) for upstream in both),
            connections=ConnectionStats(
                idle=sum(each.idle for each in connections),
                lent=sum(each.lent for each in connections),
                opened=counters.opened + sum(each.opened for each in connections),
                reused=counters.reused + sum(each.reused for each in connections),
            ),
            calls=counters.asked - counters.reasks,
            ok=counters.ok,
            failed=counters.failed,
            cancelled=counters.cancelled,
            failures=dict(counters.failures),
            retries=counters.retries,
            hedges=counters.hedges,
            hedge_wins=counters.hedge_wins,
            reasks=counters.reasks,
            fallbacks=counters.fallbacks,
            keys=None if keys is None else [_key_stats(key, self.now()) for key in keys.snapshot(self.now())],
            breakers=_breaker_stats(self.health.breakers(self.now())) if self.config.breaker.enabled else None,
            budget=BudgetStats(left=self.health.budget.tokens(self.now()), capacity=self.config.retry_budget.capacity),
            gone=self.health.gone_models(self.now()),
        )

    def leave_counts(self) -> None:
        """Hand what was counted of this pool and its connections to what has taken their place."""
        self.counters.restarts += self.pool.worker_restarts
        self.counters.opened += self.connections.opened
        self.counters.reused += self.connections.reused


def _key_stats(key: KeySnapshot, now: float) -> KeyStats:
    return KeyStats(
        name=key.name if key.model is None else f"{key.name} for {key.model}",
        state=key.state,
        wait=None if key.until is None else max(0.0, key.until - now),
        reason=key.reason,
        in_flight=key.in_flight,
    )


def _breaker_stats(breakers: Mapping[str, BreakerSnapshot]) -> list[BreakerStats]:
    return [
        BreakerStats(
            model=model,
            state=seen.state,
            wait=seen.retry_after or None,
            calls=seen.calls,
            failures=seen.failures,
            openings=seen.openings,
        )
        for model, seen in breakers.items()
    ]
