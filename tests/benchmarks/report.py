"""The figures as Markdown tables: `report.py RESULTS.json`. Standard library only."""

from __future__ import annotations

import json
import sys
from math import comb
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from cases import PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONFIDENCE = 0.95

_STAGES = {
    "request": "arguments to request",
    "plan": "model to candidates",
    "key": "weighted key",
    "deadline": "the deadline's scope",
    "build": "build: request to HTTP, JSON encoded",
    "parse": "parse: HTTP to answer, JSON decoded",
}


class Spread(NamedTuple):
    """What the rounds gave: the median, an interval that holds the true one in 95 of 100 cases, the least."""

    middle: float
    low: float
    high: float
    least: float


def spread(values: list[float]) -> Spread:
    """Sum up rounds. With less than six, the interval is all they cover."""
    ordered = sorted(values)
    count, out = len(ordered), 0
    # The interval leaves out as many values on both sides as the confidence lets it (order statistics of the median).
    while out + 1 < (count + 1) // 2 and 1 - 2 * sum(comb(count, k) for k in range(out + 2)) / 2**count >= _CONFIDENCE:
        out += 1
    if 1 - 2 * sum(comb(count, k) for k in range(out + 1)) / 2**count >= _CONFIDENCE:
        low, high = ordered[out], ordered[-1 - out]
    else:
        low, high = ordered[0], ordered[-1]
    return Spread(median(ordered), low, high, ordered[0])


class Results:
    """The rounds of one file, asked for by part, case and figure."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._rounds: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        self.failures: dict[tuple[str, str], str] = {}
        for result in document["results"]:
            place = result["part"], result["case"]
            if "failure" in result["figures"]:
                self.failures[place] = result["figures"]["failure"]
                self._rounds.setdefault(place, {})
            else:
                self._rounds.setdefault(place, {})[result["round"]] = result["figures"]

    def parts(self) -> list[str]:
        """Give the parts that were measured, in order."""
        measured = {part for part, _ in self._rounds}
        return [part for part in PARTS if part in measured]

    def rounds(self, part: str) -> int:
        """Give how often a part was measured."""
        return max((len(rounds) for (of, _), rounds in self._rounds.items() if of == part), default=0)

    def cases(self, part: str) -> list[str]:
        """Give a part's cases, in the order of the tables."""
        return [label.partition(":")[2] for label in self.document["labels"] if label.startswith(f"{part}:")]

    def label(self, part: str, case: str) -> str:
        """Give a case's name for a reader."""
        return self.document["labels"][f"{part}:{case}"]

    def groups(self, part: str) -> list[str]:
        """Give the groups of figures that a part's cases have (`c1`, `c32`, ...)."""
        found = [
            group for (of, _), rounds in self._rounds.items() if of == part for f in rounds.values() for group in f
        ]
        return list(dict.fromkeys(found))

    def values(self, part: str, case: str, group: str, figure: str) -> dict[int, float]:
        """Give a figure by round."""
        rounds = self._rounds.get((part, case), {})
        return {number: f[group][figure] for number, f in rounds.items() if figure in f.get(group, {})}

    def of(self, part: str, case: str, group: str, figure: str) -> Spread | None:
        """Give a figure over all rounds."""
        values = self.values(part, case, group, figure)
        return spread(list(values.values())) if values else None

    def ratio(self, part: str, case: str, other: str, group: str, figure: str) -> Spread | None:
        """Give a figure as a multiple of another case's, round by round."""
        mine, theirs = self.values(part, case, group, figure), self.values(part, other, group, figure)
        ratios = [mine[number] / theirs[number] for number in mine if theirs.get(number)]
        return spread(ratios) if ratios else None


# --- cells


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(found: Spread | None, *, least: bool = False) -> str:
    if found is None:
        return "-"
    if found.low == found.high:
        return _number(found.middle)
    text = f"{_number(found.middle)} [{_number(found.low)}, {_number(found.high)}]"
    return f"{text} min {_number(found.least)}" if least else text


def _callers(group: str) -> str:
    return "1 caller" if group == "c1" else f"{group[1:]} callers"


def _times(found: Spread | None) -> str:
    return "-" if found is None else f"{found.middle:.2f}x"


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


Column = tuple[str, "Callable[[Results, str, str, str], str]"]


def _plain(title: str, figure: str, *, least: bool = False) -> Column:
    return title, lambda results, part, case, group: _cell(results.of(part, case, group, figure), least=least)


def _compared(title: str, figure: str) -> Column:
    def cell(results: Results, part: str, case: str, group: str) -> str:
        return _times(results.ratio(part, case, results.document["compare"][f"{part}:{case}"], group, figure))

    return title, cell


def _rows(results: Results, part: str, group: str, columns: list[Column], cases: list[str]) -> Iterator[str]:
    rows: list[list[str]] = []
    for case in cases:
        failure = results.failures.get((part, case))
        cells = (
            [failure, *[""] * (len(columns) - 1)] if failure else [c(results, part, case, group) for _, c in columns]
        )
        rows.append([results.label(part, case), *cells])
    yield from _table(["", *(title for title, _ in columns)], rows)


# --- parts


def _pipeline(results: Results) -> Iterator[str]:
    counts = [group for group in results.groups("pipeline") if group.startswith("c")]
    rows: list[list[str]] = []
    for case in results.cases("pipeline"):
        failure = results.failures.get(("pipeline", case))
        cells = [_cell(results.of("pipeline", case, group, "cpu_us"), least=True) for group in counts]
        beside = [_cell(results.of("pipeline", case, group, "cpu_us")) for group in ("stub", "task")]
        rows.append(
            [results.label("pipeline", case), *([failure, *[""] * len(counts), ""] if failure else cells + beside)]
        )
    yield "CPU of a call in microseconds, all of it from `client.chat` to the answer. The upstream suspends once; what"
    yield "that takes by itself stands beside it, as does the machine's measure: one task spawned and awaited."
    yield ""
    yield from _table(["", *map(_callers, counts), "the upstream's part", "one task"], rows)
    staged = [case for case in results.cases("pipeline") if results.of("pipeline", case, "stages", "plan") is not None]
    if staged:
        yield "Where it goes, one caller: parts measured by themselves (CPU, microseconds, least of the rounds). The"
        yield "rest is the hand-over to a worker and back, context, trail, headers and credential."
        yield ""
        yield from _table(["", *(case.partition("/")[0] for case in staged)], list(_stages(results, staged, counts)))


def _stages(results: Results, cases: list[str], counts: list[str]) -> Iterator[list[str]]:
    def least(case: str, group: str, figure: str = "cpu_us") -> float:
        found = results.of("pipeline", case, group, figure)
        return float("nan") if found is None else found.least

    def wait(case: str, group: str, part: str) -> str:
        found = results.of("pipeline", case, f"queue-{group}", f"{part}_ms")
        return "-" if found is None else _number(1e3 * found.middle)

    parts = {title: [least(case, "stages", stage) for case in cases] for stage, title in _STAGES.items()}
    bare = [least(f"{case.partition('/')[0]}/0", "c1") for case in cases]
    whole = [least(case, "c1") for case in cases]
    parts["3+3 hooks (a call with them less one without)"] = [w - b for w, b in zip(whole, bare, strict=True)]
    parts["the upstream's part"] = [least(case, "stub") for case in cases]
    parts["the rest"] = [w - sum(part[place] for part in parts.values()) for place, w in enumerate(whole)]
    parts["a call"] = whole
    outside = [_outside(results, case) for case in cases]
    for group in counts:
        inside = [least(case, group) - out for case, out in zip(cases, outside, strict=True)]
        parts[f"{_callers(group)}: a call without build, parse and the upstream"] = inside
    for title, values in parts.items():
        yield [title, *map(_number, values)]
    for group in counts:
        waits = [f"{wait(case, group, 'p50')} / {wait(case, group, 'p99')}" for case in cases]
        yield [f"{_callers(group)}: wait for a worker, p50 / p99 (wall, median)", *waits]


def _outside(results: Results, case: str) -> float:
    """Give what is not the pipeline's own: HTTP and JSON made and read, and the upstream."""
    figures = [("stages", "build"), ("stages", "parse"), ("stub", "cpu_us")]
    found = [results.of("pipeline", case, group, figure) for group, figure in figures]
    return sum(spread.least for spread in found if spread is not None)


def _end_to_end(part: str, results: Results) -> Iterator[str]:
    cases = results.cases(part)
    columns = [
        _plain("requests/s", "rps"),
        _plain("CPU us a request", "cpu_us", least=True),
        _compared("CPU against bare httpx", "cpu_us"),
        _compared("requests/s against bare httpx", "rps"),
        _plain("p50 ms", "p50_ms"),
        _plain("p99 ms", "p99_ms"),
    ]
    for group in [name for name in results.groups(part) if name.startswith("c")]:
        yield f"{_callers(group)}:"
        yield ""
        yield from _rows(results, part, group, columns, cases)


def _burst(results: Results) -> Iterator[str]:
    columns = [
        _plain("all answered after, ms", "wall_ms"),
        _plain("CPU us a request", "cpu_us"),
        _compared("CPU against bare httpx", "cpu_us"),
        _plain("p50 ms", "p50_ms"),
        _plain("p99 ms", "p99_ms"),
    ]
    for group in results.groups("burst"):
        for scheme, kind in (("http", "plain HTTP"), ("https", "TLS")):
            yield f"{group[1:]} calls at once over {kind}, the first ones of their client in a warm process: every"
            yield "connection is new."
            yield ""
            cases = [case for case in results.cases("burst") if case.endswith(f"/{scheme}")]
            yield from _rows(results, "burst", group, columns, cases)


def _connections(results: Results) -> Iterator[str]:
    columns = [_plain("KiB each", "kib"), _compared("against bare httpx", "kib"), _plain("peak MiB", "peak_mib")]
    yield "Open and idle, each after one call: what the client's process holds for one."
    yield ""
    yield from _rows(results, "connections", "connection", columns, results.cases("connections"))


def _stream(results: Results) -> Iterator[str]:
    columns = [
        _plain("CPU us a chunk", "cpu_us", least=True),
        _compared("against raw httpx", "cpu_us"),
        _plain("chunks/s", "chunks_per_s"),
        _plain("first content after, ms", "first_ms"),
    ]
    for path in dict.fromkeys(case.partition("/")[2] for case in results.cases("stream")):
        kind, _, count = path.rpartition("-")
        how = "in a few large pieces" if kind == "batched" else "one per millisecond"
        yield f"{count} events, {how}:"
        yield ""
        cases = [case for case in results.cases("stream") if case.endswith(f"/{path}")]
        yield from _rows(results, "stream", "chunk", columns, cases)


def _import(results: Results) -> Iterator[str]:
    columns = [
        _plain("ms", "wall_ms"),
        _plain("CPU ms", "cpu_ms"),
        _compared("CPU against the four", "cpu_ms"),
        _plain("RSS MiB", "rss_mib"),
        _plain("modules", "modules"),
    ]
    yield from _rows(results, "import", "import", columns, results.cases("import"))


def _memory(results: Results) -> Iterator[str]:
    columns = [
        _plain("KiB each", "kib"),
        _plain("peak MiB", "peak_mib"),
        _plain("answered (1 = all)", "success"),
        _plain("CPU us a call", "cpu_us"),
        _plain("s in all", "wall_s"),
    ]
    for count in dict.fromkeys(case.rpartition("/")[2] for case in results.cases("memory")):
        yield f"{int(count):,} in flight:"
        yield ""
        cases = [case for case in results.cases("memory") if case.endswith(f"/{count}")]
        yield from _rows(results, "memory", "in_flight", columns, cases)


def _sustained(results: Results) -> Iterator[str]:
    columns = [
        _plain("offered/s", "offered_rps"),
        _plain("answered/s", "rps"),
        _plain("success (1 = all)", "success"),
        _plain("CPU us a call", "cpu_us"),
        _plain("of one core", "cpu_share"),
        _plain("p50 ms", "p50_ms"),
        _plain("p99 ms", "p99_ms"),
        _plain("without a pause, 64 callers: requests/s", "most_rps"),
        _plain("RSS MiB", "rss_mib"),
    ]
    yield "Latency counts from when a call was due; for the upstream in the process, its own 50 ms are taken off."
    yield ""
    yield from _rows(results, "sustained", "rate", columns, results.cases("sustained"))


_WRITERS: dict[str, Callable[[Results], Iterator[str]]] = {
    "pipeline": _pipeline,
    "http": lambda results: _end_to_end("http", results),
    "tls": lambda results: _end_to_end("tls", results),
    "burst": _burst,
    "stream": _stream,
    "import": _import,
    "memory": _memory,
    "connections": _connections,
    "sustained": _sustained,
}


# --- goals


class Goal(NamedTuple):
    """What is to be reached, where it is read, and whether less or more of it is better."""

    text: str
    limit: float
    value: Callable[[Results], float | None]
    at_least: bool = False


def _least(part: str, case: str, group: str, figure: str) -> Callable[[Results], float | None]:
    def read(results: Results) -> float | None:
        found = results.of(part, case, group, figure)
        return None if found is None else found.least

    return read


def _worst(part: str, case: str, group: str, figure: str, *, high: bool = True) -> Callable[[Results], float | None]:
    def read(results: Results) -> float | None:
        values = results.values(part, case, group, figure).values()
        return (max(values) if high else min(values)) if values else None

    return read


def _ratio(part: str, case: str, other: str, group: str, figure: str) -> Callable[[Results], float | None]:
    def read(results: Results) -> float | None:
        found = results.ratio(part, case, other, group, figure)
        return None if found is None else found.middle

    return read


def _later(case: str, other: str) -> Callable[[Results], float | None]:
    def read(results: Results) -> float | None:
        mine, theirs = (results.values("stream", name, "chunk", "first_ms") for name in (case, other))
        later = [mine[number] - theirs[number] for number in mine if number in theirs]
        return median(later) if later else None

    return read


_GOALS = [
    Goal("pipeline, asyncio, 256 callers, CPU us (least)", 75, _least("pipeline", "asyncio/3", "c256", "cpu_us")),
    Goal("pipeline, uvloop, 256 callers, CPU us (least)", 75, _least("pipeline", "uvloop/3", "c256", "cpu_us")),
    Goal("pipeline, trio, 256 callers, CPU us (least)", 120, _least("pipeline", "trio/3", "c256", "cpu_us")),
    *(
        Goal(f"end to end ({part}), {case}, {_callers(group)}, CPU against bare httpx", limit, ratio)
        for part, first in (("http", 0.6), ("tls", 0.65))
        for case in ("bifrost", "bifrost-hooks")
        for group, limit in (("c1", first), ("c32", 0.45), ("c256", 0.45))
        for ratio in (_ratio(part, case, "bare", group, "cpu_us"),)
    ),
    *(
        Goal(f"end to end ({part}), 256 callers, CPU against {other}", limit, ratio)
        for part, others in (
            ("http", {"openai": 0.07, "litellm": 0.06, "tensorzero": 0.6, "liter-llm": 1.5}),
            ("tls", {"liter-llm": 1.1}),
        )
        for other, limit in others.items()
        for ratio in (_ratio(part, "bifrost", other, "c256", "cpu_us"),)
    ),
    Goal("cold burst, TLS, 256 calls, CPU us a call", 700, _least("burst", "bifrost/https", "c256", "cpu_us")),
    Goal("KiB an open TLS connection", 68, _least("connections", "bifrost/https", "connection", "kib")),
    *(
        Goal(f"requests/s at 256 callers against {other}", limit, _ratio("http", "bifrost", other, "c256", "rps"), True)
        for other, limit in (("bare", 0.65), ("openai", 3.0), ("litellm", 4.0))
    ),
    Goal("stream, 1,000 batched, CPU us a chunk", 10, _least("stream", "bifrost/batched-1000", "chunk", "cpu_us")),
    Goal(
        "stream, 1,000 batched, CPU against the openai SDK",
        0.05,
        _ratio("stream", "bifrost/batched-1000", "openai/batched-1000", "chunk", "cpu_us"),
    ),
    Goal(
        "stream, paced, CPU against raw httpx",
        0.85,
        _ratio("stream", "bifrost/paced-100", "bare/paced-100", "chunk", "cpu_us"),
    ),
    Goal("stream, paced, first chunk later by, ms", 0.5, _later("bifrost/paced-100", "bare/paced-100")),
    Goal(
        "import bifrost, CPU against its four dependencies",
        1.3,
        _ratio("import", "bifrost", "four", "import", "cpu_ms"),
    ),
    Goal(
        "the first client loaded, CPU against the four dependencies",
        1.5,
        _ratio("import", "bifrost-client", "four", "import", "cpu_ms"),
    ),
    *(
        Goal(f"KiB a call, 10,000 in flight, {loop}", 12, _least("memory", f"bifrost/{loop}/10000", "in_flight", "kib"))
        for loop in ("asyncio", "trio")
    ),
    *(
        Goal(
            f"50,000 in flight, share answered, {loop}",
            1,
            _worst("memory", f"bifrost/{loop}/50000", "in_flight", "success", high=False),
            True,
        )
        for loop in ("asyncio", "trio")
    ),
    Goal("sustained, begun/s", 4_950, _worst("sustained", "bifrost/inside", "rate", "offered_rps", high=False), True),
    Goal("sustained, success", 1, _worst("sustained", "bifrost/inside", "rate", "success", high=False), True),
    *(
        Goal(
            f"{text} over TLS, {loop}",
            limit,
            _worst("sustained", f"bifrost/https-{loop}", "rate", of, high=False),
            True,
        )
        for loop in ("asyncio", "trio")
        for text, limit, of in (("answered/s", 4_950, "rps"), ("success", 1, "success"))
    ),
]


def _goals(results: Results) -> Iterator[str]:
    rows: list[list[str]] = []
    for goal in _GOALS:
        value = goal.value(results)
        if value is None:
            continue
        met = value >= goal.limit if goal.at_least else value <= goal.limit
        rows.append([goal.text, f"{'at least' if goal.at_least else 'at most'} {goal.limit:g}", _number(value)])
        rows[-1].append("yes" if met else "no")
    if rows:
        yield "## Goals"
        yield ""
        yield from _table(["", "goal", "measured", "met"], rows)


def _versions(results: Results) -> Iterator[str]:
    document, machine = results.document, results.document["machine"]
    pinned = "client and upstream each on a core of their own" if machine["pinned"] else "nothing pinned"
    load = ", ".join(f"{part:.1f}" for part in machine["load"])
    yield f"{machine['date']}; {machine['cores']} x {machine['cpu']}, {machine['system']}; {pinned};"
    sizes = ", quick sizes (no figures to quote)" if document["quick"] else ""
    rounds = ", ".join(f"{part} {results.rounds(part)}" for part in results.parts())
    yield f"load before the run: {load}; rounds: {rounds}{sizes}."
    yield ""
    for name, versions in document["versions"].items():
        yield f"- {name}: {', '.join(f'{package} {version}' for package, version in versions.items())}"
    yield ""


def report(document: dict[str, Any]) -> str:
    """Give the tables of one file of results."""
    results = Results(document)
    lines = [*_versions(results), *([] if document["quick"] else _goals(results))]
    for part in results.parts():
        lines += [f"## {PARTS[part]}", "", *_WRITERS[part](results)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(report(json.loads(Path(sys.argv[1]).read_text())))
