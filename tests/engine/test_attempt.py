"""One attempt as a value, without a road: what it waits for, and what its errors tell and keep to themselves."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bifrost import (
    AuthenticationError,
    BifrostError,
    MalformedResponseError,
    NotFoundError,
    RateLimitError,
    UnsupportedError,
)
from bifrost.account import Key
from bifrost.attempt_record import RateLimit, Window
from bifrost.config import ProviderConfig, SizeLimits
from bifrost.engine.attempt import Attempt
from bifrost.engine.clock import Clock
from bifrost.engine.providers.address import Address
from bifrost.providers.base import ErrorBody, Issuer, ReportedError, Target
from bifrost.routing.keys import KeySelection
from bifrost.wire.http import Headers
from tests.canary import CANARY, assert_unseen, shown_by
from tests.table import table

ECHO = f"no key {CANARY} here"
SHOWN = "no key *** here"


class Place:
    """What an attempt asks of the provider that it goes to."""

    def __init__(self, name: str = "elsewhere", **limits: int) -> None:
        self.config = ProviderConfig(size_limits=SizeLimits(**limits))
        self.name = name
        self.address = Address.of("https://own.example", where="here", allow_insecure_http=False)
        self.row = SimpleNamespace(request_id_headers=("x-own-id",), issuer_members=("provider", "address"))


class Stub:
    """A decoder or a framer that keeps what it was made of."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given, self.named = given, named


def attempt_of(*, key: Key | None = None, codec: Any = None, place: Any = None) -> Attempt:
    state: Any = SimpleNamespace(model="gpt-4o", wait=0.0)
    attempt = Attempt(
        state,
        upstream=place or cast("Any", Place("openai")),
        codec=codec,
        request=None,
        extra_headers={},
        deadline=10.0,
        clock=Clock(wall=lambda: 1_000_000_000.0),
        admit=never,
        submitted=0.0,
    )
    admission: Any = None  # never asked here
    attempt.admitted(KeySelection(key, "gpt-4o"), admission)
    return attempt


def never(_attempt: Attempt, _now: float) -> None:
    """No worker takes these attempts."""


def keyed(**given: Any) -> Attempt:
    return attempt_of(key=Key(name="main", value=CANARY), **given)


# --- what it waits for


def test_what_an_attempt_waits_for_is_told_at_each_of_its_stations() -> None:
    attempt = keyed()
    assert attempt.phase == "queue"
    connection: Any = SimpleNamespace(sent=False, reused=False)
    attempt.connection = connection
    assert attempt.phase == "connect"
    connection.sent = True
    assert attempt.phase == "headers"
    connection.sent, connection.reused = False, True
    assert attempt.phase == "headers"
    attempt.status = 200
    assert attempt.phase == "body"


def test_of_an_attempt_that_has_not_begun_nothing_is_known() -> None:
    attempt = keyed()
    assert (attempt.status, attempt.request_id, attempt.connect, attempt.first_byte) == (None, None, None, None)
    assert (list(attempt.headers), attempt.warnings, attempt.note) == ([], (), None)


def test_an_attempt_goes_over_a_kept_connection_if_nothing_else_is_said() -> None:
    assert not keyed().new_connection


def test_an_attempt_goes_on_with_the_key_that_its_worker_chooses() -> None:
    attempt = attempt_of()
    admission: Any = Stub()
    choice = KeySelection(Key(name="new", value="sk-new", settings="east"), "own-name")
    attempt.admitted(choice, admission)
    assert (attempt.selection, attempt.admission) == (choice, admission)
    assert attempt.key == Key(name="new", value="sk-new", settings="east")
    assert attempt.target == Target(
        provider="openai",
        model="own-name",
        settings="east",
        issuer=Issuer(provider="openai", address="https://own.example", key="new", model="own-name"),
    )
    attempt.admitted(KeySelection(None, "own-name"), admission)
    assert attempt.key is None
    assert attempt.target.settings is None


def test_an_attempt_that_moved_goes_to_the_new_place() -> None:
    attempt = keyed()
    place: Any = Place()
    codec: Any = Stub()
    attempt.move(place, codec)
    assert attempt.upstream is place
    assert attempt.codec is codec


def test_a_stream_is_cut_into_events_within_the_providers_own_limits() -> None:
    codec: Any = SimpleNamespace(framer=Stub, decoder=Stub)
    attempt = keyed(codec=codec, place=Place(event=1000, stream=5000))
    framer: Any = attempt.framer()
    assert framer.named == {"event_limit": 1000, "stream_limit": 5000}
    decoder: Any = attempt.decoder()
    assert decoder.given == (attempt.target,)


def test_what_a_provider_does_not_stream_is_refused_with_its_name() -> None:
    with pytest.raises(UnsupportedError, match="openai does not stream this") as caught:
        keyed(codec=SimpleNamespace(decoder=None)).decoder()
    assert caught.value.provider == "openai"


def test_several_codings_of_a_body_are_told_in_the_order_in_which_they_were_applied() -> None:
    attempt = keyed()
    assert attempt.content_encoding is None
    attempt.headers = Headers.of(("content-encoding", "gzip"), ("content-encoding", "br"))
    assert attempt.content_encoding == "gzip, br"


# --- what its errors tell


def test_a_refusal_tells_where_it_happened_and_what_the_provider_said() -> None:
    attempt = keyed()
    attempt.headers = Headers.of(("x-own-id", "req-1"))
    error = attempt.failure(404, ErrorBody(message="no such model", code="gone"), raw=b"{}")
    assert isinstance(error, NotFoundError)
    assert (error.provider, error.model, error.key, error.status) == ("openai", "gpt-4o", "main", 404)
    assert (error.code, error.request_id, error.body) == ("gone", "req-1", b"{}")
    assert attempt_of().failure(404, ErrorBody(message="no such model")).key is None
    assert attempt.failure(404, ErrorBody(message="no such model")).body is None


def test_a_wait_until_a_date_is_told_in_seconds_of_the_wall_clock() -> None:
    attempt = keyed()
    attempt.headers = Headers.of(("retry-after", "Sun, 09 Sep 2001 01:46:50 GMT"))
    error = attempt.failure(429, ErrorBody(message="slow down"))
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 10.0


def test_an_error_inside_a_200_is_judged_by_the_status_that_it_names() -> None:
    error = keyed().reported(ReportedError(ErrorBody(message="bad key"), status=401))
    assert isinstance(error, AuthenticationError)
    assert error.status == 401
    # Without one it is the answer's own, which says nothing.
    assert keyed().reported(ReportedError(ErrorBody(message="odd"))).status == 200
    assert "bad key" in attempt_of().reported(ReportedError(ErrorBody(message="bad key"))).message


def test_an_error_inside_a_200_does_not_repeat_the_key() -> None:
    error = keyed().reported(ReportedError(ErrorBody(message=ECHO)))
    assert SHOWN in error.message
    assert_unseen(*shown_by(error))


def test_an_error_says_what_it_knows_itself_and_the_attempt_adds_the_rest() -> None:
    attempt = keyed()
    attempt.status, attempt.request_id = 200, "req-1"
    attempt.headers = Headers.of(("x-ratelimit-remaining-requests", "3"))
    bare = attempt.locate(BifrostError("it broke"))
    assert (bare.provider, bare.model, bare.status) == ("openai", "gpt-4o", 200)
    assert (bare.request_id, bare.key, bare.message) == ("req-1", "main", "it broke")
    assert (bare.code, bare.type, bare.param) == (None, None, None)
    nameless = keyed()
    assert nameless.locate(BifrostError("it broke")).request_id is None
    assert nameless.request_id is None
    assert bare.rate_limit == RateLimit(requests=Window(remaining=3))

    told = BifrostError("it broke", provider="own", model="m", key="k", status=0, request_id="r")
    told.rate_limit = RateLimit(tokens=Window(remaining=1))
    attempt.locate(told)
    assert (told.provider, told.model, told.key, told.status, told.request_id) == ("own", "m", "k", 0, "r")
    assert told.rate_limit == RateLimit(tokens=Window(remaining=1))


@pytest.mark.anyio
async def test_an_attempt_without_a_key_has_nothing_to_take_out() -> None:
    attempt = attempt_of()
    error = BifrostError(ECHO, code="c")
    error.__cause__ = ValueError(ECHO)
    attempt.locate(error)
    assert (error.key, error.message, error.code) == (None, ECHO, "c")
    assert error.__cause__.args == (ECHO,)
    assert await attempt.redact(ECHO.encode()) == ECHO.encode()


@table("field", ["code", "type", "param", "request_id"])
def test_a_key_that_a_provider_repeats_in_a_field_of_its_error_is_taken_out(field: str) -> None:
    error = BifrostError("it broke")
    setattr(error, field, ECHO)
    keyed().locate(error)
    assert getattr(error, field) == SHOWN
    assert_unseen(*shown_by(error))


def test_a_key_that_a_provider_repeats_in_its_sentence_or_its_request_id_is_taken_out() -> None:
    attempt = keyed()
    attempt.request_id = ECHO
    error = attempt.locate(BifrostError(ECHO))
    assert error.message == SHOWN
    # The trail takes it from here.
    assert (attempt.request_id, error.request_id) == (SHOWN, SHOWN)
    assert_unseen(*shown_by(error))


def test_what_an_error_came_of_loses_the_key_and_the_frames_that_hold_the_providers_bytes() -> None:
    def read(data: bytes) -> None:
        raise ValueError(data.decode(), 7)

    def parse(data: bytes) -> None:
        try:
            read(data)
        except ValueError as error:
            raise KeyError(ECHO) from error

    error = MalformedResponseError("no JSON")
    try:
        parse(ECHO.encode())
    except KeyError as behind:
        error.__cause__ = behind
    try:
        parse(b64encode(CANARY.encode()))
    except KeyError as beside:
        error.__context__ = beside
    keyed().locate(error)

    first, second = error.__cause__, error.__context__
    assert first is not None
    assert second is not None
    assert (first.args, second.args) == ((SHOWN,), (SHOWN,))
    for each in (first, second, first.__cause__, second.__cause__):
        assert each is not None
        assert each.__traceback__ is None
    assert first.__cause__ is not None
    assert first.__cause__.args == (SHOWN, 7)
    assert_unseen(*shown_by(error))


def test_an_error_keeps_its_own_frames_and_a_ring_of_errors_is_no_end() -> None:
    first, second = BifrostError("one"), ValueError(ECHO)
    first.__cause__, second.__context__ = second, first
    try:
        raise first
    except BifrostError:
        keyed().locate(first)
    assert first.__traceback__ is not None
    assert second.args == (SHOWN,)
    third = ValueError(ECHO)
    third.__cause__, second.__cause__ = second, third
    assert keyed().locate(first) is first
    assert third.args == (SHOWN,)


@pytest.mark.anyio
async def test_a_body_that_goes_into_an_error_does_not_repeat_the_key() -> None:
    assert await keyed().redact(b"\xff" + ECHO.encode()) == b"\xff" + SHOWN.encode()


def test_a_defect_tells_its_place_and_its_kind_and_nothing_of_what_it_held() -> None:
    def fail() -> None:
        raise LookupError(ECHO)

    with pytest.raises(LookupError) as caught:
        fail()
    told = keyed().defect(caught.value).message
    assert told == f"the attempt failed in {__file__}:{fail.__code__.co_firstlineno + 1}: LookupError"
    assert keyed().defect(ValueError(ECHO)).message == "the attempt failed in code without a trace: ValueError"
