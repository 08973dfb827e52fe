"""What a call would do, without making it: the result of `client.explain(...)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.attempt_record import shown
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.reports.columns import in_flight_of, listed, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 1000
"""The most characters of one line."""


class PlannedKey(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A key that the call may use. The name is empty if the provider needs no key."""

    name: str
    """The name of the key."""

    share: float
    """The probability that this key is used first."""
    model: str
    """The provider's own name of the model with this key."""
    state: str | None = None
    """The state of the key (`ready`, `cooling_down`, ...); `None` if the key was not used yet."""
    address: str | None = None
    """The address that its settings name; `None`: the provider's own."""
    breaker: str | None = None
    """The state of the circuit breakers of its address, `open` or `half_open`. `None`: they are closed or switched off.
    """

    def __str__(self) -> str:
        known = "" if self.state in (None, "ready") else f", {self.state}"
        known += "" if self.breaker is None else f", breaker {self.breaker.replace('_', ' ')}"
        where = "" if self.address is None else f" at {self.address}"
        return f"{self.name or 'no key'}{where} {percent(self.share)}{known}"


class PlannedCandidate(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A candidate of the call, and the request that it would receive."""

    place: int
    """0 for the call's model, 1 for the first fallback, and so on. If several candidates share a place, one of them is
    chosen.
    """
    provider: str
    """The name of the provider."""

    model: str
    """The name of the model at the provider."""

    share: float | None = 1.0
    """The current probability that it is chosen at its place. `None`: a policy of your own decides."""
    passed_over: str | None = None
    """Why it is used only if no other candidate can serve: its keys, a breaker, or a model that does not exist. `None`:
    it can serve.
    """
    problem: str | None = None
    """Why it would fail before anything is sent. `None`: no problem is known."""
    goes_on: bool | None = None
    """Whether the call would continue with its next candidate after that problem. `None`: there is no problem."""
    method: str = ""
    """The HTTP method of the request."""

    url: str = ""
    """The URL of the request, without secrets."""

    address_from: str | None = None
    """The environment variable that sets the provider's address. `None`: no variable sets it."""
    headers: list[str] = []
    """The names of the header fields; their values are not shown."""
    body: bytes = b""
    """The body of the request. It is not printed, because it contains the prompt."""
    warnings: list[str] = []
    """What this dialect omits from the request or expresses differently."""
    structured: str | None = None
    """How structured output is requested: `native`, `tool`, `json_object` or `prompt`. `None`: the call does not
    request it.
    """
    keys: list[PlannedKey] = []
    """The keys that the call may use."""

    left_out: dict[str, str] = {}
    """The names of the keys that the call may not use, each with the reason."""
    in_flight: int = 0
    """Requests to this provider in flight at present."""

    waiting: int = 0
    """Callers that wait for this provider at present."""

    concurrency: int | None = None
    """The most concurrent requests to this provider."""

    limit: int | None = None
    """The current limit of concurrent requests, if it is adaptive. `None`: it is not."""
    is_full: bool = False
    """Whether the call would have to wait for a worker."""
    breaker: str | None = None
    """The state of the circuit breakers, if they are not closed."""

    hedge: str | None = None
    """Whether and when a slow call would be sent a second time. `None`: hedging is off."""
    time: float | None = None
    """How long this candidate may take, retries included, in seconds: its share of the call's timeout if fallbacks
    follow.
    """
    timeouts: dict[str, float] = {}
    """The time limits within an attempt, in seconds, by their names in `Timeouts`."""
    retry: dict[str, float | str] = {}
    """How a failed attempt is retried, by the names in `RetryConfig`."""

    @property
    def name(self) -> str:
        """The candidate as a call names it, `provider/model`."""
        return f"{self.provider}/{self.model}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield the facts about the candidate as pairs of a label and a text."""
        yield from self._obstacles()
        if self.url:
            yield "sends", f"{self.method} {self.url}, {len(self.body):,} bytes"
            if self.address_from is not None:
                yield "address", f"from the environment variable {self.address_from}"
            yield "headers", ", ".join(self.headers)
        if self.structured is not None:
            yield "output", f"requested with the mode {self.structured}"
        for warning in self.warnings:
            yield "warning", warning
        if self.keys:
            yield "keys", ", ".join(map(str, self.keys))
        for key, reason in self.left_out.items():
            yield "left out", f"{key}: {reason}"
        if self.concurrency is not None:
            at_once = in_flight_of(self.in_flight, self.concurrency, self.limit)
            queue = f"{at_once} in flight, {self.waiting} waiting"
            yield "queue", queue + ("; the call would wait" if self.is_full else "")
        if self.breaker is not None:
            yield "breaker", self.breaker
        if self.hedge is not None:
            yield "hedge", self.hedge
        if self.time is not None:
            limits = ", ".join(f"{name} {seconds(value)}" for name, value in self.timeouts.items())
            yield "time", f"{seconds(round(self.time, 3))} in all; {limits}"
        if self.retry:
            yield "retries", ", ".join(f"{name} {_written(value)}" for name, value in self.retry.items())

    def _obstacles(self) -> Iterator[tuple[str, str]]:
        if self.passed_over is not None:
            yield "passed over", self.passed_over
        if self.problem is not None:
            after = {True: "; the call continues with its next candidate", False: "; the call ends there", None: ""}
            yield "refused", self.problem + after[self.goes_on]

    def __str__(self) -> str:
        share = "" if self.share == 1.0 else f" ({percent(self.share) or 'as your policy chooses'})"
        lines = [f"{self.place + 1}. {self.name}{share}"]
        lines += [f"   {word}: {text}" for word, text in self.facts()]
        return "\n".join(shown(line, _LONGEST) for line in lines)


def _written(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


class PlannedPlugin(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, with the hooks that the call would run."""

    name: str
    """The name of the plugin."""

    hooks: list[str]
    """The names of the hooks."""

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.hooks)})"


class Explanation(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What a call would do. It prints as a list of candidates and shows a table in a notebook."""

    model: str
    """The model as the call names it."""
    stream: bool = False
    """Whether the response is streamed."""

    timeout: float
    """The time limit of the whole call, in seconds."""

    candidates: list[PlannedCandidate]
    """The candidates of the model, then those of each fallback."""
    warnings: list[str] = []
    """Warnings that the response would have, whichever candidate serves."""
    plugins: list[PlannedPlugin] = []
    """The plugins in order. They were not run, so their changes and responses are not included."""

    @property
    def chosen(self) -> PlannedCandidate | None:
        """The most probable candidate among those that would serve first; `None` if the call would fail."""
        places = {candidate.place for candidate in self.candidates}
        for place in sorted(places):
            here = [candidate for candidate in self.candidates if candidate.place == place]
            serving = [candidate for candidate in here if candidate.problem is None and candidate.share != 0.0]
            if serving:
                return max(serving, key=lambda candidate: candidate.share or 0.0)
            refused = [candidate for candidate in here if candidate.problem is not None]
            if refused and not any(candidate.goes_on for candidate in refused):
                return None
        last = (each for each in self.candidates if each.passed_over is not None and each.problem is None)
        return next(last, None)

    def __str__(self) -> str:
        return "\n".join([self._head(), *self._notes(), *map(str, self.candidates)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = [
            [candidate.place + 1, candidate.name, percent(candidate.share), *_cells(candidate)]
            for candidate in self.candidates
        ]
        return block(note(self._head(), *self._notes()), table(_COLUMNS, rows))

    def _head(self) -> str:
        form = "a stream" if self.stream else "a plain call"
        return shown(f"{self.model}, {form}, within {seconds(self.timeout)}; nothing was sent", _LONGEST)

    def _notes(self) -> list[str]:
        plugins = listed(self.plugins)
        notes = [f"warning: {warning}" for warning in self.warnings]
        notes += [] if plugins is None else [f"plugins, not run here: {plugins}"]
        return [shown(note, _LONGEST) for note in notes]


_COLUMNS = ("", "candidate", "share", "what would happen")


def _cells(candidate: PlannedCandidate) -> list[str]:
    return ["\n".join(f"{word}: {text}" for word, text in candidate.facts())]
