"""The end of a call: its deadline, the hooks that are due, and the attempts on its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.attempt_record import AttemptRecords
from bifrost.engine.call_records import call_ended
from bifrost.engine.wrappers.structured import fitted
from bifrost.errors import BifrostError, CallCancelledError, CallTimeoutError, InternalError
from bifrost.plugins.base import TimeLeft

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from typing import Any

    from bifrost.engine.active import Active
    from bifrost.engine.call import Call
    from bifrost.engine.host import Host
    from bifrost.errors import Phase
    from bifrost.plugins.base import Outcome


class Completion:
    """Ends calls. Hooks get and return outcomes, which are responses or errors; the path of a call raises errors."""

    def __init__(self, host: Host, active: Active) -> None:
        self._active = active
        self._now = host.now
        self._scope = host.scope

    async def after(self, call: Call, outcome: Outcome) -> Any:
        """Run the `after` hooks that are due for the candidate. Returns the response, or raises the error."""
        call.context.phase = "hook"
        call.error = outcome if isinstance(outcome, BifrostError) else None
        if call.hooks.entered:
            outcome = await call.chain.after(call.context, complete(call, outcome), call.hooks)
        if isinstance(outcome, BifrostError):
            raise outcome
        return outcome

    async def settle(self, call: Call, outcome: Outcome) -> Any:
        """Run the hooks that are still due, each once, and add the call's attempts to the outcome.

        Returns the response, or raises the error.
        """
        if call.hooks.entered:
            try:
                outcome = await self.after(call, outcome)
            except BifrostError as error:
                outcome = error
        if call.failures and isinstance(outcome, BifrostError):
            outcome = _primary(call.failures, outcome)
        context = call.context
        if isinstance(outcome, BifrostError) or context.warnings or outcome.attempts is not context.attempts:
            outcome = complete(call, outcome)
        if call.call_hooks.entered:
            call.context.phase = "hook"
            call.error = outcome if isinstance(outcome, BifrostError) else None
            outcome = complete(call, await call.chain.after_call(call.context, outcome, call.call_hooks))
        if call.output is not None and call.stream is None and isinstance(outcome, call.context.operation.response):
            # A response that a hook returned instead of an error was not parsed yet.
            try:
                outcome = complete(call, fitted(call, outcome))
            except BifrostError as error:
                outcome = complete(call, error)
        # Only once, even if a call that was cut off is settled several times.
        telemetry, call.telemetry = call.telemetry, None
        if telemetry is not None and telemetry.subscriptions:
            telemetry.emit(call_ended(call.context, outcome, model=call.request.model, now=self._now()))
        if isinstance(outcome, BifrostError):
            raise outcome
        return outcome

    async def end(self, call: Call, outcome: Outcome) -> Any:
        """Settle a call whose stream has ended. Returns the response, or raises the error."""
        if not isinstance(outcome, CallCancelledError) and self._now() < call.context.deadline:
            return await self.in_time(call, self.settle(call, outcome))
        self._active.count += 1
        try:
            outcome = await self._settle_late(call, outcome)
        finally:
            self._active.left()
        if isinstance(outcome, BifrostError):
            raise outcome
        return outcome

    async def in_time(self, call: Call, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a part of a call within its deadline.

        However that ends, no hook is due afterwards, unless a stream began.
        """
        outcome: Outcome = None
        self._active.count += 1
        try:
            with self._scope(deadline=call.context.deadline) as scope:
                try:
                    return await work
                except (BifrostError, GeneratorExit):
                    # The call's own error; or nobody runs this coroutine any more, so no hook can be waited for.
                    raise
                except Exception as error:  # noqa: BLE001 - a defect of ours, or of what a user brought: clock, codec
                    outcome = await self._settle_late(call, self._defect(call, error))
                except BaseException:
                    end = (call.error or self.out_of_time(call)) if scope.cancel_called else self._left(call)
                    outcome = await self._settle_late(call, end)
                    raise
        finally:
            self._active.left()
        if isinstance(outcome, BifrostError):
            raise outcome
        return outcome

    async def _settle_late(self, call: Call, outcome: Outcome) -> Outcome:
        """Run the hooks that are still due although the caller left or the time is over.

        They are shielded and have their own time limit.

        A hook that is stopped at the end of its time is not run again; those after it have their own time. Returns the
        outcome, since a pending cancellation must not be replaced by an error.
        """
        due = call.chain.due(call.hooks, call.call_hooks)
        call.hooks.late = call.call_hooks.late = TimeLeft.of(due, now=self._now())
        again: BaseException | None = None
        for _ in range(call.hooks.entered + call.call_hooks.entered + 1):
            try:
                with self._scope(shield=True):
                    outcome = await self.settle(call, outcome)
                    break
            except BifrostError as error:
                outcome = error
                break
            except BaseException as error:  # noqa: BLE001 - cancelled once more; raised when the hooks have run
                again = error
        if again is not None:
            raise again
        return outcome

    def _left(self, call: Call) -> BifrostError:
        error = CallCancelledError("the caller left", provider=call.context.provider or None, model=call.context.model)
        call.end_attempt(call.attempt, error, now=self._now())
        return error

    def out_of_time(self, call: Call, what: str | None = None) -> BifrostError:
        """Return the error for a time limit, with what the time was spent on."""
        context, attempt = call.context, call.live_attempt
        # Only the attempt knows what happens between the queue and the end of the response.
        phase = attempt.phase if attempt is not None and context.phase == "queue" else context.phase
        time = what or f"the timeout of {context.options.timeout:g} s"
        longer = "set a longer `timeout`"
        if what is None and not context.fallbacks:
            longer += ", or give `fallbacks`"
        error: BifrostError = CallTimeoutError(
            f"{time} ended while {_DOING[phase]}; {_REMEDIES.get(phase, longer)}",
            phase=phase,
            provider=context.provider or None,
            model=context.model,
        )
        if attempt is not None:
            error = attempt.locate(error)
            if attempt.admission is not None and (what is None or phase == "queue"):
                # The call's time or our own queue was the cause, which says nothing about the provider.
                attempt.admission.cancel(self._now())
        call.end_attempt(call.attempt, error, now=self._now())
        return error

    def _defect(self, call: Call, cause: Exception) -> BifrostError:
        error = InternalError(
            f"{type(cause).__name__} where none is expected: a defect of bifrost, or of something that it was given",
            provider=call.context.provider or None,
            model=call.context.model,
        )
        error.__cause__ = cause
        call.end_attempt(call.attempt, error, now=self._now())
        return error


def complete(call: Call, outcome: Outcome) -> Outcome:
    """Add the attempts and warnings of a call to its response or error."""
    trail, warnings = call.context.attempts, call.context.warnings
    if isinstance(outcome, BifrostError):
        outcome.attempts = AttemptRecords(trail)
        return outcome
    if not warnings:
        return outcome if outcome.attempts is trail else msgspec.structs.replace(outcome, attempts=trail)
    noticed = [*outcome.warnings, *(text for text in warnings if text not in outcome.warnings)]
    return msgspec.structs.replace(outcome, attempts=trail, warnings=noticed)


_DOING: Mapping[Phase, str] = {
    "hook": "a plugin's hook or the account was asked",
    "queue": "waiting for a free worker",
    "connect": "connecting",
    "write": "sending the request",
    "headers": "waiting for the response",
    "body": "reading the response",
    "first_token": "waiting for the first token",
    "stream": "reading the stream",
    "token": "fetching a token for the key",
    "backoff": "waiting to try again",
}

_REMEDIES: Mapping[Phase, str] = {
    "queue": (
        "raise the provider's `concurrency`, set a longer `timeout`, or give many inputs to `map`, whose calls begin, "
        "and their time with them, when a place is free"
    ),
}
"""What helps, by the phase in which the time ended."""


def _primary(failures: Sequence[BifrostError], last: BifrostError) -> BifrostError:
    """Return the error to raise if no candidate succeeded: the first candidate's, with the others attached to it.

    A call that its caller cancelled, or a stream that broke after its first content, keeps its own error; of several
    such errors the last.
    """
    ends = [error for error in (*failures, last) if error.category in ("cancelled", "interrupted")]
    chosen = ends[-1] if ends else failures[0]
    chosen.errors = tuple(error for error in dict.fromkeys((*failures, last)) if error is not chosen)
    return chosen
