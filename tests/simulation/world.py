"""What happens in a simulated run, as a value that a seed decides: who asks what when, who leaves, what goes wrong.

Pure: a world is drawn, printed and drawn again. `run` lets it happen.
"""

from __future__ import annotations

from random import Random
from typing import Literal, TypeAlias

import msgspec

from bifrost.testing import Fault, FaultPlan, FaultRule

Kind: TypeAlias = Literal["plain", "stream", "left", "dropped"]
"""How an answer is asked for: whole, read piece by piece, read in part, or forgotten in the middle."""
Style: TypeAlias = Literal["scope", "task", "wait_for"]
"""How a caller is made to leave. Where there is no such way, by its scope."""

PROVIDERS = ("openai", "anthropic", "groq")
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "groq": "llama-3.1-8b-instant"}
SPAN = 120.0
"""Over how many virtual seconds the calls of a run begin."""
ATTEMPTS_TOTAL = 6

FAULTS = (
    *(fault for fault in Fault.one_of_each() if fault.kind != "oversize"),
    Fault.oversize(200_000),
    Fault.fail(429, retry_after=90),
    Fault.fail(429, headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0.5s"}),
    Fault.fail(503, headers={"x-should-retry": "false"}),
    Fault.fail(400, headers={"x-should-retry": "true"}),
    Fault.fail(307, headers={"location": "https://elsewhere.example/"}),
    Fault.slow(delay=(20.0, 200.0)),
    Fault.error_event(after_events=2, status=429),
    Fault.reset(after_events=1),
    Fault.stall(after_events=2),
)
"""What can go wrong with an attempt, one as likely as another."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider is used, for a while."""

    keys: tuple[str, ...]
    concurrency: int
    queue: int
    on_full: Literal["wait", "drop"]
    queue_timeout: float | None
    max_retries: int
    retry_sent: Literal["until_first_token", "never"]
    first_token: float
    idle: float
    hedged: Literal["not", "with_another_key", "with_any_key"]
    adaptive: int | None
    """Where the limit of exchanges at once begins; `None`: it does not move."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A provider gets other settings while calls run; or is taken out for a while, and comes back."""

    at: float
    provider: str
    settings: Settings
    away: float | None = None


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """A caller loses patience."""

    after: float
    style: Style


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Its number is in its question, and comes back in its answer."""

    number: int
    at: float
    kind: Kind
    models: tuple[str, ...]
    """The model and its fallbacks."""
    timeout: float
    words: int
    take: int
    """Of an answer read in part: so many chunks."""
    pace: float
    """Seconds that the reader of a stream lets pass between chunks."""
    leave: Leave | None

    @property
    def question(self) -> str:
        return f"{self.number}:{self.words}"

    @property
    def answer(self) -> str:
        return answer_to(self.question)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    seed: int
    providers: dict[str, Settings]
    asks: tuple[Ask, ...]
    changes: tuple[Change, ...]
    faults: FaultPlan
    close_at: float | None
    """When the client is closed while calls run; `None`: after the last."""
    drain: float
    guard: Literal["skip", "fail"]
    """What the plugin that breaks now and then does to its calls."""


def answer_to(question: str) -> str:
    """Say what a sound provider answers."""
    number, _, words = question.partition(":")
    return " ".join([f"<{number}>", *(f"w{word}" for word in range(int(words)))])


def world_of(seed: int, *, calls: int = 40) -> World:
    """Draw a run."""
    chance = Random(seed)
    providers = {name: _settings(chance, name) for name in PROVIDERS}
    return World(
        seed=seed,
        providers=providers,
        asks=tuple(_ask(chance, number) for number in range(calls)),
        changes=tuple(_change(chance) for _ in range(chance.randint(0, 6))),
        faults=_faults(chance, seed),
        close_at=chance.uniform(10, SPAN) if chance.random() < 0.3 else None,
        drain=chance.choice((0.0, 5.0, 60.0)),
        guard=chance.choice(("skip", "fail")),
    )


def slowed(world: World) -> World:
    """Give the same run with providers that take their time now and then, and with room for hedges."""
    replace = msgspec.structs.replace

    def roomy(name: str, settings: Settings) -> Settings:
        return replace(
            settings,
            keys=tuple(f"{name}-{number}" for number in range(2)),
            concurrency=8,
            max_retries=max(1, settings.max_retries),
            retry_sent="until_first_token",
            hedged="with_any_key",
        )

    late = (0.3, Fault.slow(delay=(0.5, 10.0)))
    return replace(
        world,
        providers={name: roomy(name, settings) for name, settings in world.providers.items()},
        changes=tuple(
            replace(change, settings=roomy(change.provider, change.settings)) if change.at < SPAN / 2 else change
            for change in world.changes
        ),
        faults=replace(
            world.faults,
            rules=tuple(
                rule if rule.until is not None else replace(rule, chances=(*rule.chances, late))
                for rule in world.faults.rules
            ),
        ),
    )


def shortened(world: World, factor: float, *, longest: float) -> World:
    """Return the same run with all times multiplied by `factor`; no call takes longer than `longest`."""
    replace = msgspec.structs.replace

    def settings(each: Settings) -> Settings:
        return replace(
            each,
            queue_timeout=None if each.queue_timeout is None else each.queue_timeout * factor,
            first_token=max(0.5, each.first_token * factor),
            idle=max(0.5, each.idle * factor),
        )

    def ask(each: Ask) -> Ask:
        leave = None if each.leave is None else replace(each.leave, after=each.leave.after * factor)
        timeout = min(longest, max(0.3, each.timeout * factor))
        return replace(each, at=each.at * factor, timeout=timeout, pace=each.pace * factor, leave=leave)

    def change(each: Change) -> Change:
        away = None if each.away is None else each.away * factor
        return replace(each, at=each.at * factor, settings=settings(each.settings), away=away)

    def rule(each: FaultRule) -> FaultRule:
        chances = tuple((chance, _faster(fault, factor)) for chance, fault in each.chances)
        until = None if each.until is None else each.until * factor
        return replace(each, since=each.since * factor, until=until, chances=chances)

    return replace(
        world,
        providers={name: settings(each) for name, each in world.providers.items()},
        asks=tuple(map(ask, world.asks)),
        changes=tuple(map(change, world.changes)),
        faults=replace(world.faults, rules=tuple(map(rule, world.faults.rules))),
        close_at=None if world.close_at is None else world.close_at * factor,
        drain=world.drain * factor,
    )


def _faster(fault: Fault, factor: float) -> Fault:
    return msgspec.structs.replace(fault, delay=_scaled(fault.delay, factor), pace=_scaled(fault.pace, factor))


def _scaled(span: float | tuple[float, float], factor: float) -> float | tuple[float, float]:
    return (span[0] * factor, span[1] * factor) if isinstance(span, tuple) else span * factor


def _settings(chance: Random, name: str) -> Settings:
    return Settings(
        keys=tuple(f"{name}-{number}" for number in range(chance.randint(1, 3))),
        concurrency=chance.choice((1, 2, 3, 8)),
        queue=chance.choice((0, 1, 3, 100)),
        on_full=chance.choice(("wait", "drop")),
        queue_timeout=chance.choice((None, None, 5.0)),
        max_retries=chance.choice((0, 1, 2, 2, 4)),
        retry_sent=chance.choice(("until_first_token", "until_first_token", "never")),
        first_token=chance.choice((5.0, 30.0, 120.0)),
        idle=chance.choice((2.0, 60.0)),
        hedged=chance.choice(("not", "with_another_key", "with_any_key")),
        adaptive=chance.choice((None, 1, 2, 8)),
    )


def _change(chance: Random) -> Change:
    name = chance.choice(PROVIDERS)
    return Change(
        at=chance.uniform(0, SPAN),
        provider=name,
        settings=_settings(chance, name),
        away=chance.uniform(0.5, 10) if chance.random() < 0.2 else None,
    )


def _ask(chance: Random, number: int) -> Ask:
    names = chance.sample(PROVIDERS, chance.choice((1, 1, 2, 3)))
    # Half of them come in a crowd, so that queues fill.
    at = chance.uniform(0, SPAN) if chance.random() < 0.5 else chance.choice((5.0, 50.0)) + chance.uniform(0, 0.5)
    leave = None
    if chance.random() < 0.25:
        leave = Leave(after=chance.choice((0.0, chance.uniform(0, 2), chance.uniform(0, 40))), style=_style(chance))
    return Ask(
        number=number,
        at=at,
        kind=chance.choices(("plain", "stream", "left", "dropped"), (10, 6, 2, 1))[0],
        models=tuple(f"{name}/{MODELS[name]}" for name in names),
        timeout=chance.choice((2.0, 15.0, 60.0, 600.0)),
        words=chance.randint(1, 12),
        take=chance.randint(1, 3),
        pace=chance.choice((0.0, 0.0, 0.5, 10.0)),
        leave=leave,
    )


def _style(chance: Random) -> Style:
    return chance.choice(("scope", "task", "wait_for"))


def _faults(chance: Random, seed: int) -> FaultPlan:
    """A weather of its own for each provider, and for one of them an outage."""
    rules: list[FaultRule] = []
    down = chance.choice((*PROVIDERS, None))
    if down is not None:
        since = chance.uniform(0, SPAN / 2)
        fault = chance.choice((Fault.refuse(), Fault.black_hole(), Fault.fail(503), Fault.stall()))
        rules.append(FaultRule(provider=down, since=since, until=since + 30, chances=((1.0, fault),)))
    for name in PROVIDERS:
        rate = chance.choice((0.0, 0.1, 0.3, 0.6))
        rules.append(FaultRule(provider=name, chances=tuple((rate / len(FAULTS), fault) for fault in FAULTS)))
    return FaultPlan(seed=seed, rules=tuple(rules))
