"""How each field of a request of the Responses API is expressed in a chat.

What a provider's chat does not support is reported by its own table as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bifrost.operations.responses.request import ResponsesRequest
from bifrost.providers.fields import (
    OF_STREAMS,
    REQUIRED,
    Field,
    FieldTable,
    left_out,
    left_out_saying,
    local,
    mapped,
    sent,
)
from bifrost.providers.openai.responses.fields import (
    CALLS,
    CONTENTS,
    ITEMS,
    MADE,
    NAMED,
    ORIGIN,
    PLACES,
    RESULTS,
    lacking,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_CHAT: Final = "is asked by its chat, which has no such option"
_IDS: Final = Field(support="local", words="an id of the Responses API, which a chat does not have")
_THOUGHT: Final = Field(
    support="local", words="of the provider's own there is no need, and another's is left out with a warning"
)
_STATUS: Final = Field(support="local", words="says how far an item was complete")
_UNKNOWN: Final[Field] = left_out_saying("{place}: members without an equivalent in a chat were left out ({field})")
_DETAIL: Final[Field] = left_out("takes no resolution of documents in a chat")
_ONE: Final = ("service_tier", "safety_identifier", "user", "metadata", "store", "temperature", "top_p")
_CACHE: Final = ("prompt_cache_key", "prompt_cache_retention")

_INPUT: Final[Mapping[str, Field]] = {
    **{f"input.{item}.{name}": mapped() for item, names in ITEMS.items() for name in names},
    **{f"input.{item}.id": _IDS for item, names in ITEMS.items() if "id" in names},
    **{f"input.{item}.status": _STATUS for item, names in ITEMS.items() if "status" in names},
    **{f"input.{item}.unknown": _UNKNOWN for item, names in ITEMS.items() if "unknown" in names},
    **{f"input.{item}.issuer": ORIGIN for item in ITEMS},
    **{f"input.{item}.signature": mapped() for item in ("reasoning", "function_call", "custom_tool_call")},
    **{f"input.reasoning.{name}": _THOUGHT for name in ("summary", "content")},
    "input.message.phase": left_out("takes no phase of a message in a chat"),
    "input.message.is_short": local("both forms mean the same"),
    "input.opaque.kind": mapped(),
    **{
        f"input.{place}.{part}.{name}": mapped()
        for place in PLACES
        for part, names in CONTENTS.items()
        for name in names
    },
    **{
        f"input.{place}.{part}.part": local("a chat's own part, which is sent as it is")
        for place in PLACES
        for part in MADE
    },
    **{f"input.{item}.author": mapped() for item in NAMED},
    **{f"input.{item}.is_error": mapped() for item in RESULTS},
    **{f"input.{item}.{name}": mapped() for item in CALLS for name in ("cache", "cache.ttl")},
    **{
        f"input.{place}.output_text.annotations": local("the sources of an answer; nothing is asked by them")
        for place in PLACES
    },
    **{
        f"input.{place}.output_text.logprobs": local("they belong to a response; nothing is asked by them")
        for place in PLACES
    },
    **{f"input.{place}.output_text.unknown": _UNKNOWN for place in PLACES},
    **{f"input.{place}.input_file.detail": _DETAIL for place in PLACES},
}

FIELDS: Final = FieldTable(
    ResponsesRequest,
    {
        "model": REQUIRED,
        "input": REQUIRED,
        **_INPUT,
        "instructions": mapped(),
        "tools": mapped(),
        "tool_choice": mapped(),
        "parallel_tool_calls": mapped(),
        "reasoning": mapped(),
        "text": mapped(),
        "max_output_tokens": mapped(),
        "top_logprobs": mapped(),
        "include": mapped("{field}: {value} was left out: {provider} is asked by its chat, which does not return it"),
        **{name: mapped() for name in (*_ONE, *_CACHE)},
        "max_tool_calls": left_out(NO_CHAT),
        "prompt_cache_options": left_out(NO_CHAT),
        "truncation": left_out(NO_CHAT, neutral=("disabled",)),
        "context_management": left_out(NO_CHAT),
        "stream_options": OF_STREAMS,
        "extra": sent(),
        **lacking(("previous_response_id", "conversation", "prompt", "background", "moderation")),
    },
)
"""How fields are expressed."""
