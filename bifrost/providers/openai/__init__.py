"""OpenAI's dialect, which most other providers use as well. They are defined in `bifrost.providers.compatible`."""

from __future__ import annotations

from bifrost.providers.openai.answer import is_whole, parse_chat
from bifrost.providers.openai.chat import build_chat
from bifrost.providers.openai.embeddings import build_embeddings, check_embeddings, parse_embeddings
from bifrost.providers.openai.errors import parse_error
from bifrost.providers.openai.families import OPENAI_FAMILIES
from bifrost.providers.openai.models import build_models, parse_models
from bifrost.providers.openai.quirks import OPENAI_ALONE, OPENAI_CALL_IDS, Quirks
from bifrost.providers.openai.stream import ChatDecoder

__all__ = [
    "OPENAI_ALONE",
    "OPENAI_CALL_IDS",
    "OPENAI_FAMILIES",
    "ChatDecoder",
    "Quirks",
    "build_chat",
    "build_embeddings",
    "build_models",
    "check_embeddings",
    "is_whole",
    "parse_chat",
    "parse_embeddings",
    "parse_error",
    "parse_models",
]
