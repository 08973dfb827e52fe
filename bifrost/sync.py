"""`SyncBifrost`: the client for code without `await`, which runs an event loop in its own thread.

A call is passed to that event loop, and the caller's thread waits for it. Nothing else happens in the caller's thread,
which may therefore run an event loop itself. A call costs one switch of threads in each direction.
"""

from __future__ import annotations

import _thread
import inspect
import os
import re
import sys
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast

from bifrost.client import Batches, Bifrost, Files, StoredResponses
from bifrost.engine import stand_in
from bifrost.engine.core import DRAIN
from bifrost.engine.map import Ended, Wanted
from bifrost.engine.streaming.chunk_stream import ChunkT_co, ResponseT_co
from bifrost.engine.streaming.parsed_stream import PartialOutput
from bifrost.errors import (
    BifrostError,
    ClientClosedError,
    ForkedClientError,
    InternalError,
    ShuttingDownError,
    UsageError,
)
from bifrost.misplaced_keys import hides_keys
from bifrost.notebook import Display
from bifrost.operations.other_libraries import OF_A_CLIENT, explains_client_arguments, no_attribute
from bifrost.uncopyable import Uncopyable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from bifrost.engine.map import MapIterator, MapResult
    from bifrost.engine.streaming.chunk_stream import ChunkStream
    from bifrost.operations.batches import BatchesResponse, BatchResult
    from bifrost.operations.chat.chunks import Chunk
    from bifrost.operations.chat.structured.output_type import OutputType
    from bifrost.operations.chat.structured.parsed_response import ParsedResponse
    from bifrost.operations.files import FileContent, FilesResponse
    from bifrost.operations.responses.chunks import ResponsesChunk
    from bifrost.operations.responses.items import Item
    from bifrost.operations.responses.options import AnyInput
    from bifrost.operations.responses.response import ResponsesResponse
    from bifrost.plugins.base import Plugin
    from bifrost.reports.stats import Stats
    from bifrost.telemetry.records import Record
    from bifrost.telemetry.subscribers import Subscription

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")
TwinT = TypeVar("TwinT", bound="_Twin")
InputT = TypeVar("InputT")
ChunkT = TypeVar("ChunkT")
ResponseT = TypeVar("ResponseT")
Input_co = TypeVar("Input_co", covariant=True)
Response_co = TypeVar("Response_co", covariant=True)

_OPEN = object()

_WAITS = re.compile(r"\basync (?=with |for )|\bawait ")
"""The words in the examples of docstrings that this client does not need."""

_CUT_SHORT = "the client was closed, or its event loop ended, while this call was running"

_END_LIMIT = 5.0
"""How long to wait for a cancelled call, and for the thread, in seconds; at exit, for closing as a whole."""


def _signature_of(
    method: Callable[Concatenate[Bifrost, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[SyncBifrost, P], None]]:
    """Decorate a method that has the parameters of one of the async client."""
    return partial(_named_as, method)


def _named_as(method: Callable[..., Any], call: F) -> F:
    """Set the name, signature and docstring of a function to those of a method of the async client."""
    written: Any = wraps(method)(call)
    signature = inspect.signature(method)
    returns = signature.return_annotation
    if isinstance(returns, str) and returns.startswith(("ChunkStream", "MapIterator")):
        signature = signature.replace(return_annotation=f"Sync{returns}")
    written.__signature__ = signature
    written.__module__, written.__qualname__ = __name__, f"Sync{method.__qualname__}"
    written.__doc__ = method.__doc__ and _WAITS.sub("", method.__doc__)
    return cast("F", written)


class _Twin(Uncopyable):
    """Base class with an async client and its event loop. It converts methods of the client to methods without `await`.

    Their signatures, overloads and docstrings are defined only at the async client.
    """

    _client: Bifrost
    _portal: _Portal

    @staticmethod
    def _plain(
        method: Callable[Concatenate[Bifrost, P], Coroutine[Any, Any, T]],
    ) -> Callable[Concatenate[_Twin, P], T]:
        """Return the method that waits for the result."""

        def call(self: _Twin, /, *args: P.args, **options: P.kwargs) -> T:
            return self._portal.run(method, self._client, *args, **options)

        return hides_keys(_named_as(method, call))

    @staticmethod
    def _stream(
        method: Callable[Concatenate[Bifrost, P], ChunkStream[ChunkT, ResponseT]],
    ) -> Callable[Concatenate[_Twin, P], SyncChunkStream[ChunkT, ResponseT]]:
        """Return the method whose stream is read without `await`."""

        def call(self: _Twin, /, *args: P.args, **options: P.kwargs) -> SyncChunkStream[ChunkT, ResponseT]:
            return SyncChunkStream(method(self._client, *args, **options), self._portal)

        return hides_keys(_named_as(method, call))

    @staticmethod
    def _results(
        method: Callable[Concatenate[Bifrost, P], MapIterator[InputT, T]],
    ) -> Callable[Concatenate[_Twin, P], SyncMapIterator[InputT, T]]:
        """Return the method whose results are read without `await`."""

        def call(self: _Twin, /, *args: P.args, **options: P.kwargs) -> SyncMapIterator[InputT, T]:
            return SyncMapIterator(method(self._client, *args, **options), self._portal)

        return hides_keys(_named_as(method, call))

    @staticmethod
    def _copy(method: Callable[Concatenate[Bifrost, P], Bifrost]) -> Callable[Concatenate[TwinT, P], TwinT]:
        """Return the method that returns another client with the same event loop."""

        def call(self: TwinT, /, *args: P.args, **options: P.kwargs) -> TwinT:
            return self._around(method(self._client, *args, **options), self._portal)

        return hides_keys(_named_as(method, call))

    @classmethod
    def _around(cls, client: Bifrost, portal: _Portal) -> Self:
        made = object.__new__(cls)
        made._client, made._portal = client, portal
        return made


class SyncBifrost(_Twin):
    """A `Bifrost` for scripts, threads and notebooks: the same methods, without `await`.

        with SyncBifrost() as client:  # keys come from the environment
            reply = client.chat("openai/gpt-4o-mini", "Say hello", fallbacks=["anthropic/claude-haiku-4-5"])
            print(reply.text)

    The client opens on first use. It is closed by `with`, by `close()`, or at the end of the program. Any number of
    threads may use one client at once, even if they run an event loop. It may be made before a process forks; after it
    is opened, it belongs to the process that opened it. Ctrl-C cancels the call that is waiting.

    Hooks, accounts and transports run in the client's own thread: one that blocks delays all calls of the client, and
    one that uses the same client without `await` gets a `UsageError`.

    The arguments are those of `Bifrost`.
    """

    @hides_keys
    @explains_client_arguments
    @_signature_of(Bifrost.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = Bifrost(*args, **options)
        self._portal = _Portal(self._client)

    @classmethod
    @hides_keys
    def from_file(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Return a client configured by a TOML or JSON file, including the Go gateway's `config.json`.

        See `Bifrost.from_file`.
        """
        client = Bifrost.from_file(path, **overrides)
        return cls._around(client, _Portal(client))

    # --- operations

    chat = _Twin._plain(Bifrost.chat)
    stream_chat = _Twin._stream(Bifrost.stream_chat)
    respond = _Twin._plain(Bifrost.respond)
    stream_respond = _Twin._stream(Bifrost.stream_respond)
    map = _Twin._results(Bifrost.map)
    embed = _Twin._plain(Bifrost.embed)
    complete = _Twin._plain(Bifrost.complete)
    stream_complete = _Twin._stream(Bifrost.stream_complete)
    list_models = _Twin._plain(Bifrost.list_models)
    moderate = _Twin._plain(Bifrost.moderate)
    generate_image = _Twin._plain(Bifrost.generate_image)
    speak = _Twin._plain(Bifrost.speak)
    stream_speech = _Twin._stream(Bifrost.stream_speech)
    transcribe = _Twin._plain(Bifrost.transcribe)
    rerank = _Twin._plain(Bifrost.rerank)
    ocr = _Twin._plain(Bifrost.ocr)
    count_tokens = _Twin._plain(Bifrost.count_tokens)

    # --- reports

    def stats(self) -> Stats:
        """Return what the client is doing and has done since it opened. See `Bifrost.stats`."""
        return self._client.stats()

    providers = _Twin._plain(Bifrost.providers)
    explain = _Twin._plain(Bifrost.explain)

    @property
    def responses(self) -> SyncStoredResponses:
        """The responses that a provider has stored. See `Bifrost.responses`."""
        return SyncStoredResponses(self._client.responses, self._portal)

    @property
    def files(self) -> SyncFiles:
        """The files at a provider. See `Bifrost.files`."""
        return SyncFiles(self._client.files, self._portal)

    @property
    def batches(self) -> SyncBatches:
        """Batches of chats. See `Bifrost.batches`."""
        return SyncBatches(self._client.batches, self._portal)

    # --- options and plugins

    with_options = _Twin._copy(Bifrost.with_options)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plugins in order."""
        return self._client.plugins

    def subscribe(self, function: Callable[[Record], object]) -> Subscription:
        """Call a function with a record of each event, on the thread of the event loop. See `Bifrost.subscribe`."""
        return self._client.subscribe(function)

    add_plugin = _Twin._plain(Bifrost.add_plugin)
    remove_plugin = _Twin._plain(Bifrost.remove_plugin)
    reorder_plugins = _Twin._plain(Bifrost.reorder_plugins)

    # --- providers

    add_provider = _Twin._plain(Bifrost.add_provider)
    update_provider = _Twin._plain(Bifrost.update_provider)
    remove_provider = _Twin._plain(Bifrost.remove_provider)
    refresh = _Twin._plain(Bifrost.refresh)

    # --- life

    open = _Twin._plain(Bifrost.open)
    warm_up = _Twin._plain(Bifrost.warm_up)

    def close(self, *, drain: float = DRAIN) -> None:
        """Close the client: refuse new calls, let running ones finish for up to `drain` seconds, then cancel them.

        It may be called repeatedly, from any thread. Copies made by `with_options` are closed as well. In the child of
        a fork it does nothing, because what was opened belongs to the parent.
        """
        self._portal.close(drain)

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            # Nobody would leave the block.
            self.close(drain=0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=DRAIN if kind is None else 0.0)

    def __repr__(self) -> str:
        return f"Sync{self._client!r}" if "_client" in vars(self) else "SyncBifrost()"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_A_CLIENT)


class SyncChunkStream(Uncopyable, Generic[ChunkT_co, ResponseT_co]):
    """A streamed response, used with `with`. Iterate over it for chunks, or over `text_stream` for text.

    It corresponds to `ChunkStream` and `ParsedStream`, without `await`. One thread at a time may read it.
    """

    def __init__(self, stream: ChunkStream[ChunkT_co, ResponseT_co], portal: _Portal) -> None:
        self._stream = stream
        self._portal = portal
        self._entered = False
        self._interrupted = False
        self._final: ResponseT_co | None = None

    def __enter__(self) -> Self:
        self._entered = True
        try:
            self._portal.run(self._stream.__aenter__)
        except Exception:
            raise
        except BaseException:
            # Ctrl-C: it may be open already, and nobody would leave the block.
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        self.check_unread()
        return self

    def __next__(self) -> ChunkT_co:
        """Return the next chunk. Raises `StreamInterruptedError` if the stream broke, also when called again."""
        if self._interrupted:
            raise UsageError("reading this stream was interrupted, which ended it")
        try:
            chunk = self._portal.run(self._next)
            if chunk is None:
                raise StopIteration
            return chunk
        except Exception:
            raise
        except BaseException:
            # Ctrl-C: a chunk may have been lost, and the next one would follow a gap.
            self._interrupted = True
            self.close()
            raise

    @property
    def text_stream(self) -> SyncTextStream:
        """The text of the stream as it arrives. Raises `UsageError` for a stream that may restart."""
        self._stream.check_text()
        return SyncTextStream(self, self._stream.text_of)

    @property
    def partial_stream(self: SyncChunkStream[Chunk, ParsedResponse[Any]]) -> SyncPartialStream:
        """The JSON of the response so far, whenever there is more. See `ParsedStream.partial_stream`.

        Raises `UsageError` for a stream without `output=`.
        """
        output = getattr(self._stream, "output", None)
        if output is None:
            raise UsageError("a stream has a partial_stream if it was asked for with output=")
        return SyncPartialStream(self, output, reset=self._stream.reset)

    def final(self) -> ResponseT_co:
        """Read the rest, and return the complete response, which equals that of a call without streaming."""
        final = self._final
        if final is None:
            final = self._final = self._portal.run(self._stream.final)
        return final

    def display(self) -> ResponseT_co:
        """Show the response as it arrives, and return the complete one.

        It is shown in the output of a notebook cell, elsewhere on stdout. A stream that is not open is opened and
        closed: `reply = client.stream_chat(model, prompt).display()`.
        """
        text, reset = self._stream.text_of, self._stream.reset
        if not self._entered:
            with self:
                return self.display()
        with Display() as display:
            for chunk in self:
                if isinstance(chunk, reset):
                    display.begin_again()
                display.add(text(chunk))
            reply = self.final()
            display.replace(reply)
        return reply

    @property
    def partial(self) -> ResponseT_co:
        """The response so far."""
        return self._stream.partial

    def check_unread(self) -> None:
        """Raise `UsageError` if the stream was read before."""
        self._stream.check_unread()

    def close(self) -> None:
        """Stop reading and release the connection. It may be called repeatedly, and has no effect after the end."""
        self._portal.leave(self._stream.close)

    def __repr__(self) -> str:
        return f"Sync{self._stream!r}"

    async def _next(self) -> ChunkT_co | None:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            # Read in the same step, because the client may be closed later.
            self._final = await self._stream.final()
            return None


class SyncMapIterator(Uncopyable, Generic[Input_co, Response_co]):
    """The results of a `map` as they arrive: an iterator and a context manager.

        for result in client.map(prompts, model="openai/gpt-4o-mini"):
            print(result.index, result.response.text if result.ok else result.error)

    If the loop may be left early, use `with client.map(...) as results:` or call `close()`. This cancels the calls in
    progress at once, and not only when the iterator is collected. One thread at a time may read it. The inputs are read
    in that thread, when it requests the next result; those of an async iterable are read in the client's own thread.
    """

    def __init__(self, mapped: MapIterator[Input_co, Response_co], portal: _Portal) -> None:
        self._map = mapped
        self._portal = portal
        self._inputs = mapped.bring_inputs()
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MapResult[Input_co, Response_co]:
        """Return the next result. After the last one, raises the exception of the inputs if there was one."""
        if not self._reading.acquire(blocking=False):
            raise UsageError("another thread is reading this map; give each thread a map of its own")
        try:
            result = self._next()
        except Exception:
            raise
        except BaseException:
            # Ctrl-C: an input or a result may have been lost.
            self.close()
            raise
        finally:
            self._reading.release()
        if result is None:
            raise StopIteration
        return result

    def _next(self) -> MapResult[Input_co, Response_co] | None:
        brought: Any = None
        while True:
            answer = self._portal.run(self._map.turn, brought)
            if not isinstance(answer, Wanted):
                return answer
            item = Ended() if self._inputs is None else self._inputs.take()
            brought = item if isinstance(item, Ended) else (item,)

    def close(self) -> None:
        """Read no more inputs, and cancel the calls in progress.

        It may be called repeatedly, and has no effect after the end.
        """
        self._portal.leave(self._map.close)
        if self._inputs is not None:
            self._inputs.drop()

    def __repr__(self) -> str:
        return f"Sync{self._map!r}"


class SyncPartialStream:
    """The JSON of a streamed response so far."""

    __slots__ = ("_partial", "_stream")

    def __init__(self, stream: SyncChunkStream[Any, Any], output: OutputType[Any], *, reset: Any) -> None:
        self._stream = stream
        self._partial = PartialOutput(output, reset=reset)

    def __iter__(self) -> Self:
        self._stream.check_unread()
        return self

    def __next__(self) -> Any:
        while True:
            try:
                chunk = next(self._stream)
            except StopIteration:
                value = self._partial.finish()
                if value is None:
                    raise
                return value
            value = self._partial.take(chunk)
            if value is not None:
                return value


class SyncTextStream:
    """The text of a stream."""

    __slots__ = ("_stream", "_text_of")

    def __init__(self, stream: SyncChunkStream[Any, Any], text_of: Callable[[Any], str]) -> None:
        self._stream = stream
        self._text_of = text_of

    def __iter__(self) -> Self:
        self._stream.check_unread()
        return self

    def __next__(self) -> str:
        while True:
            text = self._text_of(next(self._stream))
            if text:
                return text


class SyncStoredResponses(Uncopyable):
    """Responses that a provider has stored. See `StoredResponses`, whose arguments its methods have."""

    def __init__(self, stored: StoredResponses, portal: _Portal) -> None:
        self._stored = stored
        self._portal = portal

    def retrieve(self, id: str, **options: Any) -> ResponsesResponse:  # noqa: A002 - OpenAI's name
        """Return a response as it is now."""
        return self._portal.run(self._stored.retrieve, id, **options)

    def cancel(self, id: str, **options: Any) -> ResponsesResponse:  # noqa: A002 - OpenAI's name
        """Cancel a background run, and return its response."""
        return self._portal.run(self._stored.cancel, id, **options)

    def wait(self, id: str, **options: Any) -> ResponsesResponse:  # noqa: A002 - OpenAI's name
        """Wait until a background run has ended. An interrupt cancels the run at the provider as well."""
        return self._portal.run(self._stored.wait, id, **options)

    def input_items(self, id: str, **options: Any) -> list[Item]:  # noqa: A002 - OpenAI's name
        """Return the items of a response's input, in the order of the conversation."""
        return self._portal.run(self._stored.input_items, id, **options)

    def compact(self, model: str, input: AnyInput, **options: Any) -> ResponsesResponse:  # noqa: A002 - OpenAI's name
        """Compact a long conversation. The `output` of the result is the input of the next request."""
        return self._portal.run(self._stored.compact, model, input, **options)

    def delete(self, id: str, **options: Any) -> ResponsesResponse:  # noqa: A002 - OpenAI's name
        """Delete a response. The `status` of the result is `deleted`."""
        return self._portal.run(self._stored.delete, id, **options)

    def stream(self, id: str, **options: Any) -> SyncChunkStream[ResponsesChunk, ResponsesResponse]:  # noqa: A002
        """Stream a background run, from its beginning or after an event."""
        return SyncChunkStream(self._stored.stream(id, **options), self._portal)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # The other client says what to write instead.
            return getattr(self._stored, name)


class SyncFiles(Uncopyable):
    """The files at a provider. See `Files`, whose arguments its methods have."""

    def __init__(self, files: Files, portal: _Portal) -> None:
        self._files = files
        self._portal = portal

    def upload(self, data: bytes | str, **options: Any) -> FilesResponse:
        """Upload a file, and return its description."""
        return self._portal.run(self._files.upload, data, **options)

    def list(self, **options: Any) -> FilesResponse:
        """Return one page of the list of files."""
        return self._portal.run(self._files.list, **options)

    def retrieve(self, id: str, **options: Any) -> FilesResponse:  # noqa: A002 - OpenAI's name
        """Return the description of a file."""
        return self._portal.run(self._files.retrieve, id, **options)

    def content(self, id: str, **options: Any) -> FileContent:  # noqa: A002 - OpenAI's name
        """Return the content of a file."""
        return self._portal.run(self._files.content, id, **options)

    def delete(self, id: str, **options: Any) -> FilesResponse:  # noqa: A002 - OpenAI's name
        """Delete a file."""
        return self._portal.run(self._files.delete, id, **options)


class SyncBatches(Uncopyable):
    """Batches of chats. See `Batches`, whose arguments its methods have."""

    def __init__(self, batches: Batches, portal: _Portal) -> None:
        self._batches = batches
        self._portal = portal

    def create(self, model: str, requests: Any, **options: Any) -> BatchesResponse:
        """Upload requests and create a batch of them."""
        return self._portal.run(self._batches.create, model, requests, **options)

    def retrieve(self, batch: BatchesResponse | str, **options: Any) -> BatchesResponse:
        """Return a batch as it is now."""
        return self._portal.run(self._batches.retrieve, batch, **options)

    def cancel(self, batch: BatchesResponse | str, **options: Any) -> BatchesResponse:
        """Cancel a batch."""
        return self._portal.run(self._batches.cancel, batch, **options)

    def wait(self, batch: BatchesResponse | str, **options: Any) -> BatchesResponse:
        """Retrieve a batch again and again until it has ended."""
        return self._portal.run(self._batches.wait, batch, **options)

    def results(self, batch: BatchesResponse | str, **options: Any) -> Sequence[BatchResult]:
        """Return the results of a batch that has ended."""
        return self._portal.run(self._batches.results, batch, **options)

    def list(self, **options: Any) -> BatchesResponse:
        """Return one page of the list of batches."""
        return self._portal.run(self._batches.list, **options)


class _Portal:
    """The connection of a client and its copies to their event loop, whose thread is started on first use."""

    def __init__(self, client: Bifrost) -> None:
        self._client = client
        self._thread: _LoopThread | None = None
        self._closed_in: Any = _OPEN
        self._starting: dict[int, threading.Lock] = {}
        """The process that it belongs to: a lock that a thread holds during a fork stays locked in the child
        forever.
        """
        self._at_exit: weakref.finalize[[weakref.ref[_Portal]], _Portal] | None = None

    def run(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function on the event loop and wait for its result."""
        return self._started().run(partial(function, *args, **kwargs))

    def leave(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the function that closes a stream or a map. If the client is closed, they are closed already.

        Garbage collection may run in the thread of the event loop, which must not wait for itself.
        """
        with suppress(ClientClosedError, ForkedClientError, ShuttingDownError):
            thread = self._started()
            if thread.is_own:
                thread.submit(function)
            else:
                thread.run(function)

    def close(self, drain: float) -> None:
        """Close the client and end its thread. It may be called repeatedly."""
        if self._forked() or (self._closed and self._thread is None):
            return
        # Several threads may close it; one that does so is enough.
        with suppress(ClientClosedError):
            thread = self._started()
            thread.refuse_own_calls()
            try:
                thread.run(partial(self._client.close, drain=drain))
            except BaseException:
                # Ctrl-C ends the waiting, and closing may not even have begun.
                self._close_now(thread, _END_LIMIT)
                raise
            finally:
                self._end(thread, _END_LIMIT)

    def close_at_exit(self) -> None:
        """Close the client at the end of the program, within `_END_LIMIT` as a whole."""
        thread = self._thread
        if thread is None or thread.over or not thread.begun or self._forked():
            return
        end = time.monotonic() + _END_LIMIT
        try:
            self._close_now(thread, _END_LIMIT)
        finally:
            self._end(thread, end - time.monotonic())

    def _close_now(self, thread: _LoopThread, limit: float) -> None:
        closing = thread.submit(partial(self._client.close, drain=0.0))
        if closing.wait(limit):
            closing.result()

    def _end(self, thread: _LoopThread, limit: float) -> None:
        thread.stop()
        self._closed_in = stand_in.present()
        thread.join(limit)
        self._thread = None
        if self._at_exit is not None:
            self._at_exit.detach()

    def _started(self) -> _LoopThread:
        if self._forked():
            raise ForkedClientError(
                "this client was opened before the process forked; its thread and sockets belong to the parent. "
                "Make a client in each worker process, or make one before the fork and use it only after it"
            )
        thread = self._thread
        if thread is not None and thread.begun and not thread.over:
            return thread
        with self._starting.setdefault(os.getpid(), threading.Lock()):
            thread = self._thread
            if self._closed:
                raise ClientClosedError(
                    "this client was closed; make a new one, or move the call inside its `with` block"
                )
            if self._at_exit is None:
                self._at_exit = weakref.finalize(self, _close_at_exit, weakref.ref(self))
            if thread is None or thread.over:
                thread = self._thread = _LoopThread()
            # Also if somebody was interrupted while starting it.
            thread.start()
            return thread

    @property
    def _closed(self) -> bool:
        """Whether it was closed; in a test with a stand-in for the network, whether it was closed in this test."""
        return self._closed_in is None or self._closed_in is stand_in.present()

    def _forked(self) -> bool:
        thread = self._thread
        return thread is not None and thread.pid != os.getpid()

    def __del__(self) -> None:
        # The engine warns about a client that was never closed. Finalizers run anywhere, so nothing is awaited here.
        thread = self._thread
        if thread is not None and not self._forked():
            thread.stop()


class _LoopThread:
    """An event loop in a thread. It is a daemon thread, because others are joined before `atexit` functions run.

    It does not refer to the client that it serves, so that an unused client can be collected, which ends it.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.over = False
        """Whether the event loop has ended and every call has its result."""
        self._failure: BaseException | None = None
        self._calls: set[_Call[Any]] = set()
        """The calls whose callers are waiting."""
        self._told: deque[Callable[[], object]] = deque()
        """Functions that the event loop will run next."""
        self._may_serve = [None]
        """Emptied by the thread that serves: there may be two if starting the first one was interrupted."""
        self._thread: threading.Thread | None = None
        self._launched = False
        self._ended = False
        self._running = threading.Lock()
        """Held until the thread has ended."""
        self._running.acquire()
        self._loop: Any = None
        self._stopped = False
        """Whether the event loop was asked to end."""
        self._end: Callable[[], None] | None = None

    @property
    def begun(self) -> bool:
        """Whether its thread was started."""
        return self._launched or self._thread is not None

    @property
    def is_own(self) -> bool:
        """Whether the current thread is this one."""
        return self._thread is not None and threading.get_ident() == self._thread.ident

    def start(self) -> None:
        """Start the thread, unless it was started.

        In one step, and the rest where no signals arrive: a `Thread.start` that is interrupted may never end.
        """
        if not self.begun:
            _thread.start_new_thread(self._launch, ())
            self._launched = True

    def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function and wait for its result. Raises its exception, or `ClientClosedError`."""
        self.refuse_own_calls()
        call = _Call(function)
        try:
            self._submit(call)
            call.wait()
            return call.result()
        except BaseException:
            if not call.done and not self.over:
                self._leave(call)
            raise
        finally:
            self._calls.discard(call)

    def submit(self, function: Callable[[], Coroutine[Any, Any, T]]) -> _Call[T]:
        """Start a coroutine function. It ends with `ClientClosedError` when the loop has ended."""
        call = _Call(function)
        call.on_end = self._calls.discard
        self._submit(call)
        return call

    def refuse_own_calls(self) -> None:
        """Raise `UsageError` in the loop's own thread, which would wait for itself."""
        if self.is_own:
            raise UsageError(
                "a hook, an account or a transport used the SyncBifrost that it serves, which would wait for itself; "
                "give it a client of its own"
            )

    def stop(self) -> None:
        """Stop the event loop, which cancels what is running. Any thread and finalizers may call it."""
        self._soon(self._stop)

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, for `seconds` at most."""
        if not self.begun or not (self._ended or self._running.acquire(timeout=max(0.0, seconds))):
            return
        self._ended = True
        if self._thread is not None:
            self._thread.join(_END_LIMIT)

    def _submit(self, call: _Call[Any]) -> None:
        self._calls.add(call)
        if self.over:
            # The loop ended before it received this call, or has finished it already.
            call.end(error=self._gone("this client was closed while the call was on its way"))
        self._soon(partial(self._begin, call))

    def _leave(self, call: _Call[Any]) -> None:
        """Cancel a call whose caller leaves, and wait for its end."""
        try:
            self._soon(call.cancel)
        except BaseException:
            # Interrupted again: the caller does not wait, but the call must end.
            self._soon(call.cancel)
            raise
        call.wait(_END_LIMIT)

    def _soon(self, function: Callable[[], object]) -> None:
        """Run a function on the event loop, as soon as there is one."""
        self._told.append(function)
        # `_finish` does what an event loop that has ended could not do.
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        while self._told:
            self._told.popleft()()

    def _launch(self) -> None:
        try:
            self._may_serve.pop()
        except IndexError:
            return
        try:
            # A registered thread, which has a name, is listed and can be joined.
            self._thread = threading.Thread(target=self._serve, name="bifrost", daemon=True)
            self._thread.start()
        except BaseException as error:  # noqa: BLE001 - as below
            self._finish(error)

    def _serve(self) -> None:
        import asyncio

        failure: BaseException | None = None
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - nobody waits for the thread; the callers receive it
            failure = error
        self._finish(failure)

    def _finish(self, failure: BaseException | None) -> None:
        self._failure = failure
        self.over = True
        for call in self._calls.copy():
            call.end(error=self._gone(_CUT_SHORT))
        self._ended = True
        self._running.release()

    async def _live(self) -> None:
        import asyncio

        stop = asyncio.Event()
        self._end = stop.set
        self._loop = asyncio.get_running_loop()
        # Functions that were passed before there was an event loop.
        self._hear()
        await stop.wait()

    def _begin(self, call: _Call[Any]) -> None:
        if self._stopped:
            # A task that is created now would never run.
            call.end(error=self._gone(_CUT_SHORT))
        else:
            call.start()

    def _stop(self) -> None:
        self._stopped = True
        if self._end is not None:
            self._end()

    def _gone(self, message: str) -> BifrostError:
        if self._failure is None:
            return ClientClosedError(message)
        error = InternalError(f"the client's event loop failed: {type(self._failure).__name__}")
        error.__cause__ = self._failure
        return error


class _Call(Generic[T]):
    """A coroutine function that runs on the event loop, and its waiting caller."""

    __slots__ = (
        "_context",
        "_error",
        "_function",
        "_left",
        "_may_end",
        "_result",
        "_task",
        "_waiting",
        "done",
        "on_end",
    )

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.done = False
        self.on_end: Callable[[_Call[Any]], object] | None = None
        """Called at the end of a call that nobody waits for."""
        self._function = function
        self._context = _context()
        self._task: Any = None
        self._left = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._may_end = [None]
        """Emptied by the thread that ends the call."""
        self._waiting = threading.Lock()
        self._waiting.acquire()

    # --- for the caller

    def wait(self, seconds: float = -1) -> bool:
        """Wait for the end. Returns `False` if it was not reached within `seconds`."""
        return self._waiting.acquire(timeout=seconds)

    def result(self) -> T:
        """Return the result or raise the error. It can be called once."""
        error, self._error = self._error, None
        if error is None:
            result: T = self._result
            return result
        try:
            raise error
        finally:
            del error  # It refers to this frame through its traceback; this avoids a reference cycle.

    # --- on the event loop

    def start(self) -> None:
        """Start the call as a task of the running loop, unless its caller has left."""
        if self._left or self.done:
            self._cut_short(None)
            return
        import asyncio

        self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)
        # A task that is cancelled before its first step never reaches `_run`.
        self._task.add_done_callback(self._cut_short)

    def cancel(self) -> None:
        """Cancel the call of a caller who has left, even if it was not started yet."""
        self._left = True
        if self._task is not None:
            self._task.cancel()
        else:
            self._cut_short(None)

    def end(self, *, result: Any = None, error: BaseException | None = None) -> None:
        """Wake the caller. Only the first end counts."""
        try:
            self._may_end.pop()
        except IndexError:
            return
        self._result, self._error = result, error
        self.done = True
        self._waiting.release()
        if self.on_end is not None:
            self.on_end(self)

    async def _run(self) -> None:
        import asyncio

        try:
            result = await self._function()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the caller gets it, SystemExit too; the loop must go on
            self.end(error=error)
        else:
            self.end(result=result)

    def _cut_short(self, _: object) -> None:
        """End a call whose task was cancelled, because its caller has left or the loop ends."""
        self.end(error=ShuttingDownError(_CUT_SHORT))


def _context() -> Context:
    """Return a copy of the caller's context without variables about the caller's own event loop."""
    context = copy_context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def _close_at_exit(portal: weakref.ref[_Portal]) -> None:
    """Close a client that is still open at the end of the program. It has no effect after the portal was collected."""
    known = portal()
    if known is not None:
        known.close_at_exit()
