"""What users write, and what must not pass a type check. Checked by pyright and mypy in strict mode, never run.

A line with two ignores is wrong on purpose: both checkers have to find its error, or they complain of the comment.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import attrs
import msgspec
import pydantic

import bifrost
from bifrost import (
    DROP,
    AdaptiveConfig,
    AssistantMessage,
    AttemptRecord,
    Bifrost,
    BifrostError,
    CallContext,
    CallTimeoutError,
    ChatRequest,
    ChatResponse,
    Chunk,
    ChunkStream,
    DefaultOptions,
    EmbeddingResponse,
    EnvAccount,
    Explanation,
    Key,
    MapResult,
    Message,
    ModelGroup,
    ModelsResponse,
    OutputType,
    ParsedResponse,
    ParsedStream,
    Plugin,
    ProviderConfig,
    ProviderError,
    ProviderInfo,
    ProviderStats,
    ProviderTable,
    RateLimitError,
    Reasoning,
    ResponseFormat,
    RetryConfig,
    StaticAccount,
    Stats,
    StreamInterruptedError,
    StreamReset,
    SyncBifrost,
    Timeouts,
    Tool,
    ToolCall,
    Usage,
)
from bifrost.operations.completions import CompletionChunk, CompletionResponse
from bifrost.operations.moderations import ModerationResponse
from bifrost.operations.rerank import RerankResponse
from bifrost.operations.token_count import TokenCountResponse
from bifrost.providers.base import Provider
from bifrost.providers.compatible import speaks_openai
from bifrost.routing.balance import NamedT, Random, Snapshot, Weighted
from bifrost.sync import SyncChunkStream, SyncMapIterator
from bifrost.testing import (
    Cassette,
    Fault,
    FaultPlan,
    FaultRule,
    FaultRun,
    LoopbackProvider,
    MockCall,
    MockTransport,
    assert_called,
    assert_no_secret,
    attempts_of,
    run_virtual,
    virtual_backends,
)


async def a_chat(client: Bifrost) -> None:
    reply = await client.chat("openai/gpt-4o-mini", "Say hello", fallbacks=["anthropic/claude-haiku-4-5"])
    assert_type(reply, ChatResponse)
    assert_type(reply.text, str)
    assert_type(reply.message, AssistantMessage)
    assert_type(reply.tool_calls, list[ToolCall])
    assert_type(reply.usage, Usage)
    assert_type(reply.attempts, list[AttemptRecord])
    assert_type(reply.choices[0].message.content, str | None)
    assert_type(reply.usage.prompt_tokens, int)
    assert_type(reply.elapsed, float)


async def in_openais_words(client: Bifrost) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
    reply = await client.chat(
        model="openai/gpt-4o-mini",
        messages=messages,
        temperature=0.5,
        max_completion_tokens=100,
        stop="END",
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_object"},
        reasoning_effort="low",
        web_search_options={"search_context_size": "low"},
        extra={"openai": {"x": 1}},
    )
    await client.chat("openai/gpt-4o-mini", [*messages, reply.message, {"role": "user", "content": "go on"}])


async def in_our_words(client: Bifrost) -> None:
    await client.chat(
        "openai/gpt-4o-mini",
        [Message(role="user", content="hi"), AssistantMessage(), {"role": "user", "content": "hi"}],
        system="Be kind.",
        tools=[Tool(name="f", parameters={"type": "object"})],
        tool_choice="required",
        response_format=ResponseFormat(type="json_object"),
        reasoning=Reasoning(effort="low"),
        timeout=30,
        max_retries=0,
        extra_headers={"X-Team": "blue"},
        key="main",
        session="anna",
        temperature=None,
    )


async def a_stream(client: Bifrost) -> None:
    async with client.stream_chat("anthropic/claude-sonnet-4-5", "Tell me a story", temperature=1.0) as stream:
        assert_type(stream, ChunkStream[Chunk, ChatResponse])
        async for text in stream.text_stream:
            assert_type(text, str)
        async for chunk in stream:
            assert_type(chunk, Chunk)
        assert_type(await stream.final(), ChatResponse)
        assert_type(stream.partial, ChatResponse)


async def a_stream_that_may_begin_anew(client: Bifrost) -> None:
    async with client.stream_chat("openai/gpt-4o-mini", "Tell me a story", on_interrupt="restart") as stream:
        async for chunk in stream:
            assert_type(chunk, Chunk)
            if isinstance(chunk, StreamReset):
                assert_type(chunk.partial, ChatResponse)
                assert_type(chunk.attempt, int)
                assert_type(chunk.reason, str)
    assert_type(client.with_options(on_interrupt="restart"), Bifrost)
    Bifrost(on_interrupt="restart")
    client.stream_chat("openai/gpt-4o-mini", "hi", on_interrupt="again")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.chat("openai/gpt-4o-mini", "hi", on_interrupt="restart")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def other_operations(client: Bifrost) -> None:
    vectors = await client.embed("openai/text-embedding-3-small", ["a", "b"], dimensions=256)
    assert_type(vectors, EmbeddingResponse)
    assert_type(vectors.vectors, list[list[float]])
    await client.embed("openai/text-embedding-3-small", "a")
    await client.embed("openai/text-embedding-3-small", [[1, 2, 3]])
    assert_type(await client.list_models("openai", limit=10), ModelsResponse)
    completion = await client.complete("openai/gpt-3.5-turbo-instruct", ["a"], max_tokens=5, stop="x")
    assert_type(completion, CompletionResponse)
    async with client.stream_complete("openai/gpt-3.5-turbo-instruct", "a", n=2) as stream:
        async for chunk in stream:
            assert_type(chunk, CompletionChunk)
        assert_type(await stream.final(), CompletionResponse)
    await client.complete("openai/a", "b", temprature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    count = await client.count_tokens("openai/gpt-4.1-mini", "hi", system="be kind", temperature=0.5)
    assert_type(count, TokenCountResponse)
    assert_type(count.input_tokens, int)
    await client.count_tokens("openai/gpt-4.1-mini", "hi", output=int)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    moderation = await client.moderate("openai/omni-moderation-latest", ["a", "b"])
    assert_type(moderation, ModerationResponse)
    assert_type([result.flagged for result in moderation.results], list[bool])
    await client.moderate(
        "openai/omni-moderation-latest", [{"type": "text", "text": "a"}], images=["https://a.example"]
    )
    ranking = await client.rerank("cohere/rerank-v3.5", "a query", ["a", "b"], top_n=1)
    assert_type(ranking, RerankResponse)
    assert_type(ranking.order, list[int])
    await client.rerank("cohere/rerank-v3.5", "a query", [{"title": "a", "content": "b"}], return_documents=True)
    await client.moderate("openai/omni-moderation-latest", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def errors(client: Bifrost) -> float | None:
    try:
        await client.chat("openai/gpt-4o-mini", "hi")
    except RateLimitError as error:
        return error.retry_after
    except CallTimeoutError as error:
        return 0.0 if error.phase == "queue" else None
    except StreamInterruptedError as error:
        assert_type(error.received_events, int)
        assert_type(error.provider_error, ProviderError | None)
    except BifrostError as error:
        for attempt in error.attempts:
            assert_type(attempt, AttemptRecord)
        for other in error.errors:
            assert_type(other, BifrostError)
    return None


def clients() -> None:
    Bifrost()
    Bifrost(EnvAccount())
    Bifrost(EnvAccount(providers=[speaks_openai("some-host", "https://some.example/v1", "SOMEHOST_API_KEY")]))
    client = Bifrost(
        StaticAccount(
            keys={"openai": "sk-...", "anthropic": [Key(name="main", value="sk-...", weight=0.5, models=["claude-*"])]},
            configs={"openai": ProviderConfig(timeouts=Timeouts(connect=2), retry=RetryConfig(max_retries=1))},
        ),
        models={"fast": ["openai/gpt-4o-mini", ("anthropic/claude-haiku-4-5", 0.3)]},
        plugins=[DefaultOptions(temperature=0.2, stop="END", response_format={"type": "json_object"})],
        timeout=60,
    )
    assert_type(client.with_options(timeout=5, fallbacks=["openai/gpt-4o"]), Bifrost)
    assert_type(client.with_options(session="anna"), Bifrost)
    assert_type(client.plugins, tuple[Plugin, ...])


class OfMyOwn:
    """An account whose methods wait."""

    async def providers(self) -> list[str]:
        return ["openai"]

    async def keys(self, provider: str, call: CallContext | None) -> list[Key]:
        return [Key(name="mine", value="sk-...")]

    async def config(self, provider: str) -> ProviderConfig:
        return ProviderConfig()


class HalfOfIt:
    """An account that has no keys."""

    def providers(self) -> list[str]:
        return ["openai"]


def accounts() -> None:
    Bifrost(OfMyOwn())
    Bifrost(account=HalfOfIt())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Rules(Plugin):
    """A plugin with hooks of all kinds: plain and async, that look and that change."""

    name = "rules"
    timeout = 1.0
    on_error = "fail"

    def before_call(self, call: CallContext, request: Any) -> None:
        call.fallbacks = ("anthropic/claude-haiku-4-5",)
        call.tenant = "blue"

    async def before(self, call: CallContext, request: Any) -> ChatRequest | ChatResponse | None:
        return request if isinstance(request, ChatRequest) else None

    def after(self, call: CallContext, outcome: Any) -> None:
        for attempt in call.attempts:
            assert_type(attempt, AttemptRecord)

    def on_chunk(self, call: CallContext, chunk: Chunk) -> Any:
        return chunk if chunk.text else DROP


async def plugins_at_run_time(client: Bifrost) -> None:
    await client.add_plugin(Rules(), before="default_options")
    await client.reorder_plugins(["default_options", "rules"])
    await client.remove_plugin("rules")


async def providers_at_run_time(client: Bifrost, row: Provider, key: Key) -> None:
    await client.add_provider("groq", keys="gsk-1")
    await client.add_provider(row, keys=[key], config=ProviderConfig(concurrency=8, adaptive=AdaptiveConfig(start=2)))
    await client.update_provider("groq", keys=["gsk-1", "gsk-2"])
    await client.update_provider("groq", config=lambda config: config.replace(concurrency=8))
    assert_type(ChatResponse.of("hello"), ChatResponse)
    assert_type(ChatResponse.of("hello").replace(id="x"), ChatResponse)
    assert_type(ProviderConfig().replace(concurrency=8), ProviderConfig)
    await client.remove_provider("groq", drain=5)
    await client.refresh("openai", "groq")


# --- structured output


class Point(msgspec.Struct):
    x: int


@attrs.define
class Place:
    name: str


@dataclass
class Person:
    name: str


class Pair(TypedDict):
    first: int


class Page(pydantic.BaseModel):
    title: str


async def answers_of_a_type(client: Bifrost) -> None:
    reply = await client.chat("openai/gpt-4o-mini", "hi", output=Point, max_output_retries=1, temperature=0)
    assert_type(reply, ParsedResponse[Point])
    assert_type(reply.parsed, Point)
    assert_type(reply.text, str)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=Place)).parsed, Place)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=Person)).parsed, Person)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=Pair)).parsed, Pair)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=Page)).parsed, Page)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=int)).parsed, int)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=list[Point])).parsed, list[Point])
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=dict[str, float])).parsed, dict[str, float])
    either = OutputType[Point | Person](Point | Person)
    assert_type((await client.chat("openai/gpt-4o-mini", "hi", output=either)).parsed, Point | Person)
    assert_type(await client.chat("openai/gpt-4o-mini", "hi", output=None), ChatResponse)


async def streams_of_a_type(client: Bifrost) -> None:
    stream = client.stream_chat("openai/gpt-4o-mini", "hi", output=Point)
    assert_type(stream, ParsedStream[Point])
    assert_type((await stream.final()).parsed, Point)
    assert_type(client.stream_chat("openai/gpt-4o-mini", "hi"), ChunkStream[Chunk, ChatResponse])


def answers_of_a_type_without_await(client: SyncBifrost) -> None:
    assert_type(client.chat("openai/gpt-4o-mini", "hi", output=Place).parsed, Place)
    assert_type(client.chat("openai/gpt-4o-mini", "hi", output=Pair, max_output_retries=2).parsed, Pair)
    assert_type(client.chat("openai/gpt-4o-mini", "hi"), ChatResponse)
    assert_type(client.stream_chat("openai/gpt-4o-mini", "hi", output=Page).final().parsed, Page)


def everything_without_await(client: SyncBifrost, requests: list[ChatRequest]) -> None:
    SyncBifrost(EnvAccount(), models={"fast": ["openai/gpt-4o-mini"]}, timeout=60, on_interrupt="restart")
    SyncBifrost(tiemout=60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(client.chat("openai/gpt-4o-mini", "hi", temperature=0.5, system="Be kind.", timeout=5), ChatResponse)
    client.chat("openai/gpt-4o-mini")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.chat("openai/gpt-4o-mini", "hi", temprature=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.chat("openai/gpt-4o-mini", "hi", temperature="hot")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    with client.stream_chat("openai/gpt-4o-mini", "hi", on_interrupt="restart") as stream:
        assert_type(stream, SyncChunkStream[Chunk, ChatResponse])
        assert_type([chunk.text for chunk in stream], list[str])
        assert_type(list(stream.text_stream), list[str])
        assert_type(stream.final(), ChatResponse)
        assert_type(stream.partial, ChatResponse)
        list(stream.partial_stream)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    with client.stream_chat("openai/gpt-4o-mini", "hi", output=Point) as points:
        assert_type(points, SyncChunkStream[Chunk, ParsedResponse[Point]])
        assert_type(list(points.partial_stream), list[Any])
        assert_type(points.final().parsed, Point)
    assert_type(client.map(["a"], model="openai/gpt-4o-mini"), SyncMapIterator[str, ChatResponse])
    assert_type(client.map(requests, output=Place), SyncMapIterator[ChatRequest, ParsedResponse[Place]])
    assert_type(client.embed("openai/text-embedding-3-small", ["a"], dimensions=8), EmbeddingResponse)
    client.embed("openai/text-embedding-3-small")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(client.list_models("openai", limit=10), ModelsResponse)
    assert_type(client.complete("openai/gpt-3.5-turbo-instruct", "a", key="main"), CompletionResponse)
    with client.stream_complete("openai/gpt-3.5-turbo-instruct", "a") as completion:
        assert_type(completion.final(), CompletionResponse)
    assert_type(client.count_tokens("openai/gpt-4.1-mini", "hi", key="main"), TokenCountResponse)
    assert_type(client.moderate("openai/omni-moderation-latest", "a", key="main"), ModerationResponse)
    assert_type(client.rerank("cohere/rerank-v3.5", "a query", ["a"], key="main"), RerankResponse)
    assert_type(client.explain("openai/gpt-4o-mini", "hi", stream=True), Explanation)
    assert_type(client.with_options(timeout=5), SyncBifrost)
    assert_type(client.refresh("openai"), None)
    client.add_plugin(Rules(), before="default_options")
    client.update_provider("groq", config=lambda config: config.replace(concurrency=8))
    with ThreadPoolExecutor() as pool:
        assert_type(pool.submit(client.embed, "openai/text-embedding-3-small", "a").result(), EmbeddingResponse)
        assert_type(pool.submit(lambda: client.chat("openai/gpt-4o-mini", "hi")).result(), ChatResponse)


# --- groups, and what a client tells


async def maps(client: Bifrost, sync_client: SyncBifrost, requests: list[ChatRequest]) -> None:
    async with client.map(["a", "b"], model="openai/gpt-4o-mini", concurrency=3, temperature=0.5) as results:
        async for result in results:
            assert_type(result, MapResult[str, ChatResponse])
            assert_type(result.response, ChatResponse | None)
            assert_type(result.error, BifrostError | None)
            assert_type((result.index, result.input, result.unwrap().text), tuple[int, str, str])
    async for page in client.map(requests, output=Page, max_output_retries=1, ordered=True):
        assert_type(page.input, ChatRequest)
        assert_type(page.unwrap().parsed, Page)
    for point in sync_client.map([{"messages": "hi"}], model="openai/gpt-4o-mini", output=Point):
        assert_type(point.unwrap().parsed, Point)
    client.map(["a"], model="openai/gpt-4o-mini", temprature=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.map([7], model="openai/gpt-4o-mini")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def groups() -> None:
    Bifrost(models={"fast": ModelGroup(["openai/gpt-4o-mini", ("azure/mini", 0.3)], balance="least_busy")})
    ModelGroup(["openai/gpt-4o-mini"], balance=LeastCalls())


class LeastCalls:
    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        return min(candidates.items, key=lambda member: snapshot.loads[member.name].busy)


async def reports(client: Bifrost, sync_client: SyncBifrost) -> None:
    stats = client.stats()
    assert_type(stats, Stats)
    assert_type(stats.providers["openai"], ProviderStats)
    assert_type(stats.providers["openai"].connections.reuse, float | None)
    assert_type(stats.providers["openai"].limit, int | None)
    assert_type(sync_client.stats(), Stats)
    assert_type(await client.providers(), ProviderTable)
    assert_type(sync_client.providers()[0], ProviderInfo)
    told = await client.explain("openai/gpt-4o-mini", "hi", stream=True, temperature=0.5, output=int, key="main")
    assert_type(told, Explanation)
    assert_type(told.candidates[0].keys[0].share, float)
    assert_type(sync_client.explain("openai/gpt-4o-mini", "hi"), Explanation)


# --- what must not pass


async def wrong_option_names(client: Bifrost) -> None:
    await client.chat("openai/gpt-4o", "hi", temprature=0.5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.chat("openai/gpt-4o", "hi", stream=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.stream_chat("openai/gpt-4o", "hi", max_token=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.embed("openai/x", "hi", dimension=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.list_models("openai", page=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.with_options(temperature=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Bifrost(time_out=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    DefaultOptions(temprature=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def wrong_values(client: Bifrost) -> None:
    await client.chat("openai/gpt-4o", 7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.chat("openai/gpt-4o", "hi", temperature="hot")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.chat("openai/gpt-4o", "hi", verbosity="loud")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.chat("openai/gpt-4o", "hi", timeout="5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.chat("openai/gpt-4o", "hi", extra_headers=["x"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.chat(7, "hi")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Bifrost(plugins=[Rules])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    ModelGroup(["openai/gpt-4o-mini"], balance="fastest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.explain("openai/gpt-4o-mini", "hi", temprature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.chat("openai/gpt-4o", "hi", max_output_retries=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    Bifrost("openai")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def what_a_stream_is_not(client: Bifrost) -> None:
    await client.stream_chat("openai/gpt-4o", "hi")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    for _ in client.stream_chat("openai/gpt-4o", "hi"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass


def positional(client: Bifrost) -> None:
    client.stream_chat("openai/gpt-4o", "hi", "a system prompt")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def a_reply_is_frozen(client: Bifrost) -> None:
    reply = await client.chat("openai/gpt-4o", "hi")
    reply.id = "mine"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    _ = reply.txt  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


def what_is_not_public() -> None:
    _ = bifrost.Dispatcher  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


async def _answer(number: int) -> str:
    return str(number)


def the_test_kit(mock: MockTransport, server: LoopbackProvider, reply: ChatResponse, error: BifrostError) -> None:
    rule = FaultRule(provider="openai", sequence=(Fault.fail(429, retry_after="soon"), None), until=60)
    plan = FaultPlan(seed=1, rules=(rule, FaultRule(chances=((0.5, Fault.slow(delay=(0.1, 1.0))),))))
    assert_type(mock.inject(plan), FaultRun)
    assert_type(server.inject(FaultPlan.storm(0.3, seed=1)).played, list[Fault])
    assert_type(FaultPlan.from_json(plan.to_json()), FaultPlan)
    FaultRule(chance=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Fault(kind="meteor")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert_type(assert_called(mock, times=1, endpoint="chat"), list[MockCall])
    assert_type(attempts_of(reply), list[str])
    attempts_of(error)
    assert_no_secret(error, reply, secrets=["sk-test-a"])

    assert_type(run_virtual(_answer, 3, backend="trio"), str)
    assert_type(virtual_backends()[0][1], dict[str, Any])

    with Cassette("x.json", record="once", redact=["Ann"]) as cassette:
        assert_type(cassette, Cassette)
        Bifrost(transport=cassette)
    Cassette("x.json", record="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
