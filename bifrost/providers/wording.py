"""The meaning of vendors' error messages if neither status nor code says it. Pure data, and a linear search.

The statuses and codes that do say it are in `bifrost.routing.classify`. No pattern here has an open-ended part, so the
search takes linear time, and the message is cut to `MESSAGE_LIMIT` before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Meaning: TypeAlias = Literal[
    "allowance",
    "credential",
    "quota",
    "access",
    "content",
    "context_length",
    "model",
    "endpoint",
    "failed_generation",
]
"""The meaning of a refusal.

`allowance`: this request is larger than the account may send, and a smaller one would succeed. `credential`: the key is
not valid. `quota`: the account's credit is exhausted. `access`: the key is valid but lacks a right that this endpoint
or model requires. `content`: moderation refused the content. `context_length`: the request is too long for the model.
`model`: the model does not exist. `endpoint`: the endpoint does not exist. `failed_generation`: the request is valid,
but the model's output is not a tool call or JSON that the server can parse.
"""

OF_THE_REQUEST: Sequence[Meaning] = ("context_length", "content", "failed_generation")
"""Meanings that a gateway may repeat from the provider behind it. The others concern a key that is not ours."""

_ARTICLES = r"(?:the |this |its |your |max |maximum |available |allowed |configured |model's |model )"

# The order matters, because some messages match two of them.
_SENTENCES: Mapping[Meaning, Sequence[str]] = {
    "allowance": (
        # OpenRouter, https://openrouter.ai/docs/api-reference/errors
        r"can only afford \d",
        r"requires more credits, or fewer max_tokens",
        r"prompt tokens limit exceeded",
        # OpenAI with status 429, Groq with 413: the request alone is larger than a minute's tokens.
        r"request too large for .{1,200}\blimit:? \d",
        # Anthropic
        r"extra usage is required for long context",
        r"long context beta is not (?:yet )?available",
    ),
    "credential": (
        r"(?:incorrect|invalid|wrong) (?:x-)?api[-_ ]?key",
        r"invalid x-api-key",
        # Gemini's 400: https://ai.google.dev/gemini-api/docs/troubleshooting
        r"api[-_ ]key (?:is )?(?:not valid|invalid|expired|not found|revoked|disabled|blocked|deactivated)",
        r"api[-_ ]key (?:has|was) (?:been )?(?:expired|revoked|disabled|blocked|deactivated)",
        r"api[-_ ]key is currently (?:blocked|disabled)",
        r"no (?:auth|authentication) credentials",
        r"(?:invalid|expired) (?:authentication|access|bearer|auth|oauth) (?:token|key|credentials?)",
        # DeepSeek
        r"authentication fails",
        # Anthropic's 400
        r"organization has been disabled",
        # MiniMax
        r"login fail: please carry the api",
    ),
    "quota": (
        # Anthropic's 400
        r"credit balance",
        r"reached your specified (?:api )?usage limit",
        # xAI's 429 and 403
        r"used all (?:of )?(?:the |its |your )?available credits",
        r"reached (?:the |its |your )?(?:monthly )?spending limit",
        r"(?:have|has) (?:run |ran )?out of credits",
        r"(?:doesn't|does not|don't|do not) have any credits",
        r"purchase (?:more )?credits",
        # OpenRouter's 403 for a key with a limit of its own
        r"key limit exceeded",
        # OpenAI's 400
        r"billing hard limit",
        # DeepSeek, Zhipu, SiliconFlow, MiniMax, Novita, and gateways
        r"insufficient (?:account |user )?(?:balance|credits?|funds)\b",
        r"balance is (?:insufficient|not enough|too low)",
        r"not enough (?:balance|credits?|funds)\b",
        "\u4f59\u989d\u4e0d\u8db3|\u6b20\u8d39",  # "the balance is not enough", "in arrears"
        # DashScope's 400 "Arrearage"
        r"account is in good standing",
        r"account is (?:overdue|in arrears)",
        # LiteLLM's proxy
        r"budget has been exceeded",
        # Fireworks' 412
        r"account is suspended.{1,80}spending limit",
    ),
    "access": (
        # OpenAI's restricted keys, with 401 or 403
        r"missing (?:required )?(?:scopes?|permissions?|acls?)\b",
        r"insufficient (?:permissions?|authentication scopes?|scopes?)\b",
        r"does not (?:have|meet) (?:the |a )?(?:sufficient |required |necessary )?(?:permissions?|scopes?)\b",
        # Azure's 401
        r"lacks the required data action",
        # GitHub Models' 401
        r"permission is required to access",
        # LiteLLM's proxy, with 401
        r"key not allowed to access",
        r"must be verified to",
        r"only authorized for use with",
    ),
    "content": (
        # OpenRouter's 403
        r"requires moderation on",
        r"your (?:input|prompt|request|content) (?:was|has been|is) flagged",
        # The vendors themselves: OpenAI, Azure, Anthropic, DeepSeek, Moonshot, DashScope, and xAI with 403
        r"prompt was flagged",
        r"rejected as a result of our safety system",
        r"content management policy",
        r"content filtering policy",
        r"content exists risk",
        r"violates usage guidelines",
        r"rejected because it was considered high risk",
        r"(?:may |might )?contains? (?:inappropriate|sensitive) content",
    ),
    "context_length": (
        # Anthropic's two, Fireworks, Ollama's cloud
        r"prompt (?:is )?too long",
        rf"exceed(?:s|ed|ing)? {_ARTICLES}{{0,4}}context[ _](?:window|length|size|limit)",
        # OpenAI, DeepSeek, OpenRouter, vLLM, SGLang; xAI
        r"maximum (?:context|prompt|input) length (?:is|of) \d",
        # Mistral
        r"too large for model with \d{1,9} maximum context length",
        # OpenAI, Groq, Cerebras, OpenRouter
        r"reduce the length of (?:the (?:messages|input|prompt)|either one)",
        r"input tokens exceed",
        # vLLM, SGLang, LM Studio
        rf"(?:longer|greater|larger) than {_ARTICLES}{{0,4}}(?:context (?:window|length|size)|maximum model length)",
        rf"longer than {_ARTICLES}{{1,4}}model length",
        r"too long to fit into the model",
        r"context (?:length|window|size) (?:is|of) only \d",
        r"input length .{0,60}exceeds? (?:the )?(?:maximum|max)",
        r"reached context length of \d",
        r"context size has been exceeded",
        r"trying to keep the first \d{1,9} tokens",
        # llama.cpp's embeddings
        r"too large to process\. increase the physical batch size",
        # TGI, TEI, Together
        r"`?inputs`? tokens \+ `?max_new_tokens`? must be",
        r"`?inputs`? must have less than \d{1,9} tokens",
        # Gemini, Bedrock, Cohere, Mistral's embeddings
        r"input token count.{0,80}(?:exceed|supports up to)",
        r"input is too long for",
        r"too many input tokens",
        r"too many tokens: ",
        r"exceeding max \d{1,9} tokens",
        # GitHub, Moonshot, DashScope, Zhipu, MiniMax, Volcengine
        r"prompt token count of \d{1,9} exceeds",
        r"request body too large for .{1,80}max size: \d{1,9} tokens",
        r"exceeded model token limit",
        r"range of input length should be",
        r"prompt exceeds max length",
        r"context window exceeds limit",
        r"total message (?:token )?length exceed",
        # Gateways that repeat the name of an exception or of OpenAI's code
        r"context_?(?:length|window)_?exceeded",
    ),
    "model": (
        # DeepSeek's and OpenRouter's 400, LM Studio
        r"model not exist",
        r"is not a valid model id",
        r"invalid model identifier",
    ),
    "endpoint": (
        # LM Studio, with status 200
        r"unexpected endpoint or method",
    ),
    "failed_generation": (
        # Groq, https://console.groq.com/docs/errors; OpenRouter repeats it
        r"see 'failed_generation' for",
        r"failed to (?:call a function|(?:generate|validate) json)\b",
        r"tool call validation failed",
        r"\"code\": ?\"(?:tool_use_failed|json_validate_failed)\"",
    ),
}


_PATTERNS: Mapping[Meaning, str] = {meaning: "|".join(sentences) for meaning, sentences in _SENTENCES.items()}
"""`re` compiles and caches them when the first error occurs, so that importing the package does not pay for it."""


def meaning_of(message: str, among: Sequence[Meaning] | None = None) -> Meaning | None:
    """Return the meaning of a provider's message; `None` if it is unknown."""
    text = message.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for meaning, pattern in _PATTERNS.items():
        if (among is None or meaning in among) and re.search(pattern, text):
            return meaning
    return None
