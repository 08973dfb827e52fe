"""Compaction of a conversation: https://platform.openai.com/docs/api-reference/responses/compact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bifrost.operations.responses.compaction import COMPACTIONS, CompactionRequest
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.providers.base import Codec
from bifrost.providers.fields import FieldTable, narrowed
from bifrost.providers.openai.responses.answer import parse_responses
from bifrost.providers.openai.responses.build import build_responses
from bifrost.providers.openai.responses.fields import FIELDS

if TYPE_CHECKING:
    from bifrost.providers.base import Built, Target

TABLE: Final = FieldTable(CompactionRequest, narrowed(FIELDS, CompactionRequest))
"""How the fields are sent."""


def build_compaction(request: CompactionRequest, target: Target) -> Built:
    """Return the HTTP request that compacts a conversation.

    Raises `UnsupportedError` for items that the server cannot read.
    """
    return build_responses(request, target, fields=TABLE, path="/responses/compact")


CODEC: Final = Codec[CompactionRequest, ResponsesResponse](
    operation=COMPACTIONS, build=build_compaction, parse=parse_responses, fields=TABLE
)
