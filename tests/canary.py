"""A key that must be seen nowhere, and every look there is at a thing: what prints, copies, dumps or walks it."""

from __future__ import annotations

import copy
import functools
import json
import logging
import pickle
import pprint
import reprlib
import traceback
import types
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs
import msgspec

from bifrost import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "sk-CANARY-7f3a+91/Zk"
_BASE64 = b64encode(CANARY.encode()).decode().lower()
FORMS = (
    *(CANARY.lower()[start : start + 8] for start in range(len(CANARY) - 7)),
    quote(CANARY, safe="").lower(),
    *(_BASE64[start : start + 10] for start in range(len(_BASE64) - 9)),
)
"""Each piece of 8 characters of the key, in small letters; as it stands in an address; each piece of it as base64."""


class Log(logging.Handler):
    """Takes in what every logger says, from DEBUG on."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(record.args), repr(vars(record))]


@contextmanager
def listening() -> Iterator[Log]:
    """Listen to every logger there is, those that were set to say less included."""
    log, root = Log(), logging.getLogger()
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    levels = [(each, each.level) for each in (root, *named) if each.level]
    root.addHandler(log)
    for each, _ in levels:
        each.setLevel(logging.DEBUG)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(logging.NOTSET)
        for each, level in levels:
            each.setLevel(level)


def shown_by(error: BaseException) -> Iterator[str]:
    """Give everything that an error and those that hang on it could show to anybody, with the locals of all frames."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
        yield "".join(traceback.format_exception(each))
        yield "".join(traceback.TracebackException.from_exception(each, capture_locals=True).format())
        waiting += [each.__cause__, each.__context__, *getattr(each, "errors", ())]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def assert_unseen(*texts: str) -> None:
    """No text has the key in any form."""
    for text in texts:
        small = text.lower()
        for form in FORMS:
            place = small.find(form)
            assert place < 0, f"a secret is seen: ...{text[max(0, place - 200) : place + 300]}..."


# --- every look at a thing


def _logged(thing: object) -> str:
    record = logging.makeLogRecord({"msg": "%s %r %s", "args": (thing, thing, [thing])})
    return record.getMessage() + repr(vars(record))


def _tried(show: Callable[[Any], object]) -> Callable[[Any], str]:
    """Show a thing by a way that may be closed, and if it is, all that the refusal tells."""

    def attempt(thing: object) -> str:
        try:
            return repr(show(thing))
        except Exception as error:  # noqa: BLE001 - looked at whatever it is
            return "".join(shown_by(error))

    return attempt


def _copied(make: Callable[[Any], Any]) -> Callable[[Any], object]:
    return lambda thing: (made := make(thing), str(made), getattr(made, "__dict__", None))


LOOKS: Mapping[str, Callable[[Any], str]] = {
    "str": str,
    "repr": repr,
    "format": lambda thing: f"{thing} {thing!r} {thing!s:>40} {'%s' % (thing,)} {'{!r}'.format(thing)}",  # noqa: UP031, UP032
    "pprint": pprint.pformat,
    "reprlib": reprlib.repr,
    "logging": _logged,
    "notebook": _tried(lambda thing: thing._repr_html_()),
    "vars": _tried(vars),
    "dir": _tried(lambda thing: [getattr(thing, name, None) for name in dir(thing) if not name.startswith("_")]),
    "attrs.asdict": _tried(attrs.asdict),
    "msgspec.structs.asdict": _tried(msgspec.structs.asdict),
    "msgspec.to_builtins": _tried(msgspec.to_builtins),
    "msgspec.json": _tried(msgspec.json.encode),
    "msgspec.msgpack": _tried(msgspec.msgpack.encode),
    "json": _tried(functools.partial(json.dumps, default=repr)),
}
COPIES: Mapping[str, Callable[[Any], str]] = {
    "pickle": _tried(pickle.dumps),
    "pickle 0": _tried(lambda thing: pickle.dumps(thing, 0)),
    "copy": _tried(_copied(copy.copy)),
    "deepcopy": _tried(_copied(copy.deepcopy)),
}


def assert_shows_nothing(*things: object, copies: bool = True) -> None:
    """However one looks at these things, the key is not seen. What lives (a client) is not copied."""
    for thing in things:
        for look in (*LOOKS.values(), *(COPIES.values() if copies else ())):
            assert_unseen(look(thing))
        if isinstance(thing, BaseException):
            assert_unseen(*shown_by(thing), *shown_by(_grouped(thing)))
        assert_unseen(*walked(thing))


def _grouped(error: BaseException) -> BaseException:
    return BaseExceptionGroup("several", [error, BaseExceptionGroup("inside", [error])])


_WALKED = ("bifrost", "httpx", "httpcore", "h11", "builtins", "collections", "functools", "types", "mappingproxy")
"""Whose objects a walk goes into: ours, what carries them, and containers; not the event loop and the test itself."""


def walked(root: object) -> Iterator[str]:
    """Give every text that a debugger comes to from here by opening attributes, slots, items, closures and frames.

    Only the inside of a `Secret` stays closed.
    """
    seen: set[int] = set()
    waiting: list[tuple[object, str]] = [(root, type(root).__name__)]
    kept: list[object] = []  # An id is told apart only from those of objects that are alive.
    while waiting:
        each, way = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        kept.append(each)
        if isinstance(each, str):
            yield str.__str__(each) + f" at {way}"
        elif isinstance(each, (bytes, bytearray)):
            yield each.decode("latin-1") + f" at {way}"
        elif not isinstance(each, (Secret, types.ModuleType, type, int, float)):
            waiting += [(inside, f"{way}.{name}") for name, inside in _inside(each)]


def _inside(thing: object) -> Iterator[tuple[str, object]]:
    module = type(thing).__module__
    if module.partition(".")[0] not in _WALKED or module.startswith("bifrost.testing"):
        return  # The test kit plays the provider, who was sent the key.
    match thing:
        case Mapping():
            yield from (("keys()", key) for key in list(thing))
            yield from ((f"[{key!r}]", thing[key]) for key in list(thing))
        case list() | tuple() | deque() | AbstractSet():
            yield from ((f"[{place}]", item) for place, item in enumerate(list(thing)))
        case types.MethodType():
            yield from (("__self__", thing.__self__), ("__func__", thing.__func__))
        case types.FunctionType():
            yield from (("closure", cell.cell_contents) for cell in thing.__closure__ or () if cell != types.CellType())
            yield from (("defaults", thing.__defaults__), ("kwdefaults", thing.__kwdefaults__))
        case functools.partial():
            yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
        case types.CoroutineType() if thing.cr_frame is not None:
            yield from thing.cr_frame.f_locals.items()
        case BaseException():
            yield from (("args", thing.args), ("cause", thing.__cause__), ("context", thing.__context__))
        case _:
            pass
    yield from list(getattr(thing, "__dict__", {}).items())
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") else name
            yield name, getattr(thing, private, None)
