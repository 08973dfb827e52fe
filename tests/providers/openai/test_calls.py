"""Which pieces of a stream form one tool call, whatever a server repeats, forgets or changes on the way."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.providers.base import Target
from bifrost.providers.openai import ChatDecoder
from bifrost.providers.openai.calls import StreamedCall, StreamedCalls
from bifrost.wire.framing.sse import SseEvent
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

TARGET = Target(provider="somehost", model="m")
ANY = "an id of ours"


def piece(index: Any = 0, call_id: Any = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    """Give a piece as most servers write it; `None` leaves a member out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    members = (("index", index), ("id", call_id), ("function", function or None))
    return {key: value for key, value in members if value is not None}


def event(*pieces: dict[str, Any]) -> SseEvent:
    data = {"choices": [{"index": 0, "delta": {"tool_calls": list(pieces)}, "finish_reason": None}]}
    return SseEvent(event=None, data=json.dumps(data).encode())


def calls(events: Iterable[list[dict[str, Any]]], known: Iterable[str] = ()) -> list[tuple[str, str, str]]:
    decoder, grown = ChatDecoder(TARGET), ChatAccumulator()
    for pieces in events:
        for chunk in decoder.feed(event(*pieces)):
            grown.add(chunk)
    found = grown.response().tool_calls or ()
    return [(call.id if call.id in known else ANY, call.name, call.arguments) for call in found]


CASES: list[Any] = [
    pytest.param(
        [piece(name="f", arguments='{"a":1}'), piece(name="f", arguments='{"a":2}')],
        [(ANY, "f", '{"a":1}'), (ANY, "f", '{"a":2}')],
        id="whole arguments, then the same name at the same index without an id",
    ),
    pytest.param(
        [piece(name="f", arguments='{"a":'), piece(name="f", arguments="1}"), piece(name="f", arguments="")],
        [(ANY, "f", '{"a":1}')],
        id="the name with every piece, no id",
    ),
    pytest.param(
        [piece(name="f", arguments='{"a":1}'), piece(name="f", arguments=""), piece(arguments='{"a":2}')],
        [(ANY, "f", '{"a":1}'), (ANY, "f", '{"a":2}')],
        id="the same name again without arguments, which follow",
    ),
    pytest.param(
        [piece(name="f", arguments='{"a":"}'), piece(name="f", arguments='"}')],
        [(ANY, "f", '{"a":"}"}')],
        id="a brace in a text completes nothing",
    ),
    pytest.param(
        [piece(name="f", arguments='{"a":"\\'), piece(name="f", arguments='"}"'), piece(name="f", arguments="}")],
        [(ANY, "f", '{"a":"\\"}"}')],
        id="a quote that a cut parts from its backslash",
    ),
    pytest.param(
        [piece(call_id="a", name="f", arguments=""), piece(call_id="b", arguments='{"x"'), piece(arguments=":1}")],
        [("a", "f", '{"x":1}')],
        id="another id at the same index without a name",
    ),
    pytest.param(
        [
            piece(call_id="a", name="f", arguments='{"x"'),
            piece(call_id="b", name="f", arguments=":"),
            piece(call_id="c", name="f", arguments="1}"),
        ],
        [("a", "f", '{"x":1}')],
        id="an id of its own with every piece",
    ),
    pytest.param(
        [
            piece(None, "a", "f", '{"x"'),
            piece(None, "b", None, ":1}"),
            piece(None, "c", "g", "{}"),
        ],
        [("a", "f", '{"x":1}'), ("c", "g", "{}")],
        id="no index: another id amid the arguments goes on, one with a name begins",
    ),
    pytest.param(
        [piece(call_id="a", name="get_"), piece(call_id="a", name="weather"), piece(call_id="a", arguments="{}")],
        [("a", "get_weather", "{}")],
        id="a name in pieces, the id with each",
    ),
    pytest.param(
        [piece(call_id="a", name="get_", arguments=""), piece(name="wea"), piece(name="ther"), piece(arguments="{}")],
        [("a", "get_weather", "{}")],
        id="a name in pieces, the id with the first",
    ),
    pytest.param(
        [piece(call_id="a", name="get_"), piece(call_id="a", name="get_weather"), piece(arguments="{}")],
        [("a", "get_weather", "{}")],
        id="a name that grows",
    ),
    pytest.param(
        [piece(call_id="a", name="f", arguments="{}"), piece(name="g", arguments="{}")],
        [("a", "f", "{}"), (ANY, "g", "{}")],
        id="a second name after arguments begins a call",
    ),
    pytest.param(
        [piece(call_id=0, name="f", arguments="{}"), piece(1, 1, "f", "{}")],
        [("0", "f", "{}"), ("1", "f", "{}")],
        id="numbers as ids, 0 too",
    ),
    pytest.param(
        [piece(call_id=7, name="f", arguments=""), piece(call_id=7, arguments="{}"), piece(0, 7.0, None, "")],
        [("7", "f", "{}")],
        id="a number as the id of every piece",
    ),
    pytest.param(
        [piece(call_id=name, name=name, arguments=f'{{"a":"{name}"}}') for name in "fgh"],
        [(name, name, f'{{"a":"{name}"}}') for name in "fgh"],
        id="index 0 for all, with ids and names",
    ),
    pytest.param(
        [piece(call_id=call_id, name="f", arguments='{"a":1}') for call_id in "abc"],
        [(call_id, "f", '{"a":1}') for call_id in "abc"],
        id="index 0 for all, one tool with the same arguments",
    ),
    pytest.param(
        [piece(call_id="a", name="f"), piece(call_id="b", name="f"), piece(call_id="b", arguments="{}")],
        [("a", "f", ""), ("b", "f", "{}")],
        id="index 0 for all, arguments later",
    ),
    pytest.param(
        [piece(0, "x", "f", "{}"), piece(1, "x", "g", "{}"), piece(1, "x", None, " ")],
        [("x", "f", "{}"), (ANY, "g", "{} ")],
        id="the same id for two calls: the second has one of ours",
    ),
    pytest.param(
        [piece(call_id="a", name="f", arguments='{"a":1}'), piece(call_id="a", name="f", arguments='{"a":1}')],
        [("a", "f", '{"a":1}')],
        id="the whole call once more under its id",
    ),
    pytest.param(
        [piece(0, "a", "f", '{"a"'), piece(1, None, None, ":1}"), piece(2, None, "", "")],
        [("a", "f", '{"a":1}')],
        id="a wrong index amid the arguments",
    ),
    pytest.param(
        [piece(None), piece(0, "", "", ""), {"index": 0, "function": None}, {"index": 3, "function": {}}],
        [],
        id="pieces that say nothing",
    ),
    pytest.param(
        [{**piece(0, "a", "f", "{}"), "custom": {"name": "", "input": ""}}, {"index": 0, "custom": {}}],
        [("a", "f", "{}")],
        id="an empty custom beside the function",
    ),
    pytest.param(
        [{"index": 0.0, "id": "a", "type": "", "function": {"name": "f", "arguments": {"x": 1}}}],
        [("a", "f", '{"x":1}')],
        id="0.0 for the index, arguments as an object",
    ),
]


@table(("pieces", "expected"), CASES)
@table("together", [False, True], ids=["an event each", "one event"])
def test_a_call_has_the_pieces_that_are_its_own(
    pieces: list[dict[str, Any]], expected: list[tuple[str, str, str]], together: bool
) -> None:
    known = {str(each.get("id")) for each in pieces}
    assert calls([pieces] if together else [[each] for each in pieces], known) == expected


def test_each_piece_tells_what_is_new_in_it() -> None:
    decoder = ChatDecoder(TARGET)
    pieces = [
        piece(call_id="a", name="f"),
        piece(call_id="a", name="f", arguments="{"),
        piece(call_id="b", arguments="}"),
    ]
    told = [
        (call.id, call.name, call.arguments)
        for each in pieces
        for chunk in decoder.feed(event(each))
        for call in chunk.choices[0].delta.tool_calls or ()
    ]
    assert told == [("a", "f", ""), ("a", None, "{"), (None, None, "}")]


def lines_run(work: Callable[[], object]) -> int:
    """Count the lines of Python that some work takes."""
    count = 0

    def trace(_frame: FrameType, kind: str, _arg: object) -> Any:
        nonlocal count
        count += kind == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@table(
    "piece_of",
    [
        pytest.param(lambda n: (0, None, "f", '{"a":' if n % 2 else "1"), id="the name with every piece"),
        pytest.param(lambda n: (0, f"c{n}", "f", "{}"), id="ever new ids"),
        pytest.param(lambda n: (n, "c", "f", "{}"), id="one id, ever new indexes"),
        pytest.param(lambda n: (None, f"c{n % 7}", "", "{"), id="pieces of seven calls"),
        pytest.param(lambda n: (0, "c", "f", "{}" if not n else " "), id="blanks after whole arguments"),
    ],
)
def test_the_work_grows_with_the_pieces(piece_of: Callable[[int], tuple[Any, Any, str, str]]) -> None:
    def work(count: int) -> int:
        placing = StreamedCalls()
        return lines_run(lambda: [placing.place(*piece_of(n)) for n in range(count)])

    small, large = work(200), work(800)
    assert large < 5 * small


@table(
    ("texts", "is_partial", "is_whole"),
    [
        ([], False, False),
        (["1"], False, False),
        (['{"a', '": [1, "}"'], True, False),
        (['{"a": [1]}'], False, True),
        (["{}", " "], False, True),
        (["{}", "{"], True, False),
        (["}"], False, False),
        (['{"\\', "\\", '"}'], False, True),
    ],
)
def test_arguments_are_whole_when_all_that_opened_is_closed(texts: list[str], is_partial: bool, is_whole: bool) -> None:
    call = StreamedCall(None, None)
    for text in texts:
        call.add(text)
    assert (call.is_partial, call.is_whole) == (is_partial, is_whole)
