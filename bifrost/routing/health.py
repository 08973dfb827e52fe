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
    from bifrost.routing.breaker import BreakerSnapshot, Ticket
    from bifrost.routing.budget import Payment
    from bifrost.routing.key_health import KeyHealth
    from bifrost.routing.keys import Choice

_MODELS_KEPT = 500
"""Model names come from callers, so the breakers of models are bounded."""

_PATIENT = (408, 425)
"""The provider did not wait for the whole request, or wants it later: tried again, and no sign of ill health."""

HeldBack: TypeAlias = Literal["breaker", "budget"]
"""What of a provider's health speaks against a retry."""


class Health:
    """The retry budget, the breakers, the hedges and the states of the keys of one provider at one address."""

    def __init__(self, provider: str, config: ProviderConfig, *, now: float, random: Random) -> None:
        self.provider = provider
        self.budget = RetryBudget(config.budget, now=now)
        self.keys = KeyStates(config.key_pool)
        self.balance = balance_of(config.key_pool)
        self.hedging = None if config.hedge is None else Hedging(config.hedge)
        """What decides on hedges; `None`: there are none."""
        self.random = random
        self._config = config.breaker
        self.heeds_breaker = config.breaker.enabled
        """One that is switched off judges all the same, for the hedges, and holds no call back."""
        self._breaker = Breaker(config.breaker)
        self._by_model: dict[str, Breaker] = {}

    def change(self, config: ProviderConfig, *, now: float) -> None:
        """Go on with other settings: what is known stays."""
        self.budget.change(config.budget, now=now)
        before = self.keys.config
        self.keys.change(config.key_pool)
        if (before.choose, before.policy) != (config.key_pool.choose, config.key_pool.policy):
            self.balance = balance_of(config.key_pool)
        for breaker in (self._breaker, *self._by_model.values()):
            breaker.change(config.breaker)
        self._config = config.breaker
        self.heeds_breaker = config.breaker.enabled
        self._change_hedges(config.hedge)

    def breaker(self, model: str) -> Breaker:
        """Give the breaker that judges a model: the provider's, unless each model is judged by itself."""
        if not self._config.per_model:
            return self._breaker
        breaker = self._by_model.get(model)
        if breaker is None:
            if len(self._by_model) >= _MODELS_KEPT:
                del self._by_model[next(iter(self._by_model))]
            breaker = self._by_model[model] = Breaker(self._config)
        return breaker

    def admit(
        self, choice: Choice, model: str, *, now: float, is_retry: bool = False, paid: Payment | None = None
    ) -> Admission:
        """Let an attempt in. What was `paid` for it is the admission's from here on: given back unless it fails.

        Raises `CircuitOpenError` while the provider is left alone.
        """
        breaker = self.breaker(model) if self._config.per_model else self._breaker
        ticket = breaker.ticket if breaker.is_closed else breaker.admit(now)
        if ticket is None and self.heeds_breaker:
            raise self.left_alone(breaker.retry_after(now), model)
        key = choice.health
        use = 0 if key is None else key.begin()
        return Admission(
            self, breaker=breaker, ticket=ticket, key=key, use=use, model=model, is_retry=is_retry, paid=paid
        )

    def admit_hedge(self, choice: Choice, model: str, *, now: float) -> Admission | None:
        """Let a second attempt in beside one that is slow, and take what it costs; `None`: not now.

        Not while the breaker is anything but closed, nor beyond what hedges may add to the load, nor with too little
        left in the budget.
        """
        hedging = self.hedging
        if hedging is None or not hedging.load.affords or not self.breaker(model).is_closed:
            return None
        if self.budget.withdraw(self.budget.hedge, now=now) is None:
            return None
        hedging.load.spend()
        return self.admit(choice, model, now=now, is_retry=True)

    def holds_back(self, error: BifrostError, model: str, *, now: float) -> HeldBack | None:
        """Say what speaks against another attempt after a failure: the breaker against all, the budget against one."""
        if self.heeds_breaker and self.breaker(model).retry_after(now) > 0:
            return "breaker"
        return None if self.budget.affords(self._cost(error), now=now) else "budget"

    def is_left_alone(self, now: float) -> bool:
        """Say whether no call would be let in, whichever model it is for."""
        return self.heeds_breaker and not self._config.per_model and self._breaker.retry_after(now) > 0

    def pay(self, error: BifrostError, *, now: float) -> Payment | None:
        """Take what the retry after a failure costs. Who pays gives back what no attempt was let in with."""
        return self.budget.withdraw(self._cost(error), now=now)

    def breakers(self, now: float) -> dict[str, BreakerSnapshot]:
        """Give how the breakers stand, by model; the provider's own under the empty name."""
        if self._config.per_model:
            return {model: breaker.snapshot(now) for model, breaker in self._by_model.items()}
        return {"": self._breaker.snapshot(now)}

    def _change_hedges(self, config: HedgeConfig | None) -> None:
        """Hedge by other settings from now on, or not at all; how long answers took stays known."""
        if config is None or self.hedging is None:
            self.hedging = None if config is None else Hedging(config)
        elif config != self.hedging.config:
            self.hedging.change(config)

    def _cost(self, error: BifrostError) -> float:
        return self.budget.cost(timed_out=isinstance(error, CallTimeoutError))

    def left_alone(self, seconds: float, model: str) -> CircuitOpenError:
        """Make the error of a provider whose breaker is open."""
        what = f"{self.provider}/{model}" if self._config.per_model else self.provider
        return CircuitOpenError(
            f"{what} has failed so often that it is left alone for {seconds:.1f} s more; "
            "give `fallbacks`, or try again after that",
            provider=self.provider,
            model=model,
            retry_after=seconds,
        )


class Admission:
    """An attempt that was let in: what came of it is reported once, and it is closed in any case."""

    __slots__ = ("_health", "_is_reported", "_is_retry", "_key", "_model", "_paid", "_use", "breaker", "ticket", "trip")

    def __init__(
        self,
        health: Health,
        *,
        breaker: Breaker,
        ticket: Ticket | None,
        key: KeyHealth | None,
        use: int,
        model: str,
        is_retry: bool,
        paid: Payment | None,
    ) -> None:
        self._health = health
        self.breaker = breaker
        self.ticket = ticket
        self._key = key
        self._use = use
        self._model = model
        self._is_retry = is_retry
        self._paid = paid
        self._is_reported = False
        self.trip: Trip | None = None
        """Its exchange, once that is sent, where the limit of those at once adapts."""

    def withdrawn(self, now: float) -> CircuitOpenError | None:
        """Give the error for an attempt that has waited in a queue until the breaker opened."""
        ticket, breaker = self.ticket, self.breaker
        if not self._health.heeds_breaker:
            return None
        if ticket is None or ticket.generation == breaker.generation or breaker.state(now) != "open":
            return None
        return self._health.left_alone(breaker.retry_after(now), self._model)

    def succeeded(self, now: float) -> None:
        """Report an answer, or the first content of a stream."""
        self._is_reported = True
        health = self._health
        if self.ticket is not None:
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
        if self._paid is not None:
            self._paid.give_back(now)

    def close(self, error: BifrostError | None, *, now: float) -> str | None:
        """End the attempt, once, and report what came of it, unless that was done. Gives in words what was decided."""
        told = None
        if not self._is_reported:
            if error is None:
                self.succeeded(now)
            else:
                told = self._failed(error, now)
        key, self._key = self._key, None
        if key is not None:
            key.in_flight -= 1
            if key.state == "probing":
                key.ended(self._use)
        return told

    def _failed(self, error: BifrostError, now: float) -> str | None:
        verdict = "neutral" if error.status in _PATIENT else rule_of(error).breaker
        if verdict == "neutral" and error.status is None:
            # The provider was not asked, or its answer not waited for.
            self.cancel(now)
            return None
        self._is_reported = True
        told = [self._tell_key(error, now)]
        if self.ticket is not None:
            generation = self.breaker.generation
            never_sent = error.fault == "never_sent"
            self.breaker.report(self.ticket, verdict, never_sent=never_sent, now=now, random=self._health.random)
            if self._health.heeds_breaker and verdict == "failure" and self.breaker.generation != generation:
                told.append(f"breaker opened for {self.breaker.retry_after(now):.1f} s")
        if self.trip is not None:
            told.append(self.trip.failed(error))
        return "; ".join(filter(None, told)) or None

    def _tell_key(self, error: BifrostError, now: float) -> str | None:
        key = self._key
        if key is None:
            return None
        if error.fault == "throttled":
            wait = park_time(error.retry_after, error.rate_limit)
            until = key.throttled(self._use, wait=wait, now=now, random=self._health.random)
            return f"key {key.name} parked for {max(0.0, until - now):.1f} s"
        if error.fault in ("credential", "quota"):
            key.refused(self._use, error.fault, now=now)
            return f"key {key.name} taken out of use ({error.fault})"
        return None
