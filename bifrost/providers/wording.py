"""The meaning of vendors' error messages if neither status nor code says it. Pure data, and a linear search.

These are the messages that several vendors and gateways send. Those of one vendor are in the `wording` module of its
dialect; the statuses and codes that do say it are in `bifrost.routing.classify`. No pattern has an open-ended part, so
the search takes linear time, and the message is cut to `MESSAGE_LIMIT` before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Meaning: TypeAlias = Literal[
    "allowance",
    "credential",
    "quota",
    "long_quota",
    "access",
    "content",
    "context_length",
    "model",
    "endpoint",
    "failed_generation",
]
"""The meaning of a refusal.

`allowance`: this request is larger than the account may send, and a smaller one would succeed. `credential`: the key is
not valid. `quota`: the account's credit is exhausted. `long_quota`: a quota of a
day or longer is exhausted, whatever the code says. `access`: the key is valid but lacks a right that this endpoint
or model requires. `content`: moderation refused the content. `context_length`: the request is too long for the model.
`model`: the model does not exist. `endpoint`: the endpoint does not exist. `failed_generation`: the request is valid,
but the model's output is not a tool call or JSON that the server can parse.
"""

OF_THE_REQUEST: Sequence[Meaning] = ("context_length", "content", "failed_generation")
"""Meanings that a gateway may repeat from the provider behind it. The others concern a key that is not ours."""

ARTICLES = r"(?:the |this |its |your |max |maximum |available |allowed |configured |model's |model )"

SHARED: Mapping[Meaning, Sequence[str]] = {
    "credential": (
        r"(?:incorrect|invalid|wrong) (?:x-)?api[-_ ]?key",
        # Gemini's 400, and others: https://ai.google.dev/gemini-api/docs/troubleshooting
        r"api[-_ ]key (?:is )?(?:not valid|invalid|expired|not found|revoked|disabled|blocked|deactivated)",
        r"api[-_ ]key (?:has|was) (?:been )?(?:expired|revoked|disabled|blocked|deactivated)",
        r"api[-_ ]key is currently (?:blocked|disabled)",
        r"no (?:auth|authentication) credentials",
        r"(?:invalid|expired) (?:authentication|access|bearer|auth|oauth) (?:token|key|credentials?)",
    ),
    "quota": (
        # Anthropic's 400
        r"credit balance",
        r"(?:have|has) (?:run |ran )?out of credits",
        r"(?:doesn't|does not|don't|do not) have any credits",
        r"purchase (?:more )?credits",
        # DeepSeek, Zhipu, SiliconFlow, MiniMax, Novita, and gateways
        r"insufficient (?:account |user )?(?:balance|credits?|funds)\b",
        r"balance is (?:insufficient|not enough|too low)",
        r"not enough (?:balance|credits?|funds)\b",
        # LiteLLM's proxy
        r"budget has been exceeded",
    ),
    "access": (
        r"missing (?:required )?(?:scopes?|permissions?|acls?)\b",
        r"insufficient (?:permissions?|authentication scopes?|scopes?)\b",
        r"does not (?:have|meet) (?:the |a )?(?:sufficient |required |necessary )?(?:permissions?|scopes?)\b",
        # LiteLLM's proxy, with 401
        r"key not allowed to access",
        r"must be verified to",
    ),
    "content": (
        r"your (?:input|prompt|request|content) (?:was|has been|is) flagged",
        # Azure and Anthropic
        r"content filtering policy",
    ),
    "context_length": (
        # Anthropic, Fireworks, Ollama's cloud
        r"prompt (?:is )?too long",
        rf"exceed(?:s|ed|ing)? {ARTICLES}{{0,4}}context[ _](?:window|length|size|limit)",
        # OpenAI, DeepSeek, OpenRouter, vLLM, SGLang; xAI
        r"maximum (?:context|prompt|input) length (?:is|of) \d",
        # Gemini, Bedrock, Cohere, Mistral's embeddings
        r"input token count.{0,80}(?:exceed|supports up to)",
        r"input is too long for",
        r"too many input tokens",
        r"too many tokens: ",
        r"exceeding max \d{1,9} tokens",
        # Gateways that repeat the name of an exception or of OpenAI's code
        r"context_?(?:length|window)_?exceeded",
    ),
}
"""What several vendors say, and gateways before any of them."""


class Wording:
    """The messages that a dialect knows. Later tables add to earlier ones."""

    def __init__(self, *tables: Mapping[Meaning, Sequence[str]]) -> None:
        self._patterns: dict[Meaning, str] = {}
        # The order of the meanings matters, because some messages match two of them.
        for meaning in get_args(Meaning):
            messages = [message for table in tables for message in table.get(meaning, ())]
            if messages:
                # `re` compiles and caches it when the first error occurs, so that the import does not pay for it.
                self._patterns[meaning] = "|".join(messages)

    def meaning_of(self, message: str, among: Sequence[Meaning] | None = None) -> Meaning | None:
        """Return the meaning of a provider's message; `None` if it is unknown."""
        text = message.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        for meaning, pattern in self._patterns.items():
            if (among is None or meaning in among) and re.search(pattern, text):
                return meaning
        return None
