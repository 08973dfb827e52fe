"""The index of n-grams finds what a plain search finds, in any text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bifrost.wire.ngrams import SIZE, NgramIndex

TEXTS = (b"sk-proj-7fq3az91xzklm2", b"0123456789abcdef" * 2, "pässwörd \x00\n\xff ünïque".encode(), b"d" * 8, b"short")
GRAMS = {text[at : at + SIZE] for text in TEXTS for at in range(len(text) - SIZE + 1)}
INDEX = NgramIndex(TEXTS)


def places(text: bytes) -> set[int]:
    """Give the bytes that belong to a known 8-gram."""
    return {
        each for at in range(len(text) - SIZE + 1) if text[at : at + SIZE] in GRAMS for each in range(at, at + SIZE)
    }


PIECES = st.one_of(
    st.binary(max_size=9),
    st.text("skproj-7fq01d \n", max_size=9).map(str.encode),
    st.builds(
        lambda text, start, size: text[start : start + size],
        st.sampled_from(TEXTS),
        st.integers(0, 20),
        st.integers(0, 30),
    ),
)


@given(st.lists(PIECES, max_size=12), st.integers(0, 200))
def test_it_finds_each_place(parts: list[bytes], padding: int) -> None:
    text = b"~" * padding + b"".join(parts)
    spans = INDEX.spans(text)
    assert {each for start, end in spans for each in range(start, end)} == places(text)
    assert spans == sorted(spans)
    if INDEX.is_free(text):
        assert not spans


def test_pieces_that_are_many_and_near_are_one() -> None:
    text = b"sk-proj-~" * 2_000 + b"~" * 100 + b"sk-proj-"
    assert INDEX.spans(text) == [(0, 17_999), (18_100, 18_108)]


def test_an_index_of_nothing_finds_nothing() -> None:
    for texts in ((), (b"",), (b"short",)):
        assert NgramIndex(texts).spans(b"short and \x00 long" * 9) == []
