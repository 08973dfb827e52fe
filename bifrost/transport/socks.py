"""Connections through a SOCKS proxy."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bifrost.errors import ConnectError, ProtocolError
from bifrost.transport.failures import never_sent
from bifrost.transport.wires import WireReadError
from bifrost.wire.secrets import user_and_password

if TYPE_CHECKING:
    from socksio.socks5 import SOCKS5ReplyCode

    from bifrost.transport.api import Origin
    from bifrost.transport.network import Network
    from bifrost.transport.proxies import Proxy


async def ask_socks(network: Network, proxy: Proxy, origin: Origin, *, place: str) -> None:
    """Request a connection to the origin. The proxy resolves its name.

    Raises `ConfigError`, `ConnectError` and `ProtocolError` for responses of the proxy, and `WireError`.
    """
    from socksio import ProtocolError as MalformedError  # the extra `socks`
    from socksio.socks5 import SOCKS5ReplyCode

    code: SOCKS5ReplyCode | None = None
    answers = _Answers(network)
    with suppress(MalformedError):
        await _authenticate(network, answers, proxy, place)
        code = await _ask(network, answers, origin)
    if code is None or answers.has_more:
        raise never_sent(ProtocolError(f"the proxy on the way to {place} does not speak SOCKS"))
    if code is not SOCKS5ReplyCode.SUCCEEDED:
        reason = code.name.lower().replace("_", " ")
        raise never_sent(ConnectError(f"the proxy could not connect to {place}: {reason}"))


class _Answers:
    """The responses of the proxy, read by length."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._data = b""

    @property
    def has_more(self) -> bool:
        """Whether the proxy has sent more than was requested."""
        return bool(self._data)

    async def exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            more = await self._network.read()
            if not more:
                raise WireReadError("the proxy closed the connection")
            self._data += more
        data, self._data = self._data[:count], self._data[count:]
        return data


async def _authenticate(network: Network, answers: _Answers, proxy: Proxy, place: str) -> None:
    from socksio import socks5

    method = socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED
    if proxy.auth is not None:
        method = socks5.SOCKS5AuthMethod.USERNAME_PASSWORD
    await network.write(socks5.SOCKS5AuthMethodsRequest([method]).dumps())
    if socks5.SOCKS5AuthReply.loads(await answers.exactly(2)).method is not method:
        raise proxy.refusal(place)
    if proxy.auth is not None:
        await network.write(socks5.SOCKS5UsernamePasswordRequest(*user_and_password(proxy.auth)).dumps())
        if not socks5.SOCKS5UsernamePasswordReply.loads(await answers.exactly(2)).success:
            raise proxy.refusal(place)


async def _ask(network: Network, answers: _Answers, origin: Origin) -> SOCKS5ReplyCode:
    from socksio import socks5

    there = (origin.host, origin.port)
    await network.write(socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, there).dumps())
    return socks5.SOCKS5Reply.loads(await _read_answer(answers)).reply_code


async def _read_answer(answers: _Answers) -> bytes:
    """Read a response to its end, which depends on its fourth and fifth byte."""
    head = await answers.exactly(5)
    rest = {1: 4, 3: head[4] + 1, 4: 16}.get(head[3], 1) + 1
    return head + await answers.exactly(rest)
