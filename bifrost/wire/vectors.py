"""Embeddings on the wire: base64 of little-endian float32 (OpenAI's `encoding_format: "base64"`), or numbers."""

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
    """Return the numbers of an embedding in either form. `what` begins the error's message.

    Numbers from base64 are exactly float32; those from JSON stay as they are. Raises `MalformedResponseError`.
    """
    return value if isinstance(value, list) else decode_vector(value, what=what).tolist()


def decode_vector(text: str, *, what: str) -> array[float]:
    """Decode base64 of float32 into an array of four bytes per number, an eighth of the memory of a list.

    Raises `MalformedResponseError` if it is not base64, is not a whole number of floats, or contains NaN or infinity.
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
    # The exponent of NaN and infinity is all ones, so their highest byte is 7f or ff. Few other numbers have that.
    highest = raw[3::4]
    if (b"\x7f" in highest or b"\xff" in highest) and not all(map(isfinite, vector)):
        raise MalformedResponseError(f"{what} holds a number that is not finite")
    return vector


def encode_vector(values: Iterable[float]) -> str:
    """Encode numbers as base64 of float32. Raises `InvalidRequestError` for numbers that are not finite float32."""
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
