"""Plugins: hooks around every call and every candidate, and the chain that runs them in order.

The rules: `before*` hooks run in order, `after*` hooks backwards, and an `after*` runs exactly once for every plugin
whose `before*` was reached, also on error, cancellation and deadline. A call keeps the chain it started with.
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
"""How long foreign code may keep the event loop before it is warned of, in seconds. Two looks at the clock for each
plain step of it are all that this costs; what an `async` hook does inside is told by asyncio's debug mode."""

_CLOSE_LIMIT = 5.0
"""How long a plugin without a `timeout` of its own may take to close, in seconds."""

LATE_ALL = 10.0
"""How long the `after*` hooks of a call may take when its own time is over or its caller has left, in seconds."""

_LATE_EACH = 1.0
"""How long each of them may take whatever those before it took, in seconds."""

Outcome: TypeAlias = Any
"""A response, or the `BifrostError` that stands in its place."""


class Drop:
    """What `on_chunk` returns to take a chunk out of the stream."""


DROP: Final = Drop()


class Plugin:
    """Base of plugins, with empty hooks: override those you need. A hook may be `async` or plain.

    `name` tells plugins of one client apart. `timeout` bounds each of the plugin's hooks, in seconds; without one the
    call's deadline does. `on_error` says what a failing hook does to the call: `"skip"` (the call goes on, with a
    warning on the answer) or `"fail"` (`PluginError`); a plugin that guards something should say `"fail"`.

    Raising a `BifrostError` is no failure of the plugin but its verdict: the call (or candidate) fails with it. Set
    `fallback = False` on the error to keep the fallbacks from being tried.

    Requests and responses are shared: do not change the lists in them, return a changed copy
    (`msgspec.structs.replace`). A hook that calls the client passes through the plugins again, its own included.
    """

    name: str = ""
    timeout: float | None = None
    on_error: Literal["skip", "fail"] = "skip"

    def before_call(self, call: CallContext, request: Any) -> Any:
        """Run once per call, before routing. Return a changed request, or `None` to leave it as it is."""

    def after_call(self, call: CallContext, outcome: Outcome) -> Any:
        """Run once per call, at its very end. Return another outcome, or `None` to leave it as it is.

        A failure of an `after*` hook never fails the call, whatever `on_error` says: the outcome stays as it was.
        """

    def before(self, call: CallContext, request: Any) -> Any:
        """Run for each candidate (primary and fallbacks), before its first attempt.

        Return a changed request, whose `model` is one of this provider; or an answer: a response, an error, or for an
        operation that streams an iterable (async or not) of chunks; or `None` to go on. With an answer the provider is
        not asked. An answer of either kind serves a plain call and a stream alike.
        """

    def after(self, call: CallContext, outcome: Outcome) -> Any:
        """Run for each candidate, after its last attempt or at the end of its stream.

        Return a response in an error's place (recovery), an error in a response's place (invalidation), or `None`.
        """

    def on_chunk(self, call: CallContext, chunk: Any) -> msgspec.Struct | bytes | Drop | None:
        """See each chunk of a stream pass. Return another one, `DROP`, or `None` to leave it. Never `async`.

        The chunks of a chat are `Chunk` objects; those of a stream of bytes are `bytes`.

        Only a plugin that has entered the call sees its stream, and none after its `after` hook has run. A
        `StreamReset` takes back the chunks before it; it passes whatever is returned.
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
    """The time of the `after*` hooks that run when their call's own time is over, or its caller has left.

    Each has at least `_LATE_EACH` seconds, which none before it can use up, and all together `_LATE_ALL`.
    """

    until: float
    due: int
    """How many hooks have not run yet."""

    @classmethod
    def of(cls, due: int, *, now: float) -> TimeLeft:
        """Return the time of so many hooks from now on."""
        return cls(until=now + LATE_ALL, due=due)

    def deadline(self, now: float) -> float:
        """Return when the next hook must be done."""
        self.due -= 1
        return max(now + _LATE_EACH, self.until - self.due * _LATE_EACH)


class Progress(msgspec.Struct):
    """How far a call has entered its chain: the `after*` hooks of so many plugins are due."""

    entered: int = 0
    late: TimeLeft | None = None
    """Their time, if the call's is over."""


class _Hook:
    """One overridden hook of one plugin."""

    __slots__ = ("blocked", "function", "index", "name", "plugin")

    def __init__(self, index: int, plugin: Plugin, name: str) -> None:
        self.index = index
        self.plugin = plugin
        self.name = name
        self.function: Callable[..., Any] = getattr(plugin, name)
        self.blocked = False
        """It was warned of."""

    def warn(self, seconds: float) -> None:
        """Tell, once, that it kept the event loop."""
        if not self.blocked:
            self.blocked = True
            _log.warning(
                "plugin %s blocked the event loop for %.2f s in %s: no call got on meanwhile; make it async, or let a "
                "thread do it",
                ascii(_name(self.plugin)),
                seconds,
                self.name,
            )


class Chain:
    """A client's plugins in order. Immutable: adding, removing and reordering give a new chain."""

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
                raise ConfigError(f"two plugins are called {name!r}; give one of them another `name`")
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
        """Whether a `before_call` hook may lead a call to another model."""
        return bool(self._before_call)

    def hooks_of_calls(self) -> list[tuple[str, list[str]]]:
        """Give the plugins' names, each with those of its hooks that calls pass."""
        passed = [hook for name, hooks in self._hooks.items() if name not in ("open", "close") for hook in hooks]
        return [(name, [hook.name for hook in passed if hook.index == index]) for index, name in enumerate(self.names)]

    # --- change

    def with_plugin(self, plugin: Plugin, *, before: str | None = None) -> Chain:
        """Add a plugin at the end, or before the one with this name; one of the same name is replaced in place."""
        _checked([plugin])
        plugins, name = list(self.plugins), _name(plugin)
        if name in self.names and before is None:
            plugins[self.names.index(name)] = plugin
            return Chain(plugins)
        kept = [other for other in plugins if _name(other) != name]
        place = len(kept) if before is None else [_name(other) for other in kept].index(self._known(before))
        return Chain([*kept[:place], plugin, *kept[place:]])

    def without(self, name: str) -> Chain:
        """Take a plugin out. Raises `ConfigError` if there is none of this name."""
        self._known(name)
        return Chain([plugin for plugin in self.plugins if _name(plugin) != name])

    def ordered(self, names: Sequence[str]) -> Chain:
        """Give the plugins in another order; every name must stand once."""
        if sorted(names) != sorted(self.names):
            raise ConfigError(f"an order names every plugin once: {', '.join(self.names) or 'there are none'}")
        return Chain([self.plugins[self.names.index(name)] for name in names])

    def find(self, name: str) -> Plugin:
        """Give the plugin of this name. Raises `ConfigError`."""
        return self.plugins[self.names.index(self._known(name))]

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise ConfigError(f"no plugin is called {name!r}; there are: {', '.join(self.names) or 'none'}")
        return name

    # --- run

    async def before_call(self, call: CallContext, request: Any, progress: Progress) -> Any:
        """Run the `before_call` hooks. How far the chain was entered stands in `progress` before each of them runs.

        Raises a hook's verdict, or `PluginError`.
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
        """Run the `before` hooks. Gives the request, and the answer of a plugin that answered by itself.

        An answer is a response, an error, a list of chunks, or an asynchronous iterator of chunks. Raises a hook's
        verdict, or `PluginError`.
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
        """Return how many `after` and `after_call` hooks are due."""
        after = sum(hook.index < hooks.entered for hook in self._after)
        return after + sum(hook.index < call_hooks.entered for hook in self._after_call)

    async def after(self, call: CallContext, outcome: Outcome, progress: Progress) -> Outcome:
        """Run the `after` hooks of the plugins that were entered, backwards.

        Each is taken off `progress` before it runs: whoever is cancelled here can go on with those that are left.
        """
        return await self._backwards(self._after, call, outcome, progress)

    async def after_call(self, call: CallContext, outcome: Outcome, progress: Progress) -> Outcome:
        """Run the `after_call` hooks of the plugins that were entered, backwards; as `after` does."""
        return await self._backwards(self._after_call, call, outcome, progress)

    def on_chunk(self, call: CallContext, progress: Progress) -> Callable[[Any], Any] | None:
        """Give what passes a stream's chunks through the plugins that were entered, backwards; `None`: nobody looks.

        It gives the chunk that comes out, `None` if a plugin took it out. It raises a hook's verdict, or `PluginError`.
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
        """Run the `open` hooks, of all plugins or of these.

        If one fails, those that are open are closed again. Raises its `BifrostError`, or `PluginError`.
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
        """Run the `close` hooks, backwards. Failures are logged: nothing may keep a client from closing."""
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
        """Run an `after*` hook within the time that it has when its call's is over."""
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
        """Give what a `before` hook returned in place of the provider's answer, `None` if it is no answer."""
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
    return _MisuseError(f"{hook.name} returned {type(result).__name__}, where it may return {wanted}")


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
        raise ConfigError(f"plugins is a list of Plugin objects, not {type(plugins).__name__}")
    found = tuple(plugins)
    for plugin in found:
        if isinstance(plugin, type):
            raise ConfigError(f"plugins takes objects, not classes: write {plugin.__name__}()")
        if not isinstance(plugin, Plugin):
            raise ConfigError(f"{type(plugin).__name__} is no plugin; derive it from bifrost.Plugin")
        _check_settings(plugin)
        _check_hooks(plugin)
    return found


def _check_settings(plugin: Plugin) -> None:
    name, timeout = _name(plugin), cast("object", plugin.timeout)
    if plugin.on_error not in ("skip", "fail"):
        raise ConfigError(f'plugin {name!r}: on_error is "skip" or "fail", not {plugin.on_error!r}')
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0):
        raise ConfigError(f"plugin {name!r}: timeout is a number of seconds above 0, or None, not {timeout!r}")
    if iscoroutinefunction(plugin.on_chunk):
        raise ConfigError(
            f"plugin {name!r}: on_chunk runs for every chunk and is never async; make it a plain function"
        )
    if iscoroutinefunction(plugin.on_attempt):
        raise ConfigError(f"plugin {name!r}: on_attempt is never async; make it a plain function")


def _check_hooks(plugin: Plugin) -> None:
    """Refuse a plugin that would do nothing, or fail each time: the name of a hook is wrong, or what it takes."""
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
