from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.settings.document import parse
from tests.settings.files import problems, read, refused
from tests.table import table

SECRET = "sk-CANARY-0123456789"


def test_toml_and_json_say_the_same() -> None:
    toml, complaint = parse(b'timeout = 5\n[providers.openai]\nkeys = ["a"]\n', ".toml")
    assert complaint == ""
    assert parse(b'{"timeout": 5, "providers": {"openai": {"keys": ["a"]}}}', ".json") == (toml, "")


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_byte_order_mark_is_no_part_of_the_text(suffix: str) -> None:
    text = b"timeout = 5" if suffix == ".toml" else b'{"timeout": 5}'
    assert read(b"\xef\xbb\xbf" + text, suffix=suffix).options.timeout == 5


@table(
    ("text", "suffix", "told"),
    [
        (f'[providers.openai]\nkeys = ["{SECRET}', ".toml", "not TOML: end of document: Unterminated string"),
        (f"[providers.openai]\nkeys = {SECRET}", ".toml", "not TOML: line 2, column 8"),
        (f'"{SECRET}" = 1\n"{SECRET}" = 2', ".toml", "not TOML: "),
        (f'["{SECRET}"]\n["{SECRET}"]', ".toml", "Cannot declare … twice"),
        (f'a = {{ "{SECRET}" = 1, "{SECRET}" = 2 }}', ".toml", "not TOML: line 1"),
        (f'{{"providers": {{"openai": {{"keys": ["{SECRET}" "x"]}}}}}}', ".json", "not JSON: line 1, column 59"),
        (f'{{"a": "{SECRET}\n"}}', ".json", "not JSON: line 1"),
        (f'{{"a": {SECRET}}}', ".json", "not JSON: line 1, column 7"),
        ('{"timeout": NaN}', ".json", "NaN is no number of JSON"),
        ('{"timeout": ' + "9" * 5000 + "}", ".json", "not JSON"),
        ("timeout = " + "9" * 5000, ".toml", "not TOML"),
        ("[" * 100_000, ".json", "nested too deeply"),
        ("a = " + "[" * 100_000, ".toml", "nested too deeply"),
        ("", ".json", "not JSON: line 1, column 1"),
        ("[]", ".json", "write { ... } around them"),
        ("null", ".json", "write { ... } around them"),
    ],
)
def test_what_is_no_such_document_is_told_by_its_place_alone(text: str, suffix: str, told: str) -> None:
    error = refused(text, suffix=suffix)

    assert told in error.message
    assert SECRET not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


def test_another_encoding_is_told() -> None:
    assert problems("timeout = 5".encode("utf-16")) == ["this is not UTF-8 text (byte 0); save the file as UTF-8"]


def test_a_name_that_is_written_twice_is_not_dropped_in_silence() -> None:
    text = (
        '{"timeout": 1, "timeout": 2, "providers": {"openai": {"keys": [{"value": "a", "value": "b"}], "queue": "x"}}}'
    )
    assert problems(text, suffix=".json") == [
        "timeout: this is set twice; remove one of them",
        "providers.openai.keys[0].value: this is set twice; remove one of them",
        "providers.openai.queue: expected a whole number (the default is 10000), found text",
    ]


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_document_or_a_complaint(data: bytes) -> None:
    for suffix in (".toml", ".json"):
        document, complaint = parse(data, suffix)
        assert document is None or complaint == ""
