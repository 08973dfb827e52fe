"""What is known of one provider in use, and what its attempts make of it. Pure: time and chance are passed in.

An attempt is let in (`Health.admit`), which may be refused at once, and ends with `Admission.close`: what came of it is
then told to the breaker, to the key and to the retry budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from bifrost.errors import BifrostError, CallTimeoutError, CircuitOpenError
from bifrost.routing.breaker import Breaker
from bifrost.routing.budget import RetryBudget
from bifrost.routing.hedge import Hedging
from bifrost.routing.key_health import KeyStates, park_time
from bifrost.routing.keys import balance_of
from bifrost.routing.retry import rule_of

if TYPE_CHECKING:
    from bifrost.config import HedgeConfig, ProviderConfig
    from bifrost.routing.adaptive import Trip
    from bifrost.routing.balance import Random
    from bifrost.routing.breaker import BreakerSnapshot, BreakerState, Ticket, Verdict
    from bifrost.routing.budget import Payment
    from bifrost.routing.key_health import KeyHealth
    from bifrost.routing.keys import Choice

ALL_MODELS = "*"
"""The name of the breaker that judges all models together, and the questions that are about none."""

GONE = 600.0
"""For how long model groups pass over a member whose provider says that it does not have the model, in seconds."""

_MODELS_KEPT = 500
"""Model names come from callers, so the breakers of models are bounded."""

HeldBack: TypeAlias = Literal["breaker", "budget"]
"""What of a provider's health speaks against a retry."""


class Health:
    """The retry budget, the breakers, the hedges and the states of the keys of one provider at one address."""

    def __init__(self, provider: str, config: ProviderConfig, *, now: float, random: Random) -> None:
        self.provider = provider
        self.budget = RetryBudget(config.retry_budget, now=now)
        self.keys = KeyStates(config.key_pool)
        self.balance = balance_of(config.key_pool)
        self.hedging = None if config.hedge is None else Hedging(config.hedge)
        """What decides on hedges; `None`: there are none."""
        self.random = random
        self._config = config.breaker
        self.heeds_breaker = config.breaker.enabled
        """One that is switched off judges all the same, for the hedges, and holds no call back."""
        self.road = Breaker(config.breaker, in_a_row=config.breaker.unreachable)
        """Judges the way to the provider's address, by attempts that could not be sent."""
        self.gone: dict[tuple[str, str, str | None], float] = {}
        """The models that the provider does not have, by operation, model and tenant, and until when that counts."""
        self._by_model: dict[str, Breaker] = {}
        """Judge what the models do with what was sent."""

    def change(self, config: ProviderConfig, *, now: float) -> None:
        """Go on with other settings: what is known stays."""
        self.budget.change(config.retry_budget, now=now)
        before = self.keys.config
        self.keys.change(config.key_pool)
        if (before.choose, before.policy) != (config.key_pool.choose, config.key_pool.policy):
            self.balance = balance_of(config.key_pool)
        self.road.change(config.breaker, in_a_row=config.breaker.unreachable)
        for breaker in self._by_model.values():
            breaker.change(config.breaker, in_a_row=config.breaker.in_a_row)
        if self._config.per_model != config.breaker.per_model:
            self._by_model.clear()
        self._config = config.breaker
        self.heeds_breaker = config.breaker.enabled
        self._change_hedges(config.hedge)

    def breaker(self, model: str) -> Breaker:
        """Return the breaker that judges a model: its own, unless the provider's models are judged together."""
        judged = (model if self._config.per_model else "") or ALL_MODELS
        breaker = self._by_model.get(judged)
        if breaker is None:
            if len(self._by_model) >= _MODELS_KEPT:
                del self._by_model[next(iter(self._by_model))]
            breaker = self._by_model[judged] = Breaker(self._config, in_a_row=self._config.in_a_row)
        return breaker

    def admit(
        self,
        choice: Choice,
        model: str,
        *,
        now: float,
        is_retry: bool = False,
        paid: Payment | None = None,
        fallback: bool = False,
    ) -> Admission:
        """Let an attempt in. What was `paid` for it is the admission's from here on: given back unless it fails.

        `fallback` says that another candidate stands behind it. Raises `CircuitOpenError` while the address or the
        model is left alone.
        """
        road = self.road
        breaker = self._by_model.get(model) or self.breaker(model)
        if road.is_closed and breaker.is_closed:
            road_ticket: Ticket | None = road.ticket
            ticket: Ticket | None = breaker.ticket
        else:
            road_ticket, ticket = self._tickets(breaker, model, now, fallback=fallback)
        key = choice.health
        use = 0 if key is None else key.begin()
        admission = Admission(
            self,
            breaker=breaker,
            ticket=ticket,
            road_ticket=road_ticket,
            key=key,
            use=use,
            model=model,
            is_retry=is_retry,
            paid=paid,
        )
        if ticket is not breaker.ticket or road_ticket is not road.ticket:
            admission.is_probe = self.heeds_breaker
            admission.is_trial = True
        elif key is not None and not key.is_steady:
            admission.is_trial = True
        return admission

    def admit_hedge(self, choice: Choice, model: str, *, now: float) -> Admission | None:
        """Let a second attempt in beside one that is slow, and take what it costs; `None`: not now.

        Not while the breaker is anything but closed, nor beyond what hedges may add to the load, nor with too little
        left in the budget.
        """
        hedging = self.hedging
        if hedging is None or not self.affords_hedge(model, now=now):
            return None
        self.budget.withdraw(self.budget.hedge, now=now)
        hedging.load.spend()
        return self.admit(choice, model, now=now, is_retry=True)

    def affords_hedge(self, model: str, *, now: float) -> bool:
        """Return whether a second attempt would be let in."""
        is_affordable = self.hedging is not None and self.hedging.load.affords
        return is_affordable and self.affords_hedge_from_elsewhere(model, now=now)

    def admit_hedge_from_elsewhere(self, choice: Choice, model: str, *, now: float) -> Admission | None:
        """Let an attempt in that is a hedge for one at another candidate, and take what it costs; `None`: not now.

        What all hedges together add is bounded where the slow attempt is.
        """
        if not self.affords_hedge_from_elsewhere(model, now=now):
            return None
        self.budget.withdraw(self.budget.hedge, now=now)
        return self.admit(choice, model, now=now, is_retry=True)

    def affords_hedge_from_elsewhere(self, model: str, *, now: float) -> bool:
        """Return whether a hedge for an attempt at another candidate would be let in."""
        is_closed = self.road.is_closed and self.breaker(model).is_closed
        return is_closed and self.budget.affords(self.budget.hedge, now=now)

    def holds_back(self, error: BifrostError, model: str, *, now: float, fallback: bool = False) -> HeldBack | None:
        """Return what speaks against another attempt after a failure: a breaker, or the retry budget."""
        if self.left_alone_for(model, now, fallback=fallback) > 0:
            return "breaker"
        return None if self.budget.affords(self._cost(error), now=now) else "budget"

    def left_alone_for(self, model: str, now: float, *, fallback: bool = False) -> float:
        """Return for how long no call for a model is let in, in seconds."""
        if not self.heeds_breaker:
            return 0.0
        breaker = self._by_model.get(model) or self.breaker(model)
        if self.road.is_closed and breaker.is_closed:
            return 0.0
        return max(self.road.retry_after(now, fallback=fallback), breaker.retry_after(now, fallback=fallback))

    def check(self, model: str, now: float, *, fallback: bool = False) -> None:
        """Raise `CircuitOpenError` if no call for a model is let in now; lets none in itself."""
        if not self.heeds_breaker:
            return
        breaker = self._by_model.get(model) or self.breaker(model)
        for each in (self.road, breaker):
            if not each.is_closed and (seconds := each.retry_after(now, fallback=fallback)) > 0:
                raise self.left_alone(seconds, model, is_road=each is self.road)

    def pay(self, error: BifrostError, *, now: float) -> Payment | None:
        """Take what the retry after a failure costs. Who pays gives back what no attempt was let in with."""
        return self.budget.withdraw(self._cost(error), now=now)

    def lost(self, operation: str, model: str, tenant: str | None, *, now: float) -> None:
        """Record that the provider does not have a model, for any of the tenant's keys."""
        if not model:
            return
        self.gone.pop((operation, model, tenant), None)
        while len(self.gone) >= _MODELS_KEPT:
            del self.gone[next(iter(self.gone))]
        self.gone[operation, model, tenant] = now + GONE

    def gone_for(self, operation: str, model: str, tenant: str | None, now: float) -> float:
        """Return for how long it counts that the provider does not have a model; 0: it does, or may."""
        until = self.gone.get((operation, model, tenant), 0.0)
        if until <= now:
            self.gone.pop((operation, model, tenant), None)
            return 0.0
        return until - now

    def gone_models(self, now: float) -> dict[str, float]:
        """Return the models that are known to be gone, with how long that counts, in seconds."""
        found: dict[str, float] = {}
        for (_, model, _), until in list(self.gone.items()):
            if until > now:
                found[model] = max(found.get(model, 0.0), until - now)
        return found

    def breakers(self, now: float) -> dict[str, BreakerSnapshot]:
        """Return how the breakers stand: the one of the address under the empty name, the others by model."""
        return {"": self.road.snapshot(now), **{model: each.snapshot(now) for model, each in self._by_model.items()}}

    def state(self, model: str, now: float, *, fallback: bool = False) -> BreakerState | None:
        """Return how a call for a model finds the breakers: as the less favourable of both; `None`: switched off."""
        if not self.heeds_breaker:
            return None
        states = (self.road.state(now, fallback=fallback), self.breaker(model).state(now, fallback=fallback))
        if "open" in states:
            return "open"
        return "half_open" if "half_open" in states else "closed"

    def _tickets(
        self, breaker: Breaker, model: str, now: float, *, fallback: bool
    ) -> tuple[Ticket | None, Ticket | None]:
        """Return what both breakers let the attempt through with. Raises `CircuitOpenError` if one does not."""
        road = self.road.admit(now, fallback=fallback)
        if road is None and self.heeds_breaker:
            raise self.left_alone(self.road.retry_after(now, fallback=fallback), model, is_road=True)
        ticket = breaker.admit(now, fallback=fallback)
        if ticket is None and self.heeds_breaker:
            if road is not None:
                self.road.cancel(road)
            raise self.left_alone(breaker.retry_after(now, fallback=fallback), model)
        return road, ticket

    def _change_hedges(self, config: HedgeConfig | None) -> None:
        """Hedge by other settings from now on, or not at all; how long answers took stays known."""
        if config is None or self.hedging is None:
            self.hedging = None if config is None else Hedging(config)
        elif config != self.hedging.config:
            self.hedging.change(config)

    def _cost(self, error: BifrostError) -> float:
        return self.budget.cost(timed_out=isinstance(error, CallTimeoutError))

    def left_alone(self, seconds: float, model: str, *, is_road: bool = False) -> CircuitOpenError:
        """Return the error of a model, or of an address, whose breaker is open."""
        if is_road:
            what = f"{self.provider} could not be reached so often that it is left alone"
        elif self._config.per_model:
            what = f"{self.provider}/{model} has failed so often that it is left alone"
        else:
            what = f"{self.provider} has failed so often that it is left alone"
        return CircuitOpenError(
            f"{what} for {seconds:.1f} s more; give `fallbacks`, or try again after that",
            provider=self.provider,
            model=model,
            retry_after=seconds,
        )


class Admission:
    """An attempt that was let in: what came of it is reported once, and it is closed in any case."""

    __slots__ = (
        "_health",
        "_is_early",
        "_is_reported",
        "_is_retry",
        "_key",
        "_model",
        "_paid",
        "_told",
        "_use",
        "breaker",
        "has_begun",
        "is_probe",
        "is_trial",
        "road",
        "road_ticket",
        "ticket",
        "trip",
    )

    def __init__(
        self,
        health: Health,
        *,
        breaker: Breaker,
        ticket: Ticket | None,
        road_ticket: Ticket | None,
        key: KeyHealth | None,
        use: int,
        model: str,
        is_retry: bool,
        paid: Payment | None,
    ) -> None:
        self._health = health
        self.breaker = breaker
        self.ticket = ticket
        """What the model's breaker let it through with."""
        self.road = health.road
        self.road_ticket = road_ticket
        """What the breaker of the address let it through with."""
        self._key = key
        self._use = use
        self._model = model
        self._is_retry = is_retry
        self._paid = paid
        self._is_reported = False
        self._is_early = False
        self._told: str | None = None
        self.is_probe = False
        """A breaker let it through as a probe."""
        self.is_trial = False
        """It tries a breaker or a key that has been in trouble: how it goes matters to others."""
        self.has_begun = False
        """It is a stream that has had its first content."""
        self.trip: Trip | None = None
        """Its exchange, once that is sent, where the limit of those at once adapts."""

    def began(self, now: float) -> None:
        """Report the first content of a stream. How it ends is reported by `close`."""
        self.has_begun = True
        self.succeeded(now)

    def succeeded(self, now: float) -> None:
        """Report an answer."""
        self._is_reported = True
        health = self._health
        if self.road_ticket is not None and not self.road.is_steady:
            # As long as every attempt reaches the address, nothing is counted there.
            self.road.succeeded(self.road_ticket, now=now, random=health.random)
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
        """Report that nothing is known, unless something was: a probe's place is free again, and what was paid back."""
        if self._is_reported:
            return
        self._is_reported = True
        if self.ticket is not None:
            self.breaker.cancel(self.ticket)
        if self.road_ticket is not None:
            self.road.cancel(self.road_ticket)
        if self._paid is not None:
            self._paid.give_back(now)

    def report(self, error: BifrostError, now: float) -> None:
        """Report a failure before the attempt is closed, which gives in words what was decided."""
        if not self._is_reported:
            self._is_early = True
            self._told = self._failed(error, now)

    def close(self, error: BifrostError | None, *, now: float) -> str | None:
        """End the attempt, once, and report what came of it, unless that was done. Gives in words what was decided."""
        told, self._told = self._told, None
        if self._is_early and self._paid is not None and error is not None and error.category == "cancelled":
            # It failed just as its caller left, who has not seen that.
            self._paid.give_back(now)
        if not self._is_reported:
            if error is None:
                self.succeeded(now)
            else:
                told = self._failed(error, now)
        elif self.has_begun:
            told = self._stream_ended(error, now)
        key, self._key = self._key, None
        if key is not None:
            key.in_flight -= 1
            if key.state == "probing":
                key.ended(self._use)
        return told

    def _stream_ended(self, error: BifrostError | None, now: float) -> str | None:
        """Report how a stream ended that had begun. One that stalled or broke was no success."""
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
        model, road = verdict_on_model(error), verdict_on_road(error)
        if model == road == "neutral":
            # The provider was not asked, or its answer not waited for.
            self.cancel(now)
            return None
        self._is_reported = True
        told = [
            self._tell_key(error, now),
            self._tell_breaker(self.road, self.road_ticket, road, now),
            self._tell_breaker(self.breaker, self.ticket, model, now),
        ]
        if self.trip is not None:
            told.append(self.trip.failed(error))
        return "; ".join(filter(None, told)) or None

    def _tell_breaker(self, breaker: Breaker, ticket: Ticket | None, verdict: Verdict, now: float) -> str | None:
        if ticket is None:
            return None
        generation = breaker.generation
        breaker.report(ticket, verdict, now=now, random=self._health.random)
        return self._opened(breaker, generation, now)

    def _opened(self, breaker: Breaker, before: int, now: float) -> str | None:
        """Return in words that a breaker has opened since its generation `before`."""
        if not self._health.heeds_breaker or breaker.generation == before or breaker.is_closed:
            return None
        return f"breaker opened for {breaker.retry_after(now):.1f} s"

    def _tell_key(self, error: BifrostError, now: float) -> str | None:
        key = self._key
        if key is None:
            return None
        if error.category == "throttled":
            wait = park_time(error.retry_after, error.rate_limit)
            until = key.throttled(self._use, wait=wait, now=now, random=self._health.random)
            return f"key {key.name} parked for {max(0.0, until - now):.1f} s"
        if error.category in ("credential", "quota"):
            key.refused(self._use, error.category, now=now)
            return f"key {key.name} taken out of use ({error.category})"
        return None


def verdict_on_model(error: BifrostError) -> Verdict:
    """Return what a failure says of the model's health. What was never sent says nothing of it."""
    if error.category == "never_sent" or (error.category == "transient" and 400 <= (error.status or 0) < 500):
        # With a 4xx it was asked to come again (408, 425), or what the model wrote was refused: no sign of ill health.
        return "neutral"
    return rule_of(error).breaker


def verdict_on_road(error: BifrostError) -> Verdict:
    """Return what a failure says of the way to the provider: whoever refuses, or falls silent, was reached."""
    if error.category == "never_sent":
        return "failure"
    is_reached = error.status is not None or verdict_on_model(error) == "failure"
    return "success" if is_reached else "neutral"
