from __future__ import annotations

from typing import Any

import pytest

from bifrost import Bifrost, ConfigError, Plugin
from bifrost.plugins.base import Chain
from bifrost.testing import MockTransport
from tests.plugins.recorder import Recorder
from tests.table import table


class Named(Plugin):
    name = "named"


class Unnamed(Plugin):
    pass


def _of_one(value: object) -> None:
    assert value


def test_a_plugin_without_a_name_goes_by_its_class() -> None:
    assert Chain([Named(), Unnamed()]).names == ("named", "Unnamed")


def test_a_hook_whose_name_is_misspelt_is_told() -> None:
    class Typo(Plugin):
        def befor(self, call: Any, request: Any) -> None: ...

    with pytest.raises(
        ConfigError, match="'Typo' has no hook, and its method 'befor' is never called; did you mean 'before'"
    ):
        Chain([Typo()])


@pytest.mark.parametrize(
    ("hook", "function", "told"),
    [
        ("before", _of_one, r"before is called with call, request, not as it is written: \(value: .*\)"),
        ("after_call", lambda: None, r"after_call is called with call, outcome, not as"),
        ("open", _of_one, r"open is called without arguments, not as it is written: \(value: .*\)"),
    ],
)
def test_a_hook_that_takes_something_else_is_told(hook: str, function: Any, told: str) -> None:
    plugin = Named()
    setattr(plugin, hook, function)
    with pytest.raises(ConfigError, match=f"plugin 'named': {told}"):
        Chain([plugin])
    setattr(plugin, hook, lambda *_: None)
    Chain([plugin])
    setattr(plugin, hook, type)  # It has no signature that could be asked for.
    Chain([plugin])


def test_two_plugins_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two plugins have the name 'named'"):
        Chain([Named(), Named()])


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [
        ([Named], r"not classes: write Named\(\)"),
        ([object()], "object is not a plugin; derive it from bifrost.Plugin"),
        (Named(), "a list of Plugin objects, not Named"),
    ],
    ids=["class", "stranger", "not in a list"],
)
def test_what_is_no_plugin_is_refused(plugins: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Bifrost(MockTransport().account, plugins=plugins)


@table(
    ("settings", "problem"),
    [
        ({"on_error": "ignore"}, "'named': on_error must be \"skip\" or \"fail\", not 'ignore'"),
        ({"timeout": 0}, "'named': timeout must be a number of seconds above 0, or None, not 0"),
        ({"timeout": "5"}, "not '5'"),
        ({"timeout": True}, "not True"),
        ({"timeout": float("nan")}, "not nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], problem: str) -> None:
    plugin = Named()
    for name, value in settings.items():
        setattr(plugin, name, value)
    with pytest.raises(ConfigError, match=problem):
        Chain([plugin])


def test_an_async_on_chunk_is_refused() -> None:
    class Async(Plugin):
        async def on_chunk(self, call: Any, chunk: Any) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

    with pytest.raises(ConfigError, match="'Async': on_chunk runs for every chunk and must not be async"):
        Chain([Async()])


def test_a_chain_is_changed_by_making_another() -> None:
    a, b, c = (Recorder([], name) for name in "abc")
    chain = Chain([a, b])
    assert chain.with_plugin(c).names == ("a", "b", "c")
    assert chain.with_plugin(c, before="b").names == ("a", "c", "b")
    assert chain.without("a").names == ("b",)
    assert chain.ordered(["b", "a"]).plugins == (b, a)
    assert chain.find("b") is b
    assert chain.names == ("a", "b")


def test_a_plugin_of_the_same_name_is_replaced_in_its_place() -> None:
    a, b, other = Recorder([], "a"), Recorder([], "b"), Recorder([], "a")
    assert Chain([a, b]).with_plugin(other).plugins == (other, b)
    assert Chain([a, b]).with_plugin(Recorder([], "b"), before="a").names == ("b", "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda chain: chain.without("x"),
        lambda chain: chain.find("x"),
        lambda chain: chain.with_plugin(Named(), before="x"),
    ],
    ids=["without", "find", "before"],
)
def test_a_name_that_nobody_has_is_told_with_those_there_are(change: Any) -> None:
    with pytest.raises(ConfigError, match="there is no plugin named 'x'; there are: a, b"):
        change(Chain([Recorder([], "a"), Recorder([], "b")]))


@table("names", [["a"], ["a", "a"], ["a", "b", "c"], []])
def test_an_order_names_every_plugin_once(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="name every plugin once: a, b"):
        Chain([Recorder([], "a"), Recorder([], "b")]).ordered(names)


def test_a_hook_that_is_set_on_the_object_counts() -> None:
    plugin = Named()
    setattr(plugin, "before", print)  # noqa: B010 - as a user's object may do it
    assert [hook.plugin for hook in Chain([plugin])._before] == [plugin]
