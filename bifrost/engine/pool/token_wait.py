"""Waiting for the token of a key. It happens in the caller's task and occupies no worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bifrost.errors import BifrostError
from bifrost.routing.retry import SMALLEST_ATTEMPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.account import Key
    from bifrost.engine.attempt import Attempt
    from bifrost.engine.call import Call
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.routing.keys import KeySelection


class TokenWait:
    """Lets calls wait until the token of a key was fetched."""

    def __init__(self, upstreams: Upstreams, now: Callable[[], float]) -> None:
        self._upstreams = upstreams
        self._now = now

    async def wait(self, call: Call, attempt: Attempt, selection: KeySelection) -> float:
        """Wait for the token of an attempt's key, or until the attempt can be made with another key.

        Returns the time waited. Fetching a token is tried as often as a request, and not again if another candidate is
        ready. Raises `TokenError`, and any error because of which the source can return no token at all.
        """
        began, tries = self._now(), 0
        key = cast("Key", selection.key)
        while (failure := await self._fetch(call, attempt, key, again=tries > 0)) is not None:
            state, now = attempt.state, self._now()
            excluded = {*state.spent, key.name}
            if state.keys.has_other(state.model, excluded=excluded, pin=call.context.options.key, now=now):
                state.spent.add(key.name)
                break
            tries += 1
            wait = failure.retry_after or 0.0
            ends = call.another_ready or tries > state.retry.max_retries or now + wait + SMALLEST_ATTEMPT > call.share
            if ends or not failure.retryable:
                raise failure
            call.context.phase = "backoff"
            await self._upstreams.pause(attempt.upstream.name, wait)
        return self._now() - began

    async def _fetch(self, call: Call, attempt: Attempt, key: Key, *, again: bool) -> BifrostError | None:
        """Wait for a token. Returns why there is none, or `None`."""
        call.context.phase = "token"
        upstream, tokens = attempt.upstream, self._upstreams.tokens
        try:
            await tokens.fetch(
                tokens.of(key.credentials), refresh_before=upstream.config.key_pool.refresh_before, again=again
            )
        except BifrostError as error:
            error.provider, error.model, error.key = upstream.name, attempt.state.model, key.name
            return error
        return None
