"""Plugins: hooks around each call and each candidate, and the chain that runs them in order.

`before*` hooks run in order and `after*` hooks in reverse order. An `after*` hook runs exactly once for each plugin
whose `before*` hook was reached, also after an error, cancellation or timeout. A call keeps the chain that it started
with.
"""

from __future__ import annotations

import logging
import math
from inspect import iscoroutinefunction, signature
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, cast

import anyio
import msgspec

from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, PluginError, near_matches, without_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.attempt_record import AttemptRecord
    from bifrost.context import CallContext
    from bifrost.operations.base import Operation

_log = logging.getLogger("bifrost.plugins")

BLOCKING = 0.2
"""How long foreign code may block the event loop before a warning is logged, in seconds. Measuring it costs two reads
of the clock per synchronous step; asyncio's debug mode covers the inside of `async` hooks.
"""

_CLOSE_LIMIT = 5.0
"""How long a plugin without a `timeout` may take to close, in seconds."""

LATE_ALL = 10.0
"""How long the `after*` hooks of a call may take together when the call has timed out or was cancelled, in seconds."""

_LATE_EACH = 1.0
"""How long each of them may take at least, however long the others took, in seconds."""

Outcome: TypeAlias = Any
"""A response, or the `BifrostError` instead of it."""


class Drop:
    """The result of `on_chunk` that removes a chunk from the stream."""


DROP: Final = Drop()


class Plugin:
    """The base class of plugins, with empty hooks. Override the ones that you need. A hook may be `async` or not.

        class Logger(Plugin):
            def after_call(self, call, outcome):
                print(call.model, outcome)

    An exception in a hook is a failure of the plugin, which `on_error` handles. A `BifrostError` is not: it is the
    plugin's decision that the call (or candidate) fails with that error. Set `fallback = False` on the error to prevent
    fallbacks.

    Requests and responses are shared: do not modify their lists, but return a changed copy (`request.replace(...)`). A
    call that a hook makes with the client passes through the plugins again, including its own.
    """

    name: str = ""
    """The name, unique among the plugins of a client. Empty: the name of the class."""

    timeout: float | None = None
    """The time limit for each hook of the plugin, in seconds. `None`: the deadline of the call."""

    on_error: Literal["skip", "fail"] = "skip"
    """What a failing hook does to the call: `"skip"` continues with a warning on the response, `"fail"` raises
    `PluginError`. Plugins that enforce something should use `"fail"`.
    """

    def before_call(self, call: CallContext, request: Any) -> Any:
        """Run once per call, before routing. Return a changed request, or `None` to keep it."""

    def after_call(self, call: CallContext, outcome: Outcome) -> Any:
        """Run once per call, at its very end. Return another outcome, or `None` to keep it.

        A failure of an `after*` hook never fails the call, whatever `on_error` is: the outcome is kept.
        """

    def before(self, call: CallContext, request: Any) -> Any:
        """Run for each candidate (the primary and the fallbacks), before its first attempt.

        Return a changed request, whose `model` is one of this provider; or a result, so that the provider is not
        called: a response, an error, or, for an operation that streams, an iterable of chunks (async or not); or `None`
        to continue. Either kind of result serves calls with and without streaming.
        """

    def after(self, call: CallContext, outcome: Outcome) -> Any:
        """Run for each candidate, after its last attempt or at the end of its stream.

        Return a response instead of an error (recovery), an error instead of a response (rejection), or `None` to keep
        the outcome.
        """

    def on_chunk(self, call: CallContext, chunk: Any) -> msgspec.Struct | bytes | Drop | None:
        """Run for each chunk of a stream. Return another chunk, `DROP`, or `None` to keep it. It must not be `async`.

        The chunks of a chat are `Chunk` objects; those of a stream of bytes are `bytes`.

        Only plugins whose `before*` hooks were reached see the stream, until their `after` hook has run. A
        `StreamReset`, which discards the chunks before it, cannot be dropped.
        """

    def on_attempt(self, call: CallContext, record: AttemptRecord) -> Any:
        """See the record of each attempt that has ended, of all plugins in order. Never `async`.

        The attempt of a stream ends with the stream. A failure of this hook never fails the call.
        """

    def open(self) -> Any:
        """Run when the client opens."""

    def close(self) -> Any:
        """Run when the client closes."""


class TimeLeft(msgspec.Struct):
    """The time for the `after*` hooks of a call that has timed out or was cancelled.

    Each hook has at least `_LATE_EACH` seconds, which earlier hooks cannot use up, and all together have `_LATE_ALL`.
    """

    until: float
    due: int
    """The number of hooks that have not run yet."""

    @classmethod
    def of(cls, due: int, *, now: float) -> TimeLeft:
        """Return the time for this number of hooks, from now on."""
        return cls(until=now + LATE_ALL, due=due)

    def deadline(self, now: float) -> float:
        """Return the deadline of the next hook."""
        self.due -= 1
        return max(now + _LATE_EACH, self.until - self.due * _LATE_EACH)


class Progress(msgspec.Struct):
    """How many plugins of the chain a call has entered: their `after*` hooks are due."""

    entered: int = 0
    late: TimeLeft | None = None
    """The time for the hooks if the call has timed out or was cancelled; else `None`."""


class _Hook:
    """One hook that a plugin overrides."""

    __slots__ = ("blocked", "function", "index", "name", "plugin")

    def __init__(self, index: int, plugin: Plugin, name: str) -> None:
        self.index = index
        self.plugin = plugin
        self.name = name
        self.function: Callable[..., Any] = getattr(plugin, name)
        self.blocked = False
        """Whether a warning about blocking was logged."""

    def warn(self, seconds: float) -> None:
        """Log a warning, once, that it blocked the event loop."""
        if not self.blocked:
            self.blocked = True
            _log.warning(
                "plugin %s blocked the event loop for %.2f s in %s: no call could proceed; make it async, or let a "
                "thread do it",
                ascii(_name(self.plugin)),
                seconds,
                self.name,
            )


class Chain:
    """The plugins of a client in order. It is immutable: adding, removing and reordering return a new chain."""

    HOOKS: ClassVar[tuple[str, ...]] = (
        "before_call",
        "after_call",
        "before",
        "after",
        "on_chunk",
        "on_attempt",
        "open",
        "close",
    )

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self.plugins = _checked(plugins)
        self.names = tuple(_name(plugin) for plugin in self.plugins)
        for name in self.names:
            if self.names.count(name) > 1:
                raise ConfigError(f"two plugins have the name {name!r}; give one of them another `name`")
        self.size = len(self.plugins)
        self._hooks = {name: self._overridden(name) for name in self.HOOKS}
        self._before_call = self._hooks["before_call"]
        self._after_call = self._hooks["after_call"][::-1]
        self._before = self._hooks["before"]
        self._after = self._hooks["after"][::-1]
        self._on_chunk = self._hooks["on_chunk"][::-1]
        self.attempt_hooks = self._hooks["on_attempt"]

    def _overridden(self, name: str) -> list[_Hook]:
        return [_Hook(index, plugin, name) for index, plugin in enumerate(self.plugins) if _overrides(plugin, name)]

    @property
    def names_models(self) -> bool:
        """Whether a `before_call` hook may change the model of a call."""
        return bool(self._before_call)

    def hooks_of_calls(self) -> list[tuple[str, list[str]]]:
        """Return the plugins' names, each with its hooks that run during calls."""
        passed = [hook for name, hooks in self._hooks.items() if name not in ("open", "close") for hook in hooks]
        return [(name, [hook.name for hook in passed if hook.index == index]) for index, name in enumerate(self.names)]

    # --- change

    def with_plugin(self, plugin: Plugin, *, before: str | None = None) -> Chain:
        """Return a chain with a plugin added at the end or before the plugin named `before`.

        A plugin of the same name is replaced.
        """
        _checked([plugin])
        plugins, name = list(self.plugins), _name(plugin)
        if name in self.names and before is None:
            plugins[self.names.index(name)] = plugin
            return Chain(plugins)
        kept = [other for other in plugins if _name(other) != name]
        place = len(kept) if before is None else [_name(other) for other in kept].index(self._known(before))
        return Chain([*kept[:place], plugin, *kept[place:]])

    def without(self, name: str) -> Chain:
        """Return a chain without a plugin. Raises `ConfigError` if there is none of this name."""
        self._known(name)
        return Chain([plugin for plugin in self.plugins if _name(plugin) != name])

    def ordered(self, names: Sequence[str]) -> Chain:
        """Return a chain with another order. Each name must occur once."""
        if sorted(names) != sorted(self.names):
            raise ConfigError(f"an order must name every plugin once: {', '.join(self.names) or 'there are none'}")
        return Chain([self.plugins[self.names.index(name)] for name in names])

    def find(self, name: str) -> Plugin:
        """Return the plugin of this name. Raises `ConfigError` if there is none."""
        return self.plugins[self.names.index(self._known(name))]

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise ConfigError(f"there is no plugin named {name!r}; there are: {', '.join(self.names) or 'none'}")
        return name

    # --- run

    async def before_call(self, call: CallContext, request: Any, progress: Progress) -> Any:
        """Run the `before_call` hooks and return the request. `progress` is updated before each hook runs.

        Raises the error of a hook, or `PluginError`.
        """
        for hook in self._before_call:
            progress.entered = hook.index + 1
            result = await self._run(hook, call, request)
            if isinstance(result, type(request)):
                request = result
            elif result is not None:
                self._failed(hook, call, _wrong(hook, result, f"{type(request).__name__} or None"))
        progress.entered = self.size if self._after_call else 0
        return request

    async def before(self, call: CallContext, request: Any, progress: Progress) -> tuple[Any, Any]:
        """Run the `before` hooks. Returns the request, and the result if a plugin has returned one.

        A result is a response, an error, a list of chunks, or an asynchronous iterator of chunks. Raises the error of a
        hook, or `PluginError`.
        """
        for hook in self._before:
            progress.entered = hook.index + 1
            result = await self._run(hook, call, request)
            if result is None:
                continue
            if isinstance(result, type(request)):
                request = result
                continue
            answer = self._answer(hook, call, result)
            if answer is not None:
                return request, answer
        progress.entered = self.size
        return request, None

    def due(self, hooks: Progress, call_hooks: Progress) -> int:
        """Return the number of `after` and `after_call` hooks that are due."""
        after = sum(hook.index < hooks.entered for hook in self._after)
        return after + sum(hook.index < call_hooks.entered for hook in self._after_call)

    async def after(self, call: CallContext, outcome: Outcome, progress: Progress) -> Outcome:
        """Run the `after` hooks of the plugins that were entered, in reverse order.

        `progress` is updated before each hook runs, so that the remaining hooks can run after a cancellation.
        """
        return await self._backwards(self._after, call, outcome, progress)

    async def after_call(self, call: CallContext, outcome: Outcome, progress: Progress) -> Outcome:
        """Run the `after_call` hooks of the plugins that were entered, in reverse order, like `after`."""
        return await self._backwards(self._after_call, call, outcome, progress)

    def on_chunk(self, call: CallContext, progress: Progress) -> Callable[[Any], Any] | None:
        """Return a function that passes chunks through the plugins that were entered, in reverse order.

        The function returns the resulting chunk, or `None` if a plugin dropped it. It raises the error of a hook, or
        `PluginError`. `None` instead of a function means that no plugin has such a hook.
        """
        hooks = [hook for hook in self._on_chunk if hook.index < progress.entered]
        streaming = call.operation.streaming
        if not hooks or streaming is None:
            return None
        kind = streaming.chunk
        reset = () if streaming.reset is None else streaming.reset

        def passed(chunk: Any) -> Any:
            for hook in hooks:
                began = perf_counter()
                try:
                    result = hook.function(call, chunk)
                except BifrostError:
                    raise
                except Exception as error:  # noqa: BLE001 - foreign code
                    self._failed(hook, call, error)
                    continue
                if (took := perf_counter() - began) > BLOCKING:
                    hook.warn(took)
                if isinstance(chunk, reset):
                    continue
                if isinstance(result, Drop):
                    return None
                if isinstance(result, kind):
                    chunk = result
                elif result is not None:
                    self._failed(hook, call, _wrong(hook, result, f"{kind.__name__}, DROP or None"))
            return chunk

        return passed

    def on_attempt(self, call: CallContext, record: AttemptRecord) -> None:
        """Run the `on_attempt` hooks. None of them fails the call."""
        for hook in self.attempt_hooks:
            began = perf_counter()
            try:
                result = hook.function(call, record)
            except Exception as error:  # noqa: BLE001 - foreign code
                self._failed(hook, call, error, keep=True)
                continue
            if (took := perf_counter() - began) > BLOCKING:
                hook.warn(took)
            if result is not None:
                self._failed(hook, call, _wrong(hook, result, "None"), keep=True)

    async def open(self, plugins: Sequence[Plugin] | None = None) -> None:
        """Run the `open` hooks of these plugins, by default of all.

        If one fails, those that were opened are closed again. Raises its `BifrostError`, or `PluginError`.
        """
        hooks = {id(hook.plugin): hook for hook in self._hooks["open"]}
        opened: list[Plugin] = []
        for plugin in self.plugins if plugins is None else plugins:
            try:
                if id(plugin) in hooks:
                    await self._life(hooks[id(plugin)], plugin.timeout)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self.close(opened)
                raise
            opened.append(plugin)

    async def close(self, plugins: Sequence[Plugin] | None = None) -> None:
        """Run the `close` hooks in reverse order.

        Failures are logged, so that they cannot prevent a client from closing.
        """
        for hook in reversed(self._hooks["close"]):
            if plugins is None or hook.plugin in plugins:
                try:
                    await self._life(hook, hook.plugin.timeout or _CLOSE_LIMIT)
                except BifrostError as error:
                    _log.warning("%s", error)

    # --- one hook

    async def _backwards(self, hooks: list[_Hook], call: CallContext, outcome: Outcome, progress: Progress) -> Outcome:
        for hook in hooks:
            if hook.index >= progress.entered:
                continue
            progress.entered = hook.index
            try:
                if progress.late is None:
                    result = await self._run(hook, call, outcome, keep_on_error=True)
                else:
                    result = await self._run_late(hook, call, outcome, progress.late)
            except BifrostError as error:
                result = error
            if isinstance(result, (BifrostError, call.operation.response)):
                outcome = result
            elif result is not None:
                wanted = f"{call.operation.response.__name__}, an error or None"
                self._failed(hook, call, _wrong(hook, result, wanted), keep=True)
        progress.entered = 0
        return outcome

    async def _run(self, hook: _Hook, call: CallContext, value: Any, *, keep_on_error: bool = False) -> Any:
        try:
            if hook.plugin.timeout is None:
                began = perf_counter()
                result = hook.function(call, value)
                if (took := perf_counter() - began) > BLOCKING:
                    hook.warn(took)
                return await result if hasattr(result, "__await__") else result
            return await _timed(hook, hook.plugin.timeout, call, value)
        except BifrostError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code
            failure: Exception = error
        except BaseExceptionGroup as group:
            raise without_errors(group) from None
        self._failed(hook, call, failure, keep=keep_on_error)
        return None

    async def _run_late(self, hook: _Hook, call: CallContext, outcome: Outcome, left: TimeLeft) -> Any:
        """Run an `after*` hook of a call that has timed out or was cancelled, within its time."""
        now = anyio.current_time()
        deadline = left.deadline(now)
        with anyio.CancelScope(deadline=deadline) as scope:
            return await self._run(hook, call, outcome, keep_on_error=True)
        if scope.cancelled_caught:
            self._failed(hook, call, _TooSlowError(_too_slow(deadline - now)), keep=True)
        return None

    async def _life(self, hook: _Hook, timeout: float | None) -> None:
        try:
            await _timed(hook, timeout)
        except BifrostError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code
            failure: Exception = error
        else:
            return
        raise PluginError(_told(hook, failure)) from failure

    def _answer(self, hook: _Hook, call: CallContext, result: Any) -> Any:
        """Return the result of a `before` hook that replaces the provider's response; `None` if it is not a result."""
        operation = call.operation
        if isinstance(result, (BifrostError, operation.response)):
            return result
        failure: Exception = _wrong(hook, result, _answers_of(operation))
        kind = operation.chunk
        try:
            if kind is not None and hasattr(result, "__aiter__"):
                return aiter(result)
            if kind is not None and hasattr(result, "__iter__"):
                chunks = list(result)  # foreign code, if it is a generator
                if all(isinstance(chunk, kind) for chunk in chunks):
                    return chunks
        except BifrostError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code
            failure = error
        self._failed(hook, call, failure)
        return None

    def _failed(self, hook: _Hook, call: CallContext, error: Exception, *, keep: bool = False) -> None:
        """Treat a hook's failure as its plugin says; what `after*` hooks do to an outcome never fails a call."""
        text = _told(hook, error)
        if hook.plugin.on_error == "fail" and not keep:
            provider, model = call.provider or None, call.model
            if isinstance(error, _TooSlowError):
                raise CallTimeoutError(text, phase="hook", provider=provider, model=model) from error
            raise PluginError(text, provider=provider, model=model) from error
        if text not in call.warnings:
            # Once is enough: `on_chunk` may fail a thousand times in one stream.
            call.warnings.append(text)
            _log.warning("%s", text, exc_info=error)


class _MisuseError(Exception):
    """What a hook did wrong without raising. The text is ours, and so it may be shown."""


class _TooSlowError(_MisuseError):
    """A hook took longer than its plugin allows it."""


def _wrong(hook: _Hook, result: object, wanted: str) -> _MisuseError:
    return _MisuseError(f"{hook.name} returned {type(result).__name__}, but it may return only {wanted}")


def _answers_of(operation: Operation[Any, Any, Any]) -> str:
    """Return the words for what a `before` hook may return."""
    chunks = "" if operation.chunk is None else " chunks,"
    return f"{operation.response.__name__}, an error,{chunks} a request or None"


def _told(hook: _Hook, error: Exception) -> str:
    reason = str(error) if isinstance(error, _MisuseError) else type(error).__name__
    return f"plugin {_name(hook.plugin)!r} failed in {hook.name}: {reason}"


async def _timed(hook: _Hook, timeout: float | None, *arguments: Any) -> Any:
    with anyio.CancelScope(deadline=math.inf if timeout is None else anyio.current_time() + timeout) as scope:
        began = perf_counter()
        result = hook.function(*arguments)
        if (took := perf_counter() - began) > BLOCKING:
            hook.warn(took)
        return await result if hasattr(result, "__await__") else result
    if scope.cancelled_caught:
        raise _TooSlowError(_too_slow(timeout))
    return None


def _too_slow(seconds: float | None) -> str:
    return f"it took longer than {seconds:g} s"


def _name(plugin: Plugin) -> str:
    return plugin.name or type(plugin).__name__


def _overrides(plugin: Plugin, hook: str) -> bool:
    base = getattr(Plugin, hook)
    return getattr(type(plugin), hook, base) is not base or hook in getattr(plugin, "__dict__", ())


def _checked(plugins: Any) -> tuple[Plugin, ...]:
    if not hasattr(plugins, "__iter__"):
        raise ConfigError(f"plugins must be a list of Plugin objects, not {type(plugins).__name__}")
    found = tuple(plugins)
    for plugin in found:
        if isinstance(plugin, type):
            raise ConfigError(f"plugins must be objects, not classes: write {plugin.__name__}()")
        if not isinstance(plugin, Plugin):
            raise ConfigError(f"{type(plugin).__name__} is not a plugin; derive it from bifrost.Plugin")
        _check_settings(plugin)
        _check_hooks(plugin)
    return found


def _check_settings(plugin: Plugin) -> None:
    name, timeout = _name(plugin), cast("object", plugin.timeout)
    if plugin.on_error not in ("skip", "fail"):
        raise ConfigError(f'plugin {name!r}: on_error must be "skip" or "fail", not {plugin.on_error!r}')
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0):
        raise ConfigError(f"plugin {name!r}: timeout must be a number of seconds above 0, or None, not {timeout!r}")
    if iscoroutinefunction(plugin.on_chunk):
        raise ConfigError(
            f"plugin {name!r}: on_chunk runs for every chunk and must not be async; make it a plain function"
        )
    if iscoroutinefunction(plugin.on_attempt):
        raise ConfigError(f"plugin {name!r}: on_attempt must not be async; make it a plain function")


def _check_hooks(plugin: Plugin) -> None:
    """Refuse a plugin that would have no effect, or always fail, because of the name or the parameters of a hook."""
    overridden = [hook for hook in Chain.HOOKS if _overrides(plugin, hook)]
    methods = [] if overridden else [name for name, value in vars(type(plugin)).items() if callable(value)]
    for method in methods:
        if meant := near_matches(method, Chain.HOOKS, most=1, cutoff=0.75):
            raise ConfigError(
                f"plugin {_name(plugin)!r} has no hook, and its method {method!r} is never called; "
                f"did you mean {meant[0]!r}?"
            )
    for hook in overridden:
        takes = list(signature(getattr(Plugin, hook)).parameters)[1:]
        try:
            fits = signature(getattr(plugin, hook))
        except ValueError:  # One that does not tell.
            continue
        try:
            fits.bind(*takes)
        except TypeError:
            wanted = f"is called with {', '.join(takes)}" if takes else "is called without arguments"
            raise ConfigError(f"plugin {_name(plugin)!r}: {hook} {wanted}, not as it is written: {fits}") from None
