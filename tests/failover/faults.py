"""Sixteen faults of a provider, after the catalogue of a public bench, with what it expects of whoever meets them.

One request is made for each fault, at a primary model with one fallback at the same provider. What comes of it is

- `pass`: the caller has the whole answer (or for `content-filter` a clean error), and the conduct was right
- `partial`: the caller was served, and the conduct was not quite right
- `safe`: the caller was not served, and has a typed error within the time
- `fail`: anything else: a hang, a part presented as the whole, a conduct that is not allowed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import anyio
import attrs

from bifrost import Bifrost, BifrostError, ProviderConfig, RetryConfig, StreamReset, Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.testing.calls import MockCall
    from bifrost.testing.rules import Rules

Verdict: TypeAlias = Literal["pass", "partial", "safe", "fail"]

WORDS = " ".join(f"word{number}" for number in range(60))
LIMIT = 30.0
"""What silence may last, in seconds."""


class Outcome(NamedTuple):
    """What the caller, and the provider, saw of one request."""

    text: str | None
    error: BifrostError | None
    seconds: float
    model: str | None
    has_usage: bool
    primary: Sequence[float]
    """When the primary model was asked, in seconds since the request began."""
    fallback: int
    """How often the fallback was asked."""


Check: TypeAlias = "Callable[[Outcome], bool]"


@attrs.frozen(kw_only=True)
class Fault:
    """A fault, and how conduct under it is judged. Times are in seconds, at full length."""

    play: Callable[[Rules, str, float], object]
    """Scripts it for the primary model, with all times in it multiplied."""
    required: Sequence[Check] = ()
    advised: Sequence[Check] = ()
    longest: float = 40.0
    ideal: Literal["answer", "error"] = "answer"
    breaks_late: bool = False
    """The stream breaks after its first content, so a caller who wants no new beginning gets an error with a part."""

    def verdict(self, outcome: Outcome, scale: float) -> Verdict:
        """Judge what came of a request."""
        scaled = outcome._replace(
            seconds=outcome.seconds / scale, primary=[moment / scale for moment in outcome.primary]
        )
        is_whole = outcome.error is None and outcome.text == WORDS
        if scaled.seconds > self.longest or (outcome.error is None and not is_whole):
            return "fail"
        if not all(check(scaled) for check in self.required):
            return "fail"
        if self.ideal == "error":
            return "pass" if outcome.error is not None else "partial"
        if not is_whole:
            return "safe"
        return "pass" if all(check(scaled) for check in self.advised) else "partial"


def asked(least: int, most: int) -> Check:
    """Return whether the primary was asked so often."""
    return lambda seen: least <= len(seen.primary) <= most


def within(seconds: float) -> Check:
    """Return whether the caller waited no longer."""
    return lambda seen: seen.seconds <= seconds


def no_hammering(most: int, seconds: float) -> Check:
    """Return whether the primary was asked no more than so often in the first seconds."""
    return lambda seen: sum(moment - seen.primary[0] < seconds for moment in seen.primary) <= most


def _gap(seen: Outcome) -> bool:
    return len(seen.primary) > 1 and seen.primary[1] - seen.primary[0] >= 1.8


def _named_fallback(seen: Outcome) -> bool:
    return not seen.fallback or (seen.model or "").endswith("small")


def _usage(seen: Outcome) -> bool:
    return seen.has_usage


def _slow_first_token(rules: Rules, model: str, scale: float) -> None:
    # The head comes at once, and each event takes its time.
    rules.on(model=model).reply("late").drip(20 * scale).always()


def _no_done(rules: Rules, model: str, scale: float) -> None:
    chunk = 'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"big","choices":[{}]{}}}\n\n'
    deltas = [f'{{"index":0,"delta":{{"content":"{" " if n else ""}{word}"}}}}' for n, word in enumerate(WORDS.split())]
    events = [chunk.format(delta, "") for delta in deltas]
    events.append(chunk.format('{"index":0,"delta":{},"finish_reason":"stop"}', ""))
    usage = ',"usage":{"prompt_tokens":3,"completion_tokens":60,"total_tokens":63}'
    events.append(chunk.format("", usage))
    rules.on(model=model).raw(200, "".join(events), {"content-type": "text/event-stream"}).always()


FAULTS: dict[str, Fault] = {
    "429 with Retry-After": Fault(
        play=lambda rules, model, scale: (
            rules.on(model=model).fail(429, headers={"retry-after-ms": f"{2000 * scale:g}"}).then.reply(WORDS).always()
        ),
        required=[no_hammering(2, 1.5)],
        advised=[asked(2, 9), _gap],
        longest=20,
    ),
    "429 for good": Fault(
        play=lambda rules, model, _: rules.on(model=model).fail(429).always(),
        required=[no_hammering(4, 3), asked(1, 6)],
    ),
    "500 once": Fault(
        play=lambda rules, model, _: rules.on(model=model).fail(500).then.reply(WORDS).always(),
        advised=[asked(2, 9)],
        longest=20,
    ),
    "503 for good": Fault(
        play=lambda rules, model, _: rules.on(model=model).fail(503).always(),
        required=[asked(1, 6)],
    ),
    "reset before the head": Fault(
        play=lambda rules, model, _: rules.on(model=model).reset().then.reply(WORDS).always(),
        longest=20,
    ),
    "silence": Fault(
        play=lambda rules, model, _: rules.on(model=model).hang().always(),
        required=[within(100)],
        advised=[asked(1, 1)],
        longest=130,
    ),
    "slow first token": Fault(play=_slow_first_token, advised=[within(15)], longest=60),
    "cut": Fault(
        play=lambda rules, model, _: rules.on(model=model).reply(WORDS).cut(after_events=40).always(),
        breaks_late=True,
    ),
    "stall": Fault(
        play=lambda rules, model, _: rules.on(model=model).reply(WORDS).stall(after_events=20).always(),
        required=[within(45)],
        longest=70,
        breaks_late=True,
    ),
    "malformed event": Fault(
        play=lambda rules, model, _: rules.on(model=model).reply(WORDS).malformed_event(at=10).always(),
        longest=30,
        breaks_late=True,
    ),
    "no final marker": Fault(play=_no_done, required=[within(8)], advised=[_usage]),
    "context length": Fault(
        play=lambda rules, model, _: rules.on(model=model).fail(400, code="context_length_exceeded").always(),
        required=[asked(1, 1)],
        longest=20,
    ),
    "content filter": Fault(
        play=lambda rules, model, _: rules.on(model=model).fail(400, code="content_policy_violation").always(),
        required=[asked(1, 1), lambda seen: not seen.fallback],
        longest=20,
        ideal="error",
    ),
    "cut, and no prefill at the fallback": Fault(
        play=lambda rules, model, _: rules.on(model=model).reply(WORDS).cut(after_events=40).always(),
        breaks_late=True,
    ),
    "accounting": Fault(
        play=lambda rules, model, _: rules.on(model=model).fail(503).always(),
        required=[asked(1, 6), _named_fallback],
        advised=[_usage],
    ),
}
"""Fifteen of them. The sixteenth is no single request: a minute's outage (`test_outage.py`)."""


def ends_with_the_assistant(call: MockCall) -> bool:
    """Return whether a request goes on from a part of an answer."""
    return call.json["messages"][-1]["role"] == "assistant"


def fallback(rules: Rules, model: str) -> None:
    """Script the fallback: it answers, and refuses to go on from a part of an answer."""
    rules.when(lambda call: call.model == model and ends_with_the_assistant(call)).fail(400).always()
    rules.on(model=model).reply(WORDS).always()


def config(scale: float, **more: Any) -> ProviderConfig:
    """Return the settings that every system is given: two retries, thirty seconds of silence; else its defaults."""
    limit = LIMIT * scale
    return ProviderConfig(
        retry=RetryConfig(max_retries=2, backoff_base=0.5 * scale),
        timeouts=Timeouts(first_token=limit, idle_bytes=limit, idle_events=limit),
        **more,
    )


class Journal:
    """The provider's own record: which model was asked, and when."""

    def __init__(self, rules: Rules) -> None:
        self.asked: list[tuple[str, float]] = []
        rules.when(self._see).reply("never").always()

    def _see(self, call: MockCall) -> bool:
        self.asked.append((call.model, anyio.current_time()))
        return False


async def ask(
    client: Bifrost, journal: Journal, primary: str, other: str, *, stream: bool = True, **options: Any
) -> Outcome:
    """Make one request, and return what the caller and the provider saw of it."""
    before, began = len(journal.asked), anyio.current_time()
    text, error, reply = None, None, None
    try:
        if stream:
            async with client.stream_chat(primary, "hi", fallbacks=[other], **options) as chunks:
                parts: list[str] = []
                async for chunk in chunks:
                    if isinstance(chunk, StreamReset):
                        parts.clear()
                    parts.append(chunk.text or "")
                reply = await chunks.final()
            assert "".join(parts) == reply.text
        else:
            reply = await client.chat(primary, "hi", fallbacks=[other], **options)
        text = reply.text
    except BifrostError as failure:
        error = failure
    calls, primary_model = journal.asked[before:], primary.partition("/")[2]
    return Outcome(
        text=text,
        error=error,
        seconds=anyio.current_time() - began,
        model=None if reply is None else reply.model,
        has_usage=reply is not None and reply.usage is not None and bool(reply.usage.output_tokens),
        primary=[moment - began for model, moment in calls if model == primary_model],
        fallback=sum(model != primary_model for model, _ in calls),
    )
