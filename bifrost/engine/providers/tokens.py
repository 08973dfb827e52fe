"""The tokens of keys whose credentials expire: fetched once for all calls, refreshed before they expire."""

from __future__ import annotations

import logging
import math
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from bifrost.credentials.base import Token, identity_of, name_of
from bifrost.engine.pool.workers import own
from bifrost.errors import BifrostError, ConfigError, ShuttingDownError, TokenError, without_errors
from bifrost.event_loop import is_stray
from bifrost.wire.secrets import Secret, check_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host

_log = logging.getLogger("bifrost.account")

FETCH_LIMIT = 60.0
"""How long a source may take for a token, in seconds."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""How long a source is left alone after a failure, in seconds. The time doubles with each further failure."""

_UNKNOWN_LIFETIME = 60.0
"""How long a token without a known expiry is used before it is fetched anew, in seconds."""

_MARGIN = 10.0
"""So long before its expiry a token is not used any more, in seconds: the request takes time, and clocks differ."""

_MAX_SOURCES = 10_000
"""The most sources whose tokens are kept. An account may return other keys for every call, so this is bounded."""


class Fetch:
    """A fetch in progress, for which any number of calls wait."""

    __slots__ = ("done", "failure")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.failure: BifrostError | None = ShuttingDownError("the client was closed while a token was fetched")
        """Why there is no token; `None` after a success."""


class TokenState:
    """The current token of a source, and how fetching it went."""

    __slots__ = ("due", "expires_at", "failures", "fetch", "is_doubtful", "paused", "secret", "source")

    def __init__(self, source: Any) -> None:
        self.source = source
        self.secret: Secret | None = None
        """The token; `None` before the first one, and after the provider has refused it."""
        self.expires_at = math.inf
        """Until when it can be used, in seconds since the epoch."""
        self.due = math.inf
        """When it is fetched anew, in seconds since the epoch."""
        self.fetch: Fetch | None = None
        """The fetch in progress."""
        self.failures = 0
        """The failures since the last success."""
        self.paused: tuple[float, BifrostError] | None = None
        """Until when the source is left alone, on the event loop's clock, and the failure that is the reason."""
        self.is_doubtful = False
        """Whether it replaces a token that the provider has refused, and was not accepted yet."""

    def accepted(self) -> None:
        """Record that the provider has accepted a request with a token of this source."""
        self.is_doubtful = False

    def refused(self, secret: Secret | None) -> bool:
        """Record that the provider has refused a token. Returns whether another one may help.

        It may once: if the provider refuses the new token as well, the key itself is of no use.
        """
        if self.secret is None or self.secret != secret:
            # It was replaced, or is being replaced, since the request was sent.
            return True
        self.secret = None
        self.is_doubtful = not self.is_doubtful
        return self.is_doubtful


class Tokens:
    """The tokens of one client on one event loop."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._states: dict[object, TokenState] = {}
        self._threads: anyio.CapacityLimiter | None = None

    def of(self, source: Any) -> TokenState:
        """Return the state of a source."""
        identity = identity_of(source)
        state = self._states.get(identity)
        if state is None:
            while len(self._states) >= _MAX_SOURCES:
                del self._states[next(iter(self._states))]
            state = self._states[identity] = TokenState(source)
        return state

    def current(self, state: TokenState, *, refresh_before: float) -> Secret | None:
        """Return a token that can be used now; `None` if it must be fetched first (`fetch`).

        A token that expires soon is returned, and fetched anew in the background.
        """
        now = self._clock.wall()
        if state.secret is None or now >= state.expires_at:
            return None
        if now >= state.due and state.fetch is None and not self._is_paused(state) and self._host.alive:
            self._begin(state, refresh_before)
        return state.secret

    async def fetch(self, state: TokenState, *, refresh_before: float, again: bool = False) -> None:
        """Wait until a source has a token. Only the first of the calls that wait has it fetched.

        `again` says that the caller has waited since the last failure. Raises `TokenError`, at once during the pause
        after a failure, `ConfigError` for what a source must not return, and `ShuttingDownError`.
        """
        if state.fetch is None and state.paused is not None and self._is_paused(state) and not again:
            until, failure = state.paused
            failure = own(failure)
            failure.retry_after = until - self._host.now()
            raise failure
        if state.fetch is None and not self._host.alive:
            raise ShuttingDownError("the client was closed before a token was fetched")
        fetch = state.fetch or self._begin(state, refresh_before)
        await fetch.done.wait()
        if fetch.failure is not None:
            raise own(fetch.failure)

    def _is_paused(self, state: TokenState) -> bool:
        return state.paused is not None and self._host.now() < state.paused[0]

    def _begin(self, state: TokenState, refresh_before: float) -> Fetch:
        fetch = state.fetch = Fetch()
        # In the host, because the caller that needs it first may leave.
        self._host.run(self._run, state, fetch, refresh_before)
        return fetch

    async def _run(self, state: TokenState, fetch: Fetch, refresh_before: float) -> None:
        try:
            token, is_known = await self._ask(state.source)
            self._keep(state, token, is_known=is_known, refresh_before=refresh_before)
            fetch.failure = None
        except BifrostError as error:
            # The frames below may hold the token, and those of its cause the credentials.
            error.__cause__ = None
            fetch.failure = error.with_traceback(None)
            self._pause(state, fetch.failure)
        finally:
            state.fetch = None
            fetch.done.set()

    def _keep(self, state: TokenState, token: Token, *, is_known: bool, refresh_before: float) -> None:
        now = self._clock.wall()
        lifetime = math.inf if token.expires_at is None else token.expires_at - now
        if lifetime <= 0:
            raise TokenError(
                f"{name_of(state.source)} returned a token that has expired; check the clock of this machine"
            )
        state.secret = token.value
        state.expires_at = now + lifetime - min(_MARGIN, lifetime / 10)
        # A short-lived token is used for half of its time at least.
        state.due = now + (max(lifetime - refresh_before, lifetime / 2) if is_known else _UNKNOWN_LIFETIME)
        state.failures, state.paused = 0, None

    def _pause(self, state: TokenState, failure: BifrostError) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(state.failures, 10))
        state.failures += 1
        state.paused = self._host.now() + pause, failure
        failure.retry_after = pause
        left = state.expires_at - self._clock.wall()
        if state.secret is not None and left > 0:
            _log.warning("%s; the current token can be used for %.0f s more", failure.message, left)

    async def _ask(self, source: Any) -> tuple[Token, bool]:
        """Return a source's token, and whether its expiry is known. Raises a `BifrostError`."""
        name = name_of(source)
        failure: BaseException = TokenError(f"{name} did not return a token within {FETCH_LIMIT:g} s")
        try:
            with anyio.move_on_after(FETCH_LIMIT):
                return _checked(await self._call(getattr(source, "fetch", source)), name)
        except BifrostError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = TokenError(f"{name} failed with {type(error).__name__}")
        except BaseExceptionGroup as group:
            failure = without_errors(group)
        except BaseException as error:
            if not is_stray(error):
                raise
            failure = TokenError(f"{name} was cancelled")
        raise failure

    async def _call(self, function: Callable[[], Any]) -> Any:
        """Call a source: an async one here, a plain one in a thread, because it may block."""
        if iscoroutinefunction(function):
            return await function()
        self._threads = self._threads or anyio.CapacityLimiter(_THREADS)
        # In a tuple, because trio refuses a function that returns something to await.
        (answer,) = await anyio.to_thread.run_sync(lambda: (function(),), abandon_on_cancel=True, limiter=self._threads)
        return await answer if hasattr(answer, "__await__") else answer


def _checked(answer: object, name: str) -> tuple[Token, bool]:
    try:
        match answer:
            case Token():
                return answer, True
            case Secret():
                return Token(answer), False
            case str():
                return Token(check_secret(answer, name=name)), False
            case _:
                raise ConfigError(f"{name} returned an object of type {type(answer).__name__}; return a Token")
    finally:
        del answer  # A traceback may print the local variables of this frame.


_THREADS = 16
"""The most sources that are asked at the same time in threads."""
