from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.wire.http.request import UnsafeHeadError, request_head, target_of
from tests.table import table

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12)
TEXT = st.binary(max_size=20).map(lambda data: bytes(byte for byte in data if byte >= 0x20 and byte != 0x7F).strip())


@given(st.text(max_size=20), st.lists(st.tuples(TOKEN, TEXT), max_size=5))
def test_h11_reads_a_head_as_it_was_meant(path: str, fields: list[tuple[str, bytes]]) -> None:
    path = path.encode("utf-8", "replace").decode()
    target = target_of("/" + path)
    given = [(b"host", b"h"), *((b"x-" + name.encode(), value) for name, value in fields)]
    server = h11.Connection(our_role=h11.SERVER)
    server.receive_data(request_head(b"GET", target, given))
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (b"GET", target)
    assert list(event.headers) == [(name.lower(), value) for name, value in given]


@table(
    ("name", "value"),
    [
        (b"x", b"a\r\ny: b"),
        (b"x", b"a\ny: b"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
        (b"x\r\ny", b"a"),
        ("ä".encode(), b"a"),
    ],
)
def test_what_would_make_another_line_is_refused_without_being_shown(name: bytes, value: bytes) -> None:
    with pytest.raises(UnsafeHeadError) as caught:
        request_head(b"POST", b"/", [(b"host", b"h"), (name, value)])
    assert caught.value.__context__ is None


@table("target", [b"/a b", b"/a\r\nx: y", b"", b"/\xc3\xa9"])
def test_a_target_is_one_word_of_ascii(target: bytes) -> None:
    with pytest.raises(UnsafeHeadError):
        request_head(b"POST", target, [(b"host", b"h")])
