"""What tests say of calls, attempts and secrets, with messages that show what was there instead."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Protocol, cast

from bifrost.attempt_record import AttemptRecord
from bifrost.errors import BifrostError
from bifrost.testing.calls import check_endpoint, fake_key
from bifrost.wire.auth import Secret, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bifrost.operations.base import OperationName
    from bifrost.testing.calls import MockCall

_AROUND = 60


class Called(Protocol):
    """What remembers calls: a `MockTransport`, a `LoopbackProvider`."""

    @property
    def calls(self) -> list[MockCall]: ...  # noqa: D102 - see the class


class Attempted(Protocol):
    """What has a trail: an answer, an error."""

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
    """Give the calls for which all of this holds. Raises `AssertionError` if there is none, or are not `times` of them.

    `key` is the name of a fake key, `containing` a text in the body as it was sent. Raises `UsageError` for an endpoint
    that is no operation.
    """
    check_endpoint(endpoint, where="assert_called")
    wanted = {"provider": provider, "model": model, "endpoint": endpoint, "key": key, "stream": stream}
    given = {name: value for name, value in wanted.items() if value is not None}
    found = [
        call
        for call in provider_mock.calls
        if all(getattr(call, name) == value for name, value in given.items())
        and (containing is None or containing in call.http.body.decode("utf-8", "replace"))
    ]
    if len(found) == times or (times is None and found):
        return found
    if containing is not None:
        given["containing"] = containing
    told = " with " + ", ".join(f"{name}={value!r}" for name, value in given.items()) if given else ""
    expected = "a call" if times is None else f"{times} call{'' if times == 1 else 's'}"
    calls = "".join(f"\n  {call!r}" for call in provider_mock.calls) or " none"
    raise AssertionError(f"expected {expected}{told}, found {len(found)}; all calls:{calls}")


def attempts_of(outcome: Attempted | Iterable[AttemptRecord]) -> list[str]:
    """Give what was tried, a line for each attempt, without what differs from run to run.

        assert attempts_of(reply) == ["openai/gpt-4o-mini throttled 429", "anthropic/claude-haiku-4-5 ok"]

    `outcome` is an answer, an error, or attempts.
    """
    attempts: Any = getattr(outcome, "attempts", outcome)
    return [_told(attempt) for attempt in attempts]


def assert_no_secret(*things: object, secrets: Iterable[str]) -> None:
    """Raise `AssertionError` if one of the things shows a piece of a secret: as it is, escaped, masked or in base64.

        assert_no_secret(error, caplog.text, client, secrets=[fake_key("openai-key")])

    Looked at are `str` and `repr`; of exceptions also their tracebacks, arguments, and all that hang on them.
    """
    for value in secrets:
        secret = Secret(value)
        # The name of a key of the test kit stands in its value, and may be shown.
        _, is_fake, name = value.partition(fake_key(""))
        for thing in things:
            for text in _shown_by(thing):
                clean = redact(text, secret, known=[name] if is_fake else ())
                if clean != text:
                    place = next(
                        (at for at, (one, other) in enumerate(zip(text, clean, strict=False)) if one != other),
                        len(clean),
                    )
                    seen = clean[max(0, place - _AROUND) : place + _AROUND]
                    raise AssertionError(f"{type(thing).__name__} shows a secret (*** here): ...{seen}...")


def _told(attempt: AttemptRecord) -> str:
    outcome = "ok" if attempt.ok else f"{attempt.category}{f' {attempt.status}' if attempt.status else ''}"
    return f"{attempt.provider}/{attempt.model} {outcome}"


def _shown_by(thing: object) -> Iterator[str]:
    yield str(thing)
    yield repr(thing)
    if isinstance(thing, BaseException):
        for error in _all_of(thing):
            yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
            yield "".join(traceback.format_exception(error))


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """Give an error and everything that hangs on it."""
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
