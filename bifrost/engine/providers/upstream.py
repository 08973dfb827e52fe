"""A provider in use: its row, settings, addresses, keys and pool. One per provider and client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from bifrost.engine.pool.connections import Connections
from bifrost.engine.pool.workers import Pool
from bifrost.engine.providers.address import Address
from bifrost.errors import ConfigError, ShuttingDownError, UnsupportedError
from bifrost.reports.stats import BreakerStats, BudgetStats, ConnectionStats, KeyStats, ProviderStats
from bifrost.routing.adaptive import AdaptiveLimit
from bifrost.routing.health import Health
from bifrost.routing.keys import OWN_ADDRESS, KeyPool
from bifrost.telemetry.provider import ProviderObserver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.account import Key
    from bifrost.config import CallOptions, ProviderConfig
    from bifrost.context import CallContext
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.providers.counters import Counters
    from bifrost.engine.providers.tokens import Tokens
    from bifrost.operations.base import OperationName
    from bifrost.providers.base import Codec, Provider
    from bifrost.routing.balance import Load
    from bifrost.routing.breaker import BreakerSnapshot
    from bifrost.routing.key_health import KeySnapshot
    from bifrost.transport import Transport
    from bifrost.wire.http import HttpRequest
    from bifrost.wire.secrets import Secret


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
"""The settings that are read anew for each attempt. All others require new connections."""


_ADDRESSES_KEPT = 500
"""The maximum number of known addresses, since an account may return other keys for every call."""


class OpenStream(Protocol):
    """An open response, as seen by a drain."""

    def in_use(self, now: float, unread_limit: float) -> bool:
        """Return whether somebody is reading, or was within the last `unread_limit` seconds."""
        ...

    async def gone(self) -> None:
        """Wait for its end."""
        ...


class Upstream:
    """The state of one provider that outlives a call. Addresses and static headers are prepared here, once."""

    def __init__(
        self,
        row: Provider,
        config: ProviderConfig,
        *,
        counters: Counters,
        host: Host,
        transport: Transport,
        tokens: Tokens,
        clock: Clock,
        user_agent: str,
    ) -> None:
        self.row = row
        self.tokens = tokens
        """The tokens of keys with `credentials`."""
        self.config = config
        self.name = row.name
        self.now = host.now
        self._wall = clock.wall
        self.address: Address | None = None
        """The provider's own address; `None` if each key's settings have one."""
        self._addresses: dict[str, Address] = {}
        """The addresses of keys, by the addresses in their settings."""
        url = config.base_url or row.base_url
        if url and row.address_of is not None:
            url = row.address_of(None, url) or url
        if url:
            self.address = self._checked(url, where=f"provider {row.name}")
        elif row.address_of is None:
            raise self._no_address(f"{row.name} has no address of its own")
        self._headers: Mapping[str, str] = {
            "accept-encoding": "identity",
            "user-agent": " ".join(filter(None, (config.network.user_agent, user_agent))),
            **row.headers,
            **{name.lower(): value for name, value in config.extra_headers.items()},
        }
        self.connections = Connections(transport.for_provider(config, host.run), config.connections, clock.random)
        self.open_streams: set[OpenStream] = set()
        """The open streams."""
        self.ending: set[OpenStream] = set()
        """Streams that were released, and whose connections are being kept or closed."""
        self.counters = counters
        self.health = Health(
            row.name,
            config,
            now=host.now(),
            random=clock.random,
            observer=ProviderObserver(row.name, host.telemetry),
        )
        self.pool = Pool(row.name, config, host, self.connections)
        self.adaptive: AdaptiveLimit | None = None
        """The adaptive limit of concurrent requests; `None` if `concurrency` is the limit."""
        self._take_on(config)

    @property
    def needs_keys(self) -> bool:
        """Whether the keys decide if a call can be served: some are in trouble, or have their own addresses."""
        return bool(self.health.keys.troubled) or self.row.address_of is not None

    def load(self, context: CallContext, model: str, ring: KeyPool | None) -> Load:
        """Return the current load, and whether a call for a model can be served at all.

        `ring` has the call's keys, if they must be considered.
        """
        load = self.pool.load(is_stream=context.is_stream)
        now, health = self.now(), self.health
        wait: float
        addresses = OWN_ADDRESS if ring is None else ring.addresses_of(context.options.key)
        wait, reason = (
            health.unavailable_for(model, now, fallback=True, addresses=addresses),
            "its circuit breaker is open",
        )
        if health.gone and not wait:
            wait, reason = health.gone_for(context.endpoint, model, context.tenant, now), "the model is gone"
        if ring is not None and not wait:
            wait, reason = ring.usable_in(model, pin=context.options.key, now=now), "its keys rest or are refused"
        if not wait:
            return load
        return msgspec.structs.replace(load, usable=False, ready_in=wait, reason=reason)

    def can_adopt(self, row: Provider, config: ProviderConfig) -> bool:
        """Return whether only those settings differ that can change during running calls."""
        kept = {name: getattr(self.config, name) for name in _CHANGEABLE}
        return row is self.row and attrs.evolve(config, **kept) == self.config

    def adopt(self, config: ProviderConfig) -> None:
        """Apply other settings."""
        self._take_on(config)
        self.health.change(config, now=self.now())

    def follow(self, before: Upstream) -> None:
        """Replace another upstream, and keep what is known of the provider's health.

        At another address, by another route or with other headers, which may name the account, nothing is known yet.
        """
        if self._place == before._place:
            self.health = before.health
            self.health.change(self.config, now=self.now())

    @property
    def _place(self) -> object:
        return self.address, self._headers, self.row.auth, self.row.token_auth, self.config.network

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

    def named_address(self, key: Key) -> str:
        """Return the address in a key's settings; empty if the key uses the provider's own.

        Raises `ConfigError` for an invalid one, and if neither the key nor the provider has one.
        """
        named = self._named(key)
        return "" if named is None else named.url

    def address_of(self, key: Key | None) -> Address:
        """Return the address for requests with a key. Raises `ConfigError` like `named_address`."""
        named = None if key is None or self.row.address_of is None else self._named(key)
        address = named or self.address
        if address is None:
            raise self._no_address(f"{self.name} has no address of its own")
        return address

    def _named(self, key: Key) -> Address | None:
        if self.row.address_of is None:
            return None
        own = "" if self.address is None else self.address.url
        url = self.row.address_of(key.settings, own)
        if not url:
            raise self._no_address(
                f"{self.name} has no address of its own, and its key {key.name!r} names none", key=key.name
            )
        if url == own:
            return None
        address = self._addresses.get(url)
        if address is None:
            address = self._checked(url, where=f"the address of key {key.name!r} of {self.name}")
            while len(self._addresses) >= _ADDRESSES_KEPT:
                del self._addresses[next(iter(self._addresses))]
            self._addresses[url] = address
        return None if address.url == own else address

    def ring(self, keys: Sequence[Key]) -> KeyPool:
        """Return the provider's keys sorted for selection. Raises `ConfigError` for a key without a usable address."""
        health = self.health
        return KeyPool(
            self.row,
            keys,
            states=health.keys,
            balance=health.balance,
            address_of=None if self.row.address_of is None else self.named_address,
            closed_off=health.closed_off,
        )

    def _checked(self, url: str, *, where: str) -> Address:
        return Address.of(url, where=where, allow_insecure_http=self.config.allow_insecure_http)

    def _no_address(self, problem: str, *, key: str | None = None) -> ConfigError:
        row = self.row
        of_settings = " and ".join(names[0] for names in row.settings_variables.values())
        named = of_settings or row.base_url_variable
        variable = f"set {named}, or " if named else ""
        settings = "" if row.key_settings is None else f", or give the key {row.key_settings.__name__}"
        return ConfigError(
            f"{problem}; {variable}give ProviderConfig(base_url=...){settings}", provider=row.name, key=key
        )

    async def warm_up(self, count: int, keys: Sequence[Key] = ()) -> None:
        """Open this many connections to each address of the keys in advance.

        They are limited to the number of concurrent requests. Raises `ShuttingDownError` if nothing would close them
        again.
        """
        if not self.pool.is_open:
            raise ShuttingDownError("the client was closed, or the provider changed, while it was warmed up")
        count = min(count, self.config.concurrency)
        addresses = {self.address_of(key).origin for key in keys} or {self.address_of(None).origin}
        for origin in addresses:
            await self.connections.warm_up(origin, count, seconds=self.config.timeouts.connect)

    def codec(self, endpoint: OperationName) -> Codec[Any, Any]:
        """Return the codec of an endpoint. Raises `UnsupportedError` if the provider has none."""
        try:
            return self.row.codecs[endpoint]
        except KeyError:
            pass
        raise UnsupportedError(
            f"{self.name} has no {endpoint} endpoint here; it has: {', '.join(self.row.codecs)}", provider=self.name
        )

    def headers_of(self, options: CallOptions, call: str) -> Mapping[str, str]:
        """Return the extra headers of a call, with the one that identifies its attempts as the same call."""
        name = self.config.idempotency_header or self.row.idempotency_header
        return options.extra_headers if name is None else {**options.extra_headers, name: call}

    def complete(
        self,
        request: HttpRequest,
        key: Key | None,
        secret: Secret | None,
        *,
        extra_headers: Mapping[str, str],
        address: Address,
    ) -> None:
        """Make a codec's request ready to send, in place: full path, our headers, the caller's, the credential.

        `secret` is the key's value, or its token.
        """
        if not request.path.startswith("/"):
            raise ConfigError(
                f"{self.name}: a codec built the path {request.path[:100]!r}, which does not start with /"
            )
        request.path = address.path + request.path
        headers = {**self._headers, **request.headers}
        for name, value in extra_headers.items():
            headers[name.lower()] = value
        request.headers = headers
        settings, auth = None, self.row.auth
        if key is not None:
            settings = key.settings
            if key.credentials is not None:
                auth = self.row.token_auth or auth
        auth.sign(request, secret, now=self._wall(), host=address.authority, settings=settings)

    def stats(self, retired: Sequence[Upstream] = (), *, keys: KeyPool | None = None) -> ProviderStats:
        """Return the current counts and totals. Works in any thread.

        `retired`: the upstreams that it replaced and that have not ended.
        """
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
            streams=sum(len(upstream.open_streams) for upstream in both),
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
            breakers=self._breaker_stats(keys) if self.config.breaker.enabled else None,
            budget=BudgetStats(left=self.health.budget.tokens(self.now()), capacity=self.config.retry_budget.capacity),
            gone=self.health.gone_models(self.now()),
        )

    def _breaker_stats(self, keys: KeyPool | None) -> list[BreakerStats]:
        addresses = OWN_ADDRESS if keys is None else keys.addresses
        now, breakers = self.now(), self.health.breakers
        return [stats for address in addresses for stats in _breaker_stats(breakers(now, address), address or None)]

    def leave_counts(self) -> None:
        """Add the counts of this pool and its connections to those of its replacement."""
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


def _breaker_stats(breakers: Mapping[str, BreakerSnapshot], address: str | None) -> list[BreakerStats]:
    return [
        BreakerStats(
            address=address,
            model=model,
            state=seen.state,
            wait=seen.retry_after or None,
            calls=seen.calls,
            failures=seen.failures,
            openings=seen.openings,
        )
        for model, seen in breakers.items()
    ]
