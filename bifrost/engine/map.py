"""`client.map`: many calls, each of which begins when a place is free.

A map has one task of the client's host, which reads the inputs and has the calls as children. Its reader only takes
results, so a map may be left, cancelled or dropped at any time, and its end never depends on its reader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from inspect import isasyncgen, isgenerator
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

import anyio
import anyio.lowlevel
import msgspec

from bifrost.errors import BifrostError, InternalError, InvalidRequestError, ShuttingDownError, UsageError
from bifrost.event_loop import is_stray
from bifrost.frozen import Value
from bifrost.uncopyable import Uncopyable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from bifrost.engine.host import Host

Input_co = TypeVar("Input_co", covariant=True)
Response_co = TypeVar("Response_co", covariant=True)

_UNREAD = 2
"""The most inputs in progress or unread, as a multiple of the number of places."""


class MapResult(Value, msgspec.Struct, Generic[Input_co, Response_co], frozen=True, kw_only=True):
    """The result of one input of a `map`: either `response` or `error` is set."""

    index: int
    """The position of the input, from 0."""
    input: Input_co
    """The input."""
    response: Response_co | None = None
    """The response; `None` if the call failed."""
    error: BifrostError | None = None
    """The error of the call; `None` if it succeeded."""

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None

    def unwrap(self) -> Response_co:
        """Return the response, or raise the error."""
        if self.error is not None:
            raise self.error
        return cast("Response_co", self.response)


class Wanted:
    """Returned by `MapIterator.turn` when there is a place for another input."""


WANTED: Final = Wanted()


class Ended(Value, msgspec.Struct, frozen=True):
    """Returned instead of an input when there are no more."""

    error: Exception | None = None
    """The exception of the iteration of the inputs; `None` if there was none."""


class MapCalls:
    """The calls of one map: those in progress, and the unread results."""

    def __init__(
        self, ask: Callable[[Any], Awaitable[Any]], *, concurrency: int | None = None, ordered: bool = False
    ) -> None:
        self._ask = ask
        self._ordered = ordered
        self.concurrency = concurrency
        self.places: Callable[[], int] = lambda: concurrency or 1
        """Returns the most calls at once."""
        self.prepare: Callable[[Any], Awaitable[None]] | None = None
        """Awaited with each input before its call begins; it may change `places`."""
        self.accepting: Callable[[], bool] = lambda: True
        """Returns whether the client accepts calls."""
        self._taken = 0
        self._running = 0
        self._unread: deque[MapResult[Any, Any]] = deque()
        self._early: dict[int, MapResult[Any, Any]] = {}
        """Results that wait for earlier ones, in an ordered map."""
        self._next = 0
        """The index of the next result, in an ordered map."""
        self._changed = anyio.Event()
        self._group: TaskGroup | None = None
        self._inputs_ended = False
        self.failure: BaseException | None = None
        """The error to raise after the last result."""
        self.closed = False
        """Whether its reader has left."""
        self.over = False
        """Whether its task has ended."""

    # --- for the reader

    @property
    def has_place(self) -> bool:
        """Whether another input may be read."""
        places = max(1, self.places())
        unread = len(self._unread) + len(self._early)
        return self._running < places and self._running + unread < _UNREAD * places

    @property
    def wants_input(self) -> bool:
        """Whether another input is to be read."""
        return not self._inputs_ended and self.failure is None and self.has_place

    def take(self) -> MapResult[Any, Any] | None:
        """Return a result that is available now, or `None`."""
        if not self._unread:
            return None
        result = self._unread.popleft()
        self._notify()
        return result

    @property
    def has_result(self) -> bool:
        """Whether `take` returns a result."""
        return bool(self._unread)

    async def change(self) -> None:
        """Wait until something has changed."""
        await self._changed.wait()

    async def begun(self) -> None:
        """Wait until its task runs."""
        while self._group is None and not self.over:
            await self._changed.wait()

    async def bring(self, item: Any) -> None:
        """Begin the call of an input."""
        if self.prepare is not None:
            await self.prepare(item)
        index, self._taken = self._taken, self._taken + 1
        if self._group is None or self.over:
            # The client was closed meanwhile.
            self._put(MapResult(index=index, input=item, error=self._gone()))
            return
        self._running += 1
        self._group.start_soon(self._call, index, item)

    def end_inputs(self, error: BaseException | None = None) -> None:
        """Record that there are no more inputs."""
        self._inputs_ended = True
        if error is not None:
            self.failure = error
        self._notify()

    def check_accepting(self) -> bool:
        """Return whether another input may be read. If the client is closed, the map ends with that error."""
        if not self.accepting() and not self._inputs_ended:
            self.end_inputs(self._gone())
        return not self._inputs_ended

    def cancel(self) -> None:
        """Cancel the calls in progress, because their results will not be read."""
        self.closed = True
        if self._group is not None:
            self._group.cancel_scope.cancel()

    async def ended(self) -> None:
        """Wait until no call is in progress."""
        while not self.over:
            await self._changed.wait()

    # --- for its task

    async def own(self, inputs: Inputs | None) -> None:
        """Run the task of the map: read the inputs, unless the reader brings them, and have the calls as children."""
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._notify()
                if self.closed:
                    group.cancel_scope.cancel()
                if inputs is not None:
                    await self._feed(inputs)
                while not self._inputs_ended:
                    await self._changed.wait()
        finally:
            if not self._inputs_ended and self.failure is None and not self.closed:
                self.failure = self._gone()
            self.over = True
            self._notify()

    async def _feed(self, inputs: Inputs) -> None:
        try:
            while True:
                while not self.has_place:
                    await self._changed.wait()
                if self.closed or not self.check_accepting():
                    return
                item = await inputs.next()
                if isinstance(item, Ended):
                    self.end_inputs(item.error)
                    return
                await self.bring(item)
                # Inputs that are available at once must not block the event loop.
                await anyio.lowlevel.checkpoint()
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            self._abort(error)
        finally:
            try:
                await inputs.close()
            except Exception as error:  # noqa: BLE001 - the user's generator
                self.failure = self.failure or error

    async def _call(self, index: int, item: Any) -> None:
        response: Any = None
        error: BifrostError | None = None
        try:
            response = await self._ask(item)
        except BifrostError as failure:
            # Its frames refer to the request, and a caller may keep many errors.
            error = failure.with_traceback(None)
        except Exception as failure:  # noqa: BLE001 - a defect, or an object that is not a prompt
            error = _defect(failure)
        except BaseException as failure:
            if is_stray(failure):
                error = _defect(failure)
            elif isinstance(failure, anyio.get_cancelled_exc_class()):
                if not self.closed:
                    self._put(MapResult(index=index, input=item, error=self._gone()))
                raise
            else:
                self._abort(failure)
                return
        finally:
            self._running -= 1
        self._put(MapResult(index=index, input=item, response=response, error=error))

    def _abort(self, failure: BaseException) -> None:
        """End the map because of an exception that is not an `Exception`, `SystemExit` for example.

        The reader gets it at once.
        """
        self.end_inputs(failure)
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def _put(self, result: MapResult[Any, Any]) -> None:
        if not self._ordered:
            self._unread.append(result)
        else:
            self._early[result.index] = result
            while self._next in self._early:
                self._unread.append(self._early.pop(self._next))
                self._next += 1
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _gone(self) -> BifrostError:
        return ShuttingDownError(
            f"the client was closed while this map was running; {self._taken} inputs were taken, the others were not"
        )


class Inputs:
    """The inputs of a map, from an iterable of either kind."""

    def __init__(self, iterable: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._async: AsyncIterator[Any] | None = None
        self._sync: Iterator[Any] | None = None
        if isinstance(iterable, AsyncIterable):
            self._async = aiter(iterable)
        else:
            self._sync = iter(iterable)

    @property
    def is_async(self) -> bool:
        """Whether they can be read only on an event loop."""
        return self._async is not None

    async def next(self) -> Any:
        """Return the next input, or `Ended`."""
        if self._async is None:
            return self.take()
        try:
            return await anext(self._async)
        except StopAsyncIteration:
            return Ended()
        except Exception as error:  # noqa: BLE001 - the user's; raised to whoever reads the results
            return Ended(error)
        except BaseException as error:
            if is_stray(error):
                return Ended(_defect(error))
            raise

    def take(self) -> Any:
        """Return the next input of an iterable that is not async, or `Ended`."""
        try:
            return next(self._sync) if self._sync is not None else Ended()
        except StopIteration:
            return Ended()
        except Exception as error:  # noqa: BLE001 - as above
            return Ended(error)

    async def close(self) -> None:
        """Close a generator, because nothing else uses it. Other iterables belong to their owners."""
        inputs, self._async = self._async, None
        if inputs is not None and isasyncgen(inputs):
            await inputs.aclose()
        self.drop()

    def drop(self) -> None:
        """Close a generator that is not async."""
        inputs, self._sync = self._sync, None
        if inputs is not None and isgenerator(inputs):
            inputs.close()


class MapIterator(Uncopyable, Generic[Input_co, Response_co]):
    """The results of a `map` as they arrive. Use it with `async with`, and iterate over it.

        async with client.map(prompts, model="openai/gpt-4o-mini") as results:
            async for result in results:
                print(result.index, result.response.text if result.ok else result.error)

    Leaving the block cancels the calls in progress. A plain `async for` over the map works as well, and begins with the
    first result; if that loop may be left early, call `close()`. One task at a time may read it.
    """

    def __init__(
        self, calls: MapCalls, begin: Callable[[MapCalls, Inputs | None], Awaitable[Host]], inputs: Inputs | None
    ) -> None:
        self._calls = calls
        self._begin = begin
        self._inputs = inputs
        """The inputs that the map's task reads; `None`: the reader brings them (`turn`)."""
        self._host: Host | None = None
        self._entered = False
        self._busy = False

    async def __aenter__(self) -> Self:
        if self._entered or self._host is not None:
            raise UsageError("a map is entered once, before it is read; ask the client for a new one")
        self._entered = True
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MapResult[Input_co, Response_co]:
        """Return the next result. After the last one, raises the exception of the inputs if there was one."""
        result = await self.turn()
        if isinstance(result, MapResult):
            return result
        raise StopAsyncIteration

    def bring_inputs(self) -> Inputs | None:
        """Return the inputs for a reader that brings them itself in `turn`; `None` for async ones."""
        if self._inputs is None or self._inputs.is_async:
            return None
        inputs, self._inputs = self._inputs, None
        return inputs

    async def turn(self, brought: Any = None) -> MapResult[Input_co, Response_co] | Wanted | None:
        """Wait for a result, or `None` at the end. Returns `WANTED` if the reader is to bring an input.

        `brought` is an input in a tuple, or `Ended`. A reader that has just brought something gets a result if there is
        one.
        """
        calls = self._calls
        if self._busy:
            raise UsageError("another task is reading this map; give each task a map of its own")
        self._busy = True
        try:
            await self._start()
            if isinstance(brought, Ended):
                calls.end_inputs(brought.error)
            elif brought is not None:
                await calls.bring(brought[0])
            while True:
                # Results that are always available must not delay a cancellation of the reader.
                await anyio.lowlevel.checkpoint_if_cancelled()
                if (answer := self._next(fed=brought is not None)) is not _NOTHING:
                    return cast("MapResult[Input_co, Response_co] | Wanted | None", answer)
                await calls.change()
        except Exception:
            raise
        except BaseException:
            if not self._entered:
                # Nothing else would end it.
                await self.close()
            raise
        finally:
            self._busy = False

    def _next(self, *, fed: bool) -> object:
        """Return the result of `turn` if it is known already."""
        calls, failure = self._calls, self._calls.failure
        if failure is not None and not isinstance(failure, Exception):
            raise failure
        if calls.closed:
            raise UsageError("this map was closed before its end")
        wants = self._inputs is None and calls.wants_input and calls.check_accepting()
        if wants and not (fed and calls.has_result):
            return WANTED
        if calls.has_result:
            return calls.take()
        if not calls.over:
            return _NOTHING
        if failure := calls.failure:
            raise failure
        return None

    async def _start(self) -> None:
        if self._host is None:
            self._host = await self._begin(self._calls, self._inputs)
            await self._calls.begun()

    async def close(self) -> None:
        """Read no more inputs, and cancel the calls in progress.

        It may be called repeatedly, and has no effect after the end.
        """
        calls = self._calls
        if calls.over:
            return
        calls.cancel()
        if self._host is not None:
            with anyio.CancelScope(shield=True):
                await calls.ended()

    def __repr__(self) -> str:
        calls = self._calls
        state = "ended" if calls.over else "closed" if calls.closed else "running" if self._host else "not begun"
        return f"MapIterator({state})"

    def __del__(self) -> None:
        # Finalizers run anywhere, also in another thread.
        if self._host is not None and not self._calls.over:
            self._host.call_soon(self._calls.cancel)


_NOTHING: Final = object()


def _defect(cause: BaseException) -> BifrostError:
    error = InternalError(
        f"{type(cause).__name__} where none is expected: a defect of bifrost, or of something that it was given"
    )
    error.__cause__ = cause
    return error


def check_inputs(inputs: object) -> None:
    """Check that the inputs are an iterable, and not a single input. Raises `InvalidRequestError`."""
    kind = type(inputs).__name__
    if isinstance(inputs, str | bytes | bytearray | Mapping | msgspec.Struct):
        raise InvalidRequestError(
            f"inputs: a map takes an iterable of prompts or requests, not one {kind}; write [...] around a single one"
        )
    if not isinstance(inputs, Iterable | AsyncIterable):
        raise InvalidRequestError(f"inputs: expected an iterable of prompts or requests, async or not, got {kind}")


def check_concurrency(concurrency: object) -> None:
    """Check a number of calls. Raises `InvalidRequestError`."""
    if concurrency is None:
        return
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise InvalidRequestError(f"concurrency: how many calls run at once, 1 or more, not {concurrency!r}")
