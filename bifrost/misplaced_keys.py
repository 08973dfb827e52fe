"""Masks API keys that were passed in the wrong place, in the text of an error and in its traceback."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import wraps
from inspect import iscoroutinefunction, unwrap
from itertools import pairwise
from typing import Any, Final, TypeVar, cast

F = TypeVar("F")
T = TypeVar("T")

_MASK: Final = "***"
_HINT: Final = "*** replaces what looks like a key or a password; keys belong in the account or the environment"

_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|rk|gsk|xai|pplx|csk|nvapi)[-_]|(?:hf|r8|fw|tgp)_|AIza|ya29\.|eyJ)[-A-Za-z0-9_.+/=]{12,}"
)
"""How the keys of most vendors begin, and OAuth tokens and JWTs."""
_RUN = re.compile(r"[A-Za-z0-9]{16,}")
_LONG_RUN = 32
_HEXADECIMAL = frozenset("0123456789abcdef")
_EXAMINED = 256
_CHANGES = 0.36
"""In random text of lower-case letters and digits, 40 % of neighbouring characters are of different kinds; in names
hardly 30 %.
"""
_USER = re.compile(r"(?<=://)[^/?#\s@]{1,4096}@")
"""The user information of a URL."""

_MAX_VALUES = 10_000
"""The most values among the arguments of a call that are checked."""
_PROMPTS = frozenset({"messages", "system", "inputs", "input", "texts", "prompt"})
"""Arguments that are not checked, because prompts may contain anything."""


def looks_like_key(text: str) -> bool:
    """Return whether a text contains what looks like a key or a URL with a password."""
    return bool(_PREFIXED.search(text) or _USER.search(text) or any(map(_is_random, _RUN.findall(text))))


is_surely_key: Callable[[str], re.Match[str] | None] = re.compile(
    r"(?:\A|/)(?:sk-|gsk_|xai-|pplx-|nvapi-|csk-|AIza)(?=[-\w+/=.]{0,64}[0-9])[-\w+/=.]{12}", re.ASCII
).search
"""Returns a match if a text, or the part of it after a `/`, begins like the keys of large vendors, and unlike any
name.
"""


def without_keys(text: str) -> str:
    """Replace what looks like a key with `***`, and explain it if anything was replaced."""
    hidden = _USER.sub(f"{_MASK}@", _PREFIXED.sub(_MASK, text))
    hidden = _RUN.sub(lambda found: _MASK if _is_random(found[0]) else found[0], hidden)
    return hidden if hidden == text else f"{hidden} ({_HINT})"


def hides_keys(function: F) -> F:
    """Decorate a function whose arguments may contain a key in the wrong place.

    If it fails and they do, its error loses its frames, because a traceback with local variables would show the
    arguments.
    """
    inner: Any = function
    code = getattr(unwrap(inner), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    prompts = [place for place, name in enumerate(names) if name in _PROMPTS]

    @wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return inner(*args, **kwargs)
        except Exception as error:
            if not _contain_key([each for place, each in enumerate(args) if place not in prompts], kwargs):
                raise
            failure = _without_frames(error)
        args, kwargs = (), {}
        try:
            raise failure
        finally:
            del failure  # The error refers to this frame through its traceback.

    @wraps(inner)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await inner(*args, **kwargs)
        except Exception as error:
            if not _contain_key([each for place, each in enumerate(args) if place not in prompts], kwargs):
                raise
            failure = _without_frames(error)
        args, kwargs = (), {}
        try:
            raise failure
        finally:
            del failure  # The error refers to this frame through its traceback.

    return cast("F", call_async if iscoroutinefunction(inner) else call)


def hides_keys_in_init(kind: type[T]) -> type[T]:
    """Decorate a class so that its `__init__` hides keys as `hides_keys` does."""
    class_: Any = kind
    class_.__init__ = hides_keys(class_.__init__)
    return kind


def _is_random(run: str) -> bool:
    """Return whether a run of letters and digits is random: its kinds of characters change as often as in keys."""
    if run.isalpha() or run.isdigit() or (len(run) < _LONG_RUN and (run.islower() or run.isupper())):
        return False
    if len(run) >= _LONG_RUN and _HEXADECIMAL.issuperset(run.lower()):
        return True
    kinds = ["0" if each.isdigit() else "A" if each.isupper() else "a" for each in run[:_EXAMINED]]
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes >= _CHANGES * len(kinds)


def _contain_key(args: list[Any], kwargs: Mapping[str, Any]) -> bool:
    remaining: list[object] = [*args, *(kwargs[name] for name in kwargs.keys() - _PROMPTS)]
    for _ in range(_MAX_VALUES):
        if not remaining:
            return False
        value = remaining.pop()
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if isinstance(value, str):
            if looks_like_key(value):
                return True
        elif isinstance(value, Mapping):
            remaining += [*cast("Mapping[object, object]", value), *cast("Mapping[object, object]", value).values()]
        elif isinstance(value, list | tuple | AbstractSet):
            remaining += list(cast("list[object]", value))
        elif hasattr(value, "__fspath__"):
            remaining.append(str(value))
    return True


def _without_frames(error: Exception) -> Exception:
    remaining: list[BaseException | None] = [error]
    seen: set[int] = set()
    while remaining:
        each = remaining.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            if each.__cause__ is not None and _contains_key(each.__cause__):
                each.__cause__ = None
            if each.__context__ is not None and _contains_key(each.__context__):
                each.__context__ = None
            remaining += [each.__cause__, each.__context__]
    return error


def _contains_key(error: BaseException) -> bool:
    return looks_like_key(f"{error} {error.args}")
