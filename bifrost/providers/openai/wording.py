"""What the error messages of servers that speak OpenAI's dialect mean if neither status nor code says it.

Each vendor has a table of its own. The messages of all of them are known at each server: gateways repeat those of the
providers behind them, and a provider that a user adds may be any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.providers.wording import ARTICLES, SHARED, Wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.wording import Meaning

_OPENAI: Mapping[Meaning, Sequence[str]] = {
    # With status 429; Groq's with 413: the request alone is larger than a minute's tokens.
    "allowance": (r"request too large for .{1,200}\blimit:? \d",),
    # With status 400
    "quota": (r"billing hard limit",),
    "content": (r"prompt was flagged", r"rejected as a result of our safety system"),
    # Groq, Cerebras and OpenRouter too
    "context_length": (r"reduce the length of (?:the (?:messages|input|prompt)|either one)", r"input tokens exceed"),
}

_AZURE: Mapping[Meaning, Sequence[str]] = {
    # With status 401
    "access": (r"lacks the required data action",),
    "content": (r"content management policy",),
}

_GROQ: Mapping[Meaning, Sequence[str]] = {
    # https://console.groq.com/docs/errors; OpenRouter repeats it
    "failed_generation": (
        r"see 'failed_generation' for",
        r"failed to (?:call a function|(?:generate|validate) json)\b",
        r"tool call validation failed",
        r"\"code\": ?\"(?:tool_use_failed|json_validate_failed)\"",
    ),
}

_DEEPSEEK: Mapping[Meaning, Sequence[str]] = {
    "credential": (r"authentication fails",),
    "content": (r"content exists risk",),
    # With status 400
    "model": (r"model not exist",),
}

_XAI: Mapping[Meaning, Sequence[str]] = {
    # With status 429 and 403
    "quota": (
        r"used all (?:of )?(?:the |its |your )?available credits",
        r"reached (?:the |its |your )?(?:monthly )?spending limit",
    ),
    "content": (r"violates usage guidelines",),
}

_OPENROUTER: Mapping[Meaning, Sequence[str]] = {
    # https://openrouter.ai/docs/api-reference/errors
    "allowance": (
        r"can only afford \d",
        r"requires more credits, or fewer max_tokens",
        r"prompt tokens limit exceeded",
    ),
    # With status 403, for a key with a limit of its own
    "quota": (r"key limit exceeded",),
    "content": (r"requires moderation on",),
    "model": (r"is not a valid model id",),
}

_MISTRAL: Mapping[Meaning, Sequence[str]] = {
    "context_length": (r"too large for model with \d{1,9} maximum context length",),
}

_LOCAL: Mapping[Meaning, Sequence[str]] = {
    "context_length": (
        # vLLM, SGLang, LM Studio
        rf"(?:longer|greater|larger) than {ARTICLES}{{0,4}}(?:context (?:window|length|size)|maximum model length)",
        rf"longer than {ARTICLES}{{1,4}}model length",
        r"too long to fit into the model",
        r"context (?:length|window|size) (?:is|of) only \d",
        r"input length .{0,60}exceeds? (?:the )?(?:maximum|max)",
        r"reached context length of \d",
        r"context size has been exceeded",
        r"trying to keep the first \d{1,9} tokens",
        # llama.cpp's embeddings
        r"too large to process\. increase the physical batch size",
        # TGI, TEI; Together
        r"`?inputs`? tokens \+ `?max_new_tokens`? must be",
        r"`?inputs`? must have less than \d{1,9} tokens",
    ),
    # LM Studio
    "model": (r"invalid model identifier",),
    # LM Studio, with status 200
    "endpoint": (r"unexpected endpoint or method",),
}
"""Servers on one's own machine."""

_OTHERS: Mapping[Meaning, Sequence[str]] = {
    # MiniMax
    "credential": (r"login fail: please carry the api",),
    "quota": (
        "\u4f59\u989d\u4e0d\u8db3|\u6b20\u8d39",  # "the balance is not enough", "in arrears"
        # DashScope's 400 "Arrearage"
        r"account is in good standing",
        r"account is (?:overdue|in arrears)",
        # Fireworks' 412
        r"account is suspended.{1,80}spending limit",
    ),
    # GitHub Models' 401
    "access": (r"permission is required to access",),
    # Moonshot, DashScope
    "content": (
        r"rejected because it was considered high risk",
        r"(?:may |might )?contains? (?:inappropriate|sensitive) content",
    ),
    # GitHub, Moonshot, DashScope, Zhipu, MiniMax, Volcengine
    "context_length": (
        r"prompt token count of \d{1,9} exceeds",
        r"request body too large for .{1,80}max size: \d{1,9} tokens",
        r"exceeded model token limit",
        r"range of input length should be",
        r"prompt exceeds max length",
        r"context window exceeds limit",
        r"total message (?:token )?length exceed",
    ),
}
"""Vendors that users add themselves."""

VENDORS: Sequence[Mapping[Meaning, Sequence[str]]] = (
    _OPENAI,
    _AZURE,
    _GROQ,
    _DEEPSEEK,
    _XAI,
    _OPENROUTER,
    _MISTRAL,
    _LOCAL,
    _OTHERS,
)

WORDING = Wording(SHARED, *VENDORS)
