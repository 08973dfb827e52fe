from __future__ import annotations

from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.bodies import one_line, shown_body
from tests.table import table


@table(
    ("body", "shown"),
    [
        (b"", "the response is empty"),
        (b" \r\n", "the response is empty"),
        (b"upstream\n  timed out", "upstream timed out"),
        (b"<html><title>502 Bad &amp; Gateway</title></html>", "a page of markup: 502 Bad & Gateway"),
        (b"<h1>Gone</h1>", "Gone"),
        (b"\x00\x01\x02\x03", "4 bytes that are no text"),
    ],
)
def test_a_body_is_shown_in_a_line(body: bytes, shown: str) -> None:
    assert shown_body(body) == shown


def test_a_long_body_is_cut() -> None:
    assert len(shown_body(b"x" * 1_000_000)) == MESSAGE_LIMIT


def test_a_line_is_printable_and_short() -> None:
    assert one_line("a\r\nb\x1b[31m", 100) == r"a b\x1b[31m"
    assert len(one_line("\x1b" * 100, 50)) == 50
