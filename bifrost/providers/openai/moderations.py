"""OpenAI's moderations: https://platform.openai.com/docs/api-reference/moderations/create."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.moderations import (
    MODERATIONS,
    ModerationRequest,
    ModerationResponse,
    ModerationResult,
)
from bifrost.providers.base import Built, Codec
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import REQUIRED, FieldTable, mapped, refused, sent
from bifrost.providers.openai.answer import decode_answer, text_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import SPARSE, VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Result(msgspec.Struct):
    flagged: bool | None = None
    """`None` at Mistral, which reports categories only."""
    categories: dict[str, bool | None] | None = None
    """`null` stands at categories that an older model does not know."""
    category_scores: dict[str, float | None] | None = None
    category_applied_input_types: dict[str, list[str] | None] | None = None


class _Moderations(msgspec.Struct):
    results: list[_Result] | None = None
    id: Any = None
    model: Any = None
    error: Any = None


_MODERATIONS = msgspec.json.Decoder(_Moderations, strict=False)

FIELDS = FieldTable(ModerationRequest, {"model": REQUIRED, "input": REQUIRED, "images": mapped(), "extra": sent()})
TEXT_FIELDS = FieldTable(
    ModerationRequest, {**FIELDS.fields, "images": refused("classifies texts only; leave out images", neutral=([],))}
)
"""What OpenAI says of the fields of a request."""


def build_moderations(request: ModerationRequest, target: Target, *, fields: FieldTable = FIELDS) -> Built:
    """Make the HTTP request. Texts are a list of texts; with pictures, they are parts beside these."""
    given: list[Any] = [*request.input]
    if request.images:
        given = [{"type": "text", "text": text} for text in request.input]
        given += [{"type": "image_url", "image_url": {"url": json.long_text(url)}} for url in request.images]
    body: dict[str, Any] = {"model": target.model, "input": given}
    warnings = fields.check(request, target)
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/moderations",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def check_moderations(request: ModerationRequest, response: ModerationResponse) -> None:
    """Check that there is a result for each text, or one for all. Raises `MalformedResponseError` if not."""
    wanted = 1 if request.images else len(request.input)
    if len(response.results) != wanted:
        raise _shapeless(response.raw, f"{len(response.results)} results where there should be {wanted}")


def parse_moderations(response: HttpResponse, target: Target) -> ModerationResponse:
    """Read the results.

    Raises `ReportedError` for an error under a good status, `MalformedResponseError` for what holds no results.
    """
    wire = decode_answer(response.body, _MODERATIONS, _Moderations, sparse=SPARSE)
    if wire.error or not wire.results:
        raise reported_error(response.body) or _shapeless(response.body, "no results")
    check_count(len(wire.results), VECTORS_LIMIT, what="results")
    return ModerationResponse(
        results=[_result(each) for each in wire.results],
        id=text_of(wire.id) or "",
        model=text_of(wire.model) or target.model,
        provider=target.provider,
        raw=response.body,
    )


def _result(wire: _Result) -> ModerationResult:
    kinds = (wire.category_applied_input_types or {}).items()
    return ModerationResult(
        flagged=wire.flagged if wire.flagged is not None else any((wire.categories or {}).values()),
        categories={name: applies for name, applies in (wire.categories or {}).items() if applies is not None},
        category_scores={name: score for name, score in (wire.category_scores or {}).items() if score is not None},
        category_applied_input_types={name: inputs for name, inputs in kinds if inputs is not None},
    )


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")


CODEC = Codec[ModerationRequest, ModerationResponse](
    operation=MODERATIONS,
    build=build_moderations,
    parse=parse_moderations,
    check=check_moderations,
    fields=FIELDS,
)

TEXT_CODEC = CODEC.replace(build=partial(build_moderations, fields=TEXT_FIELDS), fields=TEXT_FIELDS)
"""The same for servers that classify texts only."""
