"""The script of a test provider: its responses and faults, in order. There is no I/O here.

The verbs of a `Script` (`reply`, `fail`, `hang`, ...) each add a `Step`. The methods of a step say how it is played
(`times`, `delay`, `cut`, ...).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs
import msgspec

from bifrost.errors import UsageError
from bifrost.operations.chat.content import ToolCall
from bifrost.operations.usage import Usage
from bifrost.testing.calls import MockCall
from bifrost.testing.dialect import Dialect, Event, Reply, typical_usage, words
from bifrost.testing.play import (
    Answer,
    Ending,
    Play,
    Trouble,
    Write,
    document,
    first_bytes,
    place_after,
    slices,
    split_events,
    web_page,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bifrost.operations.chat.response import FinishReason

ToolCallEntry: TypeAlias = "ToolCall | tuple[str, Mapping[str, Any] | str]"
"""A tool call in a test: a `ToolCall`, or a pair of name and arguments."""

_Change: TypeAlias = "Callable[[Answer, Dialect], Answer]"

_BROKEN: AbstractSet[str] = frozenset({"cut", "stall", "reset"})
_FILLING = b" " * 65536
"""The content of an oversized response: spaces, which JSON may begin with and which are in memory only once."""


@attrs.define(eq=False)
class Step:
    """One response or fault of a script. Its methods change how it is played and return the step itself."""

    _script: Script
    _name: str
    _write: Write | None = None
    _trouble: Trouble | None = None
    _uses: float = attrs.field(default=1, init=False)
    _used: int = attrs.field(default=0, init=False)
    _required: bool = attrs.field(default=True, init=False)
    _delay: float = attrs.field(default=0.0, init=False)
    _pace: float = attrs.field(default=0.0, init=False)
    _ending: Ending = attrs.field(default="clean", init=False)
    _after_bytes: int | None = attrs.field(default=None, init=False)
    _after_events: int | None = attrs.field(default=None, init=False)
    _after_share: float | None = attrs.field(default=None, init=False)
    _changes: list[_Change] = attrs.field(factory=list["_Change"], init=False)

    @property
    def then(self) -> Script:
        """The script, to continue it: `mock.fail(429).then.reply("ok")`."""
        return self._script

    def times(self, count: int) -> Self:
        """Play this step `count` times before the next one."""
        _check(count, int, at_least=1, what="times(...) takes a whole number of 1 or more")
        self._uses = count
        return self

    def always(self) -> Self:
        """Play this step for all further calls. It need not be used at all."""
        self._uses = math.inf
        self._required = False
        return self

    def delay(self, seconds: float) -> Self:
        """Wait this many seconds before the head of the response."""
        _check(seconds, float, at_least=0, what="delay(...) takes seconds, a number")
        self._delay = seconds
        return self

    def drip(self, seconds: float) -> Self:
        """Wait this many seconds before each piece of the body.

        The pieces are the events of a stream, or eight pieces of a plain response.
        """
        _check(seconds, float, at_least=0, what="drip(...) takes seconds, a number")
        self._pace = seconds
        return self

    def cut(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Self:
        """Close the connection too early: within the body, or, without arguments, before any response.

        `after_events` counts the events that carry a piece of the response; 0 is after the stream's preamble. A plain
        response is one such event. `after_share` is a share of the body's bytes, 0.5 for half of them.
        """
        return self.end("cut", after_bytes, after_events, after_share)

    def stall(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Self:
        """Stop sending within the body, and keep the connection open. The arguments are those of `cut`."""
        return self.end("stall", after_bytes, after_events, after_share)

    def reset(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Self:
        """Reset the connection (TCP RST) within the body. The arguments are those of `cut`."""
        return self.end("reset", after_bytes, after_events, after_share)

    def later(self, *, delay: float, pace: float) -> Self:
        """Add a delay, and limit the pace."""
        self._delay += delay
        self._pace = max(self._pace, pace)
        return self

    def hang_up(self) -> Self:
        """Close the connection after the complete response, like a peer whose connection is idle."""
        self._ending = "hang_up"
        return self

    def malformed_event(self, *, at: int = 1) -> Self:
        """Send an event that is not JSON before the stream's content event number `at` (0 is the first)."""

        def change(answer: Answer, dialect: Dialect) -> Answer:
            return self._with_event(answer, at, dialect.event('{"broken": '), is_last=False)

        self._changes.append(change)
        return self

    def error_event(
        self,
        *,
        at: int = 1,
        status: int = 529,
        message: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        code: str | None = None,
    ) -> Self:
        """Send an error instead of the stream's content event number `at`, and end the stream there.

        `status` determines the provider's usual message. It is not sent, because the head with status 200 precedes it.
        """

        def change(answer: Answer, dialect: Dialect) -> Answer:
            return self._with_event(answer, at, dialect.error_event(status, message, type, code), is_last=True)

        self._changes.append(change)
        return self

    def bad_json(self, *, at: int = 0) -> Self:
        """Send truncated JSON in valid HTTP; in a stream, such an event, like `malformed_event`."""

        def change(answer: Answer, dialect: Dialect) -> Answer:
            if answer.stream:
                return self._with_event(answer, at, dialect.event('{"broken": '), is_last=False)
            body = b"".join(event.data for event in answer.events)
            return msgspec.structs.replace(answer, events=[Event(body[: len(body) // 2], content=True)])

        self._changes.append(change)
        return self

    def oversize(self, size: int) -> Self:
        """Make the response at least `size` bytes longer: by spaces before it, or in a stream by a long line."""
        filling = [Event(_FILLING)] * -(-size // len(_FILLING))

        def change(answer: Answer, _dialect: Dialect) -> Answer:
            long = [Event(b"data: "), *filling, Event(b"\n\n")] if answer.stream else filling
            return msgspec.structs.replace(answer, events=[*long, *answer.events])

        self._changes.append(change)
        return self

    def _with_event(self, answer: Answer, at: int, event: bytes, *, is_last: bool) -> Answer:
        if not answer.stream:
            raise UsageError(f"{self!r} scripts an event of a stream, but the call does not request a stream")
        place = place_after(answer.events, at)
        rest = () if is_last else answer.events[place:]
        return msgspec.structs.replace(answer, events=[*answer.events[:place], Event(event, content=True), *rest])

    def end(self, ending: Ending, after_bytes: int | None, after_events: int | None, after_share: float | None) -> Self:
        """Implement `cut`, `stall` and `reset`."""
        if sum(place is not None for place in (after_bytes, after_events, after_share)) > 1:
            raise UsageError(f"{ending}() takes one of after_bytes, after_events and after_share")
        self._ending, self._after_bytes, self._after_events = ending, after_bytes, after_events
        self._after_share = after_share
        return self

    # --- for the transport and the server

    @property
    def left(self) -> bool:
        """Whether it can be played again."""
        return self._used < self._uses

    @property
    def missing(self) -> int:
        """How many more times it must be played."""
        return int(self._uses - self._used) if self._required else 0

    @property
    def trouble(self) -> Trouble | None:
        """What happens instead of a response; `None` if there is a response."""
        return self._trouble

    def use(self) -> None:
        """Count one use."""
        self._used += 1

    def play(self, call: MockCall, dialect: Dialect) -> Play:
        """Return what is to be done for a call. Raises `UsageError` if the step does not match the call."""
        if self._write is None:
            return Play(trouble=self._trouble, delay=self._delay)
        answer = self._write(call, dialect)
        for change in self._changes:
            answer = change(answer, dialect)
        pieces = self._pieces(answer)
        # A plain response has a length: after all of it has arrived, the end of the connection does not matter.
        whole = not answer.stream and sum(map(len, pieces)) == answer.length and not self._before_head
        return msgspec.structs.replace(
            answer.play(),
            pieces=pieces,
            before_head=self._before_head,
            ending="clean" if whole and self._ending != "hang_up" else self._ending,
            delay=self._delay,
            pace=self._pace,
        )

    @property
    def write(self) -> Write | None:
        """The function that renders its response; `None` if there is none."""
        return self._write

    @property
    def _before_head(self) -> bool:
        places = (self._after_bytes, self._after_events, self._after_share)
        return self._ending in _BROKEN and all(place is None for place in places)

    def _pieces(self, answer: Answer) -> list[bytes]:
        events = answer.events
        if self._after_events is not None:
            events = events[: place_after(events, self._after_events)]
        pieces = [event.data for event in events if event.data]
        if self._after_bytes is not None:
            pieces = first_bytes(pieces, self._after_bytes)
        if self._after_share is not None:
            pieces = first_bytes(pieces, int(self._after_share * answer.length))
        if self._pace and not answer.stream:
            pieces = slices(b"".join(pieces))
        return pieces

    def __repr__(self) -> str:
        return f"{self._name}{self._script.conditions}"


class Script:
    """Steps in the order in which they are played. Each verb adds a step and returns it."""

    def __init__(self, matches: Callable[[MockCall], bool] | None = None, *, conditions: str = "") -> None:
        self._steps: list[Step] = []
        self._matches = matches
        self.conditions = conditions
        """A description of the calls that it applies to, for messages."""
        self.matched = 0
        """How many calls it has matched."""

    # --- responses

    def reply(
        self,
        text: str | None = None,
        *,
        tool_calls: Sequence[ToolCallEntry] = (),
        reasoning: str = "",
        usage: Usage | tuple[int, int] | None = None,
        model: str | None = None,
        finish_reason: FinishReason | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Step:
        """Respond to a chat or a request of the Responses API, plain or streamed (word by word) as requested.

        Args:
            text: What the model says; `"ok"` if there are no tool calls either.
            tool_calls: The tool calls: `ToolCall`s, or pairs of name and arguments.
            reasoning: The model's reasoning.
            usage: A `Usage`, or input and output tokens. Default: 10, and one per word.
            model: The model that the response names. Default: the requested one.
            finish_reason: Why it ended. Default: `stop` or `tool_calls`.
            headers: Further header fields.
        """
        if not isinstance(text, str | None):  # pyright: ignore[reportUnnecessaryIsInstance] - tests may pass any type
            raise UsageError(
                f"reply(...) takes what the model says, a text, not {type(text).__name__}; of a value make JSON: "
                "reply(json.dumps(value))"
            )
        said = "ok" if text is None and not tool_calls else text or ""
        return self._reply(
            f"reply({said[:40]!r})" if said else "reply(tool_calls=...)",
            words(said),
            tool_calls=tool_calls,
            reasoning=reasoning,
            usage=usage,
            model=model,
            finish_reason=finish_reason,
            headers=headers,
        )

    def stream(
        self,
        pieces: Sequence[str],
        *,
        tool_calls: Sequence[ToolCallEntry] = (),
        reasoning: str = "",
        usage: Usage | tuple[int, int] | None = None,
        model: str | None = None,
        finish_reason: FinishReason | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Step:
        """Respond to a chat with these pieces of text, one event each, or joined if no stream was requested.

        The other arguments are those of `reply`.
        """
        given: Any = pieces
        if isinstance(given, str | bytes) or not all(isinstance(piece, str) for piece in given):
            raise UsageError("stream(...) takes the pieces of a text, a list: stream(['It ', 'rains.'])")
        return self._reply(
            f"stream({len(pieces)} pieces)",
            tuple(pieces),
            tool_calls=tool_calls,
            reasoning=reasoning,
            usage=usage,
            model=model,
            finish_reason=finish_reason,
            headers=headers,
        )

    def function(self, answer: Callable[[Any], str | dict[str, Any]]) -> Step:
        """Respond with the result of a function of the unified request: the text of a reply, or a JSON body.

        For the loopback provider, which has no unified request, the function receives the decoded body.
        """

        def write(call: MockCall, dialect: Dialect) -> Answer:
            given = answer(call.json if call.request is None else call.request)
            if isinstance(given, str):
                return spoken(given, call, dialect)
            return document(200, msgspec.json.encode(given))

        return self._add("function(...)", write)

    def embed(self, vectors: Sequence[Sequence[float]], *, usage: Usage | tuple[int, int] | None = None) -> Step:
        """Respond to a request for embeddings with these vectors."""

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint != "embeddings" or dialect.embeddings is None:
                raise _wrong_step("embed(...)", call)
            return document(200, dialect.embeddings(vectors, _usage(usage) or Usage(input_tokens=10), call))

        return self._add("embed(...)", write)

    def models(self, ids: Sequence[str]) -> Step:
        """Respond to a request for the list of models."""

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint != "models":
                raise _wrong_step("models(...)", call)
            return document(200, dialect.models(ids))

        return self._add("models(...)", write)

    def json(self, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Step:
        """Respond with this JSON, whatever was requested."""
        _check_status(status, "json")
        data = msgspec.json.encode(body)
        return self._add("json(...)", lambda _call, _dialect: document(status, data, headers))

    def raw(self, status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> Step:
        """Respond with these bytes, whatever was requested.

        A body of type `text/event-stream` is sent event by event.
        """
        _check_status(status, "raw")
        data = body.encode() if isinstance(body, str) else body
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        streamed = fields.get("content-type", "").startswith("text/event-stream")
        events = [Event(each, content=True) for each in split_events(data)] if streamed else [Event(data, content=True)]
        answer = Answer(status=status, headers=fields, events=events, stream=streamed)
        return self._add(f"raw({status})", lambda _call, _dialect: answer)

    def fail(
        self,
        status: int,
        *,
        message: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Step:
        """Respond with an error, in the provider's form and with its usual words unless others are set.

        `retry_after` (seconds) becomes the header field of that name.
        """
        _check_status(status, "fail")
        if status < 400:
            raise UsageError(
                f"fail({status}): an error has a status from 400 to 599; for another response use raw({status})"
            )
        if retry_after is not None:
            _check(retry_after, float, at_least=-math.inf, what="retry_after= takes seconds, a number")
        fields = dict(headers or {})
        if retry_after is not None:
            fields["retry-after"] = f"{retry_after:g}"

        def write(_call: MockCall, dialect: Dialect) -> Answer:
            return document(status, dialect.error(status, message, type, code), fields)

        return self._add(f"fail({status})", write)

    def html(self, status: int = 200) -> Step:
        """Respond with a web page, like proxies and captive portals."""
        _check_status(status, "html")
        return self._add(f"html({status})", lambda _call, _dialect: web_page(status))

    def empty(self, status: int = 200) -> Step:
        """Respond without a body."""
        _check_status(status, "empty")
        return self._add(f"empty({status})", lambda _call, _dialect: document(status, b""))

    # --- faults

    def refuse(self) -> Step:
        """Refuse the connection. An open connection is closed first, as by a provider that went down."""
        return self._add("refuse()", None, trouble="refuse")

    def black_hole(self) -> Step:
        """Never establish the connection, so that `Timeouts.connect` applies. An open connection is closed."""
        return self._add("black_hole()", None, trouble="black_hole")

    def garbage(self) -> Step:
        """Respond with bytes that are not HTTP."""
        return self._add("garbage()", None, trouble="garbage")

    def hang(self) -> Step:
        """Receive the request and never respond."""
        return self._default("hang()").stall()

    def reset(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Step:
        """Reset the connection after the request was sent, or within the body of a reply.

        If this happens on a connection that was used before, before any response and within 1 s, it looks like a stale
        connection: the client sends the request again at once, which plays the next step and counts as the same
        attempt.
        """
        step = self._default("reset()")
        return step.reset(after_bytes=after_bytes, after_events=after_events, after_share=after_share)

    def cut(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Step:
        """Reply `"ok"` and close the connection too early.

        See `Step.cut`, and `reset` for connections that were used before.
        """
        step = self._default("cut()")
        return step.cut(after_bytes=after_bytes, after_events=after_events, after_share=after_share)

    def stall(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Step:
        """Reply `"ok"` and stop within it, with the connection left open. See `Step.stall`."""
        step = self._default("stall()")
        return step.stall(after_bytes=after_bytes, after_events=after_events, after_share=after_share)

    def hang_up(self) -> Step:
        """Reply `"ok"` and close the connection afterwards. For another response: `reply("...").hang_up()`."""
        return self._default("hang_up()").hang_up()

    def bad_json(self, *, at: int = 0) -> Step:
        """Reply with truncated JSON. See `Step.bad_json`."""
        return self._reply("bad_json()", ("ok", " ok", " ok")).bad_json(at=at)

    def oversize(self, size: int) -> Step:
        """Reply `"ok"` in a response of at least `size` bytes."""
        return self._default(f"oversize({size})").oversize(size)

    def delay(self, seconds: float) -> Step:
        """Reply `"ok"` after this many seconds. For another response: `reply("...").delay(seconds)`."""
        return self._default(f"delay({seconds:g})").delay(seconds)

    def drip(self, seconds: float) -> Step:
        """Reply `"ok"` in slow pieces. For another response: `reply("...").drip(seconds)`."""
        return self._default(f"drip({seconds:g})").drip(seconds)

    def malformed_event(self, *, at: int = 1) -> Step:
        """Reply `"ok ok ok"` as a stream with an event that is not JSON. See `Step.malformed_event`."""
        return self._reply("malformed_event()", ("ok", " ok", " ok")).malformed_event(at=at)

    def error_event(
        self,
        *,
        at: int = 1,
        status: int = 529,
        message: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        code: str | None = None,
    ) -> Step:
        """Reply `"ok ok ok"` as a stream that an error ends. See `Step.error_event`."""
        step = self._reply("error_event()", ("ok", " ok", " ok"))
        return step.error_event(at=at, status=status, message=message, type=type, code=code)

    # --- for the transport and the server

    def matches(self, call: MockCall) -> bool:
        """Return whether it applies to this call, and count the calls that match."""
        is_match = self._matches is None or bool(self._matches(call))
        self.matched += is_match
        return is_match

    def next(self) -> Step | None:
        """Return the next step; `None` at the end."""
        return next((step for step in self._steps if step.left), None)

    @property
    def steps(self) -> Sequence[Step]:
        """All steps, in order."""
        return self._steps

    def _add(self, name: str, write: Write | None, *, trouble: Trouble | None = None) -> Step:
        step = Step(self, name, write, trouble)
        self._steps.append(step)
        return step

    def _default(self, name: str) -> Step:
        return self._reply(name, ("ok",))

    def _reply(
        self,
        name: str,
        pieces: tuple[str, ...],
        *,
        tool_calls: Sequence[ToolCallEntry] = (),
        reasoning: str = "",
        usage: Usage | tuple[int, int] | None = None,
        model: str | None = None,
        finish_reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Step:
        reply = _make_reply(
            pieces,
            tool_calls=tool_calls,
            reasoning=reasoning,
            usage=usage,
            model=model,
            finish_reason=finish_reason,
        )

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint not in ("chat", "responses"):
                raise _wrong_step(name, call)
            return _rendered(reply, call, dialect, headers or {})

        return self._add(name, write)


def _rendered(reply: Reply, call: MockCall, dialect: Dialect, headers: Mapping[str, str]) -> Answer:
    """Return a reply in the format of a chat, or of the Responses API if that was requested."""
    whole, events = dialect.chat, dialect.chat_stream
    if call.endpoint == "responses" and dialect.responses is not None and dialect.responses_stream is not None:
        whole, events = dialect.responses, dialect.responses_stream
    if not call.stream:
        return document(200, whole(reply, call), headers)
    fields = {"content-type": dialect.stream_type, **headers}
    return Answer(headers=fields, events=events(reply, call), stream=True)


def spoken(text: str, call: MockCall, dialect: Dialect) -> Answer:
    """Return the answer of a model that says this text."""
    return _rendered(_make_reply(words(text)), call, dialect, {})


def _make_reply(
    pieces: tuple[str, ...],
    *,
    tool_calls: Sequence[ToolCallEntry] = (),
    reasoning: str = "",
    usage: Usage | tuple[int, int] | None = None,
    model: str | None = None,
    finish_reason: str | None = None,
) -> Reply:
    return Reply(
        pieces=pieces,
        reasoning=reasoning,
        tool_calls=tuple(_tool_call(entry, number) for number, entry in enumerate(tool_calls, start=1)),
        usage=_usage(usage) or typical_usage("".join(pieces)),
        model=model,
        finish_reason=finish_reason,
    )


def _tool_call(entry: ToolCallEntry, number: int) -> ToolCall:
    given: Any = entry
    match given:
        case ToolCall():
            return given
        case (str(name), arguments):
            pass
        case _:
            raise UsageError(
                'tool_calls= takes ToolCall values, or pairs of name and arguments: [("weather", {"city": "Bern"})]'
            )
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(id=f"call_{number}", name=name, arguments=text)


def _usage(usage: Usage | tuple[int, int] | None) -> Usage | None:
    given: Any = usage
    match given:
        case None | Usage():
            return given
        case (int(tokens_in), int(tokens_out)) if tokens_in >= 0 and tokens_out >= 0:
            return Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        case _:
            raise UsageError(
                f"usage= takes input and output tokens, or a Usage, not {type(given).__name__}: usage=(12, 3), "
                "or usage=Usage(input_tokens=12, output_tokens=3, cached_tokens=4)"
            )


def _check(value: object, kind: type, *, at_least: float, what: str) -> None:
    """Raise `UsageError` if a value is not a number of this kind, or is too small."""
    kinds = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= at_least:
        raise UsageError(f"{what}, not {value!r}")


def _check_status(status: object, verb: str) -> None:
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 999:
        hint = f": {verb}({status})" if isinstance(status, str) and status.isdecimal() else ""
        raise UsageError(f"{verb}(...) takes an HTTP status, a whole number, not {status!r}{hint}")


def _wrong_step(name: str, call: MockCall) -> UsageError:
    return UsageError(
        f"the script's next step is {name}, and call {call.index + 1} asks {call.provider} for "
        f"{call.endpoint or call.http.path}; script that one with on(endpoint=...).json(...)"
    )
