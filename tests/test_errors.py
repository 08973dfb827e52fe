from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

from bifrost import errors
from bifrost.attempt_record import AttemptRecord
from bifrost.errors import BifrostError
from tests.table import table

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, BifrostError)]

EXTRAS: dict[type[BifrostError], dict[str, Any]] = {
    errors.CallTimeoutError: {"phase": "connect"},
    errors.StreamInterruptedError: {"partial": {"text": "so far"}, "received_events": 3},
    errors.AgentInterruptedError: {"partial": ["done"]},
}

EVIDENCE: dict[str, Any] = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "key": "main",
    "status": 429,
    "code": "rate_limit_exceeded",
    "type": "requests",
    "param": "model",
    "request_id": "req_1",
    "retry_after": 2.5,
    "body": b"{}",
}


def make(kind: type[BifrostError]) -> BifrostError:
    error = kind("it failed", **EVIDENCE, **EXTRAS.get(kind, {}))
    error.attempts = [AttemptRecord(provider="openai", model="gpt-4o-mini", category="throttled")]
    error.errors = [errors.ServerError("the other failed too", status=500)]
    error.retryable = not kind.retryable
    error.category = "of this one"
    return error


def names_in_the_docstring() -> dict[str, str]:
    """Each class that the tree of the docstring shows, with its parent there."""
    tree = (errors.__doc__ or "").split("\n\n")[1]
    parents: dict[str, str] = {}
    parent = ""
    for line in tree.splitlines()[1:]:
        content = re.sub(r"\([^)]*\)", "", line)
        own, _, below = re.sub("^ *[│├└─]+ ", "", content).partition("  ")
        if not re.match("^ *│", content):
            parents |= {name.strip(): "BifrostError" for name in own.split("·")}
            parent = own.split("·")[0].strip()
        else:
            below = content.strip(" │")
        parents |= {name.strip(): parent for name in below.split("·") if name.strip()}
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    parents = {each.__name__: each.__mro__[1].__name__ for each in CLASSES if each is not BifrostError}
    # The tree shows them beside the class that they derive from.
    parents["ContextLengthError"] = parents["ContentFilterError"] = "ProviderError"
    assert names_in_the_docstring() == parents


@table("kind", CLASSES)
def test_every_error_survives_a_pickle_and_a_copy_with_its_evidence(kind: type[BifrostError]) -> None:
    error = make(kind)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301 - our own
        assert type(other) is kind
        assert str(other) == str(error)
        assert other.args == error.args
        state, expected = dict(other.__dict__), dict(error.__dict__)
        assert [str(each) for each in state.pop("errors")] == [str(each) for each in expected.pop("errors")]
        assert state == expected


@table("kind", CLASSES)
def test_every_error_has_a_place_in_the_failure_table_and_says_what_it_is(kind: type[BifrostError]) -> None:
    assert kind.category
    assert kind.__doc__
    assert isinstance(kind.retryable, bool)
    assert isinstance(kind.fallback, bool)


def test_the_text_shows_the_evidence_and_never_the_body() -> None:
    error = errors.RateLimitError("too many requests; try later", **EVIDENCE)
    error.body = b"body-of-it"
    assert str(error) == (
        "too many requests; try later "
        "(openai/gpt-4o-mini, status 429, code rate_limit_exceeded, request req_1, key main)"
    )
    error.attempts = [AttemptRecord(provider="openai", model="m")] * 2
    assert str(error).endswith(", key main, 2 attempts)")


def test_without_evidence_the_text_is_the_message() -> None:
    assert str(BifrostError("it failed")) == "it failed"
    assert str(BifrostError("it failed", provider="openai")) == "it failed (openai)"


@table("field", ["model", "code", "request_id", "key", "provider"])
def test_no_field_can_break_the_line_of_a_log(field: str) -> None:
    error = BifrostError("first\r\nsecond \x1b[31m")
    setattr(error, field, "x\r\ny\x1b" + "z" * 5000)
    assert str(error).isprintable()
    assert r"first\r\nsecond \x1b[31m" in str(error)
    assert len(str(error)) < 300
    assert getattr(error, field).startswith("x\r\n")


def test_a_long_message_is_cut_where_it_is_shown() -> None:
    error = BifrostError("m" * 100_000, status=500)
    assert len(str(error)) < 2100
    assert str(error).endswith("… (status 500)")
    assert len(error.message) == 100_000


def test_setting_the_message_changes_every_place_that_shows_it() -> None:
    error = BifrostError("key sk-CANARY is wrong")
    error.message = "key *** is wrong"
    assert "CANARY" not in f"{error} {error!r} {error.args} {error.__dict__}"
    assert b"CANARY" not in pickle.dumps(error)


def test_an_interrupted_stream_gives_the_usage_of_its_part() -> None:
    class Partial:
        usage = "7 tokens"

    assert errors.StreamInterruptedError("cut", partial=Partial()).usage == "7 tokens"
    assert errors.StreamInterruptedError("cut").usage is None
