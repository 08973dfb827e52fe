"""The health of a provider in use, and how attempts change it. Pure: time and random numbers are passed in.

`Health.admit` admits an attempt or refuses it at once. `Admission.close` ends it and reports the outcome to the
breakers, the key and the retry budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from bifrost.errors import BifrostError, CallTimeoutError, CircuitOpenError
from bifrost.routing.address_health import MAX_MODELS, AddressHealth
from bifrost.routing.budget import RetryBudget
from bifrost.routing.hedge import Hedging
from bifrost.routing.key_health import KeyStates, park_time
from bifrost.routing.keys import OWN_ADDRESS, balance_of
from bifrost.routing.retry import rule_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bifrost.config import HedgeConfig, ProviderConfig
    from bifrost.routing.adaptive import Trip
    from bifrost.routing.balance import Random
    from bifrost.routing.breaker import Breaker, BreakerSnapshot, BreakerState, Ticket, Verdict
    from bifrost.routing.budget import Payment
    from bifrost.routing.key_health import KeyHealth
    from bifrost.routing.keys import KeySelection

_MAX_ADDRESSES = 500
"""The most addresses that have breakers. An account may return other keys for every call, so this is bounded."""

GONE = 600.0
"""How long model groups avoid a member whose provider does not have the model, in seconds."""

RetryBlock: TypeAlias = Literal["breaker", "budget"]
"""What prevents a retry."""


class HealthObserver(Protocol):
    """Receives what happens to the keys and breakers of a provider."""

    def key_cooling_down(self, key: str, seconds: float, category: str) -> None:
        """Report that a key is not used for so many seconds, after a failure of this category."""
        ...

    def breaker_opened(self, model: str | None, seconds: float) -> None:
        """Report that no call is sent for so many seconds. `model` is `None` for the address or all models."""
        ...


class Health:
    """The retry budget, the breakers of each address, the hedges and the key states of one provider."""

    def __init__(
        self,
        provider: str,
        config: ProviderConfig,
        *,
        now: float,
        random: Random,
        observer: HealthObserver | None = None,
    ) -> None:
        self.provider = provider
        self.observer = observer
        """Receives what happens to keys and breakers."""
        self.budget = RetryBudget(config.retry_budget, now=now)
        self.keys = KeyStates(config.key_pool)
        self.balance = balance_of(config.key_pool)
        self.hedging = None if config.hedge is None else Hedging(config.hedge)
        """Decides on hedges; `None` if hedging is off."""
        self.random = random
        self._config = config.breaker
        self.heeds_breaker = config.breaker.enabled
        """Whether open breakers refuse calls. Disabled breakers still count outcomes, because hedges depend on them."""
        self.own = AddressHealth(config.breaker)
        """The breakers of the provider's own address."""
        self._others: dict[str, AddressHealth] = {}
        """The breakers of the addresses that keys name."""
        self._troubled: set[AddressHealth] = set()
        """The addresses with a breaker that is not closed, or was not at the last check."""
        self.gone: dict[tuple[str, str, str | None], float] = {}
        """The models that the provider does not have, by operation, model and tenant, and until when this is
        assumed.
        """

    @property
    def per_model(self) -> bool:
        """Whether each model has a breaker of its own."""
        return self._config.per_model

    def change(self, config: ProviderConfig, *, now: float) -> None:
        """Use other settings. The state is kept."""
        self.budget.change(config.retry_budget, now=now)
        before = self.keys.config
        self.keys.change(config.key_pool)
        if (before.choose, before.policy) != (config.key_pool.choose, config.key_pool.policy):
            self.balance = balance_of(config.key_pool)
        for place in (self.own, *self._others.values()):
            place.change(config.breaker)
        self._config = config.breaker
        self.heeds_breaker = config.breaker.enabled
        self._change_hedges(config.hedge)

    def at(self, address: str) -> AddressHealth:
        """Return the breakers of an address. The empty address is the provider's own."""
        if not address:
            return self.own
        place = self._others.get(address)
        if place is None:
            while len(self._others) >= _MAX_ADDRESSES:
                self._troubled.discard(self._others.pop(next(iter(self._others))))
            place = self._others[address] = AddressHealth(self._config, address)
        return place

    def closed_off(self, model: str, now: float) -> set[str]:
        """Return the addresses whose breakers refuse a call for a model now."""
        if not self.heeds_breaker:
            return set()
        for place in [place for place in self._troubled if place.is_closed]:
            self._troubled.discard(place)
        return {place.address for place in self._troubled if place.unavailable_for(model, now) > 0}

    def note_trouble(self, place: AddressHealth) -> None:
        """Record that a breaker of an address has opened."""
        self._troubled.add(place)

    def admit(
        self,
        choice: KeySelection,
        model: str,
        *,
        now: float,
        is_retry: bool = False,
        paid: Payment | None = None,
        fallback: bool = False,
    ) -> Admission:
        """Admit an attempt. It takes over `paid`, which is refunded unless the attempt fails.

        `fallback` says that the call has another candidate after this one. Raises `CircuitOpenError` while the breaker
        of the address or the model is open.
        """
        place = self.at(choice.address) if choice.address else self.own
        route = place.route
        breaker = place.by_model.get(model) or place.breaker(model)
        if route.is_closed and breaker.is_closed:
            route_ticket: Ticket | None = route.ticket
            ticket: Ticket | None = breaker.ticket
        else:
            route_ticket, ticket = self._tickets(place, breaker, model, now, fallback=fallback)
        key = choice.health
        use = 0 if key is None else key.begin()
        admission = Admission(
            self,
            place=place,
            breaker=breaker,
            ticket=ticket,
            route_ticket=route_ticket,
            key=key,
            use=use,
            model=model,
            is_retry=is_retry,
            paid=paid,
        )
        if ticket is not breaker.ticket or route_ticket is not route.ticket:
            admission.is_probe = self.heeds_breaker
            admission.is_trial = True
        elif key is not None and not key.is_steady:
            admission.is_trial = True
        return admission

    def admit_hedge(self, choice: KeySelection, model: str, *, now: float) -> Admission | None:
        """Admit a hedge and pay for it; `None` if no hedge is allowed now.

        A hedge is allowed while the breakers are closed, within the share of hedges and within the retry budget.
        """
        hedging = self.hedging
        if hedging is None or not self.affords_hedge(model, now=now, addresses=(choice.address,)):
            return None
        self.budget.withdraw(self.budget.hedge, now=now)
        hedging.load.spend()
        return self.admit(choice, model, now=now, is_retry=True)

    def affords_hedge(self, model: str, *, now: float, addresses: Collection[str] = OWN_ADDRESS) -> bool:
        """Return whether a hedge would be admitted at one of these addresses."""
        is_affordable = self.hedging is not None and self.hedging.load.affords
        return is_affordable and self.affords_hedge_from_elsewhere(model, now=now, addresses=addresses)

    def admit_hedge_from_elsewhere(self, choice: KeySelection, model: str, *, now: float) -> Admission | None:
        """Admit a hedge for an attempt at another candidate and pay for it; `None` if no hedge is allowed now.

        The share of hedges is bounded at the provider of the slow attempt.
        """
        if not self.affords_hedge_from_elsewhere(model, now=now, addresses=(choice.address,)):
            return None
        self.budget.withdraw(self.budget.hedge, now=now)
        return self.admit(choice, model, now=now, is_retry=True)

    def affords_hedge_from_elsewhere(self, model: str, *, now: float, addresses: Collection[str] = OWN_ADDRESS) -> bool:
        """Return whether a hedge for an attempt at another candidate would be admitted at one of these addresses."""
        places = map(self.at, addresses)
        is_closed = any(place.route.is_closed and place.breaker(model).is_closed for place in places)
        return is_closed and self.budget.affords(self.budget.hedge, now=now)

    def retry_block(
        self,
        error: BifrostError,
        model: str,
        *,
        now: float,
        fallback: bool = False,
        addresses: Collection[str] = OWN_ADDRESS,
    ) -> RetryBlock | None:
        """Return what prevents another attempt after a failure: the breakers, or the retry budget."""
        if self.unavailable_for(model, now, fallback=fallback, addresses=addresses) > 0:
            return "breaker"
        return None if self.budget.affords(self._cost(error), now=now) else "budget"

    def unavailable_for(
        self, model: str, now: float, *, fallback: bool = False, addresses: Collection[str] = OWN_ADDRESS
    ) -> float:
        """Return for how long no call for a model is admitted at any of these addresses, in seconds."""
        if not self.heeds_breaker:
            return 0.0
        if addresses is OWN_ADDRESS:
            return self.own.unavailable_for(model, now, fallback=fallback)
        return min(self.at(address).unavailable_for(model, now, fallback=fallback) for address in addresses)

    def check(
        self, model: str, now: float, *, fallback: bool = False, addresses: Collection[str] = OWN_ADDRESS
    ) -> None:
        """Raise `CircuitOpenError` if none of these addresses admits a call for a model now. It admits none itself."""
        if not self.heeds_breaker:
            return
        if addresses is OWN_ADDRESS:
            place = self.own
            breaker = place.by_model.get(model) or place.breaker(model)
            if place.route.is_closed and breaker.is_closed:
                return
        else:
            place = min(map(self.at, addresses), key=lambda each: each.unavailable_for(model, now, fallback=fallback))
            breaker = place.breaker(model)
        for each in (place.route, breaker):
            if not each.is_closed and (seconds := each.retry_after(now, fallback=fallback)) > 0:
                raise self.circuit_open(seconds, model, place=place, is_route=each is place.route)

    def pay(self, error: BifrostError, *, now: float) -> Payment | None:
        """Pay for the retry after a failure. The caller refunds the payment if no attempt is made."""
        return self.budget.withdraw(self._cost(error), now=now)

    def lost(self, operation: str, model: str, tenant: str | None, *, now: float) -> None:
        """Record that the provider does not have a model, with any of the tenant's keys."""
        if not model or self._others:  # Another address may have the model.
            return
        self.gone.pop((operation, model, tenant), None)
        while len(self.gone) >= MAX_MODELS:
            del self.gone[next(iter(self.gone))]
        self.gone[operation, model, tenant] = now + GONE

    def gone_for(self, operation: str, model: str, tenant: str | None, now: float) -> float:
        """Return for how many seconds the provider is assumed not to have a model; 0 if it has it or may have it."""
        until = self.gone.get((operation, model, tenant), 0.0)
        if until <= now:
            self.gone.pop((operation, model, tenant), None)
            return 0.0
        return until - now

    def gone_models(self, now: float) -> dict[str, float]:
        """Return the models that the provider does not have, each with the seconds for which this is assumed."""
        found: dict[str, float] = {}
        for (_, model, _), until in list(self.gone.items()):
            if until > now:
                found[model] = max(found.get(model, 0.0), until - now)
        return found

    def breakers(self, now: float, address: str = "") -> Mapping[str, BreakerSnapshot]:
        """Return the state of an address's breakers by model. The breaker of the address itself has an empty name."""
        return self.at(address).snapshots(now)

    def state(
        self, model: str, now: float, *, fallback: bool = False, addresses: Collection[str] = OWN_ADDRESS
    ) -> BreakerState | None:
        """Return the breaker state of a model at the best of these addresses; `None` if breakers are disabled."""
        if not self.heeds_breaker:
            return None
        states = {self.at(address).state(model, now, fallback=fallback) for address in addresses}
        return next(state for state in _BEST_FIRST if state in states)

    def _tickets(
        self, place: AddressHealth, breaker: Breaker, model: str, now: float, *, fallback: bool
    ) -> tuple[Ticket | None, Ticket | None]:
        """Return the tickets of both breakers for an attempt. Raises `CircuitOpenError` if one of them refuses it."""
        route = place.route.admit(now, fallback=fallback)
        if route is None and self.heeds_breaker:
            seconds = place.route.retry_after(now, fallback=fallback)
            raise self.circuit_open(seconds, model, place=place, is_route=True)
        ticket = breaker.admit(now, fallback=fallback)
        if ticket is None and self.heeds_breaker:
            if route is not None:
                place.route.cancel(route)
            raise self.circuit_open(breaker.retry_after(now, fallback=fallback), model, place=place)
        return route, ticket

    def _change_hedges(self, config: HedgeConfig | None) -> None:
        """Use other settings for hedges, or none. The known response times are kept."""
        if config is None or self.hedging is None:
            self.hedging = None if config is None else Hedging(config)
        elif config != self.hedging.config:
            self.hedging.change(config)

    def _cost(self, error: BifrostError) -> float:
        return self.budget.cost(timed_out=isinstance(error, CallTimeoutError))

    def circuit_open(
        self, seconds: float, model: str, *, place: AddressHealth, is_route: bool = False
    ) -> CircuitOpenError:
        """Return the error for a model, or an address, whose breaker is open."""
        where = f" at {place.address}" if place.address else ""
        if is_route:
            what = f"{self.provider}{where} could not be reached repeatedly; its circuit breaker is open"
        elif self._config.per_model:
            what = f"{self.provider}/{model}{where} has failed repeatedly; its circuit breaker is open"
        else:
            what = f"{self.provider}{where} has failed repeatedly; its circuit breaker is open"
        return CircuitOpenError(
            f"{what} for {seconds:.1f} s more; set `fallbacks`, or try again after that",
            provider=self.provider,
            model=model,
            retry_after=seconds,
        )


_BEST_FIRST: tuple[BreakerState, ...] = ("closed", "half_open", "open")


class Admission:
    """An attempt that was admitted. Its outcome is reported at most once, and it is always closed."""

    __slots__ = (
        "_description",
        "_health",
        "_is_early",
        "_is_reported",
        "_is_retry",
        "_key",
        "_model",
        "_paid",
        "_place",
        "_use",
        "breaker",
        "has_begun",
        "is_probe",
        "is_trial",
        "route_ticket",
        "ticket",
        "trip",
    )

    def __init__(
        self,
        health: Health,
        *,
        place: AddressHealth,
        breaker: Breaker,
        ticket: Ticket | None,
        route_ticket: Ticket | None,
        key: KeyHealth | None,
        use: int,
        model: str,
        is_retry: bool,
        paid: Payment | None,
    ) -> None:
        self._health = health
        self.breaker = breaker
        self.ticket = ticket
        """The ticket of the model's breaker."""
        self._place = place
        self.route_ticket = route_ticket
        """The ticket of the address's breaker."""
        self._key = key
        self._use = use
        self._model = model
        self._is_retry = is_retry
        self._paid = paid
        self._is_reported = False
        self._is_early = False
        self._description: str | None = None
        self.is_probe = False
        """Whether a breaker let it through as a probe."""
        self.is_trial = False
        """Whether it tries a breaker or a key that has had failures, so that its outcome matters to other calls."""
        self.has_begun = False
        """Whether it is a stream that has had its first content."""
        self.trip: Trip | None = None
        """The request that was sent, if the concurrency limit is adaptive."""

    def began(self, now: float) -> None:
        """Report the first content of a stream. `close` reports how it ends."""
        self.has_begun = True
        self.succeeded(now)

    def succeeded(self, now: float) -> None:
        """Report a complete response."""
        self._is_reported = True
        health = self._health
        if self.route_ticket is not None and not self._place.route.is_steady:
            # While every attempt reaches the address, nothing needs to be counted there.
            self._place.route.succeeded(self.route_ticket, now=now, random=health.random)
        if self.ticket is not None:
            if self.has_begun:
                self.breaker.began(self.ticket, now=now, random=health.random)
            else:
                self.breaker.succeeded(self.ticket, now=now, random=health.random)
        if self._key is not None and not self._key.is_steady:
            self._key.succeeded(self._use)
        if self.trip is not None:
            self.trip.succeeded()
        if self._paid is not None:
            self._paid.give_back(now)
        elif not (self._is_retry or health.budget.is_full):
            health.budget.reward()

    def cancel(self, now: float) -> None:
        """Report that there is no outcome, unless one was reported: a probe's place and the payment are released."""
        if self._is_reported:
            return
        self._is_reported = True
        if self.ticket is not None:
            self.breaker.cancel(self.ticket)
        if self.route_ticket is not None:
            self._place.route.cancel(self.route_ticket)
        if self._paid is not None:
            self._paid.give_back(now)

    def report(self, error: BifrostError, now: float) -> None:
        """Report a failure before the attempt is closed. `close` then returns the description of what followed."""
        if not self._is_reported:
            self._is_early = True
            self._description = self._failed(error, now)

    def close(self, error: BifrostError | None, *, now: float) -> str | None:
        """End the attempt and report its outcome, unless that was done.

        Returns a description of what followed, or `None`.
        """
        descriptions, self._description = self._description, None
        if self._is_early and self._paid is not None and error is not None and error.category == "cancelled":
            # It failed just as its caller was cancelled, so the caller has not seen the error.
            self._paid.give_back(now)
        if not self._is_reported:
            if error is None:
                self.succeeded(now)
            else:
                descriptions = self._failed(error, now)
        elif self.has_begun:
            descriptions = self._stream_ended(error, now)
        key, self._key = self._key, None
        if key is not None:
            key.in_flight -= 1
            if key.state == "probing":
                key.ended(self._use)
        return descriptions

    def _stream_ended(self, error: BifrostError | None, now: float) -> str | None:
        """Report how a stream ended that had begun. A stream that stalled or broke was not a success."""
        self.has_begun = False
        if self.ticket is None:
            return None
        if error is None:
            self.breaker.ended(self.ticket)
            return None
        cause = error.__cause__
        if (
            error.category != "interrupted"
            or not isinstance(cause, BifrostError)
            or verdict_on_model(cause) != "failure"
        ):
            return None
        generation = self.breaker.generation
        self.breaker.broke(self.ticket, now=now, random=self._health.random)
        return self._opened(self.breaker, generation, now)

    def _failed(self, error: BifrostError, now: float) -> str | None:
        model, route = verdict_on_model(error), verdict_on_route(error)
        if model == route == "neutral":
            # The provider received no request, or its response was not awaited.
            self.cancel(now)
            return None
        self._is_reported = True
        descriptions = [
            self._tell_key(error, now),
            self._tell_breaker(self._place.route, self.route_ticket, route, now),
            self._tell_breaker(self.breaker, self.ticket, model, now),
        ]
        if self.trip is not None:
            descriptions.append(self.trip.failed(error))
        return "; ".join(filter(None, descriptions)) or None

    def _tell_breaker(self, breaker: Breaker, ticket: Ticket | None, verdict: Verdict, now: float) -> str | None:
        if ticket is None:
            return None
        generation = breaker.generation
        breaker.report(ticket, verdict, now=now, random=self._health.random)
        return self._opened(breaker, generation, now)

    def _opened(self, breaker: Breaker, before: int, now: float) -> str | None:
        """Return a description if a breaker has opened since its generation `before`, else `None`."""
        if not self._health.heeds_breaker or breaker.generation == before or breaker.is_closed:
            return None
        self._health.note_trouble(self._place)
        seconds, health = breaker.retry_after(now), self._health
        if health.observer is not None:
            is_of_model = breaker is self.breaker and health.per_model and self._model
            health.observer.breaker_opened(self._model if is_of_model else None, seconds)
        return f"breaker opened for {seconds:.1f} s"

    def _tell_key(self, error: BifrostError, now: float) -> str | None:
        key = self._key
        if key is None:
            return None
        observer = self._health.observer
        before = 0.0 if key.state == "ready" else key.until
        words = self._change_key(key, error, now)
        after = 0.0 if key.state == "ready" else key.until
        if observer is not None and after != before and after > now:
            observer.key_cooling_down(key.name, after - now, error.category)
        return words

    def _change_key(self, key: KeyHealth, error: BifrostError, now: float) -> str | None:
        """Stop using a key for a while if the failure says so. Returns that in words."""
        if error.category == "throttled":
            wait = park_time(error.retry_after, error.rate_limit)
            until = key.throttled(self._use, wait=wait, now=now, random=self._health.random)
            return f"key {key.name} cooling down for {max(0.0, until - now):.1f} s"
        if error.category in ("credential", "quota"):
            key.refused(self._use, error.category, now=now)
            return f"key {key.name} taken out of use ({error.category})"
        return None


def is_fault_of_address(error: BifrostError) -> bool:
    """Return whether a failure is a reason to try another address of the provider, if there is one."""
    return "failure" in (verdict_on_model(error), verdict_on_route(error))


def verdict_on_model(error: BifrostError) -> Verdict:
    """Return what a failure means for the model's breaker. A request that was never sent is neutral."""
    if error.category == "never_sent" or (error.category == "transient" and 400 <= (error.status or 0) < 500):
        # With a 4xx, the provider asked for a later retry (408, 425) or refused the model's output. Neither means that
        # it is unhealthy.
        return "neutral"
    return rule_of(error).breaker


def verdict_on_route(error: BifrostError) -> Verdict:
    """Return what a failure means for the address's breaker. A provider that refuses or times out was reached."""
    if error.category == "never_sent":
        return "failure"
    is_reached = error.status is not None or verdict_on_model(error) == "failure"
    return "success" if is_reached else "neutral"
