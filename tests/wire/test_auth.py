from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import pprint
import reprlib
import traceback
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, quote_plus

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import InvalidKeyError
from bifrost.wire.auth import BEARER, HeaderAuth, NoAuth
from bifrost.wire.http import HttpRequest
from bifrost.wire.secrets import (
    Secret,
    basic_auth,
    check_secret,
    credentials_of,
    password_of,
    redact,
    redact_bytes,
    user_and_password,
)
from tests.table import table
from tests.wire.signing import sign

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = 'sk-CANARY-7f/3+a"b&<Zq9Xw'


@attrs.define
class Holder:
    secret: object


def leaks(told: str) -> bool:
    # Not written out in the tests: pytest keeps the words of an assertion in the locals of its frame.
    return "CANARY" in told or "Zq9Xw" in told


def walk(value: object, depth: int = 0) -> str:
    """What a debugger sees that opens every attribute and slot, as text."""
    found = [repr(value)]
    names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
    if depth < 4:
        found += [walk(getattr(value, name), depth + 1) for name in names]
    return "\n".join(found)


def with_locals(error: BaseException) -> str:
    """The traceback with the locals of each frame, without the source lines (those of a test may name the canary)."""
    story = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join([str(story), *(str(frame.locals) for frame in story.stack)])


def refused(show: Callable[[Any], object]) -> Callable[[Any], str]:
    """Check that this way is closed, and show what its error tells, locals included."""

    def attempt(value: object) -> str:
        with pytest.raises(TypeError) as caught:
            show(value)
        return with_locals(caught.value)

    return attempt


def fail_beside(value: object) -> str:
    try:
        raise ExceptionGroup("several", [ValueError(value)])
    except ExceptionGroup as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def log(value: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.handle(logging.makeLogRecord({"msg": "%s %r %s", "args": (value, value, [value])}))
    return stream.getvalue()


WAYS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!r} {value!s} {value:>40} {'%s' % value} {'{}'.format(value)}",  # noqa: UP031, UP032
    "pprint": lambda value: pprint.pformat({"value": [value]}),
    "reprlib": reprlib.repr,
    "debugger": walk,
    "attrs": lambda value: repr(attrs.asdict(Holder(value))) + repr(Holder(value)),
    "copy": lambda value: repr(copy.copy(value)) + str(copy.copy(value)),
    "deepcopy": lambda value: repr(copy.deepcopy([value])) + str(copy.deepcopy(value)),
    "logging": log,
    "traceback": fail_beside,
    "pickle 0": refused(lambda value: pickle.dumps(value, 0)),
    "pickle": refused(pickle.dumps),
    "msgspec": refused(msgspec.json.encode),
    "msgspec.to_builtins": refused(msgspec.to_builtins),
    "vars": refused(vars),
}


@table("way", WAYS)
def test_a_secret_shows_itself_nowhere(way: str) -> None:
    told = WAYS[way](Secret(CANARY))
    assert not leaks(told)


@table("way", [way for way in WAYS if way != "vars"])
def test_the_header_of_a_signed_request_shows_its_secret_nowhere(way: str) -> None:
    headers: dict[str, str] = {}
    sign(headers, BEARER, Secret("sk-CANARY-7f3aZq9Xw"))
    told = WAYS[way](headers["authorization"])
    assert not leaks(told)


def test_a_signed_request_can_be_neither_pickled_nor_serialised_with_its_secret() -> None:
    request = HttpRequest(method="POST", path="/")
    sign(request.headers, BEARER, Secret("sk-CANARY"))
    assert json.dumps(request.headers) == '{"authorization": "***"}'
    assert ", ".join(request.headers.values()) == "***"
    assert not leaks(walk(request))
    assert not leaks(fail_beside(request))
    for serialise in (pickle.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError):
            serialise(request)


def test_what_is_sent_comes_out_of_encode() -> None:
    headers: dict[str, str] = {"accept": "*/*"}
    sign(headers, BEARER, Secret("sk-1"))
    sign(headers, HeaderAuth(header="x-api-key"), Secret("sk-2"))
    assert {name: value.encode("latin-1") for name, value in headers.items()} == {
        "accept": b"*/*",
        "authorization": b"Bearer sk-1",
        "x-api-key": b"sk-2",
    }
    assert copy.deepcopy(headers)["x-api-key"].encode() == b"sk-2"


def test_a_copy_of_a_request_or_of_its_secret_is_as_good() -> None:
    headers: dict[str, str] = {}
    sign(headers, BEARER, Secret("sk-1"))
    for again in (copy.copy(headers["authorization"]), copy.deepcopy(headers)["authorization"]):
        assert again.encode() == b"Bearer sk-1"
    for secret in (copy.copy(Secret("sk-1")), copy.deepcopy(Secret("sk-1"))):
        assert secret == Secret("sk-1")


def test_who_pickles_a_secret_is_told_what_to_do_instead() -> None:
    headers: dict[str, str] = {}
    sign(headers, BEARER, Secret("sk-1"))
    with pytest.raises(TypeError, match="configure the key in the other process"):
        pickle.dumps(Secret("sk-1"))
    with pytest.raises(TypeError, match="use the request before it is signed"):
        pickle.dumps(headers)


def test_a_prefix_that_cannot_be_sent_is_refused_and_not_sent_as_something_else() -> None:
    headers: dict[str, str] = {}
    sign(headers, HeaderAuth(header="x-key", prefix="ké "), Secret("sk-1"))
    with pytest.raises(UnicodeEncodeError):
        headers["x-key"].encode("ascii")


def test_how_a_provider_is_signed_to_is_a_value() -> None:
    assert len({BEARER, HeaderAuth(header="authorization", prefix="Bearer "), NoAuth(), NoAuth()}) == 2


@pytest.mark.parametrize(("auth", "secret"), [(NoAuth(), Secret("sk-1")), (BEARER, None)])
def test_without_a_credential_nothing_is_added(auth: NoAuth | HeaderAuth, secret: Secret | None) -> None:
    headers: dict[str, str] = {}
    sign(headers, auth, secret)
    assert headers == {}


def test_the_secrets_on_a_request_can_be_told_to_what_takes_them_out() -> None:
    headers: dict[str, str] = {"accept": "***"}
    assert credentials_of(headers) == []
    sign(headers, BEARER, Secret("sk-1"))
    sign(headers, HeaderAuth(header="x-api-key"), Secret("sk-2"))
    assert credentials_of(headers) == [Secret("sk-1"), Secret("sk-2")]


@table(
    ("text", "user", "password"),
    [("joe:geheim", "joe", "geheim"), ("joe:ge:heim", "joe", "ge:heim"), ("joe", "joe", ""), ("jö:é", "jö", "é")],
)
def test_a_user_and_a_password_come_apart_at_the_first_colon(text: str, user: str, password: str) -> None:
    secret = Secret(text)
    assert user_and_password(secret) == (user.encode(), password.encode())
    assert password_of(secret) == Secret(password)
    assert basic_auth(secret) == b"Basic " + b64encode(text.encode())


UNCHECKED = {
    "CRLF": Secret("sk-CANARY\r\nx: y"),
    "NUL": Secret("sk-CANARY\0"),
    "not ASCII": Secret("sk-CANARYé"),
    "surrogate": Secret("\ud800CANARY"),
    "blank": Secret("sk CANARY"),
    "empty": Secret(""),
}


@table("kind", UNCHECKED)
def test_a_value_that_was_not_checked_is_not_sent(kind: str) -> None:
    headers: dict[str, str] = {}
    with pytest.raises(InvalidKeyError, match="cannot stand in the authorization header") as caught:
        sign(headers, BEARER, UNCHECKED[kind])
    assert not leaks(with_locals(caught.value))
    assert headers == {}


def test_equal_secrets_are_equal_and_a_changed_one_is_not() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_an_empty_secret_is_false() -> None:
    assert Secret("a")
    assert not Secret("")


# --- check_secret

PROBLEMS: dict[str, tuple[object, str]] = {
    "empty": ("", "it is empty"),
    "white": (" \r\n\t", "it is empty"),
    "LF": ("sk-CANARY\nx", "it holds a blank, line break or control character"),
    "CR": ("sk-CANARY\rx", "it holds a blank, line break or control character"),
    "NUL": ("sk-CANARY\0x", "it holds a blank, line break or control character"),
    "blank": ("sk-CANARY x", "it holds a blank, line break or control character"),
    "DEL": ("sk-CANARY\x7f", "it holds a blank, line break or control character"),
    "dash": ("sk-CANARY\u2013x", "it holds a character outside ASCII"),
    "BOM": ("\ufeffsk-CANARY", "it holds a character outside ASCII"),
    "surrogate": ("sk-CANARY\ud800", "it holds a character outside ASCII"),
    "long": ("CANARY" * 200_000, "it is longer than 8,192 characters"),
    "file's variable": ("env.CANARY", "it is a variable's name and not what stands there"),
    "shell's variable": ("$CANARY", "it is a variable's name and not what stands there"),
    "braces": (" ${CANARY}", "it is a variable's name and not what stands there"),
    "vendor's variable": ("CANARY_API_KEY", "it is a variable's name and not what stands there"),
    "a character too long": ("x" * 8193, "it is longer than 8,192 characters"),
    "just not too long, blank": ("x" * 4000 + " " + "x" * 4191, "it holds a blank, line break or control character"),
    "none": (None, "it is not text"),
    "bytes": (b"sk-CANARY", "it is not text"),
}


@table("kind", PROBLEMS)
def test_a_key_that_cannot_be_sent_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        check_secret(cast("str", PROBLEMS[kind][0]), name="main")
    assert str(caught.value).startswith(f"key 'main' cannot be used: {PROBLEMS[kind][1]}")
    assert caught.value.key == "main"
    assert caught.value.__context__ is None
    assert not leaks(with_locals(caught.value))
    assert not leaks(pickle.dumps(caught.value, 0).decode("latin-1"))


def test_white_space_around_a_key_is_taken_off() -> None:
    assert check_secret(" \tsk-1\r\n", name="main") == Secret("sk-1")


@given(st.text(max_size=30))
def test_a_key_either_can_be_sent_or_is_refused(value: str) -> None:
    headers: dict[str, str] = {}
    try:
        sign(headers, BEARER, check_secret(value, name="main"))
    except InvalidKeyError:
        return
    assert headers["authorization"].encode("ascii") == b"Bearer " + value.strip().encode()


# --- redact

TOKEN = 'sk-proj-4f/7+a8=b&Q<z>2"w\\x9'

ECHOES = {
    "plain": TOKEN,
    "JSON": json.dumps(TOKEN)[1:-1],
    "JSON of PHP": json.dumps(TOKEN)[1:-1].replace("/", "\\/"),
    "URL path": quote(TOKEN),
    "URL query": quote_plus(TOKEN),
    "URL in lower case": "sk-proj-4f%2f7%2ba8%3db%26Q%3cz%3e2%22w%5cx9",
    "HTML": "sk-proj-4f/7+a8=b&amp;Q&lt;z&gt;2&quot;w\\x9",
    "base64": b64encode(TOKEN.encode()).decode(),
    "base64 without padding": b64encode(TOKEN.encode()).decode().rstrip("="),
    "base64 for URLs": urlsafe_b64encode(TOKEN.encode() + b"\xff\xff").decode(),
}


@table("form", ECHOES)
def test_every_way_to_write_a_secret_is_taken_out(form: str) -> None:
    told = redact(f"wrong key: {ECHOES[form]}; {ECHOES[form]}", Secret(TOKEN))
    assert told.count("***") == 2
    assert len(told) < 30


@table("before", ["", "u", "us", "use", "user:"])
@table("after", ["", ":", ":p", ":pa"])
def test_a_secret_inside_base64_is_taken_out(before: str, after: str) -> None:
    secret = "abcdefghijklmnopqrstuvwxyz0123456789"
    told = redact(b64encode((before + secret + after).encode()).decode(), Secret(secret))
    assert "***" in told
    assert len(told.replace("***", "")) < 16


@table(("before", "foreign"), [("", 0), ("u", 2), ("us", 3), ("use", 4), ("user:", 7)])
def test_of_base64_only_what_stands_before_the_secret_is_left(before: str, foreign: int) -> None:
    secret = "abcdefghijklmnopqrstuvwxyz0123456789"
    whole = b64encode((before + secret).encode()).decode()
    assert redact(whole, Secret(secret)) == whole[:foreign] + "***"


def test_a_password_with_a_blank_is_taken_out_of_a_url() -> None:
    assert redact("http://ab%20cd%2Fef%3Fh%20ij@proxy", Secret("ab cd/ef?h ij")) == "http://***@proxy"


def test_lower_case_escapes_of_a_url_are_taken_out() -> None:
    assert redact("a?key=abcdefgh%2fij%2bkl&x=1", Secret("abcdefgh/ij+kl")) == "a?key=***&x=1"


@table(
    ("text", "told"),
    [
        ("key sk-proj-abcdefgh", "key ***"),
        ("key sk-proj-abc", "key ***"),
        ("key sk-proj", "key sk-proj"),
        ("Incorrect API key provided: sk-proj-************************WXYZ.", "Incorrect API key provided: ***."),
        ("key sk-p...6WXYZ is wrong", "key *** is wrong"),
        ("key …WXYZ", "key ***"),
        ("key ••••WXYZ", "key ***"),
        ("key ...XYZ", "key ***"),
        ("key ...YZ", "key ...YZ"),
        ("wait... WXYZ", "wait... WXYZ"),
        ("nothing here", "nothing here"),
        ("", ""),
    ],
)
def test_a_cut_or_masked_secret_is_taken_out(text: str, told: str) -> None:
    assert redact(text, Secret("sk-proj-abcdefghijklmnop123456WXYZ")) == told


@pytest.mark.parametrize(
    ("secret", "text", "told"),
    [
        ("none", "none of the keys: none", "*** of the keys: ***"),
        ("x", "x marks the box", "*** marks the box"),
        ("a.c", "abc a.c", "abc ***"),
    ],
)
def test_a_short_secret_is_taken_out_only_where_it_stands_alone(secret: str, text: str, told: str) -> None:
    assert redact(text, Secret(secret)) == told


@pytest.mark.parametrize("secret", [None, Secret("")])
def test_without_a_secret_the_text_stays(secret: Secret | None) -> None:
    assert redact("some text", secret) == "some text"
    assert redact_bytes(b"some \xff text", secret) == b"some \xff text"


def test_a_secret_is_taken_out_of_bytes_that_are_no_text() -> None:
    assert redact_bytes("é sk-CANARY-123456 ".encode() + b"\xff\x00", Secret("sk-CANARY-123456")) == (
        "é *** ".encode() + b"\xff\x00"
    )


def test_half_a_surrogate_pair_in_a_secret_does_not_stop_redacting() -> None:
    assert redact("key abcdefgh\ud800", Secret("abcdefgh\ud800")) == "key ***"


@given(st.text('abcXYZ09+/=&%"\\-_.', min_size=8, max_size=40), st.text("abcXYZ09+/=&% *.…-", max_size=40))
def test_no_text_keeps_a_secret(secret: str, text: str) -> None:
    forms = [secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]]
    for form in forms:
        told = redact(f"{text}{form}{text}", Secret(secret))
        assert secret not in told
        assert form not in told


def test_a_long_echo_is_redacted_in_linear_time() -> None:
    secret = "ab" * 4096
    assert redact("abababab" * 8000 + "!", Secret(secret)) == "***!"
