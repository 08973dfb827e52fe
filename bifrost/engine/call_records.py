"""The records of one call, made only while somebody has subscribed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.errors import BifrostError
from bifrost.telemetry.records import AttemptEnded, CallEnded, CallStarted, StreamCommitted

if TYPE_CHECKING:
    from bifrost.attempt_record import AttemptRecord
    from bifrost.context import CallContext


def call_started(context: CallContext) -> CallStarted:
    """Return the record of a call that begins."""
    return CallStarted(
        call=context.id, operation=context.operation.name, model=context.model, is_stream=context.is_stream
    )


def attempt_ended(context: CallContext, attempt: AttemptRecord) -> AttemptEnded:
    """Return the record of an attempt that has ended."""
    return AttemptEnded(
        call=context.id,
        operation=context.operation.name,
        attempt=attempt,
        is_stream=context.is_stream,
        fallback_index=context.fallback_index,
        tenant=context.tenant,
    )


def stream_committed(context: CallContext, *, provider: str, model: str, now: float) -> StreamCommitted:
    """Return the record of a stream whose first content has arrived."""
    return StreamCommitted(
        call=context.id,
        operation=context.operation.name,
        provider=provider,
        model=model,
        duration=now - context.started,
        attempts=len(context.attempts),
        tenant=context.tenant,
    )


def call_ended(context: CallContext, outcome: Any, *, model: str, now: float) -> CallEnded:
    """Return the record of a call that has ended with a response or an error."""
    error: BifrostError | None = outcome if isinstance(outcome, BifrostError) else None
    return CallEnded(
        call=context.id,
        operation=context.operation.name,
        model=model,
        duration=now - context.started,
        provider=outcome.provider or None,
        response_model=outcome.model or None,
        is_stream=context.is_stream,
        category=None if error is None else error.category,
        error=None if error is None else type(error).__name__,
        usage=None if error is not None else getattr(outcome, "usage", None),
        attempts=tuple(context.attempts),
        warnings=tuple(getattr(outcome, "warnings", ())),
        tenant=context.tenant,
    )
