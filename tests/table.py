"""Tests that go through a table: one test plays all rows, and reports every row that fails by its label.

    @table("text", ["1", "[]", "{}"])
    def test_json_is_read(text: str) -> None: ...

It is written like `pytest.mark.parametrize` and costs a fiftieth of it, because pytest sets up, reports and tears down
one test. A row therefore has no fixtures of its own: a test whose fixtures keep something of a row stays parametrised.
`pytest --row TEXT` plays only the rows with TEXT in their label.
"""

from __future__ import annotations

import inspect
from collections import Counter
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from _pytest.mark import ParameterSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Rows: TypeAlias = list[tuple[str, Mapping[str, Any]]]
    """Each row's arguments behind its label."""

_PLAIN = (str, int, float, bool, type(None))

selection: dict[str, Any] = {"label": ""}
"""What `--row` has chosen."""


def table(
    names: str | Sequence[str], rows: Iterable[Any], *, ids: Callable[[Any], object] | Iterable[object] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Play a test with each of these rows as its arguments; several tables make every combination of their rows."""
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    labelled = _labelled(columns, list(rows), ids if ids is None or callable(ids) else list(ids))
    assert labelled, "a table without rows proves nothing"

    def decorate(test: Callable[..., Any]) -> Any:
        own = inspect.signature(test)
        assert set(columns) <= set(own.parameters), f"{test.__name__} has other arguments than {columns}"
        play = (_play_async if inspect.iscoroutinefunction(test) else _play)(test, labelled)
        fixtures = [value for name, value in own.parameters.items() if name not in columns]
        vars(play)["__signature__"] = own.replace(parameters=fixtures)
        return play

    return decorate


def _play(test: Callable[..., Any], rows: Rows) -> Callable[..., None]:
    @wraps(test)
    def play(**fixtures: Any) -> None:
        failures = _Failures(len(rows))
        for label, row in _selected(rows):
            with failures.of(label):
                test(**row, **fixtures)
        failures.report()

    return play


def _play_async(test: Callable[..., Any], rows: Rows) -> Callable[..., Any]:
    @wraps(test)
    async def play(**fixtures: Any) -> None:
        failures = _Failures(len(rows))
        for label, row in _selected(rows):
            with failures.of(label):
                await test(**row, **fixtures)
        failures.report()

    return play


class _Failures:
    """The rows that failed."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._errors: dict[str, Exception] = {}

    @contextmanager
    def of(self, label: str) -> Iterator[None]:
        try:
            yield
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # noqa: BLE001 - reported below
            # pytest's own are no `Exception`, and a row that is skipped proves nothing.
            plain = error if isinstance(error, Exception) else AssertionError(str(error))
            plain.add_note(f"row: {label}")
            self._errors[label] = plain.with_traceback(error.__traceback__)

    def report(self) -> None:
        errors = list(self._errors.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {self._rows} rows fail: {', '.join(self._errors)}", errors)


def _labelled(columns: list[str], rows: list[Any], ids: Any) -> Rows:
    """Return each row with a label that no other has."""
    found: Rows = []
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows):
        values: list[Any]
        given = None if ids is None or callable(ids) else ids[number]
        if isinstance(row, ParameterSet):
            assert not row.marks, "a row has no marks"
            values, given = list(row.values), row.id or given
        else:
            values = [row] if len(columns) == 1 else list(row)
        assert len(values) == len(columns), f"row {number} has {len(values)} values for {columns}"
        label = str(given or "-".join(_text(value, number, ids) for value in values))
        seen[label] += 1
        unique = label if seen[label] == 1 else f"{label} ({seen[label]})"
        found.append((unique, dict(zip(columns, values, strict=True))))
    return found


def _text(value: Any, number: int, ids: Any) -> str:
    own = ids(value) if callable(ids) else None
    if own is not None:
        return str(own)
    return str(value) if isinstance(value, _PLAIN) else str(getattr(value, "__name__", number))


def _selected(rows: Rows) -> Rows:
    found = [row for row in rows if selection["label"] in row[0]]
    if not found:
        pytest.skip("no row has the text of --row in its label")
    return found
