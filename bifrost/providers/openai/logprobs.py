"""Log probabilities. A response may contain thousands, so a few unexpected ones must not slow down all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.operations.chat.response import Logprobs, TokenLogprob, TopLogprob

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTEGERS = frozenset({int})
_HIGHEST = 1e300
"""Larger numbers, such as infinity, are ignored."""


class _Top(msgspec.Struct, gc=False):
    token: str | None = None
    logprob: float | None = None
    bytes: list[int] | None = None


class _Token(msgspec.Struct, gc=False):
    token: str | None = None
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[_Top] | None = None


class _Outline(msgspec.Struct):
    """Log probabilities of which some tokens have no number."""

    content: list[_Token] | None = None
    refusal: list[_Token] | None = None


_WHOLE = msgspec.json.Decoder(Logprobs | None, strict=False)
_PATCHY = msgspec.json.Decoder(_Outline, strict=False)
_ANY = msgspec.json.Decoder(dict[str, Any])
_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


def logprobs_of(raw: msgspec.Raw) -> Logprobs | None:
    """Return log probabilities, or `None`. Tokens without a number (NaN, minus infinity) are omitted."""
    if not len(raw):
        return None
    try:
        found = _WHOLE.decode(raw)
    except _ERRORS:
        found = _patchy(raw)
    return found if found is not None and (found.content or found.refusal) else None


def _patchy(raw: msgspec.Raw) -> Logprobs | None:
    try:
        outline = _PATCHY.decode(raw)
    except _ERRORS:
        return _odd(raw)
    return Logprobs(content=_tokens(outline.content), refusal=_tokens(outline.refusal))


def _odd(raw: msgspec.Raw) -> Logprobs | None:
    """Return log probabilities of which some members have unexpected types."""
    try:
        form = _ANY.decode(raw)
    except _ERRORS:
        return None
    content, refusal = (list(_odd_tokens(_list(form.get(name)))) or None for name in ("content", "refusal"))
    return Logprobs(content=content, refusal=refusal)


def _odd_tokens(items: list[Any]) -> Iterator[TokenLogprob]:
    for form in map(_dict, items):
        token, number = form.get("token"), _number(form.get("logprob"))
        if isinstance(token, str) and number is not None:
            data, tops = _bytes(form.get("bytes")), list(_odd_tops(_list(form.get("top_logprobs"))))
            yield TokenLogprob(token=token, logprob=number, bytes=data, top_logprobs=tops)


def _odd_tops(items: list[Any]) -> Iterator[TopLogprob]:
    for form in map(_dict, items):
        token, number = form.get("token"), _number(form.get("logprob"))
        if isinstance(token, str) and number is not None:
            yield TopLogprob(token=token, logprob=number, bytes=_bytes(form.get("bytes")))


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool | list | dict):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if -_HIGHEST <= number <= _HIGHEST else None


def _bytes(value: Any) -> list[int] | None:
    """Return the bytes of a token, which may be written as `119.0`."""
    items = _list(value)
    if _INTEGERS.issuperset(map(type, items)):
        return items or None
    try:
        return [int(each) for each in items]
    except (TypeError, ValueError, OverflowError):
        return None


def _tokens(items: list[_Token] | None) -> list[TokenLogprob] | None:
    return [
        TokenLogprob(
            token=item.token, logprob=item.logprob, bytes=item.bytes, top_logprobs=_tops(item.top_logprobs or ())
        )
        for item in items or ()
        if item.token is not None and item.logprob is not None and -_HIGHEST <= item.logprob <= _HIGHEST
    ] or None


def _tops(items: list[_Top] | tuple[()]) -> list[TopLogprob]:
    return [
        TopLogprob(token=item.token, logprob=item.logprob, bytes=item.bytes)
        for item in items
        if item.token is not None and item.logprob is not None and -_HIGHEST <= item.logprob <= _HIGHEST
    ]
