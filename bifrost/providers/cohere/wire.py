"""What Cohere's responses have in common: lenient decoding, and `meta` with what is billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.cohere.errors import reported_error
from bifrost.providers.openai.fit import UnfitError, fit
from bifrost.providers.sizes import SPARSE
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.chat.response import FinishReason

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

_MOST = 2**53
"""Larger numbers are not counts, and other JSON libraries cannot read them."""


_FINISH_REASONS: Mapping[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR": "error",
    "TIMEOUT": "error",
    # v1
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
    "USER_CANCEL": "error",
}


class Counts(msgspec.Struct):
    """Numbers of tokens or other units. They may be written as 3.0; other values are ignored."""

    input_tokens: Any = None
    output_tokens: Any = None
    image_tokens: Any = None
    search_units: Any = None


class Meta(msgspec.Struct):
    """What a response counts: the `usage` of a chat, and the `meta` of others."""

    billed_units: Counts | None = None
    tokens: Counts | None = None
    cached_tokens: Any = None
    warnings: Any = None


def decode(
    body: bytes,
    decoder: msgspec.json.Decoder[_StructT],
    shape: type[_StructT],
    *,
    needed: frozenset[str],
    what: str = "the response",
) -> _StructT:
    """Decode a body with a success status, or an event. If it does not match, unexpected members are ignored.

    Members in `needed` are never ignored. Raises `ReportedError` for an error object, and `MalformedResponseError` for
    other content.
    """
    try:
        return json.decode(body, decoder, what=what, sparse=SPARSE)
    except MalformedResponseError as error:
        malformed = error
    reported = reported_error(body)
    if reported is not None:
        raise reported
    try:
        return fit(json.mended(body), shape, needed=needed)
    except UnfitError:
        pass
    raise malformed


def shapeless(body: bytes, problem: str) -> MalformedResponseError:
    """Return the error for a body without the content of a response."""
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")


def count_of(value: object) -> int | None:
    """Return a count; `None` for a value that is not a number from 0 to 2**53."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        return None
    return round(value)


def text_of(value: object) -> str:
    """Return text; an empty string for other types."""
    return value if isinstance(value, str) else ""


def finish_reason_of(native: str | None) -> FinishReason | None:
    """Return the finish reason; `unknown` for a word that is only available as `native_finish_reason`."""
    return _FINISH_REASONS.get(native.upper(), "unknown") if native else None


def warnings_of(meta: Meta | None) -> list[str]:
    """Return the provider's warnings."""
    warnings: object = meta.warnings if meta is not None else None
    if not isinstance(warnings, list):
        return []
    return [text for text in cast("list[object]", warnings) if isinstance(text, str)]


def usage_of(meta: Meta | None) -> Usage:
    """Return the tokens that the model read and wrote, or else those that are billed.

    Cohere's own instructions to the model are not billed. Tokens of images are counted apart from `input_tokens`, and
    only the billed units include them.
    """
    if meta is None:
        return NO_USAGE
    tokens, billed = meta.tokens or Counts(), meta.billed_units or Counts()
    taken = count_of(tokens.input_tokens)
    if taken is None:
        taken = (count_of(billed.input_tokens) or 0) + (count_of(billed.image_tokens) or 0)
    made = count_of(tokens.output_tokens)
    if made is None:
        made = count_of(billed.output_tokens)
    cached = min(taken, count_of(meta.cached_tokens) or 0)
    return Usage(input_tokens=taken, output_tokens=made or 0, cache_read_tokens=cached) or NO_USAGE
