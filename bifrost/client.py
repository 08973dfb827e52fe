"""`Bifrost`: one client for many providers, with a short method per operation. The path of a call is in `engine`."""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, cast, overload

from anyio import sleep, to_thread

from bifrost.account import Account, EnvAccount
from bifrost.config import CallOptions, check_headers
from bifrost.engine.clock import Clock
from bifrost.engine.core import DRAIN, Engine
from bifrost.engine.map import Inputs, MapCalls, MapIterator, check_concurrency, check_inputs
from bifrost.engine.polling import until_ended
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
from bifrost.operations.completions import COMPLETIONS, completion_request
from bifrost.operations.embeddings import EMBEDDINGS, embedding_request
from bifrost.operations.images import IMAGES, image_request
from bifrost.operations.models import MODELS, models_request
from bifrost.operations.moderations import MODERATIONS, moderation_request
from bifrost.operations.ocr import OCR, ocr_request
from bifrost.operations.other_libraries import OF_A_CLIENT, Elsewhere, explains_client_arguments, no_attribute
from bifrost.operations.rerank import RERANK, rerank_request, with_documents
from bifrost.operations.speech import SPEECH, speech_request
from bifrost.operations.token_count import COUNT_TOKENS, token_count_request
from bifrost.operations.transcription import TRANSCRIPTIONS, transcription_request
from bifrost.providers.own_json import check_documents, check_extra, check_json_of, check_own_json, check_schemas
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
    from bifrost.engine.streaming.chunk_stream import ChunkStream
    from bifrost.engine.streaming.parsed_stream import ParsedStream
    from bifrost.operations.batches import BatchesResponse, BatchResult
    from bifrost.operations.chat.chunks import Chunk
    from bifrost.operations.chat.content import FilePart, ImagePart
    from bifrost.operations.chat.openai_form import AnyPrompt
    from bifrost.operations.chat.request import ChatRequest
    from bifrost.operations.chat.response import ChatResponse
    from bifrost.operations.chat.structured.parsed_response import ParsedResponse
    from bifrost.operations.completions import CompletionChunk, CompletionOptions, CompletionResponse
    from bifrost.operations.embeddings import EmbeddingResponse
    from bifrost.operations.files import FileContent, FilesResponse
    from bifrost.operations.images import ImageResponse
    from bifrost.operations.models import ModelsResponse
    from bifrost.operations.moderations import ModerationResponse
    from bifrost.operations.ocr import OcrDocument, OcrResponse
    from bifrost.operations.rerank import RerankResponse
    from bifrost.operations.responses.chunks import ResponsesChunk
    from bifrost.operations.responses.compaction import CompactionOptions
    from bifrost.operations.responses.items import Item
    from bifrost.operations.responses.options import (
        AnyInput,
        ResponsesArguments,
        ResponsesOptions,
        ResponsesStreamArguments,
    )
    from bifrost.operations.responses.parsed_response import ParsedResponsesResponse
    from bifrost.operations.responses.request import ResponsesRequest
    from bifrost.operations.responses.response import ResponsesResponse
    from bifrost.operations.speech import SpeechResponse
    from bifrost.operations.token_count import TokenCountResponse
    from bifrost.operations.transcription import AudioInput, TranscriptionResponse
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

    The client opens on first use; `async with`, or `close()`, closes it. One client serves any number of concurrent
    calls on one event loop (asyncio or trio).

    Args:
        account: Providers, keys and settings. Default: those of the environment (`EnvAccount`).
        models: Your own names of models, each for one or several: `{"fast": ["openai/gpt-4o-mini",
            ("anthropic/claude-haiku-4-5", 0.3)]}` (a number is a weight). A `ModelGroup` also sets the policy that
            chooses among them.
        plugins: Hooks around every call, in order.
        transport: An httpx transport (shared by all connections), a function that makes one per connection, or a
            `Transport`. Default: bifrost's own.
        timeout: The time limit of a whole call, in seconds.
        max_retries: Retries per candidate after its first attempt. `None`: the provider's setting (2).
        fallbacks: `provider/model` names to try, in order, when the first model fails.
        extra_headers: Header fields that are added to every request.
        on_interrupt: What happens when a stream breaks after its first content: `"raise"` raises the error, `"restart"`
            restarts the stream within the limits of retries and fallbacks (see `stream_chat`).
        clock: The source of time and random numbers, for tests.

    Raises `ConfigError` for invalid settings.
    """

    _recent: tuple[object, CallOptions | None, CallOptions | None] = ((), None, None)
    """The options of the latest call that had some of its own: its arguments, the client's options, and the result."""

    @hides_keys
    @explains_client_arguments
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
        """Return a client configured by a TOML or JSON file, including the Go gateway's `config.json`.

        `overrides` are arguments of the class that override those of the file. Settings of the file without an
        equivalent are reported in one warning.

        Raises `ConfigError` with the path of every invalid field, and `MissingKeyError` for a variable that is not set.
        """
        # Imported on first use, because few clients are made from a file.
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
        """Send a chat to a model and return its complete response.

            reply = await client.chat("openai/gpt-4o-mini", "Say hello")
            print(reply.text)

        Args:
            model: `provider/model`, or a name without a slash: one of the client's `models`, or one that a key lists.
            messages: Text, one message, or a list; a message is a `Message` or a dict in OpenAI's form.
            output: The type of the output, which is returned in `parsed`: a msgspec Struct, attrs class, dataclass,
                TypedDict, pydantic model, or built-in types of these.
            max_output_retries: How often a model whose response does not match `output` is asked to correct it.
            system: A system message that precedes the others.
            timeout: The time limit of this call, in seconds.
            max_retries: Retries per candidate after its first attempt.
            fallbacks: `provider/model` names to try, in order, when the first model fails.
            extra_headers: Header fields that are added to this call's requests.
            key: The name or id of the only key that may be used.
            session: Any text. Calls of the same session use the same key while it is ready.
            **options: See `ChatOptions`.

        Raises `BifrostError` (`bifrost.errors` shows the tree), whose `attempts` lists the attempts. A response that
        does not match `output` raises `OutputValidationError`.
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
        """Send a chat to a model and stream its response.

        The arguments are those of `chat`, without `max_output_retries`.

            async with client.stream_chat("anthropic/claude-sonnet-4-5", "Tell me a story") as stream:
                async for text in stream.text_stream:
                    print(text, end="")
                reply = await stream.final()

        With `output=` the stream has a `partial_stream` as well, and the final response has `parsed`. With
        `on_interrupt="restart"` a stream that breaks after its first content starts again, at the same candidate or at
        a fallback, within the limits of retries: iterate over it, and discard what came before each `StreamReset`.
        Raises `BifrostError` on entering the block, and `StreamInterruptedError` while reading.
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
    async def respond(
        self, model: str, input: AnyInput, *, output: None = None, **options: Unpack[ResponsesArguments]
    ) -> ResponsesResponse: ...
    @overload
    async def respond(
        self,
        model: str,
        input: AnyInput,
        *,
        output: type[T] | OutputType[T],
        max_output_retries: int = 0,
        **options: Unpack[ResponsesArguments],
    ) -> ParsedResponsesResponse[T]: ...
    @overload
    async def respond(
        self,
        model: str,
        input: AnyInput,
        *,
        output: Any,
        max_output_retries: int = 0,
        **options: Unpack[ResponsesArguments],
    ) -> ParsedResponsesResponse[Any]: ...
    @hides_keys
    async def respond(
        self,
        model: str,
        input: AnyInput,  # noqa: A002 - OpenAI's name
        *,
        output: Any = None,
        max_output_retries: int = 0,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[ResponsesOptions],
    ) -> ResponsesResponse:
        """Send a request of OpenAI's Responses API and return its complete response.

            reply = await client.respond("openai/gpt-5", "Say hello", reasoning={"effort": "low"})
            print(reply.text)

        A provider without this API is asked by its chat. What a chat cannot express raises `UnsupportedError`, or is
        listed in the response's `warnings`.

        Args:
            model: `provider/model`, or a name without a slash: one of the client's `models`, or one that a key lists.
            input: Text, one item, or a list; an item is an `Item`, a `Message`, or a dict in OpenAI's form. The items
                of an earlier response can be sent back: `[*items, *reply.output, ...]`.
            output: The type of the output, which is returned in `parsed`, as in `chat`.
            max_output_retries: How often a model whose response does not match `output` is asked to correct it.
            timeout: The time limit of this call, in seconds.
            max_retries: Retries per candidate after its first attempt.
            fallbacks: `provider/model` names to try, in order, when the first model fails.
            extra_headers: Header fields that are added to this call's requests.
            key: The name or id of the only key that may be used.
            session: Any text. Calls of the same session use the same key while it is ready, which reads the encrypted
                reasoning and the stored responses of the others.
            **options: OpenAI's options, see `ResponsesOptions`.

        Raises `BifrostError`. A response that does not match `output` raises `OutputValidationError`.
        """
        # Imported on first use, here and below, because most programs use chats only.
        from bifrost.operations.responses.operation import RESPONSES

        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        wanted, request = self._responses(model, input, output, options)
        _check_reasks(max_output_retries, wanted)
        response: ResponsesResponse = await self._engines.now().run(
            RESPONSES, request, call, output=wanted, max_output_retries=max_output_retries
        )
        return response

    @overload
    def stream_respond(
        self, model: str, input: AnyInput, *, output: None = None, **options: Unpack[ResponsesStreamArguments]
    ) -> ChunkStream[ResponsesChunk, ResponsesResponse]: ...
    @overload
    def stream_respond(
        self,
        model: str,
        input: AnyInput,
        *,
        output: type[T] | OutputType[T],
        **options: Unpack[ResponsesStreamArguments],
    ) -> ChunkStream[ResponsesChunk, ParsedResponsesResponse[T]]: ...
    @overload
    def stream_respond(
        self,
        model: str,
        input: AnyInput,
        *,
        output: Any,
        **options: Unpack[ResponsesStreamArguments],
    ) -> ChunkStream[ResponsesChunk, ParsedResponsesResponse[Any]]: ...
    @hides_keys
    def stream_respond(
        self,
        model: str,
        input: AnyInput,  # noqa: A002 - OpenAI's name
        *,
        output: Any = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        on_interrupt: OnInterrupt | None = None,
        **options: Unpack[ResponsesOptions],
    ) -> ChunkStream[ResponsesChunk, ResponsesResponse]:
        """Send a request of OpenAI's Responses API and stream its response.

        The arguments are those of `respond`, without `max_output_retries`.

            async with client.stream_respond("openai/gpt-5", "Tell me a story") as stream:
                async for event in stream:
                    print(event.type, event.text)
                reply = await stream.final()

        With `on_interrupt="restart"` a stream that breaks after its first content starts again: discard what came
        before each `ResponsesReset`. Raises `BifrostError` on entering the block, and `StreamInterruptedError` while
        reading.
        """
        from bifrost.operations.responses.operation import RESPONSES

        call = self._call(
            timeout, max_retries, fallbacks, extra_headers, key, session=session, on_interrupt=on_interrupt
        )
        wanted, request = self._responses(model, input, output, options)
        return self._engines.now().stream(RESPONSES, request, call, output=wanted)

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
        """Send a chat for each of many inputs, and return the results as they arrive. Use it for bulk work of any size.

            async with client.map(prompts, model="openai/gpt-4o-mini") as results:
                async for result in results:
                    print(result.index, result.response.text if result.ok else result.error)

        An input is read, and its `timeout` begins, only when a place is free. Memory use is therefore constant, and no
        call waits in a queue of its own client. A call that fails is a result with `error` set; the others continue. An
        exception of the iteration of the inputs is raised after the last result.

        Args:
            inputs: Any iterable, async or not, possibly endless. An input is a value of `messages` as in `chat`, a
                `ChatRequest`, or a dict in OpenAI's form with `messages` and its own options.
            model: The model for inputs that do not name one themselves.
            concurrency: The most calls at once. Default: the provider's current `concurrency` limit (the smallest of
                several providers).
            ordered: Whether results have the order of the inputs. Default: the order in which they are ready.
            output: As in `chat`.
            max_output_retries: As in `chat`.
            system: As in `chat`.
            timeout: The time limit of each call, in seconds.
            max_retries: As in `chat`.
            fallbacks: As in `chat`.
            extra_headers: As in `chat`.
            key: As in `chat`.
            session: As in `chat`; all calls belong to the same session.
            **options: As in `chat`; options of an input take precedence.

        At most twice as many inputs as there are places are in progress or unread. Leaving the block cancels the calls
        in progress.

        Raises `InvalidRequestError` for invalid arguments. On entering the block, or with the first result, it raises
        what a call to `model` raises before it is sent (`UnknownProviderError`, for example).
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
        images: Sequence[str] | None = None,
        dimensions: int | None = None,
        encoding_format: str | None = None,
        output_dtype: str | None = None,
        input_type: str | None = None,
        truncate: Literal["none", "start", "end"] | None = None,
        user: str | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> EmbeddingResponse:
        """Convert texts to vectors, in the order of the texts.

            response = await client.embed("openai/text-embedding-3-small", ["first text", "second text"])
            print(response.vectors)

        `input_type` says what they are for (`"query"`, `"document"`); some models make other vectors of queries than of
        documents. A fallback must be a model whose vectors are comparable with those of the first.

        Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = embedding_request(
            _model(model),
            input,
            images=images,
            dimensions=dimensions,
            encoding_format=encoding_format,
            output_dtype=output_dtype,
            input_type=input_type,
            truncate=truncate,
            user=user,
            extra=extra,
        )
        response: EmbeddingResponse = await self._engines.now().run(EMBEDDINGS, request, call)
        return response

    @hides_keys
    async def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]],
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[CompletionOptions],
    ) -> CompletionResponse:
        """Continue a text, or several. Use it for base models and code models; others expect a conversation (`chat`).

            response = await client.complete("openai/gpt-3.5-turbo-instruct", "def add(a, b):", max_tokens=20)
            print(response.text)

        `CompletionOptions` lists the options, for example `suffix` for text after a gap. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(options.get("extra"))
        request = completion_request(_model(model), prompt, options)
        response: CompletionResponse = await self._engines.now().run(COMPLETIONS, request, call)
        return response

    @hides_keys
    def stream_complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]],
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[CompletionOptions],
    ) -> ChunkStream[CompletionChunk, CompletionResponse]:
        """Continue a text, or several, and stream the response.

            async with client.stream_complete("openai/gpt-3.5-turbo-instruct", "Once upon a time") as stream:
                async for text in stream.text_stream:
                    print(text, end="")

        The arguments are those of `complete`. Raises `BifrostError` on entering the block, and `StreamInterruptedError`
        while reading.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(options.get("extra"))
        request = completion_request(_model(model), prompt, options)
        return self._engines.now().stream(COMPLETIONS, request, call)

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
        """Return a page of a provider's models. Its `next` is the value of `after` for the next page.

        Raises `BifrostError`. There are no fallbacks.
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
        """Classify texts, and images with them, as harmful or not.

            reply = await client.moderate("openai/omni-moderation-latest", ["I will hurt you", "A nice day"])
            print([result.flagged for result in reply.results])

        Each text has its own result. With `images` (`https:` or `data:` URLs), or images in `input` in OpenAI's form,
        there is a single result. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = moderation_request(_model(model), input, images=images, extra=extra)
        response: ModerationResponse = await self._engines.now().run(MODERATIONS, request, call)
        return response

    @hides_keys
    async def generate_image(
        self,
        model: str,
        prompt: str,
        *,
        n: int | None = None,
        size: str | None = None,
        quality: str | None = None,
        style: str | None = None,
        background: Literal["transparent", "opaque", "auto"] | None = None,
        output_format: Literal["png", "jpeg", "webp"] | None = None,
        output_compression: int | None = None,
        moderation: Literal["low", "auto"] | None = None,
        response_format: Literal["url", "b64_json"] | None = None,
        user: str | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ImageResponse:
        """Generate images from a description.

            reply = await client.generate_image("openai/gpt-image-1", "A lighthouse at night", size="1024x1024")
            Path("lighthouse.png").write_bytes(reply.image.data)

        Each image has its bytes in `data`, or its address in `url`, which is not fetched. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = image_request(
            _model(model),
            prompt,
            n=n,
            size=size,
            quality=quality,
            style=style,
            background=background,
            output_format=output_format,
            output_compression=output_compression,
            moderation=moderation,
            response_format=response_format,
            user=user,
            extra=extra,
        )
        response: ImageResponse = await self._engines.now().run(IMAGES, request, call)
        return response

    @hides_keys
    async def speak(
        self,
        model: str,
        input: str,  # noqa: A002 - OpenAI's name
        *,
        voice: str,
        instructions: str | None = None,
        response_format: str | None = None,
        speed: float | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> SpeechResponse:
        """Speak a text.

            reply = await client.speak("openai/gpt-4o-mini-tts", "Good morning!", voice="coral")
            Path("morning.mp3").write_bytes(reply.audio)

        Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = speech_request(
            _model(model),
            input,
            voice=voice,
            instructions=instructions,
            response_format=response_format,
            speed=speed,
            extra=extra,
        )
        response: SpeechResponse = await self._engines.now().run(SPEECH, request, call)
        return response

    @hides_keys
    def stream_speech(
        self,
        model: str,
        input: str,  # noqa: A002 - OpenAI's name
        *,
        voice: str,
        instructions: str | None = None,
        response_format: str | None = None,
        speed: float | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ChunkStream[bytes, SpeechResponse]:
        """Speak a text, and stream the sound as pieces of bytes.

            async with client.stream_speech("openai/gpt-4o-mini-tts", "Good morning!", voice="coral") as stream:
                async for piece in stream:
                    player.write(piece)

        The arguments are those of `speak`. Raises `BifrostError` on entering the block, and `StreamInterruptedError`
        while reading.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        request = speech_request(
            _model(model),
            input,
            voice=voice,
            instructions=instructions,
            response_format=response_format,
            speed=speed,
            extra=extra,
        )
        return self._engines.now().stream(SPEECH, request, call)

    @hides_keys
    async def transcribe(
        self,
        model: str,
        file: AudioInput,
        *,
        filename: str | None = None,
        translate: bool = False,
        language: str | None = None,
        prompt: str | None = None,
        response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] | None = None,
        temperature: float | None = None,
        timestamp_granularities: Sequence[Literal["word", "segment"]] | None = None,
        chunking_strategy: str | None = None,
        known_speaker_names: Sequence[str] | None = None,
        known_speaker_references: Sequence[str] | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> TranscriptionResponse:
        """Write down what is said in a sound, or with `translate` its English translation.

            reply = await client.transcribe("openai/whisper-1", "talk.mp3", response_format="verbose_json")
            print(reply.text, reply.segments)

        `file` is bytes, a path or an open file. A file is read into memory, in a thread. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        make = partial(
            transcription_request,
            _model(model),
            file,
            filename=filename,
            translate=translate,
            language=language,
            prompt=prompt,
            response_format=response_format,
            temperature=temperature,
            timestamp_granularities=timestamp_granularities,
            chunking_strategy=chunking_strategy,
            known_speaker_names=known_speaker_names,
            known_speaker_references=known_speaker_references,
            extra=extra,
        )
        # Bytes need no thread.
        request = make() if isinstance(file, bytes) else await to_thread.run_sync(make)
        response: TranscriptionResponse = await self._engines.now().run(TRANSCRIPTIONS, request, call)
        return response

    @hides_keys
    async def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str] | Sequence[Mapping[str, Any]],
        *,
        top_n: int | None = None,
        max_tokens_per_doc: int | None = None,
        return_documents: bool = False,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> RerankResponse:
        """Order documents by their relevance to a query.

            documents = ["Bern is in Switzerland", "Paris is in France"]
            reply = await client.rerank("cohere/rerank-v3.5", "capital of France", documents, top_n=1)
            print(reply.results[0].index, reply.results[0].relevance_score)

        A document is a text, or a dict with named fields. With `return_documents`, each result has its `document`.
        Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        check_documents(documents)
        request = rerank_request(
            _model(model),
            query,
            documents,
            top_n=top_n,
            max_tokens_per_doc=max_tokens_per_doc,
            return_documents=return_documents,
            extra=extra,
        )
        response: RerankResponse = await self._engines.now().run(RERANK, request, call)
        return with_documents(response, request)

    @hides_keys
    async def count_tokens(
        self,
        model: str,
        messages: AnyPrompt,
        *,
        system: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenCountResponse:
        """Return the number of input tokens of a chat, as its provider counts them. Nothing is generated.

            count = await client.count_tokens("anthropic/claude-sonnet-4-5", "Say hello")
            print(count.input_tokens)

        The arguments are those of `chat`, without `output` and `max_output_retries`. Options that do not change the
        number (`temperature`, for example) are ignored. A fallback counts with the tokenizer of its own model. Raises
        `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        request = token_count_request(_model(model), messages, system=system, options=options)
        if options:
            check_own_json(request.chat)
        response: TokenCountResponse = await self._engines.now().run(COUNT_TOKENS, request, call)
        return response

    @hides_keys
    async def ocr(
        self,
        model: str,
        document: str | FilePart | ImagePart | OcrDocument,
        *,
        pages: Sequence[int] | None = None,
        include_images: bool | None = None,
        image_limit: int | None = None,
        image_min_size: int | None = None,
        table_format: str | None = None,
        image_schema: Mapping[str, Any] | None = None,
        document_schema: Mapping[str, Any] | None = None,
        prompt: str | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        fallbacks: Sequence[str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> OcrResponse:
        """Read the text of a document or image, page by page, as Markdown.

            reply = await client.ocr("mistral/mistral-ocr-latest", "https://example.org/report.pdf")
            print(reply.pages[0].markdown)

        The document is a URL (`https:` or `data:`), a `FilePart` or an `ImagePart`. With `document_schema`,
        `reply.annotation` is JSON of what the schema asks for. Raises `BifrostError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        check_extra(extra)
        check_schemas(image_schema=image_schema, document_schema=document_schema)
        request = ocr_request(
            _model(model),
            document,
            pages=pages,
            include_images=include_images,
            image_limit=image_limit,
            image_min_size=image_min_size,
            table_format=table_format,
            image_schema=image_schema,
            document_schema=document_schema,
            prompt=prompt,
            extra=extra,
        )
        response: OcrResponse = await self._engines.now().run(OCR, request, call)
        return response

    # --- reports

    def stats(self) -> Stats:
        """Return what the client is doing and has done since it opened, by provider.

        It only reads counters, and may be called in any state and from any thread. Print it, or make it the last value
        of a notebook cell.
        """
        return self._engine.stats()

    async def providers(self) -> ProviderTable:
        """Return the configuration of the client's providers: address, operations, keys by name, limits.

        A provider that cannot be used has the reason in its row. This opens the client and reads its account.
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
        """Return what `chat` (with `stream`: `stream_chat`) would do with these arguments, without sending anything.

        The result has the candidates in order, each with its probability, the keys by name, the address, the names of
        the header fields, what the provider's dialect omits or refuses, the state of the queue, time limits and
        retries. No random number is drawn, no turn is used, and nothing is counted.

        This opens the client and reads its account. The hooks of plugins are **not** run, because they may reserve,
        count or respond; `plugins` of the result lists them and the hooks that a call would run.

        Raises what a call raises before it has a candidate: `InvalidRequestError`, `UnknownProviderError`.
        """
        call = self._call(timeout, max_retries, fallbacks, extra_headers, key, session=session)
        request = chat_request(_model(model), messages, system=system, options=options)
        wanted, request = self._wanted(output, request)
        return await self._engine.explain(CHAT, request, call, is_stream=stream, output=wanted)

    @property
    def responses(self) -> StoredResponses:
        """The responses that a provider has stored: retrieve, resume, cancel or delete one."""
        return StoredResponses(self._engines, self._call)

    @property
    def files(self) -> Files:
        """The files at a provider: upload, list, retrieve or delete them, and read their content."""
        return Files(self._engines, self._call)

    @property
    def batches(self) -> Batches:
        """Batches of chats: create, list, retrieve, cancel or wait for one, and read its results."""
        return Batches(self._engines, self._call)

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
        """Return a client with other defaults that shares everything else: pools, plugins, opening and closing."""
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
        """Call a function with a record of each event: calls, attempts, committed streams, keys, breakers, full queues.

            with client.subscribe(print):
                await client.chat("openai/gpt-4o-mini", "Say hello")

        The function is called at once, on the event loop, so it must be fast, and it cannot be `async`. If it raises,
        the first failure is logged and no call is affected. The subscription ends with the block, or with its
        `cancel()`. `bifrost.telemetry` defines the records. Copies of the client (`with_options`) report to the same
        subscribers.

        Raises `ConfigError` if it is not a plain function.
        """
        return self._telemetry.add(function)

    @hides_keys
    async def add_plugin(self, plugin: Plugin, *, before: str | None = None) -> None:
        """Add a plugin at the end, or before the plugin named `before`. A plugin of the same name is replaced.

        Running calls keep the plugins with which they started.
        """
        await self._engine.change_plugins(lambda chain: chain.with_plugin(plugin, before=before))

    @hides_keys
    async def remove_plugin(self, name: str) -> None:
        """Remove a plugin and close it. Raises `ConfigError` if there is none of this name."""
        await self._engine.change_plugins(lambda chain: chain.without(name))

    @hides_keys
    async def reorder_plugins(self, names: Sequence[str]) -> None:
        """Change the order of the plugins. Raises `ConfigError` unless each name occurs once."""
        await self._engine.change_plugins(lambda chain: chain.ordered(names))

    # --- providers

    @hides_keys
    async def add_provider(
        self, provider: str | Provider, *, keys: KeyEntries | None = None, config: ProviderConfig | None = None
    ) -> None:
        """Add a provider to those of the account: one of the catalog by name, or a `Provider` of your own.

        Raises `ConfigError` or a subclass if it exists already or is invalid; nothing changes then.
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
        """Change a provider's keys, settings or definition while calls run.

        `config` replaces all its settings, including the address. To change some of them, pass a function that returns
        new settings for the current ones: `config=lambda config: config.replace(concurrency=64)`.

        No call is lost. Calls in flight finish unchanged, and queued calls continue with the new settings. A lower
        `concurrency` takes effect as calls finish.

        Raises `ConfigError` or a subclass for invalid arguments; nothing changes then.
        """
        try:
            change = await self._engine.account.updated(provider, keys=keys, config=config)
        finally:
            del keys  # As above.
        await self._engine.change_provider(_name(provider), change)

    @hides_keys
    async def remove_provider(self, name: str, *, drain: float = DRAIN) -> None:
        """Remove a provider: its queued calls are refused, so that they use their fallbacks, and running ones finish.

        Returns when they have finished, after `drain` seconds at most. Raises `ConfigError` if there is none of this
        name.
        """
        await self._engine.change_provider(name, await self._engine.account.removed(name), drain=drain)

    @hides_keys
    async def refresh(self, *providers: str) -> None:
        """Read the providers of the account again, and the settings of those named (default: of all).

        Call it when your account returns other values than before. Keys need no refresh, because they are read for
        every call. Changes take effect as in `update_provider` and `remove_provider`. Raises what the account raises;
        nothing changes then.
        """
        await self._engine.refresh(providers or None)

    # --- life

    async def open(self) -> None:
        """Open the client now instead of with its first call. It may be called repeatedly."""
        await self._engine.open()

    @hides_keys
    async def warm_up(self, *providers: str, connections: int = 1) -> None:
        """Open connections before the first calls: name resolution, TCP and TLS.

        Afterwards this many connections are ready at each of the providers named, or at all; idle connections count. A
        connection that is not used for `ConnectionConfig.idle` seconds is closed again.

        Raises `UnknownProviderError`, and, after all were tried, the first connection error, with the others in its
        `errors`.
        """
        await self._engine.warm_up(providers, _count(connections))

    async def close(self, *, drain: float = DRAIN) -> None:
        """Close the client: refuse new calls, let running ones finish for up to `drain` seconds, then cancel them.

        It may be called repeatedly, from any task of the event loop. Copies made by `with_options` are closed as well.
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
        # A traceback with local variables may call it for a client whose construction has failed.
        if getattr(self, "_engines", None) is None:
            return "Bifrost()"
        return f"Bifrost({self._engine.account!r}, {self._engine.state})"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_A_CLIENT)

    # --- private

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
        """Return the calls of a map, and the function that begins it."""
        if model is not None:
            _model(model)
        check_concurrency(concurrency)
        # Errors that do not depend on the inputs are raised at once.
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
        """Return the output type, and a request with it, so that plugins see it and caches distinguish types."""
        if output is None:
            return None, request
        if request.response_format is not None:
            raise InvalidRequestError("pass output= or response_format, not both: output= makes the response format")
        wanted = self._outputs.of(output)
        return wanted, lower(request, wanted, "native")

    def _responses(
        self,
        model: str,
        given: AnyInput,
        output: Any,
        options: ResponsesOptions,
    ) -> tuple[OutputType[Any] | None, ResponsesRequest]:
        """Return the output type, and the request with it, as for a chat."""
        from bifrost.operations.responses import structured
        from bifrost.operations.responses.options import responses_request

        request = responses_request(_model(model), given, options)
        check_json_of(request)
        if output is None:
            return None, request
        if (request.text or {}).get("format") is not None:
            raise InvalidRequestError("pass output= or the format of text, not both: output= makes the format")
        wanted = self._outputs.of(output)
        return wanted, structured.lower(request, wanted, "native")

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
        """Return the options of a call: its own, completed with the client's."""
        options = self._options
        given = (timeout, max_retries, fallbacks, extra_headers, key, session, on_interrupt)
        if given == _NOTHING:
            return options
        recent = self._recent
        if given == recent[0] and options is recent[1] and recent[2] is not None:
            return recent[2]
        if extra_headers is not None:
            check_headers(extra_headers, where="extra_headers")
        if key is not None and is_surely_key(key):
            raise InvalidRequestError("key= takes a key's name or id, and this looks like its value; see Key(name=...)")
        made = CallOptions(
            timeout=options.timeout if timeout is None else timeout,
            max_retries=options.max_retries if max_retries is None else max_retries,
            fallbacks=options.fallbacks if fallbacks is None else _names(fallbacks),
            extra_headers={**options.extra_headers, **(extra_headers or {})},
            key=options.key if key is None else key,
            session=options.session if session is None else session,
            on_interrupt=options.on_interrupt if on_interrupt is None else on_interrupt,
        )
        if fallbacks is None and extra_headers is None:
            # Nothing in it can change, and most programs make many calls with the same options.
            self._recent = given, options, made
        return made


class StoredResponses(Uncopyable):
    """Responses that a provider has stored, such as background runs. `client.responses` returns it.

        reply = await client.respond("openai/gpt-5", "Think for long", background=True)
        while not reply.is_ended:
            await anyio.sleep(2)
            reply = await client.responses.retrieve(reply.id, provider="openai")

    Only the key that made a response can read it: give `key`, or the `session` of the call. Each method raises
    `BifrostError`.
    """

    def __init__(self, engines: Engines, options_of: Callable[..., CallOptions]) -> None:
        self._engines = engines
        self._options_of = options_of

    async def retrieve(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        include: Sequence[str] | None = None,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ResponsesResponse:
        """Return a response as it is now. A failed one has its `error`."""
        return await self._run("retrieve", id, provider, include=include, timeout=timeout, key=key, session=session)

    async def cancel(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ResponsesResponse:
        """Cancel a background run, and return its response."""
        return await self._run("cancel", id, provider, timeout=timeout, key=key, session=session)

    async def wait(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        interval: float = 2.0,
        include: Sequence[str] | None = None,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ResponsesResponse:
        """Wait until a background run has ended, and return its response. A failed one has its `error`.

        Whoever leaves early, because of a cancellation or a time limit, cancels the run at the provider as well. If
        the response cannot be retrieved, the run continues, and `wait` can be called again.

        `interval` is the time between two requests, in seconds; `timeout` limits each of them.
        """
        options: dict[str, Any] = {"provider": provider, "timeout": timeout, "key": key, "session": session}
        return await until_ended(
            partial(self.retrieve, id, include=include, **options),
            partial(self.cancel, id, **options),
            interval=interval,
        )

    async def input_items(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        include: Sequence[str] | None = None,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> list[Item]:
        """Return the items of a response's input, in the order of the conversation."""
        options: dict[str, Any] = {"include": include, "timeout": timeout, "key": key, "session": session}
        items: list[Item] = []
        after: str | None = None
        while True:
            page = await self._run("input_items", id, provider, after=after, **options)
            items += page.output
            last = page.details["last_id"]
            if not (page.details["has_more"] and page.output and last and last != after):
                return items
            after = last

    async def compact(
        self,
        model: str,
        input: AnyInput,  # noqa: A002 - OpenAI's name
        *,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
        **options: Unpack[CompactionOptions],
    ) -> ResponsesResponse:
        """Compact a long conversation. The `output` of the result is the input of the next request.

            shorter = await client.responses.compact("openai/gpt-5", items)
            reply = await client.respond("openai/gpt-5", [*shorter.output, {"role": "user", "content": "And then?"}])

        The result contains encrypted state, which only the same provider and key can read.
        """
        from bifrost.operations.responses.compaction import COMPACTIONS, compaction_request

        call = self._options_of(timeout, None, (), None, key, session=session)
        request = compaction_request(_model(model), input, options)
        response: ResponsesResponse = await self._engines.now().run(COMPACTIONS, request, call)
        return response

    async def delete(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ResponsesResponse:
        """Delete a response. The `status` of the result is `deleted`."""
        return await self._run("delete", id, provider, timeout=timeout, key=key, session=session)

    def stream(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        starting_after: int | None = None,
        include: Sequence[str] | None = None,
        timeout: float | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> ChunkStream[ResponsesChunk, ResponsesResponse]:
        """Stream a background run that was begun as a stream, from its beginning or after an event.

        `starting_after` is the `sequence_number` of the last event that was received.
        """
        from bifrost.operations.responses.stored import STORED_RESPONSES, stored_request

        call = self._options_of(timeout, None, (), None, key, session=session)
        request = stored_request(provider, id, "retrieve", include=include, starting_after=starting_after)
        return self._engines.now().stream(STORED_RESPONSES, request, call)

    async def _run(
        self,
        action: str,
        response_id: str,
        provider: str,
        *,
        include: Sequence[str] | None = None,
        after: str | None = None,
        timeout: float | None,
        key: str | None,
        session: str | None,
    ) -> ResponsesResponse:
        from bifrost.operations.responses.stored import STORED_RESPONSES, stored_request

        call = self._options_of(timeout, None, (), None, key, session=session)
        request = stored_request(provider, response_id, action, include=include, after=after)
        response: ResponsesResponse = await self._engines.now().run(STORED_RESPONSES, request, call)
        return response

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, _OF_STORED)


_OF_STORED: Mapping[str, str] = {
    "create": "write client.respond(model, input), or client.stream_respond(model, input) for a stream",
    "parse": "write client.respond(model, input, output=Type)",
    "input_tokens": "write client.count_tokens(model, messages)",
}
"""Attributes that OpenAI's client has there, each with a hint."""


class Files(Uncopyable):
    """The files at a provider. `client.files` returns it.

        uploaded = await client.files.upload(data, provider="openai", purpose="batch", filename="requests.jsonl")
        content = await client.files.content(uploaded.id, provider="openai")

    Only the account that a file was uploaded to can read it: with several keys, give `key`, or the `session` of the
    upload. Each method raises `BifrostError`.
    """

    def __init__(self, engines: Engines, options_of: Callable[..., CallOptions]) -> None:
        self._engines = engines
        self._options_of = options_of

    async def upload(
        self,
        data: bytes | str,
        *,
        provider: str,
        purpose: str | None = None,
        filename: str = "file",
        media_type: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> FilesResponse:
        """Upload a file, and return its description. `purpose` is a word of the provider, such as `batch`."""
        from bifrost.operations.files import FILES, upload_request

        call = self._options_of(timeout, max_retries, (), extra_headers, key, session=session)
        request = upload_request(provider, data, purpose=purpose, filename=filename, media_type=media_type)
        found: FilesResponse = await self._engines.now().run(FILES, request, call)
        return found

    async def list(
        self,
        *,
        provider: str,
        purpose: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> FilesResponse:
        """Return one page of the list of files. `after` is the `next` of the previous page."""
        from bifrost.operations.files import FILES, list_request

        call = self._options_of(timeout, max_retries, (), extra_headers, key, session=session)
        request = list_request(provider, purpose=purpose, limit=limit, after=after)
        found: FilesResponse = await self._engines.now().run(FILES, request, call)
        return found

    async def retrieve(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> FilesResponse:
        """Return the description of a file."""
        from bifrost.operations.files import FILES, file_request

        call = self._options_of(timeout, max_retries, (), extra_headers, key, session=session)
        request = file_request(provider, id, "retrieve")
        found: FilesResponse = await self._engines.now().run(FILES, request, call)
        return found

    async def content(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> FileContent:
        """Return the content of a file, which is read into memory (see `SizeLimits.body`)."""
        from bifrost.operations.files import FILE_CONTENT, content_request

        call = self._options_of(timeout, max_retries, (), extra_headers, key, session=session)
        request = content_request(provider, id)
        found: FileContent = await self._engines.now().run(FILE_CONTENT, request, call)
        return found

    async def delete(
        self,
        id: str,  # noqa: A002 - OpenAI's name
        *,
        provider: str,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
        session: str | None = None,
    ) -> FilesResponse:
        """Delete a file."""
        from bifrost.operations.files import FILES, file_request

        call = self._options_of(timeout, max_retries, (), extra_headers, key, session=session)
        request = file_request(provider, id, "delete")
        found: FilesResponse = await self._engines.now().run(FILES, request, call)
        return found


class Batches(Uncopyable):
    """Batches of chats, which a provider runs within hours for a lower price. `client.batches` returns it.

        batch = await client.batches.create("openai/gpt-4o-mini", {"a": "Say hello", "b": "Say goodbye"})
        batch = await client.batches.wait(batch)
        for result in await client.batches.results(batch):
            print(result.custom_id, result.response.text if result.response else result.error)

    A batch belongs to the key that created it. A response of `create` or `retrieve` names it; with the id of a batch,
    give `provider` and, if there are several, `key`. Each method raises `BifrostError`.
    """

    def __init__(self, engines: Engines, options_of: Callable[..., CallOptions]) -> None:
        self._engines = engines
        self._options_of = options_of

    async def create(
        self,
        model: str,
        requests: Iterable[AnyPrompt | ChatRequest] | Mapping[str, AnyPrompt | ChatRequest],
        *,
        completion_window: str | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> BatchesResponse:
        """Upload requests and create a batch of them.

        Each request is a prompt, a `ChatRequest` or a dict in OpenAI's form with `messages`, to the same model. A dict
        of requests names their custom ids; those of a list are `request-0`, `request-1` and so on.
        """
        from bifrost.operations.batches import BATCH_INPUT, BATCHES, create_request, input_request

        call = self._options_of(timeout, max_retries, (), extra_headers, key)
        engine = self._engines.now()
        uploaded: FilesResponse = await engine.run(BATCH_INPUT, input_request(model, requests), call)
        # The file belongs to the key that has uploaded it.
        used = uploaded.attempts[-1].key if uploaded.attempts else key
        call = self._options_of(timeout, max_retries, (), extra_headers, used)
        request = create_request(uploaded.provider, uploaded.id, completion_window=completion_window, metadata=metadata)
        created: BatchesResponse = await engine.run(BATCHES, request, call)
        return created.replace(warnings=[*uploaded.warnings, *created.warnings])

    async def list(
        self,
        *,
        provider: str,
        limit: int | None = None,
        after: str | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> BatchesResponse:
        """Return one page of the list of batches. `after` is the `next` of the previous page."""
        from bifrost.operations.batches import BATCHES, batch_list_request

        call = self._options_of(timeout, None, (), None, key)
        request = batch_list_request(provider, limit=limit, after=after)
        found: BatchesResponse = await self._engines.now().run(BATCHES, request, call)
        return found

    async def retrieve(
        self,
        batch: BatchesResponse | str,
        *,
        provider: str | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> BatchesResponse:
        """Return a batch as it is now."""
        return await self._run("retrieve", batch, provider, timeout=timeout, key=key)

    async def cancel(
        self,
        batch: BatchesResponse | str,
        *,
        provider: str | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> BatchesResponse:
        """Cancel a batch. What has succeeded by then has results."""
        return await self._run("cancel", batch, provider, timeout=timeout, key=key)

    async def wait(
        self,
        batch: BatchesResponse | str,
        *,
        provider: str | None = None,
        interval: float = 30.0,
        timeout: float | None = None,
        key: str | None = None,
    ) -> BatchesResponse:
        """Retrieve a batch every `interval` seconds until it has ended. `timeout` is that of each retrieval."""
        while True:
            found = await self.retrieve(batch, provider=provider, timeout=timeout, key=key)
            if found.is_ended:
                return found
            await sleep(interval)

    async def results(
        self,
        batch: BatchesResponse | str,
        *,
        provider: str | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Sequence[BatchResult]:
        """Return the results of a batch that has ended, in any order: those that succeeded before those that failed.

        An expired or cancelled batch has results too. A failed one has none; its `errors` say why.
        """
        from bifrost.operations.batches import BATCH_RESULTS, BatchResultsRequest, place_of

        found = await self.retrieve(batch, provider=provider, timeout=timeout, key=key)
        if not found.is_ended:
            raise InvalidRequestError(
                f"this batch has no results yet, its status is {found.batch.status!r}; wait for it"
            )
        _, name, used = place_of(found, None, key)
        call = self._options_of(timeout, None, (), None, used)
        results: list[BatchResult] = []
        for file_id in (found.batch.output_file_id, found.batch.error_file_id):
            if file_id is not None:
                request = BatchResultsRequest(model=f"{name}/", id=file_id)
                results += (await self._engines.now().run(BATCH_RESULTS, request, call)).data
        return results

    async def _run(
        self, action: str, batch: object, provider: str | None, *, timeout: float | None, key: str | None
    ) -> BatchesResponse:
        from bifrost.operations.batches import BATCHES, batch_request, place_of

        batch_id, name, used = place_of(batch, provider, key)
        call = self._options_of(timeout, None, (), None, used)
        found: BatchesResponse = await self._engines.now().run(BATCHES, batch_request(name, batch_id, action), call)
        return found


_NOTHING = (None,) * 7
"""A call without its own options."""


# An attribute that OpenAI's client has: attributes of a method are those of its function.
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
        raise InvalidRequestError(f"max_output_retries is a number of tries, 0 or more, not {max_output_retries}")
    if max_output_retries and output is None:
        raise InvalidRequestError(
            "max_output_retries needs a type that a response can fail to fit: give output= as well"
        )
