"""Random set-ups of providers in trouble, half of them with model groups, and what a plan of `explain` allows."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from bifrost import BifrostError, BreakerConfig, Key, ModelGroup, ProviderConfig, StaticAccount
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, fake_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost import Bifrost, Explanation
    from bifrost.reports.explanation import PlannedCandidate
    from bifrost.testing import MockCall

ALONE = "openai/a"
MEMBERS = (ALONE, "openai/b", "groq/c", "anthropic/d", "mistral/e")
SPARE = ("deepseek/x", "xai/y")
PROVIDERS = ("openai", "groq", "anthropic", "mistral", "deepseek", "xai")
STRATEGIES = ("weighted", "least_busy", "round_robin", "two_choices")
KEY_TROUBLES: dict[str, dict[str, Any]] = {
    "dead": {"status": 401},
    "quota": {"status": 402},
    "soon": {"status": 429, "retry_after": 5},
    "late": {"status": 429, "retry_after": 50},
}


@attrs.frozen(kw_only=True)
class Setup:
    """Providers in trouble, and a call."""

    keys: dict[str, dict[str, int]]
    """The weights of each provider's keys."""
    troubles: dict[str, str]
    """The trouble of a key, by its name. Other keys are ready."""
    gone: list[str]
    """Models that their provider does not have."""
    open: list[str]
    """Models whose breaker is open."""
    failing: list[str]
    """Providers that answer every further request with 500."""
    groups: dict[str, ModelGroup]
    model: str
    options: dict[str, Any]
    seed: int


def setup_of(seed: int) -> Setup:
    """Return the set-up of a seed. Half of them call a model, the others a model group."""
    chance = Random(seed)
    grouped = chance.random() < 0.5
    members = chance.sample(MEMBERS, chance.randint(2, 4)) if grouped else [ALONE]
    keys = {
        name: {f"{name}-{letter}": chance.choice((0, 1, 5)) for letter in "abc"[: chance.randint(1, 3)]}
        for name in PROVIDERS
    }
    rate = chance.choice((0.3, 0.7, 0.9))
    used = {model.partition("/")[0] for model in (*members, *SPARE)}
    options: dict[str, Any] = {"max_retries": 0}
    if chance.random() < 0.4:
        options["fallbacks"] = chance.choice((["spare"], [SPARE[0]], list(SPARE)))
    elif not grouped and chance.random() < 0.2:
        options["key"] = chance.choice(list(keys["openai"]))
    if chance.random() < 0.2:
        options["session"] = "talk"
    troubles = {
        key: chance.choice(list(KEY_TROUBLES))
        for name in PROVIDERS
        if name in used
        for key in keys[name]
        if chance.random() < (rate if name not in ("deepseek", "xai") else 0.3)
    }
    pairs = [(model, chance.choice((0.25, 1.0, 3.0))) for model in members]
    return Setup(
        keys=keys,
        troubles=troubles,
        gone=[model for model in members if chance.random() < 0.15],
        open=[model for model in (*members, *SPARE) if chance.random() < 0.15],
        failing=[name for name in PROVIDERS if chance.random() < 0.35],
        groups={
            "fast": ModelGroup(pairs, balance=chance.choice(STRATEGIES)),
            "spare": ModelGroup(list(SPARE), balance=chance.choice(STRATEGIES)),
        },
        model="fast" if grouped else ALONE,
        options=options,
        seed=seed,
    )


def client_of(mock: MockTransport, setup: Setup) -> Bifrost:
    keys = {
        provider: [Key(name=name, value=fake_key(name), weight=weight) for name, weight in weights.items()]
        for provider, weights in setup.keys.items()
    }
    account = StaticAccount(keys=keys, configs=dict.fromkeys(PROVIDERS, ProviderConfig(breaker=BreakerConfig(calls=1))))
    return mock.client(account, models=setup.groups, clock=Clock(random=Random(setup.seed).random))


async def bring_about(mock: MockTransport, client: Bifrost, setup: Setup) -> None:
    """Make the calls that get the providers into trouble."""
    for model in setup.gone:
        await _fail(mock, client, model, next(iter(setup.keys[_provider(model)])), status=404)
    for key, trouble in setup.troubles.items():
        await _fail(mock, client, f"{key.partition('-')[0]}/any", key, **KEY_TROUBLES[trouble])
    for model in setup.open:
        ready = [key for key in setup.keys[_provider(model)] if key not in setup.troubles]
        if ready:
            await _fail(mock, client, model, ready[0], status=503)
    for name in PROVIDERS:
        if name in setup.failing:
            mock.on(provider=name).fail(500).always()
        else:
            mock.on(provider=name).reply("well").always()


async def _fail(mock: MockTransport, client: Bifrost, model: str, key: str, **failure: Any) -> None:
    mock.on(key=key).fail(**failure)
    try:
        await client.chat(model, "hi", key=key, max_retries=0)
    except BifrostError:
        return
    raise AssertionError(f"{model} answered with {key}, and should have failed")


def _provider(model: str) -> str:
    return model.partition("/")[0]


# --- the judgement


class Plan:
    """The plan of a call, against which the call is checked."""

    def __init__(self, explanation: Explanation) -> None:
        self.candidates = explanation.candidates
        self.chosen = explanation.chosen
        last = self.candidates[-1].place
        self.places = [[each for each in self.candidates if each.place == place] for place in range(last + 1)]

    @property
    def first(self) -> tuple[list[PlannedCandidate], list[str]]:
        """The candidates that may be sent to first, and the problems that may end the call before."""
        sent: list[PlannedCandidate] = []
        problems: list[str] = []
        for place in self.places:
            likely = [each for each in place if each.share != 0]
            served = [each for each in likely if each.problem is None]
            sent += served
            problems += [each.problem for each in likely if each.problem is not None and not each.goes_on]
            refused = [each for each in likely if each.problem is not None and each.goes_on]
            if refused:
                sent += [each for each in place if each.problem is None and each.passed_over is None]
            if likely and len(refused) < len(likely):
                break
        else:
            sent += [each for each in self.candidates if each.passed_over is not None and each.problem is None]
        return sent, problems

    def assert_followed(self, sent: Sequence[MockCall], answer: Any) -> None:
        """Check the requests that were sent, in their order, and the outcome of the call."""
        for place in self.places:
            assert round(sum(each.share or 0 for each in place), 9) in (0, 1)
        assert (self.chosen is None) == (not sent)
        possible, problems = self.first
        if not sent:
            assert isinstance(answer, BifrostError)
            assert problems or not possible
            # If several candidates are refused, the error of the first is raised.
            assert answer.message in [each.problem for each in self.candidates]
            return
        first = self.candidate(sent[0])
        assert first in possible
        assert first is self.chosen or len(possible) > 1
        keys = {key.name for key in first.keys if key.share}
        assert sent[0].key in keys or not keys
        assert sent[0].http.body == first.body
        if first.passed_over is None and all(key.state in (None, "ready") for key in first.keys if key.share):
            self._assert_order(sent, answer)

    def _assert_order(self, sent: Sequence[MockCall], answer: Any) -> None:
        """Check that candidates that can serve are tried place by place, and those that were passed over last."""
        asked = [self.candidate(call) for call in sent]
        ranks = [_rank(each) for each in asked]
        assert ranks == sorted(ranks)
        failed = {each.provider for each in (asked if isinstance(answer, BifrostError) else asked[:-1])}
        for each in self.candidates:
            if each.passed_over is None and each.problem is None and _rank(each) < ranks[-1]:
                # If another model of its provider has failed, its breaker may have opened.
                assert each in asked or each.provider in failed

    def candidate(self, call: MockCall) -> PlannedCandidate:
        """Return the planned candidate that a request went to."""
        (found,) = [each for each in self.candidates if (each.provider, each.model) == (call.provider, call.model)]
        return found


def _rank(candidate: PlannedCandidate) -> tuple[bool, int]:
    return candidate.passed_over is not None, candidate.place
