"""What is known of one address of a provider: a breaker for the route to it, and one for each model. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.routing.breaker import Breaker

if TYPE_CHECKING:
    from bifrost.config import BreakerConfig
    from bifrost.routing.breaker import BreakerSnapshot, BreakerState

ALL_MODELS = "*"
"""The name of the breaker for all models together, and of requests that do not concern a model."""

MAX_MODELS = 500
"""The most models that have a breaker. Model names come from callers, so this is bounded."""


class AddressHealth:
    """The breakers of one address. A resource that fails does not open the breakers of another one."""

    __slots__ = ("_config", "address", "by_model", "route")

    def __init__(self, config: BreakerConfig, address: str = "") -> None:
        self.address = address
        """The address that a key's settings name; empty: the provider's own."""
        self.route = Breaker(config, in_a_row=config.unreachable)
        """The breaker of the address, which counts attempts that could not be sent."""
        self.by_model: dict[str, Breaker] = {}
        """The breakers of the models, which count outcomes of requests that were sent."""
        self._config = config

    def change(self, config: BreakerConfig) -> None:
        """Use other settings. The state is kept."""
        self.route.change(config, in_a_row=config.unreachable)
        for breaker in self.by_model.values():
            breaker.change(config, in_a_row=config.in_a_row)
        if self._config.per_model != config.per_model:
            self.by_model.clear()
        self._config = config

    def breaker(self, model: str) -> Breaker:
        """Return the breaker of a model: its own, or the common one if `per_model` is off."""
        judged = (model if self._config.per_model else "") or ALL_MODELS
        breaker = self.by_model.get(judged)
        if breaker is None:
            if len(self.by_model) >= MAX_MODELS:
                del self.by_model[next(iter(self.by_model))]
            breaker = self.by_model[judged] = Breaker(self._config, in_a_row=self._config.in_a_row)
        return breaker

    @property
    def is_closed(self) -> bool:
        """Whether every breaker lets calls through."""
        return self.route.is_closed and all(breaker.is_closed for breaker in self.by_model.values())

    def unavailable_for(self, model: str, now: float, *, fallback: bool = False) -> float:
        """Return for how long no call for a model is admitted, in seconds."""
        breaker = self.by_model.get(model) or self.breaker(model)
        if self.route.is_closed and breaker.is_closed:
            return 0.0
        return max(self.route.retry_after(now, fallback=fallback), breaker.retry_after(now, fallback=fallback))

    def state(self, model: str, now: float, *, fallback: bool = False) -> BreakerState:
        """Return the less favourable state of both breakers for a model."""
        states = (self.route.state(now, fallback=fallback), self.breaker(model).state(now, fallback=fallback))
        if "open" in states:
            return "open"
        return "half_open" if "half_open" in states else "closed"

    def snapshots(self, now: float) -> dict[str, BreakerSnapshot]:
        """Return the state of the breakers by model. The breaker of the address has an empty name."""
        return {"": self.route.snapshot(now), **{model: each.snapshot(now) for model, each in self.by_model.items()}}
