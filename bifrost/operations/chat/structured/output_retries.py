"""How a model is asked again whose answer does not fit the type, and what both answers cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import (
    BifrostError,
    MalformedResponseError,
    OutputValidationError,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.usage import NO_USAGE

if TYPE_CHECKING:
    from decimal import Decimal

    from bifrost.operations.chat.structured.output_type import OutputType


def refused(
    error: MalformedResponseError, output: OutputType[Any], before: ChatResponse | None
) -> OutputValidationError:
    """Return the error for a provider's rejection of its own model's output, for a caller who expects a type."""
    failure = OutputValidationError(
        f"the answer does not fit {output.name}: {error.message}",
        output=error.output,
        response=before,
        provider=error.provider,
        model=error.model,
        key=error.key,
        status=error.status,
        code=error.code,
        type=error.type,
        param=error.param,
        request_id=error.request_id,
        body=error.body,
    )
    failure.rate_limit = error.rate_limit
    return failure


def was_cut(error: BifrostError) -> bool:
    """Return whether a provider rejected the output because it was cut off, so that another try would not help."""
    return "max completion tokens" in error.message


def reask_refused(request: ChatRequest, error: OutputValidationError) -> ChatRequest:
    """Return the request with the text that the model wrote, if known, and the remark that it cannot be read."""
    correction = Message(
        role="user",
        content="That could not be read. Give the whole answer again, in exactly the form asked for.",
    )
    answer = [Message(role="assistant", content=error.output)] if error.output.strip() else []
    return msgspec.structs.replace(request, messages=[*request.messages, *answer, correction])


def reask(request: ChatRequest, response: ChatResponse, error: OutputValidationError) -> ChatRequest:
    """Return the request with the response and what is wrong with it. The request must not be lowered yet."""
    correction = Message(
        role="user",
        content=f"That cannot be used: {error.message}. Give the whole answer again, corrected, in the form asked for.",
    )
    # Providers refuse an empty message.
    answer = [response.message.to_message()] if response.text.strip() else []
    return msgspec.structs.replace(request, messages=[*request.messages, *answer, correction])


def merged(earlier: ChatResponse, later: ChatResponse) -> ChatResponse:
    """Return the later response with the sum of usage and cost, and with the attempts and warnings of both."""
    return msgspec.structs.replace(
        later,
        usage=(earlier.usage + later.usage) or NO_USAGE,
        cost=_cost(earlier.cost, later.cost),
        attempts=[*earlier.attempts, *later.attempts],
        warnings=list(dict.fromkeys([*earlier.warnings, *later.warnings])),
    )


def _cost(earlier: Decimal | None, later: Decimal | None) -> Decimal | None:
    """Return the sum of two costs; `None` if one of them is unknown."""
    return None if earlier is None or later is None else earlier + later
