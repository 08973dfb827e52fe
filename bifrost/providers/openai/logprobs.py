"""Log probabilities. A response may contain thousands, so a few unexpected ones must not slow down all others."""

from __future__ import annotations

import msgspec

from bifrost.operations.chat.response import Logprobs, TokenLogprob, TopLogprob
from bifrost.providers.openai.fit import UnfitError, fit

_ODD_LIMIT = 256 * 1024
"""The most bytes of which each token is decoded separately, at about 0.1 µs per byte. Beyond that, nothing is
decoded.
"""
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
        return _odd(raw) if len(raw) <= _ODD_LIMIT else None
    return Logprobs(content=_tokens(outline.content), refusal=_tokens(outline.refusal))


def _odd(raw: msgspec.Raw) -> Logprobs | None:
    try:
        return fit(raw, Logprobs, needed=frozenset())
    except UnfitError:
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
