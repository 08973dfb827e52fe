"""The Responses operation of every provider: native where it has one, else over its chat.

The codecs are made on first use, because their modules take a while to import and most programs do not need them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from bifrost.providers.base import Codec, Codecs, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bifrost.operations.base import OperationName

RESPONSES: Final = "responses"
"""The name of the operation."""

STORED: Final = "stored_responses"
"""The name of the operation on stored responses."""

COMPACTIONS: Final = "compactions"
"""The name of the operation that compacts a conversation."""


def with_responses(
    codecs: Mapping[OperationName, Codec[Any, Any]],
    own: Callable[[], Codec[Any, Any]] | None = None,
    stored: Callable[[], Codec[Any, Any]] | None = None,
    compactions: Callable[[], Codec[Any, Any]] | None = None,
) -> Mapping[OperationName, Codec[Any, Any]]:
    """Return codecs with one for the Responses API: the provider's own, or else one that uses its chat.

    `stored` makes that of stored responses, if the provider stores them, and `compactions` that of compaction.
    """
    if own is None and "chat" not in codecs:
        return codecs
    others = {STORED: stored, COMPACTIONS: compactions}
    later = {RESPONSES: own or partial(over_chat, codecs["chat"])}
    return Codecs(codecs, later | {name: make for name, make in others.items() if make is not None})


def with_others(
    codecs: Mapping[OperationName, Codec[Any, Any]], others: Mapping[OperationName, Codec[Any, Any]]
) -> Mapping[OperationName, Codec[Any, Any]]:
    """Return codecs and others. Those that are not made yet stay so."""
    return codecs.with_others(others) if isinstance(codecs, Codecs) else {**codecs, **others}


def with_all(row: Provider) -> Provider:
    """Return a provider with the Responses operation, if it has a chat."""
    codecs = row.codecs
    if RESPONSES in codecs or "chat" not in codecs:
        return row
    return attrs.evolve(row, codecs=with_responses(codecs))


def native(lacks: Collection[str] = ()) -> Codec[Any, Any]:
    """Return the codec of a server with a Responses API, which lacks these fields of the request."""
    from bifrost.providers.openai.responses import responses_codec

    return responses_codec(lacks)


def native_stored() -> Codec[Any, Any]:
    """Return the codec of stored responses."""
    from bifrost.providers.openai.responses.stored import CODEC

    return CODEC


def native_compactions() -> Codec[Any, Any]:
    """Return the codec of compaction."""
    from bifrost.providers.openai.responses.compaction import CODEC

    return CODEC


def over_chat(chat: Codec[Any, Any]) -> Codec[Any, Any]:
    """Return a codec that expresses requests and responses of the Responses API as those of a chat."""
    from bifrost.providers.responses_over_chat import codec_over

    return codec_over(chat)
