"""The script of a test provider: what it answers, in which order, and what goes wrong. No I/O here.

A `Script` is written with verbs (`reply`, `fail`, `hang`, ...), each of which adds a `Step`; a step's own methods say
how it is played (`times`, `delay`, `cut`, ...). `Rules` has several scripts, chosen by what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import attrs
import msgspec

from bifrost.errors import UsageError
from bifrost.schema.content import ToolCall
from bifrost.schema.usage import Usage
from bifrost.testing import render_anthropic, render_openai
from bifrost.testing.calls import MockCall
from bifrost.testing.dialect import Dialect, Event, Reply, typical_usage, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.schema.chat import FinishReason
    from bifrost.wire.http import HttpRequest

ToolCallEntry: TypeAlias = "ToolCall | tuple[str, Mapping[str, Any] | str]"
"""A tool call as a test writes it: a `ToolCall`, or name and arguments."""

Trouble: TypeAlias = Literal["refuse", "black_hole", "garbage"]
"""What can happen instead of an answer: no connection, a connection that is never made, bytes that are not HTTP."""

Ending: TypeAlias = Literal["clean", "cut", "stall", "reset"]
"""How a body ends: whole, with the connection closed too early, never, or with the connection reset."""

DIALECTS = (render_anthropic.DIALECT, render_openai.DIALECT)
"""In the order in which they are asked whether a request is theirs."""

_PLAIN_SLICES = 8
"""Into how many pieces a plain answer falls when it drips."""


class UnexpectedCallError(UsageError, AssertionError):
    """A call came for which the script has no answer. It is neither retried nor sent to a fallback."""

    fault = "local"
    fallback = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A step's answer, written in the dialect of the call."""

    status: int = 200
    headers: Mapping[str, str]
    events: Sequence[Event]
    """A stream's events, or one for the whole body."""
    stream: bool = False

    @property
    def length(self) -> int:
        """The length of the whole body, in bytes."""
        return sum(len(event.data) for event in self.events)

    def play(self, *, pace: float = 0.0) -> Play:
        """Say how it is sent as it is, with `pace` seconds between the events of a stream."""
        return Play(
            status=self.status,
            headers=self.headers,
            pieces=[event.data for event in self.events if event.data],
            length=self.length,
            stream=self.stream,
            pace=pace if self.stream else 0.0,
        )


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport or a server has to do for one call."""

    trouble: Trouble | None = None
    status: int = 200
    headers: Mapping[str, str] = {}
    pieces: Sequence[bytes] = ()
    """The body as it is sent, piece by piece, as far as it is sent."""
    length: int = 0
    """The length of the body if it were sent whole."""
    stream: bool = False
    before_head: bool = False
    """The ending comes before anything was sent."""
    ending: Ending = "clean"
    delay: float = 0.0
    pace: float = 0.0


_Write: TypeAlias = "Callable[[MockCall, Dialect], Answer]"


@attrs.define(eq=False)
class Step:
    """One answer or fault of a script. Its methods change how it is played and give the step itself."""

    _script: Script
    _name: str
    _write: _Write | None = None
    _trouble: Trouble | None = None
    _uses: float = attrs.field(default=1, init=False)
    _used: int = attrs.field(default=0, init=False)
    _required: bool = attrs.field(default=True, init=False)
    _delay: float = attrs.field(default=0.0, init=False)
    _pace: float = attrs.field(default=0.0, init=False)
    _ending: Ending = attrs.field(default="clean", init=False)
    _after_bytes: int | None = attrs.field(default=None, init=False)
    _after_events: int | None = attrs.field(default=None, init=False)
    _intruder: tuple[int, Callable[[Dialect], bytes], bool] | None = attrs.field(default=None, init=False)

    @property
    def then(self) -> Script:
        """The script, to go on writing: `mock.fail(429).then.reply("ok")`."""
        return self._script

    def times(self, count: int) -> Self:
        """Play this step `count` times before the next one's turn comes."""
        self._uses = count
        return self

    def always(self) -> Self:
        """Play this step for every further call; it need not be used at all."""
        self._uses = math.inf
        self._required = False
        return self

    def delay(self, seconds: float) -> Self:
        """Wait so long before the head of the answer."""
        self._delay = seconds
        return self

    def drip(self, seconds: float) -> Self:
        """Wait so long before each piece of the body: each event of a stream, each eighth of a plain answer."""
        self._pace = seconds
        return self

    def cut(self, *, after_bytes: int | None = None, after_events: int | None = None) -> Self:
        """Close the connection too early: after so much of the body, or with neither given before any answer.

        `after_events` counts the events that carry a piece of the answer; 0 is after the stream's preamble. A plain
        answer is one such event.
        """
        return self._end("cut", after_bytes=after_bytes, after_events=after_events)

    def stall(self, *, after_bytes: int | None = None, after_events: int | None = None) -> Self:
        """Send nothing more after so much of the body, and keep the connection open. Arguments as for `cut`."""
        return self._end("stall", after_bytes=after_bytes, after_events=after_events)

    def reset(self, *, after_bytes: int | None = None, after_events: int | None = None) -> Self:
        """Reset the connection (TCP RST) after so much of the body. Arguments as for `cut`."""
        return self._end("reset", after_bytes=after_bytes, after_events=after_events)

    def malformed_event(self, *, at: int = 1) -> Self:
        """Send an event that is not JSON before the stream's content event number `at` (0 is the first)."""
        self._intruder = (at, lambda dialect: dialect.event('{"broken": '), False)
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
        """Send an error inside the stream instead of its content event number `at`, and end the stream there.

        `status` chooses what the provider would say; it is not sent, the head with its 200 has gone out before.
        """
        self._intruder = (at, lambda dialect: dialect.error_event(status, message, type, code), True)
        return self

    def _end(self, ending: Ending, *, after_bytes: int | None, after_events: int | None) -> Self:
        if after_bytes is not None and after_events is not None:
            raise UsageError(f"{ending}() takes after_bytes or after_events, not both")
        self._ending, self._after_bytes, self._after_events = ending, after_bytes, after_events
        return self

    # --- for the transport and the server that play it

    @property
    def left(self) -> bool:
        """It can be played once more."""
        return self._used < self._uses

    @property
    def missing(self) -> int:
        """How often it should still have been played."""
        return int(self._uses - self._used) if self._required else 0

    @property
    def trouble(self) -> Trouble | None:
        """What happens instead of an answer."""
        return self._trouble

    def use(self) -> None:
        """Count one playing."""
        self._used += 1

    def play(self, call: MockCall, dialect: Dialect) -> Play:
        """Say what is to be done for a call. Raises `UsageError` if the step does not fit what is asked."""
        if self._write is None:
            return Play(trouble=self._trouble, delay=self._delay)
        answer = self._write(call, dialect)
        pieces = self._pieces(answer, dialect)
        # A plain answer says how long it is: once all of it is there, nobody minds what becomes of the connection.
        whole = not answer.stream and sum(map(len, pieces)) == answer.length and not self._before_head
        return msgspec.structs.replace(
            answer.play(),
            pieces=pieces,
            before_head=self._before_head,
            ending="clean" if whole else self._ending,
            delay=self._delay,
            pace=self._pace,
        )

    @property
    def _before_head(self) -> bool:
        return self._ending != "clean" and self._after_bytes is None and self._after_events is None

    def _pieces(self, answer: Answer, dialect: Dialect) -> list[bytes]:
        events = answer.events
        if self._intruder is not None:
            at, write, is_last = self._intruder
            if not answer.stream:
                raise UsageError(f"{self!r} scripts an event of a stream, and the call asks for a plain answer")
            place = _place(events, at)
            events = [*events[:place], Event(write(dialect), content=True), *(() if is_last else events[place:])]
        if self._after_events is not None:
            events = events[: _place(events, self._after_events)]
        pieces = [event.data for event in events if event.data]
        if self._after_bytes is not None:
            pieces = _first(pieces, self._after_bytes)
        if self._pace and not answer.stream:
            pieces = _slices(b"".join(pieces))
        return pieces

    def __repr__(self) -> str:
        return f"{self._name}{self._script.told}"


class Script:
    """Steps in the order in which they are played; every verb adds one and gives it, to say more of it."""

    def __init__(self, matches: Callable[[MockCall], bool] | None = None, *, told: str = "") -> None:
        self._steps: list[Step] = []
        self._matches = matches
        self.told = told
        """What it is for, in words, for messages."""

    # --- answers

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
        """Answer a chat, plain or streamed (word by word), as it was asked for.

        Args:
            text: What the model says; `"ok"` if there are no tool calls either.
            tool_calls: What it wants called: `ToolCall`s, or pairs of name and arguments.
            reasoning: What it thought.
            usage: What it consumed; or input and output tokens. If not given: 10, and one for each word.
            model: The model that the answer names, if not the one that was asked.
            finish_reason: Why it ended, if not `stop` or `tool_calls`.
            headers: Further header fields.
        """
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
        """Answer a chat with these pieces of text, one event each; asked plainly, with the whole. Else as `reply`."""
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
        """Answer with what a function of the unified request gives: text of a reply, or a JSON body.

        The embedded provider sees no unified request: its function gets the body that was sent, decoded.
        """

        def write(call: MockCall, dialect: Dialect) -> Answer:
            given = answer(call.json if call.request is None else call.request)
            if isinstance(given, str):
                return _chat(_make_reply(words(given)), call, dialect, {})
            return _document(200, msgspec.json.encode(given))

        return self._add("function(...)", write)

    def embed(self, vectors: Sequence[Sequence[float]], *, usage: Usage | tuple[int, int] | None = None) -> Step:
        """Answer a request for embeddings with these vectors."""

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint != "embeddings" or dialect.embeddings is None:
                raise _misfit("embed(...)", call)
            return _document(200, dialect.embeddings(vectors, _usage(usage) or Usage(input_tokens=10), call))

        return self._add("embed(...)", write)

    def models(self, ids: Sequence[str]) -> Step:
        """Answer a request for the list of models."""

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint != "models":
                raise _misfit("models(...)", call)
            return _document(200, dialect.models(ids))

        return self._add("models(...)", write)

    def json(self, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Step:
        """Answer with this JSON, whatever was asked."""
        data = msgspec.json.encode(body)
        return self._add("json(...)", lambda _call, _dialect: _document(status, data, headers))

    def raw(self, status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> Step:
        """Answer with these bytes, whatever was asked. A body of type `text/event-stream` is sent event by event."""
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
        """Answer with an error, in the dialect's form and words unless `message`, `type` or `code` say otherwise.

        `retry_after` (seconds) becomes the header of that name.
        """
        fields = dict(headers or {})
        if retry_after is not None:
            fields["retry-after"] = f"{retry_after:g}"

        def write(_call: MockCall, dialect: Dialect) -> Answer:
            return _document(status, dialect.error(status, message, type, code), fields)

        return self._add(f"fail({status})", write)

    def html(self, status: int = 200) -> Step:
        """Answer with a web page, as proxies and captive portals do."""
        page = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Sign in to go on.</body></html>"
        return self._add(f"html({status})", lambda _call, _dialect: _document(status, page, _HTML))

    def empty(self, status: int = 200) -> Step:
        """Answer with no body at all."""
        return self._add(f"empty({status})", lambda _call, _dialect: _document(status, b""))

    # --- faults

    def refuse(self) -> Step:
        """Refuse the connection. One that is open already is closed first, as by a provider that went down."""
        return self._add("refuse()", None, trouble="refuse")

    def black_hole(self) -> Step:
        """Never make the connection: packets get lost until `Timeouts.connect` is over. One that is open is closed."""
        return self._add("black_hole()", None, trouble="black_hole")

    def garbage(self) -> Step:
        """Answer with bytes that are not HTTP."""
        return self._add("garbage()", None, trouble="garbage")

    def hang(self) -> Step:
        """Take the request and never answer."""
        return self._default("hang()").stall()

    def reset(self, *, after_bytes: int | None = None, after_events: int | None = None) -> Step:
        """Reset the connection: after the request was sent, or after so much of a reply's body.

        If that happens on a connection that has served before, before any answer, it looks like one that went stale
        while idle: the client sends again at once, which plays the next step, and counts one attempt.
        """
        return self._default("reset()").reset(after_bytes=after_bytes, after_events=after_events)

    def cut(self, *, after_bytes: int | None = None, after_events: int | None = None) -> Step:
        """Reply `"ok"` and close the connection too early; see `Step.cut`, and `reset` for connections kept open."""
        return self._default("cut()").cut(after_bytes=after_bytes, after_events=after_events)

    def stall(self, *, after_bytes: int | None = None, after_events: int | None = None) -> Step:
        """Reply `"ok"` and stop in the middle, the connection left open; see `Step.stall`."""
        return self._default("stall()").stall(after_bytes=after_bytes, after_events=after_events)

    def delay(self, seconds: float) -> Step:
        """Reply `"ok"` after so many seconds. For another answer: `reply("...").delay(seconds)`."""
        return self._default(f"delay({seconds:g})").delay(seconds)

    def drip(self, seconds: float) -> Step:
        """Reply `"ok"` in slow pieces. For another answer: `reply("...").drip(seconds)`."""
        return self._default(f"drip({seconds:g})").drip(seconds)

    def malformed_event(self, *, at: int = 1) -> Step:
        """Reply `"ok ok ok"` as a stream with an event in it that is not JSON; see `Step.malformed_event`."""
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
        """Reply `"ok ok ok"` as a stream that is ended by an error; see `Step.error_event`."""
        step = self._reply("error_event()", ("ok", " ok", " ok"))
        return step.error_event(at=at, status=status, message=message, type=type, code=code)

    # --- for the transport and the server that play it

    def matches(self, call: MockCall) -> bool:
        """Say whether it is for this call."""
        return self._matches is None or self._matches(call)

    def next(self) -> Step | None:
        """Give the step whose turn it is, `None` at the end."""
        return next((step for step in self._steps if step.left), None)

    @property
    def steps(self) -> Sequence[Step]:
        """Every step, in order."""
        return self._steps

    def _add(self, name: str, write: _Write | None, *, trouble: Trouble | None = None) -> Step:
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
            if call.endpoint != "chat":
                raise _misfit(name, call)
            return _chat(reply, call, dialect, headers or {})

        return self._add(name, write)


class Rules(Script):
    """A script, with further scripts before it that are for certain calls only."""

    def __init__(self) -> None:
        super().__init__()
        self._rules: list[Script] = []
        self._unexpected: list[str] = []
        self.calls: list[MockCall] = []
        """Every request that came, in order."""

    def on(
        self,
        *,
        provider: str | None = None,
        model: str | None = None,
        endpoint: Literal["chat", "embeddings", "models"] | None = None,
        key: str | None = None,
        stream: bool | None = None,
    ) -> Script:
        """Give a script for calls to this provider, model, endpoint or (fake) key, or for streams only.

        Of several scripts the first that matches and has a step left plays; the one without conditions comes last.
        """
        wanted = {"provider": provider, "model": model, "endpoint": endpoint, "key": key, "stream": stream}
        given = {name: value for name, value in wanted.items() if value is not None}
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return self._rule(lambda call: all(getattr(call, name) == value for name, value in given.items()), told=told)

    def when(self, matches: Callable[[MockCall], bool]) -> Script:
        """Give a script for the calls that a function picks. Otherwise as `on`."""
        return self._rule(matches, told="when(...)")

    def forget(self) -> None:
        """Take every step and rule away, as if nothing had been scripted; `calls` stay."""
        self._steps.clear()
        self._rules.clear()
        self._unexpected.clear()

    def assert_done(self) -> None:
        """Raise `AssertionError` unless every step was played as often as scripted and no call came beyond them."""
        scripts = (*self._rules, self)
        unused = [f"{step!r} (x{step.missing})" for script in scripts for step in script.steps if step.missing > 0]
        problems = [f"scripted and never asked for: {', '.join(unused)}"] if unused else []
        problems += self._unexpected
        if problems:
            raise AssertionError("; ".join(problems))

    # --- for the transport and the server that play it

    def choose(self, call: MockCall) -> Step | None:
        """Give the step for a call, `None` if there is none left."""
        for script in (*self._rules, self):
            if script.matches(call) and (step := script.next()) is not None:
                return step
        return None

    def unexpected(self, call: MockCall) -> UnexpectedCallError:
        """Remember a call for which there is no step, and give the error for it."""
        number = call.index + 1
        scripted = bool(self.steps or self._rules)
        told = (
            f"{'the script is at its end' if scripted else 'nothing is scripted'}: call {number}, "
            f"{call.endpoint or call.http.path} to {call.provider}/{call.model}, was not expected; "
            "add .reply(...), or .always() to the last step"
        )
        self._unexpected.append(told)
        return UnexpectedCallError(told, provider=call.provider, model=call.model)

    def _rule(self, matches: Callable[[MockCall], bool], *, told: str) -> Script:
        script = Script(matches, told=f" on {told}")
        self._rules.append(script)
        return script


def dialect_of(request: HttpRequest) -> tuple[Dialect, str]:
    """Give the dialect that a request is written in and the operation it asks for, empty if no dialect has it."""
    for dialect in DIALECTS:
        endpoint = dialect.endpoint_of(request)
        if endpoint is not None:
            return dialect, endpoint
    return render_openai.DIALECT, ""


def split_events(data: bytes) -> list[bytes]:
    """Split the bytes of an event stream after each blank line."""
    events = [event + b"\n\n" for event in data.replace(b"\r\n", b"\n").split(b"\n\n")]
    events[-1] = events[-1][:-2]
    return [event for event in events if event]


_JSON: Mapping[str, str] = {"content-type": "application/json"}
_HTML: Mapping[str, str] = {"content-type": "text/html; charset=utf-8"}
_SSE: Mapping[str, str] = {"content-type": "text/event-stream; charset=utf-8"}


def _document(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=status, headers={**_JSON, **(headers or {})}, events=[Event(body, content=True)])


def _chat(reply: Reply, call: MockCall, dialect: Dialect, headers: Mapping[str, str]) -> Answer:
    if not call.stream:
        return _document(200, dialect.chat(reply, call), headers)
    return Answer(headers={**_SSE, **headers}, events=dialect.chat_stream(reply, call), stream=True)


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
    if isinstance(entry, ToolCall):
        return entry
    name, arguments = entry
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(id=f"call_{number}", name=name, arguments=text)


def _usage(usage: Usage | tuple[int, int] | None) -> Usage | None:
    if usage is None or isinstance(usage, Usage):
        return usage
    return Usage(input_tokens=usage[0], output_tokens=usage[1])


def _misfit(name: str, call: MockCall) -> UsageError:
    return UsageError(
        f"the script's next step is {name}, and call {call.index + 1} asks {call.provider} for "
        f"{call.endpoint or call.http.path}; script that one with on(endpoint=...)"
    )


def _place(events: Sequence[Event], count: int) -> int:
    """Give the place behind so many content events (and behind the preamble if 0), before the next one."""
    seen = 0
    place = 0
    for index, event in enumerate(events):
        if event.content:
            if seen == count:
                return index
            seen += 1
            place = index + 1
    return place


def _first(pieces: list[bytes], count: int) -> list[bytes]:
    """Give the first `count` bytes, in the same pieces."""
    kept: list[bytes] = []
    for piece in pieces:
        if count <= 0:
            break
        kept.append(piece[:count])
        count -= len(piece)
    return kept


def _slices(data: bytes) -> list[bytes]:
    size = max(1, -(-len(data) // _PLAIN_SLICES))
    return [data[start : start + size] for start in range(0, len(data), size)]
