"""`Bifrost`: one client object over many providers. One short method per operation; the path itself is in `engine`."""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast, overload

from bifrost.account import Account, EnvAccount
from bifrost.config import CallOptions, check_headers
from bifrost.engine.clock import Clock
from bifrost.engine.core import DRAIN, Engine
from bifrost.engine.map import Inputs, MapCalls, MapIterator, check_concurrency, check_inputs
from bifrost.engine.stand_in import Engines
from bifrost.errors import ConfigError, InvalidRequestError
from bifrost.misplaced_keys import hides_keys, is_surely_key
from bifrost.operations.chat.operation import CHAT
from bifrost.operations.chat.options import (
    ChatArguments,
    ChatOptions,
    StreamArguments,
    chat_request,
    map_request,
    model_named,
)
from bifrost.operations.chat.structured.lowering import lower
from bifrost.operations.chat.structured.output_type import OutputType, OutputTypes
from bifrost.operations.embeddings import EMBEDDINGS, embedding_request
from bifrost.operations.models import MODELS, models_request
from bifrost.operations.moderations import MODERATIONS, moderation_request
from bifrost.operations.other_libraries import OF_A_CLIENT, Elsewhere, explains_arguments, no_attribute
from bifrost.providers.own_json import check_extra, check_own_json
from bifrost.routing.plan import ModelGroups
from bifrost.telemetry.subscribers import Subscribers
from bifrost.transport import Transport, as_transport
from bifrost.uncopyable import Uncopyable

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import TypeAlias

    from bifrost.account import ConfigEntry, KeyEntries
    from bifrost.config import OnInterrupt, ProviderConfig
    from bifrost.engine.host import Host
    from bifrost.engine.parsed_stream import ParsedStream
    from bifrost.engine.stream import ChunkStream
    from bifrost.operations.chat.chunks import Chunk
    from bifrost.operations.chat.openai_form import AnyPrompt
    from bifrost.operations.chat.request import ChatRequest, ChatResponse
    from bifrost.operations.chat.structured.lowering import ParsedResponse
    from bifrost.operations.embeddings import EmbeddingResponse
    from bifrost.operations.models import ModelsResponse
    from bifrost.operations.moderations import ModerationResponse
    from bifrost.plugins.base import Plugin
    from bifrost.providers.base import Provider
    from bifrost.reports.explanation import Explanation
    from bifrost.reports.providers import ProviderTable
    from bifrost.reports.stats import Stats
    from bifrost.routing.plan import GroupForm
    from bifrost.telemetry.records import Record
    from bifrost.telemetry.subscribers import Subscription

    BeginMap: TypeAlias = Callable[[MapCalls, Inputs | None], Awaitable[Host]]

__version__ = "0.2.0"

T = TypeVar("T")
InputT = TypeVar("InputT", bound="AnyPrompt | ChatRequest | Mapping[str, Any]")


class Bifrost(Uncopyable):
    """An in-process gateway to many AI providers.

        async with Bifrost() as client:  # keys come from the environment
            reply = await client.chat("openai/gpt-4o-mini", "Say hello", fallbacks=["anthropic/claude-haiku-4-5"])
            print(reply.text)

    It opens on first use; `async with`, or `close()`, ends it in order. One client serves any number of concurrent
    calls of one event loop (asyncio or trio).

    Args:
        account: Providers, keys and settings; by default what the environment has (`EnvAccount`).
        models: Names of your own for models, each standing for one or several: `{"fast": ["openai/gpt-4o-mini",
            ("anthropic/claude-haiku-4-5", 0.3)]}` (a number is a weight). A `ModelGroup` also says how one of
            them is chosen.
        plugins: Hooks around every call, in order.
        transport: An httpx transport (shared as it is), a function that makes one per connection, or a
            `Transport`.
        timeout: The most a call may take, in seconds, everything included.
        max_retries: Further attempts per provider after the first; `None`: the provider's setting (2).
        fallbacks: `provider/model` names to try when the first cannot serve.
        extra_headers: Sent with every request.
        on_interrupt: What follows when a stream breaks after its first content: `"raise"` the error, or `"restart"` the
            stream as far as retries and fallbacks allow it (see `stream_chat`).
        clock: Time and chance, for tests.

    Raises `ConfigError` for settings that cannot work.
    """

    @hides_keys
    @explains_arguments
    def __init__(
        self,
        account: Account | None = None,
        *,
        models: Mapping[str, GroupForm] | None = None,
        plugins: Sequence[Plugin] = (),
        transport: Any = None,
        timeout: float = 600.0,
        max_retries: int | None = None,
        fallbacks: Sequence[str] = (),
        extra_headers: Mapping[str, str] | None = None,
        on_interrupt: OnInterrupt = "raise",
        clock: Clock | None = None,
    ) -> None:
        self._options = CallOptions(
            timeout=timeout,
            max_retries=max_retries,
            fallbacks=_names(fallbacks),
            extra_headers=extra_headers or {},
            on_interrupt=on_interrupt,
        )
        groups, clock, telemetry = _groups(models), clock or Clock(), Subscribers()

        def make(account: Account | None, transport: Transport | None, plugins: Sequence[Plugin]) -> Engine:
            return Engine(
                EnvAccount() if account is None else account,
                groups=groups,
                plugins=plugins,
                transport=as_transport(None) if transport is None else transport,
                clock=clock,
                user_agent=f"bifrost-llm/{__version__}",
                telemetry=telemetry,
            )

        self._engines = Engines(
            make,
            account=None if account is None else _account(account),
            transport=None if transport is None else as_transport(transport),
            plugins=plugins,
        )
        self._telemetry = telemetry
        self._outputs = OutputTypes()

    @classmethod
    @hides_keys
    def from_file(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Make a client from a TOML or JSON file, the Go gateway's `config.json` included.

        `overrides` are arguments of the class that take the place of the file's. What the file says and this library
        has no counterpart for is told in one warning.

        Raises `ConfigError` that names the path of every wrong field, `MissingKeyError` for a variable that is not set.
        """
        # Imported on first use: few clients come from a file.
        from bifrost.settings import load

        settings = load(path)
        if settings.notes:
            warnings.warn(f"{os.fspath(path)}: " + "; ".join(settings.notes), stacklevel=2)
        return cls(**{**settings.arguments(), **overrides})

    # --- operations

    @overload
    async def chat(
        self, model: str, messages: AnyPrompt, *, output: None = None, **options: Unpack[ChatArguments]
    ) -> ChatResponse: ...
    @overload
    async def chat(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: type[T] | OutputType[T],
        max_output_retries: int = 0,
        **options: Unpack[ChatArguments],
    ) -> ParsedResponse[T]: ...
    @overload
    async def chat(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: Any,
        max_output_retries: int = 0,
        **options: Unpack[ChatArguments],
    ) -> ParsedResponse[Any]: ...
    @hides_keys
    async def chat(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: Any = None,
        max_output_retries: int = 0,
        system: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatResponse:
        """Ask a model and wait for its whole answer.

        Args:
            model: `provider/model`, or a bare name: one of the client's `models`, or one that a key lists.
            messages: Text, one message, or a list; a message is a `Message` or an OpenAI-form dict.
            output: The type that the answer must have, found in its `parsed`: a msgspec Struct, attrs class, dataclass,
                TypedDict, pydantic model, or builtins of these.
            max_output_retries: How often a model whose answer does not fit `output` is told so and asked again.
            system: A shortcut for a system message in front.
            timeout: The most this call may take, in seconds.
            max_retries: Further attempts per provider after the first.
            fallbacks: `provider/model` names to try when the first cannot serve.
            extra_headers: Sent with this call's requests.
            key: Use the key of this name or id only.
            session: Any text; calls of the same session use the same key as long as it is ready.
            **options: See `ChatOptions`.

        Raises `BifrostError`: see the tree in `bifrost.errors`. `attempts` on it tells what was tried. An answer that
        does not fit `output` raises `OutputValidationError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        request = chat_request(_model(model), messages, system=system, options=options)
        if options:
            check_own_json(request)
        wanted, request = self._wanted(output, request)
        _check_reasks(max_output_retries, wanted)
        response: ChatResponse = await self._engines.now().run(
            CHAT, request, call, output=wanted, max_output_retries=max_output_retries
        )
        return response

    @overload
    def stream_chat(
        self, model: str, messages: AnyPrompt, *, output: None = None, **options: Unpack[StreamArguments]
    ) -> ChunkStream[Chunk, ChatResponse]: ...
    @overload
    def stream_chat(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: type[T] | OutputType[T],
        **options: Unpack[StreamArguments],
    ) -> ParsedStream[T]: ...
    @overload
    def stream_chat(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: Any,
        **options: Unpack[StreamArguments],
    ) -> ParsedStream[Any]: ...
    @hides_keys
    def stream_chat(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: Any = None,
        system: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        on_interrupt: OnInterrupt | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChunkStream[Chunk, ChatResponse]:
        """Ask a model and take its answer as it comes. The arguments are those of `chat`, without `max_output_retries`.

            async with client.stream_chat("anthropic/claude-sonnet-4-5", "Tell me a story") as stream:
                async for text in stream.text_stream:
                    print(text, end="")
                reply = await stream.final()

        With `output=` the stream has a `partial_stream` as well, and the final answer `parsed`.
        With `on_interrupt="restart"` a stream that breaks after its first content begins anew, here or at a fallback,
        as often as retries allow: iterate it, and at each `StreamReset` throw away what came before.
        Raises `BifrostError` on entering the block; `StreamInterruptedError` while reading.
        """
        call = self._call(
            timeout, max_retries, fallbacks, extra_headers, key, session=session, on_interrupt=on_interrupt
        )
        request = chat_request(_model(model), messages, system=system, options=options)
        if options:
            check_own_json(request)
        wanted, request = self._wanted(output, request)
        return self._engines.now().stream(CHAT, request, call, output=wanted)

    @overload
    def map(
        self,
        inputs: Iterable[InputT] | AsyncIterable[InputT],
        *,
        model: str | None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        output: None = None,
        **options: Unpack[ChatArguments],
    ) -> MapIterator[InputT, ChatResponse]: ...
    @overload
    def map(
        self,
        inputs: Iterable[InputT] | AsyncIterable[InputT],
        *,
        model: str | None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        output: type[T] | OutputType[T],
        max_output_retries: int = 0,
        **options: Unpack[ChatArguments],
    ) -> MapIterator[InputT, ParsedResponse[T]]: ...
    @overload
    def map(
        self,
        inputs: Iterable[InputT] | AsyncIterable[InputT],
        *,
        model: str | None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        output: Any,
        max_output_retries: int = 0,
        **options: Unpack[ChatArguments],
    ) -> MapIterator[InputT, ParsedResponse[Any]]: ...
    @hides_keys
    def map(
        self,
        inputs: Iterable[InputT] | AsyncIterable[InputT],
        *,
        model: str | None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        output: Any = None,
        max_output_retries: int = 0,
        system: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> MapIterator[InputT, ChatResponse]:
        """Ask once for each of many inputs, and return the results as they come. For bulk work of any size.

            async with client.map(prompts, model="openai/gpt-4o-mini") as results:
                async for result in results:
                    print(result.index, result.response.text if result.ok else result.error)

        An input is taken, and its `timeout` begins, only when one of the places is free, so memory stays constant and
        no call spends its time in a queue of its own client. A call that fails is a result like any other, with
        `error` set; the others go on. What the iteration of the inputs raises is raised behind the last result.

        Args:
            inputs: Any iterable, async or not, also an endless one. An input is what `chat` takes as `messages`, a
                `ChatRequest`, or a dict in OpenAI's form with `messages` and options of its own.
            model: Where inputs go that name no model themselves.
            concurrency: How many calls run at once; without it as many as the provider's `concurrency` allows for now
                (of several providers, the smallest).
            ordered: Whether results come in the order of the inputs rather than as they are ready.
            output: As in `chat`.
            max_output_retries: As in `chat`.
            system: As in `chat`.
            timeout: The most one of the calls may take, in seconds.
            max_retries: As in `chat`.
            fallbacks: As in `chat`.
            extra_headers: As in `chat`.
            key: As in `chat`.
            session: As in `chat`; all calls are of the same session.
            **options: As in `chat`; they fill in what an input leaves open.

        At most twice as many inputs as there are places are taken and not read yet. Leaving the block cancels what is
        under way.

        Raises `InvalidRequestError` for arguments that no call could be made with; on entering the block, or with the
        first result, what a call of `model` would raise before it is sent (`UnknownProviderError`, say).
        """
        check_inputs(inputs)
        calls, begin = self._map(
            model,
            concurrency,
            ordered=ordered,
            output=output,
            max_output_retries=max_output_retries,
            system=system,
            call=self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session),
            options=options,
        )
        return MapIterator(calls, begin, Inputs(inputs))

    @hides_keys
    async def embed(
        self,
        model: str,
        input: str | Sequence[str] | Sequence[Sequence[int]],  # noqa: A002 - OpenAI's name
        *,
        dimensions: int | None = None,
        encoding_format: str | None = None,
        user: str | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> EmbeddingResponse:
        """Turn texts into vectors, in the order of the texts.

        A fallback must be a model whose vectors can be compared with the first one's. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = embedding_request(
            _model(model),
            input,
            dimensions=dimensions,
            encoding_format=encoding_format,
            user=user,
            extra=extra,
        )
        response: EmbeddingResponse = await self._engines.now().run(EMBEDDINGS, request, call)
        return response

    @hides_keys
    async def list_models(
        self,
        provider: str,
        *,
        limit: int | None = None,
        after: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> ModelsResponse:
        """Ask a provider which models it has: one page, with `next` to give as `after` for the page behind it.

        Raises `BifrostError`; there are no fallbacks here.
        """
        call = self._call(timeout, max_retries, (), extra_headers, key)
        request = models_request(provider, limit=limit, after=after)
        response: ModelsResponse = await self._engines.now().run(MODELS, request, call)
        return response

    @hides_keys
    async def moderate(
        self,
        model: str,
        input: str | Sequence[str] | Sequence[Mapping[str, Any]],  # noqa: A002 - OpenAI's name
        *,
        images: Sequence[str] | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ModerationResponse:
        """Classify texts, and pictures beside them, as harmful or not.

            reply = await client.moderate("openai/omni-moderation-latest", ["I will hurt you", "A nice day"])
            print([result.flagged for result in reply.results])

        Each text has a result of its own. With `images` (`https:` or `data:` URLs), or pictures in `input` in OpenAI's
        form, there is one result for everything together. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = moderation_request(_model(model), input, images=images, extra=extra)
        response: ModerationResponse = await self._engines.now().run(MODERATIONS, request, call)
        return response

    # --- what it tells

    def stats(self) -> Stats:
        """Tell what the client is doing and has done since it opened, provider by provider.

        It costs nothing but the reading of counters, and may be asked in any state and from any thread. Print it, or
        end a notebook's cell with it.
        """
        return self._engine.stats()

    async def providers(self) -> ProviderTable:
        """Tell how the client's providers are set up: address, operations, keys by name, limits.

        One that cannot be used as it is set up has the reason in its row. Opens the client and asks its account.
        """
        return await self._engine.providers()

    @hides_keys
    async def explain(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        output: Any = None,
        stream: bool = False,
        system: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Explanation:
        """Tell what `chat` (with `stream`: `stream_chat`) would do with these arguments, and send nothing.

        For each candidate in order: who may be chosen and how likely that is, the keys by name, the address, the names
        of the headers, what the provider's dialect leaves out or refuses, the queue as it is now, times and retries.
        No chance is drawn, no turn taken, nothing counted.

        Opens the client and asks its account. Plugins' hooks are **not** run, since they may reserve, count or answer;
        `plugins` on the result names them and the hooks that a call would pass.

        Raises what a call would raise before it comes to a candidate: `InvalidRequestError`, `UnknownProviderError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        request = chat_request(_model(model), messages, system=system, options=options)
        wanted, request = self._wanted(output, request)
        return await self._engine.explain(CHAT, request, call, is_stream=stream, output=wanted)

    # --- options and plugins

    @hides_keys
    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        on_interrupt: OnInterrupt | None = None,
    ) -> Self:
        """Give a client with other defaults that shares everything else: pools, plugins, life."""
        copy = object.__new__(type(self))
        copy._options = self._call(
            timeout, max_retries, fallbacks, extra_headers, key, session=session, on_interrupt=on_interrupt
        )
        copy._engines = self._engines
        copy._outputs = self._outputs
        copy._telemetry = self._telemetry
        return copy

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plugins in order."""
        return self._engine.chain.plugins

    def subscribe(self, function: Callable[[Record], object]) -> Subscription:
        """Pass a record of each event to a function: calls, attempts, committed streams, keys, breakers, full queues.

            with client.subscribe(print):
                await client.chat("openai/gpt-4o-mini", "Say hello")

        The function is called at once, on the event loop, so it must be quick, and it cannot be `async`. If it raises,
        the first failure is logged and no call is harmed. The subscription ends with the block, or with its `cancel()`.
        `bifrost.telemetry` has the records. Copies of the client (`with_options`) report to the same subscribers.

        Raises `ConfigError` if it is no plain function.
        """
        return self._telemetry.add(function)

    @hides_keys
    async def add_plugin(self, plugin: Plugin, *, before: str | None = None) -> None:
        """Add a plugin at the end, or before the one named; one of the same name is replaced.

        Running calls keep the plugins they started with.
        """
        await self._engine.change_plugins(lambda chain: chain.with_plugin(plugin, before=before))

    @hides_keys
    async def remove_plugin(self, name: str) -> None:
        """Take a plugin out and close it. Raises `ConfigError` if there is none of this name."""
        await self._engine.change_plugins(lambda chain: chain.without(name))

    @hides_keys
    async def reorder_plugins(self, names: Sequence[str]) -> None:
        """Put the plugins in another order. Raises `ConfigError` unless every name stands once."""
        await self._engine.change_plugins(lambda chain: chain.ordered(names))

    # --- providers

    @hides_keys
    async def add_provider(
        self, provider: str | Provider, *, keys: KeyEntries | None = None, config: ProviderConfig | None = None
    ) -> None:
        """Add a provider, of the catalog by its name or a row of your own, beside those of the account.

        Raises `ConfigError`, or a kind of it, if it is there already or cannot work; then nothing changes.
        """
        try:
            change = await self._engine.account.added(provider, keys=keys, config=config)
        finally:
            del keys  # It may hold values as plain text, and a traceback may print the locals of this frame.
        await self._engine.change_provider(_name(provider), change)

    @hides_keys
    async def update_provider(
        self, provider: str | Provider, *, keys: KeyEntries | None = None, config: ConfigEntry | None = None
    ) -> None:
        """Change what is given of a provider while calls run: its keys, its settings, or its row.

        `config` takes the place of all its settings, the address included. To change some of them, give a function that
        makes the new ones of those that it has: `config=lambda config: attrs.evolve(config, concurrency=64)`.

        Nothing gets lost. Calls in flight finish as they began, calls in the queue go on under the new settings. A
        lower `concurrency` takes effect as calls finish.

        Raises `ConfigError`, or a kind of it, for what cannot work; then nothing changes.
        """
        try:
            change = await self._engine.account.updated(provider, keys=keys, config=config)
        finally:
            del keys  # As above.
        await self._engine.change_provider(_name(provider), change)

    @hides_keys
    async def remove_provider(self, name: str, *, drain: float = DRAIN) -> None:
        """Take a provider out: its queued calls are refused, so that they fall back, and running ones finish.

        Returns when they have, after `drain` seconds at the latest. Raises `ConfigError` if there is none of this name.
        """
        await self._engine.change_provider(name, await self._engine.account.removed(name), drain=drain)

    @hides_keys
    async def refresh(self, *providers: str) -> None:
        """Ask the account again which providers there are, and for the settings of those named (of all if none is).

        Call it when your account has other answers than before; keys are asked for on every call anyway. What changed
        takes effect as with `update_provider` and `remove_provider`. Raises what the account raises; then nothing
        changes.
        """
        await self._engine.refresh(providers or None)

    # --- life

    async def open(self) -> None:
        """Start the client now rather than with its first call. Any number of times."""
        await self._engine.open()

    @hides_keys
    async def warm_up(self, *providers: str, connections: int = 1) -> None:
        """Connect ahead of the first calls: look names up, connect, shake hands in TLS.

        So many connections stand ready afterwards at each of the providers named, or of all; those that are idle
        anyway count. What is not used for `ConnectionConfig.idle` seconds is closed again.

        Raises `UnknownProviderError`, and, when all have been tried, the first of the errors of connecting, with the
        others in its `errors`.
        """
        await self._engine.warm_up(providers, _count(connections))

    async def close(self, *, drain: float = DRAIN) -> None:
        """End the client: refuse new calls, let running ones finish for up to `drain` seconds, then cancel them.

        Callable from any task of the loop, any number of times. Copies made by `with_options` end with it.
        """
        await self._engine.close(drain=drain)

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            # Nobody would leave the block.
            await self.close(drain=0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(drain=DRAIN if kind is None else 0.0)

    def __repr__(self) -> str:
        # It may be asked of a client that is just failing to be made, by whoever prints a traceback's locals.
        if getattr(self, "_engines", None) is None:
            return "Bifrost()"
        return f"Bifrost({self._engine.account!r}, {self._engine.state})"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_A_CLIENT)

    # --- inside

    @property
    def _engine(self) -> Engine:
        return self._engines.now()

    def _map(
        self,
        model: str | None,
        concurrency: int | None,
        *,
        ordered: bool,
        output: Any,
        max_output_retries: int,
        system: str | None,
        call: CallOptions,
        options: ChatOptions,
    ) -> tuple[MapCalls, BeginMap]:
        """Return the calls of a map, and what begins it."""
        if model is not None:
            _model(model)
        check_concurrency(concurrency)
        # What no input can mend is told at once.
        sample = chat_request(model or "any/model", "hello", system=system, options=options)
        check_own_json(sample)
        wanted, _ = self._wanted(output, sample)
        _check_reasks(max_output_retries, wanted)

        async def ask(item: Any) -> ChatResponse:
            request = map_request(item, model=model, system=system, options=options)
            _model(request.model)
            check_own_json(request)
            wanted, request = self._wanted(output, request)
            response: ChatResponse = await self._engines.now().run(
                CHAT, request, call, output=wanted, max_output_retries=max_output_retries
            )
            return response

        calls = MapCalls(ask, concurrency=concurrency, ordered=ordered)
        return calls, partial(self._engine.begin_map, operation=CHAT, options=call, model=model, model_of=model_named)

    def _wanted(self, output: Any, request: ChatRequest) -> tuple[OutputType[Any] | None, ChatRequest]:
        """Give the type that is wanted, and a request that says so: plugins see it, and caches tell types apart."""
        if output is None:
            return None, request
        if request.response_format is not None:
            raise InvalidRequestError("give output= or response_format, not both: output= makes the response format")
        wanted = self._outputs.of(output)
        return wanted, lower(request, wanted, "native")

    def _call(
        self,
        timeout: float | None,
        max_retries: int | None,
        fallbacks: Sequence[str] | None,
        extra_headers: Mapping[str, str] | None,
        key: str | None,
        *,
        session: str | None = None,
        on_interrupt: OnInterrupt | None = None,
    ) -> CallOptions:
        """Give the options of a call: its own, and for the rest this client's."""
        options = self._options
        given = (timeout, max_retries, fallbacks, extra_headers, key, session, on_interrupt)
        if given == _NOTHING:
            return options
        if extra_headers is not None:
            check_headers(extra_headers, where="extra_headers")
        if key is not None and is_surely_key(key):
            raise InvalidRequestError("key= takes a key's name or id, and this looks like its value; see Key(name=...)")
        return CallOptions(
            timeout=options.timeout if timeout is None else timeout,
            max_retries=options.max_retries if max_retries is None else max_retries,
            fallbacks=options.fallbacks if fallbacks is None else _names(fallbacks),
            extra_headers={**options.extra_headers, **(extra_headers or {})},
            key=options.key if key is None else key,
            session=options.session if session is None else session,
            on_interrupt=options.on_interrupt if on_interrupt is None else on_interrupt,
        )


_NOTHING = (None,) * 7
"""A call without options of its own."""


# What OpenAI's client has at this place: a method's attributes are its function's.
Bifrost.chat.completions = Elsewhere(  # type: ignore[attr-defined] # pyright: ignore[reportFunctionMemberAccess]
    "client.chat.completions", "write client.chat(model, messages), or client.stream_chat(...) for a stream"
)


def _names(fallbacks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(fallbacks, str) or not hasattr(fallbacks, "__iter__"):
        raise InvalidRequestError(
            f"fallbacks is a list of 'provider/model' names, not {type(fallbacks).__name__}; write [{fallbacks!r}]"
        )
    return tuple(_model(name, where="fallbacks") for name in fallbacks)


def _model(model: object, *, where: str = "model") -> str:
    if not isinstance(model, str):
        raise InvalidRequestError(
            f"{where}: a model is text, not {type(model).__name__}; write it as 'provider/model', "
            "'openai/gpt-4o-mini' say"
        )
    if not model.strip():
        raise InvalidRequestError(f"{where} is empty; write it as 'provider/model', 'openai/gpt-4o-mini' say")
    if is_surely_key(model):
        raise InvalidRequestError(f"{where}: this looks like a key and not like a model's name; nothing was sent")
    return model


def _name(provider: object) -> str:
    return provider if isinstance(provider, str) else cast("Provider", provider).name


def _groups(models: Any) -> ModelGroups:
    if models is not None and not hasattr(models, "items"):
        raise ConfigError(f"models= is a dict of names and lists of models, not {type(models).__name__}")
    return ModelGroups(models or {})


def _account(account: Any) -> Account:
    for method in ("providers", "keys", "config"):
        if isinstance(account, type) or not callable(getattr(account, method, None)):
            hint = '; for keys write Bifrost(StaticAccount(keys={"openai": "..."}))'
            raise ConfigError(
                f"account= takes an object with the methods providers, keys and config (see Account), "
                f"not {account.__name__ if isinstance(account, type) else type(account).__name__}"
                f"{hint if isinstance(account, str | dict) else ''}"
            )
    return cast("Account", account)


def _count(connections: object) -> int:
    if isinstance(connections, bool) or not isinstance(connections, int) or connections < 1:
        raise InvalidRequestError(f"connections= is how many stand ready at each provider, not {connections!r}")
    return connections


def _check_reasks(max_output_retries: int, output: OutputType[Any] | None) -> None:
    if max_output_retries < 0:
        raise InvalidRequestError(f"max_output_retries is a number of answers, 0 or more, not {max_output_retries}")
    if max_output_retries and output is None:
        raise InvalidRequestError(
            "max_output_retries needs a type that an answer can fail to fit: give output= as well"
        )
