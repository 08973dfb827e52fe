from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bifrost.transport.logs import SENDING, guard_loggers
from bifrost.wire.auth import BEARER, HeaderAuth
from bifrost.wire.secrets import Secret
from tests.canary import CANARY, assert_unseen, listening
from tests.wire.signing import sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = [
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack.hpack",
    "hpack.table",
    "httpx",
]


@contextmanager
def sending(*keys: str, others: Sequence[Secret] = ()) -> Iterator[None]:
    headers = {"accept": "*/*"}
    for place, key in enumerate(keys):
        sign(headers, HeaderAuth(header=f"x-key-{place}"), Secret(key))
    before = SENDING.set((headers, others))
    try:
        yield
    finally:
        SENDING.reset(before)


def told(name: str, text: str, *args: object) -> str:
    guard_loggers()
    with listening() as log:
        logging.getLogger(name).debug(text, *args)
    assert log.lines
    return log.lines[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_logger_of_what_carries_a_request_leaves_the_credential_out(name: str) -> None:
    with sending(CANARY), listening() as log:
        guard_loggers()
        logging.getLogger(name).debug("got %r of %s", [f"no key {CANARY}"], {"key": CANARY})
    assert log.lines[0] == "got ['no key ***'] of {'key': '***'}"
    assert_unseen(*log.lines)


def test_every_secret_of_a_request_is_left_out_a_proxys_password_too() -> None:
    with sending("sk-first-key", "sk-second-key", others=(Secret("a-proxys-password"), Secret("another-of-its"))):
        line = told("httpx", "%s, %s, %s, %s", "sk-first-key", "sk-second-key", "a-proxys-password", "another-of-its")
    assert line == "***, ***, ***, ***"


def test_what_others_log_with_the_same_library_stays_as_it_is() -> None:
    assert told("httpx", "key %s, %d %%", CANARY, 5) == f"key {CANARY}, 5 %"


def test_a_line_with_a_percent_sign_is_logged_as_it_was_meant() -> None:
    with sending(CANARY):
        assert told("httpx", "100%% of %s", CANARY) == "100% of ***"
        assert told("httpx", "100% of all") == "100% of all"


def test_a_line_without_a_secret_is_logged_while_one_is_sent() -> None:
    headers: dict[str, str] = {}
    sign(headers, BEARER, Secret(CANARY))
    with sending(CANARY):
        assert told("httpcore.http11", "send_request_headers.started") == "send_request_headers.started"
