"""Checks the caller's own JSON in a request (schemas, definitions, `extra`) before it is used.

What JSON cannot express would otherwise be sent as something else: NaN as null, bytes as base64, numbers as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.chat.tools import Tool
from bifrost.wire.json import check_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from msgspec import Struct

    from bifrost.operations.chat.request import ChatRequest


def check_own_json(request: ChatRequest) -> None:
    """Check a chat's schemas, tool definitions and `extra`. Raises `InvalidRequestError`, which names the place."""
    for number, tool in enumerate(request.tools or ()):
        where = f"tools[{number}]"
        if not isinstance(tool, Tool):
            check_json(tool.definition, where=where)
            continue
        if tool.parameters is not None:
            check_json(tool.parameters, where=f"{where}.parameters")
        if tool.format is not None:
            check_json(tool.format, where=f"{where}.format")
    if request.response_format is not None and request.response_format.schema is not None:
        check_json(request.response_format.schema, where="response_format.schema")
    check_extra(request.extra)


def check_documents(documents: object) -> None:
    """Check documents to rerank that are dicts."""
    if isinstance(documents, list | tuple):
        check_json(documents, where="documents")


def check_schemas(**schemas: Mapping[str, Any] | None) -> None:
    """Check JSON schemas, which are named in errors as here."""
    for name, schema in schemas.items():
        if schema is not None:
            check_json(schema, where=name)


def check_extra(extra: Mapping[str, Any] | None) -> None:
    """Check a caller's provider-specific options."""
    if extra is not None:
        check_json(extra, where="extra")


def check_json_of(request: Struct) -> None:
    """Check the dicts of a request that are in the provider's own form."""
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if isinstance(value, dict | list):
            check_json(value, where=name)
