"""Structured output: a candidate is tried again, up to `max_output_retries` times, until its response has the type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import BifrostError, MalformedResponseError, OutputValidationError

if TYPE_CHECKING:
    from bifrost.engine.call import Call, Step
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.operations.base import ChunkLift, StructuredOutput


class OutputRetries:
    """Requests an output of a type. The next step is one request with its retries."""

    def __init__(self, upstreams: Upstreams, retries: Step) -> None:
        self._upstreams = upstreams
        self._retries = retries

    async def run(self, call: Call) -> Any:
        """Return the response with its `parsed`, or raise `OutputValidationError`.

        A stream is validated at its end and not repeated, since its caller has seen it.
        """
        output, request, context = call.output, call.attempt_request, call.context
        structured = cast("StructuredOutput", context.operation.structured)
        upstream = await self._upstreams.get(call.candidate.provider)
        call.rules = rules = upstream.row.schema_rules
        call.mode = structured.choose_mode(
            output,
            request,
            upstream.row.structured_modes(call.candidate.model),
            provider=upstream.name,
            rules=rules,
        )
        left, before = call.max_output_retries, None
        while True:
            call.attempt_request = structured.lower(request, output, call.mode, rules)
            failure: MalformedResponseError | None = None
            response: Any = None
            try:
                response = await self._retries(call)
            except MalformedResponseError as error:
                failure = error
            if failure is not None:
                if not call.is_output_retry(failure):
                    raise failure
                call.retry_state = None
                refusal = structured.refused(failure, output, before)
                if not left or structured.was_cut(failure):
                    raise refusal
                upstream.counters.reasks += 1
                left, request = left - 1, structured.reask_refused(request, refusal)
                continue
            if not isinstance(response, context.operation.response):
                return response  # a stream
            response = structured.lift(response, call.mode, others=structured.tool_names(request))
            response = response if before is None else structured.merged(before, response)
            misfit = None
            try:
                return fitted(call, response)
            except OutputValidationError as error:
                misfit = error
            call.retry_state = None
            record = context.attempts[-1]
            context.attempts[-1] = msgspec.structs.replace(
                record, category=misfit.category, error=shown(misfit.message, 500)
            )
            if not left or not structured.is_correctable(response):
                raise misfit
            upstream.counters.reasks += 1
            left, before, request = left - 1, response, structured.reask(request, response, misfit)


def fitted(call: Call, response: Any, *, lift: ChunkLift | None = None) -> Any:
    """Return a complete response converted to the requested type, if there is one.

    `lift` made its text, if it was streamed.

    Raises an error if it does not match the type, or if the type's own code failed.
    """
    output, operation = call.output, call.context.operation
    if output is None or operation.structured is None or type(response) is not operation.response:
        return response  # not wanted, or read already
    try:
        return operation.structured.fitted(response, output, call.mode, call.rules)
    except BifrostError as error:
        failure = error
    whole = None if lift is None else lift.restored(response)
    if whole is not None:
        return fitted(call, whole)
    failure.provider = failure.provider or call.context.provider or None
    failure.model = failure.model or call.context.model
    raise failure
