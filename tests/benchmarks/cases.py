"""What is measured: parts, the cases of each, and the environment that each case needs. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "base": (
        "bifrost-llm",
        "httpx",
        "httpcore",
        "h11",
        "anyio",
        "attrs",
        "msgspec",
        "mcp",
        "openai",
        "httpx2",
        "trio",
        "uvloop",
    ),
    "any-llm": ("any-llm-sdk", "openai", "httpx2"),
    "litellm": ("litellm", "openai", "httpx", "aiohttp"),
    "tensorzero": ("tensorzero",),
    "liter-llm": ("liter-llm",),
}
"""Environments that can stand on one machine together, not in one folder; and the versions worth telling of each."""

CLIENTS: dict[str, tuple[str, str]] = {
    "minimal": ("bytes on sockets (the upstream's ceiling)", "base"),
    "bare": ("httpx, one transport per connection", "base"),
    "httpx": ("httpx.AsyncClient", "base"),
    "bifrost": ("bifrost", "base"),
    "bifrost-hooks": ("bifrost, 3+3 hooks", "base"),
    "openai": ("openai SDK", "base"),
    "any-llm": ("any-llm", "any-llm"),
    "litellm": ("LiteLLM", "litellm"),
    "litellm-router": ("LiteLLM Router", "litellm"),
    "tensorzero": ("TensorZero, embedded", "tensorzero"),
    "liter-llm": ("liter-llm", "liter-llm"),
}
"""The clients, as tables call them, and where each is installed."""

STREAMING: dict[str, tuple[str, str]] = {
    **{name: client for name, client in CLIENTS.items() if name not in ("minimal", "litellm-router")},
    "bifrost-responses": ("bifrost, Responses API", "base"),
}
"""The clients that read streams."""

FOUR = ("httpx", "anyio", "attrs", "msgspec")
"""The dependencies but for mcp: what `import bifrost` is measured against."""

_IMPORTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "nothing": ("(nothing)", "base", ()),
    "four": ("httpx, anyio, attrs, msgspec", "base", FOUR),
    "bifrost": ("bifrost", "base", ("bifrost",)),
    "bifrost-client": (
        "bifrost, and what its first client loads",
        "base",
        ("bifrost", "bifrost.transport.direct"),
    ),
    "mcp": ("mcp (a dependency, not loaded by `import bifrost`)", "base", ("mcp",)),
    "openai": ("openai SDK", "base", ("openai",)),
    "any-llm": ("any-llm", "any-llm", ("any_llm",)),
    "litellm": ("LiteLLM", "litellm", ("litellm",)),
    "tensorzero": ("TensorZero, embedded", "tensorzero", ("tensorzero",)),
    "liter-llm": ("liter-llm", "liter-llm", ("liter_llm",)),
}

PARTS: dict[str, str] = {
    "pipeline": "The pipeline above the transport",
    "http": "End to end over the loopback, plain HTTP",
    "tls": "End to end over the loopback, TLS",
    "burst": "A cold burst",
    "stream": "Streams",
    "import": "Import",
    "memory": "Memory of a call in flight",
    "connections": "Memory of an open connection",
    "sustained": "A sustained rate",
}

_LOOPS = ("asyncio", "uvloop", "trio")

_ROUNDS = {"memory": 3, "connections": 3, "sustained": 3}
"""The most rounds of a part whose cases take long and vary little."""


@dataclass(frozen=True)
class Case:
    """One row of a part's table: measured once per round, in a process of its own."""

    part: str
    name: str
    label: str
    environment: str
    settings: dict[str, Any]
    measure: str = ""
    scheme: str | None = None
    """The case needs the upstream, over http or https."""
    path: str = "plain"
    compare: str = "bare"
    """The case that ratios are taken of."""
    rounds: int = field(default=1_000)

    @property
    def module(self) -> str:
        """The `measure_*` module that does it."""
        return self.measure or self.part


def make_cases(parts: list[str], *, quick: bool, only: list[str] | None) -> list[Case]:
    """Give the cases of some parts, in the order of the tables.

    `only` names the cases to keep: `bifrost/http`, or `bifrost` for all whose name begins so.
    """
    cases = [case for part in parts for case in _MAKERS[part](quick)]
    return [case for case in cases if only is None or not {case.name, case.name.split("/")[0]}.isdisjoint(only)]


def rounds_of(part: str, rounds: int) -> int:
    """Give how often the cases of a part are measured when `rounds` are asked for."""
    return min(rounds, _ROUNDS.get(part, rounds))


def _pipeline(quick: bool) -> list[Case]:
    callers, calls = ([1, 32], 256) if quick else ([1, 256], 8_192)
    rows: list[tuple[str, int, int | None]] = [(loop, hooks, None) for hooks in (3, 0) for loop in _LOOPS]
    rows.append(("asyncio", 3, 10_000))
    return [
        Case(
            part="pipeline",
            name=f"{loop}/{hooks}" + (f"/gc-{threshold}" if threshold else ""),
            label=f"{loop}, {'3+3 hooks' if hooks else 'no plugins'}"
            + (f", gc.set_threshold({threshold:_})" if threshold else ""),
            environment="base",
            settings={
                "loop": loop,
                "hooks": hooks,
                "callers": callers,
                "calls": calls,
                "stages": hooks > 0 and threshold is None,
                "gc_threshold": threshold,
            },
        )
        for loop, hooks, threshold in rows
    ]


def _end_to_end(part: str, scheme: str, quick: bool) -> list[Case]:
    callers, seconds = ([1, 8], 0.1) if quick else ([1, 32, 256], 2.0)
    return [
        Case(
            part=part,
            name=name,
            label=label,
            environment=environment,
            settings={"client": name, "callers": callers, "seconds": seconds, "cold": False},
            measure="http",
            scheme=scheme,
        )
        for name, (label, environment) in CLIENTS.items()
    ]


def _burst(quick: bool) -> list[Case]:
    return [
        Case(
            part="burst",
            name=f"{name}/{scheme}",
            label=label,
            environment=environment,
            settings={"client": name, "callers": 16 if quick else 256, "cold": True},
            measure="http",
            scheme=scheme,
            compare=f"bare/{scheme}",
        )
        for scheme in ("http", "https")
        for name, (label, environment) in CLIENTS.items()
    ]


def _connections(quick: bool) -> list[Case]:
    return [
        Case(
            part="connections",
            name=f"{name}/{scheme}",
            label=f"{CLIENTS[name][0]}, {'TLS' if scheme == 'https' else 'plain'}",
            environment="base",
            settings={"client": name, "connections": 32 if quick else 400},
            scheme=scheme,
            path="late",
            compare=f"bare/{scheme}",
        )
        for scheme in ("http", "https")
        for name in ("minimal", "bare", "httpx", "bifrost")
    ]


def _stream(quick: bool) -> list[Case]:
    return [
        Case(
            part="stream",
            name=f"{name}/{path}",
            label=STREAMING[name][0],
            environment=STREAMING[name][1],
            settings={"client": name, "events": int(path.rpartition("-")[2]), "seconds": 0.05 if quick else 1.0},
            scheme="http",
            path=path,
            compare=f"bare/{path}",
        )
        for path in ("batched-100", "batched-1000", "paced-100")
        for name in STREAMING
    ]


def _import(quick: bool) -> list[Case]:
    return [
        Case(
            part="import",
            name=name,
            label=label,
            environment=environment,
            settings={"modules": list(modules)},
            compare="four",
        )
        for name, (label, environment, modules) in _IMPORTS.items()
    ]


def _memory(quick: bool) -> list[Case]:
    rows = [
        (client, loop, in_flight)
        for client, loop, most in (
            ("task", "asyncio", 50_000),
            ("task", "trio", 50_000),
            ("bifrost", "asyncio", 50_000),
            ("bifrost", "trio", 50_000),
            ("openai", "asyncio", 10_000),
        )
        for in_flight in ((200,) if quick else (1_000, 10_000, 50_000))
        if in_flight <= most
    ]
    labels = {"task": "a task that waits", "bifrost": "bifrost, concurrency 1,000", "openai": "openai SDK"}
    return [
        Case(
            part="memory",
            name=f"{client}/{loop}/{in_flight}",
            label=f"{labels[client]}, {loop}",
            environment="base",
            settings={"client": client, "loop": loop, "in_flight": in_flight},
            compare=f"task/{loop}/{in_flight}",
        )
        for client, loop, in_flight in rows
    ]


def _sustained(quick: bool) -> list[Case]:
    rate, seconds = (300.0, 0.5) if quick else (5_000.0, 20.0)
    http = [
        Case(
            part="sustained",
            name=f"{name}/http",
            label=f"{CLIENTS[name][0]}: highest rate held over loopback HTTP",
            environment="base",
            settings={"http": True, "client": name, "seconds": 0.2 if quick else 4.0},
            scheme="http",
            compare="bare/http",
        )
        for name in ("bare", "bifrost")
    ]
    fixed = [
        Case(
            part="sustained",
            name=f"bifrost/https-{loop}",
            label=f"bifrost: {rate:,.0f} calls/s for {seconds * 3:g} s over loopback TLS, {loop}",
            environment="base",
            settings={"http": True, "loop": loop, "client": "bifrost", "rate": rate, "seconds": seconds * 3},
            scheme="https",
            compare="bifrost/inside",
        )
        for loop in ("asyncio", "trio")
    ]
    inside = Case(
        part="sustained",
        name="bifrost/inside",
        label=f"bifrost: {rate:,.0f} calls/s for {seconds:g} s, upstream in the process (50 ms)",
        environment="base",
        settings={"http": False, "rate": rate, "seconds": seconds},
        compare="bifrost/inside",
    )
    return [inside, *fixed, *http]


_MAKERS = {
    "pipeline": _pipeline,
    "http": lambda quick: _end_to_end("http", "http", quick),
    "tls": lambda quick: _end_to_end("tls", "https", quick),
    "burst": _burst,
    "stream": _stream,
    "import": _import,
    "memory": _memory,
    "connections": _connections,
    "sustained": _sustained,
}
