"""What a provider says about waiting: how long to wait, and its rate limits. There is no clock here."""

from __future__ import annotations

import re
from datetime import date, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.attempt_record import RateLimit, Window
from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bifrost.wire.http import Headers

LONGEST_WAIT = 300.0
"""The longest wait, in seconds, that a provider can ask for; longer ones are shortened."""

# Patterns as text, which `re` compiles on first use and caches: compiling them here would dominate this module's
# import.
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_COUNT = r"\d{1,15}"


def retry_after(headers: Headers, body: bytes = b"", *, now: float) -> float | None:
    """Return the seconds that a provider asks to wait, at most 300; `None` if it does not ask.

    The sources are, in this order: `retry-after-ms` (Azure, OpenAI); `Retry-After` in seconds or as an HTTP date in any
    of its three forms (RFC 9110, 10.2.3); `google.rpc.RetryInfo` in the body of an error. If a field is repeated, the
    largest value is used. Values that are malformed, negative, or no wait at all (0, a date in the past) are ignored.

    `now` is the wall clock, in seconds since 1970. It is used only for a date in a response without a `Date` field, so
    that a wrong local clock seldom matters.
    """
    for waits in (_in_milliseconds(headers), _in_seconds(headers, now), _in_body(body)):
        longest = max(waits, default=0.0)
        if longest > 0:
            return min(longest, LONGEST_WAIT)
    return None


def rate_limit(headers: Headers, *, now: float) -> RateLimit | None:
    """Return the rate limits in a response's headers, or `None`. Malformed values are ignored.

    The fields are `x-ratelimit-{limit,remaining,reset}[-{requests,tokens}]` (OpenAI and compatible providers; the reset
    as a Go duration such as `1h6m0.5s`, as seconds, or as seconds or milliseconds since 1970) and
    `anthropic-ratelimit-*` (the reset in RFC 3339). Points in time are interpreted as in `retry_after`.
    """
    if _NAMES.isdisjoint(headers.names()):
        return None
    limits: dict[str, dict[str, Any]] = {}
    for name, value in headers:
        field = _FIELDS.get(name)
        if field is None:
            continue
        allowance, what = field
        text = value.strip()
        read = _reset(text, headers, now) if what == "reset_after" else _count(text)
        if read is not None and isfinite(read):
            limits.setdefault(allowance, {})[what] = read
    if not limits:
        return None
    return RateLimit(**{allowance: Window(**window) for allowance, window in limits.items()})


def _fields() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the name of each header field with the rate limit and the fact that it reports."""
    for word, what in (("limit", "limit"), ("remaining", "remaining"), ("reset", "reset_after")):
        # Without a suffix: OpenRouter, which counts requests. https://openrouter.ai/docs/api-reference/limits
        yield f"x-ratelimit-{word}", ("requests", what)
        # https://platform.openai.com/docs/guides/rate-limits
        for allowance in ("requests", "tokens"):
            yield f"x-ratelimit-{word}-{allowance}", (allowance, what)
        # https://docs.anthropic.com/en/api/rate-limits
        for allowance in ("requests", "tokens", "input_tokens", "output_tokens"):
            yield f"anthropic-ratelimit-{allowance.replace('_', '-')}-{word}", (allowance, what)


_FIELDS: Mapping[str, tuple[str, str]] = dict(_fields())
_NAMES = frozenset(_FIELDS)


# --- waits


def _in_milliseconds(headers: Headers) -> Iterator[float]:
    for value in headers.all("retry-after-ms"):
        wait = _number(value)
        if wait is not None:
            yield wait / 1000


def _in_seconds(headers: Headers, now: float) -> Iterator[float]:
    for value in headers.all("retry-after"):
        wait = _number(value)
        if wait is None:
            moment = _http_date(value)
            wait = None if moment is None else moment - _server_time(headers, now)
        if wait is not None:
            yield wait


_BODY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def _in_body(body: bytes) -> Iterator[float]:
    """Read https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto, alone or in a list."""
    if b"retryDelay" not in body:
        return
    try:
        answer = json.decode(body, _BODY, what="the error")
    except (MalformedResponseError, ResponseTooLargeError):
        return
    match answer:
        case {"error": {"details": [*details]}} | [{"error": {"details": [*details]}}, *_]:
            for detail in details:
                match detail:
                    case {"@type": str(kind), "retryDelay": str(delay)} if kind.endswith("google.rpc.RetryInfo"):
                        wait = seconds_of(delay)
                        if wait is not None:
                            yield wait
                    case _:
                        pass
        case _:
            pass


def seconds_of(duration: str | None) -> float | None:
    """Return a duration in protobuf's JSON form (`34.4s`) in seconds; `None` if it is missing or malformed."""
    return None if duration is None else _number(duration.removesuffix("s"))


def _number(text: str) -> float | None:
    """Parse a plain decimal number: ASCII digits without a sign, an exponent, or words such as `nan`."""
    text = text.strip()
    return float(text) if re.fullmatch(_NUMBER, text, re.ASCII) else None


# --- allowances


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(_COUNT, text, re.ASCII) else None


_DURATION = r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
_DURATION_SECONDS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_RFC_3339 = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)"


def _reset(text: str, headers: Headers, now: float) -> float | None:
    moment: float | None = None
    number = _number(text)
    if number is not None:
        if number < 1e9:
            return number
        moment = number if number < 1e11 else number / 1000
    elif re.fullmatch(_RFC_3339, text, re.ASCII):
        moment = _iso_date(text)
    elif text and (duration := re.fullmatch(_DURATION, text, re.ASCII)):
        return sum(float(part) * size for part, size in zip(duration.groups("0"), _DURATION_SECONDS, strict=True))
    return None if moment is None else max(0.0, moment - _server_time(headers, now))


# --- points in time


def _server_time(headers: Headers, now: float) -> float:
    moment = _http_date(headers.get("date") or "")
    return now if moment is None else moment


_EPOCH = date(1970, 1, 1)
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Mapping[str, int] = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_MONTH = "|".join(_MONTHS)
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_ZONE = r"(?:GMT|UTC|Z|[+-]0000)"


def _iso_date(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except ValueError:
        return None


# RFC 9110, 5.6.7: the current form and the two obsolete ones. The day of the week is redundant and not checked.
_DATES = (
    rf"[a-z]+, (?P<day>\d\d?) (?P<month>{_MONTH}) (?P<year>\d{{4}}) {_TIME} {_ZONE}",
    rf"[a-z]+, (?P<day>\d\d)-(?P<month>{_MONTH})-(?P<year>\d\d) {_TIME} {_ZONE}",
    rf"[a-z]+ (?P<month>{_MONTH}) (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
)


def _http_date(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970; `None` if it is malformed."""
    text = text.strip()
    for form in _DATES:
        if found := re.fullmatch(form, text, re.ASCII | re.IGNORECASE):
            return _seconds(found)
    return None


def _seconds(found: re.Match[str]) -> float | None:
    year = int(found["year"])
    if len(found["year"]) == 2:
        # The RFC asks to interpret a year more than 50 years ahead as past; without a clock this means 1970 to 2069.
        year += 2000 if year < 70 else 1900
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    if hour > 23 or minute > 59 or second > 60:
        return None
    try:
        day = date(year, _MONTHS[found["month"].lower()], int(found["day"]))
    except ValueError:
        return None
    return float((day - _EPOCH).days * 86_400 + hour * 3600 + minute * 60 + second)
