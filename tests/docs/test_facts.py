"""What the pages state of settings, errors and faults is what the code does."""

from __future__ import annotations

import builtins
import re
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

import bifrost
import bifrost.testing
from bifrost import BifrostError, CallOptions, CallTimeoutError, Key, ProviderConfig, Timeouts
from bifrost.config import _RESERVED_HEADERS, check_headers
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.usage import Usage
from bifrost.providers.base import ErrorBody
from bifrost.routing.classify import error_of
from bifrost.routing.retry import RULES
from bifrost.testing import MockTransport, fake_key, no_waits, run_virtual
from tests.docs.tables import DOCS, rows
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost import Bifrost

pytestmark = pytest.mark.anyio

FAULTS = "what-happens-when.md"
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}

# --- names


@table("page", [page for page in TEXTS if not page.startswith("from-")])
def test_an_error_that_a_page_names_is_one(page: str) -> None:
    ours = TEXTS[page].replace("openai.", "")
    named = set(re.findall(r"`(?:bifrost\.)?([A-Z]\w+Error)\b[^`]*`", ours))
    assert {
        name for name in named if not any(hasattr(place, name) for place in (bifrost, bifrost.testing, builtins))
    } == set()


_SETTING = re.compile(r"`(?:(timeouts|retry|size_limits|connections)\.)?([a-z_]+)` \((\d[\d.]*)\)")


def default_of(part: str, name: str) -> Any:
    whole: Any = ProviderConfig() if part or hasattr(ProviderConfig(), name) else CallOptions()
    return getattr(getattr(whole, part) if part else whole, name)


@table("page", [FAULTS, "concurrency.md", "scaling.md", "security.md"])
def test_a_default_that_a_page_tells_is_the_default(page: str) -> None:
    told = _SETTING.findall(TEXTS[page])
    for part, name, value in told:
        assert default_of(part, name) == float(value), f"{part}.{name}"
    for name in re.findall(r"`((?:timeouts|retry|size_limits|connections)\.[a-z_]+)`", TEXTS[page]):
        assert default_of(*name.split(".")) is not None
    assert told or page == "security.md"


def test_the_table_of_concurrency_has_its_defaults() -> None:
    table = rows("concurrency.md", "Workers and the queue")
    assert len(table) == 7
    for name, default, _ in table:
        value = default_of("", name.strip("`"))
        assert default.strip('`"') == ("none" if value is None else str(value))


def test_the_limits_of_the_security_page_are_the_limits() -> None:
    table = rows("security.md", "How much is accepted")
    told = {setting.strip("`"): int(re.findall(r"\d+", default)[0]) for _, default, setting in table if setting}
    assert told == {
        **{f"size_limits.{name}": value for name, value in attrs.asdict(ProviderConfig().size_limits).items()},
        "retry.longest_wait": ProviderConfig().retry.longest_wait,
    }


def test_the_limits_without_a_setting_are_those_of_the_code() -> None:
    from bifrost.errors import MESSAGE_LIMIT
    from bifrost.providers import sizes
    from bifrost.wire import body
    from bifrost.wire.http.response import FIELDS_LIMIT, HEAD_LIMIT

    told = {row[0]: re.findall(r"\d+", row[1]) for row in rows("security.md", "How much is accepted") if not row[2]}
    fixed = [
        [HEAD_LIMIT, FIELDS_LIMIT],
        [body._BOMB_SIZE, body._BOMB_RATIO],
        [
            sizes.CHOICES_LIMIT,
            sizes.PARTS_LIMIT,
            sizes.VECTORS_LIMIT,
            sizes.NUMBERS_LIMIT,
            sizes.MODELS_LIMIT,
        ],
        [MESSAGE_LIMIT],
    ]
    assert [list(map(int, numbers)) for numbers in told.values()] == fixed


def test_the_headers_that_are_refused_stand_on_the_security_page() -> None:
    section = TEXTS["security.md"].partition("### Your own headers")[2].partition("```")[0]
    assert set(re.findall(r"`([a-z-]+)`", section)) == _RESERVED_HEADERS
    for name in _RESERVED_HEADERS:
        with pytest.raises(bifrost.ConfigError):
            check_headers({name.title(): "x"}, where="here")


# --- what follows which status


def statuses() -> list[tuple[int, list[str]]]:
    found: list[tuple[int, list[str]]] = []
    for told, *rest in rows(FAULTS, "The provider returns an error"):
        if len(rest) != 2 or not rest[1].endswith("Error`"):
            break  # The second table begins.
        for part in told.replace("any other 4xx", "418").replace("any other 5xx", "599").split(", "):
            first, _, last = part.partition("-")
            found += [(status, rest) for status in range(int(first), int(last or first) + 1)]
    return found


@table(("status", "row"), statuses(), ids=[str(status) for status, _ in statuses()])
def test_what_follows_a_status_is_what_the_table_says(status: int, row: list[str]) -> None:
    does, error_name = row
    error = error_of(status, ErrorBody(message=""), headers=None, provider="p", model="m", key="k", now_wall=0.0)
    rule = RULES[error.category]
    assert type(error).__name__ == error_name.strip("`")
    assert ("nother key" in does) == rule.other_key
    assert ("same" in does and "not tried" not in does) == rule.same_key
    assert ("once" in does.replace("at once", "")) == rule.once
    assert ("fallback" in does) == rule.fallback


def test_every_status_that_is_judged_stands_in_the_table() -> None:
    from bifrost.routing.classify import _STATUSES

    assert set(_STATUSES) <= {status for status, _ in statuses()}


# --- faults, played


def quick(mock: MockTransport, **options: Any) -> Bifrost:
    """A client for whom every wait is short."""
    timeouts = Timeouts(connect=0.02, write=0.02, first_token=0.1, idle_bytes=0.05, idle_events=0.05)
    account = mock.account_with({"openai": ["only"]}, configs={"openai": ProviderConfig(timeouts=timeouts)})
    return mock.client(account, **options)


PLAYED: Mapping[str, Callable[[MockTransport], object]] = {
    "connection refused, no such host": lambda mock: mock.refuse().always(),
    "the connection is not opened in time": lambda mock: mock.black_hole().always(),
    "the connection breaks, or does not speak HTTP": lambda mock: mock.garbage().always(),
    "a complete response takes long": lambda mock: mock.hang().always(),
    "empty, HTML, cut off, not JSON, without content": lambda mock: mock.empty().always(),
}


@table("row", PLAYED)
async def test_a_fault_ends_in_the_error_of_its_row(row: str) -> None:
    table = {
        cells[0]: cells
        for section in ("No response arrives", "The response is unusable")
        for cells in rows(FAULTS, section)
    }
    mock = MockTransport()
    PLAYED[row](mock)
    with no_waits():
        async with quick(mock, **({"timeout": 0.05} if row.startswith("a complete response") else {})) as client:
            with pytest.raises(BifrostError) as caught:
                await client.chat("openai/gpt-4o-mini", "Hello")
    named = re.findall(r"`(\w+Error)`", table[row][2])
    assert type(caught.value).__name__ in named
    if isinstance(caught.value, CallTimeoutError):
        assert f'"{caught.value.phase}"' in table[row][2]
    once, waits = "once" in table[row][1], "after a wait" in table[row][1] or table[row][1] == "The same"
    assert len(caught.value.attempts) == (2 if once else 3 if waits else 1)


@table("fault", ["cut", "stall", "malformed_event", "error_event"])
async def test_a_stream_that_fails_before_its_first_content_is_tried_again_unseen(fault: str) -> None:
    mock = MockTransport()
    step = mock.stream(["a", "b"])
    match fault:
        case "cut":
            step.cut(after_events=0)
        case "stall":
            step.stall(after_events=0)
        case _:
            getattr(step, fault)(at=0)
    mock.stream(["one ", "two"])
    with no_waits():
        async with quick(mock) as client, client.stream_chat("openai/gpt-4o-mini", "Hello") as stream:
            assert (await stream.final()).text == "one two"


@table("fault", ["cut", "stall", "malformed_event", "error_event"])
async def test_a_stream_that_fails_after_it_is_interrupted(fault: str) -> None:
    mock = MockTransport()
    step = mock.stream(["one ", "two"])
    match fault:
        case "cut" | "stall":
            getattr(step, fault)(after_events=1)
        case _:
            getattr(step, fault)(at=1)
    async with quick(mock) as client, client.stream_chat("openai/gpt-4o-mini", "Hello") as stream:
        with pytest.raises(bifrost.StreamInterruptedError) as caught:
            await stream.final()
    assert caught.value.partial.text == "one "
    assert caught.value.__cause__ is not None
    assert len(mock.calls) == 1


COMMITS: Mapping[str, Chunk] = {
    "text": Chunk(choices=[ChunkChoice(delta=Delta(content="a"))]),
    "a refusal": Chunk(choices=[ChunkChoice(delta=Delta(refusal="no"))]),
    "reasoning": Chunk(choices=[ChunkChoice(delta=Delta(reasoning="hm"))]),
    "signature": Chunk(choices=[ChunkChoice(delta=Delta(signature="s"))]),
    "a piece of a tool call": Chunk(choices=[ChunkChoice(delta=Delta(tool_calls=[ToolCallDelta(index=0)]))]),
    "usage": Chunk(usage=Usage(input_tokens=1)),
    "a finish reason": Chunk(choices=[ChunkChoice(finish_reason="stop")]),
}
"""Chunks that commit a stream, by their words on the page."""


@table("words", COMMITS)
def test_what_commits_a_stream_is_what_the_page_says(words: str) -> None:
    section = TEXTS["streaming.md"].partition("## When a stream is committed")[2].partition("\n## ")[0]
    assert words in section
    assert COMMITS[words].has_content


def test_a_role_and_the_head_of_a_message_commit_nothing() -> None:
    assert not Chunk(id="c1", model="m", choices=[ChunkChoice(delta=Delta(role="assistant"))]).has_content


UNREAD = 400
"""How long a reader stays away, in seconds: more than `consumer_idle`."""

OVERDUE: Mapping[str, tuple[str, dict[str, Any], float]] = {
    "idle_bytes": ("body", {}, 0),
    "consumer_idle": ("stream", {}, UNREAD),
    "timeout": ("stream", {"timeout": 20}, 0),
}
"""What runs out in an open stream: the phase, the call's options, and how long its reader stays away."""


async def read(stream: Any, away: float) -> None:
    """Read a stream to its end, and stay away after each chunk."""
    async for _ in stream:
        await anyio.sleep(away)


@table("limit", OVERDUE)
@table("backend", ["asyncio", "trio"])
def test_a_timeout_in_an_open_stream_interrupts_it(limit: str, backend: Any) -> None:
    phase, options, away = OVERDUE[limit]
    mock = MockTransport()
    mock.stream(["one ", "two"]).stall(after_events=1)

    async def main() -> None:
        async with mock.client() as client, client.stream_chat("openai/gpt-4o-mini", "Hello", **options) as stream:
            with pytest.raises(bifrost.StreamInterruptedError) as caught:
                await read(stream, away)
        assert isinstance(caught.value.__cause__, CallTimeoutError)
        assert caught.value.__cause__.phase == phase

    run_virtual(main, backend=backend)


async def test_a_timeout_before_the_first_content_is_a_timeout() -> None:
    mock = MockTransport()
    mock.stream(["one ", "two"]).stall(after_events=0).always()
    async with quick(mock, max_retries=0) as client:
        with pytest.raises(CallTimeoutError) as caught:
            await client.stream_chat("openai/gpt-4o-mini", "Hello").__aenter__()
    assert caught.value.phase == "first_token"


async def test_a_stale_resend_is_recorded_and_does_not_count() -> None:
    mock = MockTransport()
    mock.reply("one").then.reset().then.reply("two")
    async with mock.client(max_retries=0) as client:
        await client.chat("openai/gpt-4o-mini", "Hello")
        reply = await client.chat("openai/gpt-4o-mini", "Hello")
    assert [attempt.category for attempt in reply.attempts] == ["stale", None]


async def test_a_wait_that_is_too_long_is_not_slept_through() -> None:
    mock = MockTransport()
    mock.fail(429, retry_after=ProviderConfig().retry.longest_wait + 1)
    with anyio.fail_after(5):
        async with mock.client() as client:
            with pytest.raises(bifrost.RateLimitError) as caught:
                await client.chat("openai/gpt-4o-mini", "Hello")
    assert caught.value.retry_after == 61


@table(("status", "keys"), [(503, ["first"]), (429, ["first"]), (401, ["first", "second"])])
async def test_a_provider_that_says_not_to_try_again_is_asked_again_only_with_another_key(
    status: int, keys: list[str]
) -> None:
    mock = MockTransport()
    for _ in keys:
        mock.on(provider="openai").fail(status, headers={"x-should-retry": "false"})
    mock.on(provider="anthropic").reply("Hello")
    account = mock.account_with(
        {
            "openai": [
                Key(name=name, value=fake_key(name), weight=weight) for name, weight in (("first", 1), ("second", 0))
            ],
            "anthropic": ["other"],
        }
    )
    async with mock.client(account) as client:
        reply = await client.chat("openai/gpt-4o-mini", "Hello", fallbacks=["anthropic/claude-haiku-4-5"])
    assert [attempt.key for attempt in reply.attempts] == [*keys, "other"]


def test_the_loggers_are_those_of_the_security_page() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (DOCS.parent / "bifrost").rglob("*.py"))
    page = " ".join(TEXTS["security.md"].split())
    told = re.findall(r"`(bifrost\.[a-z]+)` (?:says once|that a hook|that the account)", page)
    assert set(re.findall(r'getLogger\("([\w.]+)"\)', code)) == set(told)
