from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.attempt_record import RateLimit, Window
from bifrost.wire.http import Headers
from bifrost.wire.waits import rate_limit, retry_after
from tests.table import table

# Fri, 06 Nov 2026 08:49:37 GMT
NOW = 1_793_954_977.0
HOUR = 3600.0


def wait(*fields: tuple[str, str], body: bytes = b"", now: float = NOW) -> float | None:
    return retry_after(Headers.of(*fields), body, now=now)


def google(*details: str) -> bytes:
    return b'{"error": {"code": 429, "details": [' + ", ".join(details).encode() + b"]}}"


RETRY_INFO = '{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "%s"}'


@table(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("3.", 3.0),
        ("007", 7.0),
        (" 7\t", 7.0),
        ("0", None),
        ("0.0", None),
        ("-1", None),
        ("+3", None),
        ("1e2", None),
        ("0x10", None),
        ("1_000", None),
        ("nan", None),
        ("inf", None),
        ("Infinity", None),
        ("\u0663".encode().decode("latin-1"), None),
        ("\xb2", None),
        ("", None),
        (" ", None),
        ("soon", None),
        ("5 s", None),
        ("5, 7", None),
        ("300", 300.0),
        ("301", 300.0),
        ("1" + "0" * 24, 300.0),
        ("9" * 5000, 300.0),
        ("Fri, 06 Nov 2026 08:49:47 GMT", 10.0),
        ("Friday, 06-Nov-26 08:49:47 GMT", 10.0),
        ("Fri Nov  6 08:49:47 2026", 10.0),
        ("fri, 6 nov 2026 08:49:47 +0000", 10.0),
        ("Fri, 06 Nov 2026 08:49:37 GMT", None),
        ("Fri, 06 Nov 2026 08:49:27 GMT", None),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Fri, 31 Dec 2026 23:59:60 GMT", 300.0),
        ("Fri, 06 Nov 2026 08:49:47 PST", None),
        ("Fri, 31 Feb 2027 08:49:47 GMT", None),
        ("Fri, 06 Nov 2027 25:49:47 GMT", None),
        ("Fri, 06 Nov 2027 08:60:47 GMT", None),
        ("Fri, 06 Nov 2027 08:49:61 GMT", None),
        ("Sat, 01 Jan 0000 00:00:00 GMT", None),
        ("Fri, 06 Nom 2027 08:49:47 GMT", None),
        ("2026-11-06T08:49:47Z", None),
        ("Fri, 06 Nov 2026", None),
    ],
)
def test_each_form_of_retry_after_gives_its_wait_or_nothing(value: str, seconds: float | None) -> None:
    assert wait(("Retry-After", value)) == seconds


def test_no_header_and_no_body_ask_for_no_wait() -> None:
    assert wait() is None


def test_a_header_that_comes_twice_counts_with_its_larger_valid_value() -> None:
    assert wait(("retry-after", "3"), ("Retry-After", "8"), ("retry-after", "nan")) == 8.0
    assert wait(("retry-after-ms", "1500"), ("retry-after-ms", "200")) == 1.5


@table(
    ("value", "seconds"),
    [("1500", 1.5), ("20", 0.02), ("0.5", 0.0005), ("0", None), ("-5", None), ("nan", None), ("1" + "0" * 24, 300.0)],
)
def test_milliseconds_are_read(value: str, seconds: float | None) -> None:
    assert wait(("retry-after-ms", value)) == seconds


def test_milliseconds_come_before_seconds_and_seconds_before_the_body() -> None:
    body = google(RETRY_INFO % "9s")
    assert wait(("retry-after", "2"), ("retry-after-ms", "1500"), body=body) == 1.5
    assert wait(("retry-after", "2"), ("retry-after-ms", "nonsense"), body=body) == 2.0
    assert wait(("retry-after", "2"), ("retry-after-ms", "0"), body=body) == 2.0
    assert wait(("retry-after", "0"), body=body) == 9.0


@table("skew", [-HOUR, 0.0, HOUR, -86_400.0])
@table("date", ["Fri, 06 Nov 2026 08:49:37 GMT", "Friday, 06-Nov-26 08:49:37 GMT", "Fri Nov  6 08:49:37 2026"])
def test_a_wrong_clock_changes_nothing_where_the_answer_has_its_own_date(skew: float, date: str) -> None:
    fields = [("date", date), ("retry-after", "Fri, 06 Nov 2026 08:49:47 GMT")]
    assert wait(*fields, now=NOW + skew) == 10.0


def test_an_unreadable_date_leaves_it_to_the_clock() -> None:
    assert wait(("date", "today"), ("retry-after", "Fri, 06 Nov 2026 08:49:47 GMT"), now=NOW + 4) == 6.0


@table(
    ("body", "seconds"),
    [
        (google(RETRY_INFO % "3.5s"), 3.5),
        (google(RETRY_INFO % "34s"), 34.0),
        (google(RETRY_INFO % "0.000000001s"), 1e-9),
        (google('{"@type": "type.googleapis.com/google.rpc.Help"}', RETRY_INFO % "2s", RETRY_INFO % "5s"), 5.0),
        (b"[" + google(RETRY_INFO % "3.5s") + b"]", 3.5),
        (b"\xef\xbb\xbf" + google(RETRY_INFO % "3.5s"), 3.5),
        (google(RETRY_INFO % "999999s"), 300.0),
        (google(RETRY_INFO % "0s"), None),
        (google(RETRY_INFO % "-3s"), None),
        (google(RETRY_INFO % "1m"), None),
        (google(RETRY_INFO % ""), None),
        (google('{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": 3}'), None),
        (google('{"@type": "other", "retryDelay": "3s"}'), None),
        (google('{"retryDelay": "3s"}', "7", "null"), None),
        (b'{"error": {"details": {"retryDelay": "3s"}}}', None),
        (b'{"error": "retryDelay"}', None),
        (b'["retryDelay"]', None),
        (b'"retryDelay"', None),
        (b'{"retryDelay": "3s"', None),
        (b"<html>retryDelay</html>", None),
        (b'{"retryDelay":' * 100_000, None),
        (b"{}", None),
    ],
)
def test_each_form_of_googles_body_gives_its_wait_or_nothing(body: bytes, seconds: float | None) -> None:
    assert wait(body=body) == seconds


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.binary(max_size=60))
def test_any_header_and_body_give_a_wait_within_bounds_or_nothing(value: str, body: bytes) -> None:
    fields = [("retry-after", value), ("retry-after-ms", value), ("date", value)]
    seconds = wait(*fields, body=b'{"error":{"details":[{"retryDelay":"' + body)
    assert seconds is None or 0 < seconds <= 300


@given(st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")))
def test_any_date_gives_a_wait_within_bounds_or_nothing(date: str) -> None:
    seconds = wait(("retry-after", date))
    assert seconds is None or 0 < seconds <= 300


# --- allowances


@table(
    ("value", "seconds"),
    [
        ("1s", 1.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("59.56s", 59.56),
        ("1h6m0.5s", 3960.5),
        ("1m30s500ms", 90.5),
        ("2d1h", 176_400.0),
        ("0s", 0.0),
        ("12", 12.0),
        ("12.5", 12.5),
        ("0", 0.0),
        ("1793954987", 10.0),
        ("1793954987500", 10.5),
        ("1793954000", 0.0),
        ("2026-11-06T08:49:47Z", 10.0),
        ("2026-11-06t08:49:47.5z", 10.5),
        ("2026-11-06T09:49:47+01:00", 10.0),
        ("2026-11-06T08:49:00Z", 0.0),
        ("2026-11-06T08:49:47", None),
        ("2026-13-06T08:49:47Z", None),
        ("2026-11-06T08:49:61Z", None),
        ("", None),
        ("-1s", None),
        ("s", None),
        ("1s2m", None),
        ("1y", None),
        ("soon", None),
        ("nan", None),
        ("9" * 500, None),
        ("9" * 500 + "s", None),
    ],
)
def test_each_form_of_a_reset_gives_its_seconds_or_nothing(value: str, seconds: float | None) -> None:
    told = rate_limit(Headers.of(("x-ratelimit-reset-tokens", value)), now=NOW)
    if seconds is None:
        assert told is None
    else:
        assert told is not None
        assert told.tokens is not None
        assert told.tokens.reset_after == pytest.approx(seconds)


def test_openais_headers_are_read() -> None:
    headers = Headers.of(
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "200000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", " 199993 "),
        ("x-ratelimit-reset-requests", "8.64s"),
        ("x-ratelimit-reset-tokens", "2ms"),
    )
    assert rate_limit(headers, now=NOW) == RateLimit(
        requests=Window(limit=10_000, remaining=9999, reset_after=8.64),
        tokens=Window(limit=200_000, remaining=199_993, reset_after=0.002),
    )


def test_anthropics_headers_are_read_against_the_answers_own_date() -> None:
    headers = Headers.of(
        ("Date", "Fri, 06 Nov 2026 08:49:37 GMT"),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "2026-11-06T08:49:38Z"),
        ("anthropic-ratelimit-input-tokens-remaining", "40000"),
        ("anthropic-ratelimit-output-tokens-limit", "8000"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-06T08:50:37Z"),
    )
    assert rate_limit(headers, now=NOW + HOUR) == RateLimit(
        requests=Window(limit=50, remaining=49, reset_after=1.0),
        tokens=Window(reset_after=60.0),
        input_tokens=Window(remaining=40_000),
        output_tokens=Window(limit=8000),
    )


def test_headers_without_suffix_count_requests() -> None:
    headers = Headers.of(
        ("X-RateLimit-Limit", "20"), ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1793955000000")
    )
    assert rate_limit(headers, now=NOW) == RateLimit(requests=Window(limit=20, remaining=0, reset_after=23.0))


@table("value", ["", "-1", "1.5", "many", "\u0663", "9" * 40, "1e3"])
def test_counts_that_cannot_be_read_are_left_out(value: str) -> None:
    field = ("x-ratelimit-limit-tokens", value.encode().decode("latin-1"))
    assert rate_limit(Headers.of(field, ("content-type", "text/plain")), now=NOW) is None


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_reset_gives_finite_seconds_or_nothing(value: str) -> None:
    told = rate_limit(Headers.of(("anthropic-ratelimit-tokens-reset", value), ("date", value)), now=NOW)
    assert told is None or (told.tokens is not None and 0 <= (told.tokens.reset_after or 0) < float("inf"))
