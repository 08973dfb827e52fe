"""Asking a SOCKS proxy for a way to an origin."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httpcore

from bifrost.engine.transport.failures import never_sent
from bifrost.errors import ConnectError, ProtocolError
from bifrost.wire.auth import user_and_password

if TYPE_CHECKING:
    from socksio.socks5 import SOCKS5ReplyCode

    from bifrost.engine.transport.network import Stream
    from bifrost.engine.transport.proxies import Proxy
    from bifrost.engine.transport.seam import Origin


async def ask_socks(stream: Stream, proxy: Proxy, origin: Origin, *, place: str) -> None:
    """Ask for a way to the origin, whose name is looked up by the proxy."""
    from socksio import ProtocolError as MalformedError  # the extra `socks`
    from socksio.socks5 import SOCKS5ReplyCode

    code: SOCKS5ReplyCode | None = None
    with suppress(MalformedError):
        await _be_let_in(stream, proxy, place)
        code = await _ask(stream, origin)
    if code is None:
        raise never_sent(ProtocolError(f"the proxy on the way to {place} does not speak SOCKS"))
    if code is not SOCKS5ReplyCode.SUCCEEDED:
        reason = code.name.lower().replace("_", " ")
        raise never_sent(ConnectError(f"the proxy could not connect to {place}: {reason}"))


async def _be_let_in(stream: Stream, proxy: Proxy, place: str) -> None:
    from socksio import socks5

    method = socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED
    if proxy.auth is not None:
        method = socks5.SOCKS5AuthMethod.USERNAME_PASSWORD
    await stream.write(socks5.SOCKS5AuthMethodsRequest([method]).dumps())
    if socks5.SOCKS5AuthReply.loads(await _exactly(stream, 2)).method is not method:
        raise proxy.refusal(place)
    if proxy.auth is not None:
        await stream.write(socks5.SOCKS5UsernamePasswordRequest(*user_and_password(proxy.auth)).dumps())
        if not socks5.SOCKS5UsernamePasswordReply.loads(await _exactly(stream, 2)).success:
            raise proxy.refusal(place)


async def _ask(stream: Stream, origin: Origin) -> SOCKS5ReplyCode:
    from socksio import socks5

    there = (origin.host, origin.port)
    await stream.write(socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, there).dumps())
    return socks5.SOCKS5Reply.loads(await _read_answer(stream)).reply_code


async def _read_answer(stream: Stream) -> bytes:
    """Read an answer to its end, which its fourth and fifth byte tell."""
    head = await _exactly(stream, 5)
    rest = {1: 4, 3: head[4] + 1, 4: 16}.get(head[3], 1) + 1
    return head + await _exactly(stream, rest)


async def _exactly(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.read(count - len(data))
        if not more:
            raise httpcore.ReadError("the proxy closed the connection")
        data += more
    return data
