"""What a call would do, without its being made: `client.explain(...)`."""

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
    """A key that may serve, by its name. No name: the provider needs no key."""

    name: str
    share: float
    """How likely it is to be the first that is used."""
    model: str
    """The provider's own name of the model under this key."""
    state: str | None = None
    """What is known of it (`ready`, `parked`, ...)."""

    def __str__(self) -> str:
        known = "" if self.state in (None, "ready") else f", {self.state}"
        return f"{self.name or 'no key'} {percent(self.share)}{known}"


class PlannedCandidate(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A candidate, and what a call of it would be."""

    place: int
    """0 for the call's model, 1 for the first fallback, and so on. Of several at one place one is chosen."""
    provider: str
    model: str
    share: float | None = 1.0
    """How likely it is to be chosen at its place, as things are now; `None`: a policy of your own decides."""
    passed_over: str | None = None
    """Why it is not asked as long as another candidate can be: its keys, a breaker, a model that is gone."""
    problem: str | None = None
    """Why it would fail before anything is sent."""
    goes_on: bool | None = None
    """After that problem the call goes on to its next candidate."""
    method: str = ""
    url: str = ""
    address_from: str | None = None
    """The environment variable that gives the provider's address, if one does."""
    headers: list[str] = []
    """The names of what is sent; no values."""
    body: bytes = b""
    """What would be sent. Not printed: it holds the prompt."""
    warnings: list[str] = []
    """What this dialect leaves out or says in another way."""
    structured: str | None = None
    """How the answer of a type is asked for: `native`, `tool`, `json_object`, `prompt`."""
    keys: list[PlannedKey] = []
    left_out: dict[str, str] = {}
    """Keys that may not serve, and why."""
    in_flight: int = 0
    waiting: int = 0
    concurrency: int | None = None
    limit: int | None = None
    """The most exchanges at once for now, where that is `adaptive`."""
    is_full: bool = False
    """The call would wait for a worker."""
    breaker: str | None = None
    hedge: str | None = None
    """Whether and when it would be sent a second time if it is slow, where the provider has that setting."""
    time: float | None = None
    """How long it may take, retries included, in seconds: its share of the call's timeout if fallbacks follow."""
    timeouts: dict[str, float] = {}
    """The limits of waiting inside an attempt, by their names in `Timeouts`."""
    retry: dict[str, float | str] = {}
    """How a failed attempt is repeated, by the names in `RetryConfig`."""

    @property
    def name(self) -> str:
        """The candidate as a call names it."""
        return f"{self.provider}/{self.model}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """Give what there is to tell, in lines of a word and what belongs to it."""
        yield from self._obstacles()
        if self.url:
            yield "sends", f"{self.method} {self.url}, {len(self.body):,} bytes"
            if self.address_from is not None:
                yield "address", f"from the environment variable {self.address_from}"
            yield "headers", ", ".join(self.headers)
        if self.structured is not None:
            yield "output", f"asked for in the way {self.structured}"
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
            after = {True: "; the call goes on to its next candidate", False: "; the call ends there", None: ""}
            yield "refused", self.problem + after[self.goes_on]

    def __str__(self) -> str:
        share = "" if self.share == 1.0 else f" ({percent(self.share) or 'as your policy chooses'})"
        lines = [f"{self.place + 1}. {self.name}{share}"]
        lines += [f"   {word}: {told}" for word, told in self.facts()]
        return "\n".join(shown(line, _LONGEST) for line in lines)


def _written(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


class PlannedPlugin(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, and which of its hooks the call would pass."""

    name: str
    hooks: list[str]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.hooks)})"


class Explanation(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What a call would do. Prints as a list of its candidates, and is a table in a notebook."""

    model: str
    """As the call names it."""
    stream: bool = False
    timeout: float
    candidates: list[PlannedCandidate]
    """Those of the model, then those of each fallback."""
    warnings: list[str] = []
    """What the call would be told beside its answer, whichever candidate serves."""
    plugins: list[PlannedPlugin] = []
    """The plugins in order. They were not run: what they would change or answer does not show here."""

    @property
    def chosen(self) -> PlannedCandidate | None:
        """The likeliest of those that would serve first; `None` if the call would fail."""
        places = {candidate.place for candidate in self.candidates}
        for place in sorted(places):
            here = [candidate for candidate in self.candidates if candidate.place == place]
            serving = [candidate for candidate in here if candidate.problem is None and candidate.share != 0.0]
            if serving:
                return max(serving, key=lambda candidate: candidate.share or 0.0)
            refused = [candidate for candidate in here if candidate.problem is not None]
            if refused and not any(candidate.goes_on for candidate in refused):
                return None
        return None

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
    return ["\n".join(f"{word}: {told}" for word, told in candidate.facts())]
