"""Builds requests of the Responses API: https://platform.openai.com/docs/api-reference/responses/create.

Ids and opaque state of items are sent to their issuer only: the same provider at the same address with the same key.
With another key OpenAI refuses encrypted reasoning and does not find stored items.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.content import FilePart, OpaquePart, VideoPart
from bifrost.operations.responses.chat_items import CHAT_PART, has_ttl
from bifrost.operations.responses.content import OpaqueContent, OutputRefusal, OutputText
from bifrost.operations.responses.item_forms import item_form
from bifrost.operations.responses.items import Item, MessageItem, OpaqueItem, ReasoningItem
from bifrost.providers.base import Built
from bifrost.providers.extra import merge_extra
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bifrost.operations.chat.content import CacheMark, Issuer, Part
    from bifrost.operations.responses.compaction import CompactionRequest
    from bifrost.operations.responses.content import Content
    from bifrost.operations.responses.request import ResponsesRequest
    from bifrost.providers.base import Target
    from bifrost.providers.fields import FieldTable

_NEEDED: Final = frozenset(["compaction", "item_reference"])
"""Opaque items that contain a part of the conversation."""

_CALL_ID_LIMIT: Final = 64


def build_responses(
    request: ResponsesRequest | CompactionRequest, target: Target, *, fields: FieldTable, path: str = "/responses"
) -> Built:
    """Return the HTTP request for a response.

    Raises `UnsupportedError` for what the server does not support, and `InvalidRequestError` for an invalid request.
    """
    extra = (request.extra or {}).get(target.provider) or {}
    if "stream" in extra:
        raise InvalidRequestError('extra: "stream" is not set there; stream_respond() streams, respond() does not')
    warnings = fields.check(request, target)
    body: dict[str, Any] = {"model": target.model, "input": input_form(request.input, target, warnings)}
    for name, wire in fields.plain:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    if target.stream:
        body["stream"] = True
        options: dict[str, Any] | None = getattr(request, "stream_options", None)
        if options is not None:
            body["stream_options"] = options
    if extra:
        merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path=path,
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def input_form(given: str | Sequence[Item], target: Target, warnings: list[str]) -> str | list[dict[str, Any]]:
    """Return the input in OpenAI's form. What is left out of it is added to the warnings."""
    if isinstance(given, str):
        return given
    forms: list[dict[str, Any]] = []
    for place, item in enumerate(given):
        ours = item if item.issuer is None or is_issuer(target, item.issuer) else _without_state(item, target, place)
        if ours is None or _is_empty(ours):
            warnings.append(f"input[{place}]: {_left_out(item)} was left out: {target.provider} cannot read it")
        else:
            _report_lost(ours, target, f"input[{place}]", warnings)
            forms.append(_with_short_id(item_form(ours)))
    return forms


def _report_lost(item: Item, target: Target, where: str, warnings: list[str]) -> None:
    """Add what the parts of a chat say beyond the form of their item to the warnings.

    Raises `UnsupportedError` for a part without which the message has another meaning.
    """
    content = item.content if isinstance(item, MessageItem) else getattr(item, "output", None)
    if not isinstance(content, list):
        return
    for place, each in enumerate(cast("list[Content]", content)):
        part = None if isinstance(each, OutputRefusal) else each.part
        if part is None:
            continue
        if isinstance(part, VideoPart) or (isinstance(part, OpaquePart) and part.provider != target.provider):
            raise UnsupportedError(
                f"{target.provider} has no form for a part of the kind {part.__struct_config__.tag!r} in the Responses "
                f"API ({where}.content[{place}]); leave it out, or use chat(...)",
                provider=target.provider,
                model=target.model,
                param="input",
            )
        reason = f"was left out: {target.provider} has no such option"
        warnings += [f"{where}.content[{place}]: {name} {reason}" for name in _lost(each, part)]


def _lost(content: Content, part: Part) -> Iterator[str]:
    """Yield the names of what a part of a chat says beyond the form of its content."""
    cache: CacheMark | None = getattr(part, "cache", None)
    if cache is not None and isinstance(content, OutputText | OpaqueContent):
        yield "cache"
    elif has_ttl(cache):
        yield "cache.ttl"
    if isinstance(part, FilePart):
        yield from (name for name in ("context", "citations") if getattr(part, name) is not None)


def is_issuer(target: Target, issuer: Issuer) -> bool:
    """Return whether the ids and the state of this issuer are valid at the target. Unknown members match."""
    ours = target.issuer
    if ours is None:
        return issuer.provider == target.provider
    members = (("provider", "address", "key", "region")) if ours.key is not None else ("provider", "address", "region")
    return all(getattr(issuer, name) in (None, getattr(ours, name)) for name in members)


def _without_state(item: Item, target: Target, place: int) -> Item | None:
    """Return an item of another issuer without its id; `None` if nothing remains."""
    match item:
        case OpaqueItem(kind=kind) if kind in _NEEDED:
            raise UnsupportedError(
                f"input[{place}]: {target.provider} cannot read an item of the type {kind!r} that another provider or "
                "key has made; send the conversation itself, or keep the key with session=...",
                provider=target.provider,
                model=target.model,
                param="input",
            )
        case OpaqueItem() | ReasoningItem():
            return None
        case MessageItem(content=list(parts)) if all(isinstance(part, OutputText) for part in parts):
            # Without an id, OpenAI takes a model's message in the short form only.
            return MessageItem(role=item.role, content=item.text, phase=item.phase, is_short=True)
        case _:
            return msgspec.structs.replace(item, id=None, unknown=None)


def _is_empty(item: Item) -> bool:
    """Return whether the server has no form for the item, or it is reasoning that it can neither find nor read."""
    if isinstance(item, OpaqueItem):
        return item.kind.startswith(CHAT_PART)
    return isinstance(item, ReasoningItem) and item.id is None and item.encrypted_content is None


def _left_out(item: Item) -> str:
    if isinstance(item, ReasoningItem):
        return "reasoning of another provider or key"
    if not isinstance(item, OpaqueItem):
        return "an item"
    is_part = item.kind.startswith(CHAT_PART)
    return f"a part of a chat ({item.kind!r})" if is_part else f"the item {item.kind!r} of another provider or key"


def _with_short_id(form: dict[str, Any]) -> dict[str, Any]:
    """Return an item whose `call_id` is short enough: another provider's may be longer."""
    call_id = form.get("call_id")
    if isinstance(call_id, str) and len(call_id) > _CALL_ID_LIMIT:
        digest = sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
        return {**form, "call_id": f"call_{digest[:32]}"}
    return form
