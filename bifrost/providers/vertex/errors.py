"""Errors of Vertex AI: Google's, and Anthropic's in the responses of Claude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.providers.anthropic import errors as anthropic
from bifrost.providers.gemini import errors as gemini

if TYPE_CHECKING:
    from bifrost.providers.base import ErrorBody
    from bifrost.wire.http import HttpResponse


class _Kind(msgspec.Struct):
    type: str | None = None


_KIND = msgspec.json.Decoder(_Kind)


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response. Any bytes are accepted: a web page is described by its title."""
    try:
        is_anthropics = _KIND.decode(response.body).type == "error"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        is_anthropics = False
    return anthropic.parse_error(response) if is_anthropics else gemini.parse_error(response)
