"""What is found of a secret in foreign text, however it is written; and what of innocent text stays as it was."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.wire.redaction import SLICE, merged, without
from bifrost.wire.secrets import Secret, pieces_of, redact, redact_bytes
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-proj-7fQ3a+91/Zk_Lm2-Xv8Rt0Yw4BcWX4Z"
SMALL = KEY.lower()

WRITINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "every character percent-encoded": lambda text: "".join(f"%{ord(each):02x}" for each in text),
    "every character percent-encoded twice": lambda text: "".join(f"%25{ord(each):02X}" for each in text),
    "JSON": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON in code points": lambda text: "".join(f"\\u{ord(each):04X}" for each in text),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1].replace("/", "\\/"))[1:-1],
    "HTML": html.escape,
    "HTML in numbers": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "HTML in hexadecimal numbers": lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    "in hexadecimal digits": lambda text: text.encode().hex(),
    "in capital hexadecimal digits": lambda text: text.encode().hex().upper(),
}


def pieces_left(text: str) -> list[str]:
    """Give the pieces of 8 characters of the key that can be read in a text."""
    return [SMALL[at : at + 8] for at in range(len(KEY) - 7) if SMALL[at : at + 8] in text.lower()]


@table("size", [8, 9, 12, 20, len(KEY)])
@table("writing", WRITINGS)
def test_every_piece_of_eight_characters_is_taken_out_however_it_is_written(writing: str, size: int) -> None:
    write = WRITINGS[writing]
    for start in range(len(KEY) - size + 1):
        piece = KEY[start : start + size]
        told = redact(f"no ({write(piece)}) here", Secret(KEY))
        assert told == "no (***) here", piece


@table("encode", [b64encode, urlsafe_b64encode])
@table("around", [(0, 0), (1, 2), (2, 0), (5, 3)])
def test_of_a_piece_inside_base64_no_eight_characters_are_left(
    encode: Callable[[bytes], bytes], around: tuple[int, int]
) -> None:
    before, after = around
    whole = encode(b"?" * before + KEY[4:30].encode() + b"!" * after).decode()
    told = redact(f"Basic {whole} is wrong", Secret(KEY))
    assert "***" in told
    left = max(told.removeprefix("Basic ").removesuffix(" is wrong").split("***"), key=len)
    assert len(left) < 12


@pytest.mark.parametrize("secret", [b64encode(b"joe:correct-horse").decode(), "joe:correct-horse"])
def test_a_pair_of_user_and_password_is_taken_out_read_or_not(secret: str) -> None:
    for told in ("joe:correct-horse", "correct-horse", b64encode(b"joe:correct-horse").decode()):
        assert redact(f"bad login: {told}", Secret(secret)) == "bad login: ***"


def test_a_short_password_of_a_pair_is_taken_out_where_it_stands_alone() -> None:
    secret = Secret("joe:horse")
    assert redact("user joe, password horse, horses", secret) == "user joe, password ***, horses"
    assert redact(f"Basic {b64encode(b'joe:horse').decode()}", secret) == "Basic ***"


@pytest.mark.parametrize("padding", ["", "x", "xy"])
def test_of_each_part_of_aws_credentials_nothing_is_left_in_base64(padding: str) -> None:
    parts = ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEJr"]
    secret = Secret(":".join(parts))
    for part in parts:
        written = b64encode((padding + part).encode()).decode()
        # What is left of the padding's own characters says nothing of the part.
        assert redact(f"<{written}>", secret) in ("<***>", "<eE***>", "<eH***>", "<eHl***>")


@table("mask", ["...", "…", "****", "**", "••••", "●●●", "xxxx", "####", "···", "[REDACTED]", "<hidden>"])
def test_what_a_mask_leaves_is_taken_out_on_both_sides(mask: str) -> None:
    secret = Secret(KEY)
    for first, last in ((4, 4), (7, 3), (3, 7), (11, 4), (0, 4), (5, 0)):
        masked = KEY[:first] + mask + KEY[len(KEY) - last :]
        assert redact(f"key: {masked} is wrong", secret) == "key: *** is wrong"
    assert redact(f"key: {KEY[:4]}{mask}{KEY[14:19]}{mask}{KEY[-4:]}!", secret) == "key: ***!"
    assert redact(f"wait{mask} more", secret) == f"wait{mask} more"


@table(
    ("text", "told"),
    [
        ("the key ending in WX4Z", "the key ending in ***"),
        ("(last four: wx4z)", "(last four: ***)"),
        ("key BcWX4Z", "key ***"),
        ("WX4Zebra and aWX4Z", "WX4Zebra and aWX4Z"),
    ],
)
def test_the_last_characters_alone_are_taken_out(text: str, told: str) -> None:
    assert redact(text, Secret(KEY)) == told


def test_a_word_that_ends_a_key_stays_unless_it_is_called_an_end() -> None:
    secret = Secret("sk-0123456789-abcd-test")
    assert redact("this is a test", secret) == "this is a test"
    assert redact("the key ends with test", secret) == "the key ends with ***"


def test_the_names_of_provider_model_and_key_stay() -> None:
    secret = Secret("sk-anthropic-main-key-1234")
    text = "anthropic: no key 'anthropic-main' for claude; sk-anthropic-main-key-1234, anthropic-main-k"
    assert redact(text, secret, known=("anthropic", "claude", "anthropic-main")) == (
        "anthropic: no key 'anthropic-main' for claude; ***, ***"
    )


def test_several_secrets_are_looked_for_at_once() -> None:
    search = pieces_of([Secret("sk-first-12345678"), Secret("sk-other-abcdefgh"), Secret("tiny")])
    assert search.redact(b"first-1234 other-abcdefgh tiny tinyer") == b"*** *** *** tinyer"
    assert search.shows_piece(b"a RST-12345 b")
    assert not search.shows_piece(b"tiny sk-fir...78")


def test_characters_outside_ascii_are_never_cut() -> None:
    secret = Secret("pässwörd-ünïque-ß12345678")
    told = redact("é pässwörd-ünïque € ", secret)
    assert told.startswith("é ***")
    assert told.endswith(" € ")
    assert redact_bytes("é ünïque-ß1".encode() + b"\xff", secret) == "é ***".encode() + b"\xff"


@given(st.text(max_size=200))
def test_text_without_a_piece_stays_as_it_is(text: str) -> None:
    if not (pieces_left(text) or any(SMALL[at : at + 3] in text.lower() for at in range(len(KEY) - 2))):
        assert redact(text, Secret(KEY)) == text


@given(
    st.lists(st.one_of(st.text("sk-proj7FQ3a+91/ZkWX.*% \\&", max_size=12), st.just(KEY), st.just(KEY[3:15]))),
    st.integers(0, 600),
)
def test_no_piece_is_left_in_any_mixture(parts: list[str], padding: int) -> None:
    """Long texts are searched in another way than short ones."""
    text = "~" * padding + "".join(parts)
    for secret in (Secret(KEY), again(Secret(KEY))):
        told = redact(text, secret)
        assert not pieces_left(told)
        assert redact(told, secret).count("~") == padding


def again(secret: Secret) -> Secret:
    """Give a secret that was looked for before: its tables are made."""
    redact("x" * 600, secret)
    return secret


INNOCENT = """
Rate limit reached for gpt-4o-mini in organization org-abcdefgh on tokens per min (TPM): Limit 30000, Used 29000.
Please try again in 2.5s... Visit https://platform.example.com/account/rate-limits?page=%2Fkeys to learn more.
| a | b |
|---|---|
<p>It&#39;s an error: request_id=req_011CSbkTt7WmHqWvJ3fXoYzA, trace 4bf92f3577b34da6a3ce929d0e0e4736 ******</p>
"""


@table("secret", [KEY, "gsk_" + "a1B2" * 12, "AIza" + "Sy9-_" * 7, "0123456789abcdef" * 2])
def test_what_providers_say_stays_as_it_is(secret: str) -> None:
    assert redact(INNOCENT * 20, Secret(secret)) == INNOCENT * 20
    assert redact(INNOCENT, again(Secret(secret))) == INNOCENT


def test_tables_show_nothing() -> None:
    search = again(Secret(KEY)).pieces()
    assert search.spans(b"x" * 600) == []
    index = search._made_index()
    seen = " ".join(repr(getattr(each, name)) for each in (search, index) for name in type(each).__slots__)
    assert not pieces_left(seen)
    assert not re.search("wx4z", seen, re.IGNORECASE)


@table("writing", WRITINGS)
def test_a_text_searched_in_slices_loses_the_same(writing: str) -> None:
    written = f" {WRITINGS[writing](KEY)} {KEY[:7]}...{KEY[-4:]} "
    pieces = Secret(KEY).pieces()
    for offset in range(0, len(written) + 1, 3):
        data = ("a " * (SLICE // 2) + "b " * (SLICE // 2))[: SLICE - offset] + written
        body = (data + " and so on" * 1_000 + written).encode()
        spans = merged(span for found in pieces.slices(body) for span in found)
        assert without(body, spans) == pieces.redact(body)
