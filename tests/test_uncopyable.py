"""Clients, streams and maps are not copied: what they hold is there once."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import Bifrost, SyncBifrost

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.testing import MockTransport

GPT = "openai/gpt-4o-mini"

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of what holds it": lambda thing: copy.deepcopy({"settings": [thing]}),
    "pickle": pickle.dumps,
    "pickle, protocol 0": lambda thing: pickle.dumps(thing, 0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Bifrost, SyncBifrost], ids=["Bifrost", "SyncBifrost"])
def test_a_client_says_that_it_cannot_be_copied(mock: MockTransport, kind: Any, way: str) -> None:
    mock.reply("hi")
    client = kind(mock.account, transport=mock)
    for each in (client, client.with_options(timeout=3)):
        with pytest.raises(TypeError, match=rf"a {kind.__name__} cannot be copied or pickled.*with_options"):
            WAYS[way](each)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Bifrost, SyncBifrost], ids=["Bifrost", "SyncBifrost"])
def test_neither_can_streams_and_maps(mock: MockTransport, kind: Any, way: str) -> None:
    client = kind(mock.account, transport=mock)
    for thing in (
        client.stream_chat(GPT, "hi"),
        client.stream_chat(GPT, "hi", output=int),
        client.map(["hi"], model=GPT),
    ):
        with pytest.raises(TypeError, match=rf"a {type(thing).__name__} cannot be copied or pickled"):
            WAYS[way](thing)
