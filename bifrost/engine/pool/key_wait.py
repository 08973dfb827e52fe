"""Waiting while no key of a provider is ready. It happens in the caller's task and occupies no worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.engine.call import Call
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.engine.retry_state import RetryState
    from bifrost.routing.key_health import KeyHealth
    from bifrost.routing.keys import KeySelection


class KeyWait:
    """Lets calls wait in order for the keys that are ready first."""

    def __init__(self, upstreams: Upstreams, now: Callable[[], float]) -> None:
        self._upstreams = upstreams
        self._now = now

    async def wait(self, call: Call, state: RetryState, resting: KeySelection) -> float:
        """Wait for this call's turn with a resting key, or until another is ready. Returns the time waited.

        Raises `RateLimitError` if the call does not wait, and any error because of which it cannot be made at all.
        """
        call.context.phase = "backoff"
        total = 0.0
        while True:
            key = cast("KeyHealth", resting.health)
            place = key.stand_in_line()
            try:
                while resting.health is key:
                    now, until = self._now(), key.until
                    wait = state.keys.waits(
                        resting._replace(ready_at=key.turn(place)),
                        now=now,
                        left=call.share - now,
                        fallback_behind=call.another_ready,
                        waited=state.waited_for_keys,
                    )
                    await self._upstreams.pause(state.keys.provider.name, wait)
                    state.waited_for_keys += wait
                    total += wait
                    now = self._now()
                    if key.until == until:
                        if key.state == "cooling_down":
                            state.cooling_key = (resting._replace(ready_at=None), until)
                        return total
                    # Whoever was let through first was limited again, or found the key dead.
                    pin = call.context.options.key
                    others = {key.name, *state.spent}
                    is_ready = key.usable(now)
                    if is_ready and not state.keys.has_other(state.model, excluded=others, pin=pin, now=now):
                        if key.turn(place) > now:
                            continue
                        return total
                    again = state.keys.resting(state.model, now=now, pin=pin, excluded=state.spent)
                    if again is None:
                        return total
                    resting = again
            finally:
                key.leave_line(place)
