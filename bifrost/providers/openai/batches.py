"""Batches at OpenAI: https://platform.openai.com/docs/api-reference/batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.batches import (
    BATCH_INPUT,
    BATCH_RESULTS,
    BATCHES,
    Batch,
    BatchError,
    BatchesResponse,
    BatchInputRequest,
    BatchRequest,
    BatchResult,
    BatchResults,
    BatchResultsRequest,
)
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.files import FileRequest, FilesResponse
from bifrost.providers.base import Built, Codec, ReportedError
from bifrost.providers.fields import REQUIRED, Field, FieldTable, mapped
from bifrost.providers.openai.answer import text_of
from bifrost.providers.openai.errors import parse_error, reported_error
from bifrost.providers.openai.files import (
    build_files,
    items_of,
    next_of,
    number_of,
    object_of,
    parse_files,
    query_of,
)
from bifrost.providers.sizes import SPARSE, check_count
from bifrost.wire import json
from bifrost.wire.http import Headers, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bifrost.operations.base import OperationName
    from bifrost.operations.chat.response import ChatResponse
    from bifrost.providers.base import Target

_URL: Final = "/v1/chat/completions"
_LIMIT: Final = 100_000
"""The most results of a file. OpenAI's limit of a batch is 50,000."""
_PROVIDER: Final = Field(support="local", words="the question is put to the provider")

INPUT_FIELDS: Final = FieldTable(BatchInputRequest, {"model": REQUIRED, "requests": mapped()})
"""How the fields of a request to upload chats are sent."""

FIELDS: Final = FieldTable(
    BatchRequest,
    {"model": _PROVIDER, **{name: mapped() for name in BatchRequest.__struct_fields__ if name != "model"}},
)
"""How the fields of a request about batches are sent."""

RESULTS_FIELDS: Final = FieldTable(BatchResultsRequest, {"model": _PROVIDER, "id": mapped()})
"""How the fields of a request for results are sent."""


class _Answer(msgspec.Struct):
    status_code: Any = None
    request_id: Any = None
    body: msgspec.Raw = msgspec.Raw(b"")


class _Line(msgspec.Struct):
    custom_id: Any = None
    response: _Answer | None = None
    error: Any = None


_LINE: Final = msgspec.json.Decoder(_Line)


# --- the requests of a batch


def build_input(request: BatchInputRequest, target: Target, *, chat: Codec[ChatRequest, ChatResponse]) -> Built:
    """Return the HTTP request that uploads chats, one in each line."""
    warnings = INPUT_FIELDS.check(request, target)
    lines: list[bytes] = []
    for custom_id, item in request.requests.items():
        built = chat.build(_chat_of(item), target)
        lines.append(_line(custom_id, bytes(built.request.body)))
        warnings += [f"{custom_id}: {warning}" for warning in built.warnings]
    upload = FileRequest(
        model=request.model,
        action="upload",
        data=b"".join(lines),
        filename="batch.jsonl",
        media_type="application/jsonl",
        purpose="batch",
    )
    wire = build_files(upload, target).request
    return Built(request=msgspec.structs.replace(wire, source=request), warnings=warnings)


def _chat_of(item: object) -> ChatRequest:
    if isinstance(item, ChatRequest):
        return item
    try:
        return msgspec.convert(item, ChatRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"requests: {error}") from None


def _line(custom_id: str, body: bytes) -> bytes:
    if b"\n" in body:
        body = msgspec.json.format(body, indent=-1)
    head = msgspec.json.encode({"custom_id": custom_id, "method": "POST", "url": _URL})
    return b'%b,"body":%b}\n' % (head[:-1], body)


# --- the batch


def build_batches(request: BatchRequest, target: Target) -> Built:
    """Return the HTTP request about batches."""
    warnings = FIELDS.check(request, target)
    match request.action:
        case "create":
            wire = _create(request)
        case "list":
            query = query_of({"limit": request.limit, "after": request.after})
            wire = HttpRequest(method="GET", path=f"/batches{query}", source=request)
        case "retrieve":
            wire = HttpRequest(method="GET", path=_path(request), source=request)
        case "cancel":
            wire = HttpRequest(method="POST", path=f"{_path(request)}/cancel", source=request)
    return Built(request=wire, warnings=warnings)


def _path(request: BatchRequest) -> str:
    return f"/batches/{quote(request.id or '', safe='')}"


def _create(request: BatchRequest) -> HttpRequest:
    body: dict[str, Any] = {
        "input_file_id": request.input_file_id,
        "endpoint": _URL,
        "completion_window": request.completion_window or "24h",
    }
    if request.metadata is not None:
        body["metadata"] = request.metadata
    headers = {"content-type": "application/json"}
    return HttpRequest(method="POST", path="/batches", headers=headers, body=json.encode(body), source=request)


def parse_batches(response: HttpResponse, target: Target) -> BatchesResponse:
    """Return the batch, or the list of batches, in a body.

    Raises `ReportedError` for an error object, and `MalformedResponseError` for other content.
    """
    form = object_of(response.body, "batch")
    if isinstance(form.get("data"), list) or form.get("object") == "list":
        batches = [batch_of(item) for item in items_of(form, "batches")]
        return BatchesResponse(data=batches, next=next_of(form, batches), provider=target.provider, raw=response.body)
    if not text_of(form.get("id")):
        raise reported_error(response.body) or MalformedResponseError(
            f"the response describes no batch: it has no id; {json.excerpt(response.body)}"
        )
    return BatchesResponse(data=[batch_of(form)], provider=target.provider, raw=response.body)


def batch_of(form: dict[str, Any]) -> Batch:
    """Return a batch as the provider describes it."""
    counts = _object(form.get("request_counts"))
    metadata = _object(form.get("metadata"))
    return Batch(
        id=text_of(form.get("id")),
        status=text_of(form.get("status")),
        input_file_id=text_of(form.get("input_file_id")) or None,
        output_file_id=text_of(form.get("output_file_id")) or None,
        error_file_id=text_of(form.get("error_file_id")) or None,
        created=number_of(form.get("created_at")),
        expires=number_of(form.get("expires_at")),
        total=number_of(counts.get("total")),
        completed=number_of(counts.get("completed")),
        failed=number_of(counts.get("failed")),
        errors=_errors(form.get("errors")),
        metadata={name: value for name, value in metadata.items() if isinstance(value, str)} or None,
    )


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _errors(value: object) -> list[str]:
    listed: Any = _object(value).get("data")
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    return [message for item in items if (message := text_of(_object(item).get("message")))]


# --- the results of a batch


def build_results(request: BatchResultsRequest, target: Target) -> Built:
    """Return the HTTP request for a file of results."""
    warnings = RESULTS_FIELDS.check(request, target)
    path = f"/files/{quote(request.id, safe='')}/content"
    return Built(request=HttpRequest(method="GET", path=path, source=request), warnings=warnings)


def parse_results(response: HttpResponse, target: Target, *, chat: Codec[ChatRequest, ChatResponse]) -> BatchResults:
    """Return the results in a file. A line that cannot be read is a result with an error."""
    check_count(response.body.count(b"\n"), _LIMIT, what="results")
    results = [result_of(line, target, chat=chat) for line in _lines(response.body) if line.strip()]
    return BatchResults(data=results, provider=target.provider)


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines of a body one by one, so that no second copy of it is made."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        yield body[start:end]
        start = end + 1


def result_of(line: bytes, target: Target, *, chat: Codec[ChatRequest, ChatResponse]) -> BatchResult:
    """Return the result in a line."""
    try:
        wire = json.decode(line, _LINE, what="a result of the batch", sparse=SPARSE)
    except MalformedResponseError as error:
        return BatchResult(custom_id="", error=BatchError(message=str(error)))
    custom_id, answer = text_of(wire.custom_id), wire.response
    if answer is None or not len(answer.body):
        refusal = _object(wire.error)
        message = text_of(refusal.get("message")) or "the provider reports no response"
        return BatchResult(
            custom_id=custom_id, error=BatchError(message=message, code=text_of(refusal.get("code")) or None)
        )
    found = _outcome(answer, target, chat.parse)
    if isinstance(found, BatchError):
        return BatchResult(custom_id=custom_id, error=found)
    request_id = text_of(answer.request_id) or None
    return BatchResult(custom_id=custom_id, response=msgspec.structs.replace(found, request_id=request_id))


def _outcome(
    answer: _Answer, target: Target, parse: Callable[[HttpResponse, Target], ChatResponse]
) -> ChatResponse | BatchError:
    status = number_of(answer.status_code) or 200
    response = HttpResponse(status=status, headers=Headers(), body=bytes(answer.body))
    if status >= 400:
        body = parse_error(response)
        return BatchError(message=body.message, code=body.code or body.type, status=status)
    try:
        return parse(response, target)
    except ReportedError as error:
        return BatchError(message=error.body.message, code=error.body.code or error.body.type, status=error.status)
    except MalformedResponseError as error:
        return BatchError(message=str(error), status=status)


def batch_codecs(chat: Codec[ChatRequest, ChatResponse]) -> dict[OperationName, Codec[Any, Any]]:
    """Return the codecs of batches of chats."""
    return {
        "batches": Codec[BatchRequest, BatchesResponse](
            operation=BATCHES, build=build_batches, parse=parse_batches, fields=FIELDS
        ),
        "batch_input": Codec[BatchInputRequest, FilesResponse](
            operation=BATCH_INPUT, build=partial(build_input, chat=chat), parse=parse_files, fields=INPUT_FIELDS
        ),
        "batch_results": Codec[BatchResultsRequest, BatchResults](
            operation=BATCH_RESULTS,
            build=build_results,
            parse=partial(parse_results, chat=chat),
            fields=RESULTS_FIELDS,
        ),
    }
