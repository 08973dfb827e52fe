"""Embeddings as they travel: base64 of little-endian float32 (OpenAI's `encoding_format: "base64"`), or numbers."""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from binascii import a2b_base64
from math import isfinite
from typing import TYPE_CHECKING

from bifrost.errors import InvalidRequestError, MalformedResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_vector(value: str | list[float], *, what: str) -> list[float]:
    """Give an embedding's numbers, whichever way it came. `what` begins the error's sentence.

    Numbers from base64 are float32 exactly; JSON's own stay as they are. Raises `MalformedResponseError`.
    """
    return value if isinstance(value, list) else decode_vector(value, what=what).tolist()


def decode_vector(text: str, *, what: str) -> array[float]:
    """Read base64 of float32 into an array of four bytes a number, an eighth of what a list takes.

    Raises `MalformedResponseError` if it is not base64, is cut inside a number, or holds NaN or infinity.
    """
    try:
        raw = a2b_base64(text, strict_mode=True)
    except ValueError as error:
        problem = f"is not base64 ({error})"
        raw = b""
    else:
        problem = f"has {len(raw):,} bytes, not a multiple of 4" if len(raw) % 4 else ""
    if problem:
        raise MalformedResponseError(f"{what} {problem}")
    vector = array("f")
    vector.frombytes(raw)
    if sys.byteorder == "big":
        vector.byteswap()
    # NaN and infinity have an exponent of all ones, so their highest byte is 7f or ff. Few others have.
    highest = raw[3::4]
    if (b"\x7f" in highest or b"\xff" in highest) and not all(map(isfinite, vector)):
        raise MalformedResponseError(f"{what} holds a number that is not finite")
    return vector


def encode_vector(values: Iterable[float]) -> str:
    """Write numbers as base64 of float32. Raises `InvalidRequestError` for what has no place there."""
    problem = ""
    vector = array("f")
    try:
        vector.extend(values)
    except TypeError as error:
        problem = str(error)
    if problem or not all(map(isfinite, vector)):
        raise InvalidRequestError(f"a vector holds something else than finite 32-bit numbers {problem}".rstrip())
    if sys.byteorder == "big":
        vector.byteswap()
    return b64encode(vector).decode()
