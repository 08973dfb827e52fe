"""The providers of one client: read from its account, and prepared on first use."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import anyio
import attrs

from bifrost.account import account_failed, check_config, check_key_settings, check_keys, check_providers
from bifrost.config import ProviderConfig, RetryConfig
from bifrost.engine.pauses import Pauses
from bifrost.engine.pool.workers import Replaced, own
from bifrost.engine.providers.counters import Counters
from bifrost.engine.providers.tokens import Tokens
from bifrost.engine.providers.upstream import Upstream
from bifrost.errors import BifrostError, PluginError, ShuttingDownError, without_errors
from bifrost.plugins.base import BLOCKING
from bifrost.routing.affinity import Affinity
from bifrost.routing.balance import IDLE, Load
from bifrost.routing.candidates import Candidate
from bifrost.routing.failover import Failover, outlook
from bifrost.routing.keys import KeyPool
from bifrost.routing.plan import Planner

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bifrost.account import Key, LiveAccount
    from bifrost.config import CallOptions
    from bifrost.context import CallContext
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.providers.base import Provider
    from bifrost.reports.stats import ProviderStats
    from bifrost.routing.candidates import Place
    from bifrost.routing.failover import Likely, Loads
    from bifrost.routing.health import Health
    from bifrost.routing.plan import ModelGroups
    from bifrost.transport import Transport

_log = logging.getLogger("bifrost.account")


class Upstreams:
    """Returns the provider, keys and settings for a name, and caches them as far as possible."""

    def __init__(
        self,
        account: LiveAccount,
        *,
        groups: ModelGroups,
        host: Host,
        transport: Transport,
        clock: Clock,
        user_agent: str,
    ) -> None:
        self._account = account
        self._groups = groups
        self._host = host
        self._transport = transport
        self._clock = clock
        self._user_agent = user_agent
        self._planner: Planner | None = None
        self._seen: set[str] = set()
        """Providers of model groups' members that were configured before."""
        self._upstreams: dict[str, Upstream] = {}
        self._rings: dict[str, tuple[Sequence[Key], Health | None, KeyPool]] = {}
        self._blocking: set[str] = set()
        """Methods of the account for which a warning was logged."""
        self._retries: dict[tuple[str, int], tuple[RetryConfig, RetryConfig]] = {}
        """Retry settings with a call's own `max_retries`, with the settings that they are based on."""
        self._counters: dict[str, Counters] = {}
        self._closing: BifrostError | None = None
        self._retired: set[Upstream] = set()
        """Providers that were replaced or removed, until their calls have ended."""
        self._pauses = Pauses(clock)
        self.tokens = Tokens(host, clock)
        """The tokens of keys with `credentials`."""
        self._affinity = Affinity(self.cache_lifetime)
        self._changing = anyio.Lock()
        self._changes = 0

    def address_from(self, provider: str) -> str | None:
        """Return the environment variable that sets a provider's address; `None` if there is none."""
        return self._account.address_from(provider)

    async def planner(self) -> Planner:
        """Return the planner for the configured providers, which are read from the account once."""
        if self._planner is None:
            self._planner = await self._new_planner()
        return self._planner

    async def plan(self, context: CallContext, *, extra: Mapping[str, object] | None = None) -> Candidate | Failover:
        """Return a call's candidate, or its candidates if there are several: those of its model, then its fallbacks.

        Raises `UnknownProviderError`, `MissingKeyError` or `InvalidRequestError` if the model cannot be resolved, or if
        `extra` has options for an unknown provider.
        """
        if context.fallbacks or type(context.model) is not str:
            _check_names(context)
        planner = self._planner or await self.planner()
        if extra:
            planner.check_extra(extra)
        if context.operation.asks_provider:
            # This request concerns a provider, not one of its models.
            provider = context.model.rstrip("/")
            if provider not in planner.providers:
                raise planner.not_configured(provider)
            return Candidate(provider, "")
        if not context.fallbacks:
            direct = planner.direct(context.model)
            if direct is not None:
                return direct
        rings = await self._rings_for(planner, context)
        _note_left_out(planner, context)
        places = planner.places(context.model, context.fallbacks, rings=rings)
        return Failover(
            places,
            await self._loads(context, places, rings),
            self._clock.random,
            session=context.options.session,
            affinity=self._affinity,
        )

    async def outlook(self, context: CallContext, *, extra: Mapping[str, object] | None = None) -> list[list[Likely]]:
        """Return the candidates of each place of a call's plan, with their probabilities.

        Raises the errors of `plan`.
        """
        planner = await self.planner()
        if extra:
            planner.check_extra(extra)
        rings = await self._rings_for(planner, context)
        _note_left_out(planner, context)
        places = planner.places(context.model, context.fallbacks, rings=rings)
        loads = await self._loads(context, places, rings)
        return outlook(places, loads, affinity=self._affinity, session=context.options.session, now=self._host.now())

    async def providers_of(self, context: CallContext) -> list[str]:
        """Return the providers that a call may use first, prepared. Raises the errors of `plan`, and `ConfigError`."""
        names = [likely.candidate.provider for likely in (await self.outlook(context))[0]]
        for name in names:
            await self.prepare(name)
        return names

    def places(self, names: Iterable[str]) -> int | None:
        """Return the lowest current limit of concurrent requests of these providers; `None` if none is in use."""
        limits = [self._upstreams[name].pool.limit for name in names if name in self._upstreams]
        return min(limits, default=None)

    async def _loads(self, context: CallContext, places: Sequence[Place], rings: Mapping[str, KeyPool]) -> Loads:
        """Return a function that returns the load of a candidate's provider, and whether it can serve the call.

        The load of a provider that is not in use is unknown. The keys are read only if some of them are in trouble.
        """
        known, planner = dict(rings), self._planner
        for provider in dict.fromkeys(member.provider for place in places for member in place.members):
            upstream = self._upstreams.get(provider)
            if upstream is not None and upstream.needs_keys and len(places) + len(places[0].members) > 2:
                with suppress(BifrostError):  # it is raised when the candidate is tried
                    known[provider] = await self.keys(provider, context)

        def load_of(candidate: Candidate) -> Load:
            upstream = self._upstreams.get(candidate.provider)
            if upstream is None:
                return IDLE if planner is None or candidate.provider in planner.providers else _NOT_CONFIGURED
            ring = known.get(candidate.provider) if upstream.needs_keys else None
            return upstream.load(context, candidate.model, ring)

        return load_of

    def cache_lifetime(self, name: str) -> float:
        """Return how long a provider's prompt cache lasts, in seconds."""
        upstream = self._upstreams.get(name)
        return CACHE_LIFETIME if upstream is None else upstream.config.cache_lifetime

    async def get(self, name: str) -> Upstream:
        """Return a provider that is ready for use."""
        upstream = self._upstreams.get(name) or await self.prepare(name)
        if not upstream.pool.started:
            await upstream.pool.start()
        return upstream

    async def prepare(self, name: str) -> Upstream:
        """Return a provider with its settings read and its address checked, in use or not."""
        upstream = self._upstreams.get(name)
        while upstream is None:
            changes = self._changes
            row, config = await self._row(name), await self._config(name)
            upstream = self._upstreams.get(name)
            if upstream is None and changes == self._changes:
                upstream = self._upstreams[name] = self._make(row, config)
                if self._closing is not None:
                    upstream.pool.refuse_queued(self._closing)
        return upstream

    async def warm_up(self, names: Sequence[str], count: int) -> None:
        """Open connections at these providers, by default at all. Raises the first failure at the end."""
        known = self._planner or await self.planner()
        failures: list[BifrostError] = []

        async def warm(name: str) -> None:
            try:
                upstream = await self.get(name)
                named = upstream.row.address_of is not None
                await upstream.warm_up(count, (await self.keys(name, None)).keys if named else ())
            except BifrostError as error:
                error.provider = error.provider or name
                failures.append(error)

        async with anyio.create_task_group() as group:
            for name in names or known.providers:
                group.start_soon(warm, name)
        if failures:
            failures[0].errors = failures[1:]
            raise failures[0]

    async def keys(self, name: str, context: CallContext | None) -> KeyPool:
        """Return a provider's keys, as the account returns them for this call."""
        answer = await self._ask("keys", name, context)
        known = self._rings.get(name)
        upstream = self._upstreams.get(name)
        health = None if upstream is None else upstream.health
        if known is not None and known[0] is answer and known[1] is health:
            return known[2]
        keys = check_keys(answer, provider=name, account=self._account.account)
        row = await self._row(name) if upstream is None else upstream.row
        check_key_settings(keys, row)
        # Before a provider is in use, its keys are needed only for the models that they list.
        ring = KeyPool(row, keys) if upstream is None else upstream.ring(keys)
        self._rings[name] = (keys, health, ring)
        return ring

    async def pause(self, name: str, seconds: float) -> None:
        """Wait before an attempt at a provider.

        If the provider stops accepting attempts, raises at once the error that queued callers get.
        """
        self._check_open(name)
        await self._pauses.wait(name, seconds)
        self._check_open(name)

    def retry_of(self, name: str, options: CallOptions) -> RetryConfig:
        """Return a provider's retry settings with the call's own `max_retries`."""
        upstream = self._upstreams.get(name)
        config = _DEFAULT if upstream is None else upstream.config.retry
        if options.max_retries is None or options.max_retries == config.max_retries:
            return config
        found = self._retries.get((name, options.max_retries))
        if found is None or found[0] is not config:
            if len(self._retries) >= _MAX_RETRY_SETTINGS:
                self._retries.clear()
            found = config, attrs.evolve(config, max_retries=options.max_retries)
            self._retries[name, options.max_retries] = found
        return found[1]

    # --- reports

    def count_fallback(self, name: str) -> None:
        """Count a call that continues with its next candidate after a provider."""
        upstream = self._upstreams.get(name)
        if upstream is not None:
            upstream.counters.fallbacks += 1

    def stats(self) -> dict[str, ProviderStats]:
        """Return the statistics of each provider in use. Any thread may call it."""
        retired = list(self._retired)
        rings = {name: ring for name, (_, health, ring) in list(self._rings.items()) if health is not None}
        return {
            name: upstream.stats([other for other in retired if other.name == name], keys=rings.get(name))
            for name, upstream in list(self._upstreams.items())
        }

    # --- changes at run time

    async def refresh(self, names: Collection[str] | None = None, *, drain: float) -> None:
        """Read the account again: its providers, and the settings of those named (`None`: of all).

        If a setting of open connections changes, a new pool replaces the old one: queued calls move there, and the old
        one finishes its running calls within `drain` seconds. A provider that was removed ends in the same way, and its
        queued calls are refused. Returns after that. Raises what the account raises; nothing changes then.
        """
        async with self._changing:
            planner = await self._new_planner()
            asked = self._upstreams if names is None else names
            configs = {name: await self._config(name) for name in list(asked) if name in planner.providers}
            made: dict[str, Upstream] = {}
            for name, config in configs.items():
                row, upstream = planner.providers[name], self._upstreams.get(name)
                if upstream is None or not upstream.can_adopt(row, config):
                    made[name] = upstream = self._make(row, config)
                await self._check_addresses(upstream)
            gone = self._change(planner, configs, made, drain)
        for upstream in gone:
            await upstream.pool.ended()

    def _change(
        self, planner: Planner, configs: Mapping[str, ProviderConfig], made: Mapping[str, Upstream], drain: float
    ) -> list[Upstream]:
        """Replace the providers, and apply the new settings to the others. Returns those that were removed or replaced.

        Nothing here can fail or wait: a call sees all changes or none.
        """
        gone = [self._upstreams.pop(name) for name in list(self._upstreams) if name not in planner.providers]
        self._planner = planner
        self._changes += 1
        self._forget(planner)
        for name, config in configs.items():
            before = self._upstreams.get(name)
            upstream = made.get(name)
            if upstream is None:
                self._adopt(name, config)
                continue
            self._upstreams[name] = upstream
            self._rings.pop(name, None)
            if self._closing is not None:
                upstream.pool.refuse_queued(self._closing)
            if before is not None:
                upstream.follow(before)
                self._retire(before, Replaced(), drain)
        for upstream in gone:
            self._rings.pop(upstream.name, None)
            self._retire(upstream, _taken_out(upstream.name), drain)
            self._pauses.break_off(upstream.name)
        return gone

    def _forget(self, planner: Planner) -> None:
        """Discard caches of removed providers' names, because each tenant may have its own."""
        for kept in (self._counters, self._rings):
            for name in kept.keys() - planner.providers.keys():
                del kept[name]
        for key in [key for key in self._retries if key[0] not in planner.providers]:
            del self._retries[key]

    def _adopt(self, name: str, config: ProviderConfig) -> None:
        upstream = self._upstreams[name]
        if upstream.config.key_pool != config.key_pool:
            self._rings.pop(name, None)
        upstream.adopt(config)

    def _retire(self, upstream: Upstream, error: BifrostError | Replaced, drain: float) -> None:
        """Fail or move the queued callers at once, and let the others finish."""
        upstream.pool.refuse_queued(error)
        self._retired.add(upstream)
        self._host.run(self._end, upstream, drain)

    async def _end(self, upstream: Upstream, drain: float) -> None:
        try:
            await upstream.pool.retire(drain=drain)
        finally:
            self._retired.discard(upstream)
            upstream.leave_counts()

    # --- closing

    def refuse_all(self, error: BifrostError) -> None:
        """Fail all callers with an error, and accept no more calls. It is synchronous."""
        self._closing = error
        for upstream in self._all():
            upstream.pool.refuse_all(error)
        self._pauses.break_off()

    def refuse_queued(self, error: BifrostError) -> None:
        """Accept no more attempts, and fail those that are queued. Running ones continue."""
        self._closing = error
        for upstream in self._all():
            upstream.pool.refuse_queued(error)
        self._pauses.break_off()

    async def streams_ended(self, *, unread_limit: float) -> None:
        """Wait for the open streams, except those that were not read for `unread_limit` seconds."""
        while True:
            now = anyio.current_time()
            streams = [stream for upstream in self._all() for stream in upstream.open_streams]
            used = next((stream for stream in streams if stream.in_use(now, unread_limit)), None)
            if used is None:
                break
            # Whether a stream is being read depends on the time, unlike its end.
            with anyio.move_on_after(_LOOK_AGAIN):
                await used.gone()
        with anyio.move_on_after(_LOOK_AGAIN):
            for stream in [stream for upstream in self._all() for stream in upstream.ending]:
                await stream.gone()

    # --- private

    def _check_open(self, name: str) -> None:
        if self._closing is not None:
            raise own(self._closing)
        if name not in self._upstreams:
            raise _taken_out(name)

    def _all(self) -> list[Upstream]:
        return [*self._upstreams.values(), *self._retired]

    def _make(self, row: Provider, config: ProviderConfig) -> Upstream:
        return Upstream(
            row,
            config,
            # The replacement of a provider continues its counters.
            counters=self._counters.setdefault(row.name, Counters()),
            host=self._host,
            transport=self._transport,
            tokens=self.tokens,
            clock=self._clock,
            user_agent=self._user_agent,
        )

    async def _new_planner(self) -> Planner:
        rows = check_providers(await self._ask("providers"), account=self._account.account)
        self._seen = (self._seen | rows.keys() | self._account.gone) & self._groups.providers
        return Planner(rows, self._groups, gone=self._seen - rows.keys())

    async def _config(self, name: str) -> ProviderConfig:
        return check_config(await self._ask("config", name), provider=name, account=self._account.account)

    async def _rings_for(self, planner: Planner, context: CallContext) -> dict[str, KeyPool]:
        """Return the keys of every provider, if a name of the call can be found only in their lists."""
        if not planner.needs_keys((context.model, *context.fallbacks)):
            return {}
        return {name: await self.keys(name, context) for name in planner.providers}

    async def _check_addresses(self, upstream: Upstream) -> None:
        """Raise `ConfigError` if a key of a provider has no usable address."""
        if upstream.row.address_of is not None:
            answer = await self._ask("keys", upstream.name, None)
            for key in check_keys(answer, provider=upstream.name, account=self._account.account):
                upstream.address_of(key)

    async def _row(self, name: str) -> Provider:
        planner = self._planner or await self.planner()
        row = planner.providers.get(name)
        if row is None:
            raise planner.not_configured(name)
        return row

    async def _ask(self, method: str, *args: Any) -> Any:
        """Call a method of the account, async or not.

        An exception is converted to an error of ours, without its text.
        """
        try:
            began = perf_counter()
            answer = getattr(self._account, method)(*args)
            if (took := perf_counter() - began) > BLOCKING:
                self._warn(method, took)
            return await answer if hasattr(answer, "__await__") else answer
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure: BaseException = account_failed(error, account=self._account.account, method=method)
        except BaseExceptionGroup as group:
            failure = without_errors(group)
        raise failure

    def _warn(self, method: str, seconds: float) -> None:
        """Log a warning, once per method, that the account blocked the event loop."""
        if method not in self._blocking:
            self._blocking.add(method)
            _log.warning(
                "%s.%s blocked the event loop for %.2f s: no call got on meanwhile; make it async, or keep its answer",
                type(self._account.account).__name__,
                method,
                seconds,
            )


def _taken_out(name: str) -> ShuttingDownError:
    return ShuttingDownError(f"{name} was taken out of the client", provider=name)


def _check_names(context: CallContext) -> None:
    """Check what a plugin may have set. What callers pass was checked before."""
    fallbacks: Any = context.fallbacks
    if type(context.model) is not str or not isinstance(fallbacks, tuple | list):
        raise PluginError("a plugin's before_call has set model or fallbacks to something else than a name, and names")
    for name in cast("Sequence[object]", fallbacks):
        if not isinstance(name, str):
            raise PluginError(f"a plugin's before_call has put a {type(name).__name__} among the fallbacks")


def _note_left_out(planner: Planner, context: CallContext) -> None:
    if planner.gone:
        context.warnings += planner.left_out((context.model, *context.fallbacks))


_DEFAULT = RetryConfig()

CACHE_LIFETIME = ProviderConfig().cache_lifetime

_MAX_RETRY_SETTINGS = 1_000
"""The most retry settings with another `max_retries` that are cached. Callers may pass any number."""

_NOT_CONFIGURED = Load(usable=False, ready_in=math.inf, reason="it is not configured")

_LOOK_AGAIN = 0.05
"""How often open streams are checked while draining, in seconds."""
