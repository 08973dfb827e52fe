"""Keys where no key belongs: what looks like one is told without being shown, in an error's text and its frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import wraps
from inspect import iscoroutinefunction
from itertools import pairwise
from typing import Any, Final, TypeVar, cast

F = TypeVar("F")
T = TypeVar("T")

_MASK: Final = "***"
_HINT: Final = "*** stands for what looks like a key or a password; keys belong into the account or the environment"

_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|rk|gsk|xai|pplx|csk|nvapi)[-_]|(?:hf|r8|fw|tgp)_|AIza|ya29\.|eyJ)[-A-Za-z0-9_.+/=]{12,}"
)
"""How the keys of most vendors begin, and tokens of the kind of OAuth and JWT."""
_RUN = re.compile(r"[A-Za-z0-9]{16,}")
_LONG_RUN = 32
_HEXADECIMAL = frozenset("0123456789abcdef")
_LOOKED_AT = 256
_CHANGES = 0.36
"""Of the neighbours in random text of small letters and digits 40 % are of two kinds; in names hardly 30 %."""
_USER = re.compile(r"(?<=://)[^/?#\s@]{1,4096}@")
"""What stands before the host of a URL."""

_CHECKED = 10_000
"""So many values of a call's arguments are looked at."""
_PROMPTS = frozenset({"messages", "system", "inputs", "input", "texts", "prompt"})
"""Arguments whose text says nothing about where a key went."""


def looks_like_key(text: str) -> bool:
    """Return whether a text is, or holds, what looks like a key or a URL with a password."""
    return bool(_PREFIXED.search(text) or _USER.search(text) or any(map(_is_random, _RUN.findall(text))))


is_surely_key: Callable[[str], re.Match[str] | None] = re.compile(
    r"(?:\A|/)(?:sk-|gsk_|xai-|pplx-|nvapi-|csk-|AIza)(?=[-\w+/=.]{0,64}[0-9])[-\w+/=.]{12}", re.ASCII
).search
"""Whether a text, or what follows a `/` in it, begins as the keys of large vendors do, and as no name does."""


def without_keys(text: str) -> str:
    """Write `***` in place of what looks like a key, and say so."""
    hidden = _USER.sub(f"{_MASK}@", _PREFIXED.sub(_MASK, text))
    hidden = _RUN.sub(lambda found: _MASK if _is_random(found[0]) else found[0], hidden)
    return hidden if hidden == text else f"{hidden} ({_HINT})"


def hides_keys(function: F) -> F:
    """Decorate a function whose arguments may hold a key in the wrong place.

    If it fails, and they do, the error loses its frames: a traceback with locals would show the arguments of each.
    """
    inner: Any = function
    names = inner.__code__.co_varnames[: inner.__code__.co_argcount] if hasattr(inner, "__code__") else ()
    prompts = [place for place, name in enumerate(names) if name in _PROMPTS]

    @wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return inner(*args, **kwargs)
        except Exception as error:
            if not _show_key([each for place, each in enumerate(args) if place not in prompts], kwargs):
                raise
            failure = _without_frames(error)
        args, kwargs = (), {}
        try:
            raise failure
        finally:
            del failure  # The error holds this frame by its traceback.

    @wraps(inner)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await inner(*args, **kwargs)
        except Exception as error:
            if not _show_key([each for place, each in enumerate(args) if place not in prompts], kwargs):
                raise
            failure = _without_frames(error)
        args, kwargs = (), {}
        try:
            raise failure
        finally:
            del failure  # The error holds this frame by its traceback.

    return cast("F", call_async if iscoroutinefunction(inner) else call)


def hides_keys_given_to(kind: type[T]) -> type[T]:
    """Decorate a class so that making an object of it hides keys as `hides_keys` does."""
    made: Any = kind
    made.__init__ = hides_keys(made.__init__)
    return kind


def _is_random(run: str) -> bool:
    """Return whether a run of letters and digits is no word or date: kinds of characters change as often as in keys."""
    if run.isalpha() or run.isdigit() or (len(run) < _LONG_RUN and (run.islower() or run.isupper())):
        return False
    if len(run) >= _LONG_RUN and _HEXADECIMAL.issuperset(run.lower()):
        return True
    kinds = ["0" if each.isdigit() else "A" if each.isupper() else "a" for each in run[:_LOOKED_AT]]
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes >= _CHANGES * len(kinds)


def _show_key(args: list[Any], kwargs: Mapping[str, Any]) -> bool:
    waiting: list[object] = [*args, *(kwargs[name] for name in kwargs.keys() - _PROMPTS)]
    for _ in range(_CHECKED):
        if not waiting:
            return False
        value = waiting.pop()
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if isinstance(value, str):
            if looks_like_key(value):
                return True
        elif isinstance(value, Mapping):
            waiting += [*cast("Mapping[object, object]", value), *cast("Mapping[object, object]", value).values()]
        elif isinstance(value, list | tuple | AbstractSet):
            waiting += list(cast("list[object]", value))
        elif hasattr(value, "__fspath__"):
            waiting.append(str(value))
    return True


def _without_frames(error: Exception) -> Exception:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            if each.__cause__ is not None and _quotes_key(each.__cause__):
                each.__cause__ = None
            if each.__context__ is not None and _quotes_key(each.__context__):
                each.__context__ = None
            waiting += [each.__cause__, each.__context__]
    return error


def _quotes_key(error: BaseException) -> bool:
    return looks_like_key(f"{error} {error.args}")
