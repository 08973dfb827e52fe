"""How each field of a request is sent to the Responses API, and what becomes of those that a server lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bifrost.operations.responses.request import ResponsesRequest
from bifrost.providers.fields import (
    OF_STREAMS,
    REQUIRED,
    Field,
    FieldTable,
    left_out,
    local,
    mapped,
    refused,
    sent,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PLAIN: Final = (
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tool_calls",
    "reasoning",
    "text",
    "temperature",
    "top_p",
    "max_output_tokens",
    "top_logprobs",
    "include",
    "previous_response_id",
    "conversation",
    "prompt",
    "store",
    "background",
    "truncation",
    "context_management",
    "moderation",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "user",
)
"""Options with the same name and type in both."""

ORIGIN: Final = Field(support="local", words="says who made an item, and so where its state may go")
OF_A_CHAT: Final = Field(support="local", words="a chat made it; the Responses API never has one")

CONTENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "output_text": ("text", "annotations", "logprobs", "unknown"),
    "refusal": ("refusal",),
    "input_text": ("text", "prompt_cache_breakpoint"),
    "input_image": ("image_url", "file_id", "detail", "prompt_cache_breakpoint"),
    "input_file": ("file_url", "file_data", "file_id", "filename", "detail", "prompt_cache_breakpoint"),
    "opaque": ("data",),
}
"""The members of the parts of messages and results."""

ITEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "message": ("role", "content", "id", "status", "phase", "unknown"),
    "reasoning": ("id", "summary", "content", "encrypted_content", "status", "unknown"),
    "function_call": ("call_id", "name", "arguments", "id", "status", "unknown"),
    "custom_tool_call": ("call_id", "name", "input", "id", "status", "unknown"),
    "function_call_output": ("call_id", "output", "id", "status", "unknown"),
    "custom_tool_call_output": ("call_id", "output", "id", "status", "unknown"),
    "opaque": ("data",),
}
"""The members of items."""

CALLS: Final = ("function_call", "custom_tool_call")
RESULTS: Final = ("function_call_output", "custom_tool_call_output")
NAMED: Final = ("message", *CALLS, *RESULTS)
"""The items that may have an author."""
NO_AUTHOR: Final[Field] = left_out("takes no name of an author")
MADE: Final = ("output_text", "input_text", "input_image", "input_file", "opaque")
"""The parts that may be made from those of a chat."""

PLACES: Final = ("message.content", "function_call_output.output", "custom_tool_call_output.output")
"""Where parts are."""

_INPUT: Final[Mapping[str, Field]] = {
    **{f"input.{item}.{name}": sent() for item, names in ITEMS.items() for name in names},
    **{f"input.{item}.issuer": ORIGIN for item in ITEMS},
    **{f"input.{item}.signature": OF_A_CHAT for item in ("reasoning", "function_call", "custom_tool_call")},
    **{f"input.{item}.author": NO_AUTHOR for item in NAMED},
    **{f"input.{item}.is_error": left_out("knows no failed results; let the result say so") for item in RESULTS},
    **{f"input.{item}.cache": left_out("has no cache mark of a call") for item in CALLS},
    "input.message.is_short": mapped(),
    "input.opaque.kind": local("the item itself says its kind"),
    "input.opaque.data": mapped(),
    **{
        f"input.{place}.{part}.{name}": sent() for place in PLACES for part, names in CONTENTS.items() for name in names
    },
    **{f"input.{place}.{part}.part": OF_A_CHAT for place in PLACES for part in MADE},
}

FIELDS: Final[Mapping[str, Field]] = {
    "model": REQUIRED,
    "input": REQUIRED,
    **_INPUT,
    **{name: sent(name) for name in PLAIN},
    "stream_options": OF_STREAMS,
    "extra": sent(),
}
"""How fields are sent to OpenAI itself."""

_REFUSED: Final[Mapping[str, Field]] = {
    "previous_response_id": refused("stores no responses; leave out previous_response_id and send the whole input"),
    "conversation": refused("has no conversations; leave out conversation and send the whole input"),
    "prompt": refused("stores no prompts; leave out prompt and send its text"),
    "background": refused("has no background runs; leave out background", neutral=(False,)),
    "moderation": refused("moderates nothing by itself; leave out moderation, and call moderate(...)"),
}
"""Fields whose omission would change the meaning."""


def responses_fields(lacks: Collection[str] = ()) -> FieldTable:
    """Return the table of a server that lacks these fields."""
    lacking = {name: _REFUSED.get(name) or left_out() for name in lacks}
    return FieldTable(ResponsesRequest, {**FIELDS, **lacking})


def lacking(names: Collection[str]) -> Mapping[str, Field]:
    """Return the entries of fields that are refused or omitted."""
    return {name: _REFUSED.get(name) or left_out() for name in names}
