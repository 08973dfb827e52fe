"""The Responses operation over a chat: a codec made of a provider's chat codec."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from bifrost.operations.responses.operation import RESPONSES
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.providers.base import Codec
from bifrost.providers.responses_over_chat.answer import response_of
from bifrost.providers.responses_over_chat.fields import FIELDS
from bifrost.providers.responses_over_chat.request import build_over_chat
from bifrost.providers.responses_over_chat.stream import OverChatDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.providers.base import StreamDecoder, Target
    from bifrost.wire.http import HttpResponse

__all__ = ["codec_over"]


def codec_over(chat: Codec[Any, Any]) -> Codec[ResponsesRequest, ResponsesResponse]:
    """Return the codec of the Responses operation that uses a chat codec in both directions."""
    return Codec[ResponsesRequest, ResponsesResponse](
        operation=RESPONSES,
        build=partial(build_over_chat, chat=chat),
        parse=partial(_parse, chat=chat),
        fields=FIELDS,
        statuses=chat.statuses,
        decoder=None if chat.decoder is None else partial(_decoder, make=chat.decoder),
        is_whole=chat.is_whole,
        framer=chat.framer,
    )


def _parse(response: HttpResponse, target: Target, *, chat: Codec[Any, Any]) -> ResponsesResponse:
    return response_of(chat.parse(response, target))


def _decoder(target: Target, *, make: Callable[[Target], StreamDecoder[Any]]) -> StreamDecoder[Any]:
    return cast("StreamDecoder[Any]", OverChatDecoder(make(target), target))
