"""How each field of a request is sent to Vertex AI: https://cloud.google.com/vertex-ai/generative-ai/docs/reference.

Claude's requests have the table of Anthropic.
"""

from __future__ import annotations

from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.token_count import TokenCountRequest
from bifrost.providers.fields import FieldTable, left_out, mapped, narrowed
from bifrost.providers.gemini.fields import EMBEDDINGS as GEMINI_EMBEDDINGS
from bifrost.providers.gemini.fields import VERTEX_CHAT

__all__ = ["CHAT", "COUNT_TOKENS", "EMBEDDINGS"]

CHAT = FieldTable(
    VERTEX_CHAT.request,
    {
        **VERTEX_CHAT.fields,
        "service_tier": mapped(
            "{field} {value} was left out: {provider} knows flex and priority", neutral=("auto", "default", "standard")
        ),
    },
)
"""How the fields of a chat with a model of Google are sent."""

COUNT_TOKENS = FieldTable(
    TokenCountRequest,
    {
        **{
            path: field for path, field in narrowed(CHAT.fields, TokenCountRequest).items() if "tool_choice" not in path
        },
        "tool_choice": left_out("counts without it"),
        "tools.tool.strict": left_out("counts without it", neutral=(False,)),
    },
)
"""How the fields of a request for a number of tokens are sent: as those of the chat, without the choice of tools."""

EMBEDDINGS = FieldTable(
    EmbeddingRequest,
    {
        **GEMINI_EMBEDDINGS.fields,
        "truncate": mapped(),
        "truncate=start": left_out("cuts inputs that are too long at their end"),
    },
)
"""How the fields of a request for embeddings are sent."""
