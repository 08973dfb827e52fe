"""Assertions about calls, attempts and secrets, with messages that show what was found instead."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Protocol, cast

from bifrost.attempt_record import AttemptRecord
from bifrost.errors import BifrostError
from bifrost.testing.calls import check_endpoint, fake_key
from bifrost.wire.secrets import Secret, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bifrost.operations.base import OperationName
    from bifrost.testing.calls import MockCall

_AROUND = 60


class Called(Protocol):
    """An object that records calls: a `MockTransport` or a `LoopbackProvider`."""

    @property
    def calls(self) -> list[MockCall]: ...  # noqa: D102 - see the class


class Attempted(Protocol):
    """An object with attempts: a response or an error."""

    @property
    def attempts(self) -> Sequence[AttemptRecord]: ...  # noqa: D102 - see the class


def assert_called(
    provider_mock: Called,
    *,
    times: int | None = None,
    provider: str | None = None,
    model: str | None = None,
    endpoint: OperationName | None = None,
    key: str | None = None,
    stream: bool | None = None,
    containing: str | None = None,
) -> list[MockCall]:
    """Return the calls that match all conditions. Raises `AssertionError` if there are none, or not exactly `times`.

    `key` is the name of a fake key, and `containing` a text in the body that was sent. `None` matches every call.
    Raises `UsageError` for an endpoint that does not exist.
    """
    check_endpoint(endpoint, where="assert_called")
    filters = {"provider": provider, "model": model, "endpoint": endpoint, "key": key, "stream": stream}
    criteria = {name: value for name, value in filters.items() if value is not None}
    found = [
        call
        for call in provider_mock.calls
        if all(getattr(call, name) == value for name, value in criteria.items())
        and (containing is None or containing in call.http.body.decode("utf-8", "replace"))
    ]
    if len(found) == times or (times is None and found):
        return found
    if containing is not None:
        criteria["containing"] = containing
    conditions = " with " + ", ".join(f"{name}={value!r}" for name, value in criteria.items()) if criteria else ""
    expected = "a call" if times is None else f"{times} call{'' if times == 1 else 's'}"
    calls = "".join(f"\n  {call!r}" for call in provider_mock.calls) or " none"
    raise AssertionError(f"expected {expected}{conditions}, found {len(found)}; all calls:{calls}")


def attempts_of(outcome: Attempted | Iterable[AttemptRecord]) -> list[str]:
    """Return a line of text per attempt, without what differs from run to run.

        assert attempts_of(reply) == ["openai/gpt-4o-mini throttled 429", "anthropic/claude-haiku-4-5 ok"]

    `outcome` is a response, an error, or a series of attempts.
    """
    attempts: Any = getattr(outcome, "attempts", outcome)
    return [_line(attempt) for attempt in attempts]


def assert_no_secret(*things: object, secrets: Iterable[str]) -> None:
    """Raise `AssertionError` if an object shows a piece of a secret: as it is, escaped, masked or in base64.

        assert_no_secret(error, caplog.text, client, secrets=[fake_key("openai-key")])

    It checks `str` and `repr` of the objects, and of exceptions also tracebacks, arguments, and all exceptions that
    they refer to.
    """
    for value in secrets:
        secret = Secret(value)
        # The value of a fake key contains its name, which may be shown.
        _, is_fake, name = value.partition(fake_key(""))
        for thing in things:
            for text in _texts_of(thing):
                clean = redact(text, secret, known=[name] if is_fake else ())
                if clean != text:
                    place = next(
                        (at for at, (one, other) in enumerate(zip(text, clean, strict=False)) if one != other),
                        len(clean),
                    )
                    seen = clean[max(0, place - _AROUND) : place + _AROUND]
                    raise AssertionError(f"{type(thing).__name__} shows a secret (*** here): ...{seen}...")


def _line(attempt: AttemptRecord) -> str:
    outcome = "ok" if attempt.ok else f"{attempt.category}{f' {attempt.status}' if attempt.status else ''}"
    return f"{attempt.provider}/{attempt.model} {outcome}"


def _texts_of(thing: object) -> Iterator[str]:
    yield str(thing)
    yield repr(thing)
    if isinstance(thing, BaseException):
        for error in _all_of(thing):
            yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
            yield "".join(traceback.format_exception(error))


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that it refers to."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BifrostError):
            waiting += each.errors
        if isinstance(each, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", each).exceptions
