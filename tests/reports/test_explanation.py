from __future__ import annotations

from typing import Any

from bifrost.reports.explanation import Explanation, PlannedCandidate, PlannedKey
from bifrost.reports.providers import KeyInfo, ProviderInfo, ProviderTable
from tests.table import table


def candidate(place: int, name: str, **fields: Any) -> PlannedCandidate:
    return PlannedCandidate(place=place, provider="openai", model=name, **fields)


def of(*candidates: PlannedCandidate) -> Explanation:
    return Explanation(model="fast", timeout=60, candidates=list(candidates))


REFUSED: dict[str, Any] = {"problem": "no", "goes_on": True}
ENDED: dict[str, Any] = {"problem": "no", "goes_on": False}


@table(
    ("candidates", "chosen"),
    [
        ([candidate(0, "a"), candidate(1, "b")], "a"),
        ([candidate(0, "a", share=0.3), candidate(0, "b", share=0.7), candidate(1, "c")], "b"),
        ([candidate(0, "a", share=0.9, **REFUSED), candidate(0, "b", share=0.1), candidate(1, "c")], "b"),
        ([candidate(0, "a", **REFUSED), candidate(1, "b")], "b"),
        ([candidate(0, "a", share=None), candidate(0, "b", share=None)], "a"),
        ([candidate(0, "a", **ENDED), candidate(1, "b")], None),
        ([candidate(0, "a", **REFUSED), candidate(1, "b", **ENDED)], None),
        ([candidate(0, "a", **REFUSED)], None),
    ],
)
def test_the_one_that_would_serve_is_the_first_that_can(candidates: list[PlannedCandidate], chosen: str | None) -> None:
    found = of(*candidates).chosen
    assert (found and found.model) == chosen


def test_it_prints_what_there_is_to_tell() -> None:
    told = candidate(
        0,
        "a",
        share=0.25,
        method="POST",
        url="https://h/v1",
        headers=["authorization", "x-a"],
        body=b"12345",
        warnings=["top_k was left out"],
        structured="tool",
        keys=[
            PlannedKey(name="main", share=1, model="a", state="cooling_down"),
            PlannedKey(name="", share=0, model="a"),
        ],
        left_out={"old": "switched off"},
        in_flight=3,
        waiting=2,
        concurrency=3,
        is_full=True,
        breaker="half open",
        time=10.0,
        timeouts={"connect": 5.0},
        retry={"max_retries": 2},
    )
    assert str(of(told)).splitlines() == [
        "fast, a plain call, within 60 s; nothing was sent",
        "1. openai/a (25 %)",
        "   sends: POST https://h/v1, 5 bytes",
        "   headers: authorization, x-a",
        "   output: requested with the mode tool",
        "   warning: top_k was left out",
        "   keys: main 100 %, cooling_down, no key 0 %",
        "   left out: old: switched off",
        "   queue: 3/3 in flight, 2 waiting; the call would wait",
        "   breaker: half open",
        "   time: 10 s in all; connect 5 s",
        "   retries: max_retries 2",
    ]
    assert repr(of(told)) == str(of(told))
    html = of(told)._repr_html_()
    assert "12345" not in html
    for fact in ("nothing was sent", "25 %", "half open", "top_k was left out"):
        assert fact in html


def test_a_refusal_says_what_follows() -> None:
    assert "   refused: no; the call continues with its next candidate" in str(of(candidate(0, "a", **REFUSED)))
    assert "   refused: no; the call ends there" in str(of(candidate(0, "a", **ENDED)))
    assert str(candidate(0, "a", problem="no")).endswith("refused: no")


def test_foreign_words_stay_in_their_line() -> None:
    told = str(of(candidate(0, "a\nb\x1b[31m", problem="x\ny")))
    assert len(told.splitlines()) == 3
    assert "\x1b" not in told


def test_the_providers_print_as_a_table() -> None:
    table = ProviderTable(
        [
            ProviderInfo(name="openai", address="https://a/v1", operations=["chat", "models"], concurrency=5, queue=9),
            ProviderInfo(name="mine", keys=[KeyInfo(name="main"), KeyInfo(name="b", models=[])]),
        ]
    )
    assert repr(table) == str(table)
    assert str(table).splitlines() == [
        "provider  address       operations    keys                   at once  queue",
        "openai    https://a/v1  chat, models                               5      9",
        "mine                                  main, b (for nothing)",
    ]
    assert "<table" in table._repr_html_()
    assert str(ProviderTable()) == "no providers"
