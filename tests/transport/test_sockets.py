from __future__ import annotations

import select
import socket
from typing import Any

import pytest

from bifrost.transport.sockets import is_readable, shut


@pytest.mark.parametrize("poll", [None, getattr(select, "poll", None)])
def test_a_socket_is_readable_when_its_peer_has_spoken_or_gone(poll: Any) -> None:
    here, there = socket.socketpair()
    with here, there:
        assert not is_readable(here, poll=poll)
        there.send(b"x")
        assert is_readable(here, poll=poll)
        here.recv(1)
        assert not is_readable(here, poll=poll)
        there.close()
        assert is_readable(here, poll=poll)
    assert is_readable(here, poll=poll), "closed here"


def test_who_waits_for_a_socket_that_is_shut_is_woken_and_it_stays_open() -> None:
    here, there = socket.socketpair()
    with here, there:
        shut(here)
        assert is_readable(here)
        assert here.recv(1) == there.recv(1) == b""
        assert here.fileno() >= 0


def test_a_socket_that_cannot_be_shut_is_left_to_its_closing() -> None:
    with socket.socket() as sock:
        shut(sock)
    shut(sock)
