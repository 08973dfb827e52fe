"""The script of a test provider: what it answers, in which order, and what goes wrong. No I/O here.

A `Script` is written with verbs (`reply`, `fail`, `hang`, ...), each of which adds a `Step`; a step's own methods say
how it is played (`times`, `delay`, `cut`, ...). `Rules` has several scripts, chosen by what is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from bifrost.errors import UsageError
from bifrost.schema.content import ToolCall
from bifrost.schema.usage import Usage
from bifrost.testing import render_anthropic, render_openai
from bifrost.testing.calls import MockCall
from bifrost.testing.dialect import Dialect, Event, Reply, typical_usage, words
from bifrost.testing.faults import FaultPlan, FaultRun
from bifrost.testing.faulty import FaultyStep, with_fault
from bifrost.testing.step import Answer, Step, document, split_events, web_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bifrost.schema.chat import FinishReason
    from bifrost.testing.step import Trouble, Write
    from bifrost.wire.http import HttpRequest

ToolCallEntry: TypeAlias = "ToolCall | tuple[str, Mapping[str, Any] | str]"
"""A tool call as a test writes it: a `ToolCall`, or name and arguments."""

DIALECTS = (render_anthropic.DIALECT, render_openai.DIALECT)
"""In the order in which they are asked whether a request is theirs."""


class UnexpectedCallError(UsageError, AssertionError):
    """A call came for which the script has no answer. It is neither retried nor sent to a fallback."""

    fault = "local"
    fallback = False


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
            return document(200, msgspec.json.encode(given))

        return self._add("function(...)", write)

    def embed(self, vectors: Sequence[Sequence[float]], *, usage: Usage | tuple[int, int] | None = None) -> Step:
        """Answer a request for embeddings with these vectors."""

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint != "embeddings" or dialect.embeddings is None:
                raise _misfit("embed(...)", call)
            return document(200, dialect.embeddings(vectors, _usage(usage) or Usage(input_tokens=10), call))

        return self._add("embed(...)", write)

    def models(self, ids: Sequence[str]) -> Step:
        """Answer a request for the list of models."""

        def write(call: MockCall, dialect: Dialect) -> Answer:
            if call.endpoint != "models":
                raise _misfit("models(...)", call)
            return document(200, dialect.models(ids))

        return self._add("models(...)", write)

    def json(self, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Step:
        """Answer with this JSON, whatever was asked."""
        data = msgspec.json.encode(body)
        return self._add("json(...)", lambda _call, _dialect: document(status, data, headers))

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
            return document(status, dialect.error(status, message, type, code), fields)

        return self._add(f"fail({status})", write)

    def html(self, status: int = 200) -> Step:
        """Answer with a web page, as proxies and captive portals do."""
        return self._add(f"html({status})", lambda _call, _dialect: web_page(status))

    def empty(self, status: int = 200) -> Step:
        """Answer with no body at all."""
        return self._add(f"empty({status})", lambda _call, _dialect: document(status, b""))

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

    def reset(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Step:
        """Reset the connection: after the request was sent, or after so much of a reply's body.

        If that happens on a connection that has served before, before any answer, it looks like one that went stale
        while idle: the client sends again at once, which plays the next step, and counts one attempt.
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
        """Reply `"ok"` and close the connection too early; see `Step.cut`, and `reset` for connections kept open."""
        step = self._default("cut()")
        return step.cut(after_bytes=after_bytes, after_events=after_events, after_share=after_share)

    def stall(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Step:
        """Reply `"ok"` and stop in the middle, the connection left open; see `Step.stall`."""
        step = self._default("stall()")
        return step.stall(after_bytes=after_bytes, after_events=after_events, after_share=after_share)

    def hang_up(self) -> Step:
        """Reply `"ok"` and close the connection behind it. After another answer: `reply("...").hang_up()`."""
        return self._default("hang_up()").hang_up()

    def bad_json(self, *, at: int = 0) -> Step:
        """Reply with JSON that ends in the middle; see `Step.bad_json`."""
        return self._reply("bad_json()", ("ok", " ok", " ok")).bad_json(at=at)

    def oversize(self, size: int) -> Step:
        """Reply `"ok"` in an answer of at least so many bytes."""
        return self._default(f"oversize({size})").oversize(size)

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
        self._faults: FaultRun | None = None
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

    def inject(self, plan: FaultPlan) -> FaultRun:
        """Let the faults of a plan happen to the calls from now on, and give what counts and remembers them.

            mock.reply("ok").always()
            run = mock.inject(FaultPlan.storm(0.3, seed=7))
            ...
            print(run.plan, run.played)

        The script says what is answered when all goes well. A fault that spoils the answer leaves the script's step
        to the next attempt; one that comes late or closes the connection behind it uses it up.
        """
        self._faults = FaultRun(plan)
        return self._faults

    @property
    def faults(self) -> FaultRun | None:
        """The run of the plan that was injected."""
        return self._faults

    def forget(self) -> None:
        """Take every step, rule and plan away, as if nothing had been scripted; `calls` stay."""
        self._faults = None
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

    def choose(self, call: MockCall, *, now: float = 0.0) -> Step | FaultyStep | None:
        """Give the step for a call, with the fault that happens to it, if any; `None` if there is none left."""
        step = self._next(call)
        if self._faults is None:
            return step
        return with_fault(self._faults, call, now=now, step=step or self._spare, script=self)

    @property
    def _spare(self) -> Step | None:
        """What is played when no step is left."""
        return None

    def _next(self, call: MockCall) -> Step | None:
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


_SSE: Mapping[str, str] = {"content-type": "text/event-stream; charset=utf-8"}


def _chat(reply: Reply, call: MockCall, dialect: Dialect, headers: Mapping[str, str]) -> Answer:
    if not call.stream:
        return document(200, dialect.chat(reply, call), headers)
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
