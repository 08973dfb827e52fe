"""Documents to rerank, as text for providers that accept only text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.wire import json

if TYPE_CHECKING:
    from bifrost.operations.rerank import RerankDocument


def text_of_document(document: RerankDocument) -> str:
    """Return a document as text: a line per field, as in YAML. The only field `text` is the text itself."""
    match document:
        case str():
            return document
        case {"text": str(text)} if len(document) == 1:
            return text
        case _:
            return "".join(f"{name}: {_written(value)}\n" for name, value in document.items())


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.encode(value).decode()
