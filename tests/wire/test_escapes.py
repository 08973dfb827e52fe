"""Text without its escapes: exactly, and the quick approximations that must not miss what is there."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.wire.escapes import approximations, layers

if TYPE_CHECKING:
    from collections.abc import Callable

WRITINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "all percent-encoded": lambda text: "".join(f"%{ord(each):02x}" for each in text),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON in code points": lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
    "a string in C": lambda text: "".join(f"\\x{ord(each):02x}" if each.isascii() else each for each in text),
    "HTML": html.escape,
    "HTML in numbers": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "HTML in hexadecimal numbers": lambda text: "".join(f"&#x{ord(each):x};" for each in text),
}
WRITTEN = st.builds(
    lambda text, outer, inner: WRITINGS[outer](WRITINGS[inner](text)),
    st.text('abcxyz0123456789+/-_.*…•·=\n\t "', max_size=12),
    st.sampled_from(sorted(WRITINGS)),
    st.sampled_from(sorted(WRITINGS)),
)
WORD = re.compile(rb"[^\x00-\x1f \\%&\"]+")


@given(st.lists(WRITTEN, max_size=4))
def test_what_a_layer_shows_is_in_an_approximation(parts: list[str]) -> None:
    text = " ".join(parts).lower().encode()
    seen = list(approximations(text))
    for layer in layers(text):
        for word in WORD.findall(layer.text):
            assert any(word in each for each in (text, *seen)), word


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("%2541%41", "aa"),
        ("%%41%3d=%25", "%a==%"),
        ("%\r%41\nb", "%\ra\nb"),
        ("%0a%zz", "\n%zz"),
        (r"a\\\\\\\\\\u0041b\n\u2026", "a\0ab\n…"),
        (r"\/\"\x41\r\q\ud83d", '/"a\rq\ud83d'),
        ("&amp;amp;#65;&lt;&#x2026;&#9999999;&bogus;", "a<…&bogus;"),
        ("\\u0025\\u0034\\u0031", "a"),
    ],
)
def test_each_kind_of_escape_is_removed(text: str, told: str) -> None:
    *_, last = approximations(text.encode())
    assert last == told.encode("utf-8", "surrogatepass")


def test_a_text_without_escapes_has_neither_layers_nor_approximations() -> None:
    for text in (b"", b"plain = text", b"100%"):
        assert list(layers(text)) == []
        assert list(approximations(text)) == []


def test_a_part_of_a_layer_is_found_in_the_original() -> None:
    text = rb"say %22%5cu0041bc%22 \u0064"
    outer, inner = layers(text)
    assert (outer.text, inner.text) == (rb'say "\u0041bc" d', b'say "abc" d')
    (span,) = inner.original([(5, 8)])
    assert text[slice(*span)] == rb"%5cu0041bc"
